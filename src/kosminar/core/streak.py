"""The streak: counts, levels and breaks, as functions of a run's periods in order.

A period of a run is met, short, or not counted (decision 19). Met: its target was reached. Short: it ended unmet with
the customer enrolled at its end, in this run. Everything else, above all periods spent un-enrolled, neither counts nor
breaks. Nothing here remembers a count: late activity may meet an old period, and then the whole course is read anew.
Works on period numbers, never on spans of time. Rules in prose: docs/rules.md. Tests: tests/core/test_streak.py.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile

from kosminar.core.amount import ONE
from kosminar.core.fact import Fact, FactName, reward_fact
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.standing import Run, Standing


def count(programme: Programme, standing: Standing, run: Run, at: datetime) -> int:
    """The run's count at that instant; a period that ended unmet breaks it at once, if only provisionally."""
    number, latest = 0, 0
    for number, latest in _course(programme, standing, run, at):  # noqa: B007
        pass
    return 0 if _short_after(programme, standing, run, number, at) else latest


def peak(programme: Programme, standing: Standing, run: Run, at: datetime) -> int:
    """The highest count that any point of the run's course passes; it never falls."""
    return max((passed for _, passed in _course(programme, standing, run, at)), default=0)


def levels_reached(programme: Programme, standing: Standing, run: Run, at: datetime) -> list[Fact]:
    """The levels the course passes and the run has not reached yet, each with what it gives."""
    highest = peak(programme, standing, run, at)
    facts: list[Fact] = []
    for level in programme.levels:
        if level.count > highest or level.level_id in run.reached:
            continue
        facts.append(
            Fact(
                name=FactName.LEVEL_REACHED,
                at=at,
                run=run.number,
                level_id=level.level_id,
                value=level.count * ONE,
            )
        )
        facts += [
            reward_fact(FactName.REWARD_EARNED, reward, at=at, run=run.number, level_id=level.level_id)
            for reward in level.rewards
        ]
    return facts


def settle(programme: Programme, standing: Standing, at: datetime) -> list[Fact]:
    """The breaks that became final up to that instant, each dated when its period fell due."""
    if not programme.continuous:
        return []
    facts: list[Fact] = []
    for run in standing.runs:
        while (period := next_break(programme, standing, run, at)) is not None and period.due_at <= at:
            fact = Fact(
                name=FactName.STREAK_BROKEN,
                at=period.due_at,
                period_number=period.number,
                run=run.number,
                value=_count_before(programme, standing, run, period, at) * ONE,
            )
            facts.append(fact)
            standing = standing.after([fact])
            run = next(r for r in standing.runs if r.number == run.number)  # noqa: PLW2901
    return facts


def next_break(programme: Programme, standing: Standing, run: Run, at: datetime) -> Period | None:
    """The period whose end, as things stand, is the next to report this run as broken.

    A period yet to end is expected to break the run while the customer is enrolled in it; leaving, or meeting it,
    changes the answer, so it is asked again with every change.
    """
    if not programme.continuous:
        return None
    unreported = [number for number in run.met if number > run.broken_number]
    if not unreported:
        return None
    met = frozenset(unreported)
    for period in programme.periods[unreported[0] - 1 :]:
        if period.number not in met and _may_be_short(programme, standing, run, period, at):
            return period
    return None


def _course(programme: Programme, standing: Standing, run: Run, at: datetime) -> Iterator[tuple[int, int]]:
    """Each met period's number with the count it brought the run to."""
    passed, previous = 0, None
    for number in run.met:
        gap: tuple[Period, ...] = () if previous is None else programme.periods[previous : number - 1]
        if any(_parts(programme, standing, run, period, at) for period in gap):
            passed = 0
        passed += 1
        previous = number
        yield number, passed


def _parts(programme: Programme, standing: Standing, run: Run, period: Period, at: datetime) -> bool:
    """An unmet period between two met ones parts them if it is short, or still open and so may yet be short.

    Activity may be dated a few minutes ahead: the next period can be met before this one has ended.
    """
    return programme.continuous and (period.ends_at > at or _short(programme, standing, run, period, at))


def _short_after(programme: Programme, standing: Standing, run: Run, number: int, at: datetime) -> bool:
    ended = takewhile(lambda p: p.ends_at <= at, programme.periods[number:])
    return any(_short(programme, standing, run, period, at) for period in ended)


def _count_before(programme: Programme, standing: Standing, run: Run, period: Period, at: datetime) -> int:
    passed = [c for number, c in _course(programme, standing, run, at) if number < period.number]
    return passed[-1]


def _short(programme: Programme, standing: Standing, run: Run, period: Period, at: datetime) -> bool:
    """Ended unmet with the customer enrolled at its end, in this run, on a continuous streak that was still going."""
    return (
        programme.continuous
        and period.ends_at <= at
        and period.number not in run.met
        and not programme.cut_short(period)
        and _going_at_end_of(run, period)
        and standing.enrolled_at_end_of(period)
    )


def _may_be_short(programme: Programme, standing: Standing, run: Run, period: Period, at: datetime) -> bool:
    if period.ends_at <= at:
        return _short(programme, standing, run, period, at)
    return run.ends_at is None and standing.enrolled_in(period) and not programme.cut_short(period)


def run_at_end_of(standing: Standing, period: Period) -> Run:
    """The run that was going when the period ended; one that began at that very instant is the next period's."""
    return next(run for run in reversed(standing.runs) if _going_at_end_of(run, period))


def _going_at_end_of(run: Run, period: Period) -> bool:
    started = run.starts_at is None or run.starts_at < period.ends_at
    return started and (run.ends_at is None or run.ends_at >= period.ends_at)
