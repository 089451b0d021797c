-- list_commands_of_customers
-- A range of customers' commands in the order of acceptance, for the audit.
SELECT customer_id, sequence, name, target_id, period_name, initial_balance, reset, definitions_version, at
  FROM command
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, sequence
