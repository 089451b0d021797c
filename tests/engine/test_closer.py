"""Period ends: at their own instant however late they are worked, once however often, whole after being cut off.

The closer is stopped in mid-work by locks held beside it. What was worked in time is always the measure of what was not.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio
from tests.conftest import Wall
from tests.definitions import POINTS, POINTS_AT_PERIOD_END, month
from tests.engine.brand import BEFORE, Brand, deactivate, facts_of, found, milestone, rewards_of, streak

from kosminar.engine.auditor import audit
from kosminar.engine.change import Request, Settlement
from kosminar.engine.closer import Closer, NoTestClock, PeriodEndsFailed
from kosminar.engine.house import House
from kosminar.engine.sweep import Sweeper
from kosminar.engine.writer import Writer
from kosminar.store import clocks

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
UN_ENROLLED = "un-enrolled before period end"
DEACTIVATED = "programme deactivated"


def definitions(months: int = 3):
    return [
        milestone("At once", POINTS, months=months),
        milestone("At the end", POINTS_AT_PERIOD_END, months=months, offset_days=2),
        streak("In a row", 2, 3, months=months, offset_days=3),
    ]


async def acme(house: House, months: int = 3, **options) -> Brand:
    return await found(house.pool, options.pop("name", "acme"), definitions(months), **options)


async def submit(house: House, *requests: Request) -> None:
    for outcome in await house.writer.submit(requests):
        assert getattr(outcome, "errors", ()) == (), outcome
        assert getattr(outcome, "code", None) is None, outcome


def join(brand: Brand, *customer_ids: int) -> list[Request]:
    return [brand.enrol(customer_id, name) for customer_id in customer_ids for name in brand.programmes]


async def state_of(pool: asyncpg.Pool, brand: Brand) -> tuple[datetime, datetime]:
    row = await pool.fetchrow(
        "SELECT clock_at, settled_at FROM organisation WHERE organisation_id = $1", brand.organisation_id
    )
    return row["clock_at"], row["settled_at"]


async def agreed(house: House) -> None:
    assert [difference async for difference in audit(house.pool, progressed=lambda _: None)] == []


async def waiting_for_a_lock(pool: asyncpg.Pool) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await pool.fetchval(waiting):
        pass


@pytest_asyncio.fixture
async def second(database_url: str, wall: Wall) -> AsyncIterator[Closer]:
    """The closer of another process: its own connections, its own writer."""
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool,
        asyncpg.create_pool(database_url, min_size=1, max_size=2) as lane_pool,
        Writer(lane_pool, wall=wall, lane_count=2) as writer,
    ):
        yield Closer(
            pool,
            writer,
            Sweeper(pool, wall=wall, lane_count=2, meters=writer.meters, catalogues=writer.catalogues),
            wall=wall,
            catalogues=writer.catalogues,
        )


# ---------------------------------------------------------------- in time and late


async def test_a_period_end_is_worked_at_its_due_instant_and_not_before(house) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1))
    await house.closer.advance(brand.organisation_id, month(1) + 5 * DAY)
    await submit(house, brand.buy(1, "a", month(1) + DAY))
    earned_at_once = (1, "At once", 1, "issued", None, month(1) + 5 * DAY)

    await house.closer.advance(brand.organisation_id, month(2) + 2 * DAY - timedelta(microseconds=1))
    assert await rewards_of(house.pool, brand) == [earned_at_once]

    await house.closer.advance(brand.organisation_id, month(2) + 2 * DAY)
    assert await rewards_of(house.pool, brand) == [
        earned_at_once,
        (1, "At the end", 1, "issued", None, month(2) + 2 * DAY),
    ]
    await agreed(house)


async def test_a_late_closer_leaves_what_a_punctual_one_leaves(house, wall) -> None:
    """Real clocks: one organisation's period ends are worked as they come, the other's months later, in one go."""
    wall.now = BEFORE
    punctual = await acme(house, name="acme", test_clock_at=None)
    late = await acme(house, name="globex", test_clock_at=None)
    customers = range(1, 4)

    async def on_both(*requests_of) -> None:
        for brand in (punctual, late):
            await submit(house, *(request for make in requests_of for request in make(brand)))

    await on_both(lambda brand: join(brand, *customers))
    wall.now = month(1) + 10 * DAY
    await on_both(lambda brand: [brand.buy(customer_id, "january", wall.now) for customer_id in customers])
    # Who leaves after the end, though before the job, is paid; who left before is not.
    wall.now = month(2) - DAY
    await on_both(lambda brand: [brand.un_enrol(2, "At the end"), brand.un_enrol(2, "In a row")])
    for now in (month(2) + DAY, month(2) + 3 * DAY, month(3) + 3 * DAY, month(4) + 3 * DAY):
        wall.now = now
        await house.closer.settle(punctual.organisation_id)
        if now == month(2) + DAY:
            await on_both(lambda brand: [brand.un_enrol(3, "At the end"), brand.un_enrol(3, "In a row")])

    assert await rewards_of(house.pool, late) != await rewards_of(house.pool, punctual)
    await house.closer.settle(late.organisation_id)

    assert await rewards_of(house.pool, late) == await rewards_of(house.pool, punctual)
    at_the_end = [line for line in await rewards_of(house.pool, late) if line[1] == "At the end"]
    assert at_the_end == [
        (1, "At the end", 1, "issued", None, month(2) + 2 * DAY),
        (2, "At the end", 1, "forfeited", UN_ENROLLED, month(2) - DAY),
        (3, "At the end", 1, "issued", None, month(2) + 2 * DAY),
    ]
    assert sorted(map(repr, await facts_of(house.pool, late))) == sorted(
        map(repr, await facts_of(house.pool, punctual))
    )
    await agreed(house)


async def test_a_long_gap_is_caught_up_due_instant_by_due_instant(house) -> None:
    stepwise = await acme(house, 12, name="acme")
    at_once = await acme(house, 12, name="globex")
    for brand in (stepwise, at_once):
        await submit(house, *join(brand, 1, 2))
        await house.closer.advance(brand.organisation_id, month(1) + DAY)
        await submit(house, brand.buy(1, "a", month(1)), brand.buy(2, "a", month(1), "99.999"))

    for number in range(2, 14):
        for days in (0, 2, 3):
            await house.closer.advance(stepwise.organisation_id, month(number) + days * DAY)
    await house.closer.advance(at_once.organisation_id, month(13) + 3 * DAY)

    assert await facts_of(house.pool, at_once) == await facts_of(house.pool, stepwise)
    assert await rewards_of(house.pool, at_once) == await rewards_of(house.pool, stepwise)
    assert await state_of(house.pool, at_once) == (month(13) + 3 * DAY, month(13) + 3 * DAY)
    await agreed(house)


async def test_what_an_earlier_process_left_is_found_at_the_start(house, wall) -> None:
    wall.now = BEFORE
    brand = await acme(house, test_clock_at=None)
    await submit(house, *join(brand, 1))
    wall.now = month(1) + DAY
    await submit(house, brand.buy(1, "a", month(1)))
    wall.now = month(7)

    running = asyncio.create_task(house.closer.run())
    async with asyncio.timeout(20):
        while len(await rewards_of(house.pool, brand)) < 2:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert (await rewards_of(house.pool, brand))[1] == (1, "At the end", 1, "issued", None, month(2) + 2 * DAY)
    await agreed(house)


async def test_the_running_closer_follows_real_clocks(house, wall) -> None:
    wall.now = BEFORE
    brand = await acme(house, test_clock_at=None)
    await submit(house, *join(brand, 1))
    wall.now = month(1) + DAY
    await submit(house, brand.buy(1, "a", month(1)))

    running = asyncio.create_task(house.closer.run())
    async with asyncio.timeout(20):
        while (await state_of(house.pool, brand))[1] < wall.now:
            await asyncio.sleep(0)
        # Only now does it fall due: a tick finds it.
        wall.now = month(2) + 2 * DAY
        while len(await rewards_of(house.pool, brand)) < 2:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await agreed(house)


# ---------------------------------------------------------------- twice, and cut off


async def test_run_twice_at_once_it_works_once(house, second) -> None:
    brand = await acme(house, customer_ids=range(1, 201))
    await submit(house, *join(brand, *range(1, 201)))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, *(brand.buy(customer_id, "a", month(1)) for customer_id in range(1, 201)))
    to = month(4) + 10 * DAY

    closers = (house.closer, second, house.closer, second)
    assert await asyncio.gather(*(closer.advance(brand.organisation_id, to) for closer in closers)) == [to] * 4
    await asyncio.gather(*(closer.settle(brand.organisation_id) for closer in closers))

    at_the_end = [line for line in await rewards_of(house.pool, brand) if line[1] == "At the end"]
    assert at_the_end == [(c, "At the end", 1, "issued", None, month(2) + 2 * DAY) for c in range(1, 201)]
    ended = [fact for fact in await facts_of(house.pool, brand) if fact[2] in {"period_ended", "streak_broken"}]
    assert len(ended) == 400
    await agreed(house)


async def test_cut_off_in_the_middle_it_goes_on_where_it_was(house) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1, 2))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, brand.buy(1, "january", month(1)))
    await house.closer.advance(brand.organisation_id, month(2) + DAY)
    await submit(house, brand.buy(2, "february", month(2)))
    to = month(4) + 10 * DAY
    january_due, february_due = month(2) + 2 * DAY, month(3) + 2 * DAY

    async with house.pool.acquire() as beside, beside.transaction():
        # The second customer has nothing due in January, and everything in February.
        await beside.execute("SELECT 1 FROM customer WHERE customer_id = 2 FOR UPDATE")
        advancing = asyncio.create_task(house.closer.advance(brand.organisation_id, to))
        await waiting_for_a_lock(house.pool)
        advancing.cancel()
        assert isinstance((await asyncio.gather(advancing, return_exceptions=True))[0], asyncio.CancelledError)

        clock_at, settled_at = await state_of(house.pool, brand)
        assert clock_at == february_due
        assert january_due <= settled_at < february_due
        assert (1, "At the end", 1, "issued", None, january_due) in await rewards_of(house.pool, brand)

    # The clock it had come to is kept: back behind it nobody may go.
    with pytest.raises(NoTestClock):
        await house.closer.advance(brand.organisation_id, february_due - DAY)
    assert await house.closer.advance(brand.organisation_id, to) == to

    assert [line for line in await rewards_of(house.pool, brand) if line[1] == "At the end"] == [
        (1, "At the end", 1, "issued", None, january_due),
        (2, "At the end", 2, "issued", None, february_due),
    ]
    assert await state_of(house.pool, brand) == (to, to)
    await agreed(house)


async def test_a_cut_off_call_repeated_to_the_clock_it_reached_finishes_its_work(house) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, brand.buy(1, "a", month(1)))
    due = month(2) + 2 * DAY
    # As a kill leaves it that comes between moving the clock and working what fell due.
    await house.pool.execute("UPDATE organisation SET clock_at = $1", due)

    assert await house.closer.advance(brand.organisation_id, due) == due

    assert (1, "At the end", 1, "issued", None, due) in await rewards_of(house.pool, brand)
    await agreed(house)


async def test_losing_its_connection_the_closer_leaves_the_rest_for_later(house, second) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, brand.buy(1, "a", month(1)))
    to = month(4) + 10 * DAY

    async with house.pool.acquire() as beside, beside.transaction():
        await beside.execute("SELECT 1 FROM customer FOR UPDATE")
        advancing = asyncio.create_task(house.closer.advance(brand.organisation_id, to))
        await waiting_for_a_lock(house.pool)
        await beside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert isinstance((await asyncio.gather(advancing, return_exceptions=True))[0], Exception)

    # The lock on the settling died with the connection that held it.
    async with asyncio.timeout(20):
        assert await second.advance(brand.organisation_id, to) == to
    await agreed(house)


# ---------------------------------------------------------------- the test clock


async def test_many_calls_at_once_leave_the_clock_at_the_furthest(house) -> None:
    """More callers than there are connections: they queue, and hold up nobody else."""
    brand = await acme(house)
    await submit(house, *join(brand, 1))
    instants = [month(1) + number * DAY for number in range(40)]
    first, *rest = instants
    shuffled = [*rest[::-2], *rest[::3], first]

    async with asyncio.timeout(30):
        calls = [house.closer.advance(brand.organisation_id, to) for to in shuffled]
        outcomes, _ = await asyncio.gather(
            asyncio.gather(*calls, return_exceptions=True),
            house.writer.submit([brand.buy(1, f"a{number}", BEFORE) for number in range(50)]),
        )

    for to, outcome in zip(shuffled, outcomes, strict=True):
        assert outcome == to or isinstance(outcome, NoTestClock)
    assert outcomes[0] == instants[-1]
    assert await state_of(house.pool, brand) == (instants[-1], instants[-1])


async def test_a_test_clock_moves_forward_only_and_to_where_it_stands_is_nothing(house) -> None:
    brand = await acme(house)
    await house.closer.advance(brand.organisation_id, month(1))
    facts = await facts_of(house.pool, brand)

    with pytest.raises(NoTestClock):
        await house.closer.advance(brand.organisation_id, month(1) - timedelta(microseconds=1))
    assert await house.closer.advance(brand.organisation_id, month(1)) == month(1)

    assert await state_of(house.pool, brand) == (month(1), month(1))
    assert await facts_of(house.pool, brand) == facts


async def test_a_real_clock_cannot_be_moved(house) -> None:
    brand = await acme(house, test_clock_at=None)
    before = await state_of(house.pool, brand)

    with pytest.raises(NoTestClock):
        await house.closer.advance(brand.organisation_id, datetime(2032, 1, 1, tzinfo=UTC))

    assert await state_of(house.pool, brand) == before


async def test_one_organisations_clock_moves_no_other(house) -> None:
    brand, other = await acme(house, name="acme"), await acme(house, name="globex")
    for one in (brand, other):
        await submit(house, *join(one, 1))
        await house.closer.advance(one.organisation_id, month(1) + DAY)
        await submit(house, one.buy(1, "a", month(1)))

    await house.closer.advance(brand.organisation_id, month(4))

    assert len(await rewards_of(house.pool, brand)) == 2
    assert len(await rewards_of(house.pool, other)) == 1
    assert await state_of(house.pool, other) == (month(1) + DAY, month(1) + DAY)


async def test_no_command_is_dated_before_a_period_end_that_was_worked(house, wall) -> None:
    """A wall set back after a period end was worked: the floor holds (decision 34)."""
    wall.now = BEFORE
    brand = await acme(house, test_clock_at=None)
    await submit(house, *join(brand, 1))
    wall.now = month(2) + 3 * DAY
    await house.closer.settle(brand.organisation_id)
    wall.now = month(1) + DAY

    (outcome,) = await house.writer.submit([brand.buy(1, "a", month(1))])

    assert outcome.code == 390007
    assert await house.pool.fetchval("SELECT at FROM journal WHERE kind = 'activity'") == month(2) + 3 * DAY
    await agreed(house)


# ---------------------------------------------------------------- streaks and deactivation


async def test_a_streak_is_reported_broken_at_the_missed_periods_due_instant(house) -> None:
    brand = await acme(house, 6)
    await submit(house, *join(brand, 1, 2))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, brand.buy(1, "january", month(1)), brand.buy(2, "january", month(1)))
    # February is missed by both; one makes up for it after the end, before it falls due.
    await house.closer.advance(brand.organisation_id, month(3) + 3 * DAY - timedelta(microseconds=1))
    await submit(house, brand.buy(2, "february", month(3) - DAY))
    broken = [f for f in await facts_of(house.pool, brand) if f[2] == "streak_broken"]
    assert broken == []

    await house.closer.advance(brand.organisation_id, month(3) + 3 * DAY)
    broken = [f for f in await facts_of(house.pool, brand) if f[2] == "streak_broken"]
    assert broken == [(1, "In a row", "streak_broken", 2, month(3) + 3 * DAY, 1)]

    await house.closer.advance(brand.organisation_id, month(7) + 3 * DAY)
    broken = [f for f in await facts_of(house.pool, brand) if f[2] == "streak_broken"]
    assert broken == [
        (1, "In a row", "streak_broken", 2, month(3) + 3 * DAY, 1),
        (2, "In a row", "streak_broken", 3, month(4) + 3 * DAY, 2),
    ]
    await agreed(house)


async def test_deactivating_pays_what_had_ended_and_forfeits_what_was_running(house) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1, 2))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, *(brand.buy(customer_id, "january", month(1)) for customer_id in (1, 2)))
    # January has ended and is not due yet; February runs, one customer has left it.
    at = month(2) + DAY
    await house.closer.advance(brand.organisation_id, at)
    await submit(house, *(brand.buy(customer_id, "february", month(2)) for customer_id in (1, 2)))
    await submit(house, brand.un_enrol(2, "At the end"))

    await deactivate(house.pool, brand, "At the end", at=at)
    await house.closer.settle(brand.organisation_id)
    forfeited = [
        (1, "At the end", 2, "forfeited", DEACTIVATED, at),
        (2, "At the end", 2, "forfeited", UN_ENROLLED, at),
    ]
    assert [line for line in await rewards_of(house.pool, brand) if line[1] == "At the end"] == forfeited

    await house.closer.advance(brand.organisation_id, month(5))
    paid = [(c, "At the end", 1, "issued", None, month(2) + 2 * DAY) for c in (1, 2)]
    assert [line for line in await rewards_of(house.pool, brand) if line[1] == "At the end"] == sorted(
        [*paid, *forfeited]
    )
    await agreed(house)


async def test_a_deactivated_streak_is_broken_no_more(house) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, brand.buy(1, "january", month(1)))
    at = month(2) + DAY
    await house.closer.advance(brand.organisation_id, at)

    await deactivate(house.pool, brand, "In a row", at=at)
    await house.closer.settle(brand.organisation_id)
    await house.closer.advance(brand.organisation_id, month(6))

    assert [f for f in await facts_of(house.pool, brand) if f[2] == "streak_broken"] == []
    await agreed(house)


async def test_a_deactivation_nobody_worked_yet_is_found_by_the_running_closer(house) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, brand.buy(1, "january", month(1)))
    await deactivate(house.pool, brand, "At the end", at=month(1) + DAY)

    # As a killed server leaves it; the next one looks round at its start.
    running = asyncio.create_task(house.closer.run())
    async with asyncio.timeout(20):
        while len(await rewards_of(house.pool, brand)) < 2:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert (await rewards_of(house.pool, brand))[1][3:5] == ("forfeited", DEACTIVATED)
    await agreed(house)


async def test_more_customers_than_a_page_are_all_worked(house, monkeypatch) -> None:
    # Its size is no rule, only what one look takes.
    monkeypatch.setattr("kosminar.engine.closer.PAGE", 7)
    customer_ids = range(1, 51)
    brand = await acme(house, customer_ids=customer_ids)
    await submit(house, *join(brand, *customer_ids))
    await house.closer.advance(brand.organisation_id, month(1) + DAY)
    await submit(house, *(brand.buy(customer_id, "a", month(1)) for customer_id in customer_ids))

    await house.closer.advance(brand.organisation_id, month(4) + 10 * DAY)

    assert len(await rewards_of(house.pool, brand)) == 2 * len(customer_ids)
    assert len([f for f in await facts_of(house.pool, brand) if f[2] == "streak_broken"]) == len(customer_ids)
    await agreed(house)


# ---------------------------------------------------------------- one's trouble is not another's


async def with_a_row_that_stops_the_period_end(house: House, brand: Brand, customer_id: int) -> None:
    """A ledger row that should not be there: the period end would give its reward a second time, and must not."""
    programme = brand.programmes["At the end"]
    await house.pool.execute(
        "INSERT INTO reward (bucket, organisation_id, customer_id, target_id, period_id, level_id, run,"
        " reward_definition_id, kind, points, allocation, state, earned_at, sequence)"
        " SELECT bucket, organisation_id, customer_id, $3, $4, 0, 1, $5, 'POINTS', 1, 'PERIOD_END', 'issued', $6, 1"
        " FROM customer WHERE organisation_id = $1 AND customer_id = $2",
        brand.organisation_id,
        customer_id,
        programme.targets[0].target_id,
        programme.period_id(1),
        programme.targets[0].rewards[0].reward_definition_id,
        BEFORE,
    )


def paid(rows: list) -> list[int]:
    return [row[0] for row in rows if row[1] == "At the end" and row[3] == "issued" and row[5] > BEFORE]


async def test_a_period_end_that_fails_keeps_nobody_else_from_theirs_and_is_found_again(house) -> None:
    brand = await acme(house)
    await submit(house, *join(brand, 1, 2, 3))
    await house.closer.advance(brand.organisation_id, month(1) + 5 * DAY)
    await submit(house, *(brand.buy(customer_id, "a", month(1) + DAY) for customer_id in (1, 2, 3)))
    await with_a_row_that_stops_the_period_end(house, brand, 1)

    with pytest.raises(PeriodEndsFailed):
        await house.closer.advance(brand.organisation_id, month(3))

    assert paid(await rewards_of(house.pool, brand)) == [2, 3]
    clock_at, settled_at = await state_of(house.pool, brand)
    assert clock_at == month(3)
    assert settled_at < month(2) + 2 * DAY
    await house.pool.execute("DELETE FROM reward WHERE earned_at = $1", BEFORE)
    await house.closer.advance(brand.organisation_id, month(3))
    assert paid(await rewards_of(house.pool, brand)) == [1, 2, 3]
    assert (await state_of(house.pool, brand))[1] == month(3)
    await agreed(house)


async def test_the_running_closer_goes_on_to_the_next_organisation(house, wall, second) -> None:
    wall.now = BEFORE
    brands = [await acme(house, name=name, test_clock_at=None) for name in ("bad", "busy", "good")]
    for brand in brands:
        await submit(house, *join(brand, 1))
    wall.now = month(1) + DAY
    for brand in brands:
        await submit(house, brand.buy(1, "a", month(1)))
    await with_a_row_that_stops_the_period_end(house, brands[0], 1)
    wall.now = month(2) + 2 * DAY

    # Somebody else works the second one's period ends, and takes long over it.
    async with second._pool.acquire() as connection, clocks.settling(connection, brands[1].organisation_id, wait=True):
        async with asyncio.timeout(20):
            await house.closer._look_round(everywhere=True)

    assert [paid(await rewards_of(house.pool, brand)) for brand in brands] == [[], [], [1]]


async def test_the_audit_agrees_while_several_period_ends_are_caught_up_at_once(house, wall) -> None:
    wall.now = BEFORE
    brand = await acme(house, test_clock_at=None)
    await submit(house, *join(brand, 1))
    for number in (1, 2):
        wall.now = month(number) + DAY
        await submit(house, brand.buy(1, f"a{number}", month(number)))
    wall.now = month(4)

    # The first of two due instants is reached, and the customer's next change settles both.
    async with house.pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(2) + 2 * DAY)
    await submit(
        house, Request(brand.organisation_id, 1, Settlement(brand.programmes["At the end"].targets[0].target_id))
    )

    assert paid(await rewards_of(house.pool, brand)) == [1, 1]
    await agreed(house)
