-- list_webhook_endpoints
-- Where an organisation wants to be told; read under the hold on its definitions by whoever must know for certain.
SELECT webhook_endpoint_id, organisation_id, url, description, event_names, headers, connection_count_max, state,
       reason, secret, previous_secret, previous_secret_until, failure_count, not_before, created_at, updated_at,
       activated_at
  FROM webhook_endpoint
 WHERE organisation_id = :organisation_id
   AND state <> 'removed'
 ORDER BY webhook_endpoint_id

-- find_webhook_endpoint
-- One of the organisation's own that is not removed.
SELECT webhook_endpoint_id, organisation_id, url, description, event_names, headers, connection_count_max, state,
       reason, secret, previous_secret, previous_secret_until, failure_count, not_before, created_at, updated_at,
       activated_at
  FROM webhook_endpoint
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND state <> 'removed'

-- lock_webhook_endpoint
-- For whoever changes it; how deliveries fare is written meanwhile by nobody.
SELECT webhook_endpoint_id, organisation_id, url, description, event_names, headers, connection_count_max, state,
       reason, secret, previous_secret, previous_secret_until, failure_count, not_before, created_at, updated_at,
       activated_at
  FROM webhook_endpoint
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND state <> 'removed'
   FOR UPDATE

-- insert_webhook_endpoint
-- Active from the start.
INSERT INTO webhook_endpoint (
       organisation_id, url, description, event_names, headers, connection_count_max, state, secret, failure_count,
       created_at, updated_at, activated_at)
VALUES (:organisation_id, :url, :description, :event_names, :headers, :connection_count_max, 'active', :secret, 0,
        :now, :now, :now)
RETURNING webhook_endpoint_id

-- save_webhook_endpoint
-- What its owner may change, all at once.
UPDATE webhook_endpoint
   SET url = :url,
       description = :description,
       event_names = :event_names,
       headers = :headers,
       connection_count_max = :connection_count_max,
       state = :state,
       reason = :reason,
       secret = :secret,
       previous_secret = :previous_secret,
       previous_secret_until = :previous_secret_until,
       failure_count = :failure_count,
       not_before = :not_before,
       updated_at = :now,
       activated_at = :activated_at
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
