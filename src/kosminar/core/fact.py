"""What happened to one customer in one target: the facts that `decide` returns and `fold` adds up.

Facts are the audit trail. Everything kept of a customer can be made again by folding them; nothing else changes it.
`Fact` is the closed union of all of them; each kind of fact has just the fields that say what happened. Values are
whole numbers of thousandths; `at` is the organisation's clock, and for what a period's end brings its due instant.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar, TypeAlias, TypeVar

from msgspec import Struct

from kosminar.core.reward import RewardDefinition


class FactName(StrEnum):
    """The published name of every kind of fact, in the order in which a customer may meet them."""

    ENROLLED = "enrolled"
    RE_ENROLLED = "re_enrolled"
    ENROLMENT_MOVED_BACK = "enrolment_moved_back"
    STREAK_RESET = "streak_reset"
    BALANCE_SET = "balance_set"
    ACHIEVEMENT_WITHDRAWN = "achievement_withdrawn"
    PROGRESSED = "progressed"
    ACHIEVED = "achieved"
    LEVEL_REACHED = "level_reached"
    STREAK_BROKEN = "streak_broken"
    PERIOD_ENDED = "period_ended"
    REWARD_EARNED = "reward_earned"
    REWARD_FORFEITED = "reward_forfeited"
    REWARD_ISSUED = "reward_issued"
    REWARD_FAILED = "reward_failed"
    REWARD_REVERSED = "reward_reversed"
    UN_ENROLLED = "un_enrolled"
    OPTED_OUT = "opted_out"


# Facts never change and refer to nothing that could refer back: the garbage collector need not look at them, which is
# a tenth of the time that an activity takes.
class _Happened(Struct, frozen=True, gc=False):
    at: datetime
    target_id: int


class Enrolled(_Happened, frozen=True, gc=False):
    """In from this period on; `automatic` where the first activity that counted enrolled the customer (rule 11)."""

    name: ClassVar = FactName.ENROLLED
    period_number: int
    starts_at: datetime
    automatic: bool = False


class ReEnrolled(_Happened, frozen=True, gc=False):
    """In again, from this period on (rules 13 to 16)."""

    name: ClassVar = FactName.RE_ENROLLED
    period_number: int
    starts_at: datetime


class EnrolmentMovedBack(_Happened, frozen=True, gc=False):
    """Late activity counted in an earlier period than the one that enrolled the customer (rule 11)."""

    name: ClassVar = FactName.ENROLMENT_MOVED_BACK
    period_number: int
    starts_at: datetime


class StreakReset(_Happened, frozen=True, gc=False):
    """A new run begins at zero (rule 16)."""

    name: ClassVar = FactName.STREAK_RESET
    run: int


class BalanceSet(_Happened, frozen=True, gc=False):
    """The value of a milestone's period was replaced (rule 14)."""

    name: ClassVar = FactName.BALANCE_SET
    period_number: int
    value: int


class AchievementWithdrawn(_Happened, frozen=True, gc=False):
    """A balance took the achievement back; `value` is what the period had (rule 14)."""

    name: ClassVar = FactName.ACHIEVEMENT_WITHDRAWN
    period_number: int
    value: int


class Progressed(_Happened, frozen=True, gc=False):
    """An activity counted: what it added to the value, and the value after it.

    `day` is the local day that it was counted for, where a day counts once; the amount is 0 where that day had counted.
    """

    name: ClassVar = FactName.PROGRESSED
    period_number: int
    run: int
    amount: int
    value: int
    day: date | None = None


class Achieved(_Happened, frozen=True, gc=False):
    """The value came to the target value, by an activity of that instant (rule 18)."""

    name: ClassVar = FactName.ACHIEVED
    period_number: int
    run: int
    value: int
    occurred_at: datetime


class LevelReached(_Happened, frozen=True, gc=False):
    """A run's course passed the count of a level (rule 19)."""

    name: ClassVar = FactName.LEVEL_REACHED
    run: int
    level_id: int
    count: int


class StreakBroken(_Happened, frozen=True, gc=False):
    """A period that ended unmet broke the run, and that is final; `count` is what the run had come to (rule 19)."""

    name: ClassVar = FactName.STREAK_BROKEN
    period_number: int
    run: int
    count: int


class PeriodEnded(_Happened, frozen=True, gc=False):
    """The end of an achieved period was settled, and nothing of it is left to decide (rule 20)."""

    name: ClassVar = FactName.PERIOD_ENDED
    period_number: int
    value: int


class _OfReward(_Happened, frozen=True, gc=False):
    """Of a period's reward the period's number, of a level's reward its level; `points` where it is points."""

    run: int
    reward_definition_id: int
    period_number: int | None = None
    level_id: int | None = None
    points: int | None = None
    reason: str | None = None


class RewardEarned(_OfReward, frozen=True, gc=False):
    """Written in the transaction of what earned it, once for each key (rules 15, 27)."""

    name: ClassVar = FactName.REWARD_EARNED


class RewardForfeited(_OfReward, frozen=True, gc=False):
    """An achieved period-end reward is lost, and says why (rules 9, 28)."""

    name: ClassVar = FactName.REWARD_FORFEITED


class RewardIssued(_OfReward, frozen=True, gc=False):
    """Reported as given; this and the two below change the ledger only (rule 27)."""

    name: ClassVar = FactName.REWARD_ISSUED


class RewardFailed(_OfReward, frozen=True, gc=False):
    """Reported as not given."""

    name: ClassVar = FactName.REWARD_FAILED


class RewardReversed(_OfReward, frozen=True, gc=False):
    """Reported as taken back."""

    name: ClassVar = FactName.REWARD_REVERSED


class UnEnrolled(_Happened, frozen=True, gc=False):
    """Out of the running period, or of all later ones where none runs (rule 7)."""

    name: ClassVar = FactName.UN_ENROLLED
    period_number: int | None


class OptedOut(_Happened, frozen=True, gc=False):
    """Un-enrolled before any activity, which from then on does not enrol (rule 11)."""

    name: ClassVar = FactName.OPTED_OUT


RewardFact: TypeAlias = RewardEarned | RewardForfeited | RewardIssued | RewardFailed | RewardReversed

Fact: TypeAlias = (
    Enrolled
    | ReEnrolled
    | EnrolmentMovedBack
    | StreakReset
    | BalanceSet
    | AchievementWithdrawn
    | Progressed
    | Achieved
    | LevelReached
    | StreakBroken
    | PeriodEnded
    | RewardFact
    | UnEnrolled
    | OptedOut
)

_RewardFactT = TypeVar("_RewardFactT", bound=_OfReward)


def of_reward(
    happened: type[_RewardFactT],
    reward: RewardDefinition,
    *,
    at: datetime,
    target_id: int,
    run: int,
    period_number: int | None = None,
    level_id: int | None = None,
    reason: str | None = None,
) -> _RewardFactT:
    """What happened to a reward of a period or of a level."""
    points = None if isinstance(reward.value, str) else reward.value
    return happened(at, target_id, run, reward.reward_definition_id, period_number, level_id, points, reason)
