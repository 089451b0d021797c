"""`Idempotency-Key` on every POST: repeated, interrupted, at once, by others, with another body (decision 6)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, Programme, open_brand, problem, purchase, sign_in, snapshot
from tests.bodies import named, streak, with_target

from kosminar.api.app import OPERATIONS
from kosminar.engine.housekeeper import KEPT_FOR, Housekeeper

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
IMMEDIATE = [{"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}]


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    brand = await open_brand(house, http, "Acme", clock=NOW)
    await brand.register(501, 502)
    yield brand


@pytest_asyncio.fixture
async def laps(acme: Brand) -> Programme:
    return await acme.define(streak())


@pytest_asyncio.fixture
async def spring(acme: Brand) -> Programme:
    return await acme.define(with_target(rewards=IMMEDIATE))


async def answers(acme: Brand, path: str, body: Any, count: int = 2) -> list[tuple[int, Any]]:
    """What so many calls under the one key are answered, one after another."""
    responses = [await acme.call("POST", path, body, headers=KEY) for _ in range(count)]
    assert [r.headers.get("Idempotent-Replayed") for r in responses] == [None] + ["true"] * (count - 1)
    assert len({r.headers["Content-Type"] for r in responses}) == 1
    return [(response.status_code, response.json()) for response in responses]


async def test_an_enrolment_repeated_under_its_key_is_answered_as_the_first_time(acme: Brand, laps: Programme) -> None:
    body = [{"customerId": 501}]

    first, second = await answers(acme, laps.path("enroll"), body)

    assert first == second == (200, {"data": 501, "errors": None, "warnings": None})
    # Without the key it is what it is: a second enrolment.
    assert (await laps.enrol(501)).json()["errors"][0]["code"] == 310119


async def test_a_refusal_is_kept_too(acme: Brand, laps: Programme) -> None:
    first = await acme.call("POST", laps.path("enroll"), [{"customerId": 999}], headers=KEY)
    await acme.register(999)
    second = await acme.call("POST", laps.path("enroll"), [{"customerId": 999}], headers=KEY)

    assert first.json()["errors"][0]["code"] == 310011
    assert second.content == first.content
    assert await acme.facts(999) == []


async def test_every_kind_of_post_is_answered_as_the_first_time_and_done_once(
    acme: Brand, spring: Programme, house
) -> None:
    calls: list[tuple[str, Any]] = [
        (spring.path("enroll"), [{"customerId": 501}]),
        (spring.path("unEnroll"), [{"customerId": 501}]),
        ("/targetGroups", named("Summer", with_target())),
        ("/v1/customers", {"customers": [{"customerId": 801}, {"mobile": "447700900123"}]}),
        ("/v2/customers", {"profiles": [{"identifiers": [{"type": "mobile", "value": "447700900124"}]}]}),
        ("/v1/activities", {"activities": [purchase("a", 502, TODAY, 250), purchase("b", 502, TODAY, "1.50")]}),
        ("/v1/clock/advance", {"to": "2031-02-13T00:00:00Z"}),
    ]

    for number, (path, body) in enumerate(calls):
        key = {"Idempotency-Key": f"call-{number}"}
        first = await acme.call("POST", path, body, headers=key)
        before = await snapshot(house)
        second = await acme.call("POST", path, body, headers=key)

        assert first.is_success, first.text
        assert (second.status_code, second.content) == (first.status_code, first.content), path
        assert await snapshot(house) == before, path


async def test_a_bill_without_a_date_keeps_its_first_answer(acme: Brand, spring: Programme, wall) -> None:
    await acme.ask("POST", "/v1/customers", {"customers": [{"customerId": 503, "mobile": "447700900126"}]})
    path = "/v2/transactions?identifierName=mobile&identifierValue=447700900126&source=INSTORE"
    bill = {"type": "REGULAR", "billNumber": "B-1", "billAmount": 300}

    first, second, third = await answers(acme, path, bill, 3)

    assert first == second == third
    assert first[1]["sideEffects"]
    assert (await acme.facts(503)).count("progressed") == 1


async def test_a_request_that_was_cut_off_before_its_answer_finds_it(acme: Brand, spring: Programme, pool) -> None:
    """Everything is there but the answer as a whole, as if the process had died after the change."""
    body = {"activities": [purchase("a", 501, TODAY, 250), purchase("b", 502, TODAY, 5), {"id": "c"}]}
    first = await acme.call("POST", "/v1/activities", body, headers=KEY)
    await pool.execute("DELETE FROM idempotency_result WHERE number = 0")

    second = await acme.call("POST", "/v1/activities", body, headers=KEY)

    assert second.content == first.content
    assert [result["status"] for result in second.json()["results"]] == ["accepted", "accepted", "rejected"]


async def test_a_request_that_was_cut_off_half_way_is_finished(acme: Brand, spring: Programme, pool) -> None:
    """The first item is saved with its result; of the second there is nothing."""
    await acme.call("POST", "/v1/activities", {"activities": [purchase("b", 502, TODAY, 5)]})
    body = {"activities": [purchase("a", 501, TODAY, 250), purchase("b", 502, TODAY, 5)]}
    await acme.call("POST", "/v1/activities", body, headers=KEY)
    await pool.execute("DELETE FROM idempotency_result WHERE number <> 1")
    await pool.execute("DELETE FROM journal WHERE activity_id = 'b'")

    results = (await acme.call("POST", "/v1/activities", body, headers=KEY)).json()["results"]

    assert [result["status"] for result in results] == ["accepted", "accepted"]
    assert (await acme.facts(501)).count("reward_earned") == 1


async def test_an_item_that_fails_by_our_fault_hides_no_other_and_is_tried_again(
    acme: Brand, spring: Programme, pool
) -> None:
    """The database itself refuses one of the two, as a fault of ours would make it."""
    await pool.execute("ALTER TABLE journal ADD CONSTRAINT a_fault_of_ours CHECK (activity_id <> 'poison')")
    body = {"activities": [purchase("b", 501, TODAY, 1), purchase("poison", 502, TODAY, 1)]}

    spoiled = await acme.call("POST", "/v1/activities", body, headers=KEY)
    await pool.execute("ALTER TABLE journal DROP CONSTRAINT a_fault_of_ours")
    mended = await acme.call("POST", "/v1/activities", body, headers=KEY)

    assert [(one["status"], one["code"]) for one in spoiled.json()["results"]] == [
        ("accepted", None),
        ("rejected", 390014),
    ]
    assert [one["status"] for one in mended.json()["results"]] == ["accepted", "accepted"]


async def test_a_refusal_of_an_unknown_customer_never_stands_for_what_another_did_under_the_key(
    acme: Brand, laps: Programme, house, pool
) -> None:
    """While a first request waits to keep its refusal, the customer is registered, and a second one comes."""
    headers = {"Idempotency-Key": "race"}
    for customer_id in range(7_000, 7_020):
        headers["Idempotency-Key"] = f"race-{customer_id}"
        calls = [
            acme.call("POST", laps.path("enroll"), [{"customerId": customer_id}], headers=dict(headers)),
            acme.register(customer_id),
            acme.call("POST", laps.path("enroll"), [{"customerId": customer_id}], headers=dict(headers)),
        ]
        first, _, second = await asyncio.gather(*calls)

        enrolled = "enrolled" in await acme.facts(customer_id)
        assert first.content == second.content
        assert (first.status_code == 200) == enrolled


async def test_of_many_at_once_one_is_worked_and_all_are_answered_alike(acme: Brand, spring: Programme, laps) -> None:
    for path, body in (
        (laps.path("enroll"), [{"customerId": 501}]),
        ("/v1/activities", {"activities": [purchase("a", 501, TODAY, 250), purchase("b", 502, TODAY, 250)]}),
        ("/targetGroups", named("Summer", with_target())),
        ("/v1/customers", {"customers": [{"email": "ana@example.test"}]}),
    ):
        headers = {"Idempotency-Key": path}

        responses = await asyncio.gather(*(acme.call("POST", path, body, headers=headers) for _ in range(16)))

        assert len({(response.status_code, response.content) for response in responses}) == 1, path
        assert responses[0].is_success, responses[0].text


async def test_another_request_under_the_key_is_refused_and_changes_nothing(
    acme: Brand, laps: Programme, house
) -> None:
    await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY)
    before = await snapshot(house)

    others = [
        await acme.call("POST", laps.path("enroll"), [{"customerId": 502}], headers=KEY),
        await acme.call("POST", laps.path("unEnroll"), [{"customerId": 501}], headers=KEY),
        await acme.call("POST", laps.path("enroll") + "?a=b", [{"customerId": 501}], headers=KEY),
        await acme.call("POST", "/v1/activities", {"activities": []}, headers=KEY),
    ]

    assert [(r.status_code, r.json()["errors"][0]["code"]) for r in others[:3]] == [(409, 390004)] * 3
    assert problem(others[3]) == (409, 390004)
    assert await snapshot(house) == before


async def test_the_prefix_does_not_make_it_another_request_and_the_organisation_does(
    acme: Brand, laps: Programme
) -> None:
    first = await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY)
    second = await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY, prefix="/v3.1")

    assert second.content == first.content


async def test_a_key_belongs_to_its_caller(acme: Brand, laps: Programme, house, http) -> None:
    globex = await open_brand(house, http, "Globex", clock=NOW)
    await globex.register(501)
    theirs = await globex.define(streak())
    colleague = Brand(house, http, acme.organisation_id, await sign_in(house, acme.organisation_id))
    await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY)

    foreign = await globex.call("POST", theirs.path("enroll"), [{"customerId": 501}], headers=KEY)
    next_desk = await colleague.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY)

    assert foreign.json()["data"] == 501
    assert next_desk.json()["errors"][0]["code"] == 310119


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\xe9"])
async def test_a_key_is_visible_ascii_of_limited_length(acme: Brand, laps: Programme, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}

    refused = await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=headers)

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, 300004)
    taken = await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers={"Idempotency-Key": "x" * 255})
    assert taken.status_code == 200


async def test_a_request_that_may_not_be_made_uses_up_no_key(acme: Brand, laps: Programme, pool) -> None:
    stranger = {"Authorization": "Basic bm9ib2R5OnNlY3JldA=="}

    refused = await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers={**KEY, **stranger})

    assert refused.status_code == 401
    assert await pool.fetchval("SELECT count(*) FROM idempotency_key") == 0


async def test_keys_are_kept_for_two_days_and_then_forgotten(acme: Brand, laps: Programme, house, wall, pool) -> None:
    housekeeper = Housekeeper(pool, wall=wall)
    await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY)

    wall.now += KEPT_FOR
    await housekeeper.tidy()
    assert (await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY)).status_code == 200

    wall.advance(milliseconds=1)
    await housekeeper.tidy()
    assert await pool.fetchval("SELECT count(*) FROM idempotency_result") == 0
    again = await acme.call("POST", laps.path("enroll"), [{"customerId": 501}], headers=KEY)
    assert again.json()["errors"][0]["code"] == 310119


async def test_every_post_but_signing_in_takes_a_key() -> None:
    without = {o.path for o in OPERATIONS if o.method == "POST" and o.resource is None}

    assert without == {"/oauth/token/generate", "/oauth/token"}
