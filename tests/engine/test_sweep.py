"""The sweep leaves what the writer would have left, row by row; and whoever is not surely alike is left to the writer.

Which way a period end takes is decided by how many wait in a bucket (`closer.MANY`); the tests set it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count, islice
from random import Random
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.conftest import Wall
from tests.definitions import POINTS, POINTS_AT_PERIOD_END, build_definition, build_periods, build_target, month
from tests.engine.brand import BEFORE, FOUNDED_AT, Brand, deactivate, found, milestone, rewards_of, streak
from tests.unfolded import UNFOLDED

from kosminar.core.bucket import bucket_of_customer
from kosminar.core.customer import NewCustomer
from kosminar.core.definition import PromisedReward
from kosminar.core.event import EventName
from kosminar.core.programme import EnrolmentMethod
from kosminar.core.reward import Allocation, RewardKind
from kosminar.engine import sweep
from kosminar.engine.auditor import audit
from kosminar.engine.change import Request
from kosminar.engine.closer import PeriodEndsFailed
from kosminar.engine.house import House
from kosminar.engine.registration import register
from kosminar.engine.sweep import Sweeper
from kosminar.engine.writer import BATCH_SIZE_MAX, NotSaved
from kosminar.store import clocks, counters, programmes, webhook_endpoints
from kosminar.store.period_ends import PeriodEnd

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
COUPON_AT_PERIOD_END = PromisedReward(RewardKind.COUPON, "SPRING", Allocation.PERIOD_END)
NOBODY = 10**9


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From how many in a bucket on they are swept."""
    return lambda many: monkeypatch.setattr("kosminar.engine.closer.MANY", many)


def way(house: House, name: str) -> float:
    return house.meters.registry.get_sample_value("kosminar_period_ends_total", {"way": name}) or 0.0


def ids_in_bucket(organisation_id: int, bucket: int, how_many: int) -> list[int]:
    """The first customer ids whose rows live there."""
    there = (one for one in count(1) if bucket_of_customer(organisation_id, one) == bucket)
    return list(islice(there, how_many))


async def brand_in_buckets(
    house: House, definitions: Sequence[Any], *, per_bucket: int, buckets: Sequence[int] = (7,), **options: Any
) -> tuple[Brand, list[int]]:
    brand = await found(house.pool, options.pop("name", "acme"), definitions, customer_ids=(), **options)
    ids = [one for bucket in buckets for one in ids_in_bucket(brand.organisation_id, bucket, per_bucket)]
    await register(house.pool, brand.organisation_id, [NewCustomer(customer_id=one) for one in ids], FOUNDED_AT)
    return brand, ids


async def achieved(house: House, *, per_bucket: int, buckets: Sequence[int] = (7,)) -> tuple[Brand, list[int]]:
    """Customers who all have achieved January of a milestone that pays at the end."""
    brand, ids = await brand_in_buckets(
        house, [milestone("At the end", POINTS_AT_PERIOD_END)], per_bucket=per_bucket, buckets=buckets
    )
    await house.writer.submit(brand.enrol(one, "At the end") for one in ids)
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await house.writer.submit(brand.buy(one, "january", month(1)) for one in ids)
    return brand, ids


def end_of(brand: Brand, number: int = 1, bucket: int = 7) -> PeriodEnd:
    programme = brand.programmes["At the end"]
    return PeriodEnd(brand.organisation_id, bucket, programme.targets[0].target_id, programme.period_id(number))


async def sweep_all(house: House, end: PeriodEnd) -> list[sweep.Page]:
    sweeper = Sweeper(house.pool, wall=house.wall, lane_count=1, meters=house.meters)
    return [page async for page in sweeper.sweep(end)]


async def agreed(house: House) -> None:
    assert [difference async for difference in audit(house.pool, progressed=lambda _: None)] == []


async def waiting_for_a_lock(pool: asyncpg.Pool, how_many: int = 1) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while await pool.fetchval(waiting) < how_many:
            pass


# ---------------------------------------------------------------- the same rows either way


NAMES = ("At the end", "Both", "By itself", "Given up", "In a row")
TABLES = ("customer", "enrolment", "progress", "streak", "journal", "fact", "reward")


