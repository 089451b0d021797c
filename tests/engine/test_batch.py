"""What a batch saves together: a change with what is told of it, or neither; and no reward that the ledger has.

Faults are real ones of PostgreSQL: connections that it ends, errors that a trigger raises in it.
"""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tests.definitions import POINTS, month
from tests.engine.brand import BEFORE, FOUNDED_AT, Brand, deactivate, found, milestone, streak
from tests.unfolded import UNFOLDED

from kosminar.core.bucket import bucket_of_customer
from kosminar.core.errors import Code
from kosminar.engine.auditor import audit
from kosminar.engine.change import ActivityOutcome, Status
from kosminar.engine.house import House
from kosminar.engine.retry import NotSaved
from kosminar.store import programmes, webhook_endpoints

pytestmark = pytest.mark.asyncio

ACCEPTED = Status.ACCEPTED
IN_JANUARY: datetime = month(1)
SAVED = ("journal", "standing", "reward", "notification", "delivery", "webhook_queue")
# Far longer than anything takes that is waited for here.
PATIENCE_SECONDS = 20
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest_asyncio.fixture
async def brand(house: House) -> Brand:
    """Its clock stands in the first period, and somebody wants to be told of everything."""
    brand = await found(house.pool, "acme", [milestone("Spring", POINTS)], customer_ids=(1,), test_clock_at=IN_JANUARY)
    async with house.pool.acquire() as connection, connection.transaction():
        await programmes.lock_definitions(connection, brand.organisation_id)
        change = await programmes.begin_change(connection, brand.organisation_id, wall=FOUNDED_AT)
        await webhook_endpoints.insert(
            connection,
            brand.organisation_id,
            url="https://example.com/hook",
            description=None,
            event_names=None,
            headers={},
            connection_count_max=1,
            secret=bytes(32),
            now=change.at,
        )
    return brand


async def saved(pool: asyncpg.Pool) -> dict[str, int]:
    counts = {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in SAVED}
    return {table: count for table, count in counts.items() if count}


async def told(pool: asyncpg.Pool) -> list[str]:
    return [row["name"] for row in await pool.fetch("SELECT name FROM notification ORDER BY number")]


