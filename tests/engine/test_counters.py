"""Counters in the database: they equal a recount whatever became of them, and an overview reads no customer's row."""

import asyncio
import re
from contextlib import suppress
from datetime import timedelta

import asyncpg
import pytest
from tests.definitions import POINTS, POINTS_AT_PERIOD_END, month
from tests.engine.brand import Brand, found, milestone, streak

from kosminar.core.counter import WHOLE_GROUP, CounterKey, Counters, Slot
from kosminar.core.reward import RewardKey, RewardState
from kosminar.engine import counter_adder
from kosminar.engine.auditor import Scope, audit
from kosminar.engine.change import Request, RewardReport
from kosminar.engine.counter_adder import MANY, CounterAdder, pause_after
from kosminar.engine.house import House
from kosminar.engine.use_cases.overview import GroupOverview, overview
from kosminar.store import counters, saving

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)


async def differences(pool: asyncpg.Pool, scope: Scope | None = None) -> list[str]:
    found = audit(pool, progressed=lambda _: None, **({} if scope is None else {"scope": scope}))
    return [str(difference) async for difference in found]


async def lived(house: House, name: str = "acme") -> Brand:
    """Three customers: one achieves both, one leaves, one is half way; January ends, and a reward is reported failed."""
    brand = await found(
        house.pool,
        name,
        [milestone("Spring", POINTS, POINTS_AT_PERIOD_END), streak("Chain", 1, 2)],
        test_clock_at=month(1) + DAY,
    )
    await house.writer.submit(brand.enrol(one, group) for one in (1, 2, 3) for group in ("Spring", "Chain"))
    await house.writer.submit(
        [
            brand.buy(1, "a", month(1) + DAY, "100"),
            brand.buy(2, "b", month(1) + DAY, "100"),
            brand.buy(3, "c", month(1) + DAY, "55"),
            brand.un_enrol(2, "Spring"),
        ]
    )
    await house.closer.advance(brand.organisation_id, month(2) + DAY)
    await house.writer.submit_one(brand.buy(1, "d", month(2) + DAY, "30"))
    key = await reward_key(house.pool, brand, customer_id=1)
    await house.writer.submit_one(
        Request(brand.organisation_id, 1, RewardReport(key, RewardState.FAILED, "out of stock"))
    )
    return brand


async def reward_key(pool: asyncpg.Pool, brand: Brand, *, customer_id: int) -> RewardKey:
    row = await pool.fetchrow(
        "SELECT target_id, period_id, level_id, run, reward_definition_id FROM reward"
        " WHERE organisation_id = $1 AND customer_id = $2 AND state = 'issued' ORDER BY 1, 2, 3, 4, 5",
        brand.organisation_id,
        customer_id,
    )
    return RewardKey(*row)


async def counted(house: House, brand: Brand):
    async with house.pool.acquire() as connection:
        return await counters.list_all(connection, brand.organisation_id)


async def shown(house: House, brand: Brand, at, **options) -> dict[str, GroupOverview]:
    by_id = {programme.target_group_id: programme for programme in brand.programmes.values()}
    groups = await overview(house.pool, brand.organisation_id, by_id, at=at, **options)
    return {group.programme.name: group for group in groups}


# ---------------------------------------------------------------- what is counted


async def test_what_customers_did_is_counted_by_group_period_and_day(house) -> None:
    brand = await lived(house)
    spring, chain = (brand.programmes[name].target_group_id for name in ("Spring", "Chain"))

    rows = await counted(house, brand)

    january = rows[CounterKey(brand.organisation_id, spring, 1, None)]
    assert (january[Slot.ENROLLED], january[Slot.LEFT], january[Slot.ACHIEVED]) == (3, 1, 2)
    assert [number for number in range(11) if january.tenths[number]] == [5, 10]
    assert january.active == 3
    # Two were paid at once; at the period's end one, and the one who left forfeits.
    assert {state: january.rewards(state) for state in RewardState if january.rewards(state)} == {
        RewardState.ISSUED: 2,
        RewardState.FAILED: 1,
        RewardState.FORFEITED: 1,
    }
    group = rows[CounterKey(brand.organisation_id, chain, WHOLE_GROUP, None)]
    assert group.levels == (2, *[0] * 9)
    assert group[Slot.ON_STREAK] == 2
    days = {key.day for key in rows if key.target_group_id == spring and key.period_number == 1} - {None}
    assert days == {(month(1) + DAY).date(), month(2).date(), (month(2) + DAY).date()}
    assert await differences(house.pool) == []


