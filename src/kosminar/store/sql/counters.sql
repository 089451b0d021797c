-- insert_counter_changes
-- What a batch moved: one row for each group, period and day. Arrays of numbers come as their own text, which the driver
-- need not look into.
INSERT INTO counter_change (bucket, organisation_id, target_group_id, period_number, day, total_bucket, counts)
SELECT p.bucket, k.organisation_id, k.target_group_id, k.period_number, k.day, k.total_bucket, k.counts::bigint[]
  FROM unnest(:organisation_ids::text::bigint[], :target_group_ids::text::bigint[], :period_numbers::text::integer[],
              :days::text::date[], :total_buckets::text::smallint[], :counts::text::text[])
       AS k (organisation_id, target_group_id, period_number, day, total_bucket, counts)
  JOIN place AS p
    ON p.bucket = :bucket::smallint

-- try_lock_totals
-- One process at a time adds changes to totals; it is released when the transaction ends.
SELECT pg_try_advisory_xact_lock(:key::bigint)

-- take_counter_changes
-- Removes the changes that are there, and answers their sums: number by number, of each day and of all days.
WITH taken AS (
    DELETE FROM counter_change AS c
     WHERE c.bucket = ANY(:buckets::smallint[])
    RETURNING c.total_bucket, c.organisation_id, c.target_group_id, c.period_number, c.day, c.counts
), summed AS (
    SELECT t.total_bucket, t.organisation_id, t.target_group_id, t.period_number, t.day, n.slot,
           sum(n.number)::bigint AS number,
           count(*)::bigint AS change_count
      FROM taken AS t
     CROSS JOIN LATERAL unnest(t.counts) WITH ORDINALITY AS n (number, slot)
     GROUP BY GROUPING SETS ((t.total_bucket, t.organisation_id, t.target_group_id, t.period_number, n.slot, t.day),
                             (t.total_bucket, t.organisation_id, t.target_group_id, t.period_number, n.slot))
)
SELECT s.total_bucket, s.organisation_id, s.target_group_id, s.period_number, s.day,
       array_agg(s.number ORDER BY s.slot) AS counts,
       max(s.change_count) AS change_count
  FROM summed AS s
 GROUP BY s.total_bucket, s.organisation_id, s.target_group_id, s.period_number, s.day

-- list_totals
-- The totals of these keys, as they are; a key that has none yet is not there. In two parts, because an index finds a day
-- and finds NULL, and not either of them.
SELECT k.place, t.counts
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :target_group_ids::bigint[],
              :period_numbers::integer[], :days::date[]) WITH ORDINALITY
       AS k (bucket, organisation_id, target_group_id, period_number, day, place)
  JOIN counter_total AS t
    ON t.bucket = k.bucket AND t.organisation_id = k.organisation_id AND t.target_group_id = k.target_group_id
   AND t.period_number = k.period_number AND t.day = k.day
 UNION ALL
SELECT k.place, t.counts
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :target_group_ids::bigint[],
              :period_numbers::integer[], :days::date[]) WITH ORDINALITY
       AS k (bucket, organisation_id, target_group_id, period_number, day, place)
  JOIN counter_total AS t
    ON t.bucket = k.bucket AND t.organisation_id = k.organisation_id AND t.target_group_id = k.target_group_id
   AND t.period_number = k.period_number AND t.day IS NULL
 WHERE k.day IS NULL

-- save_totals
-- The totals with what was added. Nobody else writes them: the lock is held since before they were read.
INSERT INTO counter_total (bucket, organisation_id, target_group_id, day, period_number, counts)
SELECT p.bucket, k.organisation_id, k.target_group_id, k.day, k.period_number, k.counts::bigint[]
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :target_group_ids::bigint[],
              :period_numbers::integer[], :days::date[], :counts::text[])
       AS k (bucket, organisation_id, target_group_id, period_number, day, counts)
  JOIN place AS p
    ON p.bucket = k.bucket
    ON CONFLICT (bucket, organisation_id, target_group_id, day, period_number) DO UPDATE
   SET counts = EXCLUDED.counts

