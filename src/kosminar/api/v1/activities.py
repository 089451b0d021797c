"""Activities in: 1 to 1,000 at a time, each with its own result, in order.

A result is accepted (recorded, whether or not anything counted it), duplicate (recorded before, with the same content)
or rejected with a code; a rejected one leaves its id free. Ids are unique per organisation and customer, for ever.
"""

from dataclasses import replace
from functools import partial
from typing import Any, Final

from kosminar.api.answer import Answer, native
from kosminar.api.idempotency import item_of, kept_item
from kosminar.api.operation import Call, Operation, Schema, refuse_faults
from kosminar.api.v1.facts import FACT, shown
from kosminar.core.access import Level, Resource
from kosminar.core.amount import ID_MAX
from kosminar.core.decoder import Json
from kosminar.core.errors import MESSAGES, Code, Fault, invalid
from kosminar.engine.change import ActivityOutcome, Status
from kosminar.engine.house import House
from kosminar.engine.intake import ACTIVITY_ID_LENGTH_MAX, ATTRIBUTE_COUNT_MAX, TYPE_LENGTH_MAX, read_activity
from kosminar.engine.use_cases import activities
from kosminar.engine.use_cases.activities import GivenActivity
from kosminar.turns import each_in_turns

ACTIVITY_COUNT_MAX: Final = 1_000
# Of an id that is too long to be one, in the answer that says so.
ECHO_LENGTH_MAX: Final = 1_000


async def post_activities(house: House, call: Call) -> Answer:
    """Record activities; what each brought about comes back as facts (decisions 12, 18 to 21)."""
    fields = await call.fields()
    items = fields.required("activities", _batch, list[Json]())
    refuse_faults(fields.faults)
    zone = await house.zones.of(call.organisation_id)
    read = await each_in_turns(
        lambda place: read_activity(items[place], f"activities[{place}]", zone), range(len(items))
    )
    renders = [partial(_result, item) for item in items]
    outcomes = iter(
        await activities.accept(
            house,
            call.organisation_id,
            (
                GivenActivity(*one, kept_item(call, index, renders[index]))
                for index, one in enumerate(read)
                if isinstance(one, tuple)
            ),
            asked_by=call.caller.name,
            request_id=call.request_id,
        )
    )

    def result(place: int) -> Any:
        one = read[place]
        return item_of(next(outcomes), renders[place]) if isinstance(one, tuple) else _faulty(items[place], one)

    results = await each_in_turns(result, range(len(items)))
    spoiled = any(result["code"] == Code.INTERNAL_ERROR for result in results)
    return replace(native({"results": results}), final=not spoiled)


def _batch(value: Json) -> list[Json]:
    if not isinstance(value, list) or not 1 <= len(value) <= ACTIVITY_COUNT_MAX:
        raise ValueError(f"must be an array of 1 to {ACTIVITY_COUNT_MAX} objects")
    return value


def _result(item: Any, outcome: Any) -> dict[str, Any]:
    assert isinstance(outcome, ActivityOutcome)
    return {
        "id": item["id"],
        "status": outcome.status,
        "code": None if outcome.code is None else int(outcome.code),
        "message": None if outcome.code is None else MESSAGES[outcome.code],
        "facts": [shown(fact) for fact in outcome.facts],
    }


def _faulty(item: Json, faults: list[Fault]) -> dict[str, Any]:
    given = item.get("id") if isinstance(item, dict) else None
    return {
        # An id that is itself at fault cannot be echoed; the place in the list tells which item this is.
        "id": given if isinstance(given, str) and len(given) <= ECHO_LENGTH_MAX else None,
        "status": Status.REJECTED,
        "code": int(Code.INVALID_INPUT),
        "message": "; ".join(invalid(fault.path, fault.message).message for fault in faults),
        "facts": [],
    }


ACTIVITY: Final[Schema] = {
    "type": "object",
    "required": ["id", "customerId", "type", "occurredAt"],
    "properties": {
        "id": {
            "type": "string",
            "minLength": 1,
            "maxLength": ACTIVITY_ID_LENGTH_MAX,
            "description": "Unique per organisation and customer, for ever: the same id is counted once.",
        },
        "customerId": {"type": "integer", "minimum": 1, "maximum": ID_MAX},
        "type": {
            "type": "string",
            "minLength": 1,
            "maxLength": TYPE_LENGTH_MAX,
            "description": "`transaction`, or the name of an event.",
        },
        "occurredAt": {
            "type": "string",
            "description": "A date or date-time; without an offset it is in the organisation's zone.",
        },
        "attributes": {
            "type": ["object", "null"],
            "maxProperties": ATTRIBUTE_COUNT_MAX,
            "description": "Of a transaction: grossAmount, amount (net), billNumber, ... Of an event: its own.",
        },
    },
}

RESULT: Final[Schema] = {
    "type": "object",
    "required": ["id", "status", "code", "message", "facts"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "status": {"type": "string", "enum": list(Status)},
        "code": {"type": ["integer", "null"]},
        "message": {"type": ["string", "null"]},
        "facts": {"type": "array", "items": FACT},
    },
}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/activities",
        function=post_activities,
        summary="Record up to 1,000 activities",
        resource=Resource.ACTIVITIES,
        level=Level.WRITE,
        request={
            "type": "object",
            "required": ["activities"],
            "properties": {
                "activities": {"type": "array", "minItems": 1, "maxItems": ACTIVITY_COUNT_MAX, "items": ACTIVITY}
            },
        },
        response={
            "type": "object",
            "required": ["results"],
            "properties": {"results": {"type": "array", "items": RESULT}},
        },
        statuses=(200, 400),
        bulk=True,
    ),
)
