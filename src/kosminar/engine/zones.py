"""The zones of organisations: never changed once chosen, so each is read from the database once."""

from zoneinfo import ZoneInfo

import asyncpg

from kosminar.store import organisations


class Zones:
    """Answers the zone in which an organisation's instants without zone are meant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: dict[int, ZoneInfo] = {}

    async def of(self, organisation_id: int) -> ZoneInfo:
        if organisation_id not in self._known:
            async with self._pool.acquire() as connection:
                organisation = await organisations.fetch(connection, organisation_id)
            self._known[organisation_id] = ZoneInfo(organisation.zone)
        return self._known[organisation_id]
