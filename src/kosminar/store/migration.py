"""Brings a database to the newest schema: numbered SQL files, each in its own transaction, under one advisory lock.

A file is sent statement by statement: a distributed database refuses several of ALTER or CREATE INDEX at once.
Forward only. A file that was released is never changed: its checksum stands in migrations/checksums.txt, which
tests/structure/test_migrations.py guards, and in each database that it was applied to, where it is compared. May be run
by any number of processes at once, by hand (`kosminar migrate`) or at start.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

import asyncpg

from kosminar.core.errors import CommandRefused
from kosminar.store import generations
from kosminar.store.queries import Connection, load
from kosminar.store.statements import split

QUERIES: Final = load("migration")

# An arbitrary number of our own; everyone who migrates takes the same lock.
LOCK_KEY: Final = 7_238_410_561


class MigrationRefused(CommandRefused):
    """The database cannot be brought to this version of Kosminar."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        return hashlib.sha256(self.sql.encode()).digest()


def all_migrations() -> list[Migration]:
    found = sorted(p for p in (files("kosminar.store") / "migrations").iterdir() if p.name.endswith(".sql"))  # type: ignore[type-var]
    return [
        Migration(int(path.name[:4]), path.name.removesuffix(".sql"), path.read_text(encoding="utf-8"))
        for path in found
    ]


async def migrate(connection: Connection, *, now: datetime) -> list[str]:
    """Applies what is missing, begins a generation where one is due, and returns the names applied, in order.

    Where nothing is missing nothing is written, so a read-only server will do. Raises MigrationRefused.
    """
    names = await _catch_up(connection, now) if await _missing(connection) else []
    await generations.keep(connection, now=now)
    return names


async def _catch_up(connection: Connection, now: datetime) -> list[str]:
    try:
        await QUERIES["lock_migrations"].run(connection, key=LOCK_KEY)
        try:
            return await _migrate(connection, now)
        finally:
            await QUERIES["unlock_migrations"].run(connection, key=LOCK_KEY)
    except asyncpg.ReadOnlySQLTransactionError:
        raise MigrationRefused(
            "The database is read-only, and its schema is older than this Kosminar. Run `kosminar migrate` where it can "
            "be written, or use the Kosminar that it belongs to."
        ) from None


async def pending(connection: Connection) -> list[str]:
    """The names of the migrations that this database lacks; changes nothing."""
    applied = {row["number"] for row in await _list_applied(connection)}
    return [migration.name for migration in all_migrations() if migration.number not in applied]


async def _list_applied(connection: Connection) -> list[Any]:
    if not await QUERIES["find_migration_table"].value(connection):
        return []
    return await QUERIES["list_migrations"].rows(connection)


async def _missing(connection: Connection) -> list[Migration]:
    """What is to be applied; raises MigrationRefused where what was applied is not this version's."""
    applied = {row["number"]: row for row in await _list_applied(connection)}
    known = {migration.number: migration for migration in all_migrations()}
    # Another content first: of a database whose first tables have another shape, it does not matter how many followed.
    for number, row in applied.items():
        if number in known and row["checksum"] != known[number].checksum:
            raise MigrationRefused(
                f"This database was made by an unreleased Kosminar, whose migration {row['name']} made tables of another "
                "shape than this one needs. Only databases of releases are carried on; nothing in this one was changed. "
                "Run it with the commit that made it; or begin with an empty one (another --data-dir, or another "
                "KOSMINAR_DATABASE_URL) and import what you have."
            )
    for number, row in applied.items():
        if number not in known:
            raise MigrationRefused(f"The database has migration {row['name']}, newer than this Kosminar: upgrade it.")
    return [migration for number, migration in known.items() if number not in applied]


async def _migrate(connection: Connection, now: datetime) -> list[str]:
    await QUERIES["create_migration_table"].run(connection)
    missing = await _missing(connection)
    for migration in missing:
        async with connection.transaction():
            for statement in split(migration.sql):
                await connection.execute(statement)
            await QUERIES["insert_migration"].run(
                connection, number=migration.number, name=migration.name, checksum=migration.checksum, now=now
            )
    return [migration.name for migration in missing]
