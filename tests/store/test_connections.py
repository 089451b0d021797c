"""What one connection has learned of the database's types, the others of its kind know; and how a lane's ones plan."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from tests.store.citus_stand_in import EXTENSION

from kosminar.store.connections import is_away, plan_as_usual, plan_by_key, sharing_types
from kosminar.store.queries import load

ROWS = "SELECT count(*) FROM unnest($1::reward[])"


@pytest.mark.asyncio
async def test_only_the_first_connection_asks_what_a_row_looks_like(database_url: str) -> None:
    asked: list[str] = []
    kind = sharing_types(asyncpg.Connection)

    for _ in range(3):
        connection = await asyncpg.connect(database_url, connection_class=kind)
        connection.add_query_logger(lambda query: asked.append(query.query))
        assert await connection.fetchval(ROWS, []) == 0
        await connection.close()

    assert sum("pg_type" in query for query in asked) == 1


@pytest.mark.asyncio
async def test_another_kind_learns_for_itself(database_url: str) -> None:
    asked: list[str] = []

    for _ in range(2):
        connection = await asyncpg.connect(database_url, connection_class=sharing_types(asyncpg.Connection))
        connection.add_query_logger(lambda query: asked.append(query.query))
        assert await connection.fetchval(ROWS, []) == 0
        await connection.close()

    assert sum("pg_type" in query for query in asked) == 2


PLANNING = ("plan_cache_mode", "enable_seqscan", "enable_hashjoin", "enable_mergejoin")

# Of each table that is kept by bucket, whose rows they are.
KEYS = """
SELECT c.relname, array_agg(a.attname::text) AS key
  FROM pg_class AS c
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname IN ('bucket', 'organisation_id', 'customer_id')
 WHERE c.relkind = 'r'
 GROUP BY c.relname
HAVING 'bucket' = ANY(array_agg(a.attname))
"""

# What engine/batch.py asks for, of rows that are kept by bucket.
OF_A_BATCH = {
    "idempotency": ("insert_idempotency_results", "list_idempotency_results"),
    "counters": ("insert_counter_changes",),
    "journal": (
        "insert_activities",
        "insert_commands",
        "insert_period_ends",
        "insert_reports",
        "list_known_activities",
    ),
    "notifications": ("insert_deliveries", "insert_notifications", "list_completed_periods", "wake_queues"),
    "rewards": ("list_rewards_by_key", "move_rewards", "save_rewards"),
    "saving": ("number_customers", "begin_standings", "change_standings", "move_values", "save_ended_periods"),
    "standings": ("list_standings", "lock_customers"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(("noun", "name"), [(noun, name) for noun, names in OF_A_BATCH.items() for name in names])
async def test_a_lane_finds_rows_by_their_key_however_few_there_were_when_it_planned(
    database_url: str, noun: str, name: str
) -> None:
    query = load(noun)[name]
    connection = await asyncpg.connect(database_url)
    await plan_by_key(connection)
    bucketed = {row["relname"]: row["key"] for row in await connection.fetch(KEYS)}

    await connection.execute(f"PREPARE asked AS {query.plain}")
    nothing = ", ".join("NULL" for _ in query.parameters)
    plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked({nothing})"))
    await connection.close()

    looked_up = [node for node in _nodes(plan[0]["Plan"]) if node.get("Relation Name") in bucketed]
    scans = [node for node in looked_up if "Scan" in node["Node Type"]]
    for scan in scans:
        assert all(f"{column} =" in scan.get("Index Cond", "") for column in bucketed[scan["Relation Name"]]), scan
    assert scans or query.plain.startswith("INSERT")


@pytest.mark.asyncio
async def test_what_reads_all_definitions_is_planned_as_usual(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await plan_by_key(connection)
    async with connection.transaction():
        await plan_as_usual(connection)
        assert [await connection.fetchval(f"SHOW {name}") for name in PLANNING] == ["auto", "on", "on", "on"]
    assert [await connection.fetchval(f"SHOW {name}") for name in PLANNING] == ["force_generic_plan", *["off"] * 3]
    await connection.close()


@pytest.mark.asyncio
async def test_a_server_with_citus_plans_as_usual_because_citus_needs_the_values_of_parameters(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(EXTENSION)
    asked: list[str] = []
    connection.add_query_logger(lambda query: asked.append(query.query))

    await plan_by_key(connection)

    assert [await connection.fetchval(f"SHOW {name}") for name in PLANNING] == ["auto", *["on"] * 3]
    # In one round trip.
    assert [query for query in asked if not query.startswith("SHOW")] == [load("connections")["plan_by_key"].text]
    await connection.close()


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "away"),
    [
        ("08006", True),  # A connection failed.
        ("25006", True),  # Read-only, or in recovery.
        ("40001", True),  # Also a read that was in the way of a standby's recovery.
        ("53100", True),  # A full disk.
        ("53300", True),  # Too many connections.
        ("55P03", True),  # A lock was not to be had.
        ("57014", True),  # Somebody cancelled it.
        ("57P01", True),  # Shutting down.
        ("57P03", True),  # Starting up.
        ("58030", True),  # The disk fails.
        ("0A000", False),  # Not supported.
        ("22003", False),  # A value that does not fit.
        ("23505", False),  # There twice.
        ("25P02", False),  # We went on in a transaction that had failed.
        ("42P01", False),  # No such table.
        ("42501", False),  # Not allowed to us.
        ("58P01", False),  # A file of its own is missing.
        ("XX001", False),  # Its data are damaged.
    ],
)
async def test_what_will_pass_by_itself_is_told_from_what_will_not(
    connection: asyncpg.Connection, code: str, *, away: bool
) -> None:
    with pytest.raises(asyncpg.PostgresError) as raised:
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{code}'; END $$")

    assert is_away(raised.value) == away
