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

-- save_enrolments
-- A stretch is ended or moved back, never deleted.
INSERT INTO enrolment (bucket, organisation_id, customer_id, target_id, number, method, starts_at, ends_at,
                       first_period_number)
SELECT r.*
  FROM unnest(:rows::enrolment[]) AS r
    ON CONFLICT (bucket, organisation_id, customer_id, target_id, number) DO UPDATE
   SET starts_at = EXCLUDED.starts_at,
       ends_at = EXCLUDED.ends_at,
       first_period_number = EXCLUDED.first_period_number

-- save_progress
-- Of a period that was there before, what can change does.
INSERT INTO progress (bucket, organisation_id, customer_id, target_id, period_id, run, value, target_value,
                      achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled, awaits_end)
SELECT r.*
  FROM unnest(:rows::progress[]) AS r
    ON CONFLICT (bucket, organisation_id, customer_id, target_id, period_id, run) DO UPDATE
   SET value = EXCLUDED.value,
       achieved_at = EXCLUDED.achieved_at,
       achieved_recorded_at = EXCLUDED.achieved_recorded_at,
       days = EXCLUDED.days,
       rewarded = EXCLUDED.rewarded,
       forfeited = EXCLUDED.forfeited,
       settled = EXCLUDED.settled,
       awaits_end = EXCLUDED.awaits_end

-- save_runs
-- Of a run that was there before, what can change does.
INSERT INTO streak (bucket, organisation_id, customer_id, target_id, run, starts_at, ends_at, met, reached,
                    broken_number, watch_number)
SELECT r.*
  FROM unnest(:rows::streak[]) AS r
    ON CONFLICT (bucket, organisation_id, customer_id, target_id, run) DO UPDATE
   SET ends_at = EXCLUDED.ends_at,
       met = EXCLUDED.met,
       reached = EXCLUDED.reached,
       broken_number = EXCLUDED.broken_number,
       watch_number = EXCLUDED.watch_number
