"""The one place that asks the machine: its clock, its environment, its database. Everything else is told.

`open_house` is what every edge begins with: it finds the database, embedded or named, brings the schema up to date and
starts the writer. Fits a page, and should.
"""

import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Final

import asyncpg

from kosminar.engine.closer import Closer
from kosminar.engine.house import House
from kosminar.engine.writer import Writer
from kosminar.engine.zones import Zones
from kosminar.settings import Settings
from kosminar.store.embedded import open_embedded
from kosminar.store.migration import migrate

# For reads and probes. The lanes have connections of their own: whoever waits for a lane while it holds
# one of these can never keep the lane from getting one.
CONNECTION_COUNT: Final = 8
# Period ends may wait for those of another process; that must not keep requests from being read.
CLOSER_CONNECTION_COUNT: Final = 4
# No statement of a batch takes a second; one that takes this long has lost its server.
COMMAND_SECONDS: Final = 60

# The pinned zone data, never the system's: the same programme must have the same periods on every machine.
zoneinfo.reset_tzpath(to=())


def utc_now() -> datetime:
    """Real time. Nothing but this function reads the machine's clock."""
    return datetime.now(UTC)  # noqa: TID251 -- The one place.


@contextmanager
def open_database(settings: Settings) -> Iterator[str]:
    """The URL of the database: the one named, or the embedded one, held for as long as the context lasts."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with open_embedded(settings.data_dir) as embedded:
        yield embedded.url


@asynccontextmanager
async def open_house(
    settings: Settings, database_url: str, *, wall: Callable[[], datetime] = utc_now
) -> AsyncIterator[House]:
    """A migrated database and a running writer; both are closed in order, after what was accepted is saved."""
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=CONNECTION_COUNT) as pool,
        asyncpg.create_pool(
            database_url, min_size=1, max_size=settings.lanes, command_timeout=COMMAND_SECONDS
        ) as lane_pool,
        asyncpg.create_pool(database_url, min_size=0, max_size=CLOSER_CONNECTION_COUNT) as closer_pool,
    ):
        async with pool.acquire() as connection:
            await migrate(connection, now=wall())
        async with Writer(lane_pool, wall=wall, lane_count=settings.lanes) as writer:
            yield House(
                settings=settings,
                pool=pool,
                writer=writer,
                closer=Closer(closer_pool, writer, wall=wall),
                zones=Zones(pool),
                wall=wall,
            )
