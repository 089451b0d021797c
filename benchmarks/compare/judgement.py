"""From pairs of runs to a ratio to rely on: medians, quartiles, and an interval that assumes no distribution.

The ratio of each pair is a number of its own. With n of them, the k-th lowest and the k-th highest enclose the true
median unless fewer than k of n fell on one side of it, which has the probability of so many heads in n tosses of a
coin. Of nine, the second lowest and the second highest enclose it with 96 %.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import comb
from typing import Any

CONFIDENCE_MIN = 0.95


@dataclass(frozen=True)
class Sample:
    """One side of a pair: how many activities or calls, how long they took, and what server and database computed."""

    count: int
    seconds: float
    server_seconds: float
    database_seconds: float

    def __add__(self, other: "Sample") -> "Sample":
        return Sample(
            self.count + other.count,
            self.seconds + other.seconds,
            self.server_seconds + other.server_seconds,
            self.database_seconds + other.database_seconds,
        )

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def server_us(self) -> float:
        return self.server_seconds / self.count * 1e6

    @property
    def database_us(self) -> float:
        return self.database_seconds / self.count * 1e6

    @property
    def cpu_us(self) -> float:
        return self.server_us + self.database_us


MEASURES = {"cpu_us": "CPU in all", "server_us": "CPU of server", "database_us": "CPU of database", "rate": "rate"}


@dataclass(frozen=True)
class Interval:
    """A median of ratios, what encloses the true one, and how surely."""

    ratio: float
    low: float
    high: float
    confidence: float


class Verdict(Enum):
    """Whether a rise of so many percent at most was kept."""

    KEPT = "kept"
    EXCEEDED = "exceeded"
    OPEN = "open"


def interval(ratios: Sequence[float]) -> Interval:
    """The narrowest of order statistics that holds with 95 %; with fewer than six ratios, all of them with less."""
    ordered = sorted(ratios)
    rank = max(
        (k for k in range(1, len(ordered) // 2 + 1) if _confidence(len(ordered), k) >= CONFIDENCE_MIN), default=1
    )
    return Interval(
        statistics.median(ordered), ordered[rank - 1], ordered[-rank], max(0.0, _confidence(len(ordered), rank))
    )


def _confidence(count: int, rank: int) -> float:
    return 1 - 2 * sum(comb(count, heads) for heads in range(rank)) / 2**count


@dataclass(frozen=True)
class Judgement:
    """All pairs of one kind of load. A ratio is the new side's to the base's; `unit` is what is counted."""

    title: str
    unit: str
    base: Sequence[Sample]
    new: Sequence[Sample]

    def interval(self, measure: str) -> Interval:
        return interval(
            [getattr(new, measure) / getattr(base, measure) for base, new in zip(self.base, self.new, strict=True)]
        )

    def verdict(self, percent: float) -> Verdict:
        """Of the CPU of server and database together: exceeded only if the whole interval is beyond the bound."""
        bound, found = 1 + percent / 100, self.interval("cpu_us")
        if found.low > bound:
            return Verdict.EXCEEDED
        return Verdict.KEPT if found.high <= bound else Verdict.OPEN

    def lines(self) -> list[str]:
        rows = []
        for measure, name in MEASURES.items():
            unit = f"{self.unit}/s" if measure == "rate" else f"us/{self.unit}"
            found = self.interval(measure)
            sides = "".join(f" {_spread([getattr(each, measure) for each in side])}" for side in (self.base, self.new))
            rows.append(f"  {name:<16}{sides}  {unit:<11}  {found.ratio:.3f} ({found.low:.3f} to {found.high:.3f})")
        return rows

    def sentence(self) -> str:
        cpu, rate = self.interval("cpu_us"), self.interval("rate")
        return (
            f"{self.title}: CPU of one {self.unit} {_percent(cpu, 'more', 'less')}; "
            f"rate {_percent(rate, 'faster', 'slower')}."
        )

    def result(self) -> dict[str, Any]:
        found = {measure: self.interval(measure) for measure in MEASURES}
        return {
            "title": self.title,
            "unit": self.unit,
            "measures": {
                measure: {
                    "base": [round(getattr(each, measure), 3) for each in self.base],
                    "new": [round(getattr(each, measure), 3) for each in self.new],
                    "base_median": round(statistics.median(getattr(each, measure) for each in self.base), 3),
                    "new_median": round(statistics.median(getattr(each, measure) for each in self.new), 3),
                    "ratio": round(one.ratio, 4),
                    "low": round(one.low, 4),
                    "high": round(one.high, 4),
                    "confidence": round(one.confidence, 4),
                }
                for measure, one in found.items()
            },
            "sentence": self.sentence(),
        }


def heading() -> str:
    return f"  {'':<16} {'base: median (quartiles)':>28} {'new: median (quartiles)':>28}  {'':<11}  new to base"


def _spread(values: Sequence[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return f"{f'{statistics.median(values):,.0f} ({low:,.0f} to {high:,.0f})':>28}"


def _percent(found: Interval, above: str, below: str) -> str:
    change, low, high = (100 * (ratio - 1) for ratio in (found.ratio, found.low, found.high))
    if low <= 0 <= high:
        return f"not seen to change: {change:+.1f} % ({low:+.1f} to {high:+.1f} %)"
    if change > 0:
        return f"{change:.1f} % {above} ({low:.1f} to {high:.1f} %)"
    return f"{-change:.1f} % {below} ({-high:.1f} to {-low:.1f} %)"
