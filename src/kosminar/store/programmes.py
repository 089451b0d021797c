"""Programmes in the database: what was defined, version by version, and the order in which definitions changed.

A change holds the organisation's definitions exclusively until it commits: it waits for the batches that are under way,
and the next ones see it whole, under a new version. Nothing is ever deleted: a group has a row for each version in which
it changed, and its document at version v is the newest of them up to v (store/definitions.py). Core values in and out;
one query, however many programmes there are.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple

from kosminar.core.clock import clock_now
from kosminar.core.definition import DefinedProgramme, Definition, name_key
from kosminar.core.programme import Programme
from kosminar.store import definitions
from kosminar.store.definitions import Document
from kosminar.store.queries import Connection, load
from kosminar.store.standings import Edition

QUERIES: Final = load("programmes")

# The keys of advisory locks are one number space for the whole database. Ids of organisations are below 2^53, and in a
# later generation not far below: each kind of lock has that much room. Below it are our locks that are no organisation's.
DEFINITIONS_KEYS: Final = 1 << 53


class DefinitionDamaged(Exception):
    """What is stored as a definition is none; says which one and where."""


class Change(NamedTuple):
    """A change of definitions: its place in their order, and the organisation's instant."""

    version: int
    at: datetime


class StoredVersion(NamedTuple):
    """A version of a group as it is stored; `document` is None where it is damaged, and `fault` says how."""

    target_group_id: int
    version: int
    deactivated_at: datetime | None
    document: Document | None
    fault: str | None


class TakenNames(NamedTuple):
    """Which names of a definition another programme of the organisation has."""

    of_group: bool
    of_target: bool


def definitions_key(organisation_id: int) -> int:
    """The advisory lock of an organisation's definitions: shared by batches, exclusive for a change."""
    return DEFINITIONS_KEYS + organisation_id


async def lock_definitions(connection: Connection, organisation_id: int) -> None:
    """Hold the definitions until the transaction ends. Taken before any row, or a batch could wait for its waiter."""
    assert connection.is_in_transaction(), "outside a transaction the lock is gone at once"
    await QUERIES["lock_definitions_exclusively"].run(connection, key=definitions_key(organisation_id))


async def begin_change(connection: Connection, organisation_id: int, *, wall: datetime) -> Change:
    """Give the change its version and its instant; the caller holds the definitions since before it read the wall."""
    clock = await QUERIES["fetch_clock_of_change"].row(connection, organisation_id=organisation_id)
    now = clock_now(test_clock=clock["test_clock"], clock_at=clock["clock_at"], wall=wall)
    version = await QUERIES["advance_definitions"].value(connection, organisation_id=organisation_id, now=now)
    return Change(version, now)


async def find_taken_names(connection: Connection, organisation_id: int, definition: Definition) -> TakenNames:
    """Asked while the definitions are held, so that of two at once with one name, the second one is told."""
    row = await QUERIES["find_names"].row(
        connection,
        organisation_id=organisation_id,
        group_name_key=name_key(definition.name),
        target_name_key=name_key(definition.target.name),
    )
    return TakenNames(row["of_group"], row["of_target"])


async def insert(
    connection: Connection,
    definition: Definition,
    *,
    organisation_id: int,
    created_by: str,
    now: datetime,
    version: int,
) -> int:
    """Store a definition without faults and answer the target group's id."""
    rows = await QUERIES["take_definition_ids"].rows(connection, count=definitions.id_count(definition))
    ids = (row["id"] for row in rows)
    target_group_id: int = next(ids)
    document = definitions.document_of(definition, ids)
    group = {"organisation_id": organisation_id, "target_group_id": target_group_id}
    await QUERIES["insert_names"].run(
        connection,
        **group,
        kinds=["group", *("target" for _ in document.targets)],
        name_keys=[name_key(document.name), *(name_key(target.name) for target in document.targets)],
    )
    await QUERIES["insert_due_instants"].run(
        connection, organisation_id=organisation_id, due_ats=[period.due_at for period in document.window.periods]
    )
    await QUERIES["insert_definition"].run(
        connection,
        **group,
        version=version,
        document=definitions.encode(document),
        now=now,
        created_by=created_by,
    )
    return target_group_id


