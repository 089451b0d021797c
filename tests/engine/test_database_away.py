"""What runs all day logs a database that is away once, and once more when it is back; faults of ours keep their trace."""

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.engine.test_courier import running

from kosminar.engine import closer as closer_module
from kosminar.engine import courier as courier_module
from kosminar.engine.closer import Closer
from kosminar.engine.courier import Courier
from kosminar.engine.outbound import Sender
from kosminar.engine.sweep import Sweeper
from kosminar.engine.writer import Writer

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
SOCKET = ".s.PGSQL.5432"
LOOKS = 20
HANG_UP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Door:
    """A second way to a database, which can be closed, and counts the knocks."""

    def __init__(self, database_url: str, folder: Path) -> None:
        parts = urlsplit(database_url)
        self._socket = Path(parse_qs(parts.query)["host"][0]) / SOCKET
        self._link = folder / SOCKET
        self._direct = database_url
        self.url = f"postgresql://kosminar@{parts.path}?host={folder}&port=5432"
        self.knock_count = 0
        self._link.symlink_to(self._socket)

    async def connect(self, *arguments: Any, **options: Any) -> asyncpg.Connection:
        self.knock_count += 1
        return await asyncpg.connect(*arguments, **options)

    async def close(self) -> None:
        self._link.unlink()
        connection = await asyncpg.connect(self._direct)
        await connection.execute(HANG_UP)
        await connection.close()

    def open(self) -> None:
        self._link.symlink_to(self._socket)


@pytest.fixture
def door(database_url: str) -> Iterator[Door]:
    # Not pytest's own folder, whose name is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="kosminar-door-", dir="/tmp") as folder:
        yield Door(database_url, Path(folder))


@asynccontextmanager
async def courier(pool: asyncpg.Pool, writer: Writer, wall: Callable[[], datetime]) -> AsyncIterator[Courier]:
    async with Sender(
        networks=[ip_network("127.0.0.0/8")],
        user_agent="Kosminar/test",
        ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    ) as sender:
        yield Courier(pool, writer, sender, wall=wall, random=Random(1).random, worker_name=os.urandom(8).hex())


@asynccontextmanager
async def closer(pool: asyncpg.Pool, writer: Writer, wall: Callable[[], datetime]) -> AsyncIterator[Closer]:
    yield Closer(
        pool,
        writer,
        Sweeper(pool, wall=wall, lane_count=1, meters=writer.meters, catalogues=writer.catalogues),
        wall=wall,
        catalogues=writer.catalogues,
    )


@asynccontextmanager
async def going_round(make: Any, door: Door, wall: Callable[[], datetime]) -> AsyncIterator[None]:
    async with (
        asyncpg.create_pool(door.url, min_size=0, max_size=2, connect=door.connect) as pool,
        Writer(pool, wall=wall, lane_count=1) as writer,
        make(pool, writer, wall) as loop,
        running(loop),
    ):
        yield


EACH = pytest.mark.parametrize("make", [courier, closer])


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(closer_module, "TICK_SECONDS", 0.01)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


@EACH
async def test_a_database_that_is_away_is_logged_once_and_once_more_when_it_is_back(door: Door, make: Any) -> None:
    looked = asyncio.Event()

    def wall() -> datetime:
        looked.set()
        return NOW

    with capture_logs() as logs:
        async with going_round(make, door, wall):
            for number in (1, 2):
                await asyncio.wait_for(looked.wait(), 30)
                await door.close()
                knocked = door.knock_count
                await until(lambda knocked=knocked: door.knock_count > knocked + LOOKS)
                looked.clear()
                door.open()
                await until(lambda count=2 * number: len(logs) >= count)

    assert [(log["event"], log["log_level"]) for log in logs] == [
        (f"{make.__name__}_waits_for_database", "warning"),
        (f"{make.__name__}_goes_on", "info"),
    ] * 2
    assert all("exc_info" not in log for log in logs)
    assert all(isinstance(log["error"], str) and "\n" not in log["error"] for log in logs[::2])


@EACH
async def test_a_fault_of_ours_is_logged_each_time_with_its_trace(door: Door, make: Any) -> None:
    def wall() -> datetime:
        raise ZeroDivisionError

    with capture_logs() as logs:
        async with going_round(make, door, wall):
            await until(lambda: len(logs) >= 3)

    assert {log["event"] for log in logs} <= {"deliveries_not_looked_for", "period_ends_not_looked_for"}
    assert all(isinstance(log["exc_info"], ZeroDivisionError) for log in logs)
