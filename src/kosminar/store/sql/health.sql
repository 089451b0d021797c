-- fetch_server_facts
-- The one query that asks the database's clock: to compare it with the machine's.
SELECT current_setting('server_version_num')::integer / 10000 AS server_version,
       current_setting('server_encoding') AS encoding,
       current_setting('fsync')::boolean AS fsync,
       current_setting('synchronous_commit') <> 'off' AS synchronous_commit,
       (SELECT count(*)::integer FROM pg_stat_activity) AS connection_count,
       current_setting('max_connections')::integer AS connection_count_max,
       clock_timestamp() AS now
