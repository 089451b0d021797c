"""What a target or a level gives, and the key by which it is given once.

A reward has one row for ever, keyed by organisation, customer, target, period or level, run and definition
(decision 27). Its public id spells that key out, so that every receiver can drop repeats by it.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class RewardKind(StrEnum):
    """What is given; only POINTS is a number, the others are text that the brand understands."""

    POINTS = "POINTS"
    COUPON = "COUPON"
    BADGE = "BADGE"
    CUSTOM = "CUSTOM"


class Allocation(StrEnum):
    """When it is given: with the activity that earned it, or at the period's end."""

    IMMEDIATE = "IMMEDIATE"
    PERIOD_END = "PERIOD_END"


class RewardState(StrEnum):
    """Where a reward stands; a row changes its state and is never deleted."""

    PENDING = "pending"
    ISSUED = "issued"
    FAILED = "failed"
    FORFEITED = "forfeited"
    REVERSED = "reversed"


UN_ENROLLED_BEFORE_PERIOD_END = "un-enrolled before period end"
PROGRAMME_DEACTIVATED = "programme deactivated"


@dataclass(frozen=True, slots=True)
class RewardDefinition:
    """`value` is points with three places for POINTS, text of up to 200 characters otherwise (decision 26)."""

    reward_definition_id: int
    kind: RewardKind
    value: Decimal | str
    allocation: Allocation


def reward_id(
    *, customer_id: int, target_id: int, period_id: int | None, level_id: int | None, run: int, definition_id: int
) -> str:
    """The public id of a reward: its key within the organisation, spelled out.

    >>> reward_id(customer_id=7, target_id=3, period_id=12, level_id=None, run=1, definition_id=5)
    '7-3-P12-1-5'
    >>> reward_id(customer_id=7, target_id=3, period_id=None, level_id=4, run=2, definition_id=6)
    '7-3-L4-2-6'
    """
    place = f"L{level_id}" if level_id is not None else f"P{period_id}"
    return f"{customer_id}-{target_id}-{place}-{run}-{definition_id}"