def definitions() -> list[Any]:
    by_itself = build_target(
        name="By itself",
        rewards=(COUPON_AT_PERIOD_END,),
        values=(100_000,) * 4,
        enrolment_method=EnrolmentMethod.TRANSACTION,
    )
    return [
        milestone("At the end", POINTS_AT_PERIOD_END, months=4),
        milestone("Both", POINTS, POINTS_AT_PERIOD_END, COUPON_AT_PERIOD_END, months=4, offset_days=2),
        build_definition(name="By itself", periods=build_periods(4), target=by_itself, offset_days=1),
        milestone("Given up", POINTS_AT_PERIOD_END, months=4, offset_days=1),
        streak("In a row", 2, 3, months=4, offset_days=1),
    ]


@dataclass(frozen=True)
class Step:
    """What happens at an instant to the customers of a world, who are told by their place in it."""

    at: datetime
    acts: tuple[tuple[str, int, str, Any], ...] = ()
    given_up: bool = False
    settled: bool = False


def story(random: Random, customer_count: int) -> list[Step]:
    """Four months of enrolling, leaving, coming back and buying; seldom is a period end worked in time."""
    at = [BEFORE, *(month(n) + offset for n in range(1, 5) for offset in (timedelta(), DAY, 2 * DAY, 9 * DAY))]
    given_up_at = random.choice(at[6:])
    return [
        Step(
            instant,
            acts=tuple(act(random, instant, customer_count) for _ in range(40)),
            given_up=instant == given_up_at,
            settled=random.random() < 0.15,
        )
        for instant in at
    ]


def act(random: Random, at: datetime, customer_count: int) -> tuple[str, int, str, Any]:
    one, name = random.randrange(customer_count), random.choice(NAMES)
    what = random.choices(("enrol", "un_enrol", "buy"), weights=(8, 1, 10) if at == BEFORE else (4, 1, 10))[0]
    if what == "enrol":
        balance = random.choice((None, None, 0, 150_000))
        return what, one, name, {"initial_balance": balance}
    bought_at = at - random.choice((timedelta(), timedelta(), DAY, 2 * DAY))
    return what, one, name, (f"a{random.getrandbits(64)}", bought_at, random.choice(("40", "100", "250")))


async def live(
    house: House, wall: Wall, brand: Brand, ids: Sequence[int], steps: Sequence[Step], *, real: bool
) -> None:
    for step in steps:
        wall.now = step.at
        if not real:
            # Nobody works what falls due by it.
            async with house.pool.acquire() as connection:
                await clocks.move(connection, brand.organisation_id, step.at)
        await house.writer.submit(request(brand, ids, act) for act in step.acts)
        if step.given_up:
            await deactivate(house.pool, brand, "Given up", at=step.at)
        if step.settled:
            await house.closer.settle(brand.organisation_id)


def request(brand: Brand, ids: Sequence[int], act: tuple[str, int, str, Any]) -> Request:
    what, place, name, detail = act
    match what:
        case "enrol":
            return brand.enrol(ids[place], name, **detail)
        case "un_enrol":
            return brand.un_enrol(ids[place], name)
        case _:
            return brand.buy(ids[place], *detail)


async def rows_of(pool: asyncpg.Pool, brand: Brand, ids: Sequence[int]) -> dict[str, list[str]]:
    """Every row of every table of a world, in the world's own words: whose ids they are does not matter."""
    words: dict[str, dict[int, Any]] = {"customer_id": {one: place for place, one in enumerate(ids)}}
    for column, table in (
        ("target_id", "target"),
        ("target_group_id", "newest"),
        ("period_id", "period"),
        ("level_id", "level"),
        ("reward_definition_id", "reward_definition"),
    ):
        known = await pool.fetch(
            f"{UNFOLDED} SELECT {column} FROM {table} WHERE organisation_id = $1 ORDER BY 1", brand.organisation_id
        )
        words[column] = {row[0]: f"{table} {place}" for place, row in enumerate(known)}
    async with pool.acquire() as connection:
        counted = await counters.list_all(connection, brand.organisation_id)
    rows = {
        table: sorted(
            repr(
                {
                    column: words[column].get(value, value) if column in words else value
                    for column, value in row.items()
                    if column not in {"bucket", "organisation_id", "reached", "facts", "verdicts", "reward_id"}
                }
            )
            for row in await pool.fetch(
                f"{UNFOLDED} SELECT * FROM {table} WHERE organisation_id = $1", brand.organisation_id
            )
        )
        for table in TABLES
    }
    groups = words["target_group_id"]
    return {**rows, "counters": sorted(f"{groups[key[1]]}, {key[2:]}: {counts}" for key, counts in counted.items())}


