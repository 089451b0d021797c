-- hold_definitions
-- A batch holds its organisations' definitions and clocks still; whoever changes one waits for the batch, and the
-- next batch sees the change.
SELECT pg_advisory_xact_lock_shared(key)
  FROM unnest(:keys::bigint[]) AS key

-- lock_customers
-- The customer row is the lock; key order, in which the keys come, keeps two batches from waiting for each other. The
-- clocks come with them: the definitions are held before, so that no command is dated before a period end that was
-- worked, and what is held cannot change while a customer is waited for.
WITH locked AS (
    SELECT k.place, c.sequence, c.notification_number, c.changed_at
      FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[]) WITH ORDINALITY
           AS k (bucket, organisation_id, customer_id, place)
      JOIN customer AS c
        ON c.bucket = k.bucket AND c.organisation_id = k.organisation_id AND c.customer_id = k.customer_id
     ORDER BY k.place
       FOR UPDATE OF c
)
SELECT place, sequence, notification_number, changed_at,
       NULL::bigint AS organisation_id, NULL::boolean AS test_clock, NULL::timestamptz AS clock_at,
       NULL::integer AS definitions_version
  FROM locked
 UNION ALL
SELECT NULL, NULL, NULL, NULL, organisation_id, test_clock, clock_at, definitions_version
  FROM organisation
 WHERE organisation_id = ANY(:clocks_of::bigint[])

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

-- find_customer_with_standings
-- One customer, the organisation's clock and all that is remembered of every target, of one moment: a read needs no
-- snapshot of its own for it.
SELECT c.customer_id, c.external_id, c.mobile, c.email, c.first_name, c.last_name, c.created_at,
       o.test_clock, o.clock_at, o.definitions_version,
       ARRAY(SELECT e
               FROM enrolment AS e
              WHERE e.bucket = c.bucket AND e.organisation_id = c.organisation_id AND e.customer_id = c.customer_id
              ORDER BY e.target_id, e.number) AS enrolments,
       ARRAY(SELECT p
               FROM progress AS p
              WHERE p.bucket = c.bucket AND p.organisation_id = c.organisation_id
                AND p.customer_id = c.customer_id) AS progress,
       ARRAY(SELECT s
               FROM streak AS s
              WHERE s.bucket = c.bucket AND s.organisation_id = c.organisation_id AND s.customer_id = c.customer_id
              ORDER BY s.target_id, s.run) AS runs
  FROM customer AS c
  JOIN organisation AS o
    ON o.organisation_id = c.organisation_id
 WHERE c.bucket = :bucket AND c.organisation_id = :organisation_id AND c.customer_id = :customer_id

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
