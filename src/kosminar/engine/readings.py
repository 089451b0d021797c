"""Numbers that only the database knows, read when somebody asks for them: what waits, and since when.

Each reading has its own short time: what the database does not give in time is left out, and counted, so that whoever
watches learns of it and still gets everything else. Never a row or an id of anybody's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias

import asyncpg
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from kosminar.engine.meters import Meters
from kosminar.store import backlog
from kosminar.store.link import within
from kosminar.store.queries import Connection

PATIENCE_SECONDS: Final = 2
"""Of one reading. Prometheus commonly waits ten for the whole answer."""

Reading: TypeAlias = Callable[[Connection, datetime], Awaitable[list[Metric]]]

LOG = structlog.get_logger()


async def read(pool: asyncpg.Pool, meters: Meters, now: datetime) -> list[Metric]:
    """All that the database gives in time. `now` is real time."""
    found = await asyncio.gather(*(_read(reading, pool, meters, now) for reading in READINGS))
    return [metric for metrics in found for metric in metrics]


async def _read(reading: Reading, pool: asyncpg.Pool, meters: Meters, now: datetime) -> list[Metric]:
    try:
        async with within(pool, PATIENCE_SECONDS) as connection:
            return await reading(connection, now)
    except Exception as error:  # noqa: BLE001  # Whatever it is, the other numbers are worth more than the reason.
        LOG.warning("reading_failed", reading=reading.__name__, error=type(error).__name__)
        meters.scrape_errors.inc()
        return []


async def read_period_ends(connection: Connection, now: datetime) -> list[Metric]:
    return [
        GaugeMetricFamily(
            "kosminar_period_end_lag_seconds",
            "How long the oldest period end that is due by real time has been waiting.",
            value=_seconds(await backlog.find_oldest_period_end(connection, now), now),
        )
    ]


async def read_waiting_deliveries(connection: Connection, now: datetime) -> list[Metric]:
    return [
        GaugeMetricFamily(
            "kosminar_deliveries_waiting",
            "Deliveries that were not acknowledged yet, those to paused endpoints too.",
            value=await backlog.count_waiting_deliveries(connection),
        ),
        GaugeMetricFamily(
            "kosminar_delivery_oldest_age_seconds",
            "Age of the waiting delivery that is the first to be parked.",
            value=_seconds(await backlog.find_oldest_delivery(connection), now),
        ),
    ]


async def read_due_deliveries(connection: Connection, now: datetime) -> list[Metric]:
    return [
        GaugeMetricFamily(
            "kosminar_delivery_lag_seconds",
            "How long the longest overdue delivery has been waiting for somebody to attempt it.",
            value=_seconds(await backlog.find_oldest_due_queue(connection, now), now),
        )
    ]


# Each with a time of its own: after an outage there may be more deliveries than can be counted in it.
READINGS: Final[tuple[Reading, ...]] = (read_period_ends, read_waiting_deliveries, read_due_deliveries)


def _seconds(since: datetime | None, now: datetime) -> float:
    """Nothing that waits has waited no time; another machine's clock may be a little ahead."""
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
