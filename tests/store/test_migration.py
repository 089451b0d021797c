"""A database that another content of a migration has made is refused, with what to do."""

import asyncio
import shutil
import subprocess

import asyncpg
import pytest
from tests.store.running import ENVIRONMENT, KOSMINAR

from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import temporary_data_directory
from kosminar.store.migration import MigrationRefused, all_migrations, migrate
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


@pytest.mark.asyncio
async def test_of_another_shape_with_more_migrations_than_there_are_the_shape_is_named(database_url: str) -> None:
    """ "Upgrade it" would be wrong advice."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE migration SET checksum = sha256('another') WHERE number = 1")
    await connection.execute(
        "INSERT INTO migration SELECT 9000, '9000_gone', checksum, $1 FROM migration WHERE number = 1", utc_now()
    )

    with pytest.raises(MigrationRefused, match=r"whose migration 0001_foundation made tables of another shape"):
        await migrate(connection, now=utc_now())
    await connection.execute("UPDATE migration SET checksum = $1 WHERE number = 1", all_migrations()[0].checksum)
    with pytest.raises(MigrationRefused, match="9000_gone, newer than this Kosminar: upgrade it"):
        await migrate(connection, now=utc_now())

    await connection.close()


def test_serve_refuses_a_data_directory_of_another_shape_with_what_to_do_and_leaves_it_alone() -> None:
    """The checksum is that of 0001 when programmes were rows of six tables."""
    data_dir = temporary_data_directory()
    old = bytes.fromhex("832886e05d895b402af8984bd9030384b2ff71664dba5726bc3c889514a17e2c")
    try:
        with open_embedded(data_dir) as database:
            asyncio.run(make(database.url, old))
        serve = [KOSMINAR, "serve", "--port", "0", "--data-dir", data_dir]
        done = subprocess.run(serve, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
        with open_embedded(data_dir) as database:
            rows = asyncio.run(applied(database.url))
    finally:
        shutil.rmtree(data_dir)

    assert done.returncode == 1, done
    assert "whose migration 0001_foundation made tables of another shape" in flat(done.stderr)
    assert "begin with an empty one (another --data-dir, or another KOSMINAR_DATABASE_URL)" in flat(done.stderr)
    assert "Traceback" not in done.stderr
    assert rows == [(1, old)]


def flat(text: str) -> str:
    return " ".join(text.split())


async def make(url: str, checksum: bytes) -> None:
    """As an older commit left it: its first migration alone."""
    connection = await asyncpg.connect(url)
    await migrate(connection, now=utc_now())
    await connection.execute("DELETE FROM migration WHERE number > 1")
    await connection.execute("UPDATE migration SET checksum = $1", checksum)
    await connection.close()


async def applied(url: str) -> list[tuple[int, bytes]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT number, checksum FROM migration ORDER BY number")
    await connection.close()
    return [tuple(row) for row in rows]
