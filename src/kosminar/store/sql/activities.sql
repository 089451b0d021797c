-- list_known_activities
-- The ids of a batch that were accepted before, with what they brought.
SELECT a.bucket, a.organisation_id, a.customer_id, a.activity_id, a.fingerprint
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :activity_ids::text[])
       AS k (bucket, organisation_id, customer_id, activity_id)
  JOIN activity AS a
    ON a.bucket = k.bucket AND a.organisation_id = k.organisation_id
   AND a.customer_id = k.customer_id AND a.activity_id = k.activity_id

-- list_activities_of_customers
-- A range of customers' activities in the order of acceptance, for the audit.
SELECT customer_id, activity_id, sequence, type, occurred_at, attributes::text AS attributes, fingerprint,
       definitions_version, at
  FROM activity
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, sequence
