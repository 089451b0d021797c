"""The one place that asks the machine: its clock, its environment, its database. Everything else is told.

`open_house` is what every edge begins with: it finds the database, embedded or named, brings the schema up to date and
starts the writer. Fits a page, and should.
"""

import asyncio
import os
import socket
import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from secrets import SystemRandom, token_hex
from typing import Final

import asyncpg

from kosminar.engine.catalogue import Catalogues
from kosminar.engine.closer import Closer
from kosminar.engine.counter_adder import CounterAdder
from kosminar.engine.courier import Courier
from kosminar.engine.house import House
from kosminar.engine.housekeeper import Housekeeper
from kosminar.engine.meters import Meters
from kosminar.engine.outbound import Sender
from kosminar.engine.sweep import Sweeper
from kosminar.engine.writer import Writer
from kosminar.engine.zones import Zones
from kosminar.settings import Settings
from kosminar.store import generations
from kosminar.store.connections import plan_by_key, sharing_types
from kosminar.store.distribution import Groups, load_groups
from kosminar.store.embedded import kept_alive, open_embedded
from kosminar.store.link import Link, Pool
from kosminar.store.migration import migrate

# For reads and probes. The lanes have connections of their own: whoever waits for a lane while it holds
# one of these can never keep the lane from getting one. More than are commonly asked for at once: a connection that
# is waited for is slow to come, and the pool gives it to who asks in the right moment before those who wait. They are
# opened when they are needed, and closed when they were idle for five minutes.
CONNECTION_COUNT: Final = 32
# Period ends may wait for those of another process; that must not keep requests from being read.
CLOSER_CONNECTION_COUNT: Final = 4
# Each is held for a few statements and never while somebody is sent to.
COURIER_CONNECTION_COUNT: Final = 4
# No statement of a batch takes a second; one that takes this long has lost its server.
COMMAND_SECONDS: Final = 60
# For saying good-bye to the database, a pool at a time.
CLOSE_SECONDS: Final = 2

# The pinned zone data, never the system's: the same programme must have the same periods on every machine.
zoneinfo.reset_tzpath(to=())


def utc_now() -> datetime:
    """Real time. Nothing but this function reads the machine's clock."""
    return datetime.now(UTC)  # noqa: TID251 -- The one place.


@contextmanager
def open_database(settings: Settings, *, serving: bool = False) -> Iterator[str]:
    """The URL of the database: the one named, or the embedded one, held for as long as the context lasts.

    Who serves brings a killed embedded database back to life, and decides whether it archives.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    with (
        open_embedded(settings.data_dir, archive_directory=settings.archive_dir, forget=serving) as embedded,
        kept_alive(embedded) if serving else nullcontext(),
    ):
        yield embedded.url


@asynccontextmanager
async def open_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection to a database that may be of any version."""
    link = Link(database_url)
    async with link.watched(), link.connection() as connection:
        yield connection


@asynccontextmanager
async def open_house(
    settings: Settings,
    database_url: str,
    *,
    wall: Callable[[], datetime] = utc_now,
    connection_class: type[asyncpg.Connection] = asyncpg.Connection,
) -> AsyncIterator[House]:
    """A migrated database and a running writer; both are closed in order, after what was accepted is saved.

    The simulation has a wall and connections of its own, to move the one and to break the others.
    """
    meters = Meters()
    link = Link(database_url, connection_class=sharing_types(connection_class))
    make_pool = partial(link.pool, init=partial(_recognise, wall=wall))
    async with (
        link.watched(),
        # The first connection at once, so that a database that cannot be reached is found out now.
        _opened(make_pool(init_size=1, max_size=CONNECTION_COUNT, reset=_leave_as_it_is)) as pool,
        _opened(
            make_pool(
                max_size=settings.lanes,
                command_timeout=COMMAND_SECONDS,
                init=partial(_prepare_lane, wall=wall),
                reset=_leave_as_it_is,
            )
        ) as lane_pool,
        _opened(make_pool(max_size=CLOSER_CONNECTION_COUNT)) as closer_pool,
        _opened(
            make_pool(max_size=settings.lanes, command_timeout=COMMAND_SECONDS, reset=_leave_as_it_is)
        ) as sweep_pool,
        _opened(make_pool(max_size=COURIER_CONNECTION_COUNT, command_timeout=COMMAND_SECONDS)) as courier_pool,
        Sender(networks=settings.webhook_networks, user_agent=f"Kosminar/{version('kosminar')}") as sender,
    ):
        pools = {
            "requests": pool,
            "lanes": lane_pool,
            "closer": closer_pool,
            "sweep": sweep_pool,
            "courier": courier_pool,
        }
        for name, watched in pools.items():
            meters.watch_pool(name, watched)
        groups = await _bring_up_to_date(pool, now=wall())
        async with Writer(
            lane_pool, wall=wall, lane_count=settings.lanes, groups=groups, meters=meters, catalogues=Catalogues()
        ) as writer:
            courier = _courier(courier_pool, writer, sender, wall=wall)
            writer.when_posted(courier.nudge)
            yield House(
                settings=settings,
                pool=pool,
                writer=writer,
                closer=_closer(
                    closer_pool,
                    sweep_pool,
                    writer,
                    wall=wall,
                    lane_count=settings.lanes,
                    posted=courier.nudge,
                ),
                courier=courier,
                housekeeper=Housekeeper(pool, wall=wall),
                counter_adder=CounterAdder(pool),
                catalogues=writer.catalogues,
                zones=Zones(pool),
                wall=wall,
                meters=meters,
            )


async def _bring_up_to_date(pool: asyncpg.Pool, *, now: datetime) -> Groups:
    """Migrates the database, and answers which of its buckets lie together."""
    async with pool.acquire() as connection:
        await migrate(connection, now=now)
        return await load_groups(connection)


def _closer(
    pool: asyncpg.Pool,
    sweep_pool: asyncpg.Pool,
    writer: Writer,
    *,
    wall: Callable[[], datetime],
    lane_count: int,
    posted: Callable[[], None],
) -> Closer:
    sweeper = Sweeper(
        sweep_pool,
        wall=wall,
        lane_count=lane_count,
        meters=writer.meters,
        catalogues=writer.catalogues,
        groups=writer.groups,
        posted=posted,
    )
    return Closer(pool, writer, sweeper, wall=wall, catalogues=writer.catalogues)


def _courier(pool: asyncpg.Pool, writer: Writer, sender: Sender, *, wall: Callable[[], datetime]) -> Courier:
    # A process number may come back; a lease must not find another holder of its holder's name.
    name = f"{socket.gethostname()}/{os.getpid()}/{token_hex(8)}"
    return Courier(pool, writer, sender, wall=wall, random=SystemRandom().random, worker_name=name)


async def _recognise(connection: asyncpg.Connection, *, wall: Callable[[], datetime]) -> None:
    """Before a connection is used: where the server was restored or took over, a new generation begins."""
    await generations.keep(connection, now=wall())


async def _prepare_lane(connection: asyncpg.Connection, *, wall: Callable[[], datetime]) -> None:
    await _recognise(connection, wall=wall)
    await plan_by_key(connection)


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """What a lane or a request does on a connection ends with its transaction; to have the database reset it as well
    would cost as much as a statement more. Who takes locks of a session has another pool.
    """


@asynccontextmanager
async def _opened(pool: Pool) -> AsyncIterator[Pool]:
    """An open pool, which is closed in order."""
    await pool
    try:
        yield pool
    finally:
        # Cut short, it drops its connections: to a server that does not answer there is nothing more to say.
        with suppress(TimeoutError):
            await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
