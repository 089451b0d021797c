"""What is remembered of one customer in one group: of each target enrolled stretches, progress, and a streak's runs.

Values that never change: `fold` gives the standing after facts, and so does `decide` in one pass. Knows periods and
instants, not storage or "today". The questions asked of enrolment (was the customer in at a period's end, was a period
left, does an activity's date lie inside) are answered here once, for every kind of group. Values are whole numbers of
thousandths. Rules in prose: docs/rules.md. Tests: tests/core/test_standing.py.
"""

from bisect import bisect_left
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from kosminar.core.number_set import EMPTY
from kosminar.core.period import Period

MILESTONE_RUN: Final = 1


class Method(StrEnum):
    """How a stretch began; an opt-out is a stretch of no length that keeps activity from enrolling."""

    AUTOMATIC = "automatic"
    EXPLICIT = "explicit"
    OPT_OUT = "opt_out"


class Stretch(Struct, frozen=True, gc=False, array_like=True):
    """Enrolled over [starts_at, ends_at), in the period numbered `first_period_number` and every later one."""

    method: Method
    starts_at: datetime
    ends_at: datetime | None
    first_period_number: int

    def reaches(self, period: Period) -> bool:
        """The period is one of those the stretch is about, if it lasts until then."""
        return self.first_period_number <= period.number

    def contains(self, at: datetime) -> bool:
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)

    def holds_at_end_of(self, period: Period) -> bool:
        """Un-enrolled exactly at the end is inside the next period, so this one was still held (rule 7)."""
        return (
            self.reaches(period)
            and self.starts_at < period.ends_at
            and (self.ends_at is None or self.ends_at >= period.ends_at)
        )


class Progress(Struct, frozen=True, gc=False, array_like=True):
    """One period of one run.

    `days` are the local days that counted, where a day counts once. `settled` once its end was worked; `rewarded` once
    its immediate rewards were given.
    """

    period_number: int
    run: int
    value: int = 0
    achieved_at: datetime | None = None
    achieved_recorded_at: datetime | None = None
    days: tuple[date, ...] = ()
    rewarded: bool = False
    forfeited: bool = False
    settled: bool = False


class Run(Struct, frozen=True, gc=False, array_like=True):
    """One run of a streak, over [starts_at, ends_at); the first has no start, the latest no end.

    `met` is the set of the numbers of periods met (core/number_set.py); `reached` holds the levels' ids, ascending;
    `broken_number` is the period whose end was last reported to have broken it, 0 for none.
    """

    number: int
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    met: int = EMPTY
    reached: tuple[int, ...] = ()
    broken_number: int = 0


FIRST_RUN: Final = Run(number=1)


class TargetStanding(Struct, frozen=True, gc=False, array_like=True):
    """A customer's part in one target.

    `progress` is in the order of period numbers and runs; it holds what was loaded, which is what the command touches.
    """

    stretches: tuple[Stretch, ...] = ()
    progress: tuple[Progress, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def enrolments(self) -> tuple[Stretch, ...]:
        """The stretches that were enrolments, the first one first."""
        return tuple([s for s in self.stretches if s.method is not Method.OPT_OUT])

    @property
    def enrolled(self) -> bool:
        return bool(self.stretches) and self.stretches[-1].ends_at is None

    def enrolled_in(self, period: Period) -> bool:
        """Enrolled now, in that period."""
        return self.enrolled and self.stretches[-1].reaches(period)

    def enrolled_at_end_of(self, period: Period) -> bool:
        return any(s.holds_at_end_of(period) for s in self.enrolments)

    def left(self, period: Period) -> bool:
        """The customer was un-enrolled inside this period while in it."""
        return any(s.ends_at is not None and s.reaches(period) and period.covers(s.ends_at) for s in self.enrolments)

    def run_at(self, at: datetime) -> Run:
        """The run that was going at that instant (rule 16)."""
        return next(r for r in reversed(self.runs) if r.starts_at is None or r.starts_at <= at)

    def run_numbered(self, number: int) -> Run:
        return next(run for run in self.runs if run.number == number)

    def find_progress(self, period_number: int, run: int) -> Progress | None:
        """The progress of a period in a run; None where nothing has touched it."""
        for progress in self.progress:
            if progress.period_number == period_number and progress.run == run:
                return progress
        return None

    def progress_in(self, period: Period, *, run: int = MILESTONE_RUN) -> Progress:
        """The same, untouched where nothing has touched it."""
        return self.find_progress(period.number, run) or Progress(period.number, run)

    def rewarded_in(self, period: Period) -> bool:
        """A period is rewarded once, whatever run it was met in (rule 15)."""
        return any(p.rewarded for p in self.progress if p.period_number == period.number)

    def with_progress(self, moved: Progress) -> "TargetStanding":
        """With this progress in the place of what was there, or where it belongs."""
        rows = self.progress
        key = moved.period_number, moved.run
        index = bisect_left(rows, key, key=_progress_key)
        there = index < len(rows) and _progress_key(rows[index]) == key
        return TargetStanding(self.stretches, (*rows[:index], moved, *rows[index + there :]), self.runs)

    def with_run(self, changed: Run) -> "TargetStanding":
        runs = tuple(changed if run.number == changed.number else run for run in self.runs)
        return TargetStanding(self.stretches, self.progress, runs)

    def with_stretches(self, *stretches: Stretch) -> "TargetStanding":
        return TargetStanding(stretches, self.progress, self.runs)


def _progress_key(progress: Progress) -> tuple[int, int]:
    return progress.period_number, progress.run


class Standing(Struct, frozen=True, gc=False):
    """A customer in a group.

    `targets` are in the order of the group's targets. `wakes_at` is the instant at which time alone next changes this
    standing, None where it changes nothing; it was worked out under the definition of that `version`.
    """

    targets: tuple[TargetStanding, ...]
    version: int
    wakes_at: datetime | None = None
