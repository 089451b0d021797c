"""The streak: counts, levels and breaks, as functions of a run's periods in order.

A period of a run is met, short, or not counted (rule 19). Met: its target was reached. Short: it ended unmet with the
customer enrolled at its end, in this run. Everything else, above all periods spent un-enrolled, neither counts nor
breaks. Nothing here remembers a count: late activity may meet an old period, and then the whole course is read again.
The periods of a course are sets of numbers (core/number_set.py), so that a thousand days are read as fast as ten.
Rules in prose: docs/rules.md. Tests: tests/core/test_streak.py.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from kosminar.core import number_set
from kosminar.core.errors import Code
from kosminar.core.fact import Fact, LevelReached, RewardEarned, StreakBroken, StreakReset, of_reward
from kosminar.core.fold import after
from kosminar.core.number_set import EMPTY, span
from kosminar.core.period import Period
from kosminar.core.programme import EnrolmentTerms, Programme, RunCount, Target, TrackingType
from kosminar.core.standing import FIRST_RUN, Progress, Run, Stretch, TargetStanding

UNTOUCHED: Final = TargetStanding(runs=(FIRST_RUN,))


@dataclass(frozen=True)
class Streak:
    """STREAKS, whose count falls to 0 by a short period; NON_CONTINUOUS_STREAKS, whose count never falls."""

    tracking_type: TrackingType
    has_levels = True

    @property
    def may_break(self) -> bool:
        return self.tracking_type is TrackingType.STREAKS

    def untouched(self) -> TargetStanding:
        return UNTOUCHED

    def may_name_period(self) -> bool:
        return False

    def ignored(self, *, period_named: bool, balance_given: bool) -> tuple[Code, ...]:
        named = (Code.PERIOD_NAME_IGNORED,) if period_named else ()
        return (*named, Code.INITIAL_BALANCE_IGNORED) if balance_given else named

    def entered(self, target: Target, standing: TargetStanding, terms: EnrolmentTerms, at: datetime) -> list[Fact]:
        """A new run, if the call asks for one and there was an enrolment before (rule 16)."""
        if not (terms.reset and standing.enrolments):
            return []
        return [StreakReset(at, target.target_id, standing.runs[-1].number + 1)]

    def left(self, programme: Programme, target: Target, standing: TargetStanding, at: datetime) -> list[Fact]:
        return []

    def run_at(self, standing: TargetStanding, at: datetime) -> int:
        return standing.run_at(at).number

    def met(
        self, programme: Programme, target: Target, standing: TargetStanding, run_number: int, at: datetime
    ) -> list[Fact]:
        """The levels that the course passes and the run has not reached yet, each with what it gives."""
        run = standing.run_numbered(run_number)
        highest = peak(programme, standing, run, at)
        facts: list[Fact] = []
        for level in programme.levels:
            if level.count > highest or level.level_id in run.reached:
                continue
            facts.append(LevelReached(at, target.target_id, run_number, level.level_id, level.count))
            facts += [
                of_reward(
                    RewardEarned,
                    reward,
                    at=at,
                    target_id=target.target_id,
                    run=run_number,
                    level_id=level.level_id,
                )
                for reward in level.rewards
            ]
        return facts

    def due(self, programme: Programme, target: Target, standing: TargetStanding, at: datetime) -> list[Fact]:
        """The breaks that became final up to that instant, each dated when its period fell due."""
        facts: list[Fact] = []
        for run in standing.runs:
            part = standing
            while True:
                run_now = part.run_numbered(run.number)
                period = next_break(programme, part, run_now)
                if period is None or period.due_at > at:
                    break
                count_before = _course(programme, part, run_now, at).count_before(period.number)
                fact = StreakBroken(period.due_at, target.target_id, period.number, run.number, count_before)
                facts.append(fact)
                part = after(part, fact)
        return facts

    def wakes_at(self, programme: Programme, target: Target, standing: TargetStanding) -> datetime | None:
        breaks = [next_break(programme, standing, run) for run in standing.runs]
        return min((period.due_at for period in breaks if period is not None), default=None)

    def likeness(self, standing: TargetStanding, latest: Progress, earlier: Sequence[Progress]) -> int | None:
        """A break tells the run's own count: each is decided by itself."""
        return None

    def run_at_end_of(self, programme: Programme, standing: TargetStanding, period: Period) -> int:
        """One that began at that very instant is the next period's."""
        return next(run.number for run in reversed(standing.runs) if _going(programme, run) >> period.number & 1)

    def count_now(self, programme: Programme, standing: TargetStanding, at: datetime) -> RunCount | None:
        run = standing.runs[-1]
        return RunCount(run, count(programme, standing, run, at))


