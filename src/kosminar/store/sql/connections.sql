-- plan_by_key
-- From now on, each statement on the connection is planned once, to find rows by their key; not where Citus is, which
-- cannot route a statement without the values of its parameters.
SELECT set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('enable_seqscan', 'off', false),
       set_config('enable_hashjoin', 'off', false),
       set_config('enable_mergejoin', 'off', false)
 WHERE NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')

-- plan_as_usual
-- Until the transaction ends, PostgreSQL plans as it does by itself.
SELECT set_config('plan_cache_mode', 'auto', true),
       set_config('enable_seqscan', 'on', true),
       set_config('enable_hashjoin', 'on', true),
       set_config('enable_mergejoin', 'on', true)
