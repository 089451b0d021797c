"""Runs everything in one process: the API, the closer, and the embedded database if no other is named.

Ends on SIGTERM and SIGINT in order: no new requests, answers for those under way, the writer's last batch, then the
database if nobody else uses it.
"""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import uvicorn
import uvloop

from kosminar.api.app import build_app
from kosminar.engine.house import House
from kosminar.settings import Settings
from kosminar.wiring import open_database, open_house

# How long a request under way may still take when we are asked to stop.
SHUTDOWN_SECONDS = 30


class PortTaken(Exception):
    """Somebody else listens there, or the address is not ours."""


class _Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn would raise them again before the database is stopped."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._ready = ready
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Once requests are answered, say so beside answering them."""
        await super().startup(sockets)
        if self.started:
            self._announcing = asyncio.create_task(self._announce())

    async def announced(self) -> None:
        """Raises what went wrong while saying so; asked to stop meanwhile, it need not be said."""
        if self._announcing is not None and not self._announcing.cancel():
            await self._announcing

    async def _announce(self) -> None:
        try:
            await self._ready()
        except BaseException:
            self._stop()
            raise

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise PortTaken(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from None
    return listener


def serve_forever(
    settings: Settings,
    listener: socket.socket,
    *,
    ready: Callable[[House], Awaitable[None]],
) -> None:
    """Serve until a signal comes; `ready` is called once requests are answered."""
    with open_database(settings) as database_url:
        uvloop.run(_serve(settings, database_url, listener, ready))


async def _serve(
    settings: Settings, database_url: str, listener: socket.socket, ready: Callable[[House], Awaitable[None]]
) -> None:
    async with open_house(settings, database_url) as house:
        config = uvicorn.Config(
            build_app(house),
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        server = _Server(config, partial(ready, house))
        closing = asyncio.create_task(house.closer.run())
        try:
            await server.serve(sockets=[listener])
            await server.announced()
        finally:
            closing.cancel()
            with suppress(asyncio.CancelledError):
                await closing
