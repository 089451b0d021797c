-- list_some_awake
-- Of customers whose standing in a group is to wake, or was left behind by a change of the group and may wake, the first
-- few that are found: all of them where there are fewer.
SELECT s.bucket, s.customer_id
  FROM standing AS s
 WHERE s.bucket = ANY(:buckets::smallint[])
   AND s.organisation_id = :organisation_id
   AND s.target_group_id = :target_group_id
   AND s.wakes_at <= :until
   AND (s.wakes_at <= :at OR s.version < :version)
 LIMIT :limit

-- list_awake_page
-- Of one bucket, in the order in which they wake, what comes after one.
SELECT s.wakes_at, s.customer_id
  FROM standing AS s
 WHERE s.bucket = :bucket
   AND s.organisation_id = :organisation_id
   AND s.target_group_id = :target_group_id
   AND s.wakes_at <= :until
   AND (s.wakes_at <= :at OR s.version < :version)
   AND (s.wakes_at, s.customer_id) > (:after_instant, :after_customer)
 ORDER BY s.wakes_at, s.customer_id
 LIMIT :limit

-- list_likenesses
-- Of locked customers, those whose standing may be decided for many: its version, when it wakes, and its likeness.
SELECT k.place, s.version, s.wakes_at, s.likeness
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[]) WITH ORDINALITY AS k (bucket, customer_id, place)
  JOIN standing AS s
    ON s.bucket = k.bucket AND s.organisation_id = :organisation_id AND s.customer_id = k.customer_id
   AND s.target_group_id = :target_group_id
 WHERE s.likeness IS NOT NULL
 ORDER BY k.place

-- mark_latest
-- The marks that a period's end leaves on the latest progress of locked customers who are alike.
UPDATE standing AS s
   SET version = :version,
       wakes_at = :wakes_at,
       likeness = :likeness,
       rewarded = :rewarded,
       forfeited = :forfeited,
       settled = :settled
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[]) AS k (bucket, customer_id)
 WHERE s.bucket = k.bucket AND s.organisation_id = :organisation_id AND s.customer_id = k.customer_id
   AND s.target_group_id = :target_group_id
RETURNING s.bucket, s.customer_id, s.value_thousandths

-- mark_ended
-- The same on a period that has left its standing.
UPDATE ended_period AS e
   SET rewarded = :rewarded,
       forfeited = :forfeited,
       settled = :settled,
       awaits_end = :awaits_end
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[]) AS k (bucket, customer_id)
 WHERE e.bucket = k.bucket AND e.organisation_id = :organisation_id AND e.customer_id = k.customer_id
   AND e.target_group_id = :target_group_id AND e.period_number = :period_number AND e.target_id = :target_id
   AND e.run = :run
RETURNING e.bucket, e.customer_id, e.value_thousandths

-- wake_next
-- Of standings that are marked nowhere else: when they wake next.
UPDATE standing AS s
   SET version = :version,
       wakes_at = :wakes_at,
       likeness = :likeness
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[]) AS k (bucket, customer_id)
 WHERE s.bucket = k.bucket AND s.organisation_id = :organisation_id AND s.customer_id = k.customer_id
   AND s.target_group_id = :target_group_id

-- insert_entries_of_all
-- The same entry for each of these customers, but for its number and the value with which the period ended.
INSERT INTO journal (bucket, organisation_id, customer_id, number, at, definitions_version, kind, target_group_id, facts)
SELECT p.bucket, :organisation_id::bigint, k.customer_id, k.number, :now::timestamptz, :definitions_version::integer,
       'period_end', :target_group_id::bigint,
       replace(:facts::text, :own_value::text, k.value_thousandths::text)::json
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[], :numbers::bigint[], :values_thousandths::bigint[])
       AS k (bucket, customer_id, number, value_thousandths)
  JOIN place AS p
    ON p.bucket = k.bucket

-- insert_rewards_of_all
-- The same rewards for each of these customers; one that was given before fails the page, and no one of it is paid
-- twice.
INSERT INTO reward (bucket, organisation_id, customer_id, target_id, period_id, level_id, run,
                    reward_definition_id, kind, points, text, allocation, state, reason, earned_at, sequence,
                    handed_over)
SELECT p.bucket, :organisation_id::bigint, k.customer_id, r.target_id, r.period_id, r.level_id, r.run,
       r.reward_definition_id, r.kind, r.points, r.text, r.allocation, r.state, r.reason, r.earned_at, k.sequence,
       r.handed_over
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[], :sequences::bigint[])
       AS k (bucket, customer_id, sequence)
  JOIN place AS p
    ON p.bucket = k.bucket
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
   SET sequence = k.sequence,
       notification_number = k.notification_number,
       changed_at = :now
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[], :sequences::bigint[], :notification_numbers::bigint[])
       AS k (bucket, customer_id, sequence, notification_number)
 WHERE c.bucket = k.bucket AND c.organisation_id = :organisation_id AND c.customer_id = k.customer_id
