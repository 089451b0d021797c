-- list_waiting_customers
-- Where an ended period has something to decide: of each target, period and bucket the first few customers. A
-- bucket is asked by itself, so that millions who wait are never sorted.
SELECT k.target_id, k.period_id, b.bucket, w.customer_id
  FROM unnest(:target_ids::bigint[], :period_ids::bigint[]) AS k (target_id, period_id)
 CROSS JOIN unnest(:buckets::smallint[]) AS b (bucket)
 CROSS JOIN LATERAL (SELECT p.customer_id
                       FROM progress AS p
                      WHERE p.bucket = b.bucket AND p.target_id = k.target_id AND p.period_id = k.period_id
                        AND p.organisation_id = :organisation_id AND p.awaits_end
                      ORDER BY p.customer_id
                      LIMIT :limit) AS w

-- list_waiting_page
-- Of one bucket, the customers for whom one period's end has something to decide, a page after one.
SELECT p.customer_id
  FROM progress AS p
 WHERE p.bucket = :bucket AND p.target_id = :target_id AND p.period_id = :period_id
   AND p.organisation_id = :organisation_id AND p.awaits_end
   AND p.customer_id > :after
 ORDER BY p.customer_id
 LIMIT :limit

-- lock_page
-- The customers of a page, in key order. By ids, because a join might sort a whole bucket for each page.
SELECT c.customer_id
  FROM customer AS c
 WHERE c.bucket = :bucket AND c.organisation_id = :organisation_id AND c.customer_id = ANY(:customer_ids::bigint[])
 ORDER BY c.bucket, c.organisation_id, c.customer_id
   FOR UPDATE OF c

-- settle_alike
-- Marks the period's end for those of the locked customers who are alike: enrolled once, in time for the period, and
-- still so; achieved, nothing forfeited, no other ended period waits. An open first stretch is the only one.
UPDATE progress AS p
   SET rewarded = :rewarded,
       forfeited = :forfeited,
       settled = :settled,
       awaits_end = :awaits_end
  FROM customer AS c, enrolment AS e
 WHERE p.bucket = :bucket AND p.organisation_id = :organisation_id AND p.customer_id = ANY(:customer_ids::bigint[])
   AND p.target_id = :target_id AND p.period_id = :period_id AND p.run = 1
   AND p.awaits_end
   AND p.rewarded = :rewarded_before
   AND NOT p.forfeited
   AND c.bucket = :bucket AND c.organisation_id = :organisation_id AND c.customer_id = p.customer_id
   AND c.changed_at <= :now
   AND e.bucket = :bucket AND e.organisation_id = :organisation_id AND e.customer_id = p.customer_id
   AND e.target_id = :target_id AND e.number = 1
   AND e.method <> 'opt_out'
   AND e.ends_at IS NULL
   AND e.first_period_number <= :number
   AND e.starts_at < :ended_at
   AND NOT EXISTS (SELECT 1
                     FROM progress AS other
                    WHERE other.bucket = :bucket AND other.organisation_id = :organisation_id
                      AND other.customer_id = p.customer_id AND other.target_id = :target_id
                      AND other.period_id = ANY(:other_period_ids::bigint[]) AND other.awaits_end)
RETURNING p.customer_id, c.sequence + 1 AS sequence, (p.value * 1000)::bigint AS value_thousandths

-- insert_entries_of_all
-- The same entry for each of these customers, but for its number and the value with which the period ended.
INSERT INTO journal (bucket, organisation_id, customer_id, number, at, definitions_version, kind, target_group_id, facts)
SELECT p.bucket, :organisation_id::bigint, k.customer_id, k.number, :now::timestamptz, :definitions_version::integer,
       'period_end', :target_group_id::bigint,
       replace(:facts::text, :own_value::text, k.value_thousandths::text)::json
  FROM unnest(:customer_ids::bigint[], :numbers::bigint[], :values_thousandths::bigint[])
       AS k (customer_id, number, value_thousandths)
  JOIN place AS p
    ON p.bucket = :bucket::smallint

-- insert_rewards_of_all
-- The same rewards for each of these customers; one that was given before fails the page, and nobody of it is paid
-- twice.
INSERT INTO reward (bucket, organisation_id, customer_id, target_id, period_id, level_id, run,
                    reward_definition_id, kind, points, text, allocation, state, reason, earned_at, sequence,
                    handed_over)
SELECT :bucket::smallint, :organisation_id::bigint, k.customer_id, r.target_id, r.period_id, r.level_id, r.run,
       r.reward_definition_id, r.kind, r.points, r.text, r.allocation, r.state, r.reason, r.earned_at, k.sequence,
       r.handed_over
  FROM unnest(:customer_ids::bigint[], :sequences::bigint[]) AS k (customer_id, sequence)
 CROSS JOIN unnest(:target_ids::bigint[], :period_ids::bigint[], :level_ids::bigint[], :runs::integer[],
                   :reward_definition_ids::bigint[], :kinds::text[], :points::numeric[], :texts::text[],
                   :allocations::text[], :states::text[], :reasons::text[], :earned_ats::timestamptz[],
                   :handed_overs::boolean[])
       AS r (target_id, period_id, level_id, run, reward_definition_id, kind, points, text, allocation, state,
             reason, earned_at, handed_over)

-- save_customers_of_all
-- Each takes one number, at one instant. Last of all: a row that is locked and not yet changed is cheap to refer
-- to.
UPDATE customer AS c
   SET sequence = c.sequence + 1,
       changed_at = :now
 WHERE c.bucket = :bucket AND c.organisation_id = :organisation_id AND c.customer_id = ANY(:customer_ids::bigint[])

-- list_customers_with_broken_streaks
-- Whose streak an ended period may have broken: of each target and bucket the first few.
SELECT k.target_id, b.bucket, w.customer_id
  FROM unnest(:target_ids::bigint[], :due_numbers::integer[]) AS k (target_id, due_number)
 CROSS JOIN unnest(:buckets::smallint[]) AS b (bucket)
 CROSS JOIN LATERAL (SELECT s.customer_id
                       FROM streak AS s
                      WHERE s.bucket = b.bucket AND s.target_id = k.target_id AND s.watch_number <= k.due_number
                        AND s.organisation_id = :organisation_id
                      ORDER BY s.watch_number, s.customer_id
                      LIMIT :limit) AS w

-- list_broken_streaks_page
-- Of one bucket, the customers whose streak in one target an ended period may have broken, a page after one.
SELECT DISTINCT s.customer_id
  FROM streak AS s
 WHERE s.bucket = :bucket AND s.target_id = :target_id AND s.watch_number <= :due_number
   AND s.organisation_id = :organisation_id
   AND s.customer_id > :after
 ORDER BY s.customer_id
 LIMIT :limit
