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
       NULL::integer AS definitions_version, NULL::bigint AS generation
  FROM locked
 UNION ALL
SELECT NULL, NULL, NULL, NULL, organisation_id, test_clock, clock_at, definitions_version,
       (SELECT max(generation) FROM generation)
  FROM organisation
 WHERE organisation_id = ANY(:clocks_of::bigint[])

-- list_standings
-- What standings that a batch touches are made of: every stretch, the periods concerned in every run, what a period end
-- still has to decide, and every run of streaks. In no order; columns that a part has not are null; a place is the
-- customer's in the three arrays.
SELECT 'enrolment' AS part, k.place, e.target_id,
       e.number, e.method, e.starts_at, e.ends_at, e.first_period_number,
       NULL::bigint AS period_id, NULL::integer AS run, NULL::numeric AS value, NULL::timestamptz AS achieved_at,
       NULL::timestamptz AS achieved_recorded_at, NULL::date[] AS days, NULL::boolean AS rewarded,
       NULL::boolean AS forfeited, NULL::boolean AS settled,
       NULL::integer AS streak_run, NULL::timestamptz AS run_starts_at, NULL::timestamptz AS run_ends_at,
       NULL::integer[] AS met, NULL::bigint[] AS reached, NULL::integer AS broken_number
  FROM unnest(:places::integer[], :target_ids::bigint[]) AS k (place, target_id)
  JOIN enrolment AS e
    ON e.bucket = (:buckets::smallint[])[k.place]
   AND e.organisation_id = (:organisation_ids::bigint[])[k.place]
   AND e.customer_id = (:customer_ids::bigint[])[k.place]
   AND e.target_id = k.target_id
 UNION ALL
SELECT 'progress', k.place, p.target_id,
       NULL, NULL, NULL, NULL, NULL,
       p.period_id, p.run, p.value, p.achieved_at, p.achieved_recorded_at, p.days, p.rewarded, p.forfeited, p.settled,
       NULL, NULL, NULL, NULL, NULL, NULL
  FROM unnest(:touched_places::integer[], :touched_target_ids::bigint[], :touched_period_ids::bigint[])
       AS k (place, target_id, period_id)
  JOIN progress AS p
    ON p.bucket = (:buckets::smallint[])[k.place]
   AND p.organisation_id = (:organisation_ids::bigint[])[k.place]
   AND p.customer_id = (:customer_ids::bigint[])[k.place]
   AND p.target_id = k.target_id AND p.period_id = k.period_id
 UNION ALL
SELECT 'progress', k.place, p.target_id,
       NULL, NULL, NULL, NULL, NULL,
       p.period_id, p.run, p.value, p.achieved_at, p.achieved_recorded_at, p.days, p.rewarded, p.forfeited, p.settled,
       NULL, NULL, NULL, NULL, NULL, NULL
  FROM unnest(:awaiting_places::integer[], :awaiting_target_ids::bigint[]) AS k (place, target_id)
       -- OFFSET keeps the test of awaits_end out: it would lead to the index of period ends, which knows no customer.
 CROSS JOIN LATERAL (SELECT q.*
                       FROM progress AS q
                      WHERE q.bucket = (:buckets::smallint[])[k.place]
                        AND q.organisation_id = (:organisation_ids::bigint[])[k.place]
                        AND q.customer_id = (:customer_ids::bigint[])[k.place]
                        AND q.target_id = k.target_id
                     OFFSET 0) AS p
 WHERE p.awaits_end
 UNION ALL
SELECT 'run', k.place, s.target_id,
       NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       s.run, s.starts_at, s.ends_at, s.met, s.reached, s.broken_number
  FROM unnest(:streak_places::integer[], :streak_target_ids::bigint[]) AS k (place, target_id)
  JOIN streak AS s
    ON s.bucket = (:buckets::smallint[])[k.place]
   AND s.organisation_id = (:organisation_ids::bigint[])[k.place]
   AND s.customer_id = (:customer_ids::bigint[])[k.place]
   AND s.target_id = k.target_id

-- find_customer_with_standings
-- One customer, the organisation's clock and all that is remembered of every target, of one moment: a read needs no
-- snapshot of its own for it.
SELECT c.customer_id, c.external_id, c.mobile, c.email, c.first_name, c.last_name, c.created_at,
       o.test_clock, o.clock_at, o.definitions_version, (SELECT max(generation) FROM generation) AS generation,
       ARRAY(SELECT e
               FROM enrolment AS e
              WHERE e.bucket = c.bucket AND e.organisation_id = c.organisation_id
                AND e.customer_id = c.customer_id) AS enrolments,
       ARRAY(SELECT p
               FROM progress AS p
              WHERE p.bucket = c.bucket AND p.organisation_id = c.organisation_id
                AND p.customer_id = c.customer_id) AS progress,
       ARRAY(SELECT s
               FROM streak AS s
              WHERE s.bucket = c.bucket AND s.organisation_id = c.organisation_id
                AND s.customer_id = c.customer_id) AS runs
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
