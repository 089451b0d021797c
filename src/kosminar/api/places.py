"""The place of the request that is worked on in this task, for code that has to wait for something that is no work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from kosminar.api.request import ClientGone


class Place(Protocol):
    """One of the places that admission.py gives. `client_gone` is set when the request's client has hung up."""

    client_gone: asyncio.Event

    async def take(self) -> None: ...
    def give_back(self) -> None: ...


CURRENT: Final[ContextVar[Place | None]] = ContextVar("place", default=None)


@asynccontextmanager
async def aside() -> AsyncIterator[None]:
    """Others may have the request's place meanwhile; afterwards it waits for one like any other.

    Raises Busy, and ClientGone as soon as the client has hung up: then nothing is waited for any more.
    """
    place = CURRENT.get()
    if place is None:
        yield
        return
    place.give_back()
    async with unless_gone(place.client_gone):
        yield
    await place.take()


async def pause(seconds: float) -> None:
    """Waits for so long with the request's place given up. Raises Busy and ClientGone as `aside` does."""
    async with aside():
        await asyncio.sleep(seconds)


@asynccontextmanager
async def unless_gone(client_gone: asyncio.Event | None) -> AsyncIterator[None]:
    """Cancels what is awaited inside as soon as the client has hung up, and raises ClientGone; None is never set."""
    if client_gone is None:
        yield
        return
    try:
        async with asyncio.timeout(None) as patience:
            watching = asyncio.create_task(_end_when_gone(client_gone, patience))
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not patience.expired():
            raise
        raise ClientGone from None


async def _end_when_gone(client_gone: asyncio.Event, patience: asyncio.Timeout) -> None:
    await client_gone.wait()
    patience.reschedule(asyncio.get_running_loop().time())
