"""What is remembered of one customer in one target: enrolled stretches, progress, and a streak's runs.

A value that changes only by folding facts. Knows periods and instants, not storage or "today". The questions asked of
enrolment (was the customer in at a period's end, was a period left, does an activity's date lie inside) are answered
here once, for milestones and streaks alike. Rules in prose: docs/rules.md. Tests: tests/core/test_standing.py.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kosminar.core.amount import ZERO
from kosminar.core.fact import Fact, FactName
from kosminar.core.period import Period

MILESTONE_RUN: Final = 1


class Method(StrEnum):
    """How a stretch began; an opt-out is a stretch of no length that keeps activity from enrolling."""

    AUTOMATIC = "automatic"
    EXPLICIT = "explicit"
    OPT_OUT = "opt_out"


class Stretch(NamedTuple):
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
        """Un-enrolled exactly at the end is inside the next period, so this one was still held (decision 7)."""
        return (
            self.reaches(period)
            and self.starts_at < period.ends_at
            and (self.ends_at is None or self.ends_at >= period.ends_at)
        )


class Progress(NamedTuple):
    """One period of one run. `value` is in thousandths; `settled` once its end was worked; `rewarded` once its immediate
    rewards were given.
    """

    value: int = ZERO
    achieved_at: datetime | None = None
    achieved_recorded_at: datetime | None = None
    days: tuple[date, ...] = ()
    rewarded: bool = False
    forfeited: bool = False
    settled: bool = False


class Run(NamedTuple):
    """One run of a streak, over [starts_at, ends_at); the first has no start, the latest no end.

    `met` holds the numbers of the periods met, in order; `reached` the levels, for the whole run;
    `broken_number` is the period whose end was last reported to have broken it, 0 for none.
    """

    number: int
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    met: tuple[int, ...] = ()
    reached: frozenset[int] = frozenset()
    broken_number: int = 0


UNTOUCHED: Final = Progress()
FIRST_RUN: Final = Run(number=1)

ProgressKey = tuple[int, int]


class Standing(NamedTuple):
    """`progress` is keyed by (period number, run); it holds what was loaded, which is what the command touches."""

    stretches: tuple[Stretch, ...] = ()
    progress: Mapping[ProgressKey, Progress] = MappingProxyType({})
    runs: tuple[Run, ...] = ()

    @classmethod
    def untouched(cls, *, streak: bool) -> "Standing":
        """Of a customer of whom nothing is remembered; a streak starts in its first run, a milestone has none."""
        return cls(runs=(FIRST_RUN,) if streak else ())

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
        """The run that was going at that instant (decision 16)."""
        return next(r for r in reversed(self.runs) if r.starts_at is None or r.starts_at <= at)

    def progress_in(self, period: Period, *, run: int = MILESTONE_RUN) -> Progress:
        return self.progress.get((period.number, run), UNTOUCHED)

    def rewarded_in(self, period: Period) -> bool:
        """A period is rewarded once, whatever run it was met in (decision 15)."""
        return any(p.rewarded for (number, _), p in self.progress.items() if number == period.number)

    def after(self, facts: Iterable[Fact]) -> "Standing":
        """The standing once these facts have happened, one after another."""
        standing = self
        for fact in facts:
            standing = _FOLD[fact.name](standing, fact)
        return standing

    def _with_progress(self, fact: Fact, **changes: Any) -> "Standing":
        key = _progress_key(fact)
        changed = self.progress.get(key, UNTOUCHED)._replace(**changes)
        return Standing(self.stretches, MappingProxyType({**self.progress, key: changed}), self.runs)

    def _with_run(self, number: int, **changes: Any) -> "Standing":
        runs = tuple(r._replace(**changes) if r.number == number else r for r in self.runs)
        return Standing(self.stretches, self.progress, runs)

    def _with_stretches(self, *stretches: Stretch) -> "Standing":
        return Standing(stretches, self.progress, self.runs)

    def _enrolled(self, fact: Fact) -> "Standing":
        assert fact.starts_at is not None
        assert fact.period_number is not None
        method = Method.AUTOMATIC if fact.automatic else Method.EXPLICIT
        stretch = Stretch(method, fact.starts_at, None, fact.period_number)
        return self._with_stretches(*self.stretches, stretch)

    def _moved_back(self, fact: Fact) -> "Standing":
        assert fact.starts_at is not None
        assert fact.period_number is not None
        first, *later = self.stretches
        assert first.method is Method.AUTOMATIC, "only an automatic enrolment is moved back"
        first = first._replace(starts_at=fact.starts_at, first_period_number=fact.period_number)
        return self._with_stretches(first, *later)

    def _reset(self, fact: Fact) -> "Standing":
        assert fact.run is not None
        *earlier, last = self.runs
        ended = last._replace(ends_at=fact.at)
        runs = (*earlier, ended, Run(number=fact.run, starts_at=fact.at))
        return Standing(self.stretches, self.progress, runs)

    def _balance_set(self, fact: Fact) -> "Standing":
        # The days go with the value: what arrives from now on counts anew.
        return self._with_progress(fact, value=fact.value, days=())

    def _achievement_withdrawn(self, fact: Fact) -> "Standing":
        return self._with_progress(fact, achieved_at=None, achieved_recorded_at=None)

    def _progressed(self, fact: Fact) -> "Standing":
        # Of all facts the one that happens all day: spelt out, because replacing by name takes five times as long.
        assert fact.value is not None
        key = _progress_key(fact)
        was = self.progress.get(key, UNTOUCHED)
        days = was.days if fact.day is None else tuple(sorted({*was.days, fact.day}))
        moved = Progress(
            fact.value,
            was.achieved_at,
            was.achieved_recorded_at,
            days,
            was.rewarded,
            was.forfeited,
            was.settled,
        )
        return Standing(self.stretches, MappingProxyType({**self.progress, key: moved}), self.runs)

    def _achieved(self, fact: Fact) -> "Standing":
        assert fact.period_number is not None
        number = fact.run or MILESTONE_RUN
        standing = self._with_progress(fact, achieved_at=fact.occurred_at, achieved_recorded_at=fact.at)
        run = next((r for r in self.runs if r.number == number), None)
        if run is None:
            return standing
        return standing._with_run(number, met=tuple(sorted({*run.met, fact.period_number})))

    def _level_reached(self, fact: Fact) -> "Standing":
        assert fact.run is not None
        run = next(r for r in self.runs if r.number == fact.run)
        return self._with_run(fact.run, reached=run.reached | {fact.level_id})

    def _streak_broken(self, fact: Fact) -> "Standing":
        assert fact.run is not None
        return self._with_run(fact.run, broken_number=fact.period_number)

    def _reward_earned(self, fact: Fact) -> "Standing":
        # A period end's reward is followed by the fact that settles the period; a level's by nothing.
        return self if fact.level_id is not None else self._with_progress(fact, rewarded=True)

    def _un_enrolled(self, fact: Fact) -> "Standing":
        *earlier, last = self.stretches
        # A stretch that was to begin later than now is over before it began.
        ended = last._replace(ends_at=max(fact.at, last.starts_at))
        return self._with_stretches(*earlier, ended)

    def _opted_out(self, fact: Fact) -> "Standing":
        stretch = Stretch(Method.OPT_OUT, fact.at, fact.at, 1)
        return self._with_stretches(*self.stretches, stretch)


def _progress_key(fact: Fact) -> ProgressKey:
    assert fact.period_number is not None
    return fact.period_number, fact.run or MILESTONE_RUN


_FOLD: Final = {
    FactName.ENROLLED: Standing._enrolled,
    FactName.RE_ENROLLED: Standing._enrolled,
    FactName.ENROLMENT_MOVED_BACK: Standing._moved_back,
    FactName.STREAK_RESET: Standing._reset,
    FactName.BALANCE_SET: Standing._balance_set,
    FactName.ACHIEVEMENT_WITHDRAWN: Standing._achievement_withdrawn,
    FactName.PROGRESSED: Standing._progressed,
    FactName.ACHIEVED: Standing._achieved,
    FactName.LEVEL_REACHED: Standing._level_reached,
    FactName.STREAK_BROKEN: Standing._streak_broken,
    FactName.PERIOD_ENDED: lambda standing, fact: standing._with_progress(fact, settled=True),
    FactName.REWARD_EARNED: Standing._reward_earned,
    FactName.REWARD_FORFEITED: lambda standing, fact: standing._with_progress(fact, forfeited=True),
    # What became of a reward after it was earned is the ledger's alone.
    FactName.REWARD_ISSUED: lambda standing, _: standing,
    FactName.REWARD_FAILED: lambda standing, _: standing,
    FactName.REWARD_REVERSED: lambda standing, _: standing,
    FactName.UN_ENROLLED: Standing._un_enrolled,
    FactName.OPTED_OUT: Standing._opted_out,
}
