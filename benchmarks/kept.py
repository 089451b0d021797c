"""What benchmarks ask of Kosminar's own tables. It stands here alone, because these tables change and benchmarks do not."""

# One row for each activity that was accepted, for each call that had an effect, and for each reward.
ACTIVITIES = "SELECT count(*) FROM journal WHERE activity_id IS NOT NULL"
CALLS = "SELECT count(*) FROM journal WHERE kind IN ('enrol', 'un_enrol')"
REWARDS = "SELECT count(*) FROM reward"
ACTIVITY_IDS = "SELECT activity_id FROM journal WHERE activity_id IS NOT NULL"
# Of the tables that are kept by customer, those that take longest to copy: they are begun first.
LARGEST_TABLES = ("journal", "standing", "customer")
# Everything that is written for customers, without what is left of rows that are gone.
SIZE_BYTES = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
  FROM pg_class AS c
 WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""
