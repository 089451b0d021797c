"""The milestone: what its period's end gives, and what leaving early forfeits.

A period end pays those who achieved the target and were enrolled at the period's end; time decides, never how far a
job has come (rules 8, 9, 28). Knows nothing of streaks. Rules in prose: docs/rules.md. Tests:
tests/core/test_milestone.py.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from kosminar.core.errors import Code
from kosminar.core.fact import (
    AchievementWithdrawn,
    BalanceSet,
    Fact,
    PeriodEnded,
    RewardEarned,
    RewardForfeited,
    of_reward,
)
from kosminar.core.period import Period
from kosminar.core.programme import EnrolmentTerms, Programme, RunCount, Target, TrackingType
from kosminar.core.reward import PROGRAMME_DEACTIVATED, UN_ENROLLED_BEFORE_PERIOD_END, RewardDefinition
from kosminar.core.standing import MILESTONE_RUN, Progress, TargetStanding

UNTOUCHED: Final = TargetStanding()
# As wide as a bigint: that two shapes of one group share a likeness by chance is out of the question.
LIKENESS_BYTES: Final = 8


class Milestone:
    """DEFAULT: each period is achieved by itself."""

    tracking_type = TrackingType.DEFAULT
    has_levels = False
    may_break = False

    def untouched(self) -> TargetStanding:
        return UNTOUCHED

    def may_name_period(self) -> bool:
        return True

    def ignored(self, *, period_named: bool, balance_given: bool) -> tuple[Code, ...]:
        return ()

    def entered(self, target: Target, standing: TargetStanding, terms: EnrolmentTerms, at: datetime) -> list[Fact]:
        """The value that the first covered period starts with; null resumes in the period that was left (rule 14)."""
        period = terms.period
        if terms.initial_balance is None and standing.left(period):
            return []
        balance = 0 if terms.initial_balance is None else terms.initial_balance
        was = standing.progress_in(period)
        facts: list[Fact] = []
        if was.achieved_at is not None:
            facts.append(AchievementWithdrawn(at, target.target_id, period.number, was.value))
        if was.value != balance or was.days:
            facts.append(BalanceSet(at, target.target_id, period.number, balance))
        return facts

    def left(self, programme: Programme, target: Target, standing: TargetStanding, at: datetime) -> list[Fact]:
        """The achieved period-end rewards of periods that have not ended (rule 9)."""
        return [
            _forfeited(target, reward, progress, at, UN_ENROLLED_BEFORE_PERIOD_END)
            for progress in _awaiting(target, standing)
            if programme.period(progress.period_number).ends_at > at and not progress.forfeited
            for reward in target.period_end_rewards
        ]

    def run_at(self, standing: TargetStanding, at: datetime) -> int:
        return MILESTONE_RUN

    def met(
        self, programme: Programme, target: Target, standing: TargetStanding, run_number: int, at: datetime
    ) -> list[Fact]:
        return []

    def due(self, programme: Programme, target: Target, standing: TargetStanding, at: datetime) -> list[Fact]:
        """The period ends due up to that instant, oldest first, each dated when it fell due."""
        # By that instant, not by number: deactivation ends the running period before an earlier one may be due.
        ends = sorted(_awaiting(target, standing), key=lambda progress: _settles_at(programme, progress))
        return [
            fact
            for progress in ends
            if _settles_at(programme, progress) <= at
            for fact in _end(programme, target, standing, progress)
        ]

    def wakes_at(self, programme: Programme, target: Target, standing: TargetStanding) -> datetime | None:
        return min((_settles_at(programme, progress) for progress in _awaiting(target, standing)), default=None)

    def likeness(self, standing: TargetStanding, latest: Progress, earlier: Sequence[Progress]) -> int | None:
        """Of customers who were enrolled once and still are: a period's end asks when only of those who left.

        An open stretch begins before the end of its first period, so its number alone says that it holds the customer at a later end.
        """
        if len(standing.stretches) != 1 or not standing.enrolled:
            return None
        shape = (
            standing.stretches[0].first_period_number,
            _marks(latest),
            *[_marks(progress) for progress in earlier],
        )
        digest = hashlib.blake2b(repr(shape).encode(), digest_size=LIKENESS_BYTES).digest()
        return int.from_bytes(digest, "big", signed=True)

    def run_at_end_of(self, programme: Programme, standing: TargetStanding, period: Period) -> int:
        return MILESTONE_RUN

    def count_now(self, programme: Programme, standing: TargetStanding, at: datetime) -> RunCount | None:
        return None


def awaits_end(target: Target, progress: Progress) -> bool:
    """The period's end has something to decide here: achieved, not yet settled, and something to give."""
    return progress.achieved_at is not None and not progress.settled and bool(target.period_end_rewards)


def _marks(progress: Progress) -> tuple[int, bool, bool, bool, bool]:
    achieved = progress.achieved_at is not None
    return progress.period_number, achieved, progress.rewarded, progress.forfeited, progress.settled


def _awaiting(target: Target, standing: TargetStanding) -> Iterator[Progress]:
    return (progress for progress in standing.progress if awaits_end(target, progress))


def _settles_at(programme: Programme, progress: Progress) -> datetime:
    return programme.settles_at(programme.period(progress.period_number))


def _end(programme: Programme, target: Target, standing: TargetStanding, progress: Progress) -> Iterator[Fact]:
    """One period's end: paid, or forfeited because the programme stopped first; either way it is settled."""
    period = programme.period(progress.period_number)
    at = programme.settles_at(period)
    if programme.cut_short(period):
        # Customers who are out at that instant have lost it already, and keep the reason why.
        if standing.enrolled_in(period):
            for reward in target.period_end_rewards:
                yield _forfeited(target, reward, progress, at, PROGRAMME_DEACTIVATED)
    elif standing.enrolled_at_end_of(period):
        for reward in target.period_end_rewards:
            yield of_reward(
                RewardEarned,
                reward,
                at=at,
                target_id=target.target_id,
                run=progress.run,
                period_number=progress.period_number,
            )
    yield PeriodEnded(at, target.target_id, period.number, progress.value)


def _forfeited(target: Target, reward: RewardDefinition, progress: Progress, at: datetime, reason: str) -> Fact:
    return of_reward(
        RewardForfeited,
        reward,
        at=at,
        target_id=target.target_id,
        run=progress.run,
        period_number=progress.period_number,
        reason=reason,
    )
