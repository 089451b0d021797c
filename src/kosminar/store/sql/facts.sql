-- list_facts
-- One customer's trail, oldest first, a page after a key.
SELECT sequence, ordinal, name, at, target_group_id, target_id, period_id, run, level_id, reward_definition_id,
       value, reason
  FROM fact
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND (sequence, ordinal) > (:after_sequence, :after_ordinal)
 ORDER BY sequence, ordinal
 LIMIT :limit

-- list_facts_of_customers
-- A range of customers' trails, for the audit.
SELECT customer_id, sequence, ordinal, name, at, target_group_id, target_id, period_id, run, level_id,
       reward_definition_id, value, reason
  FROM fact
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, sequence, ordinal
