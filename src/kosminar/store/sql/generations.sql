-- compare_generation
-- The newest generation and where it began, and where it is now. The timeline is that of what is written now: after a
-- failover the control file goes on with the old one until the next checkpoint.
SELECT g.generation, g.began_at, g.table_id, g.server_id, g.timeline, 'generation'::regclass::bigint AS here_table_id,
       here.server_id AS here_server_id, here.timeline AS here_timeline, here.read_only
  FROM (SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
               c.system_identifier AS server_id,
               CASE WHEN NOT pg_is_in_recovery()
                    THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
                     END AS timeline
          FROM pg_control_system() AS c) AS here
  LEFT JOIN (SELECT * FROM generation ORDER BY generation DESC LIMIT 1) AS g
    ON true

-- find_newest_generation
-- The same where the server does not tell which one it is.
SELECT g.generation, g.began_at, g.table_id, g.server_id, g.timeline, 'generation'::regclass::bigint AS here_table_id,
       NULL::bigint AS here_server_id, NULL::integer AS here_timeline, here.read_only
  FROM (SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only) AS here
  LEFT JOIN (SELECT * FROM generation ORDER BY generation DESC LIMIT 1) AS g
    ON true

-- stay_read_only
-- The session takes no changes, whatever becomes of its server.
SET default_transaction_read_only = on

-- lock_generations
-- One process begins a generation at a time; the others wait, and then find it begun.
SELECT pg_advisory_xact_lock(:key)

-- raise_identities
-- From now on ids are at least the floor, in every sequence whose numbers leave the house. Only upwards, and kept also
-- if the transaction fails. Definitions have a floor of their own, 256 times lower: with the number of a period their ids
-- are to stay below 2^53.
SELECT setval(s.name::regclass, s.floor, false)
  FROM (VALUES (pg_get_serial_sequence('organisation', 'organisation_id'), :floor::bigint),
               (pg_get_serial_sequence('access_group', 'access_group_id'), :floor),
               (pg_get_serial_sequence('api_user', 'api_user_id'), :floor),
               (pg_get_serial_sequence('oauth_client', 'oauth_client_id'), :floor),
               ('definition_id', :floor_of_definitions::bigint),
               (pg_get_serial_sequence('webhook_endpoint', 'webhook_endpoint_id'), :floor),
               (pg_get_serial_sequence('counter_change', 'change_id'), :floor),
               ('generated_customer_id', :floor))
       AS s (name, floor)
 WHERE coalesce(pg_sequence_last_value(s.name::regclass), 0) < s.floor

-- insert_generation
-- It has begun when this is committed.
INSERT INTO generation (generation, began_at, table_id, server_id, timeline)
VALUES (:generation, :began_at, :table_id, :server_id, :timeline)

-- save_server_of_generation
-- The server did not tell which one it is when the generation began, and does now.
UPDATE generation
   SET server_id = :server_id,
       timeline = :timeline
 WHERE generation = :generation AND server_id IS NULL
