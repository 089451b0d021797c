-- The progress of a batch of activities in every target, as bare SQL. Parameters: organisation, and of each activity
-- bucket, customer and amount; then targets, and the running period of each.
INSERT INTO progress (bucket, organisation_id, customer_id, target_id, period_id, run, value, target_value,
                      achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled, awaits_end)
SELECT k.bucket, $1, k.customer_id, t.target_id, t.period_id, 1, sum(k.amount), 1000000, NULL, NULL, '{}', false,
       false, false, false
  FROM unnest($2::smallint[], $3::bigint[], $4::numeric[]) AS k (bucket, customer_id, amount)
       CROSS JOIN unnest($5::bigint[], $6::bigint[]) AS t (target_id, period_id)
 GROUP BY k.bucket, k.customer_id, t.target_id, t.period_id
    ON CONFLICT (bucket, organisation_id, customer_id, target_id, period_id, run) DO UPDATE
   SET value = progress.value + EXCLUDED.value
