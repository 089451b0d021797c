"""The outbox: what was written to be told, with the change that it tells of, and the deliveries it is owed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kosminar.store.queries import Connection, array, load
from kosminar.store.saving import Part, keys
from kosminar.store.standings import CustomerKey, place, places

QUERIES: Final = load("notifications")


@dataclass(frozen=True, slots=True)
class Notification:
    """`number` counts the customer's from 1; `body` is sent as it is, byte for byte; `created_at` is real time.

    `generation` is the house's when it was written, and part of the event id.
    """

    number: int
    generation: int
    name: str
    target_id: int
    period_id: int | None
    reward_id: str | None
    body: str
    at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Posted:
    """A notification with its customer and the endpoints that it is for."""

    customer: CustomerKey
    notification: Notification
    webhook_endpoint_ids: tuple[int, ...]


def parts(posted: Sequence[Posted], *, due_at: datetime, expires_at: datetime) -> list[Part]:
    """Under the customers' locks, so that numbers are in order and no courier overlooks one. Queues are woken last."""
    owed = [(each, endpoint_id) for each in posted for endpoint_id in each.webhook_endpoint_ids]
    queues = sorted({(each.customer, endpoint_id) for each, endpoint_id in owed})
    return [
        Part(QUERIES["insert_notifications"], posted, _notifications),
        Part(QUERIES["insert_deliveries"], owed, lambda some: _deliveries(some, expires_at), row_count_max=2_000),
        Part(QUERIES["wake_queues"], queues, lambda some: _queues(some, due_at), row_count_max=2_000),
    ]


def _notifications(posted: Sequence[Posted]) -> dict[str, Any]:
    notes = [each.notification for each in posted]
    return {
        **keys([each.customer for each in posted]),
        "numbers": array([note.number for note in notes]),
        "generations": array([note.generation for note in notes]),
        "names": array([note.name for note in notes]),
        "target_ids": array([note.target_id for note in notes]),
        "period_ids": array([note.period_id for note in notes]),
        "reward_ids": array([note.reward_id for note in notes]),
        "bodies": [note.body for note in notes],
        "ats": array([note.at for note in notes]),
        "created_ats": array([note.created_at for note in notes]),
    }


def _deliveries(owed: Sequence[tuple[Posted, int]], expires_at: datetime) -> dict[str, Any]:
    return {
        **keys([each.customer for each, _ in owed]),
        "webhook_endpoint_ids": array([endpoint_id for _, endpoint_id in owed]),
        "numbers": array([each.notification.number for each, _ in owed]),
        "expires_at": expires_at,
    }


def _queues(queues: Sequence[tuple[CustomerKey, int]], due_at: datetime) -> dict[str, Any]:
    return {
        **keys([customer for customer, _ in queues]),
        "webhook_endpoint_ids": array([endpoint_id for _, endpoint_id in queues]),
        "due_at": due_at,
    }


async def list_completed(
    connection: Connection, ended: Iterable[tuple[CustomerKey, int, int]]
) -> set[tuple[CustomerKey, int, int]]:
    """Of these (customer, target id, period id), those whose completion was told."""
    asked = list(ended)
    rows = await QUERIES["list_completed_periods"].rows(
        connection,
        **places([customer for customer, _, _ in asked]),
        target_ids=[target_id for _, target_id, _ in asked],
        period_ids=[period_id for _, _, period_id in asked],
    )
    return {
        (CustomerKey.of(row["organisation_id"], row["customer_id"]), row["target_id"], row["period_id"]) for row in rows
    }


async def list_page(connection: Connection, customer: CustomerKey, *, after: int, limit: int) -> list[Notification]:
    """Oldest first, what comes after a number."""
    rows: list[Any] = await QUERIES["list_notifications"].rows(connection, **place(customer), after=after, limit=limit)
    return [Notification(**row) for row in rows]
