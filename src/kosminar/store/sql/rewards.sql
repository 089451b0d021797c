-- save_rewards
-- One row for each reward for ever. Only a forfeited one may come back, when its period ends after all (decision 9).
INSERT INTO reward (bucket, organisation_id, customer_id, target_id, period_id, level_id, run,
                    reward_definition_id, kind, points, text, allocation, state, reason, earned_at, sequence)
SELECT *
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :target_ids::bigint[],
              :period_ids::bigint[], :level_ids::bigint[], :runs::integer[], :reward_definition_ids::bigint[],
              :kinds::text[], :points::numeric[], :texts::text[], :allocations::text[], :states::text[],
              :reasons::text[], :earned_ats::timestamptz[], :sequences::bigint[])
    ON CONFLICT (bucket, organisation_id, customer_id, target_id, period_id, level_id, run, reward_definition_id)
    DO UPDATE
   SET state = EXCLUDED.state,
       reason = EXCLUDED.reason,
       earned_at = EXCLUDED.earned_at,
       sequence = EXCLUDED.sequence
 WHERE reward.state = 'forfeited'

-- list_rewards
-- One customer's rewards in the order of their keys, a page after a key.
SELECT r.target_id, r.period_id, r.level_id, r.run, r.reward_definition_id, r.kind, r.points, r.text, r.allocation,
       r.state, r.reason, r.earned_at, r.sequence, t.target_group_id, p.name AS period_name
  FROM reward AS r
  JOIN target AS t
    ON t.target_id = r.target_id
  LEFT JOIN period AS p
    ON p.period_id = r.period_id
 WHERE r.bucket = :bucket AND r.organisation_id = :organisation_id AND r.customer_id = :customer_id
   AND (r.target_id, r.period_id, r.level_id, r.run, r.reward_definition_id)
       > (:after_target, :after_period, :after_level, :after_run, :after_definition)
 ORDER BY r.target_id, r.period_id, r.level_id, r.run, r.reward_definition_id
 LIMIT :limit

-- list_rewards_of_customers
-- A range of customers' rewards, for the audit.
SELECT customer_id, target_id, period_id, level_id, run, reward_definition_id, kind, points, text, allocation, state,
       reason, earned_at, sequence
  FROM reward
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
