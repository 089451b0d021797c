"""A customer's rewards and audit trail over HTTP: their order, their pages, and cursors nobody gave out."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, Programme, event, open_brand, problem, purchase
from tests.bodies import STREAK, named, with_target

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
KINDS = [
    {"kind": "POINTS", "value": "12.5", "allocation": "IMMEDIATE"},
    {"kind": "BADGE", "value": "gold", "allocation": "PERIOD_END"},
    {"kind": "COUPON", "value": "TEN-OFF", "allocation": "IMMEDIATE"},
    {"kind": "CUSTOM", "value": "a call"},
]


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    brand = await open_brand(house, http, "Acme", clock=NOW)
    await brand.register(501, 502)
    yield brand


@pytest_asyncio.fixture
async def spring(acme: Brand) -> Programme:
    return await acme.define(with_target(rewards=KINDS))


async def test_a_reward_shows_what_it_is_for_and_where_it_stands(acme: Brand, spring: Programme) -> None:
    await acme.record(purchase("a", 501, TODAY, 250))
    assert (await spring.un_enrol(501)).status_code == 200

    rewards = await acme.rewards(501)

    assert [(r["kind"], r["value"], r["allocation"], r["state"], r["reason"] is None) for r in rewards] == [
        ("POINTS", 12.5, "IMMEDIATE", "issued", True),
        ("BADGE", "gold", "PERIOD_END", "forfeited", False),
        ("COUPON", "TEN-OFF", "IMMEDIATE", "issued", True),
        ("CUSTOM", "a call", "IMMEDIATE", "issued", True),
    ]
    period = spring.group["periods"][1]
    assert {(r["targetGroupId"], r["targetId"], r["periodId"], r["periodRefCode"]) for r in rewards} == {
        (spring.target_group_id, spring.target_id, period["id"], "Cycle_2")
    }
    assert {(r["levelId"], r["run"], r["earnedAt"]) for r in rewards} == {(None, 1, "2031-02-12T12:00:00Z")}
    assert len({r["rewardId"] for r in rewards}) == 4
    assert list(rewards[0]) == [
        "rewardId",
        "targetGroupId",
        "targetId",
        "periodId",
        "periodRefCode",
        "levelId",
        "run",
        "kind",
        "value",
        "allocation",
        "state",
        "reason",
        "earnedAt",
    ]


async def test_a_levels_reward_names_its_level_and_run_and_no_period(acme: Brand) -> None:
    laps = await acme.define({**STREAK, "offsetDays": 31})
    assert (await laps.enrol(501)).status_code == 200
    await acme.advance("2031-02-20T00:00:00Z")
    laps_done = [event(f"{week}{n}", 501, f"2031-02-{day}") for week, day in ((2, 13), (3, 18)) for n in range(5)]
    await acme.record(*laps_done)

    (badge,) = await acme.rewards(501)

    level = laps.group["streaks"][0]["id"]
    assert (badge["levelId"], badge["periodId"], badge["periodRefCode"], badge["run"]) == (level, None, None, 1)
    assert (badge["kind"], badge["value"], badge["state"]) == ("BADGE", "runner", "issued")


async def pages(brand: Brand, path: str, limit: int) -> list[list[Any]]:
    found, cursor = [], {}
    while True:
        page = await brand.ask("GET", path, params={"limit": str(limit), **cursor})
        assert set(page) == {"data", "next"}
        found.append(page["data"])
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def test_pages_of_any_size_are_the_whole_in_order(acme: Brand, spring: Programme) -> None:
    await acme.define(named("Second", with_target(rewards=KINDS)))
    for n, at in enumerate(("2031-02-01", "2031-02-02", TODAY)):
        await acme.record(purchase(f"p{n}", 501, at, 100))
        await acme.record(purchase(f"p{n}", 502, at, 100))

    for path, count in (("/v1/customers/501/rewards", 6), ("/v1/customers/501/facts", 16)):
        (whole,) = await pages(acme, path, 1000)
        assert len(whole) == count
        for limit in (1, 2, 3, count - 1, count, count + 1):
            found = await pages(acme, path, limit)
            assert [row for page in found for row in page] == whole
            assert len(found) == -(-count // limit)
        assert (await acme.ask("GET", path)) == {"data": whole, "next": None}


async def test_facts_are_oldest_first_and_those_of_one_activity_stand_together(acme: Brand, spring: Programme) -> None:
    (result,) = await acme.record(purchase("a", 501, TODAY, 250))
    await acme.advance("2031-02-13T00:00:00Z")
    await spring.un_enrol(501)

    page = await acme.ask("GET", "/v1/customers/501/facts")

    assert page["data"][: len(result["facts"])] == result["facts"]
    assert [fact["at"] for fact in page["data"]] == sorted(fact["at"] for fact in page["data"])
    assert [fact["name"] for fact in page["data"]][-2:] == ["un_enrolled", "reward_forfeited"]
    assert page["data"][-1]["reason"] is not None


async def test_a_customer_without_anything_has_empty_pages_and_an_unknown_one_none(acme: Brand) -> None:
    for noun in ("rewards", "facts"):
        assert await acme.ask("GET", f"/v1/customers/501/{noun}") == {"data": [], "next": None}
        assert problem(await acme.call("GET", f"/v1/customers/999/{noun}")) == (404, 310011)
        assert problem(await acme.call("GET", f"/v1/customers/0/{noun}")) == (400, 300004)


BIG = "9223372036854775807"
CURSORS = {
    "rewards": ["1.1.1.1", "1.1.1.1.1.1", "x.1.1.1.1", "-1.1.1.1.1", f"1.1.1.1.{2**63}", f"1.1.1.{2**31}.1"],
    "facts": ["1", "1.1.1", "1.x", " 1.1", "1.-1", "1.", ".", "\u0661.1", f"{2**63}.0", f"0.{2**15}"],
}
# Of the form, though no page ever gave them.
PLACES = {"rewards": [f"{BIG}.{BIG}.{BIG}.{2**31 - 1}.{BIG}", "0.0.0.0.0"], "facts": [f"{BIG}.{2**15 - 1}", "0.0"]}


async def test_a_cursor_of_another_form_is_invalid_and_one_of_the_form_is_a_place(acme: Brand) -> None:
    for noun, cursors in CURSORS.items():
        path = f"/v1/customers/501/{noun}"
        for cursor in ("", "next", *cursors, "1" * 5000):
            assert problem(await acme.call("GET", path, params={"cursor": cursor})) == (400, 300004), cursor
        for cursor in PLACES[noun]:
            assert await acme.ask("GET", path, params={"cursor": cursor}) == {"data": [], "next": None}
        for limit in ("0", "1001", "-1", "1.0", "x", "", "1_0", "\u0663"):
            assert problem(await acme.call("GET", path, params={"limit": limit})) == (400, 300004), limit