async def test_adding_changes_nothing_that_is_read_and_leaves_no_change_behind(house) -> None:
    brand = await lived(house)
    before = await counted(house, brand), await shown(house, brand, month(2) + DAY)
    waiting = await house.pool.fetchval("SELECT count(*) FROM counter_change")

    added = [await house.counter_adder.add() for _ in range(2)]

    assert added == [waiting, 0]
    assert await house.pool.fetchval("SELECT count(*) FROM counter_change") == 0
    assert (await counted(house, brand), await shown(house, brand, month(2) + DAY)) == before
    await house.writer.submit_one(brand.buy(3, "e", month(2) + DAY, "45"))
    await house.counter_adder.add()
    assert await differences(house.pool) == []


# ---------------------------------------------------------------- what the audit finds


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(
    "alteration",
    [
        "DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})",
        "UPDATE {table} SET counts[1] = coalesce(counts[1], 0) + 1 WHERE ctid = (SELECT min(ctid) FROM {table})",
        "UPDATE {table} SET period_number = 7 WHERE ctid = (SELECT min(ctid) FROM {table})",
        "UPDATE {table} SET day = day + 1 WHERE ctid = (SELECT min(ctid) FROM {table} WHERE day IS NOT NULL)",
        "UPDATE {table} SET target_group_id = 99 WHERE ctid = (SELECT min(ctid) FROM {table})",
    ],
)
async def test_a_counter_that_is_not_what_a_recount_gives_is_found(house, alteration: str, added: bool) -> None:
    await lived(house)
    if added:
        await house.counter_adder.add()
    table = "counter_total" if added else "counter_change"
    assert await house.pool.execute(alteration.format(table=table)) in {"UPDATE 1", "DELETE 1"}

    said = await differences(house.pool)

    assert said
    assert all("counters of target group" in one for one in said)


async def test_a_total_in_another_bucket_is_found_because_no_reader_finds_it(house) -> None:
    await lived(house)
    await house.counter_adder.add()
    await house.pool.execute("UPDATE counter_total SET bucket = (bucket + 1) % 256 WHERE day IS NULL")

    assert any("all days: expected" in one for one in await differences(house.pool))


async def test_counters_are_audited_with_all_customers_of_an_organisation_and_not_with_one(house) -> None:
    brand = await lived(house)
    other = await lived(house, "other")
    await house.pool.execute("DELETE FROM counter_change WHERE organisation_id = $1", brand.organisation_id)

    assert await differences(house.pool, Scope(brand.organisation_id)) != []
    assert await differences(house.pool, Scope(other.organisation_id)) == []
    assert await differences(house.pool, Scope(brand.organisation_id, 1)) == []
    assert await differences(house.pool, Scope(since=month(1))) == []


# ---------------------------------------------------------------- the adder


async def test_one_process_at_a_time_adds(house) -> None:
    await lived(house)
    waiting = await house.pool.fetchval("SELECT count(*) FROM counter_change")
    async with house.pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", counters.LOCK_KEY)

        assert await CounterAdder(house.pool).add() == 0

    assert await CounterAdder(house.pool).add() == waiting


async def test_changes_that_were_removed_and_whose_adding_was_cut_off_are_there_again(house, monkeypatch) -> None:
    await lived(house)
    waiting = await house.pool.fetchval("SELECT count(*) FROM counter_change")
    as_array = counters.array
    monkeypatch.setattr(counters, "array", lambda counts: "cut off")

    with pytest.raises(asyncpg.PostgresError):
        await house.counter_adder.add()

    assert await house.pool.fetchval("SELECT count(*) FROM counter_change") == waiting
    monkeypatch.setattr(counters, "array", as_array)
    assert await house.counter_adder.add() == waiting
    assert await differences(house.pool) == []


