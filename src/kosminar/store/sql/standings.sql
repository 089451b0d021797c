-- hold_definitions
-- A batch holds its organisations' definitions and clocks still; whoever changes one waits for the batch, and the
-- next batch sees the change.
SELECT pg_advisory_xact_lock_shared(key)
  FROM unnest(:keys::bigint[]) AS key

-- list_clocks
-- Read after the definitions are held, so that no command is dated before a period end that was worked.
SELECT organisation_id, test_clock, clock_at, definitions_version
  FROM organisation
 WHERE organisation_id = ANY(:organisation_ids::bigint[])

-- lock_customers
-- The customer row is the lock; key order, in which the keys come, keeps two batches from waiting for each other.
SELECT k.place, c.sequence, c.notification_number, c.changed_at
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[]) WITH ORDINALITY
       AS k (bucket, organisation_id, customer_id, place)
  JOIN customer AS c
    ON c.bucket = k.bucket AND c.organisation_id = k.organisation_id AND c.customer_id = k.customer_id
 ORDER BY k.place
   FOR UPDATE OF c

-- save_customers
-- Under the lock taken by lock_customers.
UPDATE customer AS c
   SET sequence = k.sequence,
       notification_number = k.notification_number,
       changed_at = k.changed_at
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[],
              :sequences::bigint[], :notification_numbers::bigint[], :changed_ats::timestamptz[])
       AS k (bucket, organisation_id, customer_id, sequence, notification_number, changed_at)
 WHERE c.bucket = k.bucket AND c.organisation_id = k.organisation_id AND c.customer_id = k.customer_id

-- list_enrolments
-- Every stretch of the standings that a batch touches, in order; a place is the customer's in the three arrays.
SELECT k.place, e.target_id, e.method, e.starts_at, e.ends_at, e.first_period_number
  FROM unnest(:places::integer[], :target_ids::bigint[]) AS k (place, target_id)
  JOIN enrolment AS e
    ON e.bucket = (:buckets::smallint[])[k.place]
   AND e.organisation_id = (:organisation_ids::bigint[])[k.place]
   AND e.customer_id = (:customer_ids::bigint[])[k.place]
   AND e.target_id = k.target_id
 ORDER BY k.place, e.target_id, e.number

-- list_progress
-- The periods that a batch touches, in every run; a place is the customer's in the three arrays.
SELECT k.place, p.target_id, p.period_id, p.run, p.value, p.achieved_at, p.achieved_recorded_at, p.days, p.rewarded,
       p.forfeited, p.settled
  FROM unnest(:places::integer[], :target_ids::bigint[], :period_ids::bigint[]) AS k (place, target_id, period_id)
  JOIN progress AS p
    ON p.bucket = (:buckets::smallint[])[k.place]
   AND p.organisation_id = (:organisation_ids::bigint[])[k.place]
   AND p.customer_id = (:customer_ids::bigint[])[k.place]
   AND p.target_id = k.target_id AND p.period_id = k.period_id

-- list_awaiting_progress
-- What a period end still has to decide, of standings whose target gives rewards at period end; a place is the
-- customer's in the three arrays.
SELECT k.place, p.target_id, p.period_id, p.run, p.value, p.achieved_at, p.achieved_recorded_at, p.days, p.rewarded,
       p.forfeited, p.settled
  FROM unnest(:places::integer[], :target_ids::bigint[]) AS k (place, target_id)
  JOIN progress AS p
    ON p.bucket = (:buckets::smallint[])[k.place]
   AND p.organisation_id = (:organisation_ids::bigint[])[k.place]
   AND p.customer_id = (:customer_ids::bigint[])[k.place]
   AND p.target_id = k.target_id
 WHERE p.awaits_end

-- list_runs
-- Every run of the streaks that a batch touches, in order; a place is the customer's in the three arrays.
SELECT k.place, s.target_id, s.run, s.starts_at, s.ends_at, s.met, s.reached, s.broken_number
  FROM unnest(:places::integer[], :target_ids::bigint[]) AS k (place, target_id)
  JOIN streak AS s
    ON s.bucket = (:buckets::smallint[])[k.place]
   AND s.organisation_id = (:organisation_ids::bigint[])[k.place]
   AND s.customer_id = (:customer_ids::bigint[])[k.place]
   AND s.target_id = k.target_id
 ORDER BY k.place, s.target_id, s.run

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
-- Of a period that was touched before, what can change.
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
-- Of a run that was there before, what can change.
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

-- list_enrolments_of_customers
-- What is remembered of a range of customers' enrolments, for reads.
SELECT customer_id, target_id, method, starts_at, ends_at, first_period_number
  FROM enrolment
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, target_id, number

-- list_progress_of_customers
-- What is remembered of a range of customers' progress, for reads.
SELECT customer_id, target_id, period_id, run, value, achieved_at, achieved_recorded_at, days, rewarded, forfeited,
       settled
  FROM progress
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last

-- list_runs_of_customers
-- What is remembered of a range of customers' streaks, for reads.
SELECT customer_id, target_id, run, starts_at, ends_at, met, reached, broken_number
  FROM streak
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, target_id, run

-- list_customers_to_tell_of_end
-- Of one bucket, whoever was in a period at its end and was not told so yet, a page after one.
SELECT DISTINCT e.customer_id
  FROM enrolment AS e
 WHERE e.bucket = :bucket
   AND e.organisation_id = :organisation_id
   AND e.customer_id > :after
   AND e.target_id = :target_id
   AND e.method <> 'opt_out'
   AND e.first_period_number <= :number
   AND e.starts_at < :ended_at
   AND (e.ends_at IS NULL OR e.ends_at >= :ended_at)
   AND NOT EXISTS (SELECT 1
                     FROM notification AS n
                    WHERE n.bucket = e.bucket AND n.organisation_id = e.organisation_id
                      AND n.customer_id = e.customer_id AND n.target_id = e.target_id
                      AND n.period_id = :period_id AND n.name = 'targetPeriodCompleted')
 ORDER BY e.customer_id
 LIMIT :limit
