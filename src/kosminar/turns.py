"""Long work that other tasks of the event loop need not wait for: it gives the loop back every few milliseconds.

Everything that awaits uses it, from the store up, so it stands below the store.
One C call or one function holds the loop until it returns, so work must come in steps that are short themselves.
Measured by tests/security/test_hostile_clients.py and tests/engine/test_batch_turns.py; reasons: ADR-0032.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from kosminar.core.decoder import Steps

Item = TypeVar("Item")
T = TypeVar("T")

# Of a turn, before the next step gives way. Steps take up to four times as long, and no request is to wait for 50 ms; giving
# way takes some ten microseconds where nothing else is to be done.
TURN_SECONDS: Final = 0.005


class Turn:
    """How long a task has had the loop. Begins when it is made."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = time.monotonic()

    async def give_way(self) -> None:
        """Lets others run if the turn has lasted; else returns at once."""
        if time.monotonic() - self._began >= TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = time.monotonic()


async def in_turns(steps: Steps[T]) -> T:
    """What the steps come to; others run between them."""
    turn = Turn()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await turn.give_way()


async def each_in_turns(do: Callable[[Item], T], items: Iterable[Item]) -> list[T]:
    """What is done comes to for each of the items; others run between them."""
    turn = Turn()
    done = []
    for item in items:
        done.append(do(item))
        await turn.give_way()
    return done


def in_parts(items: Sequence[Item], count_max: int) -> Iterator[Sequence[Item]]:
    """The items in parts of so many, one empty part if there are none: what one statement is given is encoded at once."""
    for start in range(0, max(1, len(items)), count_max):
        yield items[start : start + count_max]
