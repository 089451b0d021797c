"""The milestone: what its period's end gives, and what leaving early forfeits.

A period end pays whoever is achieved and was enrolled at the period's end; time decides, never how far a job has come
(decisions 8, 9, 28). Knows nothing of streaks. Rules in prose: docs/rules.md. Tests: tests/core/test_milestone.py.
"""

from collections.abc import Iterator
from datetime import datetime

from kosminar.core.fact import Fact, FactName, reward_fact
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.reward import PROGRAMME_DEACTIVATED, UN_ENROLLED_BEFORE_PERIOD_END, RewardDefinition
from kosminar.core.standing import MILESTONE_RUN, Progress, Standing


def awaits_end(programme: Programme, progress: Progress) -> bool:
    """The period's end has something to decide here: achieved, not yet settled, and something to give."""
    return progress.achieved_at is not None and not progress.settled and bool(programme.target.period_end_rewards)


def settle(programme: Programme, standing: Standing, at: datetime) -> list[Fact]:
    """The period ends due up to that instant, oldest first, each dated when it fell due."""
    if not programme.target.period_end_rewards:
        return []
    facts: list[Fact] = []
    # By that instant, not by number: deactivation ends the running period before an earlier one may be due.
    for period, progress in sorted(_awaiting(programme, standing), key=lambda each: programme.settles_at(each[0])):
        if programme.settles_at(period) <= at:
            facts += _end(programme, standing, period, progress)
    return facts


def forfeit(programme: Programme, standing: Standing, at: datetime) -> list[Fact]:
    """What un-enrolling now loses: the achieved period-end rewards of periods that have not ended (decision 9)."""
    return [
        _forfeited(reward, at, period, UN_ENROLLED_BEFORE_PERIOD_END)
        for period, progress in _awaiting(programme, standing)
        if period.ends_at > at and not progress.forfeited
        for reward in programme.target.period_end_rewards
    ]


def _awaiting(programme: Programme, standing: Standing) -> Iterator[tuple[Period, Progress]]:
    for (number, _), progress in sorted(standing.progress.items(), key=lambda item: item[0]):
        if awaits_end(programme, progress):
            yield programme.period(number), progress


def _end(programme: Programme, standing: Standing, period: Period, progress: Progress) -> Iterator[Fact]:
    """One period's end: paid, or forfeited because the programme stopped first; either way it is settled."""
    at = programme.settles_at(period)
    if programme.cut_short(period):
        # Who is out at that instant has lost it already, and keeps the reason why.
        if standing.enrolled_in(period):
            for reward in programme.target.period_end_rewards:
                yield _forfeited(reward, at, period, PROGRAMME_DEACTIVATED)
    elif standing.enrolled_at_end_of(period):
        for reward in programme.target.period_end_rewards:
            yield earned(reward, at, period, run=MILESTONE_RUN)
    yield Fact(name=FactName.PERIOD_ENDED, at=at, period_number=period.number, run=MILESTONE_RUN, value=progress.value)


def earned(reward: RewardDefinition, at: datetime, period: Period, *, run: int) -> Fact:
    return reward_fact(FactName.REWARD_EARNED, reward, at=at, run=run, period_number=period.number)


def _forfeited(reward: RewardDefinition, at: datetime, period: Period, reason: str) -> Fact:
    return reward_fact(
        FactName.REWARD_FORFEITED, reward, at=at, run=MILESTONE_RUN, period_number=period.number, reason=reason
    )
