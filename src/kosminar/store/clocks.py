"""Organisations' clocks in the database, and the locks that keep period ends and batches out of each other's way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kosminar.store.programmes import lock_definitions
from kosminar.store.queries import Connection, load

QUERIES: Final = load("clocks")

# Apart from the keys of programmes.py, because a settling organisation still takes batches.
SETTLING_KEYS: Final = 2 << 53


@dataclass(frozen=True, slots=True)
class ClockState:
    """`clock_at` is a test clock's time or a real clock's floor; due ends up to `settled_at` are worked, under that version."""

    test_clock: bool
    clock_at: datetime
    settled_at: datetime
    settled_version: int
    definitions_version: int


@asynccontextmanager
async def settling(connection: Connection, organisation_id: int, *, wait: bool) -> AsyncIterator[bool]:
    """Only one at a time, in any process, works an organisation's period ends; false for who did not wait for it."""
    key = SETTLING_KEYS + organisation_id
    if wait:
        await QUERIES["lock_settling"].run(connection, key=key)
    elif not await QUERIES["try_lock_settling"].value(connection, key=key):
        yield False
        return
    try:
        yield True
    finally:
        await QUERIES["unlock_settling"].run(connection, key=key)


async def fetch(connection: Connection, organisation_id: int) -> ClockState:
    row = await QUERIES["fetch_clock"].row(connection, organisation_id=organisation_id)
    return ClockState(**row)


async def move(connection: Connection, organisation_id: int, now: datetime) -> None:
    """Bring the clock forward, once every batch that was dated before has committed."""
    async with connection.transaction():
        await lock_definitions(connection, organisation_id)
        await QUERIES["move_clock"].run(connection, organisation_id=organisation_id, now=now)


async def mark_settled(connection: Connection, organisation_id: int, settled_at: datetime, *, version: int) -> None:
    """Everything due up to the instant is done, under the definitions of that version."""
    await QUERIES["mark_settled"].run(
        connection, organisation_id=organisation_id, settled_at=settled_at, version=version
    )


async def next_due(
    connection: Connection, organisation_id: int, *, after: datetime, until: datetime
) -> datetime | None:
    """The first due instant in (after, until]."""
    due: datetime | None = await QUERIES["next_due"].value(
        connection, organisation_id=organisation_id, after=after, until=until
    )
    return due


async def list_due(connection: Connection, now: datetime) -> list[int]:
    """The organisations that have something due, by their own clocks."""
    return [row["organisation_id"] for row in await QUERIES["list_organisations_due"].rows(connection, now=now)]


async def list_all(connection: Connection) -> list[int]:
    return [row["organisation_id"] for row in await QUERIES["list_organisations"].rows(connection)]
