-- list_identifier_owners
-- Whom the identifiers of a batch name. Each lives in the bucket of its own value.
SELECT i.type, i.value, i.customer_id
  FROM unnest(:buckets::smallint[], :types::text[], :values::text[])
       AS k (bucket, type, value)
  JOIN customer_identifier AS i
    ON i.organisation_id = :organisation_id AND i.bucket = k.bucket AND i.type = k.type AND i.value = k.value

-- list_known_customer_ids
-- Which of these ids are customers.
SELECT c.customer_id
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[])
       AS k (bucket, customer_id)
  JOIN customer AS c
    ON c.organisation_id = :organisation_id AND c.bucket = k.bucket AND c.customer_id = k.customer_id

-- take_generated_customer_ids
-- Never the same number twice, whatever is rolled back. Some may be given ids of this organisation: the caller looks.
SELECT nextval('generated_customer_id') AS customer_id
  FROM generate_series(1, :count::integer)

-- insert_customers
-- In key order. Waits for whoever is inserting the same key; if they commit, the row is left out of what comes back.
INSERT INTO customer (organisation_id, bucket, customer_id, external_id, mobile, email, first_name, last_name,
                      changed_at, created_at)
SELECT :organisation_id::bigint, k.bucket, k.customer_id, k.external_id, k.mobile, k.email, k.first_name,
       k.last_name, :now::timestamptz, :now::timestamptz
  FROM unnest(:buckets::smallint[], :customer_ids::bigint[], :external_ids::text[], :mobiles::text[],
              :emails::text[], :first_names::text[], :last_names::text[])
       AS k (bucket, customer_id, external_id, mobile, email, first_name, last_name)
    ON CONFLICT DO NOTHING
RETURNING customer_id

-- claim_identifiers
-- In key order, after the customers. Waits for whoever is claiming the same, like insert_customers.
INSERT INTO customer_identifier (organisation_id, bucket, type, value, customer_id)
SELECT :organisation_id::bigint, k.bucket, k.type, k.value, k.customer_id
  FROM unnest(:buckets::smallint[], :types::text[], :values::text[], :customer_ids::bigint[])
       AS k (bucket, type, value, customer_id)
    ON CONFLICT DO NOTHING
RETURNING customer_id

-- find_customer
-- One customer for showing.
SELECT customer_id, external_id, mobile, email, first_name, last_name, created_at
  FROM customer
 WHERE organisation_id = :organisation_id AND bucket = :bucket AND customer_id = :customer_id
