-- claim_idempotency_key
-- The first request that uses a key has it.
INSERT INTO idempotency_key (bucket, organisation_id, key_hash, request_hash, created_at)
VALUES (:bucket, :organisation_id, :key_hash, :request_hash, :now)
    ON CONFLICT (bucket, organisation_id, key_hash) DO NOTHING

-- find_idempotency_key
-- The request that has it.
SELECT request_hash
  FROM idempotency_key
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND key_hash = :key_hash

-- hold_idempotency_key
-- Two requests under one key follow each other.
SELECT request_hash
  FROM idempotency_key
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND key_hash = :key_hash
   FOR NO KEY UPDATE

-- list_idempotency_results
-- What came of requests that were worked before.
SELECT r.bucket, r.organisation_id, r.key_hash, r.number, r.result
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :key_hashes::bytea[], :numbers::integer[])
       AS k (bucket, organisation_id, key_hash, number)
  JOIN idempotency_result AS r
    ON r.bucket = k.bucket AND r.organisation_id = k.organisation_id AND r.key_hash = k.key_hash
   AND r.number = k.number

-- insert_idempotency_results
-- In the transaction of the change.
INSERT INTO idempotency_result (bucket, organisation_id, key_hash, number, result)
SELECT p.bucket, k.organisation_id, k.key_hash, k.number, k.result
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :key_hashes::text::bytea[],
              :numbers::text::integer[], :results::text[])
       AS k (bucket, organisation_id, key_hash, number, result)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus
    ON CONFLICT (bucket, organisation_id, key_hash, number) DO NOTHING
RETURNING number

-- keep_idempotency_result
-- The result that was kept first, this one or an earlier one; no row where another is committed at this moment.
  WITH kept AS (
INSERT INTO idempotency_result (bucket, organisation_id, key_hash, number, result)
VALUES (:bucket, :organisation_id, :key_hash, :number, :result)
    ON CONFLICT (bucket, organisation_id, key_hash, number) DO NOTHING
RETURNING result)
SELECT result
  FROM kept
 UNION ALL
SELECT result
  FROM idempotency_result
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND key_hash = :key_hash AND number = :number

-- save_idempotency_progress
-- The one result that is written again: how far a request of several steps has come.
INSERT INTO idempotency_result (bucket, organisation_id, key_hash, number, result)
VALUES (:bucket, :organisation_id, :key_hash, :number, :progress)
    ON CONFLICT (bucket, organisation_id, key_hash, number) DO UPDATE SET result = excluded.result

-- purge_idempotency_keys
-- System scope: old keys of every organisation; their results go with them.
DELETE FROM idempotency_key
 WHERE bucket = :bucket AND created_at < :created_before
RETURNING organisation_id
