"""Brings a database to the newest schema: numbered SQL files, each in its own transaction, under one advisory lock.

Forward only. A file that was applied is never changed; its checksum is kept and compared. May be run by any number of
processes at once, by hand (`kosminar migrate`) or at start.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Final

from kosminar.store import generations
from kosminar.store.queries import Connection, load

QUERIES: Final = load("migration")

# An arbitrary number of our own; everyone who migrates takes the same lock.
LOCK_KEY: Final = 7_238_410_561


class MigrationRefused(Exception):
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
    """Applies what is missing, begins a generation where one is due, and returns the names applied, in order."""
    await QUERIES["lock_migrations"].run(connection, key=LOCK_KEY)
    try:
        names = await _migrate(connection, now)
        await generations.keep(connection, now=now)
    finally:
        await QUERIES["unlock_migrations"].run(connection, key=LOCK_KEY)
    return names


async def pending(connection: Connection) -> list[str]:
    """The names of the migrations that this database lacks; changes nothing."""
    present = await QUERIES["find_migration_table"].value(connection)
    applied = {row["number"] for row in await QUERIES["list_migrations"].rows(connection)} if present else set()
    return [migration.name for migration in all_migrations() if migration.number not in applied]


async def _migrate(connection: Connection, now: datetime) -> list[str]:
    await QUERIES["create_migration_table"].run(connection)
    applied = {row["number"]: row for row in await QUERIES["list_migrations"].rows(connection)}
    known = {migration.number: migration for migration in all_migrations()}
    for number, row in applied.items():
        if number not in known:
            raise MigrationRefused(f"The database has migration {row['name']}, newer than this Kosminar: upgrade it.")
        if row["checksum"] != known[number].checksum:
            raise MigrationRefused(f"Migration {row['name']} was applied with another content than this version has.")
    names = []
    for number, migration in known.items():
        if number in applied:
            continue
        async with connection.transaction():
            await connection.execute(migration.sql)
            await QUERIES["insert_migration"].run(
                connection, number=number, name=migration.name, checksum=migration.checksum, now=now
            )
        names.append(migration.name)
    return names
