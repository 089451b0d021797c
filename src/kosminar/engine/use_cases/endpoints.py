"""Webhook endpoints as their owner changes them: each change is one of the definitions, so that batches see it whole.

Whoever subscribes to the hand-over of rewards decides what a reward is worth that is earned in the same moment; so an
endpoint comes, goes and changes its events only while no batch is under way (decision 27, store/programmes.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from kosminar.core.endpoint import ENDPOINT_COUNT_MAX, Endpoint, EndpointState
from kosminar.engine.endpoint_runs import REMOVED
from kosminar.store import programmes, webhook_endpoints
from kosminar.store.deliveries import EndpointKey
from kosminar.store.queries import Connection

SECRET_BYTES: Final = 32


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
