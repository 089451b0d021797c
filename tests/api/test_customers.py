"""Registering and finding customers over HTTP, on both surfaces, through the real application."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from kosminar.api.app import build_app
from kosminar.core.access import Level, Resource
from kosminar.core.amount import ID_MAX
from kosminar.engine.use_cases.clients import create_client, create_organisation
from kosminar.settings import Settings
from kosminar.store import clients, customers
from kosminar.wiring import open_house

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 3, 1, 12, tzinfo=UTC)
PAST = datetime(2030, 5, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def house(database_url):
    async with open_house(Settings.read({}), database_url, wall=lambda: NOW) as house:
        yield house


class Brand:
    """An organisation and a client of it."""

    def __init__(self, house, http: httpx2.AsyncClient, organisation_id: int) -> None:
        self.house = house
        self.http = http
        self.organisation_id = organisation_id

    async def register(self, *items: Any) -> list[dict[str, Any]]:
        answer = await self.http.post("/v1/customers", content=json.dumps({"customers": items}), headers=AS_JSON)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    async def register_profile(self, **identifiers: Any) -> httpx2.Response:
        return await self.post_profiles(profile(**identifiers))

    async def post_profiles(self, *profiles: Any) -> httpx2.Response:
        return await self.http.post("/v2/customers", json={"profiles": profiles})

    async def look_up(self, **query: Any) -> httpx2.Response:
        return await self.http.get("/v2/customers/lookup", params=query)

    async def customer_count(self) -> int:
        count = "SELECT count(*) FROM customer WHERE organisation_id = $1"
        return await self.house.pool.fetchval(count, self.organisation_id)

    async def claim_count(self) -> int:
        count = "SELECT count(*) FROM customer_identifier WHERE organisation_id = $1"
        return await self.house.pool.fetchval(count, self.organisation_id)


AS_JSON = {"Content-Type": "application/json"}


def profile(**identifiers: Any) -> dict[str, Any]:
    listed = [{"type": name, "value": value} for name, value in identifiers.items()]
    return {"firstName": "Ana", "lastName": "Ek", "identifiers": listed, "source": "INSTORE"}


@pytest_asyncio.fixture
async def open_brand(house) -> AsyncIterator[Callable]:
    transport = httpx2.ASGITransport(app=build_app(house))
    opened = []

    async def open_brand(name: str, *, grants=None, test_clock_at: datetime | None = None) -> Brand:
        group_name = "default"
        async with house.pool.acquire() as connection:
            organisation_id = await create_organisation(
                connection, name=name, zone="Europe/London", now=NOW, test_clock_at=test_clock_at
            )
            if grants is not None:
                group_name = "few"
                await clients.insert_access_group(
                    connection, organisation_id, name=group_name, grants=grants, built_in=False, now=NOW
                )
            made = await create_client(
                connection,
                organisation_id=organisation_id,
                random_bytes=os.urandom,
                now=NOW,
                access_group_name=group_name,
            )
        http = httpx2.AsyncClient(
            transport=transport, base_url="http://kosminar.test", auth=(made.username, made.password)
        )
        opened.append(http)
        return Brand(house, http, organisation_id)

    yield open_brand
    for http in opened:
        await http.aclose()


@pytest_asyncio.fixture
async def acme(open_brand) -> Brand:
    return await open_brand("acme")


@pytest_asyncio.fixture
async def globex(open_brand) -> Brand:
    return await open_brand("globex")


async def test_customers_are_answered_one_by_one_and_in_order(acme) -> None:
    results = await acme.register(
        {"customerId": 7, "externalId": "A", "mobile": "+44 20", "email": "Ana@x.org", "firstName": "Ana"},
        {"email": "ben@x.org"},
        {"email": "ANA@x.org"},
        {"customerId": 8, "email": "ana@x.org"},
        {"customerId": "8"},
        "cy",
        {"customerId": ID_MAX},
    )

    assert results == [
        {"customerId": 7, "status": "created", "code": None, "message": None},
        {"customerId": 10**9, "status": "created", "code": None, "message": None},
        {"customerId": 7, "status": "exists", "code": None, "message": None},
        {
            "customerId": None,
            "status": "rejected",
            "code": 390017,
            "message": "An identifier belongs to another customer; nothing changed.",
        },
        {
            "customerId": None,
            "status": "rejected",
            "code": 300004,
            "message": f"customers[4].customerId: must be a whole number from 1 to {ID_MAX}",
        },
        {"customerId": None, "status": "rejected", "code": 300004, "message": "customers[5]: must be an object"},
        {"customerId": ID_MAX, "status": "created", "code": None, "message": None},
    ]
    assert await acme.customer_count() == 3


async def test_a_repeated_request_changes_nothing(acme) -> None:
    first = await acme.register({"email": "ana@x.org"}, {"externalId": "B"})
    again = await acme.register({"email": "ana@x.org"}, {"externalId": "B"})

    assert [result["customerId"] for result in again] == [result["customerId"] for result in first]
    assert {result["status"] for result in again} == {"exists"}
    assert (await acme.customer_count(), await acme.claim_count()) == (2, 2)


# A faulty customer, and the field that is wrong; none if it is the customer as a whole.
FAULTY_CUSTOMERS = [
    ({}, ""),
    ({"firstName": "Ana"}, ""),
    (None, ""),
    ([], ""),
    (7, ""),
    ({"customerId": 0}, "customerId"),
    ({"customerId": -1}, "customerId"),
    ({"customerId": 2**63}, "customerId"),
    ({"customerId": 10**400}, "customerId"),
    ({"customerId": 1.0}, "customerId"),
    ({"customerId": True}, "customerId"),
    ({"customerId": [1]}, "customerId"),
    ({"customerId": 1, "externalId": ""}, "externalId"),
    ({"customerId": 1, "externalId": 5}, "externalId"),
    ({"customerId": 1, "externalId": "x" * 300}, "externalId"),
    ({"customerId": 1, "mobile": "0" * 300}, "mobile"),
    ({"customerId": 1, "mobile": "n/a"}, "mobile"),
    ({"customerId": 1, "mobile": 447946000000}, "mobile"),
    ({"customerId": 1, "email": "ana@" + "x" * 296}, "email"),
    ({"customerId": 1, "email": "none"}, "email"),
    ({"customerId": 1, "email": {"value": "ana@x.org"}}, "email"),
    ({"customerId": 1, "firstName": "x" * 300}, "firstName"),
    ({"customerId": 1, "firstName": " "}, "firstName"),
    ({"customerId": 1, "lastName": False}, "lastName"),
]


async def test_a_faulty_customer_is_rejected_alone(acme) -> None:
    *faulty, good = await acme.register(*(item for item, _ in FAULTY_CUSTOMERS), {"externalId": "B"})

    for index, ((_, name), result) in enumerate(zip(FAULTY_CUSTOMERS, faulty, strict=True)):
        assert (result["customerId"], result["status"], result["code"]) == (None, "rejected", 300004)
        path = f"customers[{index}].{name}" if name else f"customers[{index}]"
        assert result["message"].startswith(f"{path}: must ")
    assert good["status"] == "created"
    assert (await acme.customer_count(), await acme.claim_count()) == (1, 1)


async def test_a_faulty_customer_hears_of_every_fault(acme) -> None:
    (result,) = await acme.register({"customerId": "1", "email": "none"})

    assert [part.split(":")[0] for part in result["message"].split("; ")] == [
        "customers[0].customerId",
        "customers[0].email",
    ]


NO_LISTS_OF_CUSTOMERS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'[{"customerId": 1}]',
    b"{}",
    b'{"customers": null}',
    b'{"customers": {}}',
    b'{"customers": "all"}',
    b'{"customers": []}',
    b'{"customers": [{"customerId": NaN}]}',
    b'{"customers": [{"customerId": 1_000}]}',
    b'{"customers": [{"customerId": 1, "externalId": "a\\u0000b"}]}',
    b'{"customers": [{"customerId": 1, "externalId": "\\ud800"}]}',
    b'{"customers": [{"customerId": 1, "externalId": "\xff"}]}',
    b'{"customers": [{"customerId": 1, "customerId": 2}]}',
    b'{"customers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


async def test_what_is_no_list_of_customers_is_refused_as_a_whole(acme) -> None:
    for body in NO_LISTS_OF_CUSTOMERS:
        answer = await acme.http.post("/v1/customers", content=body, headers=AS_JSON)

        assert answer.status_code == 400, body[:100]
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == 300004
    assert await acme.customer_count() == 0


async def test_a_request_has_up_to_a_thousand_customers(acme) -> None:
    one_too_many = [{"customerId": number} for number in range(1, 1002)]

    refused = await acme.http.post("/v1/customers", json={"customers": one_too_many})
    results = await acme.register(*one_too_many[:1000])

    assert (refused.status_code, refused.json()["code"]) == (400, 300004)
    assert refused.json()["detail"] == "customers: must be an array of 1 to 1000 objects"
    assert [result["customerId"] for result in results] == list(range(1, 1001))
    assert await acme.customer_count() == 1000


async def test_a_customer_is_dated_by_the_organisations_clock(open_brand, house, acme) -> None:
    walked = await open_brand("walked", test_clock_at=PAST)

    for brand, now in ((acme, NOW), (walked, PAST)):
        await brand.register({"customerId": 7})
        async with house.pool.acquire() as connection:
            shown = await customers.find(connection, brand.organisation_id, 7)
        assert shown.created_at == now


async def test_a_profile_is_registered_and_found_by_each_of_its_identifiers(acme) -> None:
    created = await acme.register_profile(mobile="+44 20 7946", email="Ana@x.org", externalId="A")
    customer_id = created.json()["createdId"]

    assert (created.status_code, created.json()) == (200, {"createdId": customer_id, "warnings": []})
    for name, value in {"mobile": "+44207946", "email": "ana@X.ORG", "externalId": "A", "id": customer_id}.items():
        found = await acme.look_up(source="INSTORE", identifierName=name, identifierValue=value)
        assert (found.status_code, found.json()) == (200, {"entity": customer_id, "warnings": []})


async def test_a_profile_that_exists_is_answered_with_the_same_id_and_a_warning(acme) -> None:
    created = await acme.register_profile(mobile="44", email="ana@x.org")
    again = await acme.register_profile(email="ANA@x.org", externalId="new")

    assert again.status_code == 200
    assert again.json()["createdId"] == created.json()["createdId"]
    (warning,) = again.json()["warnings"]
    assert warning.keys() == {"code", "message"}
    assert (await acme.customer_count(), await acme.claim_count()) == (1, 2)


async def test_a_profile_with_identifiers_of_two_customers_is_refused(acme) -> None:
    await acme.register_profile(mobile="44")
    await acme.register_profile(email="ana@x.org")

    answer = await acme.register_profile(mobile="44", email="ana@x.org")

    assert answer.status_code == 400
    assert answer.json() == {
        "data": None,
        "errors": [{"code": 390017, "message": "An identifier belongs to another customer; nothing changed."}],
        "warnings": None,
    }


FAULTY_PROFILES = [
    (None, ""),
    ([], ""),
    ({}, "profiles"),
    ({"profiles": []}, "profiles"),
    ({"profiles": {}}, "profiles"),
    ({"profiles": [profile(mobile="1"), profile(mobile="2")]}, "profiles"),
    ({"profiles": [7]}, "profiles[0]"),
    ({"profiles": [{"firstName": "Ana"}]}, "profiles[0].identifiers"),
    ({"profiles": [profile()]}, "profiles[0].identifiers"),
    ({"profiles": [{"identifiers": ["44"]}]}, "profiles[0].identifiers[0]"),
    ({"profiles": [{"identifiers": [{"type": "mobile", "value": "4"}] * 2}]}, "profiles[0].identifiers"),
    ({"profiles": [{"identifiers": [{"type": "mobile", "value": "4"}] * 4}]}, "profiles[0].identifiers"),
    ({"profiles": [{"identifiers": [{"type": "fax", "value": "44"}]}]}, "profiles[0].identifiers[0].type"),
    ({"profiles": [{"identifiers": [{"value": "44"}]}]}, "profiles[0].identifiers[0].type"),
    ({"profiles": [{"identifiers": [{"type": "mobile"}]}]}, "profiles[0].identifiers[0].value"),
    ({"profiles": [profile(mobile=44)]}, "profiles[0].identifiers[0].value"),
    ({"profiles": [profile(mobile="4" * 300)]}, "profiles[0].identifiers[0].value"),
    ({"profiles": [profile(email="none")]}, "profiles[0].identifiers[0].value"),
    ({"profiles": [profile(externalId="x" * 300)]}, "profiles[0].identifiers[0].value"),
    ({"profiles": [profile(mobile="4") | {"firstName": "x" * 300}]}, "profiles[0].firstName"),
    ({"profiles": [profile(mobile="4") | {"lastName": 7}]}, "profiles[0].lastName"),
    ({"profiles": [profile(mobile="4") | {"source": "MOON"}]}, "profiles[0].source"),
]


async def test_a_faulty_profile_is_refused(acme) -> None:
    for body, path in FAULTY_PROFILES:
        answer = await acme.http.post("/v2/customers", json=body)

        assert (answer.status_code, answer.json()["data"]) == (400, None), body
        (error,) = answer.json()["errors"]
        assert error["code"] == 300004
        assert error["message"].startswith(f"{path}: " if path else "The body ")
    assert await acme.customer_count() == 0


async def test_a_profile_with_text_that_cannot_be_stored_is_refused(acme) -> None:
    for value in (b"\\u0000", b"\\ud800", b"\xff"):
        body = b'{"profiles": [{"identifiers": [{"type": "externalId", "value": "' + value + b'"}]}]}'
        answer = await acme.http.post("/v2/customers", content=body, headers=AS_JSON)

        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 300004), body


async def test_a_source_changes_nothing(acme) -> None:
    ids = set()
    for source in ({"source": "instore"}, {"source": "WECHAT"}, {}):
        created = await acme.post_profiles(profile(mobile="44") | {"source": None} | source)
        found = await acme.look_up(**source, identifierName="mobile", identifierValue="44")
        ids |= {created.json()["createdId"], found.json()["entity"]}

    assert len(ids) == 1


async def test_an_unknown_customer_is_not_found(acme) -> None:
    for name, value in (("mobile", "45"), ("externalId", "\U0001f600"), ("id", "7"), ("id", str(ID_MAX))):
        answer = await acme.look_up(identifierName=name, identifierValue=value)

        assert (answer.status_code, answer.json()["data"]) == (400, None)
        assert [error["code"] for error in answer.json()["errors"]] == [310011]


FAULTY_LOOKUPS = [
    "",
    "identifierName=mobile",
    "identifierValue=44",
    "identifierName=mobile&identifierValue=",
    "identifierName=mobile&identifierValue=none",
    "identifierName=fax&identifierValue=44",
    "identifierName=id&identifierValue=-1",
    "identifierName=id&identifierValue=1.0",
    f"identifierName=id&identifierValue={2**63}",
    f"identifierName=externalId&identifierValue={'x' * 300}",
    "identifierName=externalId&identifierValue=%00",
    "identifierName=externalId&identifierValue=%ff",
    "identifierName=externalId&identifierValue=%ed%a0%80",
    "source=MOON&identifierName=mobile&identifierValue=44",
]


async def test_a_faulty_lookup_is_refused(acme) -> None:
    for query in FAULTY_LOOKUPS:
        answer = await acme.http.get(f"/v2/customers/lookup?{query}")

        assert (answer.status_code, answer.json()["data"]) == (400, None), query
        assert {error["code"] for error in answer.json()["errors"]} == {300004}


async def test_the_same_customer_in_two_organisations_never_meets(acme, globex) -> None:
    ana = {"customerId": 7, "externalId": "A", "mobile": "44", "email": "ana@x.org"}
    assert [result["status"] for result in await acme.register(ana)] == ["created"]

    for name, value in (("id", "7"), ("externalId", "A"), ("mobile", "44"), ("email", "ana@x.org")):
        missed = await globex.look_up(identifierName=name, identifierValue=value)
        assert missed.json()["errors"][0]["code"] == 310011
    assert [result["status"] for result in await globex.register(ana | {"customerId": 8})] == ["created"]
    found = [await brand.look_up(identifierName="email", identifierValue="ana@x.org") for brand in (acme, globex)]

    assert [answer.json()["entity"] for answer in found] == [7, 8]


async def test_scope_headers_are_not_read(acme, globex) -> None:
    headers = {"DATA-SCOPE": "OTHER", "DATA-SCOPE-ORG": str(globex.organisation_id)}

    await acme.http.post("/v2/customers", json={"profiles": [profile(mobile="44")]}, headers=headers)
    await acme.http.post("/v1/customers", json={"customers": [{"customerId": 7}]}, headers=headers)

    assert (await acme.customer_count(), await globex.customer_count()) == (2, 0)


@pytest.mark.parametrize(("level", "looks_up", "registers"), [(Level.NONE, 403, 403), (Level.READ, 400, 403)])
async def test_reading_takes_read_and_registering_takes_write(open_brand, level, looks_up, registers) -> None:
    brand = await open_brand("initech", grants={Resource.CUSTOMERS: level})

    assert (await brand.look_up(identifierName="id", identifierValue="7")).status_code == looks_up
    assert (await brand.register_profile(mobile="44")).status_code == registers
    assert (await brand.http.post("/v1/customers", json={"customers": [{"customerId": 7}]})).status_code == registers
    assert await brand.customer_count() == 0


async def test_both_surfaces_register_the_same_customer_once(acme) -> None:
    answers = await asyncio.gather(
        *(acme.register_profile(email="ana@x.org") for _ in range(8)),
        *(acme.register({"email": "ana@x.org"}) for _ in range(8)),
    )

    ids = {answer[0]["customerId"] if isinstance(answer, list) else answer.json()["createdId"] for answer in answers}
    assert len(ids) == 1
    assert (await acme.customer_count(), await acme.claim_count()) == (1, 1)
