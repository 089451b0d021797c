"""What goes through all deliveries of a webhook endpoint, step by step; and at most one test of an endpoint at a time.

An endpoint may have millions of customers with something to deliver. Each step is a transaction of its own, and a run
that was cut off can be called again.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from kosminar.core.decoder import encode
from kosminar.core.endpoint import EndpointKey
from kosminar.core.idempotency import BEGUN, IdempotencyKey
from kosminar.store import deliveries, idempotency
from kosminar.store.deliveries import FROM_THE_START, DeliveryPlace
from kosminar.store.queries import Connection
from kosminar.store.standings import EVERY_BUCKET

REMOVED: Final = "the endpoint was removed"


class Steps:
    """For what goes through all of an endpoint's customers, which may be millions.

    Each step has a connection of its own, and of all such runs in this process one at a time has one, in turn: a brand
    that recovers a year takes no connection from those who only ask something, and no other brand waits for its end.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()

    @asynccontextmanager
    async def step(self, pool: asyncpg.Pool) -> AsyncIterator[Connection]:
        async with self._one, pool.acquire() as connection:
            yield connection


async def resume(pool: asyncpg.Pool, steps: Steps, endpoint: EndpointKey, *, now: datetime) -> None:
    """What waits is due at once; call it when the endpoint is active. Cut off, the rest is due when it was."""
    async with steps.step(pool) as connection:
        buckets = await deliveries.list_buckets(connection, endpoint)
    for bucket in buckets:
        after: int | None = 0
        while after is not None:
            async with steps.step(pool) as connection:
                after = await deliveries.make_some_due(connection, endpoint, bucket, after=after, now=now)


@dataclass(frozen=True, slots=True)
class _Recovery:
    """How far a recovery has come: the buckets before `bucket` are done, and in it what comes up to `after`."""

    bucket: int = 0
    after: DeliveryPlace = FROM_THE_START
    count: int = 0

    @property
    def over(self) -> bool:
        return self.bucket == len(EVERY_BUCKET)

    def then(self, count: int, after: DeliveryPlace | None) -> "_Recovery":
        if after is None:
            return _Recovery(self.bucket + 1, FROM_THE_START, self.count + count)
        return _Recovery(self.bucket, after, self.count + count)

    def written(self) -> str:
        return encode([self.bucket, *self.after, self.count]).decode()

    @staticmethod
    def read(text: str) -> "_Recovery":
        bucket, customer_id, number, count = json.loads(text)
        return _Recovery(bucket, DeliveryPlace(customer_id, number), count)


async def recover(
    pool: asyncpg.Pool,
    steps: Steps,
    endpoint: EndpointKey,
    since: datetime,
    *,
    now: datetime,
    key: IdempotencyKey | None = None,
) -> int:
    """Send every notification created since then that the endpoint subscribes to and did not get; how many those are.

    Cut off, it can be called again: under a key it goes on where it stood and counts all of them, without one it begins
    again. Raises deliveries.EndpointRemoved.
    """
    recovery = _Recovery()
    while not recovery.over:
        async with steps.step(pool) as connection, connection.transaction():
            if key is not None:
                await idempotency.hold(connection, key)
                known = await idempotency.find_result(connection, key, BEGUN)
                recovery = recovery if known is None else _Recovery.read(known)
                if recovery.over:
                    break
            count, after = await deliveries.recover_some(
                connection, endpoint, recovery.bucket, since, after=recovery.after, now=now
            )
            recovery = recovery.then(count, after)
            if key is not None:
                await idempotency.save_progress(connection, key, recovery.written())
    return recovery.count


async def park_removed(pool: asyncpg.Pool, steps: Steps, endpoint: EndpointKey) -> None:
    """What waits for an endpoint that was removed is parked, once no batch writes for it any more."""
    async with steps.step(pool) as connection:
        buckets = await deliveries.list_buckets(connection, endpoint)
    for bucket in buckets:
        left = True
        while left:
            async with steps.step(pool) as connection:
                left = await deliveries.park_some(connection, endpoint, bucket, REMOVED)


class Tests:
    """Which endpoints are being tested by this process: each by one call at a time, so that nobody is flooded."""

    def __init__(self) -> None:
        self._under_way: set[int] = set()

    @asynccontextmanager
    async def alone(self, webhook_endpoint_id: int) -> AsyncIterator[bool]:
        """Whether nobody else tests this endpoint just now."""
        if webhook_endpoint_id in self._under_way:
            yield False
            return
        self._under_way.add(webhook_endpoint_id)
        try:
            yield True
        finally:
            self._under_way.discard(webhook_endpoint_id)
