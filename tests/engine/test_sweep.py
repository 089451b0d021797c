"""The sweep leaves what the writer would have left, row by row; and who is not surely alike is left to the writer.

Which way a period end takes is decided by how many wake in a group (`closer.MANY`); the tests set it.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
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

from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
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
from kosminar.engine.retry import NotSaved
from kosminar.engine.sweep import Sweeper
from kosminar.engine.use_cases.customers import register
from kosminar.store import clocks, counters, programmes, webhook_endpoints
from kosminar.store.distribution import Groups
from kosminar.store.period_ends import WakeUp
from kosminar.store.standings import CustomerKey

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
COUPON_AT_PERIOD_END = PromisedReward(RewardKind.COUPON, "SPRING", Allocation.PERIOD_END)
NOBODY = 10**9


@pytest.fixture(autouse=True)
def few_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """A house of a few customers is swept too."""
    monkeypatch.setattr(sweep, "ALIKE_MIN", 1)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From how many in a group on they are swept."""
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


async def achieved(
    house: House, *, per_bucket: int, buckets: Sequence[int] = (7,), offset_days: int = 0
) -> tuple[Brand, list[int]]:
    """Customers who all have achieved January of a milestone that pays at the end."""
    brand, ids = await brand_in_buckets(
        house,
        [milestone("At the end", POINTS_AT_PERIOD_END, offset_days=offset_days)],
        per_bucket=per_bucket,
        buckets=buckets,
    )
    await house.writer.submit(brand.enrol(one, "At the end") for one in ids)
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await house.writer.submit(brand.buy(one, "january", month(1)) for one in ids)
    return brand, ids


def wake_up_of(brand: Brand, at: datetime) -> WakeUp:
    programme = brand.programmes["At the end"]
    return WakeUp(brand.organisation_id, programme.target_group_id, at, at, programme.version)


async def sweep_all(house: House, wake_up: WakeUp, buckets: Sequence[int] = (7,)) -> list[sweep.Page]:
    sweeper = Sweeper(house.pool, wall=house.wall, lane_count=1, meters=house.meters, catalogues=house.catalogues)
    return [page async for page in sweeper.sweep(wake_up, buckets)]


def keys(brand: Brand, ids: Sequence[int]) -> list[CustomerKey]:
    return [CustomerKey.of(brand.organisation_id, one) for one in ids]


async def agreed(house: House) -> None:
    assert [difference async for difference in audit(house.pool, progressed=lambda _: None)] == []


async def waiting_for_a_lock(pool: asyncpg.Pool, how_many: int = 1) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while await pool.fetchval(waiting) < how_many:
            pass


# ---------------------------------------------------------------- the same rows either way


NAMES = ("At the end", "Both", "By itself", "Given up", "In a row")
TABLES = (
    "customer",
    "standing",
    "ended_period",
    "journal",
    "fact",
    "reward",
    "notification",
    "delivery",
    "webhook_queue",
)
OF_NO_WORLD = {
    "bucket",
    "organisation_id",
    "facts",
    "verdicts",
    "webhook_endpoint_id",
    "created_at",
    "expires_at",
}
"""Columns that two worlds do not share, or that are looked at as rows of their own."""


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


def in_words(words: Mapping[str, Mapping[int, Any]], column: str, value: Any) -> Any:
    """Ids as what they name, in documents and bodies too."""
    if column in words:
        return words[column].get(value, value)
    if column == "reward_id":
        return value is not None
    if column == "document":
        return [
            (words["target_id"][int(target_id)], part | {"runs": [in_run(words, *run) for run in part.get("runs", ())]})
            for target_id, part in json.loads(value).items()
        ]
    return in_body(words, json.loads(value)) if column == "body" else value


def in_run(words: Mapping[str, Mapping[int, Any]], number: int, *columns: Any) -> tuple[Any, ...]:
    *others, reached, broken_number = columns
    return number, *others, [words["level_id"][one] for one in reached], broken_number


NAMED = {
    "customerId": "customer_id",
    "id": "target_id",
    "targetId": "target_id",
    "targetGroupId": "target_group_id",
    "targetPeriodId": "period_id",
    "streakId": "target_group_id",
}
OWN = {"eventId", "rewardId", "orgId", "refId", "userStreakId"}
"""What no two worlds share."""


