"""Programmes in the database: what was defined, and the order in which definitions changed.

A change holds the organisation's definitions exclusively until it commits: it waits for the batches that are under way,
and the next ones see it whole, under a new version. Nothing is ever deleted. Values in, core values out; one query for
each table, however many programmes there are.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from kosminar.core.amount import decimal_of, exact_thousandths
from kosminar.core.clock import clock_now
from kosminar.core.definition import (
    DefinedLevel,
    DefinedPeriod,
    DefinedProgramme,
    DefinedTarget,
    Definition,
    PromisedReward,
    name_key,
)
from kosminar.core.kind.catalogue import KINDS
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity
from kosminar.core.period import Frequency, Period, Span
from kosminar.core.programme import EnrolmentMethod, Level, Programme, Target, TrackingType
from kosminar.core.reward import Allocation, RewardDefinition, RewardKind
from kosminar.core.window.fixed import FixedWindow
from kosminar.core.zone import due_at
from kosminar.store.queries import Connection, load
from kosminar.store.rewards import points_and_text, value_of

QUERIES: Final = load("programmes")

# The keys of advisory locks are one number space for the whole database. Ids of organisations are below 2^53, and in a
# later generation not far below: each kind of lock has that much room. Below it are our locks that are no organisation's.
DEFINITIONS_KEYS: Final = 1 << 53


class Change(NamedTuple):
    """A change of definitions: its place in their order, and the organisation's instant."""

    version: int
    at: datetime


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
    target_group_id: int = await QUERIES["insert_target_group"].value(
        connection,
        organisation_id=organisation_id,
        name=definition.name,
        name_key=name_key(definition.name),
        description=definition.description,
        tracking_type=definition.tracking_type.value,
        frequency_type=definition.frequency_type.value,
        frequency=definition.frequency,
        recurring_cycles=definition.recurring_cycles,
        preferred_till_id=definition.preferred_till_id,
        zone=definition.zone.key,
        offset_days=definition.offset_days,
        track_from_enrolment=definition.track_from_enrolment,
        starts_at=definition.starts_at,
        ends_at=definition.ends_at,
        created_by=created_by,
        now=now,
        version=version,
    )
    group = {"organisation_id": organisation_id, "target_group_id": target_group_id}
    period_ids = await _insert_periods(connection, definition, group)
    target_id = await _insert_target(connection, definition.target, group)
    await QUERIES["insert_target_values"].run(
        connection,
        organisation_id=organisation_id,
        target_id=target_id,
        period_ids=period_ids,
        target_values=[decimal_of(definition.target.value_of(number)) for number in range(1, len(period_ids) + 1)],
    )
    level_ids = await _insert_levels(connection, definition.levels, group)
    await _insert_rewards(connection, definition, organisation_id, target_id, level_ids)
    return target_group_id


async def list_all(connection: Connection, organisation_id: int) -> tuple[DefinedProgramme, ...]:
    """Every programme of the organisation, deactivated ones too, by id."""
    return await _list(connection, organisation_id, None)


async def find(connection: Connection, organisation_id: int, target_group_id: int) -> DefinedProgramme | None:
    found = await _list(connection, organisation_id, target_group_id)
    return found[0] if found else None


async def fetch_all(connection: Connection, organisation_id: int) -> tuple[Programme, ...]:
    """What the rules need of every programme. Whoever keeps it holds the definitions still while reading."""
    return tuple(defined.programme for defined in await list_all(connection, organisation_id))


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
    changed = await QUERIES["deactivate_target_group"].value(
        connection,
        organisation_id=organisation_id,
        target_group_id=target_group_id,
        deactivated_by=deactivated_by,
        now=now,
        version=version,
    )
    return changed is not None


async def _insert_periods(connection: Connection, definition: Definition, group: Mapping[str, int]) -> list[int]:
    spans = [defined.span for defined in definition.periods]
    rows = await QUERIES["insert_periods"].rows(
        connection,
        **group,
        names=[span.name for span in spans],
        name_keys=[name_key(span.name) for span in spans],
        descriptions=[defined.description for defined in definition.periods],
        starts_ats=[span.starts_at for span in spans],
        ends_ats=[span.ends_at for span in spans],
        due_ats=[due_at(span.ends_at, definition.offset_days, definition.zone) for span in spans],
    )
    return _ids_in_order(rows, "period_id")


async def _insert_target(connection: Connection, target: DefinedTarget, group: Mapping[str, int]) -> int:
    target_id: int = await QUERIES["insert_target"].value(
        connection,
        **group,
        name=target.name,
        name_key=name_key(target.name),
        description=target.description,
        target_entity=target.measure.entity.value,
        target_type=target.measure.type,
        event_name=target.measure.event_name,
        attribute_name=target.measure.attribute,
        enrolment_method=target.enrolment_method.value,
        expression_json=target.expression_json,
    )
    return target_id


async def _insert_levels(connection: Connection, levels: Sequence[DefinedLevel], group: Mapping[str, int]) -> list[int]:
    rows = await QUERIES["insert_levels"].rows(
        connection,
        **group,
        names=[level.name for level in levels],
        name_keys=[name_key(level.name) for level in levels],
        counts=[level.count for level in levels],
    )
    return _ids_in_order(rows, "level_id")


