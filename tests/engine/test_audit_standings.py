"""The audit notices each field of a standing's document, altered or left out, and when a standing is not to wake in time.

Fields are found by walking the declared types, and a life is lived in which each of them is written.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from msgspec.structs import fields
from tests.definitions import (
    POINTS_AT_PERIOD_END,
    build_definition,
    build_measure,
    build_periods,
    build_target,
    month,
)
from tests.engine.brand import Brand, deactivate, found, milestone, streak

from kosminar.core.customer import NewCustomer
from kosminar.core.standing import Progress, Stretch
from kosminar.engine.auditor import Scope, audit
from kosminar.engine.difference import Difference
from kosminar.engine.house import House
from kosminar.engine.use_cases.customers import register
from kosminar.store import rows
from kosminar.store.standings import CustomerKey

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
ANOTHER = {
    "explicit": "automatic",
    "automatic": "explicit",
    "2031-01-01": "2031-01-02",
    "0-1": "0 2",
    "1": "2",
    "1-2": "1",
}


@pytest_asyncio.fixture
async def brand(house: House) -> Brand:
    """Days that count once, a balance for a period to come beside the one that runs, and a streak of two runs."""
    visits = build_target(name="Visits", measure=build_measure(type="VISIT"), values=(3_000,) * 4)
    definitions = [
        build_definition(name="Visits", periods=build_periods(4), target=visits),
        milestone("Saved up", POINTS_AT_PERIOD_END, months=4),
        streak("In a row", 2, months=4),
    ]
    brand = await found(house.pool, "acme", definitions, customer_ids=(1,))
    submit, advance = house.writer.submit, house.closer.advance
    await submit(brand.enrol(1, name) for name in brand.programmes)
    await advance(brand.organisation_id, month(1) + 2 * DAY)
    await submit(brand.buy(1, f"january {day}", month(1) + day * DAY) for day in range(2))
    await submit([brand.un_enrol(1, "Saved up")])
    await submit([brand.enrol(1, "Saved up", period_name="Cycle_3", initial_balance=7_000)])
    await advance(brand.organisation_id, month(1) + 3 * DAY)
    return brand


async def go_on(house: House, brand: Brand) -> None:
    """The streak meets another month, reaches its level, and begins again."""
    await house.closer.advance(brand.organisation_id, month(2) + DAY)
    await house.writer.submit([brand.buy(1, "february", month(2))])
    await house.writer.submit([brand.un_enrol(1, "In a row"), brand.enrol(1, "In a row", reset=True)])


async def differences(house: House, brand: Brand) -> list[Difference]:
    scope = Scope(brand.organisation_id, 1)
    return [one async for one in audit(house.pool, scope=scope, progressed=lambda _: None)]


async def documents(pool: asyncpg.Pool) -> dict[int, Any]:
    rows_found = await pool.fetch("SELECT target_group_id, document FROM standing ORDER BY 1")
    return {row["target_group_id"]: json.loads(row["document"]) for row in rows_found}


async def write(pool: asyncpg.Pool, group_id: int, document: Any) -> None:
    sql = "UPDATE standing SET document = $2::text::json WHERE target_group_id = $1"
    await pool.execute(sql, group_id, json.dumps(document, separators=(",", ":")))


Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is no list or object of others; an empty list is one too."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [leaf for name, one in members for leaf in leaves(one, (*path, name))]
    yield from inner or [(path, value)]


def changed(document: Any, path: Path, value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return copy


def another(value: Any) -> Any:
    """A value of the same type that says something else."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case None:
            return "2031-01-20T00:00:00Z"
        case []:
            return [999]
        case str() if value.endswith("Z"):
            return value.replace(":00Z", ":01Z")
        case _:
            return ANOTHER[value]


def field_of(path: Path) -> str:
    """The declared field at which a path ends or which it enters, as the type's name and its own."""
    _, name, *inner = path
    types = {"stretches": Stretch, "progress": Progress, "runs": rows._Run}
    if name not in types:
        return f"_Part.{name}"
    return f"{types[str(name)].__name__}.{fields(types[str(name)])[int(inner[1])].name}"


def declared() -> set[str]:
    every = {
        f"{type_.__name__}.{field.name}"
        for type_ in (rows._Part, Stretch, Progress, rows._Run)
        for field in fields(type_)
    }
    return every - {"_Part.stretches", "_Part.progress", "_Part.runs"}


async def test_each_field_of_a_document_that_is_altered_is_found(house: House, brand: Brand) -> None:
    covered: set[str] = set()
    for _ in range(2):
        assert await differences(house, brand) == []
        for group_id, document in (await documents(house.pool)).items():
            for path, value in leaves(document):
                await write(house.pool, group_id, changed(document, path, another(value)))
                assert await differences(house, brand) != [], (path, value)
                covered.add(field_of(path))
            await write(house.pool, group_id, document)
        await go_on(house, brand) if len(covered) < len(declared()) else None

    # A day of progress that is not in columns has nowhere to come from but a day on which two periods run.
    assert declared() - covered <= {"Progress.days"}