def in_body(words: Mapping[str, Mapping[int, Any]], value: Any) -> Any:
    match value:
        case dict():
            named = {name: words.get(NAMED.get(name, ""), {}) for name in value}
            return {
                name: named[name].get(one, in_body(words, one)) if isinstance(one, int) else in_body(words, one)
                for name, one in value.items()
                if name not in OWN
            }
        case list():
            return [in_body(words, one) for one in value]
        case str() if value.isdigit():
            return words["customer_id"].get(int(value), value)
        case _:
            return value


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
            repr({column: in_words(words, column, value) for column, value in row.items() if column not in OF_NO_WORLD})
            for row in await pool.fetch(
                f"{UNFOLDED} SELECT * FROM {table} WHERE organisation_id = $1", brand.organisation_id
            )
        )
        for table in TABLES
    }
    groups = words["target_group_id"]
    return {**rows, "counters": sorted(f"{groups[key[1]]}, {key[2:]}: {counts}" for key, counts in counted.items())}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("told", [False, True])
async def test_swept_or_one_by_one_every_row_is_the_same(house, wall, together, seed, told) -> None:
    real = seed % 2 == 1
    steps = story(Random(seed), 40)
    worlds = []
    for name, many in (("acme", 1), ("globex", NOBODY)):
        together(many)
        wall.now = BEFORE
        brand, ids = await brand_in_buckets(
            house, definitions(), per_bucket=20, buckets=(7, 8), name=name, test_clock_at=None if real else BEFORE
        )
        if told:
            await subscribe(house, brand, None)
        await live(house, wall, brand, ids, steps, real=real)
        wall.now = month(5)
        swept_before = way(house, "together")
        async with house.pool.acquire() as connection:
            await clocks.move(connection, brand.organisation_id, month(5))
        await house.closer.settle(brand.organisation_id)
        worlds.append((await rows_of(house.pool, brand, ids), way(house, "together") - swept_before))

    (swept, swept_count), (singly, none) = worlds
    for table, rows in swept.items():
        assert [row for row in rows if row not in singly[table]] == [], table
        assert rows == singly[table], table
    assert bool(swept["notification"]) is told
    assert swept_count > 0
    assert none == 0
    await agreed(house)


async def test_customers_who_are_alike_are_settled_together_and_all_others_are_left(house) -> None:
    brand, ids = await achieved(house, per_bucket=7, offset_days=40)
    plain, like, balanced, left, returned, ahead, twice = ids
    submit = house.writer.submit
    await submit([brand.un_enrol(one, "At the end") for one in (left, returned)])
    await submit([brand.enrol(returned, "At the end")])
    # Its latest progress is of a period that runs; what waits lies in the document.
    await submit([brand.un_enrol(balanced, "At the end")])
    await submit([brand.enrol(balanced, "At the end", period_name="Cycle_3", initial_balance=1000)])
    await house.closer.advance(brand.organisation_id, month(2) + DAY)
    # January has not been settled yet: two that wait are settled in their order.
    await submit([brand.buy(twice, "february", month(2))])
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(5))
    await house.pool.execute("UPDATE customer SET changed_at = $2 WHERE customer_id = $1", ahead, month(5) + DAY)

    (page,) = await sweep_all(house, wake_up_of(brand, month(5)))

    assert page.settled_count == 2
    # Who left forfeited the reward and waits for nothing.
    assert sorted(page.left) == sorted(keys(brand, [balanced, left, returned, ahead, twice]))
    assert {row[0] for row in await rewards_of(house.pool, brand) if row[3] == "issued"} == {plain, like}


@pytest.mark.parametrize("moved", ["only the column", "to a row of its own"])
async def test_a_period_is_settled_where_it_lies(house, moved: str) -> None:
    brand, ids = await achieved(house, per_bucket=3, offset_days=10)
    await house.closer.advance(brand.organisation_id, month(2) + DAY)
    if moved == "to a row of its own":
        await house.writer.submit(brand.buy(one, "february", month(2), str(one % 7 + 1)) for one in ids)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2) + 20 * DAY)

    pages = await sweep_all(house, wake_up_of(brand, month(2) + 20 * DAY))

    assert pages == [sweep.Page(3, [])]
    ended = await house.pool.fetch("SELECT settled, rewarded, awaits_end FROM ended_period")
    assert [tuple(row) for row in ended] == [(True, True, False)] * (3 if moved == "to a row of its own" else 0)
    assert await house.pool.fetchval("SELECT count(*) FROM standing WHERE wakes_at IS NULL") == 3
    assert [(row[0], row[5]) for row in await rewards_of(house.pool, brand)] == [
        (one, month(2) + 10 * DAY) for one in ids
    ]
    await agreed(house)


