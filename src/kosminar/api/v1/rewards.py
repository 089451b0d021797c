"""A customer's rewards, each with its state and the reason for it; and the word of whoever hands them over.

A reward that somebody subscribed to is pending until that somebody has answered: by the status of the delivery, or
here. A word given may be corrected; what was reversed stays so (decisions 22, 27).
"""

from functools import partial
from typing import Any, Final

from kosminar.api.answer import Answer, native, problem
from kosminar.api.idempotency import answer_of, kept
from kosminar.api.operation import Call, Operation, Schema, refuse_faults
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
from kosminar.core.amount import decimal_of
from kosminar.core.errors import MESSAGES, Code
from kosminar.core.ledger import Reward
from kosminar.core.programme import Programme
from kosminar.core.reward import (
    FIRST_REWARD_KEY,
    Allocation,
    RewardKey,
    RewardKind,
    RewardState,
    parse_reward_id,
    reward_id,
)
from kosminar.engine.change import ReportOutcome, RewardReport
from kosminar.engine.house import House
from kosminar.engine.use_cases import rewards

# Target, period, level, run and reward definition.
KEY_MAXIMA: Final = (BIGINT_MAX, BIGINT_MAX, BIGINT_MAX, INTEGER_MAX, BIGINT_MAX)


def shown(customer_id: int, reward: Reward, programme: Programme) -> dict[str, Any]:
    number = programme.period_number(reward.key.period_id)
    return {
        "rewardId": reward_id(customer_id, reward.key),
        "targetGroupId": programme.target_group_id,
        "targetId": reward.key.target_id,
        "periodId": reward.key.period_id or None,
        "periodRefCode": None if number is None else programme.period(number).name,
        "levelId": reward.key.level_id or None,
        "run": reward.key.run,
        "kind": reward.kind,
        "value": reward.value if isinstance(reward.value, str) else decimal_of(reward.value),
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
    page = await rewards.list_page(house, call.organisation_id, call.ids["customerId"], after=after, limit=limit)
    last = page.last
    following = (
        None
        if last is None
        else write_cursor(last.target_id, last.period_id, last.level_id, last.run, last.reward_definition_id)
    )
    rows = [shown(call.ids["customerId"], reward, programme) for reward, programme in page.rewards]
    return native({"data": rows, "next": following})


async def report_issued(house: House, call: Call) -> Answer:
    """The reward has reached the customer."""
    return await _report(house, call, RewardState.ISSUED, None)


async def report_failed(house: House, call: Call) -> Answer:
    """The reward could not be handed over; reported issued later, it has been after all."""
    return await _report(house, call, RewardState.FAILED, await _reason(call))


async def report_reversed(house: House, call: Call) -> Answer:
    """The reward is taken back, for good; its row and everything that was reported stay."""
    return await _report(house, call, RewardState.REVERSED, await _reason(call))


async def _reason(call: Call) -> str:
    fields = await call.fields()
    reason = fields.text("reason", max_length=REASON_LENGTH_MAX)
    refuse_faults(fields.faults)
    return reason


async def _report(house: House, call: Call, outcome: RewardState, reason: str | None) -> Answer:
    named = parse_reward_id(call.names["rewardId"])
    if named is None:
        return problem(404, Code.UNKNOWN_REWARD, MESSAGES[Code.UNKNOWN_REWARD])
    customer_id, key = named
    report = RewardReport(key, outcome, reason)
    render = partial(_reported, customer_id)
    result = await rewards.report(
        house,
        call.organisation_id,
        customer_id,
        report,
        asked_by=call.caller.name,
        request_id=call.request_id,
        kept=kept(call, render),
    )
    return answer_of(result, render)


def _reported(customer_id: int, outcome: ReportOutcome) -> Answer:
    if outcome.errors:
        code = outcome.errors[0]
        return problem(404 if code is Code.UNKNOWN_REWARD else 409, code, MESSAGES[code])
    assert outcome.reward is not None, "a report without an error has its reward"
    reward = outcome.reward
    return native({"rewardId": reward_id(customer_id, reward.key), "state": reward.state, "reason": reward.reason})


REWARD_ID: Final = "[0-9]{1,19}-[0-9]{1,19}-[PL][0-9]{1,19}-[0-9]{1,10}-[0-9]{1,19}"
REASON_LENGTH_MAX: Final = 500
REPORTED: Final[Schema] = {
    "type": "object",
    "required": ["rewardId", "state", "reason"],
    "properties": {
        "rewardId": {"type": "string"},
        "state": {"type": "string", "enum": list(RewardState)},
        "reason": {"type": ["string", "null"]},
    },
}
REASON: Final[Schema] = {
    "type": "object",
    "required": ["reason"],
    "properties": {"reason": {"type": "string", "minLength": 1, "maxLength": REASON_LENGTH_MAX}},
}
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
    Operation(
        method="POST",
        path="/v1/rewards/{rewardId}/issued",
        function=report_issued,
        summary="Report that a reward was handed over",
        resource=Resource.REWARDS,
        level=Level.WRITE,
        response=REPORTED,
        statuses=(200, 404, 409),
        patterns={"rewardId": REWARD_ID},
    ),
    Operation(
        method="POST",
        path="/v1/rewards/{rewardId}/failed",
        function=report_failed,
        summary="Report that a reward could not be handed over",
        resource=Resource.REWARDS,
        level=Level.WRITE,
        request=REASON,
        response=REPORTED,
        statuses=(200, 404, 409),
        patterns={"rewardId": REWARD_ID},
    ),
    Operation(
        method="POST",
        path="/v1/rewards/{rewardId}/reversed",
        function=report_reversed,
        summary="Take a reward back",
        resource=Resource.REWARDS,
        level=Level.WRITE,
        request=REASON,
        response=REPORTED,
        statuses=(200, 404, 409),
        patterns={"rewardId": REWARD_ID},
    ),
)
