"""What a target or a level gives, and the key by which it is given once.

A reward has one row for ever, keyed by organisation, customer, target, period or level, run and definition
(decision 27). Its public id spells that key out, so that every receiver can drop repeats by it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from kosminar.core.amount import ID_MAX


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
    """`value` is thousandths of points for POINTS, text of up to 200 characters otherwise (decision 26)."""

    reward_definition_id: int
    kind: RewardKind
    value: int | str
    allocation: Allocation


class RewardKey(NamedTuple):
    """What makes a customer's reward one: for a period (run 1 always) or for a level of a run; the other id is 0."""

    target_id: int
    period_id: int
    level_id: int
    run: int
    reward_definition_id: int


FIRST_REWARD_KEY: Final = RewardKey(0, 0, 0, 0, 0)
RUN_MAX: Final = 2**31 - 1

_REWARD_ID: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})-([PL])([0-9]{1,19})-([0-9]{1,10})-([0-9]{1,19})")

# What a report makes of a reward. Whoever hands it over may correct a word given before; what was forfeited was never
# given, and what was reversed stays reversed.
_AFTER_REPORT: Final = {
    RewardState.PENDING: {RewardState.ISSUED, RewardState.FAILED, RewardState.REVERSED},
    RewardState.ISSUED: {RewardState.ISSUED, RewardState.FAILED, RewardState.REVERSED},
    RewardState.FAILED: {RewardState.ISSUED, RewardState.FAILED, RewardState.REVERSED},
    RewardState.FORFEITED: set[RewardState](),
    RewardState.REVERSED: {RewardState.REVERSED},
}


def may_report(state: RewardState, outcome: RewardState) -> bool:
    """Whether a reward in that state may be reported issued, failed or reversed; the same again changes nothing."""
    return outcome in _AFTER_REPORT[state]


def reward_id(customer_id: int, key: RewardKey) -> str:
    """The public id of a reward: its key within the organisation, spelled out.

    >>> reward_id(7, RewardKey(target_id=3, period_id=12, level_id=0, run=1, reward_definition_id=5))
    '7-3-P12-1-5'
    >>> reward_id(7, RewardKey(target_id=3, period_id=0, level_id=4, run=2, reward_definition_id=6))
    '7-3-L4-2-6'
    """
    place = f"L{key.level_id}" if key.level_id else f"P{key.period_id}"
    return f"{customer_id}-{key.target_id}-{place}-{key.run}-{key.reward_definition_id}"


def parse_reward_id(text: str) -> tuple[int, RewardKey] | None:
    """The customer and the key that a public id spells out; None where the text is no such id.

    >>> parse_reward_id("7-3-L4-2-6")
    (7, RewardKey(target_id=3, period_id=0, level_id=4, run=2, reward_definition_id=6))
    >>> parse_reward_id("7-3-X4-2-6") is None
    True
    """
    match = _REWARD_ID.fullmatch(text) if text.isascii() else None
    if match is None:
        return None
    customer_id, target_id, place_id, run, definition_id = (int(match[n]) for n in (1, 2, 4, 5, 6))
    if not (all(1 <= n <= ID_MAX for n in (customer_id, target_id, place_id, definition_id)) and 1 <= run <= RUN_MAX):
        return None
    period_id, level_id = (place_id, 0) if match[3] == "P" else (0, place_id)
    key = RewardKey(target_id, period_id, level_id, run, definition_id)
    # One id for one reward: what is written otherwise, such as with leading zeros, is none.
    return (customer_id, key) if reward_id(customer_id, key) == text else None
