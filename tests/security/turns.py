"""How long one turn of the event loop takes, in the CPU time of its thread: what other processes do does not count.

A turn is what the loop runs without a chance for anything else: one callback, or one step of a task up to where it
waits. As long as it runs, nobody is answered.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kosminar.cli import GARBAGE_THRESHOLD

# What issue and docs/security.md promise.
TURN_SECONDS_MAX = 0.05


class Turns:
    """The longest turn since `begin` was last called, and what ran in it."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self.longest = ""

    async def begin(self) -> None:
        """Forget what was before, and the test's own turn up to here."""
        await asyncio.sleep(0)
        self.longest_seconds, self.longest = 0.0, ""

    def note(self, seconds: float, handle: Any) -> None:
        if seconds > self.longest_seconds:
            self.longest_seconds, self.longest = seconds, repr(handle)


@contextmanager
def watched_turns() -> Iterator[Turns]:
    """Measures each turn of each loop in this thread. The garbage collector runs as in the served process."""
    turns = Turns()
    run = asyncio.Handle._run

    def measured(handle: Any) -> None:
        began = time.thread_time()
        run(handle)
        turns.note(time.thread_time() - began, handle)

    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    asyncio.Handle._run = measured  # type: ignore[method-assign]
    try:
        yield turns
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.set_threshold(*thresholds)
        gc.unfreeze()
