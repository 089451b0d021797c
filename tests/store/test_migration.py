"""A database that another content of a migration has made is refused, with what to do."""

import asyncpg
import pytest

from kosminar.store.migration import MigrationRefused, migrate
from kosminar.wiring import utc_now


@pytest.mark.asyncio
async def test_a_database_of_an_unreleased_commit_is_refused_with_what_to_do(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    assert await migrate(connection, now=utc_now()) == []
    await connection.execute("UPDATE migration SET checksum = sha256('another') WHERE number = 2")

    with pytest.raises(
        MigrationRefused, match=r"made by an unreleased Kosminar, whose migration 0002_\w+ .*--data-dir"
    ):
        await migrate(connection, now=utc_now())

    await connection.close()
