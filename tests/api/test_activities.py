"""Activities over HTTP: one result each, in order; recorded once; refused alone, and an id that was refused is free."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, event, open_brand, problem, purchase, snapshot
from tests.bodies import STREAK, named, with_target

from kosminar.core.amount import ID_MAX
from kosminar.engine.intake import ATTRIBUTE_COUNT_MAX

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
# Reached by one purchase, and paid at once.
MILESTONE = with_target(rewards=[{"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}])


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    brand = await open_brand(house, http, "Acme", clock=NOW, zone="Asia/Kolkata")
    await brand.register(501, 502)
    yield brand


def shown(result: dict[str, Any]) -> tuple[str | None, str, int | None]:
    return result["id"], result["status"], result["code"]


async def test_results_come_in_order_with_the_facts_each_brought_about(acme: Brand) -> None:
    spring = await acme.define(MILESTONE)
    period = spring.group["periods"][1]

    results = await acme.record(
        purchase("a", 501, TODAY, 200),
        purchase("a", 502, TODAY, 250),
        purchase("b", 501, TODAY, "50.000"),
        event("c", 501, TODAY, name="walkedBy"),
    )

    assert [shown(result) for result in results] == [
        ("a", "accepted", None),
        ("a", "accepted", None),
        ("b", "accepted", None),
        ("c", "accepted", None),
    ]
    names = [[fact["name"] for fact in result["facts"]] for result in results]
    assert names == [
        ["enrolled", "progressed"],
        ["enrolled", "progressed", "achieved", "reward_earned"],
        ["progressed", "achieved", "reward_earned"],
        [],
    ]
    assert results[2]["facts"][1] == {
        "name": "achieved",
        "at": "2031-02-12T12:00:00Z",
        "targetGroupId": spring.target_group_id,
        "targetId": spring.target_id,
        "periodId": period["id"],
        "levelId": None,
        "value": 250,
        "reason": None,
    }
    assert [(reward["value"], reward["state"]) for reward in await acme.rewards(501)] == [(100, "issued")]


async def test_one_activity_is_counted_by_every_programme_that_hears_it(acme: Brand) -> None:
    await acme.define(MILESTONE)
    await acme.define(named("Twice", MILESTONE))

    (result,) = await acme.record(purchase("a", 501, TODAY, 250))

    assert [fact["name"] for fact in result["facts"]].count("reward_earned") == 2


async def test_the_same_content_is_a_duplicate_however_it_is_written(acme: Brand) -> None:
    first = purchase("a", 501, "2031-02-12T09:00:00Z", 1.0, note={"lines": [1, "2.50"]})
    spelled = [
        first,
        purchase("a", 501, "2031-02-12T09:00:00.000+00:00", "1.00", note={"lines": [1.0, "2.50"]}),
        purchase("a", 501, "2031-02-12 14:30:00", 1, note={"lines": [1e0, "2.50"]}),
    ]

    assert [shown(result) for result in await acme.record(first)] == [("a", "accepted", None)]
    before = await snapshot(acme.house)
    for again in spelled:
        (result,) = await acme.record(again)
        assert (shown(result), result["facts"]) == (("a", "duplicate", None), [])
    assert await snapshot(acme.house) == before


async def test_other_content_is_a_conflict_and_within_one_request_too(acme: Brand) -> None:
    first = purchase("a", 501, TODAY, 1)
    others = [
        purchase("a", 501, TODAY, 2),
        purchase("a", 501, TODAY, 1, billNumber="7"),
        purchase("a", 501, "2031-02-12T09:00:00.001Z", 1),
        {**event("a", 501, TODAY), "attributes": first["attributes"]},
    ]

    results = await acme.record(first, first, *others, purchase("a", 502, TODAY, 9))

    assert [shown(result) for result in results] == [
        ("a", "accepted", None),
        ("a", "duplicate", None),
        *[("a", "rejected", 390005)] * 4,
        ("a", "accepted", None),
    ]
    assert "other content" in results[2]["message"]


async def test_future_and_unknown_customers_are_rejected_and_leave_the_id_free(acme: Brand) -> None:
    results = await acme.record(
        purchase("edge", 501, "2031-02-12T12:05:00Z", 1),
        purchase("a", 501, "2031-02-12T12:05:00.000001Z", 1),
        purchase("b", 777, TODAY, 1),
    )
    assert [shown(result) for result in results] == [
        ("edge", "accepted", None),
        ("a", "rejected", 390006),
        ("b", "rejected", 310011),
    ]

    again = await acme.record(purchase("a", 501, TODAY, 99))
    await acme.register(777)
    known = await acme.record(purchase("b", 777, TODAY, 1))

    assert [shown(result) for result in (*again, *known)] == [("a", "accepted", None), ("b", "accepted", None)]


async def test_what_is_too_late_for_all_that_would_count_it_is_accepted_and_says_so(acme: Brand) -> None:
    await acme.define({**MILESTONE, "offsetDays": 3})
    await acme.record(purchase("first", 501, "2031-02-01T12:00:00Z", 1))
    # January is over; its milestone took late purchases for three days of the brand's zone.
    late = [purchase(name, 501, "2031-01-31T12:00:00Z", 1) for name in "abc"]
    await acme.register(503)

    assert [shown(result) for result in await acme.record(late[0])] == [("a", "accepted", 390007)]
    assert [shown(result) for result in await acme.record(late[0])] == [("a", "duplicate", None)]
    # Heard by nobody is not late.
    assert [shown(result) for result in await acme.record(event("e", 501, "2030-01-01", "x"))] == [
        ("e", "accepted", None)
    ]
    # One programme still takes it.
    await acme.define({**named("Patient", MILESTONE), "offsetDays": 31})
    assert [shown(result) for result in await acme.record(late[1])] == [("b", "accepted", None)]


async def test_an_instant_without_zone_is_in_the_organisations(acme: Brand) -> None:
    # Now is half past five in the afternoon in Kolkata.
    results = await acme.record(
        purchase("a", 501, "2031-02-12T17:35:00", 1), purchase("b", 501, "2031-02-12T17:35:01", 1)
    )

    assert [shown(result) for result in results] == [("a", "accepted", None), ("b", "rejected", 390006)]


# A faulty field, and the paths that the message names.
FAULTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"id": None}, ["id"]),
    ({"id": ""}, ["id"]),
    ({"id": 7}, ["id"]),
    ({"id": "x" * 101}, ["id"]),
    ({"customerId": None}, ["customerId"]),
    ({"customerId": "501"}, ["customerId"]),
    ({"customerId": 501.0}, ["customerId"]),
    ({"customerId": True}, ["customerId"]),
    ({"customerId": 0}, ["customerId"]),
    ({"customerId": ID_MAX + 1}, ["customerId"]),
    ({"type": None}, ["type"]),
    ({"type": "x" * 101}, ["type"]),
    ({"occurredAt": None}, ["occurredAt"]),
    ({"occurredAt": 1_929_000_000}, ["occurredAt"]),
    ({"occurredAt": "yesterday"}, ["occurredAt"]),
    ({"occurredAt": "2031-02-30"}, ["occurredAt"]),
    ({"occurredAt": "0001-01-01"}, ["occurredAt"]),
    ({"occurredAt": "99999-01-01"}, ["occurredAt"]),
    ({"attributes": []}, ["attributes"]),
    ({"attributes": {str(n): n for n in range(ATTRIBUTE_COUNT_MAX + 1)}}, ["attributes"]),
    ({"attributes": {"amount": -1}}, ["attributes.amount"]),
    ({"attributes": {"amount": 10**12}}, ["attributes.amount"]),
    ({"attributes": {"grossAmount": "1_000"}}, ["attributes.grossAmount"]),
    ({"attributes": {"discount": True, "amount": "NaN"}}, ["attributes.amount", "attributes.discount"]),
    ({"id": "", "customerId": "x", "occurredAt": ""}, ["id", "occurredAt", "customerId"]),
]


async def test_a_faulty_item_is_rejected_alone_and_names_every_fault(acme: Brand) -> None:
    before = await snapshot(acme.house)
    items = [{**purchase("a", 501, TODAY, 1), **change} for change, _ in FAULTS]
    results = await acme.record(*items, "no object", None, [])

    for index, ((change, paths), result) in enumerate(zip(FAULTS, results, strict=False)):
        assert (result["status"], result["code"], result["facts"]) == ("rejected", 300004, []), change
        named_paths = [part.partition(":")[0] for part in result["message"].split("; ")]
        assert named_paths == [f"activities[{index}].{path}" for path in paths]
        assert result["id"] == (items[index]["id"] if isinstance(items[index]["id"], str) else None)
    assert [shown(result) for result in results[len(FAULTS) :]] == [(None, "rejected", 300004)] * 3
    assert await snapshot(acme.house) == before

    mixed = await acme.record("no object", purchase("good", 501, TODAY, 1), {**purchase("a", 501, TODAY, 1), "id": 1})
    assert [result["status"] for result in mixed] == ["rejected", "accepted", "rejected"]


async def test_attributes_are_kept_exactly_whatever_they_hold(acme: Brand) -> None:
    wide = {str(n): n for n in range(ATTRIBUTE_COUNT_MAX)}
    values = [10**40, 1.5, "é\U0001f3c3", [[{"a": None}]], True, "-0", "  ", {"": ""}, -(10**18), 1e-30]
    results = await acme.record(
        {**event("wide", 501, TODAY), "attributes": wide},
        *({**event(f"v{n}", 501, TODAY), "attributes": {"x": value}} for n, value in enumerate(values)),
        {**event("none", 501, TODAY), "attributes": None},
    )

    assert {result["status"] for result in results} == {"accepted"}
    rows = await acme.house.pool.fetch("SELECT activity_id, attributes->>'x' AS x FROM journal")
    kept = {row["activity_id"]: row["x"] for row in rows}
    assert (kept["v0"], kept["v2"], kept["v6"]) == (str(10**40), "é\U0001f3c3", "  ")


async def test_a_request_has_one_to_a_thousand_activities(acme: Brand) -> None:
    items = [event(str(n), 501 + n % 2, TODAY) for n in range(1_000)]

    results = await acme.record(*items)

    assert [result["id"] for result in results] == [item["id"] for item in items]
    assert {result["status"] for result in results} == {"accepted"}
    for body in ({"activities": [*items, items[0]]}, {"activities": []}, {"activities": {}}, {}, []):
        assert problem(await acme.call("POST", "/v1/activities", body)) == (400, 300004)


async def test_a_streak_counts_events_of_its_name_only(acme: Brand) -> None:
    laps = await acme.define(STREAK)
    assert (await laps.enrol(501)).status_code == 200

    results = await acme.record(*(event(f"l{n}", 501, TODAY) for n in range(4)), event("x", 501, TODAY, "lapdone"))

    assert [fact["name"] for fact in results[3]["facts"]] == ["progressed", "achieved"]
    assert results[4]["facts"] == []