async def _insert_rewards(
    connection: Connection, definition: Definition, organisation_id: int, target_id: int, level_ids: Sequence[int]
) -> None:
    promised: list[tuple[int | None, PromisedReward]] = [(None, reward) for reward in definition.target.rewards]
    for level_id, level in zip(level_ids, definition.levels, strict=True):
        promised += [(level_id, reward) for reward in level.rewards]
    await QUERIES["insert_reward_definitions"].run(
        connection,
        organisation_id=organisation_id,
        target_id=target_id,
        level_ids=[level_id for level_id, _ in promised],
        kinds=[reward.kind.value for _, reward in promised],
        points=[points_and_text(reward.value)[0] for _, reward in promised],
        texts=[points_and_text(reward.value)[1] for _, reward in promised],
        allocations=[reward.allocation.value for _, reward in promised],
    )


def _ids_in_order(rows: Sequence[Any], id_name: str) -> list[int]:
    # RETURNING promises no order.
    return [row[id_name] for row in sorted(rows, key=lambda row: row["number"])]


async def _list(
    connection: Connection, organisation_id: int, target_group_id: int | None
) -> tuple[DefinedProgramme, ...]:
    which = {"organisation_id": organisation_id, "target_group_id": target_group_id}
    groups = await QUERIES["list_target_groups"].rows(connection, **which)
    periods = _by_group(await QUERIES["list_periods"].rows(connection, **which))
    levels = _by_group(await QUERIES["list_levels"].rows(connection, **which))
    rewards = _by_group(await QUERIES["list_reward_definitions"].rows(connection, **which))
    return tuple(
        _defined_programme(organisation_id, row, periods[group_id], levels[group_id], rewards[group_id])
        for row in groups
        for group_id in [row["target_group_id"]]
    )


def _by_group(rows: Sequence[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row["target_group_id"]].append(row)
    return found


def _defined_programme(
    organisation_id: int, row: Any, period_rows: Sequence[Any], level_rows: Sequence[Any], reward_rows: Sequence[Any]
) -> DefinedProgramme:
    rewards: dict[int | None, list[RewardDefinition]] = defaultdict(list)
    for reward_row in reward_rows:
        rewards[reward_row["level_id"]].append(_reward(reward_row))
    programme = _programme(organisation_id, row, period_rows, level_rows, rewards)
    return DefinedProgramme(
        programme=programme,
        definition=_definition(row, programme, period_rows),
        target_value_ids=tuple(period_row["target_value_id"] for period_row in period_rows),
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_by=row["updated_by"],
        updated_at=row["updated_at"],
    )


def _programme(
    organisation_id: int,
    row: Any,
    period_rows: Sequence[Any],
    level_rows: Sequence[Any],
    rewards: Mapping[int | None, Sequence[RewardDefinition]],
) -> Programme:
    target = Target(
        target_id=row["target_id"],
        name=row["target_name"],
        description=row["target_description"],
        measure=measure_of(Entity(row["target_entity"]), row["target_type"], row["event_name"], row["attribute_name"]),
        enrolment_method=EnrolmentMethod(row["enrolment_method"]),
        values=tuple(exact_thousandths(period_row["value"]) for period_row in period_rows),
        rewards=tuple(rewards.get(None, ())),
    )
    return Programme(
        target_group_id=row["target_group_id"],
        organisation_id=organisation_id,
        name=row["name"],
        kind=KINDS[TrackingType(row["tracking_type"])],
        zone=ZoneInfo(row["zone"]),
        track_from_enrolment=row["track_from_enrolment"],
        window=FixedWindow(tuple(_period(period_row) for period_row in period_rows)),
        period_ids=tuple(period_row["period_id"] for period_row in period_rows),
        targets=(target,),
        levels=tuple(
            Level(
                level_id=level_row["level_id"],
                number=level_row["number"],
                name=level_row["name"],
                count=level_row["count"],
                rewards=tuple(rewards.get(level_row["level_id"], ())),
            )
            for level_row in level_rows
        ),
        created_version=row["created_version"],
        deactivated_at=row["deactivated_at"],
        deactivated_version=row["deactivated_version"],
    )


def _definition(row: Any, programme: Programme, period_rows: Sequence[Any]) -> Definition:
    """What was asked; one value for all periods comes back as one for each."""
    (target,) = programme.targets
    return Definition(
        name=programme.name,
        description=row["description"],
        tracking_type=programme.kind.tracking_type,
        frequency_type=Frequency(row["frequency_type"]),
        frequency=row["frequency"],
        recurring_cycles=row["recurring_cycles"],
        preferred_till_id=row["preferred_till_id"],
        zone=programme.zone,
        offset_days=row["offset_days"],
        track_from_enrolment=programme.track_from_enrolment,
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        periods=tuple(
            DefinedPeriod(Span(period.name, period.starts_at, period.ends_at), period_row["description"])
            for period, period_row in zip(programme.periods, period_rows, strict=True)
        ),
        target=DefinedTarget(
            name=target.name,
            description=row["target_description"],
            measure=target.measure,
            enrolment_method=target.enrolment_method,
            expression_json=row["expression_json"],
            values=target.values,
            rewards=_promised(target.rewards),
        ),
        levels=tuple(DefinedLevel(level.name, level.count, _promised(level.rewards)) for level in programme.levels),
    )


def _period(row: Any) -> Period:
    return Period(row["number"], row["name"], row["starts_at"], row["ends_at"], row["due_at"])


def _reward(row: Any) -> RewardDefinition:
    return RewardDefinition(
        reward_definition_id=row["reward_definition_id"],
        kind=RewardKind(row["kind"]),
        value=value_of(row["points"], row["text"]),
        allocation=Allocation(row["allocation"]),
    )


def _promised(rewards: Sequence[RewardDefinition]) -> tuple[PromisedReward, ...]:
    return tuple(PromisedReward(reward.kind, reward.value, reward.allocation) for reward in rewards)
