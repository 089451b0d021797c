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
    """Others may have the request's place meanwhile; afterwards it waits for one like any other. Raises Busy."""
    place = CURRENT.get()
    if place is not None:
        place.give_back()
    yield
    if place is not None:
        await place.take()


async def pause(seconds: float) -> None:
    """Waits for so long with the request's place given up. Raises Busy, and ClientGone as soon as its client has hung up."""
    place = CURRENT.get()
    if place is None:
        await asyncio.sleep(seconds)
        return
    async with aside():
        try:
            async with asyncio.timeout(seconds):
                await place.client_gone.wait()
        except TimeoutError:
            return
        raise ClientGone
