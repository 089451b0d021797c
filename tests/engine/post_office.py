"""Endpoints, and notifications put into the outbox as a batch puts them, for the tests of what is sent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from tests.definitions import POINTS
from tests.engine.brand import found, milestone

from kosminar.core.endpoint import EndpointKey
from kosminar.core.event import EventName
from kosminar.core.webhook import DELIVERED_WITHIN
from kosminar.engine import endpoint_runs
from kosminar.engine.use_cases import endpoints
from kosminar.store import deliveries, notifications, saving, webhook_endpoints
from kosminar.store.deliveries import Delivery
from kosminar.store.notifications import Notification, Posted
from kosminar.store.queries import Connection
from kosminar.store.standings import CustomerKey, lock

SECRET = bytes(range(32))
# By real time, as everything here.
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
SOMETHING = EventName.TARGET_CUSTOMER_ENROLMENT


@dataclass(frozen=True)
class Office:
    """An organisation with customers and something to tell them of."""

    pool: asyncpg.Pool
    organisation_id: int
    target_id: int

    async def endpoint(
        self,
        url: str,
        *,
        event_names: Iterable[str] | None = None,
        headers: Mapping[str, str] | None = None,
        connection_count_max: int = 4,
        secret: bytes = SECRET,
    ) -> int:
        async with self.pool.acquire() as connection:
            return await webhook_endpoints.insert(
                connection,
                self.organisation_id,
                url=url,
                description=None,
                event_names=None if event_names is None else frozenset(event_names),
                headers=headers or {},
                connection_count_max=connection_count_max,
                secret=secret,
                now=LONG_AGO,
            )

    async def tell(
        self, now: datetime, customers: Sequence[int], *endpoints: int, name: EventName = SOMETHING, count: int = 1
    ) -> None:
        """To each customer as many notifications, in one transaction, for these endpoints."""
        async with self.pool.acquire() as connection, connection.transaction():
            await self.post(connection, now, customers, *endpoints, name=name, count=count)

    async def post(
        self,
        connection: Connection,
        now: datetime,
        customers: Sequence[int],
        *endpoints: int,
        name: EventName = SOMETHING,
        count: int = 1,
    ) -> None:
        keys = sorted({CustomerKey.of(self.organisation_id, customer_id) for customer_id in customers})
        await lock(connection, keys)
        posted = []
        for key in keys:
            last = await connection.fetchval(
                "UPDATE customer SET notification_number = notification_number + $4"
                " WHERE bucket = $1 AND organisation_id = $2 AND customer_id = $3 RETURNING notification_number",
                *key,
                count,
            )
            posted += [
                Posted(key, self._notification(key, number, name, now), endpoints)
                for number in range(last - count + 1, last + 1)
            ]
        parts = notifications.parts(posted, due_at=now, expires_at=now + DELIVERED_WITHIN)
        await saving.save(connection, parts, joined=True)

    def _notification(self, key: CustomerKey, number: int, name: EventName, now: datetime) -> Notification:
        body = {
            "eventId": f"{key.organisation_id}-{key.customer_id}-{number}",
            "eventName": name,
            "sequence": number,
            "data": {"customerId": key.customer_id, "name": "Zoë"},
        }
        reward_id = f"{key.customer_id}-{self.target_id}-P1-1-1" if name is EventName.REWARD_ISSUED else None
        text = json.dumps(body, ensure_ascii=False)
        return Notification(number, 0, name, self.target_id, None, reward_id, text, now, now)

    async def deliveries(self, endpoint: int) -> list[tuple[int, int, str]]:
        """Customer, number, state."""
        rows = await self.pool.fetch(
            "SELECT customer_id, number, state FROM delivery WHERE webhook_endpoint_id = $1 ORDER BY 1, 2", endpoint
        )
        return [tuple(row) for row in rows]

    async def delivery(self, endpoint: int, customer_id: int, number: int) -> Any:
        return await self.pool.fetchrow(
            "SELECT * FROM delivery WHERE webhook_endpoint_id = $1 AND customer_id = $2 AND number = $3",
            endpoint,
            customer_id,
            number,
        )

    async def queue(self, endpoint: int) -> list[Any]:
        return await self.pool.fetch(
            "SELECT * FROM webhook_queue WHERE webhook_endpoint_id = $1 ORDER BY customer_id", endpoint
        )

    async def row(self, endpoint: int) -> Any:
        return await self.pool.fetchrow("SELECT * FROM webhook_endpoint WHERE webhook_endpoint_id = $1", endpoint)

    def key(self, endpoint: int) -> EndpointKey:
        return EndpointKey(self.organisation_id, endpoint)

    async def shown(self, endpoint: int) -> list[Delivery]:
        """What its owner is shown of what was not delivered."""
        async with self.pool.acquire() as connection:
            return await deliveries.list_page(connection, self.organisation_id, endpoint, limit=100)

    async def activate(self, endpoint: int, now: datetime) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await endpoints.change_in(
                connection,
                self.organisation_id,
                endpoint,
                lambda was: endpoints.activated(was, now=now),
                wall=now,
            )

    async def remove(self, endpoint: int, now: datetime) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await endpoints.remove_in(connection, self.key(endpoint), wall=now)
        await endpoint_runs.park_removed(self.pool, endpoint_runs.Steps(), self.key(endpoint))

    async def set_state(self, endpoint: int, state: str) -> None:
        await self.pool.execute(
            "UPDATE webhook_endpoint SET state = $2 WHERE webhook_endpoint_id = $1", endpoint, state
        )


async def open_office(pool: asyncpg.Pool, name: str = "acme", *, customer_ids: Sequence[int] = (1, 2, 3)) -> Office:
    brand = await found(pool, name, [milestone("Spend", POINTS)], customer_ids=customer_ids)
    return Office(pool, brand.organisation_id, brand.programmes["Spend"].targets[0].target_id)
