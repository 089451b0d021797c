"""Pairs: ours and the yardstick by turns within one run, so that what disturbs the machine disturbs both."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One side of one pair. `rate` is work done in a second; latencies in milliseconds where they were taken.

    `server_us` and `database_us` are the CPU time of one, where it was taken: of Kosminar's processes, and of all of
    PostgreSQL's.
    """

    rate: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    server_us: float | None = None
    database_us: float | None = None


@dataclass
class Comparison:
    """What all pairs of one measurement came to; `aim` is the least ratio that we want, or the most if `at_most`.

    `goal` is a ratio beyond the aim, which would be better still.
    """

    title: str
    unit: str
    aim: float | None = None
    goal: float | None = None
    at_most: bool = False
    of: str = "rate"
    ours: list[Measured] = field(default_factory=list)
    yardstick: list[Measured] = field(default_factory=list)

    def ratios(self) -> list[float]:
        return [
            float(getattr(one, self.of)) / float(getattr(other, self.of))
            for one, other in zip(self.ours, self.yardstick, strict=True)
        ]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios())

    @property
    def met(self) -> bool | None:
        return self._reaches(self.aim)

    @property
    def goal_met(self) -> bool | None:
        return self._reaches(self.goal)

    def _reaches(self, bound: float | None) -> bool | None:
        if bound is None:
            return None
        return self.ratio <= bound if self.at_most else self.ratio >= bound

    def cpu(self) -> str:
        """The CPU time of one activity or call on both sides, in words; empty where it was not measured, or the rate shows it."""
        if self.of != "rate":
            return ""
        sides = {"ours": self.ours, "yardstick": self.yardstick}
        said = {name: " + ".join(_cpu_of(side)) for name, side in sides.items()}
        return "; ".join(f"{name} {us}" for name, us in said.items() if us)

    def line(self) -> str:
        ours, yardstick = (statistics.median(getattr(m, self.of) for m in side) for side in (self.ours, self.yardstick))
        low, high = min(self.ratios()), max(self.ratios())
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        aim = "" if self.aim is None else f"{'<=' if self.at_most else '>='} {self.aim}"
        return (
            f"{self.title:<58} {ours:>12,.1f} {yardstick:>12,.1f} {self.unit:<14} "
            f"{self.ratio:>6.2f} ({low:.2f} to {high:.2f})  {aim:<8} {verdict}  {self.cpu()}"
        ).rstrip()

    def result(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "ratio": round(self.ratio, 4),
            "ratios": [round(each, 4) for each in self.ratios()],
            "met": self.met,
            "goal_met": self.goal_met,
            "cpu": self.cpu(),
        }


def _cpu_of(side: Sequence[Measured]) -> list[str]:
    """Medians of what was taken, `331 us server` and `205 us database`."""
    said = []
    for name in ("server", "database"):
        taken = [us for one in side if (us := getattr(one, f"{name}_us")) is not None]
        if taken:
            said.append(f"{statistics.median(taken):,.0f} us {name}")
    return said


@dataclass(frozen=True)
class Figure:
    """One number with an aim that is no ratio; `note` says what it was measured on, and what was left out."""

    title: str
    value: float
    unit: str
    aim: float | None = None
    at_most: bool = True
    note: str = ""
    goal: float | None = None

    @property
    def met(self) -> bool | None:
        return self._reaches(self.aim)

    @property
    def goal_met(self) -> bool | None:
        return self._reaches(self.goal)

    def _reaches(self, bound: float | None) -> bool | None:
        if bound is None:
            return None
        return self.value <= bound if self.at_most else self.value >= bound

    def line(self) -> str:
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        aim = "" if self.aim is None else f"{'<=' if self.at_most else '>='} {self.aim:g}"
        return f"{self.title:<58} {self.value:>12,.2f} {'':>12} {self.unit:<14} {'':>22}  {aim:<8} {verdict}  {self.note}".rstrip()

    def result(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met, "goal_met": self.goal_met}


def alternate(
    count: int, ours: Callable[[int], Measured], yardstick: Callable[[int], Measured]
) -> tuple[list[Measured], list[Measured]]:
    """As many pairs; who begins changes from pair to pair."""
    left, right = [], []
    for number in range(count):
        if number % 2 == 0:
            left.append(ours(number))
            right.append(yardstick(number))
        else:
            right.append(yardstick(number))
            left.append(ours(number))
    return left, right


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
