"""Rate limits: a bucket for each client, off unless the operator wants it, told in header fields on every answer."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand

from kosminar.api import limits
from kosminar.api.app import OPERATIONS, build_app
from kosminar.api.limits import RateLimit, TooManyRequests
from kosminar.api.openapi import document
from kosminar.core.access import Caller
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ANA, BEN = Caller(1, "ana", {}), Caller(1, "ben", {})
STRANGER = Caller(2, "ana", {})
PER_MINUTE = 3


@pytest_asyncio.fixture
async def acme(limited: httpx2.AsyncClient, house: House) -> Brand:
    return await open_brand(house, limited, "Acme")


@pytest_asyncio.fixture
async def limited(house: House):
    object.__setattr__(house.settings, "rate_limit_per_minute", PER_MINUTE)
    transport = httpx2.ASGITransport(app=build_app(house))
    async with httpx2.AsyncClient(transport=transport, base_url="http://kosminar.test") as client:
        yield client


def told(response: httpx2.Response) -> tuple[str, str]:
    return response.headers["RateLimit-Policy"], response.headers["RateLimit"]


async def test_a_bucket_holds_a_minute_and_fills_evenly() -> None:
    rate_limit = RateLimit(60)

    for _ in range(60):
        rate_limit.take(ANA, now=NOW).check()
    with pytest.raises(TooManyRequests) as refused:
        rate_limit.take(ANA, now=NOW).check()
    assert refused.value.headers == {"Retry-After": "1"}

    rate_limit.take(ANA, now=NOW + timedelta(seconds=1)).check()
    with pytest.raises(TooManyRequests):
        rate_limit.take(ANA, now=NOW + timedelta(seconds=1.9)).check()
    rate_limit.take(ANA, now=NOW + timedelta(seconds=2)).check()


async def test_a_bucket_never_holds_more_than_a_minute() -> None:
    rate_limit = RateLimit(2)
    rate_limit.take(ANA, now=NOW).check()

    later = NOW + timedelta(days=1)
    for _ in range(2):
        rate_limit.take(ANA, now=later).check()

    assert rate_limit.take(ANA, now=later).wait_seconds == 30


async def test_what_is_told_is_what_is_left() -> None:
    rate_limit = RateLimit(60)

    first, second = rate_limit.take(ANA, now=NOW), rate_limit.take(ANA, now=NOW)

    assert first.headers == {"RateLimit-Policy": '"requests";q=60;w=60', "RateLimit": '"requests";r=59;t=1'}
    assert second.headers["RateLimit"] == '"requests";r=58;t=2'


async def test_clients_have_a_bucket_each_also_of_one_name_in_two_organisations() -> None:
    rate_limit = RateLimit(1)

    for caller in (ANA, BEN, STRANGER):
        rate_limit.take(caller, now=NOW).check()

    for caller in (ANA, BEN, STRANGER):
        assert rate_limit.take(caller, now=NOW).wait_seconds == 60


async def test_a_clock_that_is_set_back_empties_no_bucket() -> None:
    rate_limit = RateLimit(2)
    rate_limit.take(ANA, now=NOW).check()

    rate_limit.take(ANA, now=NOW - timedelta(hours=1)).check()

    assert rate_limit.take(ANA, now=NOW - timedelta(hours=1)).wait_seconds == 30


async def test_only_full_buckets_are_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(limits, "BUCKETS_MAX", 2)
    rate_limit = RateLimit(1)
    rate_limit.take(ANA, now=NOW).check()
    rate_limit.take(BEN, now=NOW - timedelta(minutes=1)).check()

    rate_limit.take(STRANGER, now=NOW).check()

    assert rate_limit.take(ANA, now=NOW).wait_seconds == 60
    assert len(rate_limit._buckets) == 2


async def test_nobody_is_limited_unless_the_operator_wants_it(http: httpx2.AsyncClient, house: House) -> None:
    acme = await open_brand(house, http, "Acme")

    responses = [await acme.call("GET", "/v1/clock") for _ in range(20)]

    assert {response.status_code for response in responses} == {200}
    assert all("RateLimit" not in response.headers for response in responses)


async def test_a_client_that_asks_too_much_hears_429_in_shape_and_when_to_come_again(acme: Brand, wall) -> None:
    for _ in range(PER_MINUTE):
        assert (await acme.call("GET", "/v1/clock")).is_success

    native = await acme.call("GET", "/v1/clock")
    compatible = await acme.call("GET", "/targetGroups")
    assert (native.status_code, native.json()["code"]) == (429, 390009)
    assert (compatible.status_code, compatible.json()["errors"][0]["code"]) == (429, 390009)
    assert native.headers["Retry-After"] == compatible.headers["Retry-After"] == "20"

    wall.advance(seconds=20)
    assert (await acme.call("GET", "/v1/clock")).is_success


async def test_every_answer_tells_a_limited_client_what_is_left(acme: Brand) -> None:
    policy = f'"requests";q={PER_MINUTE};w=60'

    found = await acme.call("GET", "/v1/clock")
    faulty = await acme.call("POST", "/targetGroups", b"no json")
    forbidden = await acme.call("POST", "/v1/organisation/nothing")
    third = await acme.call("GET", "/v1/customers/4711/rewards")
    refused = await acme.call("GET", "/v1/clock")

    statuses = [response.status_code for response in (found, faulty, third, refused)]
    assert statuses == [200, 400, 404, 429]
    assert told(found) == (policy, '"requests";r=2;t=20')
    assert told(faulty) == (policy, '"requests";r=1;t=40')
    # An unknown path is nobody's, and costs nobody anything.
    assert (forbidden.status_code, "RateLimit" in forbidden.headers) == (404, False)
    assert told(third) == (policy, '"requests";r=0;t=60')
    assert told(refused) == (policy, '"requests";r=0;t=60')


async def test_one_clients_haste_is_not_anothers(acme: Brand, limited, house) -> None:
    globex = await open_brand(house, limited, "Globex")
    for _ in range(PER_MINUTE + 1):
        last = await acme.call("GET", "/v1/clock")

    assert last.status_code == 429
    assert (await globex.call("GET", "/v1/clock")).is_success


async def test_probes_and_strangers_have_no_bucket(limited: httpx2.AsyncClient) -> None:
    probes = [await limited.get("/healthz") for _ in range(PER_MINUTE + 1)]
    strangers = [await limited.get("/v1/clock") for _ in range(PER_MINUTE + 1)]

    assert {response.status_code for response in probes} == {200}
    assert {response.status_code for response in strangers} == {401}
    assert not any("RateLimit" in response.headers for response in (*probes, *strangers))


async def test_the_document_says_so_of_everything_that_asks_who_calls() -> None:
    paths = document(OPERATIONS)["paths"]

    described = [(operation, paths[operation.path][operation.method.lower()]) for operation in OPERATIONS]
    silent = [operation.path for operation, one in described if one["security"] and "429" not in one["responses"]]
    assert silent == []
