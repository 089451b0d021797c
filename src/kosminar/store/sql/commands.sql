-- insert_commands
-- Accepted commands are kept, or the audit would have nothing to recompute from.
INSERT INTO command (bucket, organisation_id, customer_id, sequence, name, target_id, period_name, initial_balance,
                     reset, definitions_version, at, asked_by)
SELECT *
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :sequences::bigint[],
              :names::text[], :target_ids::bigint[], :period_names::text[], :initial_balances::numeric[],
              :resets::boolean[], :definitions_versions::integer[], :ats::timestamptz[], :asked_bys::text[])

-- list_commands_of_customers
-- A range of customers' commands in the order of acceptance, for the audit.
SELECT customer_id, sequence, name, target_id, period_name, initial_balance, reset, definitions_version, at
  FROM command
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, sequence
