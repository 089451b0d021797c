"""One bill of one customer over the compatible API: recorded once, named by any identifier, a conflict told."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, codes, open_brand, snapshot
from tests.bodies import with_target

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
BILL = {"type": "REGULAR", "billNumber": "B-1", "billAmount": 250, "billingDate": "2031-02-12T09:00:00Z"}


def bill(**overrides: Any) -> dict[str, Any]:
    merged = {**BILL, **overrides}
    return {name: value for name, value in merged.items() if value is not ...}


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    brand = await open_brand(house, http, "Acme", clock=NOW, zone="Europe/Berlin")
    customers = [{"customerId": 501, "externalId": "x-1", "mobile": "+49 170", "email": "Ana@x.org"}]
    await brand.ask("POST", "/v1/customers", {"customers": [*customers, {"customerId": 502}]})
    yield brand


async def post(brand: Brand, body: Any, name: str = "id", value: str = "501", **query: str) -> Any:
    params = {"identifierName": name, "identifierValue": value, **query}
    return await brand.call("POST", "/v2/transactions", body, params=params)


async def recorded(brand: Brand, body: Any, name: str = "id", value: str = "501", **query: str) -> dict[str, Any]:
    response = await post(brand, body, name, value, **query)
    assert response.status_code == 200, response.text
    content = response.json()
    assert set(content) == {"createdId", "warnings", "errors", "sideEffects"}
    assert content["errors"] == []
    return content


async def test_a_bill_is_recorded_and_tells_what_it_brought_about(acme: Brand) -> None:
    spring = await acme.define(with_target())

    content = await recorded(acme, bill(grossAmount="300.5", discount=50.5, source="ignored", lineItemsV2=[{}]))

    assert (type(content["createdId"]), content["warnings"]) == (int, [])
    assert [fact["name"] for fact in content["sideEffects"]] == ["enrolled", "progressed", "achieved"]
    assert content["sideEffects"][1]["value"] == 250
    assert {fact["targetGroupId"] for fact in content["sideEffects"]} == {spring.target_group_id}
    row = await acme.house.pool.fetchrow("SELECT activity_id, attributes::text FROM journal")
    assert row["activity_id"] == "bill:B-1"
    assert row["attributes"] == ('{"amount": 250.000, "discount": 50.500, "billNumber": "B-1", "grossAmount": 300.500}')


async def test_gross_sales_and_sales_measure_what_the_bill_calls_them(acme: Brand) -> None:
    await acme.define(with_target(targetType="GROSS_SALES"))

    short = await recorded(acme, bill(grossAmount=249.999))
    enough = await recorded(acme, bill(billNumber="B-2", billAmount=0, grossAmount=0.001))

    assert "achieved" not in [fact["name"] for fact in short["sideEffects"]]
    assert "achieved" in [fact["name"] for fact in enough["sideEffects"]]


async def test_a_customer_is_named_by_any_identifier_of_any_source(acme: Brand) -> None:
    names = [("externalId", "x-1"), ("mobile", "49170"), ("mobile", "+49170"), ("email", "ANA@X.ORG"), ("id", "00501")]

    for number, (name, value) in enumerate(names):
        await recorded(acme, bill(billNumber=f"B-{number}"), name, value, source="wechat")

    owners = await acme.house.pool.fetch("SELECT customer_id FROM journal")
    assert [row["customer_id"] for row in owners] == [501] * len(names)


async def test_a_repeated_bill_is_answered_alike_and_counted_once(acme: Brand) -> None:
    await acme.define(with_target())
    first = await recorded(acme, bill())
    before = await snapshot(acme.house)

    again = await recorded(
        acme, bill(billAmount="250.000", billingDate="2031-02-12T10:00:00+01:00"), "email", "ana@x.org"
    )

    assert (again["createdId"], again["warnings"], again["sideEffects"]) == (first["createdId"], [], [])
    assert await snapshot(acme.house) == before
    # Another customer's bill of the same number is another bill.
    other = await recorded(acme, bill(), "id", "502")
    assert other["createdId"] != first["createdId"]


async def test_a_bill_number_with_other_content_is_a_conflict(acme: Brand) -> None:
    await recorded(acme, bill())
    before = await snapshot(acme.house)

    for other in (bill(billAmount=251), bill(discount=0), bill(billingDate="2031-02-12T09:00:01Z")):
        assert codes(await post(acme, other)) == [390005]
    assert await snapshot(acme.house) == before


async def test_a_bill_without_a_date_is_dated_now_and_one_without_zone_in_the_brands(acme: Brand) -> None:
    await recorded(acme, bill(billingDate=...))
    await recorded(acme, bill(billNumber="B-2", billingDate=None))
    await recorded(acme, bill(billNumber="B-3", billingDate="2031-02-12T13:05:00"))

    rows = await acme.house.pool.fetch("SELECT occurred_at FROM journal ORDER BY activity_id")
    assert [row["occurred_at"] for row in rows] == [NOW, NOW, datetime(2031, 2, 12, 12, 5, tzinfo=UTC)]


async def test_an_undated_bill_that_is_sent_again_later_is_the_same_bill(acme: Brand) -> None:
    first = await recorded(acme, bill(billingDate=...))
    await acme.house.closer.advance(acme.organisation_id, NOW + timedelta(hours=1))

    assert (await recorded(acme, bill(billingDate=...)))["createdId"] == first["createdId"]
    assert codes(await post(acme, bill(billingDate=..., billAmount=251))) == [390005]
    assert await acme.house.pool.fetchval("SELECT count(*) FROM journal") == 1


async def test_a_bill_of_the_future_is_refused_and_one_too_late_is_recorded_with_a_warning(acme: Brand) -> None:
    await acme.define(with_target())
    await recorded(acme, bill(billNumber="first", billingDate="2031-02-01"))

    assert codes(await post(acme, bill(billingDate="2031-02-12T12:05:01Z"))) == [390006]
    late = await recorded(acme, bill(billingDate="2031-01-15"))

    assert [warning["code"] for warning in late["warnings"]] == [390007]
    assert late["sideEffects"] == []
    assert (await recorded(acme, bill(billingDate="2031-01-15")))["createdId"] == late["createdId"]


async def test_an_unknown_customer_is_told_and_nothing_recorded(acme: Brand, house, http) -> None:
    globex = await open_brand(house, http, "Globex", clock=NOW)
    await globex.register(900)
    before = await snapshot(house)

    for name, value in (("id", "999"), ("id", "900"), ("externalId", "X-1"), ("mobile", "1"), ("email", "ben@x.org")):
        assert codes(await post(acme, bill(), name, value)) == [310011], (name, value)
    assert await snapshot(house) == before


# A faulty bill, and the paths that the complaints begin with.
FAULTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"type": ...}, ["type"]),
    ({"type": "RETURN"}, ["type"]),
    ({"type": "regular"}, ["type"]),
    ({"type": 1}, ["type"]),
    ({"billNumber": ...}, ["billNumber"]),
    ({"billNumber": 17}, ["billNumber"]),
    ({"billNumber": " "}, ["billNumber"]),
    ({"billNumber": "x" * 51}, ["billNumber"]),
    ({"billAmount": ...}, ["billAmount"]),
    ({"billAmount": None}, ["billAmount"]),
    ({"billingDate": 1_929_000_000_000}, ["billingDate"]),
    ({"billingDate": "12/02/2031"}, ["billingDate"]),
    ({"grossAmount": -0.001}, ["grossAmount"]),
    ({"discount": "1_000"}, ["discount"]),
    (
        {"type": "X", "billNumber": "", "billingDate": "x", "grossAmount": True},
        ["type", "billNumber", "billingDate", "grossAmount"],
    ),
]


async def test_a_faulty_bill_hears_of_every_fault_and_is_not_recorded(acme: Brand) -> None:
    before = await snapshot(acme.house)
    for change, paths in FAULTS:
        response = await post(acme, bill(**change))
        assert codes(response) == [300004] * len(paths), change
        assert [each["message"].partition(":")[0] for each in response.json()["errors"]] == paths
    for amount in (-1, 10**12, "1e3", "", True, [], "NaN", "\u0663"):
        response = await post(acme, bill(billAmount=amount))
        assert set(codes(response)) == {300004}, amount
    for name, value in (
        ("wechat", "x"),
        ("", "x"),
        ("id", "x"),
        ("id", "0"),
        ("mobile", "x"),
        ("email", "x"),
        ("id", ""),
    ):
        assert set(codes(await post(acme, bill(), name, value))) == {300004}, (name, value)
    assert codes(await post(acme, bill(), source="ELSEWHERE")) == [300004]
    assert await snapshot(acme.house) == before


async def test_a_billed_amount_is_complained_of_once(acme: Brand) -> None:
    assert codes(await post(acme, bill(billAmount=-1))) == [300004]
