"""The place of the request that is worked on in this task, for code that has to wait for something that is no work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, Protocol


class Place(Protocol):
    """One of the places that admission.py gives."""

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
