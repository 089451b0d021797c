"""The ledger of rewards: what an earned or a forfeited reward's row says, and what a report makes of it.

A reward has one row for ever (rule 27). The store keeps the rows; here it is decided what they hold. Values are whole
numbers of thousandths.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from kosminar.core.fact import (
    RewardEarned,
    RewardFact,
    RewardFailed,
    RewardForfeited,
    RewardIssued,
    RewardReversed,
    of_reward,
)
from kosminar.core.programme import Programme
from kosminar.core.reward import Allocation, RewardKey, RewardKind, RewardState
from kosminar.core.standing import MILESTONE_RUN


class RewardGivenTwice(Exception):
    """Our own mistake, stopped before it is committed. An exception, because `python -O` drops assertions."""


@dataclass(frozen=True, slots=True)
class Reward:
    """A row of the ledger. `handed_over` where an endpoint was to hand it over when it was earned."""

    key: RewardKey
    kind: RewardKind
    value: int | str
    allocation: Allocation
    state: RewardState
    reason: str | None
    earned_at: datetime
    sequence: int
    handed_over: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a reward after it was earned: issued, failed or reversed, the last two with a reason.

    An automatic one is read from a receiver's status: it never takes back what was reported as issued.
    """

    key: RewardKey
    outcome: RewardState
    reason: str | None
    automatic: bool = False

    def fingerprint(self) -> bytes:
        """SHA-256 of the reason, which is what a person said."""
        return hashlib.sha256((self.reason or "").encode()).digest()


def key_of(fact: RewardFact, programme: Programme) -> RewardKey:
    """The ledger's key of the reward that a fact speaks of; a period's reward always has run 1 (rule 27)."""
    level_id = fact.level_id or 0
    number = None if level_id else fact.period_number
    return RewardKey(
        target_id=fact.target_id,
        period_id=0 if number is None else programme.period_id(number),
        level_id=level_id,
        run=fact.run if level_id else MILESTONE_RUN,
        reward_definition_id=fact.reward_definition_id,
    )


def reward_of(
    fact: RewardEarned | RewardForfeited, programme: Programme, *, sequence: int, handed_over: bool
) -> Reward:
    """The row of an earned or forfeited reward.

    An earned reward that nothing is to hand over is issued in the transaction that earned it (rule 27).
    """
    definition = programme.reward(fact.reward_definition_id)
    earned = isinstance(fact, RewardEarned)
    given = RewardState.PENDING if handed_over else RewardState.ISSUED
    return Reward(
        key=key_of(fact, programme),
        kind=definition.kind,
        value=definition.value,
        allocation=definition.allocation,
        state=given if earned else RewardState.FORFEITED,
        reason=fact.reason,
        earned_at=fact.at,
        sequence=sequence,
        handed_over=earned and handed_over,
    )


_REPORTED: Final[dict[RewardState, type[RewardIssued | RewardFailed | RewardReversed]]] = {
    RewardState.ISSUED: RewardIssued,
    RewardState.FAILED: RewardFailed,
    RewardState.REVERSED: RewardReversed,
}


def reported(programme: Programme, reward: Reward, report: Report, at: datetime) -> tuple[Reward, RewardFact]:
    """The row after a report that it may get (core/reward.py), and the fact that tells it."""
    key = reward.key
    fact = of_reward(
        _REPORTED[report.outcome],
        programme.reward(key.reward_definition_id),
        at=at,
        target_id=key.target_id,
        run=key.run,
        period_number=programme.period_number(key.period_id),
        level_id=key.level_id or None,
        reason=report.reason,
    )
    return replace(reward, state=report.outcome, reason=report.reason), fact
