"""Every statement of the store keeps to what a distributed database can run, or is listed in distributed_breaches.py.

Rules 1, 2, 3 and 5 of ADR-0041, and three of its kind without a number. That the rules themselves see what they are to
see is tested in test_distributed_rules_samples.py.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from tests.structure.call_graph import queries_of, read_modules
from tests.structure.distributed_breaches import BREACHES, Breach
from tests.structure.distributed_rules import RULES, Tables, definitions_are_read_by_themselves
from tests.structure.sql_tree import Node, statements

import kosminar.store
from kosminar.store.queries import load

STORE = Path(kosminar.store.__file__).parent

# Customers are changed by batches of the Writer, and by the sweep at the end of a period.
WRITERS = [("kosminar.engine.writer", "Writer"), ("kosminar.engine.sweep", "Sweeper")]

PRIMARY_KEYS = """
SELECT t.relname AS name, a.attname AS first
  FROM pg_class AS t
  LEFT JOIN pg_index AS k ON k.indrelid = t.oid AND k.indisprimary
  LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.indkey[0]
 WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND t.relname <> 'migration'
"""


@pytest_asyncio.fixture
async def tables(connection: asyncpg.Connection) -> Tables:
    first = {row["name"]: row["first"] for row in await connection.fetch(PRIMARY_KEYS)}
    bucketed = frozenset(name for name, column in first.items() if column == "bucket")
    return Tables(bucketed, frozenset(first) - bucketed)


def trees() -> dict[str, Node]:
    """Every statement by its name, as the loader makes it."""
    found = {}
    for path in sorted((STORE / "sql").glob("*.sql")):
        for query in load(path.stem).values():
            (found[query.name],) = statements(query.text)
    return found


def count_breaches(tables: Tables) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    everything = trees()
    for name, tree in everything.items():
        for rule, judge in RULES.items():
            found[name, rule] += len(judge(tree, tables))
    for name in written_by(WRITERS):
        found[name, "5"] += len(definitions_are_read_by_themselves(everything[name], tables))
    return +found


def written_by(places: Iterable[tuple[str, str]]) -> set[str]:
    modules = read_modules()
    return {name for place in places for name in queries_of(modules, place)}


def complaints(found: Counter[tuple[str, str]], listed: list[Breach]) -> list[str]:
    """What has to change, in a statement or on the list."""
    allowed = {(entry.statement, entry.rule): entry.count for entry in listed}
    said = [
        f"{name} breaks rule {rule} in {count} places, {allowed.get((name, rule), 0)} are listed"
        for (name, rule), count in found.items()
        if count > allowed.get((name, rule), 0)
    ]
    return said + [
        f"{name} breaks rule {rule} in {found[name, rule]} places: shorten the list, which says {count}"
        for (name, rule), count in allowed.items()
        if found[name, rule] < count
    ]


@pytest.mark.asyncio
async def test_every_statement_keeps_the_rules_for_a_distributed_database_or_is_listed(tables: Tables) -> None:
    assert complaints(count_breaches(tables), BREACHES) == []


def test_each_breach_is_listed_once_and_says_why() -> None:
    keys = [(entry.statement, entry.rule) for entry in BREACHES]

    assert keys == sorted(set(keys))
    assert [entry for entry in BREACHES if not entry.reason.endswith(".") or entry.count < 1] == []


def test_a_breach_that_is_not_listed_or_is_gone_is_a_complaint() -> None:
    listed = [Breach("one", "1", 2, "A reason.")]

    assert complaints(Counter({("one", "1"): 2}), listed) == []
    assert complaints(Counter({("one", "1"): 3}), listed) == ["one breaks rule 1 in 3 places, 2 are listed"]
    assert complaints(Counter({("one", "1"): 2, ("one", "2"): 1}), listed) == [
        "one breaks rule 2 in 1 places, 0 are listed"
    ]
    assert complaints(Counter({("one", "1"): 1}), listed) == [
        "one breaks rule 1 in 1 places: shorten the list, which says 2"
    ]
    assert complaints(Counter(), listed) == ["one breaks rule 1 in 0 places: shorten the list, which says 2"]


@pytest.mark.asyncio
async def test_the_tables_are_read_off_the_schema(tables: Tables) -> None:
    assert {"customer", "journal", "idempotency_result"} <= tables.bucketed
    assert {"organisation", "definition", "generation", "signing_key"} <= tables.definitions


def test_the_statements_of_the_writers_are_found_through_the_calls() -> None:
    writer = written_by(WRITERS[:1])
    sweep = written_by(WRITERS[1:])

    assert {"lock_customers", "list_standings", "insert_activities", "wake_queues", "list_definitions"} <= writer
    assert {"list_likenesses", "mark_latest", "mark_ended", "wake_next", "insert_entries_of_all"} <= sweep
    # These are the courier's and the audit's.
    assert {"lease_queue", "list_customer_page"}.isdisjoint(writer | sweep)
