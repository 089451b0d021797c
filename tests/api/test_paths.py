"""A path is routed as it is written, so that a rule of a proxy for that path holds for it."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from litestar import Litestar
from tests.api.brand import Brand, open_brand, purchase
from tests.api.wire import request, serving
from tests.bodies import with_target

from kosminar.api.app import build_app
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def app(house: House) -> Litestar:
    return build_app(house)


@pytest.mark.parametrize("connections_max", [100, 0], ids=["", "beyond the connections"])
async def test_a_probe_is_answered_at_its_own_path_and_at_no_other_spelling(
    app: Litestar, connections_max: int
) -> None:
    spellings = [
        *("//metrics", "/metrics/", "/%6detrics", "/%6Detrics", "/metrics//", "///metrics", "/./metrics", "/metrics/."),
        *(
            "/x/../metrics",
            "/%2e/metrics",
            "/%2E%2e/metrics",
            "/v1/../metrics",
            "/metrics%2f",
            "/%2fmetrics",
            "/metrics;x",
        ),
        *("/metrics%00", "/metrics%20", "/METRICS", "/metrics\\", "/\\metrics", "http://kosminar.test/metrics"),
        *("HTTP://kosminar.test:80/metrics", "https://user@other.test/metrics", "http://kosminar.test", "*"),
        *("//kosminar.test/metrics", "/healthz/", "//healthz", "/readyz%2F", "/%72eadyz"),
    ]

    async with serving(app, connections_max=connections_max) as wire:
        exact = [(await wire.ask(request("GET", path))).status for path in ("/metrics", "/metrics?x=1", "/healthz")]
        others = [await wire.ask(request("GET", path)) for path in spellings]

    assert exact == [200] * 3
    assert {(each.status, each.code) for each in others} == {(404, 390011) if connections_max else (503, 390015)}


SPELLINGS = (
    ("/v1/clock/", "problem"),
    ("/v1//clock", "problem"),
    ("//v1/clock", "envelope"),
    ("/v1/cloc%6B", "problem"),
    ("/%761/clock", "envelope"),
    ("/v1/customers/7%2Ffacts", "problem"),
    ("/v1/customers/%2e%2e/facts", "problem"),
    ("/v1/customers/../facts", "problem"),
    ("/v1/customers//facts", "problem"),
    ("/v3/targetGroups/", "envelope"),
    ("/v3/targetGroups/1%2f", "envelope"),
    ("/v3//targetGroups", "envelope"),
    ("/api_gateway/intouch-api-v3/v3/targetGroups/", "envelope"),
    ("/api_gateway%2Fintouch-api-v3/v3/targetGroups", "envelope"),
    ("/v3%2E1/targetGroups", "envelope"),
    ("/oauth/token/", "envelope"),
    ("/oauth%2Ftoken", "envelope"),
    ("/openapi.json/", "envelope"),
    ("/openapi%2Ejson", "envelope"),
    ("/", "envelope"),
)


async def test_any_other_spelling_of_a_path_is_unknown(http) -> None:
    answered_otherwise = {}

    for path, shape in SPELLINGS:
        for method in ("GET", "POST", "OPTIONS"):
            response = await http.request(method, "http://kosminar.test" + path)
            content = response.json()
            code = content["code"] if shape == "problem" else content["errors"][0]["code"]
            if (response.status_code, code) != (404, 390011):
                answered_otherwise[method, path] = response.text

    assert answered_otherwise == {}


async def test_the_methods_of_the_whole_server_are_those_of_no_path(app: Litestar) -> None:
    async with serving(app) as wire:
        heard = await wire.ask(request("OPTIONS", "*"))

    assert (heard.status, heard.code) == (404, 390011)


@dataclass(frozen=True)
class Story:
    brand: Brand
    reward_id: str


@pytest_asyncio.fixture
async def story(house: House, http) -> Story:
    brand = await open_brand(house, http, "Acme", clock=datetime(2031, 1, 15, 12, tzinfo=UTC))
    await brand.register(7)
    group = await brand.define(with_target(rewards=[{"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}]))
    await group.enrol(7)
    await brand.record(purchase("a", 7, "2031-01-15T09:00:00Z", 1000))
    (reward,) = await brand.rewards(7)
    return Story(brand, reward["rewardId"])


async def test_what_fills_a_parameter_may_be_encoded(story: Story) -> None:
    brand, encoded = story.brand, "".join(f"%{ord(character):02X}" for character in story.reward_id)

    plain = await brand.call("POST", f"/v1/rewards/{story.reward_id}/issued", {})
    hidden = await brand.call("POST", f"/v1/rewards/{encoded}/issued", {})
    facts = await brand.call("GET", "/v1/customers/%37/facts")

    assert (plain.status_code, hidden.status_code, facts.status_code) == (200, 200, 200)
    assert hidden.json() == plain.json()


async def test_what_is_not_encoded_utf_8_fills_no_parameter(story: Story) -> None:
    for filling in ("%", "%3", "%zz", "7%", "%ff", "%C3%28", "%25%", "%u0037"):
        facts = await story.brand.call("GET", f"/v1/customers/{filling}/facts")
        issued = await story.brand.call("POST", f"/v1/rewards/{filling}/issued", {})

        assert (facts.status_code, facts.json()["code"]) == (400, 300004), filling
        assert (issued.status_code, issued.json()["code"]) == (400, 300004), filling
