"""The ledger of rewards: one row for each reward for ever, with its state and reason."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from kosminar.core.amount import decimal_of, exact_thousandths
from kosminar.core.ledger import Reward, RewardGivenTwice
from kosminar.core.reward import Allocation, RewardKey, RewardKind, RewardState
from kosminar.store.queries import Connection, array, load
from kosminar.store.saving import Part, keys
from kosminar.store.standings import CustomerKey, place, places

QUERIES: Final = load("rewards")


def given_part(rewards: Sequence[tuple[CustomerKey, Reward]]) -> Part:
    """Insert, or bring a forfeited row to its new state; a reward that was given before fails the transaction."""
    return Part(QUERIES["save_rewards"], rewards, _given, lost=RewardGivenTwice)


def moved_part(moved: Mapping[tuple[CustomerKey, RewardKey], Reward]) -> Part:
    """To the state that their last report brought."""
    return Part(QUERIES["move_rewards"], list(moved.items()), _moved)


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


def _given(rewards: Sequence[tuple[CustomerKey, Reward]]) -> dict[str, Any]:
    found = [reward for _, reward in rewards]
    values = [points_and_text(reward.value) for reward in found]
    return {
        **keys([customer for customer, _ in rewards]),
        **{name: array(column) for name, column in _keys([reward.key for reward in found]).items()},
        "kinds": array([reward.kind for reward in found]),
        "points": array([points for points, _ in values]),
        "texts": [text for _, text in values],
        "allocations": array([reward.allocation for reward in found]),
        "states": array([reward.state for reward in found]),
        "reasons": [reward.reason for reward in found],
        "earned_ats": array([reward.earned_at for reward in found]),
        "sequences": array([reward.sequence for reward in found]),
        "handed_overs": array([reward.handed_over for reward in found]),
    }


def _moved(moved: Sequence[tuple[tuple[CustomerKey, RewardKey], Reward]]) -> dict[str, Any]:
    return {
        **keys([customer for (customer, _), _ in moved]),
        **{name: array(column) for name, column in _keys([key for (_, key), _ in moved]).items()},
        "states": array([reward.state for _, reward in moved]),
        "reasons": [reward.reason for _, reward in moved],
    }


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
