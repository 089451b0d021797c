"""The same customer, identifier, name or programme used for the first time by many requests at once, over HTTP."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand
from tests.bodies import milestone, named

pytestmark = pytest.mark.asyncio

AT_ONCE = 20
CLOCK = datetime(2031, 1, 15, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def acme(house, http) -> Brand:
    return await open_brand(house, http, "Acme", clock=CLOCK)


async def count(acme: Brand, table: str) -> int:
    async with acme.house.pool.acquire() as connection:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")


async def test_one_customer_is_created_once_by_many_requests_at_once(acme: Brand) -> None:
    body = {"customers": [{"customerId": 7, "externalId": "card-7"}]}

    answers = await asyncio.gather(*(acme.ask("POST", "/v1/customers", body) for _ in range(AT_ONCE)))

    statuses = Counter(answer["results"][0]["status"] for answer in answers)
    assert statuses == {"created": 1, "exists": AT_ONCE - 1}
    assert {answer["results"][0]["customerId"] for answer in answers} == {7}
    assert (await count(acme, "customer"), await count(acme, "customer_identifier")) == (1, 1)


async def test_one_identifier_goes_to_one_of_many_customers_who_claim_it_at_once(acme: Brand) -> None:
    def body(number: int) -> dict:
        return {"customers": [{"customerId": number, "mobile": "+49 170 1234567"}]}

    answers = await asyncio.gather(*(acme.ask("POST", "/v1/customers", body(n)) for n in range(1, AT_ONCE + 1)))

    results = [answer["results"][0] for answer in answers]
    assert Counter(result["status"] for result in results) == {"created": 1, "rejected": AT_ONCE - 1}
    assert {result.get("code") for result in results if result["status"] == "rejected"} == {390017}
    assert (await count(acme, "customer"), await count(acme, "customer_identifier")) == (1, 1)


async def test_one_name_goes_to_one_of_many_programmes(acme: Brand) -> None:
    responses = await asyncio.gather(
        *(acme.call("POST", "/targetGroups", named(name)) for name in ("Spring", "SPRING", "spring") * 5)
    )

    refused = [response.json()["errors"][0]["code"] for response in responses if not response.is_success]
    assert refused == [310069] * (len(responses) - 1)
    assert await count(acme, "definition") == 1


async def test_one_customers_first_activities_at_once_enrol_once_and_all_count(acme: Brand) -> None:
    await acme.define(milestone())
    await acme.register(7)

    def activity(number: int) -> dict:
        attributes = {"amount": 25}
        return {"id": f"a{number}", "customerId": 7, "type": "transaction", "attributes": attributes}

    bodies = [{"activities": [activity(n) | {"occurredAt": "2031-01-15T11:00:00Z"}]} for n in range(AT_ONCE)]
    answers = await asyncio.gather(*(acme.ask("POST", "/v1/activities", body) for body in bodies * 2))

    statuses = Counter(answer["results"][0]["status"] for answer in answers)
    assert statuses == {"accepted": AT_ONCE, "duplicate": AT_ONCE}
    assert (await acme.facts(7)).count("enrolled") == 1
    async with acme.house.pool.acquire() as connection:
        assert await connection.fetchval("SELECT value_thousandths FROM standing") == 25_000 * AT_ONCE


async def test_one_enrolment_is_made_once_by_many_requests_at_once(acme: Brand) -> None:
    spring = await acme.define(milestone())
    await acme.register(7)

    responses = await asyncio.gather(*(spring.enrol(7) for _ in range(AT_ONCE)))

    assert Counter(response.status_code for response in responses) == {200: 1, 400: AT_ONCE - 1}
    refused = {response.json()["errors"][0]["code"] for response in responses if response.status_code == 400}
    assert refused == {310119}
    assert await count(acme, "standing") == 1
