"""A customer's rewards, each with its state and the reason for it."""

from typing import Any, Final

from kosminar.api.answer import Answer, native
from kosminar.api.known import require_customer
from kosminar.api.operation import Call, Operation, Schema
from kosminar.api.v1.page import (
    BIGINT_MAX,
    CURSOR,
    INTEGER_MAX,
    LIMIT,
    page_limit,
    page_schema,
    read_cursor,
    write_cursor,
)
from kosminar.core.access import Level, Resource
from kosminar.core.reward import Allocation, RewardKind, RewardState
from kosminar.engine.house import House
from kosminar.store import rewards
from kosminar.store.rewards import FIRST_REWARD_KEY, RewardKey, ShownReward
from kosminar.store.standings import CustomerKey

# Target, period, level, run and reward definition.
KEY_MAXIMA: Final = (BIGINT_MAX, BIGINT_MAX, BIGINT_MAX, INTEGER_MAX, BIGINT_MAX)


def shown(customer_id: int, found: ShownReward) -> dict[str, Any]:
    reward = found.reward
    return {
        "rewardId": found.public_id(customer_id),
        "targetGroupId": found.target_group_id,
        "targetId": reward.key.target_id,
        "periodId": reward.key.period_id or None,
        "periodRefCode": found.period_name,
        "levelId": reward.key.level_id or None,
        "run": reward.key.run,
        "kind": reward.kind,
        "value": reward.value,
        "allocation": reward.allocation,
        "state": reward.state,
        "reason": reward.reason,
        "earnedAt": reward.earned_at,
    }


async def list_rewards(house: House, call: Call) -> Answer:
    """Every reward of a customer, in the order of their keys."""
    limit = page_limit(call)
    cursor = read_cursor(call, KEY_MAXIMA)
    after = FIRST_REWARD_KEY if cursor is None else RewardKey(*cursor)
    key = CustomerKey.of(call.organisation_id, call.ids["customerId"])
    async with house.pool.acquire() as connection:
        await require_customer(connection, call, key.organisation_id, key.customer_id)
        found = await rewards.list_page(connection, key, after=after, limit=limit + 1)
    last = found[limit - 1].reward.key if len(found) > limit else None
    following = (
        None
        if last is None
        else write_cursor(last.target_id, last.period_id, last.level_id, last.run, last.reward_definition_id)
    )
    return native({"data": [shown(key.customer_id, reward) for reward in found[:limit]], "next": following})


REWARD: Final[Schema] = {
    "type": "object",
    "required": [
        "rewardId",
        "targetGroupId",
        "targetId",
        "periodId",
        "periodRefCode",
        "levelId",
        "run",
        "kind",
        "value",
        "allocation",
        "state",
        "reason",
        "earnedAt",
    ],
    "properties": {
        "rewardId": {"type": "string", "description": "The reward's key; receivers drop repeats by it."},
        "targetGroupId": {"type": "integer"},
        "targetId": {"type": "integer"},
        "periodId": {"type": ["integer", "null"], "description": "null for a level's reward."},
        "periodRefCode": {"type": ["string", "null"]},
        "levelId": {"type": ["integer", "null"], "description": "null for a period's reward."},
        "run": {"type": "integer", "minimum": 1},
        "kind": {"type": "string", "enum": list(RewardKind)},
        "value": {"type": ["number", "string"], "description": "A number for POINTS, text otherwise."},
        "allocation": {"type": "string", "enum": list(Allocation)},
        "state": {"type": "string", "enum": list(RewardState)},
        "reason": {"type": ["string", "null"]},
        "earnedAt": {"type": "string", "format": "date-time"},
    },
}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/customers/{customerId}/rewards",
        function=list_rewards,
        summary="A customer's rewards with their states and reasons",
        resource=Resource.REWARDS,
        level=Level.READ,
        response=page_schema(REWARD),
        statuses=(200, 404),
        query=(CURSOR, LIMIT),
    ),
)
