-- save_rewards
-- One row for each reward for ever. Only a forfeited one may come back, when its period ends after all (decision 9).
INSERT INTO reward (bucket, organisation_id, customer_id, target_id, period_id, level_id, run,
                    reward_definition_id, kind, points, text, allocation, state, reason, earned_at, sequence,
                    handed_over)
SELECT p.bucket, k.organisation_id, k.customer_id, k.target_id, k.period_id, k.level_id, k.run, k.reward_definition_id,
       k.kind, k.points, k.text, k.allocation, k.state, k.reason, k.earned_at, k.sequence, k.handed_over
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :target_ids::text::bigint[], :period_ids::text::bigint[], :level_ids::text::bigint[],
              :runs::text::integer[], :reward_definition_ids::text::bigint[], :kinds::text::text[],
              :points::text::numeric[], :texts::text[], :allocations::text::text[], :states::text::text[],
              :reasons::text[], :earned_ats::text::timestamptz[], :sequences::text::bigint[],
              :handed_overs::text::boolean[])
       AS k (bucket, organisation_id, customer_id, target_id, period_id, level_id, run, reward_definition_id, kind,
             points, text, allocation, state, reason, earned_at, sequence, handed_over)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus
    ON CONFLICT (bucket, organisation_id, customer_id, target_id, period_id, level_id, run, reward_definition_id)
    DO UPDATE
   SET state = EXCLUDED.state,
       reason = EXCLUDED.reason,
       earned_at = EXCLUDED.earned_at,
       sequence = EXCLUDED.sequence,
       handed_over = EXCLUDED.handed_over
 WHERE reward.state = 'forfeited'
RETURNING customer_id

-- list_rewards
-- One customer's rewards in the order of their keys, a page after a key.
SELECT r.target_id, r.period_id, r.level_id, r.run, r.reward_definition_id, r.kind, r.points, r.text, r.allocation,
       r.state, r.reason, r.earned_at, r.sequence, r.handed_over
  FROM reward AS r
 WHERE r.bucket = :bucket AND r.organisation_id = :organisation_id AND r.customer_id = :customer_id
   AND (r.target_id, r.period_id, r.level_id, r.run, r.reward_definition_id)
       > (:after_target, :after_period, :after_level, :after_run, :after_definition)
 ORDER BY r.target_id, r.period_id, r.level_id, r.run, r.reward_definition_id
 LIMIT :limit

-- list_rewards_by_key
-- Those of these rewards that there are; whoever is to change one holds its customer's lock.
SELECT r.organisation_id, r.customer_id, r.target_id, r.period_id, r.level_id, r.run, r.reward_definition_id, r.kind,
       r.points, r.text, r.allocation, r.state, r.reason, r.earned_at, r.sequence, r.handed_over
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :target_ids::bigint[],
              :period_ids::bigint[], :level_ids::bigint[], :runs::integer[], :reward_definition_ids::bigint[])
       AS k (bucket, organisation_id, customer_id, target_id, period_id, level_id, run, reward_definition_id)
  JOIN reward AS r
    ON r.bucket = k.bucket AND r.organisation_id = k.organisation_id AND r.customer_id = k.customer_id
   AND r.target_id = k.target_id AND r.period_id = k.period_id AND r.level_id = k.level_id AND r.run = k.run
   AND r.reward_definition_id = k.reward_definition_id

-- move_rewards
-- The state that the last report brought; the row itself stays for ever.
UPDATE reward AS r
   SET state = k.state,
       reason = k.reason
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :target_ids::text::bigint[], :period_ids::text::bigint[], :level_ids::text::bigint[],
              :runs::text::integer[], :reward_definition_ids::text::bigint[], :states::text::text[],
              :reasons::text[])
       AS k (bucket, organisation_id, customer_id, target_id, period_id, level_id, run, reward_definition_id, state,
             reason)
 WHERE r.bucket = k.bucket AND r.organisation_id = k.organisation_id AND r.customer_id = k.customer_id
   AND r.target_id = k.target_id AND r.period_id = k.period_id AND r.level_id = k.level_id AND r.run = k.run
   AND r.reward_definition_id = k.reward_definition_id
   AND r.bucket = ANY(:buckets::text::smallint[])  -- Citus