async def list_all(connection: Connection, organisation_id: int) -> tuple[DefinedProgramme, ...]:
    """Every programme of the organisation, deactivated ones too, by id; raises DefinitionDamaged."""
    return await _list(connection, organisation_id)


async def find(connection: Connection, organisation_id: int, target_group_id: int) -> DefinedProgramme | None:
    """Raises DefinitionDamaged."""
    found = await _list(connection, organisation_id, target_group_id=target_group_id)
    return found[0] if found else None


async def fetch_all(
    connection: Connection, organisation_id: int, *, version: int | None = None
) -> tuple[Programme, ...]:
    """What the rules need of every programme, by id, as it was at a version of the definitions; None is the newest.

    What was a version stays so, and may be kept, but for a failover (`Edition`). Raises DefinitionDamaged.
    """
    return tuple(defined.programme for defined in await _list(connection, organisation_id, version=version))


async def fetch_edition(connection: Connection, organisation_id: int) -> Edition:
    """Which content the organisation's definitions have."""
    row = await QUERIES["fetch_edition"].row(connection, organisation_id=organisation_id)
    return Edition(row["generation"], row["definitions_version"])


async def list_versions(connection: Connection, organisation_id: int) -> list[StoredVersion]:
    """Every version of every group, by group and in order, damaged ones too."""
    rows = await QUERIES["list_versions"].rows(connection, organisation_id=organisation_id)
    return [
        StoredVersion(row["target_group_id"], row["version"], row["deactivated_at"], *_document_or_fault(row))
        for row in rows
    ]


async def list_names(connection: Connection, organisation_id: int) -> dict[tuple[str, str], int]:
    """Which group holds each name, by kind and key."""
    rows = await QUERIES["list_names"].rows(connection, organisation_id=organisation_id)
    return {(row["kind"], row["name_key"]): row["target_group_id"] for row in rows}


async def list_due_instants(connection: Connection, organisation_id: int) -> list[datetime]:
    rows = await QUERIES["list_due_instants"].rows(connection, organisation_id=organisation_id)
    return [row["due_at"] for row in rows]


async def deactivate(
    connection: Connection,
    organisation_id: int,
    target_group_id: int,
    *,
    deactivated_by: str,
    now: datetime,
    version: int,
) -> bool:
    """Whether it was there and active."""
    changed = await QUERIES["deactivate_definition"].value(
        connection,
        organisation_id=organisation_id,
        target_group_id=target_group_id,
        deactivated_by=deactivated_by,
        now=now,
        version=version,
    )
    return changed is not None


async def _list(
    connection: Connection, organisation_id: int, *, target_group_id: int | None = None, version: int | None = None
) -> tuple[DefinedProgramme, ...]:
    rows = await QUERIES["list_definitions"].rows(
        connection, organisation_id=organisation_id, target_group_id=target_group_id, version=version
    )
    return tuple(_defined_programme(organisation_id, row) for row in rows)


def _document_or_fault(row: Any) -> tuple[Document | None, str | None]:
    try:
        return definitions.decode(row["document"]), None
    except ValueError as error:
        return None, str(error)


def _defined_programme(organisation_id: int, row: Any) -> DefinedProgramme:
    document, fault = _document_or_fault(row)
    if document is None:
        raise DefinitionDamaged(
            f"The definition of target group {row['target_group_id']} of organisation {organisation_id}, version "
            f"{row['version']}, is damaged: {fault}. Restore the database from a back-up."
        )
    programme = definitions.programme_of(
        document,
        organisation_id=organisation_id,
        target_group_id=row["target_group_id"],
        created_version=row["created_version"],
        deactivated_at=row["deactivated_at"],
        deactivated_version=row["deactivated_version"],
    )
    return DefinedProgramme(
        programme=programme,
        definition=definitions.definition_of(document),
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_by=row["changed_by"],
        updated_at=row["changed_at"],
    )
