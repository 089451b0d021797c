"""The fold: the standing after facts, one after another.

`decide` gives the same standing in one pass; the audit, notices and tests fold. A property holds the two together
(tests/model/engine_replay.py, tests/properties/test_totality.py). Knows no kind of group: a fact says what happened, not why.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from kosminar.core.fact import (
    Achieved,
    AchievementWithdrawn,
    BalanceSet,
    Enrolled,
    EnrolmentMovedBack,
    Fact,
    LevelReached,
    OptedOut,
    PeriodEnded,
    Progressed,
    ReEnrolled,
    RewardEarned,
    RewardFailed,
    RewardForfeited,
    RewardIssued,
    RewardReversed,
    StreakBroken,
    StreakReset,
    UnEnrolled,
)
from kosminar.core.programme import Programme
from kosminar.core.standing import MILESTONE_RUN, Method, Progress, Run, Standing, Stretch, TargetStanding


def fold(programme: Programme, standing: Standing, facts: Iterable[Fact]) -> Standing:
    """The standing of a customer in this group after the facts, as the newest definition sees it."""
    targets = list(standing.targets)
    for fact in facts:
        index = programme.index_of(fact.target_id)
        targets[index] = after(targets[index], fact)
    return programme.standing_of(tuple(targets))


def after(standing: TargetStanding, fact: Fact) -> TargetStanding:
    """The part in one target after one fact of it."""
    return _AFTER[type(fact)](standing, fact)


def _enrolled(standing: TargetStanding, fact: Enrolled) -> TargetStanding:
    method = Method.AUTOMATIC if fact.automatic else Method.EXPLICIT
    return standing.with_stretches(*standing.stretches, Stretch(method, fact.starts_at, None, fact.period_number))


def _re_enrolled(standing: TargetStanding, fact: ReEnrolled) -> TargetStanding:
    stretch = Stretch(Method.EXPLICIT, fact.starts_at, None, fact.period_number)
    return standing.with_stretches(*standing.stretches, stretch)


def _moved_back(standing: TargetStanding, fact: EnrolmentMovedBack) -> TargetStanding:
    first, *later = standing.stretches
    assert first.method is Method.AUTOMATIC, "only an automatic enrolment is moved back"
    moved = Stretch(first.method, fact.starts_at, first.ends_at, fact.period_number)
    return standing.with_stretches(moved, *later)


def _un_enrolled(standing: TargetStanding, fact: UnEnrolled) -> TargetStanding:
    *earlier, last = standing.stretches
    # A stretch that was to begin later than now is over before it began.
    ended = replace(last, ends_at=max(fact.at, last.starts_at))
    return standing.with_stretches(*earlier, ended)


def _opted_out(standing: TargetStanding, fact: OptedOut) -> TargetStanding:
    return standing.with_stretches(*standing.stretches, Stretch(Method.OPT_OUT, fact.at, fact.at, 1))


def _reset(standing: TargetStanding, fact: StreakReset) -> TargetStanding:
    *earlier, last = standing.runs
    runs = (*earlier, replace(last, ends_at=fact.at), Run(number=fact.run, starts_at=fact.at))
    return TargetStanding(standing.stretches, standing.progress, runs)


def _balance_set(standing: TargetStanding, fact: BalanceSet) -> TargetStanding:
    # The days go with the value: a day that counts from now on counts again.
    was = _progress(standing, fact.period_number, MILESTONE_RUN)
    return standing.with_progress(replace(was, value=fact.value, days=()))


def _achievement_withdrawn(standing: TargetStanding, fact: AchievementWithdrawn) -> TargetStanding:
    was = _progress(standing, fact.period_number, MILESTONE_RUN)
    return standing.with_progress(replace(was, achieved_at=None, achieved_recorded_at=None))


def _progressed(standing: TargetStanding, fact: Progressed) -> TargetStanding:
    was = _progress(standing, fact.period_number, fact.run)
    days = was.days if fact.day is None else tuple(sorted({*was.days, fact.day}))
    return standing.with_progress(replace(was, value=fact.value, days=days))


def _achieved(standing: TargetStanding, fact: Achieved) -> TargetStanding:
    was = _progress(standing, fact.period_number, fact.run)
    achieved = replace(was, achieved_at=fact.occurred_at, achieved_recorded_at=fact.at)
    standing = standing.with_progress(achieved)
    if not standing.runs:
        return standing
    run = standing.run_numbered(fact.run)
    return standing.with_run(replace(run, met=run.met | 1 << fact.period_number))


def _level_reached(standing: TargetStanding, fact: LevelReached) -> TargetStanding:
    run = standing.run_numbered(fact.run)
    return standing.with_run(replace(run, reached=tuple(sorted({*run.reached, fact.level_id}))))


def _streak_broken(standing: TargetStanding, fact: StreakBroken) -> TargetStanding:
    return standing.with_run(replace(standing.run_numbered(fact.run), broken_number=fact.period_number))


def _period_ended(standing: TargetStanding, fact: PeriodEnded) -> TargetStanding:
    return standing.with_progress(replace(_progress(standing, fact.period_number, MILESTONE_RUN), settled=True))


def _reward_earned(standing: TargetStanding, fact: RewardEarned) -> TargetStanding:
    if fact.period_number is None:
        return standing
    # A period is rewarded once, in whichever run: noted where it was met.
    return standing.with_progress(replace(_progress(standing, fact.period_number, fact.run), rewarded=True))


def _reward_forfeited(standing: TargetStanding, fact: RewardForfeited) -> TargetStanding:
    assert fact.period_number is not None, "only a period's reward is forfeited"
    return standing.with_progress(replace(_progress(standing, fact.period_number, fact.run), forfeited=True))


def _unchanged(standing: TargetStanding, _: Fact) -> TargetStanding:
    """What became of a reward after it was earned is the ledger's alone."""
    return standing


def _progress(standing: TargetStanding, period_number: int, run: int) -> Progress:
    return standing.find_progress(period_number, run) or Progress(period_number, run)


_AFTER: Final[dict[type, Callable[[TargetStanding, Any], TargetStanding]]] = {
    Enrolled: _enrolled,
    ReEnrolled: _re_enrolled,
    EnrolmentMovedBack: _moved_back,
    StreakReset: _reset,
    BalanceSet: _balance_set,
    AchievementWithdrawn: _achievement_withdrawn,
    Progressed: _progressed,
    Achieved: _achieved,
    LevelReached: _level_reached,
    StreakBroken: _streak_broken,
    PeriodEnded: _period_ended,
    RewardEarned: _reward_earned,
    RewardForfeited: _reward_forfeited,
    RewardIssued: _unchanged,
    RewardFailed: _unchanged,
    RewardReversed: _unchanged,
    UnEnrolled: _un_enrolled,
    OptedOut: _opted_out,
}