@pytest.mark.parametrize("seed", range(6))
async def test_swept_or_one_by_one_every_row_is_the_same(house, wall, together, seed) -> None:
    real = seed % 2 == 1
    steps = story(Random(seed), 40)
    worlds = []
    for name, many in (("acme", 1), ("globex", NOBODY)):
        together(many)
        wall.now = BEFORE
        brand, ids = await brand_in_buckets(
            house, definitions(), per_bucket=20, buckets=(7, 8), name=name, test_clock_at=None if real else BEFORE
        )
        await live(house, wall, brand, ids, steps, real=real)
        wall.now = month(5)
        swept_before = way(house, "together")
        async with house.pool.acquire() as connection:
            await clocks.move(connection, brand.organisation_id, month(5))
        await house.closer.settle(brand.organisation_id)
        worlds.append((await rows_of(house.pool, brand, ids), way(house, "together") - swept_before))

    (swept, swept_count), (singly, none) = worlds
    assert swept == singly
    assert swept_count > 0
    assert none == 0
    await agreed(house)


async def test_whoever_is_alike_is_settled_together_and_everybody_else_is_left(house) -> None:
    brand, ids = await achieved(house, per_bucket=6)
    plain, later, left, returned, ahead, twice = ids
    submit = house.writer.submit
    await submit([brand.un_enrol(one, "At the end") for one in (left, returned)])
    await submit([brand.enrol(returned, "At the end")])
    # What a later period waits for is nobody's business yet; two that have ended are settled in their order.
    for one, number in ((later, 3), (twice, 2)):
        await house.pool.execute(
            "INSERT INTO progress SELECT bucket, organisation_id, customer_id, target_id, $2, run, value, target_value,"
            " achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled, awaits_end"
            " FROM progress WHERE customer_id = $1",
            one,
            brand.programmes["At the end"].period_id(number),
        )
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(3))
    await house.pool.execute("UPDATE customer SET changed_at = $2 WHERE customer_id = $1", ahead, month(3) + DAY)

    (page,) = await sweep_all(house, end_of(brand))

    assert page == sweep.Page(2, sorted([left, returned, ahead, twice]), ids[-1])
    assert {row[0] for row in await rewards_of(house.pool, brand) if row[3] == "issued"} == {plain, later}


@pytest.mark.parametrize(("many", "ways"), [(5, (5.0, 0.0)), (6, (0.0, 5.0))])
async def test_where_few_wait_the_writer_gathers_them(house, together, many, ways) -> None:
    brand, ids = await achieved(house, per_bucket=5)
    together(many)

    await house.closer.advance(brand.organisation_id, month(2))

    assert (way(house, "together"), way(house, "singly")) == ways
    assert [row[0] for row in await rewards_of(house.pool, brand)] == ids
    await agreed(house)


async def test_a_page_is_never_larger_than_a_batch(house, monkeypatch) -> None:
    """Nobody's request waits longer for a page of the sweep than for a batch of the writer."""
    assert sweep.PAGE_SIZE <= BATCH_SIZE_MAX
    brand, ids = await achieved(house, per_bucket=7)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2))
    monkeypatch.setattr(sweep, "PAGE_SIZE", 3)

    pages = await sweep_all(house, end_of(brand))

    assert pages == [sweep.Page(3, [], ids[2]), sweep.Page(3, [], ids[5]), sweep.Page(1, [], ids[6])]


async def test_a_period_that_has_not_ended_is_left_alone(house) -> None:
    brand, ids = await achieved(house, per_bucket=2)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2) - timedelta(microseconds=1))

    (page,) = await sweep_all(house, end_of(brand))

    assert page == sweep.Page(0, ids, ids[-1])
    assert await rewards_of(house.pool, brand) == []


async def test_a_sweep_asks_for_its_own_organisation_only(house) -> None:
    brand, _ = await achieved(house, per_bucket=3)
    end = end_of(brand)._replace(organisation_id=brand.organisation_id + 1)

    assert await sweep_all(house, end) == []


async def test_who_is_to_be_told_is_settled_one_by_one(house, together) -> None:
    brand, ids = await achieved(house, per_bucket=4)
    await subscribe(house, brand, EventName.REWARD_ISSUED)
    together(1)

    await house.closer.advance(brand.organisation_id, month(2))

    assert (way(house, "together"), way(house, "singly")) == (0.0, 4.0)
    assert [row[3] for row in await rewards_of(house.pool, brand)] == ["pending"] * 4
    assert await house.pool.fetchval("SELECT count(*) FROM notification WHERE name = 'rewardIssued'") == len(ids)
    await agreed(house)


