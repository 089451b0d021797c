"""What is asked all day is answered past the router, and nobody can tell by the answer."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand

from kosminar.api import app
from kosminar.engine.house import House

REQUEST_ID = {"X-Request-ID": "the-same"}
VISIT = {"id": "a-1", "customerId": 7, "type": "transaction", "occurredAt": "2031-01-15T12:00:00Z"}

ASKED: list[tuple[str, str, Any]] = [
    ("POST", "/v3/targetGroups/1/targets/1/enroll", [{"customerId": 7}]),
    ("POST", "/api_gateway/intouch-api-v3/v3.1/targetGroups/1/targets/1/unEnroll", {"customerId": "7"}),
    ("POST", "/v3/targetGroups/x/targets/1/enroll", [{"customerId": 7}]),
    ("POST", "/v3/targetGroups/1/targets/1/unEnroll", [{"customerId": None}]),
    ("POST", "/v3/targetGroups/1/targets/1/enroll", []),
    ("POST", "/v1/activities", {"activities": [VISIT]}),
    ("POST", "/v1/activities", {"activities": "none"}),
    ("GET", "/v3/users/7/targetGroups", None),
    ("GET", "/v3/users/7/targetGroups?showDeactivated=perhaps", None),
    ("GET", "/v3/users/8/targetGroups", None),
    ("GET", "/v1/customers/7/facts", None),
    ("GET", "/v1/customers/7/facts?limit=0", None),
    ("GET", "/v1/customers/8/facts", None),
    ("GET", "/v1/customers/7/rewards", None),
    ("GET", "/v1/customers/8/rewards", None),
    ("POST", "/v1/rewards/7-1-P1-1-1/issued", {}),
    ("POST", "/v1/rewards/none/failed", {"reason": "gone"}),
    ("HEAD", "/v1/customers/7/facts", None),
    ("DELETE", "/v1/activities", None),
    ("GET", "/v3/targetGroups/1/targets/1/enroll", None),
]


@pytest_asyncio.fixture
async def brand(house: House, http: httpx2.AsyncClient) -> Brand:
    brand = await open_brand(house, http, "Acme", clock=datetime(2031, 1, 15, 12, tzinfo=UTC))
    await brand.register(7)
    # From now on it is a duplicate, however it comes.
    await brand.record(VISIT)
    return brand


@pytest.mark.asyncio
@pytest.mark.parametrize("signed_in", [True, False])
@pytest.mark.parametrize(("method", "path", "body"), ASKED)
async def test_the_answer_is_the_routers(
    house: House, brand: Brand, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any, signed_in: bool
) -> None:
    straight = app.build_app(house)
    monkeypatch.setattr(app, "ASKED_ALL_DAY", ())
    routed = app.build_app(house)
    headers = {**REQUEST_ID, **(brand.headers if signed_in else {})}

    first = await ask(straight, method, path, body, headers)
    second = await ask(routed, method, path, body, headers)

    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert sorted(first.headers.items()) == sorted(second.headers.items())


async def ask(application: Any, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://kosminar") as client:
        return await client.request(method, path, json=body, headers=headers)
