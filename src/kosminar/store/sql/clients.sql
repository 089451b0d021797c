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

-- find_api_user
-- System scope: who signs in names no organisation. A revoked user is not found.
SELECT u.organisation_id, u.username AS name, u.secret_hash,
       ARRAY(SELECT g.resource || ' ' || g.level
               FROM access_grant AS g
              WHERE g.organisation_id = u.organisation_id
                AND g.access_group_id = u.access_group_id) AS grants
  FROM api_user AS u
 WHERE u.username = :username
   AND u.revoked_at IS NULL

-- find_oauth_client
-- System scope: who signs in names no organisation. A revoked client is not found.
SELECT c.organisation_id, c.name, c.secret_hash,
       ARRAY(SELECT g.resource || ' ' || g.level
               FROM access_grant AS g
              WHERE g.organisation_id = c.organisation_id
                AND g.access_group_id = c.access_group_id) AS grants
  FROM oauth_client AS c
 WHERE c.client_key = :client_key
   AND c.revoked_at IS NULL

-- insert_signing_key
-- System scope: one key signs for all organisations. Of two processes that make it at once, the first wins.
INSERT INTO signing_key (key_id, private_jwk, created_at)
VALUES (:key_id, :private_jwk::text::jsonb, :now)
    ON CONFLICT (key_id) DO NOTHING

-- list_signing_keys
-- System scope: newest first, which is the one that signs; the others still verify until they are retired.
SELECT key_id, private_jwk::text AS private_jwk
  FROM signing_key
 WHERE retired_at IS NULL
 ORDER BY created_at DESC, key_id
