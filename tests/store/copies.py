"""A brand that lives on in copies of its database, and its receiver, which drops repeats as docs/webhooks.md says.

The house is the real one with its API and its courier, in this process: to start `kosminar serve` for each copy would
take most of the time.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import asyncpg
import httpx2
from tests.engine.receiver import Received, Receiver, Reply

from kosminar.api.app import build_app
from kosminar.core.access import Level, Resource
from kosminar.engine.auditor import audit
from kosminar.engine.house import House
from kosminar.engine.use_cases import clients
from kosminar.settings import Settings
from kosminar.wiring import open_house, utc_now

CLOCK_AT = datetime(2031, 2, 12, tzinfo=UTC)
CUSTOMER_IDS = (501, 502, 503)


class CarefulReceiver(Receiver):
    """Does everything once: events by `eventId`, rewards by `rewardId`. Answers 500 for the customers that it `refuses`."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.refuses: set[int] = set()
        self.events: dict[str, Received] = {}
        self.paid: dict[str, str] = {}
        """The name of the programme for which each reward was paid."""
        self.repeats: list[str] = []
        self.two_things_of_one_id: list[tuple[str, bytes, bytes]] = []

    async def _take(self, received: Received) -> Reply:
        body = received.body
        if body["data"]["customerIdentifiers"]["customerId"] in self.refuses:
            return Reply(500)
        before = self.events.setdefault(body["eventId"], received)
        if before is not received:
            self.repeats.append(body["eventId"])
            if before.content != received.content:
                self.two_things_of_one_id.append((body["eventId"], before.content, received.content))
        elif body["eventName"] == "rewardIssued":
            self.paid.setdefault(body["data"]["reward"]["rewardId"], body["data"]["targetDetails"]["targetGroupName"])
        return Reply(204)


@dataclass
class Shop:
    """One copy of the brand, open for business. `made` are the answers of the creations, by the programme's name."""

    house: House
    http: httpx2.AsyncClient
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def create(self, name: str) -> None:
        """A programme that pays at once for the first visit of its own kind."""
        assert await self.try_create(name) == 201

    async def try_create(self, name: str) -> int:
        answer = await self.http.post("/v3/targetGroups", json=programme(name))
        if answer.status_code == 201:
            self.made[name] = answer.json()["data"]
        return answer.status_code

    async def visit(self, name: str, customer_id: int, activity_id: str) -> None:
        await self.try_visit(name, customer_id, activity_id, status=200)

    async def try_visit(self, name: str, customer_id: int, activity_id: str, *, status: int | None = None) -> int:
        activity = {
            "id": activity_id,
            "customerId": customer_id,
            "type": name,
            "occurredAt": "2031-02-01T10:00:00Z",
            "attributes": {},
        }
        answer = await self.http.post("/v1/activities", json={"activities": [activity]})
        assert status in (None, answer.status_code), answer.text
        return answer.status_code

    async def deliver(self) -> None:
        await self.house.courier.deliver_due()

    async def rewards(self, customer_id: int) -> list[str]:
        answer = await self.http.get(f"/v1/customers/{customer_id}/rewards")
        return [reward["rewardId"] for reward in answer.json()["data"]]

    async def differences(self) -> list[str]:
        return [str(one) async for one in audit(self.house.pool, progressed=lambda _: None)]


def programme(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "trackingType": "DEFAULT",
        "targetCycleStartDate": "2031-01-01",
        "totalPeriods": 3,
        "frequencyType": "MONTHLY",
        "frequency": 1,
        "recurringCycles": 0,
        "targets": [
            {
                "name": name,
                "targetEntity": "EVENT",
                "targetType": "COUNT",
                "eventName": name,
                "enrolmentMethod": "TRANSACTION",
                "expression": "true",
                "defaultValues": [{"defaultValue": 1}],
                "rewards": [{"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}],
            }
        ],
    }


@dataclass(frozen=True)
class Credentials:
    """What signs in at every copy."""

    organisation_id: int
    username: str
    password: str

    @classmethod
    async def made(cls, url: str) -> Self:
        """A new organisation on a test clock, and a client that may do everything."""
        async with open_house(Settings.read({}), url) as house, house.pool.acquire() as connection:
            organisation_id = await clients.create_organisation(
                connection, name="Acme", zone="UTC", test_clock_at=CLOCK_AT, now=utc_now()
            )
            await clients.create_access_group(
                connection,
                organisation_id=organisation_id,
                name="everything",
                grants=dict.fromkeys(Resource, Level.WRITE),
                now=utc_now(),
            )
            made = await clients.create_client(
                connection,
                organisation_id=organisation_id,
                access_group_name="everything",
                random_bytes=lambda count: b"r" * count,
                now=utc_now(),
            )
        return cls(organisation_id, made.username, made.password)


@asynccontextmanager
async def open_shop(
    url: str, credentials: Credentials, *, wall: Callable[[], datetime] = utc_now
) -> AsyncIterator[Shop]:
    """The house on that database, as `serve` opens it."""
    settings = Settings.read({}, {"webhook_networks": "127.0.0.0/8"})
    async with open_house(settings, url, wall=wall) as house:
        auth = (credentials.username, credentials.password)
        transport = httpx2.ASGITransport(app=build_app(house))
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop.test", auth=auth) as http:
            yield Shop(house, http)


async def settle_in(shop: Shop, receiver: Receiver) -> None:
    """Customers and an endpoint that hears everything, rewards included."""
    answer = await shop.http.post("/v1/customers", json={"customers": [{"customerId": one} for one in CUSTOMER_IDS]})
    assert answer.status_code == 200, answer.text
    answer = await shop.http.post("/v1/webhook-endpoints", json={"url": receiver.url})
    assert answer.status_code == 201, answer.text


async def generations_of(url: str) -> list[int]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch("SELECT generation FROM generation ORDER BY 1")]
    finally:
        await connection.close()
