-- insert_activities
-- Accepted for ever. That a key exists would be our own mistake, and fails the batch; so it does where another process has
-- accepted the same activity meanwhile.
INSERT INTO journal (bucket, organisation_id, customer_id, number, at, occurred_at, definitions_version, entry, kind,
                     asked_by, request_id, activity_id, type, fingerprint, verdicts, facts, attributes)
SELECT p.bucket, k.organisation_id, k.customer_id, k.number, k.at, k.occurred_at, k.definitions_version, 1, 'activity',
       k.asked_by, k.request_id, k.activity_id, k.type, k.fingerprint, k.verdicts, k.facts, k.attributes::jsonb
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :numbers::text::bigint[], :ats::text::timestamptz[], :definitions_versions::text::integer[],
              :facts::text::json[], :asked_bys::text[], :request_ids::text[], :occurred_ats::text::timestamptz[],
              :activity_ids::text[], :types::text[], :fingerprints::text::bytea[], :verdicts::text::json[],
              :attributes::text[])
       AS k (bucket, organisation_id, customer_id, number, at, definitions_version, facts, asked_by, request_id,
             occurred_at, activity_id, type, fingerprint, verdicts, attributes)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- insert_commands
-- Enrolments and un-enrolments that somebody asked for.
INSERT INTO journal (bucket, organisation_id, customer_id, number, at, definitions_version, kind, asked_by, request_id,
                     facts, target_id, initial_balance_thousandths, reset, period_name)
SELECT p.bucket, k.organisation_id, k.customer_id, k.number, k.at, k.definitions_version, k.kind, k.asked_by,
       k.request_id, k.facts, k.target_id, k.initial_balance, k.reset, k.period_name
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :numbers::text::bigint[], :ats::text::timestamptz[], :definitions_versions::text::integer[],
              :facts::text::json[], :asked_bys::text[], :request_ids::text[], :kinds::text::text[],
              :target_ids::text::bigint[], :initial_balances::text::bigint[], :resets::text::boolean[],
              :period_names::text[])
       AS k (bucket, organisation_id, customer_id, number, at, definitions_version, facts, asked_by, request_id, kind,
             target_id, initial_balance, reset, period_name)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- insert_reports
-- What became of rewards.
INSERT INTO journal (bucket, organisation_id, customer_id, number, at, definitions_version, kind, asked_by, request_id,
                     fingerprint, facts, reward_id, outcome, reason)
SELECT p.bucket, k.organisation_id, k.customer_id, k.number, k.at, k.definitions_version, 'report', k.asked_by,
       k.request_id, k.fingerprint, k.facts, k.reward_id, k.outcome, k.reason
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :numbers::text::bigint[], :ats::text::timestamptz[], :definitions_versions::text::integer[],
              :facts::text::json[], :asked_bys::text[], :request_ids::text[], :fingerprints::text::bytea[],
              :reward_ids::text::text[], :outcomes::text::text[], :reasons::text[])
       AS k (bucket, organisation_id, customer_id, number, at, definitions_version, facts, asked_by, request_id,
             fingerprint, reward_id, outcome, reason)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- insert_period_ends
-- What time itself brought.
INSERT INTO journal (bucket, organisation_id, customer_id, number, at, definitions_version, kind, facts, target_group_id)
SELECT p.bucket, k.organisation_id, k.customer_id, k.number, k.at, k.definitions_version, 'period_end', k.facts,
       k.target_group_id
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :numbers::text::bigint[], :ats::text::timestamptz[], :definitions_versions::text::integer[],
              :facts::text::json[], :target_group_ids::text::bigint[])
       AS k (bucket, organisation_id, customer_id, number, at, definitions_version, facts, target_group_id)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- list_known_activities
-- The ids of a batch that were accepted before, with what they brought.
SELECT j.bucket, j.organisation_id, j.customer_id, j.activity_id, j.fingerprint
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :activity_ids::text[])
       AS k (bucket, organisation_id, customer_id, activity_id)
  JOIN journal AS j
    ON j.bucket = k.bucket AND j.organisation_id = k.organisation_id
   AND j.customer_id = k.customer_id AND j.activity_id = k.activity_id

-- list_facts
-- One customer's numbers that brought facts, oldest first, from a number on.
SELECT number, facts, reason
  FROM journal
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND number >= :first
   AND facts::text <> '[]'
 ORDER BY number
 LIMIT :limit

-- list_entries
-- A range of customers' journals, each customer's in its order, for the audit.
SELECT customer_id, number, at, occurred_at, definitions_version, entry, kind, activity_id, type, fingerprint, verdicts,
       facts, target_id, target_group_id, initial_balance_thousandths, reset, period_name, reward_id, outcome,
       attributes::text AS attributes, reason
  FROM journal
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, number