async def test_writers_and_adders_at_once_leave_what_a_recount_gives(house) -> None:
    """Each round, a change is taken by one adder or by none, and read in one place."""
    brand = await found(
        house.pool,
        "acme",
        [milestone("Spring", POINTS, POINTS_AT_PERIOD_END)],
        customer_ids=range(1, 41),
        test_clock_at=month(1) + DAY,
    )
    await house.writer.submit(brand.enrol(one, "Spring") for one in range(1, 41))
    adders = [CounterAdder(house.pool), CounterAdder(house.pool)]
    added = 0
    for number in range(20):
        _, *counts = await asyncio.gather(
            house.writer.submit(brand.buy(one, f"{number}", month(1) + DAY, "7") for one in range(1, 41)),
            *[adder.add() for adder in adders],
            shown(house, brand, month(1) + DAY),
        )
        added += sum(counts[:2])
        assert counts[2]["Spring"].enrolled == 40

    assert added > 0
    assert await differences(house.pool) == []


async def test_the_adder_goes_on_at_once_while_many_wait() -> None:
    assert pause_after(MANY) == 0
    assert pause_after(MANY - 1) == counter_adder.ROUND_SECONDS


async def test_the_adder_goes_on_after_the_database_was_cut_off_and_ends_when_it_is_cancelled(
    house, monkeypatch
) -> None:
    monkeypatch.setattr(counter_adder, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(counter_adder, "TROUBLE_SECONDS", 0.0)
    failures: list[int] = []
    add_changes = counters.add_changes

    async def cut_off_in_the_middle(connection) -> int:
        if len(failures) < 2:
            failures.append(1)
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await house.pool.execute("SELECT pg_terminate_backend($1)", pid)
        return await add_changes(connection)

    monkeypatch.setattr(counters, "add_changes", cut_off_in_the_middle)
    await lived(house)
    running = asyncio.create_task(house.counter_adder.run())
    async with asyncio.timeout(30):
        while await house.pool.fetchval("SELECT count(*) FROM counter_change"):
            pass

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert running.cancelled()
    assert len(failures) == 2
    assert await differences(house.pool) == []


# ---------------------------------------------------------------- the overview


async def test_an_overview_shows_who_is_in_what_each_day_moved_and_which_streaks_are_at_risk(house) -> None:
    brand = await lived(house)

    groups = await shown(house, brand, month(2) + DAY, day_count=40)

    spring, chain = groups["Spring"], groups["Chain"]
    assert (spring.enrolled, spring.total.achieved, spring.running_number) == (2, 2, 2)
    assert (chain.enrolled, chain.at_risk) == (3, 2)
    assert len(spring.days) == 40
    assert list(spring.days)[-1] == (month(2) + DAY).date()
    assert spring.days[(month(1) + DAY).date()].achieved == 2
    assert sum(day.enrolled - day.stretches_left for day in spring.days.values()) == spring.enrolled
    await house.writer.submit_one(brand.buy(2, "met", month(2) + DAY, "100"))
    assert (await shown(house, brand, month(2) + DAY))["Chain"].at_risk == 1


async def test_an_overview_shows_its_own_organisation_only(house) -> None:
    brand, other = await lived(house), await found(house.pool, "other", [milestone("Spring", POINTS)])
    foreign = {programme.target_group_id: programme for programme in brand.programmes.values()}

    groups = await overview(house.pool, other.organisation_id, foreign, at=month(2) + DAY)

    assert [group.total for group in groups] == [counters.NOTHING_YET] * 2


SCANS = "SELECT relname, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables"


async def test_an_overview_reads_no_customers_row(house) -> None:
    brand = await lived(house)
    await house.counter_adder.add()
    running = {programme.target_group_id: 1 for programme in brand.programmes.values()}
    async with house.pool.acquire() as connection, connection.transaction():
        before = dict(await connection.fetch(SCANS))
        await counters.list_overview(connection, brand.organisation_id, running, first_day=month(1).date())
        after = dict(await connection.fetch(SCANS))

    assert {table for table, scans in after.items() if scans > before[table]} == {"counter_total", "counter_change"}


async def test_the_places_that_the_overview_reads_are_those_of_the_names() -> None:
    text = counters.QUERIES["list_overview"].text
    named = re.findall(r"\.counts\[(\d+)\](?:\), 0\)::bigint)? AS ([a-z_]+)", text)
    unnamed = re.findall(r"\.counts\[(\d+)\](?!(?:\), 0\)::bigint)? AS)", text)
    order = [("enrolled", Slot.ENROLLED), ("stretches_left", Slot.LEFT), ("achieved", Slot.ACHIEVED)]
    order += [("on_streak", Slot.ON_STREAK), ("issued", Slot.ISSUED)]

    assert named == [(str(slot + 1), name) for name, slot in order] * 2
    assert unnamed == [str(slot + 1) for _, slot in order]
    # Changes of tenths alone are passed over.
    first, last = re.findall(r"array_lower\(c\.counts, 1\) < (\d+) OR array_upper\(c\.counts, 1\) > (\d+)", text)[0]
    assert (int(first), int(last)) == (Slot.TENTH_0 + 1, Slot.TENTH_10 + 1)
    assert not {slot for _, slot in order} & set(range(Slot.TENTH_0, Slot.TENTH_10 + 1))


async def test_every_place_is_added_up_in_its_order() -> None:
    text = counters.QUERIES["take_counter_changes"].text

    assert re.findall(r"sum\(t\.counts\[(\d+)\]\)", text) == [str(slot + 1) for slot in Slot]


async def test_a_change_holds_the_numbers_from_the_first_that_moved_to_the_last(house) -> None:
    alone, apart = ([slot in slots for slot in Slot] for slots in ([Slot.TENTH_4], [Slot.ENROLLED, Slot.REVERSED_REST]))
    key = CounterKey(1, 2, 3, month(1).date())
    async with house.pool.acquire() as connection:
        for moved in (alone, apart):
            await saving.save(
                connection,
                [counters.changes_part(_counters({key: [7 * number for number in moved]}), bucket=9)],
                joined=False,
            )
        found = await connection.fetch("SELECT array_dims(counts) AS dims FROM counter_change ORDER BY change_id")
        before = await counters.list_all(connection, 1)
        await CounterAdder(house.pool).add()
        after = await counters.list_all(connection, 1)

    assert [row["dims"] for row in found] == ["[8:8]", "[1:40]"]
    assert before == after
    assert before[key] == tuple(7 * (one + other) for one, other in zip(alone, apart, strict=True))


def _counters(counts) -> Counters:
    made = Counters()
    made._counts = counts
    return made


async def test_what_waits_is_added_up_without_sorting_it(house) -> None:
    """Sorted on disk, changes of 10,000 batches take twice as long; a plan that is kept takes them for few."""
    counts = [1] * len(Slot)
    async with house.pool.acquire() as connection:
        for bucket in range(10):
            keys = [
                CounterKey(1, group, 1, (month(1) + number * DAY).date()) for group in (1, 2) for number in range(100)
            ]
            await saving.save(
                connection, [counters.changes_part(_counters(dict.fromkeys(keys, counts)), bucket=bucket)], joined=False
            )
        await connection.execute("ANALYZE counter_change")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        overview_plan = await _plan(connection, "list_overview")
        async with connection.transaction():
            await counters.add_changes(connection)
            adding_plan = await _plan(connection, "take_counter_changes")
        await connection.execute("RESET plan_cache_mode")

    assert "HashAggregate" in overview_plan[overview_plan.index("CTE waiting") + 1]
    assert any("HashAggregate" in line for line in adding_plan)
    assert not any("Sort" in line for line in adding_plan)


async def _plan(connection, name: str) -> list[str]:
    """The plan that is made without the values of parameters."""
    query = counters.QUERIES[name]
    await connection.execute(f"PREPARE {name} AS {query.text}")
    nothing = ", ".join(["NULL"] * len(query.parameters))
    rows = await connection.fetch(f"EXPLAIN EXECUTE {name} ({nothing})")
    await connection.execute(f"DEALLOCATE {name}")
    return [row[0].strip() for row in rows]