-- list_overview
-- Of each of these groups, the sums of all days and of each day from one on: totals, and the changes that are not yet
-- added. One statement, so that a change is in one of the two and never in both. Changes are added up before they count
-- for their day and for all days. Places in a row are written out, because as parameters they double the time; a test
-- compares them with `Slot`, whose first is 0.
WITH waiting AS (
    SELECT c.target_group_id, c.period_number, c.day,
           sum(c.counts[1])::bigint AS enrolled,
           sum(c.counts[2])::bigint AS stretches_left,
           sum(c.counts[3])::bigint AS achieved,
           sum(c.counts[15])::bigint AS on_streak,
           sum(c.counts[29])::bigint AS issued
      FROM counter_change AS c
     WHERE c.bucket = ANY(:buckets::smallint[]) AND c.organisation_id = :organisation_id::bigint
     GROUP BY c.target_group_id, c.period_number, c.day
), moved AS (
    SELECT t.target_group_id, t.period_number, t.day, t.counts[1] AS enrolled,
           t.counts[2] AS stretches_left, t.counts[3] AS achieved,
           t.counts[15] AS on_streak, t.counts[29] AS issued
      FROM unnest(:total_buckets::smallint[], :target_group_ids::bigint[]) AS k (bucket, target_group_id)
      JOIN counter_total AS t
        ON t.bucket = k.bucket AND t.organisation_id = :organisation_id::bigint AND t.target_group_id = k.target_group_id
       AND t.day IS NULL
     UNION ALL
    SELECT t.target_group_id, t.period_number, t.day, t.counts[1], t.counts[2], t.counts[3], t.counts[15], t.counts[29]
      FROM unnest(:total_buckets::smallint[], :target_group_ids::bigint[]) AS k (bucket, target_group_id)
      JOIN counter_total AS t
        ON t.bucket = k.bucket AND t.organisation_id = :organisation_id::bigint AND t.target_group_id = k.target_group_id
       AND t.day >= :first_day::date
     UNION ALL
    SELECT w.target_group_id, w.period_number, NULL, w.enrolled, w.stretches_left, w.achieved, w.on_streak, w.issued
      FROM waiting AS w
     UNION ALL
    SELECT w.target_group_id, w.period_number, w.day, w.enrolled, w.stretches_left, w.achieved, w.on_streak, w.issued
      FROM waiting AS w
     WHERE w.day >= :first_day::date
)
SELECT m.target_group_id, m.day,
       sum(m.enrolled)::bigint AS enrolled,
       sum(m.stretches_left)::bigint AS stretches_left,
       sum(m.achieved)::bigint AS achieved,
       sum(m.on_streak)::bigint AS on_streak,
       sum(m.issued)::bigint AS issued,
       coalesce(sum(m.achieved) FILTER (WHERE m.period_number = r.period_number), 0)::bigint AS achieved_now
  FROM moved AS m
  JOIN unnest(:target_group_ids::bigint[], :running_numbers::integer[]) AS r (target_group_id, period_number)
    ON r.target_group_id = m.target_group_id
 GROUP BY m.target_group_id, m.day

-- list_counters
-- Everything that is counted in an organisation: totals, and the changes that are not yet added.
SELECT t.bucket AS total_bucket, t.target_group_id, t.period_number, t.day, t.counts, false AS waits
  FROM counter_total AS t
 WHERE t.bucket = ANY(:buckets::smallint[]) AND t.organisation_id = :organisation_id::bigint
 UNION ALL
SELECT c.total_bucket, c.target_group_id, c.period_number, c.day, c.counts, true
  FROM counter_change AS c
 WHERE c.bucket = ANY(:buckets::smallint[])
   AND c.organisation_id = :organisation_id::bigint