def count(programme: Programme, standing: TargetStanding, run: Run, at: datetime) -> int:
    """The run's count at that instant; a period that ended unmet breaks it at once, if only provisionally."""
    course = _course(programme, standing, run, at)
    last = number_set.largest(course.met)
    return 0 if number_set.above(course.short, last) else course.count_before(last + 1)


def peak(programme: Programme, standing: TargetStanding, run: Run, at: datetime) -> int:
    """The highest count that any point of the run's course passes; it never falls."""
    course = _course(programme, standing, run, at)
    return number_set.longest_without(course.met, course.breaks)


def next_break(programme: Programme, standing: TargetStanding, run: Run) -> Period | None:
    """The period whose end, as things stand, is the next to report this run as broken.

    A period yet to end is expected to break the run while the customer is enrolled in it; leaving, or meeting it,
    changes the answer, so it is asked again with every change.
    """
    unreported = number_set.above(run.met, run.broken_number)
    if not unreported:
        return None
    first = number_set.smallest(unreported)
    expected = number_set.above(_unmet(programme, standing, run), first)
    return programme.period(number_set.smallest(expected)) if expected else None


class _Course(NamedTuple):
    """Of a run, as sets of period numbers: what was met, what is short, and what parts met periods from one another."""

    met: int
    short: int
    breaks: int

    def count_before(self, number: int) -> int:
        """The count that the last period met before that number brought the run to; 0 where there is none."""
        met = number_set.between(self.met, 1, number - 1)
        breaks = number_set.between(self.breaks, 1, number_set.largest(met))
        return (met >> number_set.largest(breaks)).bit_count()


def _course(programme: Programme, standing: TargetStanding, run: Run, at: datetime) -> _Course:
    """A short period breaks, and so does an unmet one that is still open, because it may yet turn out short.

    Activity may be dated a few minutes ahead: the next period can be met before this one has ended.
    """
    if not programme.kind.may_break:
        return _Course(run.met, EMPTY, EMPTY)
    ended_count = bisect_right(programme.window.ends, at)
    short = number_set.between(_unmet(programme, standing, run), 1, ended_count)
    still_open = span(ended_count + 1, number_set.largest(run.met)) & ~run.met
    return _Course(run.met, short, short | still_open)


def _unmet(programme: Programme, standing: TargetStanding, run: Run) -> int:
    """The periods that are short once they have ended, as things stand."""
    if not programme.kind.may_break:
        return EMPTY
    held = EMPTY
    for stretch in standing.enrolments:
        held |= _held(programme, stretch)
    return held & _going(programme, run) & _whole(programme) & ~run.met


def _held(programme: Programme, stretch: Stretch) -> int:
    """The periods at whose end a stretch holds the customer, if it lasts until then."""
    ends = programme.window.ends
    first = max(stretch.first_period_number, bisect_right(ends, stretch.starts_at) + 1)
    last = len(ends) if stretch.ends_at is None else bisect_right(ends, stretch.ends_at)
    return span(first, last)


def _going(programme: Programme, run: Run) -> int:
    """The periods at whose end the run was going."""
    ends = programme.window.ends
    first = 1 if run.starts_at is None else bisect_right(ends, run.starts_at) + 1
    last = len(ends) if run.ends_at is None else bisect_right(ends, run.ends_at)
    return span(first, last)


def _whole(programme: Programme) -> int:
    """The periods that no deactivation cut short."""
    ends = programme.window.ends
    last = len(ends) if programme.deactivated_at is None else bisect_right(ends, programme.deactivated_at)
    return span(1, last)