@pytest.mark.parametrize(("many", "ways"), [(5, (5.0, 0.0)), (6, (0.0, 5.0))])
async def test_where_few_wake_the_writer_gathers_them(house, together, many, ways) -> None:
    brand, ids = await achieved(house, per_bucket=5)
    together(many)

    await house.closer.advance(brand.organisation_id, month(2))

    assert (way(house, "together"), way(house, "singly")) == ways
    assert [row[0] for row in await rewards_of(house.pool, brand)] == ids
    await agreed(house)


async def test_a_page_is_of_several_buckets_and_of_no_more_than_it_may_hold(house, monkeypatch) -> None:
    brand, ids = await achieved(house, per_bucket=7, buckets=(7, 8))
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2))
    monkeypatch.setattr(sweep, "PAGE_SIZE", 4)

    pages = await sweep_all(house, wake_up_of(brand, month(2)), (7, 8))

    assert pages == [sweep.Page(4, []), sweep.Page(4, []), sweep.Page(4, []), sweep.Page(2, [])]
    assert sorted(row[0] for row in await rewards_of(house.pool, brand)) == sorted(ids)


async def test_no_slice_has_buckets_of_two_groups_of_the_database() -> None:
    groups = Groups(tuple(bucket % 3 for bucket in range(BUCKET_COUNT)), joined=False)
    slices = Sweeper(None, wall=None, lane_count=1, groups=groups, meters=None, catalogues=None).slices()

    assert all(len({groups.group_of(bucket) for bucket in each}) == 1 for each in slices)
    assert sorted(bucket for each in slices for bucket in each) == list(range(BUCKET_COUNT))
    assert max(len(each) for each in slices) == sweep.SLICE_SIZE


async def test_a_period_that_has_not_ended_is_left_alone(house) -> None:
    brand, ids = await achieved(house, per_bucket=2)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2) - timedelta(microseconds=1))

    # Somebody asks too early.
    (page,) = await sweep_all(house, wake_up_of(brand, month(2)))

    assert page == sweep.Page(0, keys(brand, ids))
    assert await rewards_of(house.pool, brand) == []


async def test_a_sweep_asks_for_its_own_organisation_and_group_only(house) -> None:
    brand, _ = await achieved(house, per_bucket=3)
    wake_up = wake_up_of(brand, month(2))

    assert await sweep_all(house, wake_up._replace(organisation_id=brand.organisation_id + 1)) == []
    assert await sweep_all(house, wake_up._replace(target_group_id=wake_up.target_group_id + 1)) == []


async def test_customers_who_are_to_be_notified_are_swept_too(house, together) -> None:
    brand, ids = await achieved(house, per_bucket=4)
    await subscribe(house, brand, EventName.REWARD_ISSUED)
    together(1)

    await house.closer.advance(brand.organisation_id, month(2))

    assert (way(house, "together"), way(house, "singly")) == (4.0, 0.0)
    assert [row[3] for row in await rewards_of(house.pool, brand)] == ["pending"] * 4
    assert await house.pool.fetchval("SELECT count(*) FROM notification WHERE name = 'rewardIssued'") == len(ids)
    await agreed(house)


async def subscribe(house: House, brand: Brand, name: EventName | None) -> None:
    """To one event, or to all."""
    async with house.pool.acquire() as connection, connection.transaction():
        await programmes.lock_definitions(connection, brand.organisation_id)
        change = await programmes.begin_change(connection, brand.organisation_id, wall=FOUNDED_AT)
        await webhook_endpoints.insert(
            connection,
            brand.organisation_id,
            url="https://example.com/hook",
            description=None,
            event_names=None if name is None else frozenset({name.value}),
            headers={},
            connection_count_max=1,
            secret=bytes(32),
            now=change.at,
        )


