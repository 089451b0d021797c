-- number_customers
-- The last number of each customer's order and outbox, under the customers' locks.
UPDATE customer AS c
   SET sequence = k.sequence,
       notification_number = k.notification_number,
       changed_at = k.changed_at
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :sequences::text::bigint[], :notification_numbers::text::bigint[], :changed_ats::text::timestamptz[])
       AS k (bucket, organisation_id, customer_id, sequence, notification_number, changed_at)
 WHERE c.bucket = k.bucket AND c.organisation_id = k.organisation_id AND c.customer_id = k.customer_id
   AND c.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- begin_standings
-- Of customers who had none in the group.
INSERT INTO standing (bucket, organisation_id, customer_id, target_group_id, version, wakes_at, likeness, enrolled,
                      left_at, period_number, run, value_thousandths, target_value_thousandths, achieved_at,
                      achieved_recorded_at, rewarded, forfeited, settled, document)
SELECT p.bucket, k.organisation_id, k.customer_id, k.target_group_id, k.version, k.wakes_at, k.likeness, k.enrolled,
       k.left_at, k.period_number, k.run, k.value_thousandths, k.target_value_thousandths, k.achieved_at,
       k.achieved_recorded_at, k.rewarded, k.forfeited, k.settled, k.document::json
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :target_group_ids::text::bigint[], :versions::text::integer[], :wakes_ats::text::timestamptz[],
              :likenesses::text::bigint[], :enrolleds::text::boolean[], :left_ats::text::timestamptz[],
              :period_numbers::text::integer[], :runs::text::integer[], :values::text::bigint[],
              :target_values::text::bigint[], :achieved_ats::text::timestamptz[],
              :achieved_recorded_ats::text::timestamptz[], :rewardeds::text::boolean[], :forfeiteds::text::boolean[],
              :settleds::text::boolean[], :documents::text[])
       AS k (bucket, organisation_id, customer_id, target_group_id, version, wakes_at, likeness, enrolled, left_at,
             period_number, run, value_thousandths, target_value_thousandths, achieved_at, achieved_recorded_at,
             rewarded, forfeited, settled, document)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- change_standings
-- Under the customers' locks: nothing else changes them.
UPDATE standing AS s
   SET version = k.version,
       wakes_at = k.wakes_at,
       likeness = k.likeness,
       enrolled = k.enrolled,
       left_at = k.left_at,
       period_number = k.period_number,
       run = k.run,
       value_thousandths = k.value_thousandths,
       target_value_thousandths = k.target_value_thousandths,
       achieved_at = k.achieved_at,
       achieved_recorded_at = k.achieved_recorded_at,
       rewarded = k.rewarded,
       forfeited = k.forfeited,
       settled = k.settled,
       document = k.document::json
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :target_group_ids::text::bigint[], :versions::text::integer[], :wakes_ats::text::timestamptz[],
              :likenesses::text::bigint[], :enrolleds::text::boolean[], :left_ats::text::timestamptz[],
              :period_numbers::text::integer[], :runs::text::integer[], :values::text::bigint[],
              :target_values::text::bigint[], :achieved_ats::text::timestamptz[],
              :achieved_recorded_ats::text::timestamptz[], :rewardeds::text::boolean[], :forfeiteds::text::boolean[],
              :settleds::text::boolean[], :documents::text[])
       AS k (bucket, organisation_id, customer_id, target_group_id, version, wakes_at, likeness, enrolled, left_at,
             period_number, run, value_thousandths, target_value_thousandths, achieved_at, achieved_recorded_at,
             rewarded, forfeited, settled, document)
 WHERE s.bucket = k.bucket AND s.organisation_id = k.organisation_id AND s.customer_id = k.customer_id
   AND s.target_group_id = k.target_group_id
   AND s.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- move_values
-- What happens all day: nothing but the latest value moved.
UPDATE standing AS s
   SET value_thousandths = k.value_thousandths
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :target_group_ids::text::bigint[], :values::text::bigint[])
       AS k (bucket, organisation_id, customer_id, target_group_id, value_thousandths)
 WHERE s.bucket = k.bucket AND s.organisation_id = k.organisation_id AND s.customer_id = k.customer_id
   AND s.target_group_id = k.target_group_id
   AND s.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- save_ended_periods
-- That have left their standing, and that late activity or their end has changed since.
INSERT INTO ended_period (bucket, organisation_id, customer_id, target_group_id, target_id, period_number, run,
                          value_thousandths, target_value_thousandths, achieved_at, achieved_recorded_at, days,
                          rewarded, forfeited, settled, awaits_end)
SELECT p.bucket, k.organisation_id, k.customer_id, k.target_group_id, k.target_id, k.period_number, k.run,
       k.value_thousandths, k.target_value_thousandths, k.achieved_at, k.achieved_recorded_at, k.days::date[],
       k.rewarded, k.forfeited, k.settled, k.awaits_end
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :target_group_ids::text::bigint[], :target_ids::text::bigint[], :period_numbers::text::integer[],
              :runs::text::integer[], :values::text::bigint[], :target_values::text::bigint[],
              :achieved_ats::text::timestamptz[], :achieved_recorded_ats::text::timestamptz[], :days::text[],
              :rewardeds::text::boolean[], :forfeiteds::text::boolean[], :settleds::text::boolean[],
              :awaits_ends::text::boolean[])
       AS k (bucket, organisation_id, customer_id, target_group_id, target_id, period_number, run, value_thousandths,
             target_value_thousandths, achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled,
             awaits_end)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus
    ON CONFLICT (bucket, organisation_id, customer_id, target_group_id, period_number, target_id, run) DO UPDATE
   SET value_thousandths = EXCLUDED.value_thousandths,
       achieved_at = EXCLUDED.achieved_at,
       achieved_recorded_at = EXCLUDED.achieved_recorded_at,
       days = EXCLUDED.days,
       rewarded = EXCLUDED.rewarded,
       forfeited = EXCLUDED.forfeited,
       settled = EXCLUDED.settled,
       awaits_end = EXCLUDED.awaits_end
