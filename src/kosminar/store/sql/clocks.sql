-- lock_settling
-- One at a time works an organisation's period ends; a second one waits, and then finds nothing to do.
SELECT pg_advisory_lock(:key)

-- try_lock_settling
-- For who has others to look after and need not wait.
SELECT pg_try_advisory_lock(:key)

-- unlock_settling
-- Session locks outlive transactions, so this one is given back by hand.
SELECT pg_advisory_unlock(:key)

-- fetch_clock
-- Where an organisation's time stands, and up to where everything due was worked.
SELECT test_clock, clock_at, settled_at, settled_version, definitions_version
  FROM organisation
 WHERE organisation_id = :organisation_id

-- move_clock
-- Forward only: a test clock's time, a real clock's floor.
UPDATE organisation
   SET clock_at = GREATEST(clock_at, :now::timestamptz)
 WHERE organisation_id = :organisation_id

-- mark_settled
-- Everything due up to this instant is done.
UPDATE organisation
   SET settled_at = GREATEST(settled_at, :settled_at::timestamptz),
       settled_version = GREATEST(settled_version, :version::integer)
 WHERE organisation_id = :organisation_id

-- next_due
-- The first instant after which something falls due.
SELECT min(due_at)
  FROM due_instant
 WHERE organisation_id = :organisation_id::bigint
   AND due_at > :after::timestamptz
   AND due_at <= :until::timestamptz

-- list_organisations_due
-- The organisations in which a period fell due, or a programme was deactivated, and that was not worked yet.
SELECT o.organisation_id
  FROM organisation AS o
 WHERE EXISTS (SELECT 1
                 FROM due_instant AS d
                WHERE d.organisation_id = o.organisation_id
                  AND d.due_at > o.settled_at
                  AND d.due_at
                      <= CASE WHEN o.test_clock THEN o.clock_at ELSE GREATEST(o.clock_at, :now::timestamptz) END)
    OR EXISTS (SELECT 1
                 FROM definition AS d
                WHERE d.organisation_id = o.organisation_id
                  AND d.version > o.settled_version
                  AND d.deactivated_at IS NOT NULL)
 ORDER BY o.organisation_id

-- list_organisations
-- Every organisation, for the look round at start.
SELECT organisation_id
  FROM organisation
 ORDER BY organisation_id
