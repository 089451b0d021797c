"""What happened to one customer in one target: the changes that `decide` returns and `Standing.after` folds.

Facts are the audit trail. Everything kept of a customer can be made again by folding them; nothing else changes it.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

from kosminar.core.reward import RewardDefinition


class FactName(StrEnum):
    """Every fact there is, in the order in which a customer may meet them."""

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


class Fact(NamedTuple):
    """`at` is the organisation's clock, for a period end its due instant.

    `period_number` counts from 1; `value`, in thousandths, is the new value for progress, the count for a streak, the
    points for a reward of points. `occurred_at` and `day` are the activity's own instant and the local day it added to a VISIT
    measure; `automatic` tells an enrolment by activity from one by a call; `starts_at` is where a stretch begins.
    """

    name: FactName
    at: datetime
    period_number: int | None = None
    run: int | None = None
    level_id: int | None = None
    reward_definition_id: int | None = None
    value: int | None = None
    reason: str | None = None
    occurred_at: datetime | None = None
    day: date | None = None
    automatic: bool = False
    starts_at: datetime | None = None


def reward_fact(
    name: FactName,
    reward: RewardDefinition,
    *,
    at: datetime,
    run: int,
    period_number: int | None = None,
    level_id: int | None = None,
    reason: str | None = None,
) -> Fact:
    """What happened to a reward, for a period or for a level; its value is shown if it is points."""
    return Fact(
        name=name,
        at=at,
        period_number=period_number,
        run=run,
        level_id=level_id,
        reward_definition_id=reward.reward_definition_id,
        value=None if isinstance(reward.value, str) else reward.value,
        reason=reason,
    )
