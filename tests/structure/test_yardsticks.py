"""The yardsticks of `make bench` are their own: no change of Kosminar's schema or statements may move them."""

import re
from hashlib import sha256
from pathlib import Path

import asyncpg
import pytest
from benchmarks.yardsticks.tables import HERE, statement

BENCHMARKS = HERE.parent
# What is measured against a yardstick; the rest of benchmarks/ fills or asks Kosminar's own database.
MEASURED = [BENCHMARKS / name for name in ("writes.py", "activities.py", "period_ends.py")]
FOREIGN = re.compile(r"store/sql|store/migrations|kosminar\.store|store\.queries|\bimport kosminar|from kosminar")
# Without comments and layout. A yardstick that is changed measures something else: what was measured with the old one
# cannot be compared any more, and docs/performance.md has to say so.
CONTENT = {
    "count_wrong_customers": "80a76ae82872eafd",
    "enrol_and_un_enrol": "d5665cb642d37c01",
    "fill": "5721f30fdb360b60",
    "fill_achievers": "c7fe0c1a2e9612b0",
    "fill_visitors": "6fdb23daaeea85ea",
    "insert_activities": "78b545e8378bf64c",
    "insert_rewards": "9ddbcf85ba49795a",
    "schema": "68be0fd356359a3a",
    "upsert_progress": "83d485efbd9cddeb",
}


def content(path: Path) -> str:
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))
    return " ".join(" ".join(lines).split())


def test_no_yardstick_uses_kosminars_schema_statements_or_modules() -> None:
    files = [path for path in HERE.iterdir() if path.suffix in (".py", ".sql")]

    assert len(files) > 5
    assert [path.name for path in (*files, *MEASURED) if FOREIGN.search(path.read_text(encoding="utf-8"))] == []


def test_what_is_measured_against_a_yardstick_has_no_statements_beside_it() -> None:
    written = re.compile(r"\b(INSERT INTO|UPDATE \w+ SET|CREATE TABLE)\b")

    assert [path.name for path in MEASURED if written.search(path.read_text(encoding="utf-8"))] == []


def test_each_table_that_a_yardstick_names_is_its_own() -> None:
    own = set(re.findall(r"^CREATE TABLE (\w+)", statement("schema"), re.MULTILINE))
    # What is called is a function; OF and SET are words of SELECT ... FOR UPDATE and ON CONFLICT.
    naming = re.compile(r"\b(?:INTO|UPDATE|REFERENCES|FROM|JOIN)\s+(?!OF\b|SET\b|LATERAL\b)(\w+)\b(?!\()")
    named = {table for path in HERE.glob("*.sql") for table in naming.findall(content(path))}

    assert {"customer", "activity", "progress", "place"} <= named
    assert named <= own


def test_the_yardsticks_are_what_they_were() -> None:
    found = {path.stem: sha256(content(path).encode()).hexdigest()[:16] for path in HERE.glob("*.sql")}

    assert found == CONTENT


@pytest.mark.asyncio
async def test_the_yardsticks_work_on_their_tables(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("SET yardstick.customers = 30; SET yardstick.targets = 2")
        for file in ("schema", "fill", "fill_visitors"):
            await connection.execute(statement(file))
        places = await connection.fetch("SELECT bucket, customer_id FROM place WHERE number < 10")
        buckets, customers = [place["bucket"] for place in places], [place["customer_id"] for place in places]
        at = await connection.fetchval("SELECT clock_at FROM organisation")
        ids, numbers = [f"a{each}" for each in customers], [2] * len(customers)
        await connection.execute(
            statement("insert_activities"), 1, at, buckets, customers, ids, numbers, ["{}"] * len(customers)
        )
        await connection.execute(statement("upsert_progress"), 1, buckets, customers, numbers, [1, 2], [1, 2])

        assert await connection.fetchval("SELECT count(*) FROM activity") == 30 + 10
        assert await connection.fetchval("SELECT sum(value) FROM progress") == 30 * 2 + 10 * 2 * 2
        # The bare batch counts no customer's sequence numbers up.
        assert await connection.fetchval(statement("count_wrong_customers")) == 10
    finally:
        await connection.close()


@pytest.mark.asyncio
async def test_the_rewards_of_a_period_end_are_those_of_its_achievers(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("SET yardstick.customers = 30; SET yardstick.targets = 1")
        for file in ("schema", "fill", "fill_achievers"):
            await connection.execute(statement(file))
        due_at = await connection.fetchval("SELECT due_at FROM period")
        await connection.execute(statement("insert_rewards"), due_at, 1)

        rows = await connection.fetch("SELECT allocation, count(*), sum(points) FROM reward GROUP BY 1 ORDER BY 1")
        assert [tuple(row) for row in rows] == [("IMMEDIATE", 10, 100), ("PERIOD_END", 10, 1_000)]
    finally:
        await connection.close()
