"""What waits to be done, over all organisations, in numbers: for whoever watches the house."""

from datetime import datetime
from typing import Final

from kosminar.store.queries import Connection, load

QUERIES: Final = load("backlog")


async def find_oldest_period_end(connection: Connection, now: datetime) -> datetime | None:
    """Since when the oldest period end waits that fell due by real time."""
    oldest: datetime | None = await QUERIES["find_oldest_period_end"].value(connection, now=now)
    return oldest


async def count_waiting_deliveries(connection: Connection) -> int:
    return int(await QUERIES["count_waiting_deliveries"].value(connection))


async def find_oldest_delivery(connection: Connection) -> datetime | None:
    """When the notification was made whose delivery will be the first to be parked."""
    oldest: datetime | None = await QUERIES["find_oldest_delivery"].value(connection)
    return oldest


async def find_oldest_due_queue(connection: Connection, now: datetime) -> datetime | None:
    """Since when the longest overdue delivery waits to be attempted, of endpoints that may be called."""
    oldest: datetime | None = await QUERIES["find_oldest_due_queue"].value(connection, now=now)
    return oldest
