"""Webhook endpoints in the database: where a brand wants to be told, of what, and how each of them fares.

Who subscribes is part of an organisation's definitions: it changes only while these are held (store/programmes.py), so
that a batch knows it for certain. How deliveries fare (`failure_count`, `not_before`) changes at any time.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from kosminar.core.endpoint import Endpoint, EndpointState
from kosminar.store.queries import Connection, load

QUERIES: Final = load("webhook_endpoints")


async def list_of(connection: Connection, organisation_id: int) -> tuple[Endpoint, ...]:
    """Every endpoint that is not removed, by id."""
    rows = await QUERIES["list_webhook_endpoints"].rows(connection, organisation_id=organisation_id)
    return tuple(_endpoint(row) for row in rows)


async def find(connection: Connection, organisation_id: int, webhook_endpoint_id: int) -> Endpoint | None:
    """None for an unknown, a removed or another organisation's id alike (decision 31)."""
    row = await QUERIES["find_webhook_endpoint"].row(
        connection, organisation_id=organisation_id, webhook_endpoint_id=webhook_endpoint_id
    )
    return None if row is None else _endpoint(row)


async def lock(connection: Connection, organisation_id: int, webhook_endpoint_id: int) -> Endpoint | None:
    """Find it and keep it until the transaction ends: a delivery that fails meanwhile must not be overwritten."""
    row = await QUERIES["lock_webhook_endpoint"].row(
        connection, organisation_id=organisation_id, webhook_endpoint_id=webhook_endpoint_id
    )
    return None if row is None else _endpoint(row)


async def insert(
    connection: Connection,
    organisation_id: int,
    *,
    url: str,
    description: str | None,
    event_names: frozenset[str] | None,
    headers: Mapping[str, str],
    connection_count_max: int,
    secret: bytes,
    now: datetime,
) -> int:
    """A new active endpoint's id; the caller holds the definitions and has given the change its version."""
    webhook_endpoint_id: int = await QUERIES["insert_webhook_endpoint"].value(
        connection,
        organisation_id=organisation_id,
        url=url,
        description=description,
        event_names=None if event_names is None else sorted(event_names),
        headers=json.dumps(dict(headers)),
        connection_count_max=connection_count_max,
        secret=secret,
        now=now,
    )
    return webhook_endpoint_id


async def save(connection: Connection, endpoint: Endpoint, *, now: datetime) -> None:
    """What its owner may change; the caller holds the definitions and has given the change its version."""
    await QUERIES["save_webhook_endpoint"].run(
        connection,
        organisation_id=endpoint.organisation_id,
        webhook_endpoint_id=endpoint.webhook_endpoint_id,
        url=endpoint.url,
        description=endpoint.description,
        event_names=None if endpoint.event_names is None else sorted(endpoint.event_names),
        headers=json.dumps(dict(endpoint.headers)),
        connection_count_max=endpoint.connection_count_max,
        state=endpoint.state.value,
        reason=endpoint.reason,
        secret=endpoint.secret,
        previous_secret=endpoint.previous_secret,
        previous_secret_until=endpoint.previous_secret_until,
        failure_count=endpoint.failure_count,
        not_before=endpoint.not_before,
        activated_at=endpoint.activated_at,
        now=now,
    )


def _endpoint(row: Any) -> Endpoint:
    columns = dict(row)
    names = columns.pop("event_names")
    return Endpoint(
        **columns
        | {
            "event_names": None if names is None else frozenset(names),
            "headers": json.loads(columns["headers"]),
            "state": EndpointState(columns["state"]),
        }
    )
