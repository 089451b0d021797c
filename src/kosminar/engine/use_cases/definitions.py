"""Definitions: created, read, deactivated. A change holds the organisation's definitions, between two batches."""

from datetime import datetime
from typing import NamedTuple

from kosminar.core.definition import DefinedProgramme, Definition, name_taken
from kosminar.core.errors import Code
from kosminar.core.idempotency import BEGUN
from kosminar.engine.change import KeptOutcome
from kosminar.engine.house import House
from kosminar.engine.use_cases import clock
from kosminar.engine.use_cases.once import AnswerSlot, change_once
from kosminar.engine.use_cases.refusal import Refusal
from kosminar.store import programmes
from kosminar.store.queries import Connection


class Defined(NamedTuple):
    """A programme as it is defined, at an instant of its organisation."""

    programme: DefinedProgramme
    at: datetime


class AllDefined(NamedTuple):
    """All programmes of an organisation by id, deactivated ones too, at an instant of it."""

    programmes: tuple[DefinedProgramme, ...]
    at: datetime


async def create(
    house: House, organisation_id: int, definition: Definition, *, created_by: str, slot: AnswerSlot | None
) -> Defined | KeptOutcome:
    """A programme of a definition without faults; it counts what is accepted from then on. Raises Refusal of NAME_TAKEN."""

    async def work(connection: Connection) -> Defined:
        await programmes.lock_definitions(connection, organisation_id)
        taken = await programmes.find_taken_names(connection, organisation_id, definition)
        if any(taken):
            paths = [path for path, is_taken in zip(("name", "targets[0].name"), taken, strict=True) if is_taken]
            raise Refusal(*map(name_taken, paths))
        change = await programmes.begin_change(connection, organisation_id, wall=house.wall())
        target_group_id = await programmes.insert(
            connection,
            definition,
            organisation_id=organisation_id,
            created_by=created_by,
            now=change.at,
            version=change.version,
        )
        stored = await programmes.find(connection, organisation_id, target_group_id)
        assert stored is not None, "inserted in this transaction"
        return Defined(stored, change.at)

    return await change_once(house.pool, slot, work)


async def read_all(house: House, organisation_id: int) -> AllDefined:
    """Raises programmes.DefinitionDamaged."""
    async with house.pool.acquire() as connection:
        now, _ = await clock.read_in(connection, organisation_id, wall=house.wall())
        return AllDefined(await programmes.list_all(connection, organisation_id), now)


async def read(house: House, organisation_id: int, target_group_id: int) -> Defined:
    """A deactivated one too. Raises Refusal of UNKNOWN_TARGET_GROUP, and programmes.DefinitionDamaged."""
    async with house.pool.acquire() as connection:
        now, _ = await clock.read_in(connection, organisation_id, wall=house.wall())
        stored = await programmes.find(connection, organisation_id, target_group_id)
    if stored is None:
        raise Refusal.of(Code.UNKNOWN_TARGET_GROUP)
    return Defined(stored, now)


async def deactivate(
    house: House, organisation_id: int, target_group_id: int, *, deactivated_by: str, slot: AnswerSlot | None
) -> bool | KeptOutcome:
    """Nothing counts any more, ended periods are paid, the running one is not (decision 28).

    Returns when it is done for all customers. Raises Refusal of UNKNOWN_TARGET_GROUP, also for one that is not active.
    """

    async def work(connection: Connection) -> bool:
        await programmes.lock_definitions(connection, organisation_id)
        stored = await programmes.find(connection, organisation_id, target_group_id)
        if stored is None or not stored.active:
            raise Refusal.of(Code.UNKNOWN_TARGET_GROUP)
        change = await programmes.begin_change(connection, organisation_id, wall=house.wall())
        return await programmes.deactivate(
            connection,
            organisation_id,
            target_group_id,
            deactivated_by=deactivated_by,
            now=change.at,
            version=change.version,
        )

    outcome = await change_once(house.pool, slot, work, number=BEGUN)
    # After the commit, because it forfeits through the Writer, whose batches see the deactivation only then.
    await house.closer.settle(organisation_id)
    return outcome
