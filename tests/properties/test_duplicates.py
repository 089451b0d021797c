"""Activities that come twice change nothing, however they are cut into batches: through the Writer, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from itertools import count, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.conftest import Wall
from tests.definitions import build_definition, build_target
from tests.engine.brand import Brand, facts_of, rewards_of
from tests.model.engine_replay import programme_of
from tests.properties.effort import effort
from tests.properties.worlds import MOMENT, WORLDS, World

from kosminar.core.activity import Activity
from kosminar.core.customer import NewCustomer
from kosminar.core.definition import DefinedLevel, DefinedPeriod, Definition, PromisedReward
from kosminar.core.period import Span
from kosminar.core.programme import TrackingType
from kosminar.core.reward import RewardDefinition
from kosminar.core.zone import local_day
from kosminar.engine.change import ActivityOutcome, Request, Status
from kosminar.engine.house import House
from kosminar.engine.use_cases.clients import create_organisation
from kosminar.engine.use_cases.customers import register
from kosminar.store import programmes

pytestmark = pytest.mark.asyncio

CUSTOMER_ID = 1
NAME = "Monthly spend"
NUMBERS = count(1)


@effort(25)
@given(WORLDS, st.data())
async def test_activities_that_come_again_change_nothing(
    house: House, wall: Wall, world: World, choices: st.DataObject
) -> None:
    """What was accepted comes again in the same batch or a later one; a rejected one left its id free and is no repeat."""
    batches = _batches(world, choices.draw(st.sets(st.integers(1, len(world.steps)))))
    plain, repeated = await _found(house, world), await _found(house, world)
    accepted: list[Activity] = []
    repeat_count = 0

    for at, commands in batches:
        wall.now = at
        outcomes = await house.writer.submit(_requests(plain, commands))
        doubled: list[tuple[object, bool]] = []
        for command, outcome in zip(commands, outcomes, strict=True):
            doubled.append((command, False))
            if isinstance(outcome, ActivityOutcome) and outcome.status is Status.ACCEPTED:
                accepted.append(command)
            if accepted:
                doubled += [(each, True) for each in choices.draw(st.lists(st.sampled_from(accepted), max_size=2))]
        answers = await house.writer.submit(_requests(repeated, [command for command, _ in doubled]))
        repeats = [answer for answer, (_, again) in zip(answers, doubled, strict=True) if again]
        repeat_count += len(repeats)

        assert repeats == [ActivityOutcome(Status.DUPLICATE)] * len(repeats)
        firsts = [answer for answer, (_, again) in zip(answers, doubled, strict=True) if not again]
        assert [_refusal(answer) for answer in firsts] == [_refusal(outcome) for outcome in outcomes]

    event(f"{min(repeat_count, 5)} repeats or more")
    facts = await facts_of(house.pool, plain)
    event(f"something happened: {bool(facts)}")
    assert await facts_of(house.pool, repeated) == facts
    assert await rewards_of(house.pool, repeated) == await rewards_of(house.pool, plain)


def _batches(world: World, cuts: set[int]) -> list[tuple[datetime, list[object]]]:
    """The steps in order, cut into batches; each is worked at the instant of its last."""
    edges = sorted({0, *cuts, len(world.steps)})
    parts = [world.steps[first:last] for first, last in pairwise(edges)]
    return [(part[-1].at, [step.command for step in part]) for part in parts]


def _requests(brand: Brand, commands: Sequence[object]) -> list[Request]:
    return [
        Request(brand.organisation_id, CUSTOMER_ID, command)
        if isinstance(command, Activity)
        else brand._call(CUSTOMER_ID, NAME, replace(command, target_id=brand.programmes[NAME].targets[0].target_id))
        for command in commands
    ]


def _refusal(outcome: object) -> object:
    return (
        (outcome.status, outcome.code) if isinstance(outcome, ActivityOutcome) else (outcome.errors, outcome.warnings)
    )


async def _found(house: House, world: World) -> Brand:
    """An organisation of the world's programme that goes by the wall, and was there before the first step."""
    at = min(world.steps[0].at, world.edges[0]) - MOMENT
    async with house.pool.acquire() as connection, connection.transaction():
        organisation_id = await create_organisation(connection, name=f"Acme {next(NUMBERS)}", zone="UTC", now=at)
        await programmes.lock_definitions(connection, organisation_id)
        change = await programmes.begin_change(connection, organisation_id, wall=at)
        await programmes.insert(
            connection,
            _definition(world),
            organisation_id=organisation_id,
            created_by="test",
            now=change.at,
            version=change.version,
        )
        [programme] = await programmes.fetch_all(connection, organisation_id)
    await register(house.pool, organisation_id, [NewCustomer(customer_id=CUSTOMER_ID)], at)
    return Brand(organisation_id, {NAME: programme})


def _definition(world: World) -> Definition:
    programme = programme_of(world.model)
    zone = ZoneInfo(world.model.zone)
    first = programme.periods[0]
    return build_definition(
        name=NAME,
        tracking_type=TrackingType(world.model.kind),
        zone=zone,
        offset_days=(local_day(first.due_at, zone) - local_day(first.ends_at, zone)).days,
        track_from_enrolment=programme.track_from_enrolment,
        periods=tuple(DefinedPeriod(Span(p.name, p.starts_at, p.ends_at), None) for p in programme.periods),
        target=build_target(
            measure=programme.targets[0].measure,
            enrolment_method=programme.targets[0].enrolment_method,
            values=programme.targets[0].values,
            rewards=_promised(programme.targets[0].rewards),
        ),
        levels=tuple(DefinedLevel(level.name, level.count, _promised(level.rewards)) for level in programme.levels),
    )


def _promised(rewards: Sequence[RewardDefinition]) -> tuple[PromisedReward, ...]:
    return tuple(PromisedReward(r.kind, r.value, r.allocation) for r in rewards)
