"""A PostgreSQL of our own for every test process, and a fresh migrated database for every test.

This server never waits for the disk: tests of crashes start servers of their own. Databases are cloned from one
template, which is migrated once. Under pytest-xdist each worker has its own server.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
import ssl
import zoneinfo
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx2
import pytest
import pytest_asyncio

from kosminar.store import embedded
from kosminar.store.embedded_host import temporary_data_directory
from kosminar.store.migration import migrate

if TYPE_CHECKING:
    from kosminar.engine.house import House

# As wiring.py does for the product: the pinned zone data, whatever the system has.
zoneinfo.reset_tzpath(to=())

TEMPLATE = "template_kosminar"
MIGRATED_AT = datetime(2026, 1, 1, tzinfo=UTC)

WALL_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def pytest_configure() -> None:
    """SIGTERM, which `timeout` sends, ends the run as Ctrl-C does: in order, and never by an exception in a running loop.

    What that did to asyncpg's connections stands in kosminar/endings.py.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script's shell starts what it puts into the background so, and the run would go on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))


class Wall:
    """Real time as the tests have it: stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = WALL_AT

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


class Server:
    """The test server, and databases on it. Works from fixtures that are not async, on a loop of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        # With a factory the runner leaves the thread's current event loop alone, which is pytest-asyncio's.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._numbers = itertools.count(1)
        self._admin = self._runner.run(asyncpg.connect(url))

    def url(self, name: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self._runner.run(self._admin.execute(statement))

    def make_template(self) -> None:
        self.execute("ALTER ROLE kosminar SET synchronous_commit = off", f"CREATE DATABASE {TEMPLATE}")
        self._runner.run(self._migrate(TEMPLATE))

    async def _migrate(self, name: str) -> None:
        connection = await asyncpg.connect(self.url(name))
        await migrate(connection, now=MIGRATED_AT)
        await connection.close()

    def create_database(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        self._runner.run(self._admin.close())
        self._runner.close()


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """A server in a data directory of its own, with some of PostgreSQL's settings changed."""
    directory = temporary_data_directory()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedded, "SETTINGS", embedded.SETTINGS | settings)
            database = embedded.open_embedded(directory)
        with database:
            server = Server(database.url)
            yield server
            server.close()
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def database_server() -> Iterator[Server]:
    # Cloning a database flushes its files, which took a third of the time of a test that needs one.
    with running_server(fsync="off", full_page_writes="off") as server:
        server.make_template()
        yield server


@pytest.fixture
def database_url(database_server: Server) -> Iterator[str]:
    """A fresh database with the newest schema and no rows."""
    name = database_server.create_database(TEMPLATE)
    yield database_server.url(name)
    database_server.drop_database(name)


@pytest.fixture
def empty_database_url() -> Iterator[str]:
    """A fresh database without any table of ours, on a server as an operator's: `kosminar doctor` looks at it."""
    with running_server() as server:
        yield server.url(server.create_database("template0"))


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=10) as pool:
        yield pool


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest_asyncio.fixture
async def house(database_url: str, pool: asyncpg.Pool, wall: Wall) -> AsyncIterator[House]:
    # Imported here, so that the tests of the core load no web framework.
    from kosminar.engine.closer import Closer
    from kosminar.engine.counter_adder import CounterAdder
    from kosminar.engine.courier import Courier
    from kosminar.engine.house import House
    from kosminar.engine.housekeeper import Housekeeper
    from kosminar.engine.outbound import Sender
    from kosminar.engine.sweep import Sweeper
    from kosminar.engine.writer import Writer
    from kosminar.engine.zones import Zones
    from kosminar.settings import Settings

    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=2) as lane_pool,
        Writer(lane_pool, wall=wall, lane_count=2) as writer,
        # To receivers on this machine; without the authorities, whose list takes long to read.
        Sender(
            networks=[ip_network("127.0.0.0/8")],
            user_agent="Kosminar/test",
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        ) as sender,
    ):
        yield House(
            settings=Settings.read({}),
            pool=pool,
            writer=writer,
            closer=Closer(
                pool,
                writer,
                Sweeper(pool, wall=wall, lane_count=2, meters=writer.meters, catalogues=writer.catalogues),
                wall=wall,
                catalogues=writer.catalogues,
            ),
            courier=Courier(pool, writer, sender, wall=wall, random=Random(1).random, worker_name="test"),
            housekeeper=Housekeeper(pool, wall=wall),
            counter_adder=CounterAdder(pool),
            catalogues=writer.catalogues,
            zones=Zones(pool),
            wall=wall,
            meters=writer.meters,
        )


@pytest_asyncio.fixture
async def http(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the whole application, in this process."""
    from kosminar.api.app import build_app

    transport = httpx2.ASGITransport(app=build_app(house))
    async with httpx2.AsyncClient(transport=transport, base_url="http://kosminar.test") as client:
        yield client
