-- insert_access_group
-- Its grants follow in the same transaction.
INSERT INTO access_group (organisation_id, name, built_in, created_at)
VALUES (:organisation_id, :name, :built_in, :now)
RETURNING access_group_id

-- insert_access_grants
-- One row for each resource, so that a resource added later is denied until somebody grants it.
INSERT INTO access_grant (organisation_id, access_group_id, resource, level)
SELECT :organisation_id, :access_group_id, g.resource, g.level
  FROM unnest(:resources::text[], :levels::text[]) AS g (resource, level)

-- find_access_group
-- By name, whatever its case.
SELECT access_group_id
  FROM access_group
 WHERE organisation_id = :organisation_id
   AND lower(name) = lower(:name)

-- insert_api_user
-- The hash alone is kept; the password is shown once by whoever made it.
INSERT INTO api_user (organisation_id, access_group_id, username, secret_hash, created_at)
VALUES (:organisation_id, :access_group_id, :username, :secret_hash, :now)

-- insert_oauth_client
-- The hash alone is kept; the secret is shown once by whoever made it.
INSERT INTO oauth_client (organisation_id, access_group_id, name, client_key, secret_hash, created_at)
VALUES (:organisation_id, :access_group_id, :name, :client_key, :secret_hash, :now)

-- revoke_api_user
-- The first revocation counts.
UPDATE api_user
   SET revoked_at = :now
 WHERE organisation_id = :organisation_id
   AND username = :username
   AND revoked_at IS NULL
RETURNING username

-- revoke_oauth_client
-- The first revocation counts.
UPDATE oauth_client
   SET revoked_at = :now
 WHERE organisation_id = :organisation_id
   AND client_key = :client_key
   AND revoked_at IS NULL
RETURNING client_key

-- find_secret_of_api_user
-- System scope: who signs in names no organisation. Apart from the rest, so that a wrong password and an unknown user
-- cost the same.
SELECT secret_hash
  FROM api_user
 WHERE username = :username
   AND revoked_at IS NULL

-- find_secret_of_oauth_client
-- System scope: who signs in names no organisation. Apart from the rest, as above.
SELECT secret_hash
  FROM oauth_client
 WHERE client_key = :client_key
   AND revoked_at IS NULL

-- find_api_user
-- System scope: who signs in names no organisation. A revoked user is not found.
SELECT u.organisation_id, u.username AS name,
       ARRAY(SELECT g.resource || ' ' || g.level
               FROM access_grant AS g
              WHERE g.organisation_id = u.organisation_id
                AND g.access_group_id = u.access_group_id) AS grants
  FROM api_user AS u
 WHERE u.username = :username
   AND u.revoked_at IS NULL

-- find_oauth_client
-- System scope: who signs in names no organisation. A revoked client is not found.
SELECT c.organisation_id, c.name,
       ARRAY(SELECT g.resource || ' ' || g.level
               FROM access_grant AS g
              WHERE g.organisation_id = c.organisation_id
                AND g.access_group_id = c.access_group_id) AS grants
  FROM oauth_client AS c
 WHERE c.client_key = :client_key
   AND c.revoked_at IS NULL

-- lock_signing_keys
-- Until the transaction ends, nobody else makes a key, so that of many who find one due one makes it.
SELECT pg_advisory_xact_lock(:key)

-- try_lock_signing_keys
-- As above, for whoever has a key to go on with and need not wait for another's.
SELECT pg_try_advisory_xact_lock(:key)

-- insert_signing_key
-- System scope: one key signs for all organisations. It gets the next number, which the lock keeps from two at once; a
-- process that took no lock loses.
INSERT INTO signing_key (key_id, private_jwk, created_at)
SELECT (coalesce(max(key_id::bigint), 0) + 1)::text, :private_jwk::text::jsonb, :now
  FROM signing_key
    ON CONFLICT (key_id) DO NOTHING

-- list_signing_keys
-- System scope: those not retired, newest first, which is the one that signs. Numbers order them, not machines' clocks.
SELECT key_id, private_jwk::text AS private_jwk, created_at
  FROM signing_key
 WHERE retired_at IS NULL
 ORDER BY key_id::bigint DESC

-- list_verifying_keys
-- System scope: the same keys by their public halves; no private key is read to verify a token.
SELECT key_id, (private_jwk - '{d,p,q,dp,dq,qi}'::text[])::text AS public_jwk, created_at
  FROM signing_key
 WHERE retired_at IS NULL
 ORDER BY key_id::bigint DESC

-- retire_signing_keys
-- System scope: no token of theirs is taken any more, and their private halves are forgotten.
UPDATE signing_key
   SET retired_at = :now,
       private_jwk = private_jwk - '{d,p,q,dp,dq,qi}'::text[]
 WHERE key_id = ANY(:key_ids::text[])
   AND retired_at IS NULL
