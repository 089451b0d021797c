"""Programmes in the database: what goes in comes out, in its own organisation only, and changes wait for batches."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from tests.definitions import (
    POINTS,
    POINTS_AT_PERIOD_END,
    build_definition,
    build_levels,
    build_measure,
    build_periods,
    build_streak,
    build_target,
    month,
)

from kosminar.core.definition import DefinedLevel, DefinedProgramme, Definition, PromisedReward
from kosminar.core.measure.measure import Entity
from kosminar.core.programme import EnrolmentMethod
from kosminar.core.reward import Allocation, RewardKind
from kosminar.engine.use_cases.clients import create_organisation
from kosminar.store import organisations, programmes
from kosminar.store.programmes import Change, DefinitionDamaged, TakenNames, definitions_key
from kosminar.store.queries import Connection

NOW = datetime(2031, 2, 3, 4, 5, tzinfo=UTC)
BADGE = PromisedReward(RewardKind.BADGE, "runner", Allocation.IMMEDIATE)

MILESTONE = build_definition(
    description="Spend in spring",
    recurring_cycles=-1,
    preferred_till_id=2**63 - 1,
    zone=ZoneInfo("Pacific/Apia"),
    offset_days=31,
    track_from_enrolment=True,
    starts_at=month(0),
    ends_at=month(6),
    target=build_target(
        description="Net",
        enrolment_method=EnrolmentMethod.TRANSACTION,
        values=(250_000, 999_999_999_999_999, 1),
        rewards=(POINTS_AT_PERIOD_END, BADGE, POINTS),
    ),
)
STREAK = build_streak(
    name="Autumn laps",
    target=build_target(
        name="Laps",
        measure=build_measure(entity=Entity.EVENT, type="EVENT_ATTRIBUTE", event_name="lapDone", attribute="metres"),
        rewards=(POINTS,),
    ),
    levels=(
        DefinedLevel("First", 4, (BADGE, POINTS)),
        DefinedLevel("Second", 8, ()),
        DefinedLevel("All", 12, (POINTS,)),
    ),
)


async def organisation(connection: Connection, name: str = "Acme", **options) -> int:
    return await create_organisation(connection, **{"name": name, "zone": "UTC", "now": NOW} | options)


async def create(connection: Connection, organisation_id: int, definition: Definition) -> int:
    async with connection.transaction():
        await programmes.lock_definitions(connection, organisation_id)
        change = await programmes.begin_change(connection, organisation_id, wall=NOW)
        return await programmes.insert(
            connection,
            definition,
            organisation_id=organisation_id,
            created_by="till1",
            now=change.at,
            version=change.version,
        )


async def deactivate(connection: Connection, organisation_id: int, target_group_id: int, *, wall: datetime) -> bool:
    async with connection.transaction():
        await programmes.lock_definitions(connection, organisation_id)
        change = await programmes.begin_change(connection, organisation_id, wall=wall)
        return await programmes.deactivate(
            connection,
            organisation_id,
            target_group_id,
            deactivated_by="till2",
            now=change.at,
            version=change.version,
        )


async def stored(connection: Connection, organisation_id: int, target_group_id: int) -> DefinedProgramme:
    found = await programmes.find(connection, organisation_id, target_group_id)
    assert found is not None
    return found


def with_values_spread(definition: Definition) -> Definition:
    """As it is stored: one value for all periods becomes one for each."""
    values = tuple(definition.target.value_of(n) for n in range(1, len(definition.periods) + 1))
    return replace(definition, target=replace(definition.target, values=values))


@pytest.mark.asyncio
@pytest.mark.parametrize("definition", [MILESTONE, STREAK], ids=["milestone", "streak"])
async def test_a_definition_comes_back_as_it_was_stored(connection: asyncpg.Connection, definition: Definition) -> None:
    acme = await organisation(connection)

    found = await stored(connection, acme, await create(connection, acme, definition))

    assert found.definition == with_values_spread(definition)
    assert (found.created_by, found.created_at) == ("till1", NOW)
    assert (found.updated_by, found.updated_at) == ("till1", NOW)


@pytest.mark.asyncio
async def test_the_rules_see_periods_values_and_rewards_in_order(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    target_group_id = await create(connection, acme, MILESTONE)

    [programme] = await programmes.fetch_all(connection, acme)

    assert (programme.target_group_id, programme.organisation_id) == (target_group_id, acme)
    assert [(p.number, p.name) for p in programme.periods] == [(1, "Cycle_1"), (2, "Cycle_2"), (3, "Cycle_3")]
    assert [p.due_at - p.ends_at for p in programme.periods] == [timedelta(days=31)] * 3
    assert programme.targets[0].values == MILESTONE.target.values
    assert [(r.kind, r.value) for r in programme.targets[0].rewards] == [
        (r.kind, r.value) for r in MILESTONE.target.rewards
    ]
    assert len({r.reward_definition_id for r in programme.targets[0].rewards}) == 3
    assert (programme.created_version, programme.deactivated_at, programme.deactivated_version) == (1, None, None)


@pytest.mark.asyncio
async def test_each_level_has_its_own_rewards_and_the_target_its_own(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    await create(connection, acme, STREAK)

    [programme] = await programmes.fetch_all(connection, acme)

    assert [r.value for r in programme.targets[0].rewards] == [POINTS.value]
    assert [(level.number, level.name, level.count) for level in programme.levels] == [
        (1, "First", 4),
        (2, "Second", 8),
        (3, "All", 12),
    ]
    assert [[r.value for r in level.rewards] for level in programme.levels] == [
        ["runner", POINTS.value],
        [],
        [POINTS.value],
    ]


@pytest.mark.asyncio
async def test_an_organisation_sees_its_own_programmes_only(connection: asyncpg.Connection) -> None:
    acme, globex = await organisation(connection), await organisation(connection, "Globex")
    milestone = await create(connection, acme, MILESTONE)
    streak = await create(connection, acme, STREAK)
    foreign = await create(connection, globex, MILESTONE)

    assert [p.target_group_id for p in await programmes.fetch_all(connection, acme)] == [milestone, streak]
    assert [p.target_group_id for p in await programmes.fetch_all(connection, globex)] == [foreign]
    assert await programmes.find(connection, acme, foreign) is None
    assert not await deactivate(connection, acme, foreign, wall=NOW)
    assert (await stored(connection, globex, foreign)).active


@pytest.mark.asyncio
async def test_names_are_taken_in_any_case_and_in_their_organisation_only(connection: asyncpg.Connection) -> None:
    acme, globex = await organisation(connection), await organisation(connection, "Globex")
    target_group_id = await create(
        connection, acme, build_definition(name="Große Runde", target=build_target(name="Ziel"))
    )

    async def taken(organisation_id: int, group: str, target: str) -> TakenNames:
        wanted = build_definition(name=group, target=build_target(name=target))
        return await programmes.find_taken_names(connection, organisation_id, wanted)

    assert await taken(acme, "GROSSE RUNDE", "zIEL") == (True, True)
    assert await taken(acme, "Große Runde 2", "ziel") == (False, True)
    assert await taken(acme, "große runde", "Große Runde") == (True, False)
    assert await taken(globex, "Große Runde", "Ziel") == (False, False)
    await deactivate(connection, acme, target_group_id, wall=NOW)
    assert await taken(acme, "Große Runde", "Ziel") == (True, True)


@pytest.mark.asyncio
async def test_the_database_itself_refuses_a_name_twice(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    await create(connection, acme, MILESTONE)

    with pytest.raises(asyncpg.UniqueViolationError):
        await create(connection, acme, replace(MILESTONE, name=MILESTONE.name.upper()))

    assert (await organisations.find(connection, acme)).definitions_version == 1


@pytest.mark.asyncio
async def test_a_programme_is_deactivated_once_and_stays_readable(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    target_group_id = await create(connection, acme, MILESTONE)
    later = NOW + timedelta(days=1)

    assert await deactivate(connection, acme, target_group_id, wall=later)
    assert not await deactivate(connection, acme, target_group_id, wall=later + timedelta(days=1))

    found = await stored(connection, acme, target_group_id)
    assert not found.active
    assert (found.programme.deactivated_at, found.programme.deactivated_version) == (later, 2)
    assert (found.created_by, found.updated_by, found.updated_at) == ("till1", "till2", later)


@pytest.mark.asyncio
async def test_a_change_takes_the_next_version_and_the_organisations_instant(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    tested = await organisation(connection, "Tested", test_clock_at=month(1))

    async def change(organisation_id: int, wall: datetime) -> Change:
        async with connection.transaction():
            await programmes.lock_definitions(connection, organisation_id)
            return await programmes.begin_change(connection, organisation_id, wall=wall)

    assert await change(acme, NOW + timedelta(hours=1)) == (1, NOW + timedelta(hours=1))
    # The wall was set back; the organisation's time was not.
    assert await change(acme, NOW) == (2, NOW + timedelta(hours=1))
    assert await change(tested, NOW) == (1, month(1))
    assert (await organisations.find(connection, tested)).clock_at == month(1)


@pytest.mark.asyncio
async def test_a_change_waits_for_the_batch_that_holds_the_definitions_of_its_organisation(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as batch, pool.acquire() as one, pool.acquire() as other:
        acme, globex = await organisation(batch), await organisation(batch, "Globex")
        holding = batch.transaction()
        await holding.start()
        await batch.execute("SELECT pg_advisory_xact_lock_shared($1)", definitions_key(acme))

        waiting = asyncio.create_task(create(one, acme, MILESTONE))
        await create(other, globex, MILESTONE)
        while not await _somebody_waits(batch):
            await asyncio.sleep(0.01)
        assert await programmes.fetch_all(batch, acme) == ()
        await holding.commit()

        assert await waiting


@pytest.mark.asyncio
async def test_many_programmes_are_read_whole(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    for n in range(1, 6):
        definition = build_streak(
            name=f"Streak {n}",
            periods=build_periods(n),
            target=build_target(name=f"Target {n}"),
            levels=build_levels(*range(1, n + 1)),
        )
        await create(connection, acme, definition)

    found = await programmes.fetch_all(connection, acme)

    assert [(len(p.periods), len(p.targets[0].values), len(p.levels)) for p in found] == [
        (n, n, n) for n in range(1, 6)
    ]
    assert [p.created_version for p in found] == [1, 2, 3, 4, 5]


@pytest.mark.asyncio
async def test_a_programme_at_a_version_is_the_document_at_that_version(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    milestone = await create(connection, acme, MILESTONE)
    await create(connection, acme, STREAK)
    await deactivate(connection, acme, milestone, wall=NOW + timedelta(days=1))
    newest = await programmes.fetch_all(connection, acme)

    for version in range(5):
        found = await programmes.fetch_all(connection, acme, version=version)
        assert list(found) == [seen for each in newest if (seen := each.as_of(version)) is not None]
    assert await connection.fetchval("SELECT count(*) FROM definition WHERE target_group_id = $1", milestone) == 2


@pytest.mark.asyncio
async def test_a_version_never_changes_when_a_later_one_comes(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    milestone = await create(connection, acme, MILESTONE)
    rows = await connection.fetch("SELECT * FROM definition")

    await deactivate(connection, acme, milestone, wall=NOW + timedelta(days=1))

    assert await connection.fetch("SELECT * FROM definition WHERE version = 1") == rows


@pytest.mark.asyncio
async def test_ids_come_from_one_sequence_and_name_one_thing_each(connection: asyncpg.Connection) -> None:
    given = []
    for name in ("Acme", "Globex"):
        one = await organisation(connection, name)
        for definition in (MILESTONE, STREAK):
            target_group_id = await create(connection, one, definition)
            programme = (await stored(connection, one, target_group_id)).programme
            givers = (*programme.targets, *programme.levels)
            given += [target_group_id, programme.targets[0].target_id, *(level.level_id for level in programme.levels)]
            given += [reward.reward_definition_id for giver in givers for reward in giver.rewards]
            periods = [programme.period_id(period.number) for period in programme.periods]
            assert periods == [target_group_id * 1024 + n for n in range(1, len(periods) + 1)]

    assert sorted(given) == list(range(1, len(given) + 1))


@pytest.mark.asyncio
@pytest.mark.parametrize("part", ["group", "target"])
async def test_the_database_refuses_a_name_twice_in_an_organisation_and_takes_it_in_another(
    connection: asyncpg.Connection, part: str
) -> None:
    """Whatever was asked before: the table of names is the last word."""
    acme, globex = await organisation(connection), await organisation(connection, "Globex")
    target = replace(STREAK.target, name=MILESTONE.target.name.upper())
    again = replace(STREAK, name="SPRING") if part == "group" else replace(STREAK, target=target)
    await create(connection, acme, replace(MILESTONE, name="Spring"))

    with pytest.raises(asyncpg.UniqueViolationError):
        await create(connection, acme, again)

    await create(connection, globex, again)


@pytest.mark.asyncio
async def test_a_damaged_document_is_refused_by_name_and_hurts_no_other_organisation(
    connection: asyncpg.Connection,
) -> None:
    acme, globex = await organisation(connection), await organisation(connection, "Globex")
    damaged, whole = await create(connection, acme, MILESTONE), await create(connection, globex, MILESTONE)
    await connection.execute(
        "UPDATE definition SET document = jsonb_set(document, '{window,offset_days}', '367') WHERE organisation_id = $1",
        acme,
    )

    with pytest.raises(DefinitionDamaged) as refused:
        await programmes.fetch_all(connection, acme)

    said = str(refused.value)
    assert said.startswith(f"The definition of target group {damaged} of organisation {acme}, version 1, is damaged: ")
    assert "`$.window.offset_days`" in said
    assert said.endswith("from a back-up.")
    assert (await stored(connection, globex, whole)).definition == with_values_spread(MILESTONE)


async def _somebody_waits(connection: Connection) -> bool:
    return await connection.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
