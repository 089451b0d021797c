"""The organisation's clock over HTTP: a test clock moves forward and works what falls due; a real one is not moved."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand, problem, purchase, snapshot
from tests.bodies import MILESTONE, milestone

from kosminar.store import clocks

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    yield await open_brand(house, http, "Acme", clock=NOW, zone="Europe/Berlin")


async def advance(brand: Brand, to: object) -> tuple[int, int] | str:
    response = await brand.call("POST", "/v1/clock/advance", {"to": to})
    if not response.is_success:
        return problem(response)
    content = response.json()
    assert set(content) == {"now", "status"}
    assert content["status"] == "ready"
    return content["now"]


async def test_a_test_clock_stands_still_and_moves_forward_only(acme: Brand, wall) -> None:
    assert await acme.ask("GET", "/v1/clock") == {"now": "2031-02-12T12:00:00Z", "testClock": True}
    wall.advance(days=3650)
    assert (await acme.ask("GET", "/v1/clock"))["now"] == "2031-02-12T12:00:00Z"

    assert await advance(acme, "2031-02-12T12:00:00Z") == "2031-02-12T12:00:00Z"
    assert await advance(acme, "2031-02-12T11:59:59.999Z") == (409, 390016)
    assert await advance(acme, "2031-02-12T12:00:00.001Z") == "2031-02-12T12:00:00.001000Z"
    # A date and an instant without zone are the organisation's; elsewhere it is still yesterday.
    assert await advance(acme, "2031-02-13") == "2031-02-12T23:00:00Z"
    assert await advance(acme, "2031-02-13T00:30:00") == "2031-02-12T23:30:00Z"
    assert await advance(acme, "2031-02-13T00:30:00+05:30") == (409, 390016)
    assert (await acme.ask("GET", "/v1/clock"))["now"] == "2031-02-12T23:30:00Z"


async def test_a_real_clock_goes_with_the_wall_and_is_never_moved(house, http, wall) -> None:
    real = await open_brand(house, http, "Real")

    assert await real.ask("GET", "/v1/clock") == {"now": "2026-03-02T09:30:00Z", "testClock": False}
    wall.advance(seconds=90)
    assert (await real.ask("GET", "/v1/clock"))["now"] == "2026-03-02T09:31:30Z"
    before = await snapshot(house)
    for to in ("2026-03-02T09:31:30Z", "2027-01-01", "2020-01-01"):
        assert await advance(real, to) == (409, 390016)
    assert await snapshot(house) == before


async def test_each_organisation_has_its_own_clock_a_child_too(house, http, acme: Brand) -> None:
    child = await open_brand(house, http, "North", clock=NOW, parent_id=acme.organisation_id)

    assert await advance(child, "2031-06-01T00:00:00Z") == "2031-06-01T00:00:00Z"

    assert (await acme.ask("GET", "/v1/clock"))["now"] == "2031-02-12T12:00:00Z"


async def test_advancing_answers_when_everything_due_is_done_and_may_be_repeated(acme: Brand) -> None:
    await acme.define(MILESTONE)
    await acme.register(501)
    await acme.record(purchase("a", 501, "2031-02-12T09:00:00Z", 250))

    assert await advance(acme, "2031-02-28T23:00:00Z") == "2031-02-28T23:00:00Z"
    (reward,) = await acme.rewards(501)
    assert (reward["state"], reward["periodRefCode"], reward["earnedAt"]) == (
        "issued",
        "Cycle_2",
        "2031-02-28T23:00:00Z",
    )
    before = await snapshot(acme.house)
    assert await advance(acme, "2031-02-28T23:00:00Z") == "2031-02-28T23:00:00Z"
    assert await snapshot(acme.house) == before


async def test_a_call_that_was_cut_off_between_two_due_instants_is_finished_by_the_next(acme: Brand) -> None:
    await acme.define(MILESTONE)
    await acme.register(501)
    await acme.record(purchase("a", 501, "2031-02-12T09:00:00Z", 250))
    async with acme.house.pool.acquire() as connection:
        await clocks.move(connection, acme.organisation_id, datetime(2031, 2, 28, 23, tzinfo=UTC))

    assert await acme.rewards(501) == []
    assert await advance(acme, "2031-02-28T23:00:00Z") == "2031-02-28T23:00:00Z"

    assert [reward["state"] for reward in await acme.rewards(501)] == ["issued"]


async def test_of_two_at_once_one_waits_and_nothing_is_done_twice(acme: Brand) -> None:
    await acme.define(milestone(totalPeriods=12))
    await acme.register(501)
    await acme.record(purchase("a", 501, "2031-02-12T09:00:00Z", 250))
    instants = [f"2031-{month:02}-15T00:00:00Z" for month in range(3, 11)]

    answers = await asyncio.gather(*(advance(acme, to) for to in instants * 2))

    assert {answer for answer in answers if answer != (409, 390016)} <= set(instants)
    assert answers[7] == answers[15] == instants[-1]
    assert [reward["state"] for reward in await acme.rewards(501)] == ["issued"]
    assert (await acme.ask("GET", "/v1/clock"))["now"] == instants[-1]


BODIES = [b"{}", b'{"to": null}', b'{"to": 5}', b'{"to": ""}', b'{"to": "tomorrow"}', b'{"to": "2031-02-30"}']
BODIES += [b'{"to": "12031-01-01"}', b'{"to": "2031-02-13T25:00:00Z"}', b"[]", b"", b'["2031-02-13"]', b"2031"]


async def test_what_is_no_instant_is_invalid_input_and_moves_nothing(acme: Brand) -> None:
    before = await snapshot(acme.house)
    for body in BODIES:
        assert problem(await acme.call("POST", "/v1/clock/advance", body)) == (400, 300004), body
    assert await snapshot(acme.house) == before


async def test_a_clock_at_the_end_of_time_still_answers(acme: Brand) -> None:
    last = datetime(2199, 12, 31, 12, tzinfo=UTC)
    spring = await acme.define(MILESTONE)
    await acme.register(501)
    assert (await spring.enrol(501)).status_code == 200

    furthest = await advance(acme, (last + timedelta(hours=1)).isoformat())

    assert furthest == "2199-12-31T13:00:00Z"
    assert (await spring.un_enrol(501)).json()["errors"][0]["code"] == 310019
    results = await acme.record(purchase("a", 501, "2199-12-31T13:04:00Z", 1))
    assert [result["status"] for result in results] == ["accepted"]
    assert (await acme.call("GET", "/users/501/targetGroups")).status_code == 200
