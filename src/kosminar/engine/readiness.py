"""Readiness: whether changes can be saved just now, found out by a write that leaves nothing.

The probe asks for no credentials, and each write waits for the disk: so a process makes one a second at most, and
callers that ask meanwhile get its result.
"""

import asyncio
from typing import Final

import asyncpg

from kosminar.store import health
from kosminar.store.link import within

PATIENCE_SECONDS: Final = 3
"""Of a probe for the database: less than orchestrators commonly have for the probe itself."""

FRESH_SECONDS: Final = 1.0


class Readiness:
    """Remembers the write that was made last."""

    def __init__(self) -> None:
        self._trial: asyncio.Task[str | None] | None = None
        self._began_at = 0.0

    async def hindrance(self, pool: asyncpg.Pool) -> str | None:
        """One sentence on why nothing can be saved; None if it can. Takes PATIENCE_SECONDS at most."""
        now = asyncio.get_running_loop().time()
        fresh = self._trial is not None and (not self._trial.done() or now - self._began_at < FRESH_SECONDS)
        if self._trial is None or not fresh:
            self._trial = asyncio.create_task(_try(pool, writing=True))
            self._began_at = now
        elif self._trial.done() and self._trial.result() is None:
            # It was written to a moment ago; to look again costs no disk.
            return await _try(pool, writing=False)
        # Others wait for it as well: who goes away does not end it.
        return await asyncio.shield(self._trial)


async def _try(pool: asyncpg.Pool, *, writing: bool) -> str | None:
    try:
        async with within(pool, PATIENCE_SECONDS) as connection:
            hindrance = await health.find_hindrance(connection, writing=writing)
    except Exception:  # noqa: BLE001  # Whatever it is, the answer is the same: not ready.
        return "The database does not answer, or cannot write."
    return None if hindrance is None else f"The database is {hindrance}."
