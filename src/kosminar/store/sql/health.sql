-- fetch_server_facts
-- The one query that asks the database's clock: to compare it with the machine's.
SELECT current_setting('server_version_num')::integer / 10000 AS server_version,
       current_setting('server_encoding') AS encoding,
       current_setting('fsync')::boolean AS fsync,
       current_setting('synchronous_commit') <> 'off' AS synchronous_commit,
       (SELECT count(*)::integer FROM pg_stat_activity) AS connection_count,
       current_setting('max_connections')::integer AS connection_count_max,
       clock_timestamp() AS now

-- find_hindrance
-- Why nothing may be written here. To try it, a write that leaves nothing behind: a message in the write-ahead log that
-- no process reads, and a commit that waits for the disk, and for a synchronous standby, as every other does.
SELECT pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only')::boolean AS read_only,
       CASE WHEN :writing AND NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::boolean
            THEN pg_logical_emit_message(true, 'kosminar', '')
        END AS written_at
