-- The rewards of a period's end, as bare SQL: those of the achievers' second sequence number. Parameters: the instant
-- and the organisation.
INSERT INTO reward (bucket, organisation_id, customer_id, target_id, period_id, level_id, run, reward_definition_id,
                    kind, points, text, allocation, state, reason, earned_at, sequence, handed_over)
SELECT p.bucket, p.organisation_id, p.customer_id, p.target_id, p.period_id, 0, 1, d.reward_definition_id,
       d.kind, d.points, d.text, d.allocation, 'issued', NULL, $1, 2, false
  FROM progress AS p
  JOIN reward_definition AS d ON d.target_id = p.target_id AND d.allocation = 'PERIOD_END'
 WHERE p.organisation_id = $2 AND p.awaits_end
