"""The audit trail: facts in the order in which they happened to a customer."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kosminar.core.amount import decimal_of
from kosminar.core.fact import (
    Achieved,
    AchievementWithdrawn,
    BalanceSet,
    Fact,
    LevelReached,
    PeriodEnded,
    Progressed,
    RewardEarned,
    RewardFailed,
    RewardForfeited,
    RewardIssued,
    RewardReversed,
    StreakBroken,
)
from kosminar.core.programme import Programme
from kosminar.core.standing import MILESTONE_RUN
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, CustomerRange, place

QUERIES: Final = load("facts")


class RecordedFact(NamedTuple):
    """A fact as it is kept and shown: (sequence, ordinal) is its place in the customer's trail.

    After the customer's key, in the order of the table's columns.
    """

    sequence: int
    ordinal: int
    name: str
    at: datetime
    target_group_id: int
    target_id: int
    period_id: int | None
    run: int | None
    level_id: int | None
    reward_definition_id: int | None
    value: Decimal | None
    reason: str | None


def recorded(
    facts: Iterable[tuple[Programme, Fact]], *, sequence: int, first_ordinal: int = 0
) -> tuple[RecordedFact, ...]:
    """Facts of one number of a customer's order, as they are kept and shown."""
    return tuple(
        [
            # Made for every fact there is: by place, which takes half as long as by name.
            RecordedFact(
                sequence,
                ordinal,
                fact.name.value,
                fact.at,
                programme.target_group_id,
                fact.target_id,
                None if (number := getattr(fact, "period_number", None)) is None else programme.period_id(number),
                getattr(fact, "run", _RUNS.get(type(fact))),
                getattr(fact, "level_id", None),
                getattr(fact, "reward_definition_id", None),
                _value(fact),
                getattr(fact, "reason", None),
            )
            for ordinal, (programme, fact) in enumerate(facts, start=first_ordinal)
        ]
    )


# Of a milestone's period the run is kept beside it, though there is only one.
_RUNS: Final = dict.fromkeys((BalanceSet, AchievementWithdrawn, PeriodEnded), MILESTONE_RUN)


def _value(fact: Fact) -> Decimal | None:
    """What a fact shows as its value: the value of progress, the count of a streak, the points of a reward."""
    match fact:
        case LevelReached() | StreakBroken():
            return Decimal(fact.count)
        case RewardEarned() | RewardForfeited() | RewardIssued() | RewardFailed() | RewardReversed():
            return None if fact.points is None else decimal_of(fact.points)
        case Progressed() | Achieved() | BalanceSet() | AchievementWithdrawn() | PeriodEnded():
            return decimal_of(fact.value)
        case _:
            return None


async def list_page(
    connection: Connection, customer: CustomerKey, *, after: tuple[int, int], limit: int
) -> list[RecordedFact]:
    """Oldest first, what comes after (sequence, ordinal)."""
    rows = await QUERIES["list_facts"].rows(
        connection, **place(customer), after_sequence=after[0], after_ordinal=after[1], limit=limit
    )
    return [RecordedFact(**row) for row in rows]


async def list_of_range(connection: Connection, within: CustomerRange) -> dict[int, list[RecordedFact]]:
    """A range of customers' trails, by customer id, oldest first."""
    trails: dict[int, list[RecordedFact]] = {}
    for row in await QUERIES["list_facts_of_customers"].rows(connection, **within.bounds()):
        columns = dict(row)
        trails.setdefault(columns.pop("customer_id"), []).append(RecordedFact(**columns))
    return trails
