"""The link to the database: where it is, and deadlines for one that has stopped answering.

A server whose processes stand still, or whose machine is gone, takes connections and never answers. The driver then
waits without end: for the answer, and for the server's word that a statement was given up. So here everything ends by
a deadline, and the connection is cut rather than waited for. `Link.watch` asks every second whether the database
answers at all. When it has not for a while, all connections are cut, and until it answers again no new one is waited
for. Connections that take no changes are not kept, so that a pool finds the new primary (ADR-0036, ADR-0037).

It leans on one internal of asyncpg, whose version is pinned; tests/store/test_link.py notices when that is gone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from weakref import WeakSet

import asyncpg
import structlog

from kosminar.store import organisations
from kosminar.store.queries import Connection

CONNECT_SECONDS: Final = 5
"""For one host to let us in. A healthy one takes a few milliseconds."""

CANCEL_SECONDS: Final = 1
"""How long a statement that was given up is waited for, so that its connection can be used again."""

PULSE_SECONDS: Final = 1
SILENCE_SECONDS: Final = 10
"""Without an answer for so long, the database is taken to have stopped; no answer to the pulse takes a second."""

CONNECTION_QUERIES_MAX: Final = 50_000
IDLE_SECONDS_MAX: Final = 300.0

# What is said by a host that cannot serve us while another one may.
NEXT_HOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TargetServerAttributeNotMatched,
)

LOG = structlog.get_logger()


class DatabaseSilent(TimeoutError):
    """The database does not answer; whether it still did what it was asked is unknown."""


class Link:
    """Opens connections to the database of that URL, and pools of them.

    Of several hosts the one that let us in last is tried first. `connection_class` is what the connections are made of.
    """

    def __init__(self, url: str, *, connection_class: type[asyncpg.Connection] = asyncpg.Connection) -> None:
        self._hosts = each_host(url)
        self._open: WeakSet[asyncpg.Connection] = WeakSet()
        self._connection_class = _cut_in_time(connection_class, self._open)
        self._silent = asyncio.Event()
        # Not one of those that are cut while the database is silent: a slow answer would never arrive.
        self._pulse_class = _cut_in_time(connection_class, WeakSet())
        self._pulse: asyncpg.Connection | None = None
        self._pulse_host = ""

    def pool(self, **options: Any) -> "Pool":
        """A pool to be awaited; the options are asyncpg's. None of its connections is kept open for ever."""
        return Pool(
            None,
            **{
                "connect": self.connect,
                "connection_class": self._connection_class,
                "min_size": 0,
                "max_queries": CONNECTION_QUERIES_MAX,
                "max_inactive_connection_lifetime": IDLE_SECONDS_MAX,
                "loop": None,
                "record_class": asyncpg.Record,
                **options,
            },
        )

    async def connect(self, _: str | None = None, **options: Any) -> asyncpg.Connection:
        """A connection to the first host that lets us in; raises DatabaseSilent if one is, or what the last one said."""
        if self._silent.is_set():
            raise DatabaseSilent(f"The database has not answered for {SILENCE_SECONDS} seconds or more.")
        return await self._connect(**{"connection_class": self._connection_class, **options})

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """One connection, closed in order where the database still answers."""
        connection = await self.connect()
        try:
            yield connection
        finally:
            with suppress(TimeoutError):
                await connection.close(timeout=CANCEL_SECONDS)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While this lasts, no caller waits much longer than SILENCE_SECONDS for a database that does not answer."""
        watch = asyncio.create_task(self.watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait({watch})

    async def until_silent(self) -> None:
        """Returns when the database that is watched has not answered for SILENCE_SECONDS."""
        await self._silent.wait()

    async def watch(self) -> None:
        """Ask once a second whether the database answers, until cancelled."""
        silent_seconds = 0
        try:
            while True:
                asking = asyncio.create_task(self._ask())
                try:
                    # Second by second: if it was this process that stood still, that was one second.
                    while not (await asyncio.wait({asking}, timeout=PULSE_SECONDS))[0]:
                        silent_seconds += PULSE_SECONDS
                        if silent_seconds >= SILENCE_SECONDS:
                            self._cut()
                finally:
                    asking.cancel()
                    await asyncio.wait({asking})
                if asking.result():
                    silent_seconds = 0
                    self._note_answer()
                await asyncio.sleep(PULSE_SECONDS)
        finally:
            if self._pulse is not None:
                self._pulse.terminate()

    async def _ask(self) -> bool:
        """Whether the database said something, if only that it takes no connections: then no caller waits for it."""
        try:
            pulse = await self._find_pulse()
            try:
                # A second more than silence takes, so that the silence is noticed first.
                async with asyncio.timeout(SILENCE_SECONDS + PULSE_SECONDS):
                    await organisations.ping(pulse)
            except TimeoutError:
                pulse.terminate()
                raise
        except TimeoutError:
            return False
        except Exception:  # noqa: BLE001  # Callers that use the database meet it too, and report it.
            return not self._silent.is_set()
        return True

    async def _find_pulse(self) -> asyncpg.Connection:
        """The connection that asks, to the server that the others are on, or would be on if opened now."""
        if self._pulse is not None and (takes_no_changes(self._pulse) or self._pulse_host != self._hosts[0]):
            self._pulse.terminate()
        if self._pulse is None or self._pulse.is_closed():
            self._pulse = await self._connect(connection_class=self._pulse_class)
            self._pulse_host = self._hosts[0]
        return self._pulse

    def _cut(self) -> None:
        if not self._silent.is_set():
            LOG.error("database_silent", seconds=SILENCE_SECONDS, connections=len(self._open))
        self._silent.set()
        for connection in list(self._open):
            connection.terminate()

    def _note_answer(self) -> None:
        if self._silent.is_set():
            LOG.warning("database_answers_again")
        self._silent.clear()

    async def _connect(self, **options: Any) -> asyncpg.Connection:
        error: BaseException | None = None
        for host in list(self._hosts):
            try:
                connection: asyncpg.Connection = await asyncpg.connect(host, timeout=CONNECT_SECONDS, **options)
            except TimeoutError:
                error = DatabaseSilent(f"The database did not answer within {CONNECT_SECONDS} seconds.")
            except NEXT_HOST as refused:
                # That another host is a standby does not say that the database answers.
                error = error if isinstance(error, DatabaseSilent) else refused
            else:
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                return connection
        assert error is not None, "a URL names one host at least, or leaves it to the driver"
        raise error


class Pool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg tells mypy nothing.
    """A pool that keeps no connection which takes no changes: the next one may be to a server that does."""

    async def release(self, connection: Connection, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- As asyncpg has it.
        with suppress(asyncpg.InterfaceError):  # It was cut, and is back already.
            if takes_no_changes(connection):
                connection.terminate()
        await super().release(connection, timeout=timeout)


def takes_no_changes(connection: Connection) -> bool:
    """Whether the server has said that it is in recovery, or that transactions here are read-only by default.

    PostgreSQL reports both by itself, from version 14 on.
    """
    if connection.is_closed():
        return False
    said = connection.get_settings()
    return "on" in (getattr(said, "in_hot_standby", "off"), getattr(said, "default_transaction_read_only", "off"))


@asynccontextmanager
async def within(pool: asyncpg.Pool, seconds: float) -> AsyncIterator[Connection]:
    """A connection of the pool, for so long at most from asking for it to giving it back. Raises TimeoutError.

    At the end of the time the connection is cut: to give a statement up would be to wait for the server's word.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    async with asyncio.timeout_at(ends_at):
        connection = await pool.acquire()
    late = False

    def cut() -> None:
        nonlocal late
        late = True
        with suppress(asyncpg.InterfaceError):  # Given back in this very moment.
            connection.terminate()

    cutting = loop.call_at(ends_at, cut)
    try:
        try:
            yield connection
        finally:
            await pool.release(connection)
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        if late:
            raise TimeoutError(f"not done within {seconds} seconds") from error
        raise
    finally:
        cutting.cancel()


