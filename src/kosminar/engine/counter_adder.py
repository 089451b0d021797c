"""Adds the changes of counters to their totals, once a second. In every process; one of them at a time does it.

Changes are removed in the transaction that adds them, so the adder may be killed, run twice, and be late: readers take
what is not yet added as well.
"""

import asyncio
from typing import Final

import asyncpg

from kosminar.engine.trouble import Trouble
from kosminar.store import counters

ROUND_SECONDS: Final = 1.0
# After a round that failed, as while the database is away.
TROUBLE_SECONDS: Final = 5.0
# A round that found this many is followed by the next one at once: reading stays fast while few wait.
MANY: Final = 1_000


class CounterAdder:
    """`run` adds until cancelled; `add` is one round."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._trouble = Trouble("counters_wait_for_database", "counters_go_on")

    async def run(self) -> None:
        while True:
            try:
                pause_seconds = pause_after(await self.add())
            except Exception as error:  # noqa: BLE001  # What is not added is added by a later round.
                self._trouble.log("counters_not_added", error)
                pause_seconds = TROUBLE_SECONDS
            else:
                self._trouble.log_end()
            await asyncio.sleep(pause_seconds)

    async def add(self) -> int:
        """How many changes were added; 0 also while another process adds them."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await counters.add_changes(connection)


def pause_after(change_count: int) -> float:
    """Seconds until the next round: none where so many were found that more have come meanwhile."""
    return 0.0 if change_count >= MANY else ROUND_SECONDS
