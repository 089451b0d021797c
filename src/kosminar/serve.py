"""Runs everything in one process: the API, the closer, the courier, and the embedded database if no other is named.

Ends on SIGTERM and SIGINT in order: after SIGTERM a drain, in which requests are still answered and whoever balances
them learns to send them elsewhere; then no new requests, answers for those under way, the writer's last batch, and the
database if nobody else uses it. A second signal waits for none of it but the database.
Told to operators in docs/operations.md; tested by tests/cli/test_shutdown.py.
"""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import Final

import structlog
import uvicorn
import uvloop

from kosminar.api.app import build_app
from kosminar.api.protocol import ConnectionLimits, protocol_of
from kosminar.core.errors import CommandRefused
from kosminar.endings import run
from kosminar.engine.house import House
from kosminar.settings import Settings
from kosminar.wiring import open_database, open_house

# How long requests under way and what the writer accepted may still take once no more are let in.
SHUTDOWN_SECONDS: Final = 30
# An idle writer takes no time to finish, but not none; nobody who is in a hurry notices.
IDLE_SECONDS: Final = 0.1
# Longer than the minute for which proxies commonly keep idle connections to us: whoever sends a request on a connection
# that we are closing cannot know whether it was read.
KEEP_ALIVE_SECONDS: Final = 75

# A worker that was cancelled and works on has overheard it.
CANCEL_AGAIN_SECONDS: Final = 3

LOG: Final = structlog.get_logger()


class PortTaken(CommandRefused):
    """Somebody else listens there, or the address is not ours."""


class _Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn would raise them again before the database is stopped."""

    def __init__(self, config: uvicorn.Config, house: House, ready: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._house = house
        self._ready = ready
        self._announcing: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()
        self._closed_at: float | None = None

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
        """Called by uvicorn for the time that it serves; `heeding_signals` lasts longer."""
        yield

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, self._heed, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                # Removing leaves the default: the process would be gone, and the database not left in order.
                signal.signal(number, handler)

    def _heed(self, number: signal.Signals) -> None:
        if self._house.drain.begun:
            LOG.warning("stopping_hurried", signal=number.name)
            self._hurried.set()
            self.force_exit = True
            self._stop()
            return
        # Who presses Ctrl-C balances nothing, and waits.
        drain_seconds = self._house.settings.drain_seconds if number is signal.SIGTERM else 0
        LOG.info("stopping", signal=number.name, drain_seconds=drain_seconds)
        self._house.drain.begun = True
        asyncio.get_running_loop().call_later(drain_seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, and wait for the requests under way, SHUTDOWN_SECONDS at most."""
        self._closed_at = asyncio.get_running_loop().time()
        await super().shutdown(sockets)

    async def finish(self) -> None:
        """Wait for what the writer accepted, within the same time; the rest was never answered and is given up."""
        for task in self.server_state.tasks:
            task.cancel()
        now = asyncio.get_running_loop().time()
        seconds = SHUTDOWN_SECONDS - (now - (self._closed_at or now))
        finishing = asyncio.create_task(self._house.writer.finish())
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait({finishing, hurried}, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        await asyncio.wait({finishing}, timeout=IDLE_SECONDS)
        if not finishing.done():
            LOG.error("changes_given_up")
            self._house.writer.give_up()
        await finishing


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
    with open_database(settings, serving=True) as database_url:
        run(serve(open_house(settings, database_url), listener, ready), loop_factory=uvloop.new_event_loop)


async def serve(
    opening: AbstractAsyncContextManager[House], listener: socket.socket, ready: Callable[[House], Awaitable[None]]
) -> None:
    """Open the house, serve it until a signal comes, and close it."""
    async with opening as house:
        config = uvicorn.Config(
            build_app(house),
            http=protocol_of(ConnectionLimits(connections_max=house.settings.connections_max)),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            # Nothing of the application begins or ends with it; a second signal would cut its end off with a trace.
            lifespan="off",
        )
        server = _Server(config, house, partial(ready, house))
        with server.heeding_signals():
            workers = (house.closer, house.courier, house.housekeeper, house.counter_adder)
            working = [asyncio.create_task(worker.run()) for worker in workers]
            try:
                await server.serve(sockets=[listener])
                await server.announced()
            finally:
                await _end(working)
                await server.finish()
        LOG.info("stopped")


async def _end(working: Iterable[asyncio.Task[None]]) -> None:
    """Cancel, and cancel again: where a connection breaks at the same time, its error takes the place of the end."""
    left = set(working)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECONDS)
