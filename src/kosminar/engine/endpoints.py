"""Webhook endpoints as their owner changes them: each change is one of the definitions, so that batches see it whole.

Whoever subscribes to the hand-over of rewards decides what a reward is worth that is earned in the same moment; so an
endpoint comes, goes and changes its events only while no batch is under way (decision 27, store/programmes.py).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from kosminar.core.decoder import encode
from kosminar.core.endpoint import ENDPOINT_COUNT_MAX
from kosminar.store import deliveries, idempotency, programmes, webhook_endpoints
from kosminar.store.deliveries import FROM_THE_START, DeliveryPlace, EndpointKey
from kosminar.store.idempotency import BEGUN, IdempotencyKey
from kosminar.store.queries import Connection
from kosminar.store.standings import EVERY_BUCKET
from kosminar.store.webhook_endpoints import Endpoint, EndpointState

SECRET_BYTES: Final = 32
REMOVED: Final = "the endpoint was removed"


class TooManyEndpoints(Exception):
    """The organisation has as many endpoints as it may."""


class UnknownEndpoint(Exception):
    """Unknown, removed, or another organisation's: it is all the same (decision 31)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """What its owner says of an endpoint; `event_names` None is every event."""

    url: str
    description: str | None
    event_names: frozenset[str] | None
    headers: Mapping[str, str] = field(repr=False)
    connection_count_max: int


async def create(
    connection: Connection, organisation_id: int, new: NewEndpoint, *, secret: bytes, wall: datetime
) -> Endpoint:
    """In the caller's transaction. Raises TooManyEndpoints."""
    await programmes.lock_definitions(connection, organisation_id)
    if len(await webhook_endpoints.list_of(connection, organisation_id)) >= ENDPOINT_COUNT_MAX:
        raise TooManyEndpoints
    await programmes.begin_change(connection, organisation_id, wall=wall)
    webhook_endpoint_id = await webhook_endpoints.insert(
        connection,
        organisation_id,
        url=new.url,
        description=new.description,
        event_names=new.event_names,
        headers=new.headers,
        connection_count_max=new.connection_count_max,
        secret=secret,
        now=wall,
    )
    made = await webhook_endpoints.find(connection, organisation_id, webhook_endpoint_id)
    assert made is not None, "inserted in this transaction"
    return made


async def change(
    connection: Connection,
    organisation_id: int,
    webhook_endpoint_id: int,
    changed: Callable[[Endpoint], Endpoint],
    *,
    wall: datetime,
) -> Endpoint:
    """In the caller's transaction. Raises UnknownEndpoint."""
    await programmes.lock_definitions(connection, organisation_id)
    endpoint = await webhook_endpoints.lock(connection, organisation_id, webhook_endpoint_id)
    if endpoint is None:
        raise UnknownEndpoint
    await programmes.begin_change(connection, organisation_id, wall=wall)
    endpoint = changed(endpoint)
    await webhook_endpoints.save(connection, endpoint, now=wall)
    return endpoint


def activated(endpoint: Endpoint, *, now: datetime) -> Endpoint:
    """Back from a pause or from being disabled, with a clean record, and all its days for what waits."""
    return replace(
        endpoint, state=EndpointState.ACTIVE, reason=None, failure_count=0, not_before=None, activated_at=now
    )


def with_new_secret(endpoint: Endpoint, secret: bytes, *, now: datetime, overlap: timedelta) -> Endpoint:
    """The new secret signs at once; the one before signs beside it until the overlap ends."""
    return replace(
        endpoint,
        secret=secret,
        previous_secret=endpoint.secret if overlap else None,
        previous_secret_until=now + overlap if overlap else None,
    )


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


async def remove(connection: Connection, endpoint: EndpointKey, *, wall: datetime) -> None:
    """In the caller's transaction; `park_removed` afterwards. Cut off before, the housekeeper parks what waits.

    Raises UnknownEndpoint.
    """
    await change(
        connection,
        endpoint.organisation_id,
        endpoint.webhook_endpoint_id,
        lambda was: replace(was, state=EndpointState.REMOVED, reason=REMOVED),
        wall=wall,
    )


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
