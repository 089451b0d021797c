-- insert_counter_changes
-- What a batch moved: one row for each group, period and day. Arrays of numbers come as their own text, which the driver
-- need not look into, and from the first number that moved to the last.
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

-- plan_sums_by_hash
-- Until the transaction ends, what is summed is grouped by hashing, whatever PostgreSQL knows of how many changes there are:
-- it takes rows that live for a second for few, and would sort 50,000 of them on disk.
SELECT set_config('enable_sort', 'off', true)

-- take_counter_changes
-- Removes the changes that are there, and answers their sums: number by number, of each day and of all days. NULL where
-- no change had the number. One pass over the rows: to unnest the arrays takes six times as long. A test compares the
-- places with `Slot`.
WITH taken AS (
    DELETE FROM counter_change AS c
     WHERE c.bucket = ANY(:buckets::smallint[])
    RETURNING c.total_bucket, c.organisation_id, c.target_group_id, c.period_number, c.day, c.counts
)
SELECT t.total_bucket, t.organisation_id, t.target_group_id, t.period_number, t.day,
       ARRAY[sum(t.counts[1]), sum(t.counts[2]), sum(t.counts[3]), sum(t.counts[4]), sum(t.counts[5]), sum(t.counts[6]), sum(t.counts[7]), sum(t.counts[8]),
             sum(t.counts[9]), sum(t.counts[10]), sum(t.counts[11]), sum(t.counts[12]), sum(t.counts[13]), sum(t.counts[14]), sum(t.counts[15]), sum(t.counts[16]),
             sum(t.counts[17]), sum(t.counts[18]), sum(t.counts[19]), sum(t.counts[20]), sum(t.counts[21]), sum(t.counts[22]), sum(t.counts[23]), sum(t.counts[24]),
             sum(t.counts[25]), sum(t.counts[26]), sum(t.counts[27]), sum(t.counts[28]), sum(t.counts[29]), sum(t.counts[30]), sum(t.counts[31]), sum(t.counts[32]),
             sum(t.counts[33]), sum(t.counts[34]), sum(t.counts[35]), sum(t.counts[36]), sum(t.counts[37]), sum(t.counts[38]), sum(t.counts[39]), sum(t.counts[40])]::bigint[] AS counts,
       count(*) AS change_count
  FROM taken AS t
 GROUP BY GROUPING SETS ((t.total_bucket, t.organisation_id, t.target_group_id, t.period_number, t.day),
                         (t.total_bucket, t.organisation_id, t.target_group_id, t.period_number))

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
-- for their day and for all days; those that move tenths alone, as most do, are passed over, which halves the time. Places in a row are written out, because as parameters they double the time; a test
-- compares them with `Slot`, whose first is 0.
WITH waiting AS (
    SELECT c.target_group_id, c.period_number, c.day,
           coalesce(sum(c.counts[1]), 0)::bigint AS enrolled,
           coalesce(sum(c.counts[2]), 0)::bigint AS stretches_left,
           coalesce(sum(c.counts[3]), 0)::bigint AS achieved,
           coalesce(sum(c.counts[15]), 0)::bigint AS on_streak,
           coalesce(sum(c.counts[29]), 0)::bigint AS issued
      FROM counter_change AS c
     WHERE c.bucket = ANY(:buckets::smallint[]) AND c.organisation_id = :organisation_id::bigint
       AND (array_lower(c.counts, 1) < 4 OR array_upper(c.counts, 1) > 14)
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
-- Everything that is counted in an organisation: totals, and the changes that are not yet added. The driver does not
-- say at which place an array begins.
SELECT t.bucket AS total_bucket, t.target_group_id, t.period_number, t.day, array_lower(t.counts, 1) AS first_place,
       t.counts, false AS waits
  FROM counter_total AS t
 WHERE t.bucket = ANY(:buckets::smallint[]) AND t.organisation_id = :organisation_id::bigint
 UNION ALL
SELECT c.total_bucket, c.target_group_id, c.period_number, c.day, array_lower(c.counts, 1), c.counts, true
  FROM counter_change AS c
 WHERE c.bucket = ANY(:buckets::smallint[])
   AND c.organisation_id = :organisation_id::bigint
