-- What one enrol or un-enrol call needs of PostgreSQL, row by row, as one would write it for one customer: the yardstick
-- of writes.py, on the tables of schema.sql. Every client goes round its own slice of the customers; who is enrolled is
-- un-enrolled, and who is not is enrolled.
-- The customer's place is looked up (one row of a small table), because pgbench cannot compute a bucket.
\set number :client_id * :slice + (:step % :slice)
\set step :step + 1
BEGIN;
SELECT pg_advisory_xact_lock_shared(:definitions_key);
SELECT clock_at, definitions_version FROM organisation WHERE organisation_id = :organisation \gset
SELECT c.bucket, c.customer_id, c.sequence + 1 AS sequence
  FROM place AS b
  JOIN customer AS c
    ON c.bucket = b.bucket AND c.organisation_id = :organisation AND c.customer_id = b.customer_id
 WHERE b.number = :number
   FOR UPDATE OF c \gset
SELECT number AS stretch, ends_at IS NOT NULL AS returning
  FROM enrolment
 WHERE bucket = :bucket AND organisation_id = :organisation AND customer_id = :customer_id AND target_id = :target
 ORDER BY number DESC
 LIMIT 1 \gset
\if :returning
SELECT count(*) AS progress_count
  FROM progress
 WHERE bucket = :bucket AND organisation_id = :organisation AND customer_id = :customer_id AND target_id = :target
   AND period_id = :period \gset
INSERT INTO enrolment (bucket, organisation_id, customer_id, target_id, number, method, starts_at, ends_at,
                       first_period_number)
VALUES (:bucket, :organisation, :customer_id, :target, :stretch + 1, 'explicit', :clock_at, NULL, 1);
INSERT INTO command (bucket, organisation_id, customer_id, sequence, name, target_id, period_name, initial_balance,
                     reset, definitions_version, at, asked_by)
VALUES (:bucket, :organisation, :customer_id, :sequence, 'enrol', :target, NULL, NULL, false, :definitions_version,
        :clock_at, 'pgbench');
INSERT INTO fact (bucket, organisation_id, customer_id, sequence, ordinal, name, at, target_group_id, target_id,
                  period_id, run, level_id, reward_definition_id, value, reason)
VALUES (:bucket, :organisation, :customer_id, :sequence, 0, 're_enrolled', :clock_at, :group, :target,
        :period, NULL, NULL, NULL, NULL, NULL);
\else
UPDATE enrolment
   SET ends_at = :clock_at
 WHERE bucket = :bucket AND organisation_id = :organisation AND customer_id = :customer_id AND target_id = :target
   AND number = :stretch;
INSERT INTO command (bucket, organisation_id, customer_id, sequence, name, target_id, period_name, initial_balance,
                     reset, definitions_version, at, asked_by)
VALUES (:bucket, :organisation, :customer_id, :sequence, 'un_enrol', :target, NULL, NULL, false,
        :definitions_version, :clock_at, 'pgbench');
INSERT INTO fact (bucket, organisation_id, customer_id, sequence, ordinal, name, at, target_group_id, target_id,
                  period_id, run, level_id, reward_definition_id, value, reason)
VALUES (:bucket, :organisation, :customer_id, :sequence, 0, 'un_enrolled', :clock_at, :group, :target,
        :period, NULL, NULL, NULL, NULL, NULL);
\endif
UPDATE customer
   SET sequence = :sequence, changed_at = :clock_at
 WHERE bucket = :bucket AND organisation_id = :organisation AND customer_id = :customer_id;
COMMIT;