async def test_each_part_of_a_document_that_is_left_out_is_found(house: House, brand: Brand) -> None:
    await go_on(house, brand)
    for group_id, document in (await documents(house.pool)).items():
        ((target_id, part),) = document.items()
        for name in part:
            await write(house.pool, group_id, {target_id: {key: one for key, one in part.items() if key != name}})
            assert await differences(house, brand) != [], name
        await write(house.pool, group_id, {})
        assert await differences(house, brand) != []
        await write(house.pool, group_id, document)
    assert await differences(house, brand) == []


async def test_a_standing_that_a_change_of_its_group_left_behind_is_found(house: House) -> None:
    brand = await found(house.pool, "acme", [streak("In a row", 2)], customer_ids=(1,), test_clock_at=month(1))
    await house.writer.submit([brand.enrol(1, "In a row"), brand.buy(1, "january", month(1))])
    before = await house.pool.fetchrow("SELECT wakes_at, version FROM standing")
    await deactivate(house.pool, brand, "In a row", at=month(1) + DAY)
    # The closer has yet to come by.
    assert await differences(house, brand) == []
    await house.closer.advance(brand.organisation_id, month(1) + 2 * DAY)
    assert await differences(house, brand) == []

    await house.pool.execute("UPDATE standing SET wakes_at = $1, version = $2", *before)

    (difference,) = await differences(house, brand)
    assert difference.expected == {"version": before["version"] + 1}
    assert difference.found == {"version": before["version"]}


@pytest.mark.parametrize("late", ["wakes_at + interval '1 second'", "NULL"])
async def test_a_standing_that_is_to_wake_too_late_or_never_is_found(house: House, brand: Brand, late: str) -> None:
    await house.pool.execute(f"UPDATE standing SET wakes_at = {late}, likeness = NULL WHERE wakes_at IS NOT NULL")

    found_ = await differences(house, brand)

    assert "wakes_at" in {name for one in found_ for name in one.expected or ()}


async def test_a_standing_that_wakes_too_early_is_put_right_by_whoever_wakes_it(house: House, brand: Brand) -> None:
    kept = "SELECT target_group_id, wakes_at, version, document::text FROM standing ORDER BY 1"
    before = await house.pool.fetch(kept)
    await house.pool.execute("UPDATE standing SET wakes_at = '2031-01-01Z' WHERE wakes_at IS NOT NULL")

    await house.closer.settle(brand.organisation_id)

    assert await house.pool.fetch(kept) == before
    assert await differences(house, brand) == []


async def test_an_ended_period_of_a_later_time_or_of_no_target_is_found(house: House, brand: Brand) -> None:
    await go_on(house, brand)
    rows_before = await house.pool.fetch("SELECT * FROM ended_period")
    for change in ("period_number = 4", "period_number = 1023", "target_id = 999"):
        target_id = brand.programmes["Visits"].targets[0].target_id
        await house.pool.execute(f"UPDATE ended_period SET {change} WHERE target_id = $1", target_id)
        whats = {one.what for one in await differences(house, brand)}
        assert whats, change
        # It is named, and not only that the recount went wrong.
        assert "recount" not in whats, change
        await house.pool.execute("DELETE FROM ended_period")
        async with house.pool.acquire() as connection:
            await connection.copy_records_to_table("ended_period", records=rows_before)
    assert await differences(house, brand) == []


async def test_ended_periods_without_a_standing_are_found(house: House, brand: Brand) -> None:
    await go_on(house, brand)
    await register(house.pool, brand.organisation_id, [NewCustomer(customer_id=2)], month(1))
    place = CustomerKey.of(brand.organisation_id, 2)
    async with house.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("UPDATE ended_period SET bucket = $1, customer_id = 2", place.bucket)
    scope = Scope(brand.organisation_id, 2)

    whats = [one.what async for one in audit(house.pool, scope=scope, progressed=lambda _: None)]

    assert len(whats) == await house.pool.fetchval("SELECT count(DISTINCT target_group_id) FROM ended_period")


async def test_a_period_that_ended_before_the_customers_last_change_leaves_with_the_next_one(house, wall) -> None:
    """A deactivation is written without a number of the customer's, as of the customer's last change."""
    wall.now = month(1)
    definition = milestone("Spring", POINTS_AT_PERIOD_END, offset_days=10)
    brand = await found(house.pool, "acme", [definition], customer_ids=(1,), test_clock_at=None)
    wall.now = month(2) - timedelta(minutes=2)
    ahead = month(2) + timedelta(minutes=1)
    await house.writer.submit([brand.enrol(1, "Spring")])
    await house.writer.submit([brand.buy(1, "january", month(1)), brand.buy(1, "ahead", ahead, "5")])
    wall.now = month(2) + DAY
    await deactivate(house.pool, brand, "Spring", at=wall.now)

    await house.closer.settle(brand.organisation_id)

    assert await house.pool.fetchval("SELECT count(*) FROM ended_period") == 0
    assert await differences(house, brand) == []
    wall.now = month(2) + 11 * DAY
    await house.closer.settle(brand.organisation_id)
    assert await house.pool.fetchval("SELECT count(*) FROM ended_period WHERE rewarded") == 1
    assert await differences(house, brand) == []
