"""Parts of a save: joined into one statement or sent one after another they write the same rows, and lose none."""

import inspect

import asyncpg
import pytest

from kosminar.store.queries import FOR_CITUS, Query, array, load, parse
from kosminar.store.saving import Part, _joined, save

NOUNS = ("saving", "journal", "rewards", "notifications")

MOTHERS, CHILDREN, FIRST_ONES = parse(
    """-- insert_mothers
-- Rows that others refer to.
INSERT INTO mother (bucket, number)
SELECT p.bucket, k.number
  FROM unnest(:buckets::text::smallint[], :numbers::text::bigint[]) AS k (bucket, number)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- insert_children
-- Rows that refer to others.
INSERT INTO child (bucket, number, said)
SELECT k.bucket, k.number, :said::text
  FROM unnest(:buckets::text::smallint[], :numbers::text::bigint[]) AS k (bucket, number)

-- insert_first_ones
-- Rows of which another one may be there.
INSERT INTO first_one (number)
SELECT k.number
  FROM unnest(:numbers::text::bigint[]) AS k (number)
    ON CONFLICT DO NOTHING
RETURNING number
"""
).values()


class Lost(Exception):
    """Of the parts of these tests."""


async def make_tables(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE mother (bucket smallint, number bigint, PRIMARY KEY (bucket, number))")
    await connection.execute(
        "CREATE TABLE child (bucket smallint, number bigint, said text, FOREIGN KEY (bucket, number) REFERENCES mother)"
    )
    await connection.execute("CREATE TABLE first_one (number bigint PRIMARY KEY)")


def of(query: Query, numbers: range, row_count_max: int, **more: str) -> Part:
    def columns(some: range) -> dict[str, str]:
        found = {"numbers": array(some), "buckets": array([number % 256 for number in some]), **more}
        return {name: found[name] for name in query.parameters}

    return Part(query, numbers, columns, row_count_max)


def of_first_ones(numbers: list[int]) -> Part:
    return Part(FIRST_ONES, numbers, lambda some: {"numbers": array(some)}, lost=Lost)


async def rows(connection: asyncpg.Connection) -> list[tuple[int, ...]]:
    found = await connection.fetch("SELECT * FROM mother JOIN child USING (bucket, number) ORDER BY number")
    return [tuple(row) for row in found]


@pytest.mark.asyncio
@pytest.mark.parametrize(("joined", "statement_count"), [(True, 1), (False, 3)])
async def test_parts_that_have_rows_are_one_statement_or_one_each(
    connection: asyncpg.Connection, joined: bool, statement_count: int
) -> None:
    await make_tables(connection)
    sent: list[str] = []
    connection.add_query_logger(lambda query: sent.append(query.query))

    parts = [
        of(MOTHERS, range(3), 1_000),
        of(CHILDREN, range(3), 1_000, said="Anna"),
        of(CHILDREN, range(0), 1_000, said="nothing"),
        of_first_ones([1, 2]),
    ]
    await save(connection, parts, joined=joined)

    assert await rows(connection) == [(number, number, "Anna") for number in range(3)]
    assert await connection.fetchval("SELECT count(*) FROM first_one") == 2
    sent = [text for text in sent if not text.startswith("SELECT")]
    assert len(sent) == statement_count
    # What only a distributed database needs is sent only to one that may be.
    assert any(FOR_CITUS in text for text in sent) is not joined


@pytest.mark.asyncio
@pytest.mark.parametrize("joined", [True, False])
async def test_a_row_that_must_be_written_and_is_there_already_is_never_passed_over(
    connection: asyncpg.Connection, joined: bool
) -> None:
    await make_tables(connection)
    await save(connection, [of_first_ones([1])], joined=joined)

    with pytest.raises(Lost, match="insert_first_ones: 1 of 2 rows were written"):
        await save(connection, [of(MOTHERS, range(3), 1_000), of_first_ones([1, 2])], joined=joined)


@pytest.mark.asyncio
@pytest.mark.parametrize(("rows_each", "row_count_max", "statement_count"), [(10, 20, 1), (11, 20, 2), (50, 20, 6)])
async def test_a_statement_is_given_no_more_than_its_share_and_what_is_referred_to_comes_first(
    connection: asyncpg.Connection, rows_each: int, row_count_max: int, statement_count: int
) -> None:
    await make_tables(connection)
    sent: list[str] = []
    connection.add_query_logger(lambda query: sent.append(query.query))

    numbers = range(rows_each)
    await save(
        connection,
        [of(MOTHERS, numbers, row_count_max), of(CHILDREN, numbers, row_count_max, said="Anna")],
        joined=True,
    )

    assert await rows(connection) == [(number % 256, number, "Anna") for number in numbers]
    assert len([text for text in sent if text.startswith("WITH")]) == statement_count


@pytest.mark.asyncio
async def test_a_part_that_finds_nothing_to_write_is_left_out(connection: asyncpg.Connection) -> None:
    sent: list[str] = []
    connection.add_query_logger(lambda query: sent.append(query.query))

    await save(connection, [Part(MOTHERS, [1, 2], lambda some: None)], joined=True)

    assert await connection.fetchval("SELECT 1") == 1
    assert [text for text in sent if not text.startswith("SELECT")] == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([1, None, -(2**63), 2**63 - 1], "bigint"),
        ([True, None, False], "boolean"),
        (["plain", 'a "quoted" one', "back\\slash", "{braces}, commas", "NULL", "", None, "ünï"], "text"),
        ([], "bigint"),
    ],
)
async def test_an_array_is_read_by_postgresql_as_it_was(connection, values: list[object], type_: str) -> None:
    assert await connection.fetchval(f"SELECT $1::text::{type_}[]", array(values)) == values


def test_all_parts_of_a_batch_joined_are_a_statement_that_the_driver_keeps() -> None:
    """One that is longer would be planned anew for each batch."""
    kept_max = inspect.signature(asyncpg.connect).parameters["max_cacheable_statement_size"].default
    parts = [query for noun in NOUNS for query in load(noun).values() if query.text.startswith(("INSERT", "UPDATE"))]

    assert len(parts) > 12
    assert len(_joined(tuple((query, False) for query in parts))) < kept_max
