"""The ledger of rewards: one row for each reward for ever, with its state and reason."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from kosminar.core.amount import decimal_of, exact_thousandths
from kosminar.core.ledger import Reward, RewardGivenTwice
from kosminar.core.reward import Allocation, RewardKey, RewardKind, RewardState
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, place, places
from kosminar.store.turns import in_parts

QUERIES: Final = load("rewards")

# Of one statement, which takes some ten milliseconds to encode them.
COUNT_MAX: Final = 2_000


async def save(connection: Connection, rewards: Sequence[tuple[CustomerKey, Reward]]) -> None:
    """Insert, or bring a forfeited row to its new state; a reward that was given before fails the transaction."""
    for part in in_parts(rewards, COUNT_MAX):
        written = await QUERIES["save_rewards"].rows(connection, rows=[_row(*one) for one in part])
        if len(written) != len(part):
            raise RewardGivenTwice("a reward that was given before would have been given again")


async def list_by_key(
    connection: Connection, wanted: Iterable[tuple[CustomerKey, RewardKey]]
) -> dict[tuple[CustomerKey, RewardKey], Reward]:
    """Those that are there."""
    asked = list(wanted)
    rows = await QUERIES["list_rewards_by_key"].rows(
        connection, **places([customer for customer, _ in asked]), **_keys([key for _, key in asked])
    )
    found = ((CustomerKey.of(row["organisation_id"], row["customer_id"]), _reward(row)) for row in rows)
    return {(customer, reward.key): reward for customer, reward in found}


async def move(connection: Connection, moved: Mapping[tuple[CustomerKey, RewardKey], Reward]) -> None:
    """To the state that their last report brought."""
    await QUERIES["move_rewards"].run(
        connection,
        **places([customer for customer, _ in moved]),
        **_keys([key for _, key in moved]),
        states=[reward.state.value for reward in moved.values()],
        reasons=[reward.reason for reward in moved.values()],
    )


async def list_page(connection: Connection, customer: CustomerKey, *, after: RewardKey, limit: int) -> list[Reward]:
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
    return [_reward(row) for row in rows]


def points_and_text(value: int | str) -> tuple[Decimal | None, str | None]:
    """What a reward gives, as its two columns have it: one of them is null."""
    return (None, value) if isinstance(value, str) else (decimal_of(value), None)


def value_of(points: Decimal | None, text: str) -> int | str:
    """What a reward gives, from its two columns."""
    return text if points is None else exact_thousandths(points)


def _row(customer: CustomerKey, reward: Reward) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    key, (points, text) = reward.key, points_and_text(reward.value)
    return (
        *customer,
        *(key.target_id, key.period_id, key.level_id, key.run, key.reward_definition_id),
        reward.kind.value,
        points,
        text,
        reward.allocation.value,
        reward.state.value,
        reward.reason,
        reward.earned_at,
        reward.sequence,
        reward.handed_over,
    )


def _keys(keys: Sequence[RewardKey]) -> dict[str, list[int]]:
    return {
        "target_ids": [key.target_id for key in keys],
        "period_ids": [key.period_id for key in keys],
        "level_ids": [key.level_id for key in keys],
        "runs": [key.run for key in keys],
        "reward_definition_ids": [key.reward_definition_id for key in keys],
    }


def _key(row: Any) -> RewardKey:
    return RewardKey(row["target_id"], row["period_id"], row["level_id"], row["run"], row["reward_definition_id"])


def _reward(row: Any) -> Reward:
    return Reward(
        key=_key(row),
        kind=RewardKind(row["kind"]),
        value=value_of(row["points"], row["text"]),
        allocation=Allocation(row["allocation"]),
        state=RewardState(row["state"]),
        reason=row["reason"],
        earned_at=row["earned_at"],
        sequence=row["sequence"],
        handed_over=row["handed_over"],
    )
