-- fetch_recovery
-- How far the recovery came that made this server's data; both are null once it has been restarted.
SELECT pg_last_xact_replay_timestamp() AS last_change_at,
       (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint AS position