@pytest.mark.parametrize("odd", ["likeness = likeness + 1", "likeness = NULL", "version = version + 1"])
async def test_one_that_is_unlike_the_others_is_decided_by_itself(house, odd) -> None:
    brand, ids = await achieved(house, per_bucket=3)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2))
    await house.pool.execute(f"UPDATE standing SET {odd} WHERE customer_id = $1", ids[1])
    samples = []
    decide = sweep._decide

    async def watched(connection, programme, one, held):
        samples.append(one.customer_id)
        return await decide(connection, programme, one, held)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_decide", watched)
        await sweep_all(house, wake_up_of(brand, month(2)))

    assert sorted(samples) == ([ids[0]] if odd.endswith("NULL") else sorted(ids[:2]))


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
            sweeping = asyncio.create_task(sweep_all(house, wake_up_of(brand, month(2))))
            await waiting_for_a_lock(house.pool, 2)
        _, (page,) = await asyncio.gather(leaving, sweeping)

    # Who left settled what was due; the sweep found it done and had nothing to repair.
    assert page == sweep.Page(2, keys(brand, [ids[1]]))
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


async def test_cut_off_half_way_it_goes_on_with_who_is_left(house, together, monkeypatch) -> None:
    brand, ids = await achieved(house, per_bucket=20, buckets=(7, 8, 9, 10))
    together(1)
    monkeypatch.setattr(sweep, "PAGE_SIZE", 20)

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
    assert told[-1]["slices"] == told[-1]["slice_number"] == BUCKET_COUNT // sweep.SLICE_SIZE


@pytest.mark.parametrize(("quiet_seconds", "at_once"), [(60.0, 1), (0.0, 2)])
async def test_all_lanes_but_one_give_way_to_whoever_asked_lately(
    house, together, monkeypatch, quiet_seconds, at_once
) -> None:
    brand, ids = await achieved(house, per_bucket=2, buckets=range(7, 13))
    together(1)
    monkeypatch.setattr("kosminar.engine.closer.QUIET_SECONDS", quiet_seconds)
    monkeypatch.setattr(sweep, "SLICE_SIZE", 1)
    working: list[int] = []
    most = 0
    settle = Sweeper._settle

    async def page(self: Sweeper, wake_up: WakeUp, customers: Sequence[CustomerKey]) -> sweep.Page:
        nonlocal most
        working.append(customers[0].bucket)
        most = max(most, len(working))
        try:
            # Long enough for another lane to come as far.
            await asyncio.sleep(0.1)
            return await settle(self, wake_up, customers)
        finally:
            working.remove(customers[0].bucket)

    monkeypatch.setattr(Sweeper, "_settle", page)

    await house.closer.advance(brand.organisation_id, month(2))

    assert most == at_once
    assert sorted(row[0] for row in await rewards_of(house.pool, brand)) == sorted(ids)
    await agreed(house)


async def test_many_broken_streaks_are_all_found(house, together, monkeypatch) -> None:
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


@pytest.mark.parametrize(("alike_min", "settled_count"), [(2, 2), (3, 0)])
async def test_where_few_are_alike_they_are_left_to_the_writer(house, monkeypatch, alike_min, settled_count) -> None:
    """Decided by themselves they take longer than in a batch, and all of the page wait."""
    brand, ids = await achieved(house, per_bucket=2)
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2))
    monkeypatch.setattr(sweep, "ALIKE_MIN", alike_min)

    (page,) = await sweep_all(house, wake_up_of(brand, month(2)))

    assert (page.settled_count, len(page.left)) == (settled_count, len(ids) - settled_count)


async def test_standings_that_a_change_of_the_group_left_behind_are_swept_too(house, together) -> None:
    brand, ids = await achieved(house, per_bucket=4, offset_days=20)
    await house.closer.advance(brand.organisation_id, month(2) + DAY)
    before = await house.pool.fetchrow("SELECT wakes_at, version FROM standing")
    await deactivate(house.pool, brand, "At the end", at=month(2) + DAY)
    together(1)

    await house.closer.settle(brand.organisation_id)

    rows = await house.pool.fetch("SELECT wakes_at, version FROM standing")
    assert [tuple(row) for row in rows] == [(before["wakes_at"], before["version"] + 1)] * len(ids)
    assert (way(house, "together"), way(house, "singly")) == (4.0, 0.0)
    await agreed(house)
    await house.closer.advance(brand.organisation_id, month(3))
    assert [row[0] for row in await rewards_of(house.pool, brand)] == ids
    await agreed(house)
