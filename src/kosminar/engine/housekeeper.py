"""Forgets what is kept for a time only, and finishes what was cut off. By real time, in every process.

Idempotency keys go with their answers; what waits for an endpoint whose removal was cut off is parked.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from kosminar.core.bucket import BUCKET_COUNT
from kosminar.engine import endpoint_runs
from kosminar.engine.endpoint_runs import Steps
from kosminar.engine.trouble import Trouble
from kosminar.store import deliveries, idempotency

# Promised are 24 hours; a caller who comes back the next evening still finds the answer.
KEPT_FOR: Final = timedelta(hours=48)
ROUND_SECONDS: Final = 3600.0
# After a round that failed, as while the database is away.
TROUBLE_SECONDS: Final = 60.0


class Housekeeper:
    """`run` goes round once an hour until cancelled, sooner after trouble; any number of processes may."""

    def __init__(self, pool: asyncpg.Pool, *, wall: Callable[[], datetime]) -> None:
        self._pool = pool
        self._wall = wall
        self._trouble = Trouble("housekeeper_waits_for_database", "housekeeper_goes_on")

    async def run(self) -> None:
        while True:
            try:
                await self.tidy()
            except Exception as error:  # noqa: BLE001  # It goes round again soon.
                self._trouble.log("not_tidied", error)
                pause_seconds = TROUBLE_SECONDS
            else:
                self._trouble.log_end()
                pause_seconds = ROUND_SECONDS
            await asyncio.sleep(pause_seconds)

    async def tidy(self) -> None:
        """In steps, so that no statement is long."""
        await self._park_left_over()
        await self._forget_keys()

    async def _park_left_over(self) -> None:
        async with self._pool.acquire() as connection:
            removed = await deliveries.list_removed_endpoints(connection)
        for endpoint in removed:
            await endpoint_runs.park_removed(self._pool, Steps(), endpoint)

    async def _forget_keys(self) -> None:
        created_before = self._wall() - KEPT_FOR
        for bucket in range(BUCKET_COUNT):
            async with self._pool.acquire() as connection:
                await idempotency.purge(connection, bucket=bucket, created_before=created_before)