async def waiting_for_a_lock(pool: asyncpg.Pool) -> int:
    """The process number of the one connection that waits for a lock."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (pid := await pool.fetchval(WAITING)) is None:
            await asyncio.sleep(0.01)
    return int(pid)


async def shown(pool: asyncpg.Pool) -> datetime:
    """What the test clock shows."""
    at: datetime = await pool.fetchval("SELECT clock_at FROM organisation")
    return at


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("table", ["journal", "reward", "notification", "delivery", "webhook_queue"])
async def test_a_change_and_what_is_told_of_it_are_saved_together_or_not_at_all(
    house, pool, brand, table, joined
) -> None:
    """By one statement or part by part."""
    house.writer.groups = replace(house.writer.groups, joined=joined)
    both = [brand.enrol(1, "Spring"), brand.buy(1, "a", IN_JANUARY)]
    async with pool.acquire() as beside, beside.transaction():
        # The batch comes as far as this table, waits there, and loses its connection.
        await beside.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        sent = asyncio.create_task(house.writer.submit(both))
        await pool.execute("SELECT pg_terminate_backend($1)", await waiting_for_a_lock(pool))
        with pytest.raises(NotSaved):
            await sent
    after_the_cut = await saved(pool)

    outcomes = await house.writer.submit(both)

    assert after_the_cut == {}
    assert [outcome.facts != () for outcome in outcomes] == [True, True]
    assert await told(pool) == [
        "targetCustomerEnrolment",
        "targetPeriodStarted",
        "targetAchievedValueUpdated",
        "targetValueAchieved",
        "rewardIssued",
    ]


async def test_no_batch_has_more_than_500_changes_so_nobody_waits_for_more(house, pool, brand) -> None:
    async with pool.acquire() as beside, beside.transaction():
        # What comes meanwhile gathers behind the first.
        await beside.execute("SELECT 1 FROM customer FOR UPDATE")
        first = asyncio.create_task(house.writer.submit_one(brand.buy(1, "first", IN_JANUARY)))
        await waiting_for_a_lock(pool)
        rest = asyncio.create_task(house.writer.submit(brand.buy(1, f"a{n}", IN_JANUARY, "0") for n in range(1_001)))
        await asyncio.sleep(0)

    assert {outcome.status for outcome in [await first, *await rest]} == {ACCEPTED}
    # Rows of one transaction have the same xmin.
    rows = await pool.fetch("SELECT count(*) FROM journal GROUP BY xmin::text ORDER BY min(number)")
    assert [row["count"] for row in rows] == [1, 500, 500, 1]


async def test_a_customer_is_read_under_the_lock_and_not_before(house, pool, brand) -> None:
    async with pool.acquire() as beside, beside.transaction():
        # As a batch of another process would, that is not yet committed.
        await beside.execute("UPDATE customer SET sequence = 7")
        buying = asyncio.create_task(house.writer.submit_one(brand.buy(1, "a", IN_JANUARY)))
        await waiting_for_a_lock(pool)

    assert await buying == ActivityOutcome(ACCEPTED)
    assert await pool.fetchval("SELECT number FROM journal WHERE kind = 'activity'") == 8
    assert await pool.fetchval("SELECT sequence FROM customer") == 8


async def test_a_clock_moves_between_batches_and_never_under_one(house, pool, brand) -> None:
    await house.writer.submit([brand.enrol(1, "Spring")])
    async with pool.acquire() as beside, beside.transaction():
        # The batch has read the clock, and waits for its customer.
        await beside.execute("SELECT 1 FROM customer FOR UPDATE")
        buying = asyncio.create_task(house.writer.submit_one(brand.buy(1, "a", IN_JANUARY)))
        await waiting_for_a_lock(pool)
        moving = asyncio.create_task(house.closer.advance(brand.organisation_id, month(2)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await pool.fetchval(f"SELECT count(*) FROM ({WAITING})") < 2 and await shown(pool) == IN_JANUARY:
                await asyncio.sleep(0.01)
        shown_meanwhile = await shown(pool)

    assert (await buying).code is None
    await moving
    assert shown_meanwhile == IN_JANUARY
    assert await pool.fetchval("SELECT at FROM journal WHERE kind = 'activity'") == IN_JANUARY


async def test_who_is_held_up_keeps_nobody_of_another_lane_waiting(house, pool) -> None:
    globex = await found(pool, "globex", [milestone("Spring", POINTS)], customer_ids=range(1, 11))
    lane_of = {c: bucket_of_customer(globex.organisation_id, c) % 2 for c in range(1, 11)}
    other = next(c for c in lane_of if lane_of[c] != lane_of[1])
    async with pool.acquire() as beside, beside.transaction():
        await beside.execute("SELECT 1 FROM customer WHERE customer_id = 1 FOR UPDATE")
        held_up = asyncio.create_task(house.writer.submit_one(globex.buy(1, "a", BEFORE)))
        await waiting_for_a_lock(pool)
        free = asyncio.create_task(house.writer.submit_one(globex.buy(other, "a", BEFORE)))
        # Without an end, one that waits would wait for us for ever.
        answered, _ = await asyncio.wait({free}, timeout=PATIENCE_SECONDS)

    assert answered == {free}
    assert [await held_up, await free] == [ActivityOutcome(ACCEPTED)] * 2


# On the first, a middle and the last of what a batch writes; disk full, and a server that shuts down.
@pytest.mark.parametrize("table", ["standing", "reward", "webhook_queue"])
@pytest.mark.parametrize("code", ["53100", "57P01"])
async def test_what_the_database_cannot_take_is_not_saved_and_may_be_sent_again(
    house, pool, brand, table, code
) -> None:
    both = [brand.enrol(1, "Spring"), brand.buy(1, "a", IN_JANUARY)]
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{code}'; END $$"
    )
    await pool.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()")
    with pytest.raises(NotSaved):
        await house.writer.submit(both)
    meanwhile = await saved(pool)
    await pool.execute(f"DROP TRIGGER refuse ON {table}")

    outcomes = await house.writer.submit(both)

    assert meanwhile == {}
    assert [outcome.facts != () for outcome in outcomes] == [True, True]
    assert await pool.fetchval("SELECT count(*) FROM reward") == 1


async def test_nobody_is_answered_before_the_commit_is_through(house, pool, brand) -> None:
    await pool.execute(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$"
    )
    # Deferred, so that it is the COMMIT that waits.
    await pool.execute(
        "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON journal DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION linger()"
    )

    async with pool.acquire() as beside, beside.transaction():
        await beside.execute("SELECT pg_advisory_xact_lock(4711)")
        sent = asyncio.create_task(house.writer.submit_one(brand.buy(1, "a", IN_JANUARY)))
        pid = await waiting_for_a_lock(pool)
        statement = await pool.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)
        answered_early = sent.done()

    assert statement.startswith("COMMIT")
    assert not answered_early
    assert await sent == ActivityOutcome(ACCEPTED)


async def test_a_reward_that_the_ledger_has_is_not_given_again_though_the_standing_forgot_it(
    house, pool, brand
) -> None:
    await house.writer.submit([brand.enrol(1, "Spring"), brand.buy(1, "a", IN_JANUARY)])
    await pool.execute(
        "UPDATE standing SET value_thousandths = 0, achieved_at = NULL, achieved_recorded_at = NULL, rewarded = false"
    )
    before = await saved(pool)

    with capture_logs() as logs:
        outcome = await house.writer.submit_one(brand.buy(1, "b", IN_JANUARY))

    assert outcome == ActivityOutcome(Status.REJECTED, Code.INTERNAL_ERROR)
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["request_failed"]
    assert await saved(pool) == before


async def test_a_document_is_written_when_a_run_or_the_enrolment_changes_and_a_value_by_itself(house, pool) -> None:
    brand = await found(pool, "chains", [streak("Chain", 2)], customer_ids=(1,), test_clock_at=IN_JANUARY)
    wakes: list[Any] = []
    documents: list[str] = []
    for request in (
        brand.enrol(1, "Chain"),
        brand.buy(1, "a", IN_JANUARY, "40"),
        brand.buy(1, "b", IN_JANUARY, "30"),
        brand.buy(1, "c", IN_JANUARY, "30"),
        brand.buy(1, "d", IN_JANUARY, "5"),
        brand.un_enrol(1, "Chain"),
    ):
        await house.writer.submit_one(request)
        row = await pool.fetchrow("SELECT value_thousandths, wakes_at, document::text FROM standing")
        wakes.append(row["wakes_at"])
        documents.append(row["document"])

    _, bought, bought_more, met, met_more, left = documents
    assert bought == bought_more
    assert met == met_more
    assert len({bought, met, left}) == 3
    assert row["value_thousandths"] == 105_000
    # February is to be met once January is, until the customer is out of it.
    assert wakes == [None, None, None, month(3), month(3), None]


async def test_after_a_deactivation_a_standing_that_was_to_wake_later_is_looked_at_once(house, pool) -> None:
    brand = await found(pool, "chains", [streak("Chain", 5, offset_days=20)], customer_ids=(1,))
    organisation_id = brand.organisation_id
    for at, request in (
        (month(1) + timedelta(days=1), brand.enrol(1, "Chain")),
        (month(1) + timedelta(days=2), brand.buy(1, "january", month(1) + timedelta(days=2))),
        (month(3) + timedelta(days=1), brand.un_enrol(1, "Chain")),
        (month(3) + timedelta(days=2), brand.enrol(1, "Chain", reset=True)),
        (month(3) + timedelta(days=3), brand.buy(1, "march", month(3) + timedelta(days=3))),
    ):
        await house.closer.advance(organisation_id, at)
        await house.writer.submit_one(request)
    before = await pool.fetchrow("SELECT wakes_at, version FROM standing")
    await deactivate(pool, brand, "Chain", at=month(3) + timedelta(days=4))
    await house.closer.advance(organisation_id, month(4))
    broken = await pool.fetchval(f"{UNFOLDED} SELECT count(*) FROM fact WHERE name = 'streak_broken'")
    await house.closer.advance(organisation_id, month(6))

    # February of the first run is due on the 20th of March; of the second run May's end may be the next to break it.
    assert before["wakes_at"] == month(3) + timedelta(days=20)
    assert broken == 1
    after = await pool.fetchrow("SELECT wakes_at, version FROM standing")
    assert (after["wakes_at"], after["version"]) == (None, before["version"] + 1)
    assert [difference async for difference in audit(pool, progressed=lambda _: None)] == []


async def test_late_activity_changes_the_row_of_a_period_that_has_left_its_standing(house, pool) -> None:
    brand = await found(pool, "late", [milestone("Spring", offset_days=20)], customer_ids=(1,))
    for at, request in (
        (month(1), brand.enrol(1, "Spring")),
        (month(1) + timedelta(days=1), brand.buy(1, "january", month(1), "40")),
        (month(2) + timedelta(days=1), brand.buy(1, "february", month(2), "7")),
        (month(2) + timedelta(days=2), brand.buy(1, "late", month(1), "3")),
    ):
        await house.closer.advance(brand.organisation_id, at)
        await house.writer.submit_one(request)

    ended = await pool.fetch("SELECT period_number, value_thousandths FROM ended_period")
    latest = await pool.fetchrow("SELECT period_number, value_thousandths FROM standing")

    assert [tuple(row) for row in ended] == [(1, 43_000)]
    assert tuple(latest) == (2, 7_000)
    assert [difference async for difference in audit(pool, progressed=lambda _: None)] == []
