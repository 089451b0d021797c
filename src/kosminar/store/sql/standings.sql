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
-- The standings that a batch touches: of each its row, the ended periods that are concerned, and those that still have
-- something to decide. In no order; columns that a part has not are null; a place is the standing's in the arrays.
SELECT 'standing' AS part, k.place, s.version, s.wakes_at, s.likeness, s.enrolled, s.left_at,
       s.period_number, s.run, s.value_thousandths, s.target_value_thousandths, s.achieved_at, s.achieved_recorded_at,
       s.rewarded, s.forfeited, s.settled, s.document::text AS document,
       NULL::bigint AS target_id, NULL::date[] AS days, NULL::boolean AS awaits_end
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :target_group_ids::bigint[])
       WITH ORDINALITY AS k (bucket, organisation_id, customer_id, target_group_id, place)
  JOIN standing AS s
    ON s.bucket = k.bucket AND s.organisation_id = k.organisation_id AND s.customer_id = k.customer_id
   AND s.target_group_id = k.target_group_id
 UNION ALL
SELECT 'ended', k.place, NULL, NULL, NULL, NULL, NULL,
       e.period_number, e.run, e.value_thousandths, e.target_value_thousandths, e.achieved_at, e.achieved_recorded_at,
       e.rewarded, e.forfeited, e.settled, NULL,
       e.target_id, e.days, e.awaits_end
  FROM unnest(:ended_buckets::smallint[], :ended_organisation_ids::bigint[], :ended_customer_ids::bigint[],
              :ended_target_group_ids::bigint[], :ended_period_numbers::integer[], :ended_places::bigint[])
       AS k (bucket, organisation_id, customer_id, target_group_id, period_number, place)
  JOIN ended_period AS e
    ON e.bucket = k.bucket AND e.organisation_id = k.organisation_id AND e.customer_id = k.customer_id
   AND e.target_group_id = k.target_group_id AND e.period_number = k.period_number
 UNION ALL
SELECT 'ended', k.place, NULL, NULL, NULL, NULL, NULL,
       e.period_number, e.run, e.value_thousandths, e.target_value_thousandths, e.achieved_at, e.achieved_recorded_at,
       e.rewarded, e.forfeited, e.settled, NULL,
       e.target_id, e.days, e.awaits_end
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :target_group_ids::bigint[])
       WITH ORDINALITY AS k (bucket, organisation_id, customer_id, target_group_id, place)
  JOIN ended_period AS e
    ON e.bucket = k.bucket AND e.organisation_id = k.organisation_id AND e.customer_id = k.customer_id
   AND e.target_group_id = k.target_group_id AND e.awaits_end

-- find_customer_with_standings
-- One customer, the organisation's clock and all that is remembered of every group, of one moment: a read needs no
-- snapshot of its own for it.
SELECT c.customer_id, c.external_id, c.mobile, c.email, c.first_name, c.last_name, c.created_at,
       o.test_clock, o.clock_at, o.definitions_version, (SELECT max(generation) FROM generation) AS generation,
       ARRAY(SELECT s
               FROM standing AS s
              WHERE s.bucket = c.bucket AND s.organisation_id = c.organisation_id
                AND s.customer_id = c.customer_id) AS standings,
       ARRAY(SELECT e
               FROM ended_period AS e
              WHERE e.bucket = c.bucket AND e.organisation_id = c.organisation_id
                AND e.customer_id = c.customer_id) AS ended
  FROM customer AS c
  JOIN organisation AS o
    ON o.organisation_id = c.organisation_id
 WHERE c.bucket = :bucket AND c.organisation_id = :organisation_id AND c.customer_id = :customer_id

-- list_customers_to_tell_of_end
-- Of one bucket, customers who may have been in a group's period at its end and were not notified of it yet, a page
-- after one. The standing says who was.
SELECT s.customer_id
  FROM standing AS s
 WHERE s.bucket = :bucket
   AND s.organisation_id = :organisation_id
   AND s.customer_id > :after
   AND s.target_group_id = :target_group_id
   AND (s.enrolled OR s.left_at >= :ended_at)
   AND NOT EXISTS (SELECT 1
                     FROM notification AS n
                    WHERE n.bucket = s.bucket AND n.organisation_id = s.organisation_id
                      AND n.customer_id = s.customer_id AND n.target_id = :target_id
                      AND n.period_id = :period_id AND n.name = 'targetPeriodCompleted')
 ORDER BY s.customer_id
 LIMIT :limit
