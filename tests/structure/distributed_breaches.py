"""Where statements still break the rules for a distributed database: a list that may only shrink.

An entry is a statement, a rule of distributed_rules.py, in how many places the statement breaks it, and why. A test
fails when one is missing, when it counts too few, and when it counts more than there are.
"""

from typing import NamedTuple


class Breach(NamedTuple):
    statement: str
    rule: str
    count: int
    reason: str


JOINED = "Joins the arrays by bucket, without `= ANY` of a lane's buckets in the same place."
ROWS = "Its rows come from `unnest` alone, and its buckets with them."
SPANS = "Goes through every bucket at once."
IN_BUCKETS = "Looks a few rows up in each bucket; a window function, or a call for each bucket, is to replace it."
WHOLE_ROWS = "Sends whole rows; the new standings send arrays of columns."

BREACHES = [
    Breach("claim_identifiers", "1", 1, ROWS),
    Breach("claim_identifiers", "3", 1, ROWS),
    Breach("count_customers", "1", 1, "Counts all customers, for the audit; works on every shard, and slowly."),
    Breach("count_waiting_deliveries", "1", 1, SPANS),
    Breach("find_oldest_delivery", "1", 2, SPANS),
    Breach("find_oldest_due_queue", "1", 1, SPANS),
    Breach("find_oldest_due_queue", "2", 1, IN_BUCKETS),
    Breach(
        "insert_counter_changes", "3", 1, "Its bucket is a parameter, which `place` is joined by, and not a column."
    ),
    Breach("insert_customers", "1", 1, ROWS),
    Breach("insert_customers", "3", 1, "No row of any table is there yet to be joined but one of buckets alone."),
    Breach("insert_entries_of_all", "1", 2, ROWS),
    Breach("insert_rewards_of_all", "1", 2, ROWS),
    Breach("keep_idempotency_result", "2", 1, "Inserts and reads in one statement; two are to replace it."),
    Breach("list_buckets", "1", 1, SPANS),
    Breach("list_buckets", "2", 1, IN_BUCKETS),
    Breach("list_completed_periods", "1", 1, JOINED),
    Breach("list_completed_periods", "2", 1, IN_BUCKETS),
    Breach("list_customers_named", "1", 1, JOINED),
    Breach("list_endpoints_due", "2", 1, IN_BUCKETS),
    Breach("list_idempotency_results", "1", 1, JOINED),
    Breach("list_identifier_owners", "1", 1, JOINED),
    Breach("list_known_activities", "1", 1, JOINED),
    Breach("list_known_customer_ids", "1", 1, JOINED),
    Breach("list_likenesses", "1", 1, JOINED),
    Breach("list_removed_endpoints", "2", 1, IN_BUCKETS),
    Breach("list_rewards_by_key", "1", 1, JOINED),
    Breach("list_standings", "1", 3, JOINED),
    Breach("list_unfinished_deliveries", "1", 2, SPANS),
    Breach("list_unfinished_deliveries", "2", 1, IN_BUCKETS),
    Breach("lock_customers", "1", 1, JOINED),
    Breach("lock_customers", "5", 1, "Brings the clocks with the locked customers; a statement of their own is to."),
    Breach("lock_customers", "locks", 1, JOINED),
    Breach("make_waiting", "2", 1, "ON CONFLICT asks a parameter whether to send again what was delivered."),
    Breach("make_waiting", "3", 1, "Its bucket is a parameter, its customers come from `unnest` alone."),
    Breach("mark_ended", "1", 1, JOINED),
    Breach("mark_latest", "1", 1, JOINED),
    Breach("put_in_queue", "3", 1, "Its bucket is a parameter, its customers come from `unnest` alone."),
    Breach("save_customers_of_all", "1", 1, JOINED),
    Breach("save_totals", "1", 1, ROWS),
    Breach("wake_next", "1", 1, JOINED),
]
"""By statement and rule, each once."""
