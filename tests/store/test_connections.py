"""What one connection has learned of the database's types, the others of its kind know."""

import asyncpg
import pytest

from kosminar.store.connections import sharing_types

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