def each_host(url: str) -> list[str]:
    """The URL once for each host that it names, in its order.

    >>> each_host("postgresql://me@a:5433,b/shop?target_session_attrs=read-write")[1]
    'postgresql://me@b/shop?target_session_attrs=read-write'
    """
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if hosts:
        return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]
    query = dict(parse_qsl(parts.query))
    named = query.get("host", "").split(",")
    ports = query.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(named)
    if len(named) == 1 or len(named) != len(ports):
        return [url]
    queries = [query | {"host": host, "port": port} for host, port in zip(named, ports, strict=True)]
    place = url.partition("?")[0]
    return [f"{place}?{urlencode({name: value for name, value in one.items() if value})}" for one in queries]


def _cut_in_time(base: type[asyncpg.Connection], alive: WeakSet[asyncpg.Connection]) -> type[asyncpg.Connection]:
    """A class of connections that are all in the set, and wait a short time only for a statement to be given up."""

    class LinkedConnection(base):  # type: ignore[misc]  # mypy wants a class that is known beforehand.
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            alive.add(self)

        async def _cancel(self, *waiters: Any) -> None:
            """As asyncpg has it, for a time; it would wait until the server has taken a connection and closed it."""
            giving_up = asyncio.get_running_loop().call_later(CANCEL_SECONDS, self.terminate)
            try:
                await super()._cancel(*waiters)
            finally:
                giving_up.cancel()

    return LinkedConnection