async def subscribe(house: House, brand: Brand, name: EventName) -> None:
    async with house.pool.acquire() as connection, connection.transaction():
        await programmes.lock_definitions(connection, brand.organisation_id)
        change = await programmes.begin_change(connection, brand.organisation_id, wall=FOUNDED_AT)
        await webhook_endpoints.insert(
            connection,
            brand.organisation_id,
            url="https://example.com/hook",
            description=None,
            event_names=frozenset({name.value}),
            headers={},
            connection_count_max=1,
            secret=bytes(32),
            now=change.at,
        )


@pytest.mark.parametrize(
    "odd",
    [
        "progress SET rewarded = true",
        "progress SET forfeited = true",
        "enrolment SET first_period_number = 2",
        "enrolment SET starts_at = '2031-02-01Z'",
        "enrolment SET method = 'opt_out'",
        "enrolment SET number = 2",
        "enrolment SET ends_at = '2031-01-20Z'",
    ],
)
async def test_a_row_that_is_unlike_the_others_is_left_though_nobody_knows_how_it_came(house, odd) -> None:
    brand, ids = await achieved(house, per_bucket=2)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2))
    await house.pool.execute(f"UPDATE {odd} WHERE customer_id = $1", ids[1])

    (page,) = await sweep_all(house, end_of(brand))

    assert page == sweep.Page(1, [ids[1]], ids[1])


# ---------------------------------------------------------------- races, and cut off


async def test_what_changed_while_it_waited_for_the_lock_is_seen(house) -> None:
    brand, ids = await achieved(house, per_bucket=3)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2))

    with capture_logs() as logs:
        async with house.pool.acquire() as beside, beside.transaction():
            await beside.execute("SELECT 1 FROM customer WHERE customer_id = $1 FOR UPDATE", ids[1])
            leaving = asyncio.create_task(house.writer.submit([brand.un_enrol(ids[1], "At the end")]))
            await waiting_for_a_lock(house.pool)
            sweeping = asyncio.create_task(sweep_all(house, end_of(brand)))
            await waiting_for_a_lock(house.pool, 2)
        _, (page,) = await asyncio.gather(leaving, sweeping)

    # Who left settled what was due; the sweep found it done and had nothing to repair.
    assert page == sweep.Page(2, [ids[1]], ids[2])
    repaired = {"sweep_left_to_the_writer", "sweep_retried", "batch_retried"}
    assert [line for line in logs if line["event"] in repaired] == []
    assert [(row[0], row[3]) for row in await rewards_of(house.pool, brand)] == [(one, "issued") for one in ids]
    await agreed(house)


@pytest.mark.parametrize("seed", range(3))
async def test_leaving_buying_and_the_sweep_at_once_leave_one_story(house, together, monkeypatch, seed) -> None:
    random = Random(seed)
    brand, ids = await achieved(house, per_bucket=60, buckets=(7, 8, 9))
    together(1)
    monkeypatch.setattr(sweep, "PAGE_SIZE", 5)

    async def restless() -> None:
        for number in range(60):
            one = random.choice(ids)
            acts = [
                brand.un_enrol(one, "At the end"),
                brand.enrol(one, "At the end"),
                brand.buy(one, f"b{number}", month(1)),
                brand.buy(one, f"c{number}", month(1), "1"),
            ]
            await house.writer.submit(random.sample(acts, 2))

    await asyncio.gather(house.closer.advance(brand.organisation_id, month(2)), *(restless() for _ in range(3)))
    await house.closer.settle(brand.organisation_id)

    rewards = await rewards_of(house.pool, brand)
    assert len({row[0] for row in rewards}) == len(rewards)
    assert way(house, "together") > 0
    await agreed(house)


async def test_cut_off_half_way_it_goes_on_with_who_is_left(house, together) -> None:
    brand, ids = await achieved(house, per_bucket=20, buckets=(7, 8, 9, 10))
    together(1)

    async with house.pool.acquire() as beside, beside.transaction():
        # One of the last bucket keeps its page waiting; the others' are committed by then.
        await beside.execute("SELECT 1 FROM customer WHERE customer_id = $1 FOR UPDATE", ids[-1])
        advancing = asyncio.create_task(house.closer.advance(brand.organisation_id, month(2)))
        async with asyncio.timeout(20):
            while len(await rewards_of(house.pool, brand)) < 60:
                pass
        await waiting_for_a_lock(house.pool)
        await beside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        (error,) = await asyncio.gather(advancing, return_exceptions=True)

    assert isinstance(error, NotSaved)
    assert len(await rewards_of(house.pool, brand)) == 60
    await house.closer.advance(brand.organisation_id, month(2))
    assert [row[0] for row in await rewards_of(house.pool, brand)] == sorted(ids)
    await agreed(house)


