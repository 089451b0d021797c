"""The auditor finds nothing in a living database, and names every row that somebody changed behind its back.

Two organisations with the same customers and programmes; only one is tampered with, and only that one is named.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.definitions import POINTS, POINTS_AT_PERIOD_END, month
from tests.engine.brand import Brand, deactivate, found, milestone, streak

from kosminar.core.decide import Enrol
from kosminar.engine.auditor import Difference, audit
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
CUSTOMER_IDS = (1, 2, 3, 4)
NAMES = ("At once", "At the end", "In a row")


async def live(house: House, name: str, customer_ids: Sequence[int] = CUSTOMER_IDS) -> Brand:
    """Three months of a small brand: paid at once and at the end, forfeited, re-enrolled, a streak reset and broken."""
    definitions = [
        milestone("At once", POINTS),
        milestone("At the end", POINTS_AT_PERIOD_END),
        streak("In a row", 2),
    ]
    brand = await found(house.pool, name, definitions, customer_ids=customer_ids)
    submit, advance = house.writer.submit, house.closer.advance
    await submit(brand.enrol(customer_id, name) for customer_id in customer_ids for name in NAMES)
    await advance(brand.organisation_id, month(1) + DAY)
    await submit(brand.buy(customer_id, "january", month(1)) for customer_id in customer_ids)
    await submit([brand.un_enrol(2, "At the end"), brand.un_enrol(2, "In a row")])
    await submit([brand.enrol(2, "In a row", Enrol(reset=True))])
    await advance(brand.organisation_id, month(2) + DAY)
    await submit(brand.buy(customer_id, "february", month(2)) for customer_id in customer_ids if customer_id != 3)
    await advance(brand.organisation_id, month(3) + DAY)
    # The third month runs: achieved and to be paid at its end, nothing of it is settled.
    await submit([brand.buy(1, "march", month(3)), brand.buy(4, "march", month(3), "99.999")])
    return brand


@dataclass(frozen=True)
class Tampered:
    """The brand that somebody tampers with, and one beside it."""

    house: House
    brand: Brand
    other: Brand

    def target_id(self, name: str) -> int:
        return self.brand.programmes[name].target.target_id

    async def tamper(self, sql: str, *, name: str = "At the end", customer_id: int = 1) -> None:
        """`$1` is the organisation, `$2` the customer, `$3` the target; exactly one row must be hit."""
        done = await self.house.pool.execute(sql, self.brand.organisation_id, customer_id, self.target_id(name))
        assert done.split()[-1] == "1", done

    @asynccontextmanager
    async def undone(self, table: str) -> AsyncIterator[None]:
        """What is changed in the table meanwhile is put right again."""
        rows = await self.house.pool.fetch(f"SELECT * FROM {table}")
        yield
        async with self.house.pool.acquire() as connection:
            await connection.execute(f"TRUNCATE {table}")
            await connection.copy_records_to_table(table, records=rows)

    async def differences(self) -> list[Difference]:
        return [one async for one in audit(self.house.pool, progressed=lambda _: None)]

    async def found(self, name: str, customer_id: int = 1) -> list[str]:
        """What differs, all of it of this customer in this target."""
        differences = await self.differences()
        places = {(one.organisation_id, one.customer_id, one.target_id) for one in differences}
        assert places <= {(self.brand.organisation_id, customer_id, self.target_id(name))}, differences
        assert all(one.expected != one.found for one in differences)
        return [one.what for one in differences]


@pytest_asyncio.fixture
async def town(house: House) -> Tampered:
    other = await live(house, "globex")
    return Tampered(house, await live(house, "acme"), other)


ROW = "WHERE organisation_id = $1 AND customer_id = $2 AND target_id = $3"


def period(number: int) -> str:
    return f"AND period_id = (SELECT period_id FROM period JOIN target USING (target_group_id) WHERE target_id = $3 AND number = {number})"


# ---------------------------------------------------------------- nothing to find


async def test_nothing_is_found_in_what_was_lived(town) -> None:
    heard: list[int] = []

    differences = [one async for one in audit(town.house.pool, progressed=heard.append)]

    assert differences == []
    assert sum(heard) == 2 * len(CUSTOMER_IDS)


async def test_nothing_is_found_while_it_is_being_lived(house) -> None:
    """Beside requests, period ends and a deactivation: each page is one snapshot."""
    brand = await live(house, "acme")

    async def go_on() -> None:
        # Long enough for several audits beside it, on a busy machine too.
        for number in range(90):
            await house.writer.submit(
                [
                    *(brand.buy(customer_id, f"more-{number}", month(3)) for customer_id in CUSTOMER_IDS),
                    brand.un_enrol(1 + number % 4, "At the end"),
                    brand.enrol(1 + (number + 1) % 4, "At the end"),
                ]
            )
            await house.closer.advance(brand.organisation_id, month(3) + (2 + number * 2 / 3) * DAY)
        await deactivate(house.pool, brand, "At the end", at=month(5))
        await house.closer.settle(brand.organisation_id)

    going_on = asyncio.create_task(go_on())
    rounds = 0
    while not going_on.done():
        assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []
        rounds += 1
    await going_on

    assert rounds > 1
    assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []


async def test_a_page_is_no_limit(house, monkeypatch) -> None:
    monkeypatch.setattr("kosminar.engine.auditor.PAGE_SIZE", 1)
    # More than there are buckets, so that some bucket has a second page.
    customer_ids = [1, 2, 3, 4, *range(100, 400)]
    brand = await live(house, "acme", customer_ids)
    await house.pool.execute("UPDATE progress SET value = value + 1 WHERE customer_id IN (100, 300, 399)")
    heard: list[int] = []

    differences = [one async for one in audit(house.pool, progressed=heard.append)]

    assert sum(heard) == len(customer_ids)
    assert max(heard) == 1
    assert {one.customer_id for one in differences} == {100, 300, 399}
    assert {one.organisation_id for one in differences} == {brand.organisation_id}


# ---------------------------------------------------------------- every kind of tampering


async def test_a_changed_value_is_found(town) -> None:
    await town.tamper(f"UPDATE progress SET value = value + 0.001 {ROW} {period(2)}")

    assert await town.found("At the end") == ["progress in period 2, run 1"]


async def test_a_removed_and_an_invented_progress_are_found(town) -> None:
    await town.tamper(f"DELETE FROM progress {ROW} {period(1)}", name="At once")
    assert await town.found("At once") == ["progress in period 1, run 1"]

    await town.tamper(
        "INSERT INTO progress SELECT bucket, organisation_id, customer_id, target_id, period_id, 2, value, target_value,"
        f" NULL, NULL, days, false, false, false, false FROM progress {ROW} {period(2)}",
        name="At once",
    )
    assert await town.found("At once") == ["progress in period 1, run 1", "progress in period 2, run 2"]


async def test_an_achievement_taken_back_is_found(town) -> None:
    await town.tamper(
        f"UPDATE progress SET achieved_at = NULL, achieved_recorded_at = NULL, awaits_end = false {ROW} {period(3)}"
    )

    assert "progress in period 3, run 1" in await town.found("At the end")


async def test_a_deleted_reward_is_found(town) -> None:
    await town.tamper(f"DELETE FROM reward {ROW} {period(1)}")

    (difference,) = await town.differences()
    assert difference.what.startswith("reward RewardKey(")
    assert difference.found is None
    assert (difference.customer_id, difference.target_id) == (1, town.target_id("At the end"))


async def test_an_invented_reward_is_found(town) -> None:
    # March is achieved, and its end is yet to come.
    await town.tamper(
        "INSERT INTO reward SELECT bucket, organisation_id, customer_id, target_id, period_id + 1, level_id, run,"
        " reward_definition_id, kind, points, text, allocation, state, reason, earned_at, sequence"
        f" FROM reward {ROW} {period(2)}"
    )

    (difference,) = await town.differences()
    assert difference.what.startswith("reward RewardKey(")
    assert (difference.customer_id, difference.expected) == (1, None)


async def test_a_changed_reward_is_found(town) -> None:
    for change in (
        "state = 'pending'",
        "state = 'reversed', reason = 'somebody'",
        "points = points + 1",
        "reason = 'somebody'",
        "earned_at = earned_at - interval '1 second'",
        "kind = 'BADGE', points = NULL, text = 'gold'",
    ):
        async with town.undone("reward"):
            await town.tamper(f"UPDATE reward SET {change} {ROW} {period(1)}")

            (what,) = await town.found("At the end")
            assert what.startswith("reward RewardKey("), change


async def test_a_forfeited_reward_that_somebody_issued_is_found(town) -> None:
    await town.tamper(f"UPDATE reward SET state = 'issued', reason = NULL {ROW} {period(1)}", customer_id=2)

    (difference,) = await town.differences()
    assert (difference.customer_id, difference.expected[0], difference.found[0]) == (2, "forfeited", "issued")


async def test_a_reward_of_another_organisations_target_is_found(town) -> None:
    foreign = town.other.programmes["At the end"]
    await town.tamper(
        f"UPDATE reward SET target_id = {foreign.target.target_id}, period_id = {foreign.period(1).period_id} {ROW} {period(1)}"
    )

    differences = await town.differences()
    assert {(one.organisation_id, one.customer_id) for one in differences} == {(town.brand.organisation_id, 1)}
    assert {one.target_id for one in differences} == {town.target_id("At the end"), foreign.target.target_id}


async def test_a_changed_stretch_is_found(town) -> None:
    await town.tamper(f"UPDATE enrolment SET starts_at = starts_at - interval '1 second' {ROW}")
    assert await town.found("At the end") == ["enrolment"]


async def test_a_stretch_that_somebody_ended_is_found(town) -> None:
    await town.tamper(f"UPDATE enrolment SET ends_at = '{month(3) + DAY}' {ROW}", name="At once")
    assert await town.found("At once") == ["enrolment"]


async def test_a_deleted_stretch_is_found(town) -> None:
    await town.tamper(f"DELETE FROM enrolment {ROW} AND number = 2", name="In a row", customer_id=2)
    assert "enrolment" in await town.found("In a row", 2)


async def test_a_removed_fact_is_found(town) -> None:
    await town.tamper(f"DELETE FROM fact {ROW} AND name = 'enrolled'", name="At once")
    assert await town.found("At once") == ["facts"]


async def test_a_changed_fact_is_found(town) -> None:
    for change in ("value = 7", "name = 'opted_out'", "at = at + interval '1 second'", "reason = 'x'"):
        async with town.undone("fact"):
            await town.tamper(f"UPDATE fact SET {change} {ROW} AND name = 'achieved' {period(1)}")
            assert await town.found("At the end") == ["facts"], change


async def test_facts_in_another_order_are_found(town) -> None:
    await town.tamper(f"UPDATE fact SET sequence = 1000 {ROW} AND name = 'enrolled'")
    assert await town.found("At the end") == ["facts"]


async def test_a_missed_period_end_is_found(town) -> None:
    """Somebody marks March as settled: nobody would ever be paid."""
    await town.tamper(f"UPDATE progress SET settled = true, awaits_end = false {ROW} {period(3)}")
    assert "progress in period 3, run 1" in await town.found("At the end")


async def test_a_period_end_that_nobody_worked_is_found(town) -> None:
    """Somebody hides it from the closer, and the clock goes past it."""
    await town.tamper(f"UPDATE progress SET awaits_end = false {ROW} {period(3)}")
    await town.house.closer.advance(town.brand.organisation_id, month(4))

    assert await town.found("At the end") == ["period end not worked"]


async def test_a_broken_streak_that_nobody_reported_is_found(town) -> None:
    await town.tamper(f"UPDATE streak SET watch_number = NULL {ROW}", name="In a row")
    await town.house.closer.advance(town.brand.organisation_id, month(6))

    assert await town.found("In a row") == ["period end not worked"]


async def test_a_changed_streak_is_found(town) -> None:
    for change in (
        "met = ARRAY[1, 2]",
        "met = ARRAY[]::integer[]",
        "reached = ARRAY[]::bigint[]",
        "broken_number = 2, watch_number = NULL",
        "ends_at = '2031-03-01T00:00:00Z'",
    ):
        async with town.undone("streak"):
            await town.tamper(f"UPDATE streak SET {change} {ROW}", name="In a row")
            assert "streak" in await town.found("In a row"), change


async def test_a_deleted_run_is_found(town) -> None:
    await town.tamper(f"DELETE FROM streak {ROW} AND run = 2", name="In a row", customer_id=2)
    assert "streak" in await town.found("In a row", 2)


OF_CUSTOMER = "WHERE organisation_id = $1 AND customer_id = $2 AND $3 > 0"


async def test_an_altered_activity_is_found(town) -> None:
    await town.tamper(
        f"UPDATE activity SET attributes = '{{\"amount\": 50}}' {OF_CUSTOMER} AND activity_id = 'january'"
    )

    differences = await town.differences()
    assert {(one.organisation_id, one.customer_id) for one in differences} == {(town.brand.organisation_id, 1)}
    whats = {one.what for one in differences}
    assert {"facts", "progress in period 1, run 1", "streak", "activity"} <= whats


async def test_an_activity_altered_where_nothing_counted_it_is_found(town) -> None:
    # Dated when every programme is over.
    await town.house.closer.advance(town.brand.organisation_id, month(20))
    await town.house.writer.submit([town.brand.buy(3, "unheard", month(19))])
    for change in (
        "attributes = attributes || '{\"shop\": 7}'",
        "type = 'another'",
        "occurred_at = occurred_at + interval '1s'",
    ):
        async with town.undone("activity"):
            await town.tamper(f"UPDATE activity SET {change} {OF_CUSTOMER} AND activity_id = 'unheard'", customer_id=3)

            (difference,) = await town.differences()
            assert (difference.customer_id, difference.what) == (3, "activity"), change


async def test_a_deleted_activity_is_found(town) -> None:
    await town.tamper(f"DELETE FROM activity {OF_CUSTOMER} AND activity_id = 'february'")

    whats = [one.what for one in await town.differences()]
    assert whats.count("facts") == 3


async def test_a_deleted_and_a_changed_command_are_found(town) -> None:
    await town.tamper(f"DELETE FROM command {ROW} AND name = 'un_enrol'", customer_id=2)
    assert {"enrolment", "facts"} <= set(await town.found("At the end", 2))


async def test_a_reset_that_somebody_denies_is_found(town) -> None:
    await town.tamper(f"UPDATE command SET reset = false {ROW} AND reset", name="In a row", customer_id=2)
    assert {"streak", "facts"} <= set(await town.found("In a row", 2))


async def test_every_difference_of_several_customers_is_named(town) -> None:
    await town.tamper(f"UPDATE progress SET value = value + 1 {ROW} {period(1)}", name="At once", customer_id=4)
    await town.tamper(f"DELETE FROM fact {ROW} AND name = 'enrolled'", customer_id=3)
    await town.tamper(f"DELETE FROM reward {ROW} {period(2)}", customer_id=1)

    named: set[tuple[int, int, Any]] = {
        (one.customer_id, one.target_id, one.what.split()[0]) for one in await town.differences()
    }

    assert named == {
        (4, town.target_id("At once"), "progress"),
        (3, town.target_id("At the end"), "facts"),
        (1, town.target_id("At the end"), "reward"),
    }
