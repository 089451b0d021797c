"""The ledger of rewards: one row for each reward for ever, with its state and reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from kosminar.core.reward import Allocation, RewardKind, RewardState, reward_id
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, CustomerRange, place, places

QUERIES: Final = load("rewards")


class RewardKey(NamedTuple):
    """What makes a reward one: for a period (run 1 always) or for a level of a run; the other id is 0."""

    target_id: int
    period_id: int
    level_id: int
    run: int
    reward_definition_id: int


FIRST_REWARD_KEY: Final = RewardKey(0, 0, 0, 0, 0)


class RewardGivenTwice(Exception):
    """Our own mistake, stopped before it is committed. An exception, because `python -O` drops assertions."""


@dataclass(frozen=True, slots=True)
class Reward:
    """A row of the ledger."""

    key: RewardKey
    kind: RewardKind
    value: Decimal | str
    allocation: Allocation
    state: RewardState
    reason: str | None
    earned_at: datetime
    sequence: int


@dataclass(frozen=True, slots=True)
class ShownReward:
    """A reward with the names around it that a caller wants to see."""

    reward: Reward
    target_group_id: int
    period_name: str | None

    def public_id(self, customer_id: int) -> str:
        key = self.reward.key
        return reward_id(
            customer_id=customer_id,
            target_id=key.target_id,
            period_id=key.period_id or None,
            level_id=key.level_id or None,
            run=key.run,
            definition_id=key.reward_definition_id,
        )


async def save(connection: Connection, rewards: Sequence[tuple[CustomerKey, Reward]]) -> None:
    """Insert, or bring a forfeited row to its new state; a reward that was given before fails the transaction."""
    written = await QUERIES["save_rewards"].run(
        connection,
        **places([customer for customer, _ in rewards]),
        target_ids=[reward.key.target_id for _, reward in rewards],
        period_ids=[reward.key.period_id for _, reward in rewards],
        level_ids=[reward.key.level_id for _, reward in rewards],
        runs=[reward.key.run for _, reward in rewards],
        reward_definition_ids=[reward.key.reward_definition_id for _, reward in rewards],
        kinds=[reward.kind.value for _, reward in rewards],
        points=[None if isinstance(reward.value, str) else reward.value for _, reward in rewards],
        texts=[reward.value if isinstance(reward.value, str) else None for _, reward in rewards],
        allocations=[reward.allocation.value for _, reward in rewards],
        states=[reward.state.value for _, reward in rewards],
        reasons=[reward.reason for _, reward in rewards],
        earned_ats=[reward.earned_at for _, reward in rewards],
        sequences=[reward.sequence for _, reward in rewards],
    )
    if written != f"INSERT 0 {len(rewards)}":
        raise RewardGivenTwice("a reward that was given before would have been given again")


async def list_page(
    connection: Connection, customer: CustomerKey, *, after: RewardKey, limit: int
) -> list[ShownReward]:
    """In the order of their keys, what comes after one."""
    rows = await QUERIES["list_rewards"].rows(
        connection,
        **place(customer),
        after_target=after.target_id,
        after_period=after.period_id,
        after_level=after.level_id,
        after_run=after.run,
        after_definition=after.reward_definition_id,
        limit=limit,
    )
    return [
        ShownReward(
            reward=_reward(row),
            target_group_id=row["target_group_id"],
            period_name=row["period_name"],
        )
        for row in rows
    ]


async def list_of_range(connection: Connection, within: CustomerRange) -> dict[int, list[Reward]]:
    """A range of customers' rewards, by customer id."""
    ledgers: dict[int, list[Reward]] = {}
    for row in await QUERIES["list_rewards_of_customers"].rows(connection, **within.bounds()):
        ledgers.setdefault(row["customer_id"], []).append(_reward(row))
    return ledgers


def _reward(row: Any) -> Reward:
    return Reward(
        key=RewardKey(row["target_id"], row["period_id"], row["level_id"], row["run"], row["reward_definition_id"]),
        kind=RewardKind(row["kind"]),
        value=row["text"] if row["points"] is None else row["points"],
        allocation=Allocation(row["allocation"]),
        state=RewardState(row["state"]),
        reason=row["reason"],
        earned_at=row["earned_at"],
        sequence=row["sequence"],
    )
