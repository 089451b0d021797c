"""Organisations in the database, and who is connected to whom."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kosminar.core.access import Hierarchy
from kosminar.store.queries import Connection, load

QUERIES: Final = load("organisations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """A brand. `clock_at` is the test clock; of a real clock only the floor (see the schema)."""

    organisation_id: int
    parent_id: int | None
    name: str
    zone: str
    test_clock: bool
    clock_at: datetime
    settled_at: datetime
    definitions_version: int


async def insert(
    connection: Connection,
    *,
    name: str,
    zone: str,
    parent_id: int | None,
    test_clock_at: datetime | None,
    now: datetime,
) -> int:
    organisation_id = await QUERIES["insert_organisation"].value(
        connection,
        parent_id=parent_id,
        name=name,
        zone=zone,
        test_clock=test_clock_at is not None,
        clock_at=test_clock_at or now,
        now=now,
    )
    return int(organisation_id)


async def find(connection: Connection, organisation_id: int) -> Organisation | None:
    row = await QUERIES["find_organisation"].row(connection, organisation_id=organisation_id)
    return None if row is None else Organisation(**row)


async def fetch(connection: Connection, organisation_id: int) -> Organisation:
    """For an id that was found before: organisations are never deleted."""
    organisation = await find(connection, organisation_id)
    if organisation is None:
        raise LookupError(f"organisation {organisation_id}")
    return organisation


async def find_hierarchy(connection: Connection, organisation_id: int) -> Hierarchy | None:
    row = await QUERIES["find_hierarchy"].row(connection, organisation_id=organisation_id)
    if row is None:
        return None
    return Hierarchy(
        organisation_id=row["organisation_id"], parent_id=row["parent_id"], child_ids=tuple(row["child_ids"])
    )


async def ping(connection: Connection) -> None:
    """Raises whatever keeps the database from answering."""
    await QUERIES["ping"].run(connection)