async def test_a_page_with_one_at_fault_is_left_to_the_writer_and_the_others_are_paid(house, together) -> None:
    brand, ids = await achieved(house, per_bucket=6)
    together(1)
    programme = brand.programmes["At the end"]
    await house.pool.execute(
        "INSERT INTO reward (bucket, organisation_id, customer_id, target_id, period_id, level_id, run,"
        " reward_definition_id, kind, points, allocation, state, earned_at, sequence)"
        " SELECT bucket, organisation_id, customer_id, $2, $3, 0, 1, $4, 'POINTS', 1, 'PERIOD_END', 'issued', $5, 1"
        " FROM customer WHERE customer_id = $1",
        ids[2],
        programme.targets[0].target_id,
        programme.period_id(1),
        programme.targets[0].rewards[0].reward_definition_id,
        BEFORE,
    )

    with pytest.raises(PeriodEndsFailed):
        await house.closer.advance(brand.organisation_id, month(2))

    assert (way(house, "together"), way(house, "singly")) == (0.0, 5.0)
    paid = [row[0] for row in await rewards_of(house.pool, brand) if row[5] == month(2)]
    assert paid == [one for one in ids if one != ids[2]]
    # Found again once it is repaired.
    await house.pool.execute("DELETE FROM reward WHERE earned_at = $1", BEFORE)
    await house.closer.advance(brand.organisation_id, month(2))
    assert [row[0] for row in await rewards_of(house.pool, brand)] == ids
    await agreed(house)


# ---------------------------------------------------------------- far along


async def test_it_says_how_far_it_has_come(house, together, monkeypatch) -> None:
    brand, _ = await achieved(house, per_bucket=4, buckets=(7, 8))
    together(1)
    monkeypatch.setattr("kosminar.engine.closer.PROGRESS_SECONDS", 0.0)

    with capture_logs() as logs:
        await house.closer.advance(brand.organisation_id, month(2))

    told = [line for line in logs if line["event"] == "period_ends_progress"]
    assert told[-1]["worked"] == 8
    assert told[-1]["buckets"] == told[-1]["bucket_number"] == 2


@pytest.mark.parametrize(("quiet_seconds", "at_once"), [(60.0, 1), (0.0, 2)])
async def test_all_lanes_but_one_give_way_to_whoever_asked_lately(
    house, together, monkeypatch, quiet_seconds, at_once
) -> None:
    brand, ids = await achieved(house, per_bucket=2, buckets=range(7, 13))
    together(1)
    monkeypatch.setattr("kosminar.engine.closer.QUIET_SECONDS", quiet_seconds)
    working: list[int] = []
    most = 0
    page_of = Sweeper._page

    async def page(self: Sweeper, end: PeriodEnd, *, after: int) -> sweep.Page | None:
        nonlocal most
        working.append(end.bucket)
        most = max(most, len(working))
        try:
            return await page_of(self, end, after=after)
        finally:
            working.remove(end.bucket)

    monkeypatch.setattr(Sweeper, "_page", page)

    await house.closer.advance(brand.organisation_id, month(2))

    assert most == at_once
    assert sorted(row[0] for row in await rewards_of(house.pool, brand)) == sorted(ids)
    await agreed(house)


async def test_many_broken_streaks_of_one_bucket_are_all_found(house, together, monkeypatch) -> None:
    brand, ids = await brand_in_buckets(house, [streak("In a row", 2, months=3)], per_bucket=24)
    await house.writer.submit(brand.enrol(one, "In a row") for one in ids)
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await house.writer.submit(brand.buy(one, "january", month(1)) for one in ids)
    together(2)
    monkeypatch.setattr("kosminar.engine.closer.PAGE", 3)

    await house.closer.advance(brand.organisation_id, month(3))

    broken = await house.pool.fetch(f"{UNFOLDED} SELECT customer_id FROM fact WHERE name = 'streak_broken' ORDER BY 1")
    assert [row[0] for row in broken] == ids
    await agreed(house)
