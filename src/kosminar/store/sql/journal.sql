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
