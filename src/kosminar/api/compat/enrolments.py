"""Enrol and un-enrol: one customer, one target, one call. The two operations the project was created from.

Each is a plain function from a call to an answer; what is decided, and in what order codes are reported, is the
engine's. Bodies: an array of exactly one object, a bare object too (decision 2).
"""

from functools import partial
from typing import Final

from kosminar.api.answer import Answer, envelope
from kosminar.api.idempotency import answer_of, kept
from kosminar.api.operation import Call, Operation, Refused, Schema, enveloped, refuse_faults
from kosminar.core.access import Level, Resource
from kosminar.core.amount import ID_MAX, thousandths_of
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.decoder import Fields, Json
from kosminar.core.errors import Code, Complaint
from kosminar.engine.change import EnrolmentOutcome
from kosminar.engine.house import House
from kosminar.engine.use_cases import enrolments

PERIOD_NAME_LENGTH_MAX: Final = 200


async def enroll(house: House, call: Call) -> Answer:
    """Enrol or re-enrol (decisions 13, 14, 16, 17)."""
    fields = await _only_object(call)
    customer_id = fields.digits("customerId")
    command = Enrol(
        call.ids["targetId"],
        period_name=fields.optional_text("periodName", max_length=PERIOD_NAME_LENGTH_MAX),
        initial_balance=fields.optional("initialBalance", _balance),
        reset=fields.boolean("resetStreakStatus", default=False),
    )
    refuse_faults(fields.faults)
    return await _submit(house, call, customer_id, command)


async def unenroll(house: House, call: Call) -> Answer:
    """Out of the running period and all later ones (decisions 7 to 10)."""
    fields = await _only_object(call)
    customer_id = fields.digits("customerId")
    refuse_faults(fields.faults)
    return await _submit(house, call, customer_id, UnEnrol(call.ids["targetId"]))


async def _only_object(call: Call) -> Fields:
    body = await call.json()
    if isinstance(body, list):
        if len(body) != 1:
            raise Refused(Complaint.of(Code.INVALID_INPUT, "The body must be an array of exactly one object"))
        body = body[0]
    if not isinstance(body, dict):
        raise Refused(Complaint.of(Code.INVALID_INPUT, "The body must be an array of exactly one object"))
    return Fields(body)


def _balance(value: Json) -> int:
    balance = thousandths_of(value)
    if balance < 0:
        raise ValueError("must not be negative")
    return balance


async def _submit(house: House, call: Call, customer_id: int, command: Enrol | UnEnrol) -> Answer:
    render = partial(_answer, customer_id)
    outcome = await enrolments.change(
        house,
        call.organisation_id,
        customer_id,
        call.ids["targetGroupId"],
        command,
        asked_by=call.caller.name,
        request_id=call.request_id,
        kept=kept(call, render),
    )
    return answer_of(outcome, render)


def _answer(customer_id: int, outcome: EnrolmentOutcome) -> Answer:
    if outcome.errors:
        return envelope(None, errors=[Complaint.of(code) for code in outcome.errors])
    return envelope(customer_id, warnings=[Complaint.of(code) for code in outcome.warnings])


CUSTOMER_ID: Final[Schema] = {
    "oneOf": [
        {"type": "integer", "minimum": 1, "maximum": ID_MAX},
        {"type": "string", "pattern": "^0*[1-9][0-9]{0,18}$"},
    ],
    "description": "The customer's id, an integer or a string of digits.",
}


def _body(properties: Schema) -> Schema:
    """An array of exactly one object, or the bare object."""
    item = {
        "type": "object",
        "required": ["customerId"],
        "properties": {"customerId": CUSTOMER_ID, **properties},
    }
    return {"oneOf": [{"type": "array", "minItems": 1, "maxItems": 1, "items": item}, item]}


ENROL_BODY: Final = _body(
    {
        "periodName": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": PERIOD_NAME_LENGTH_MAX,
            "description": "The refCode of the first period to be in; absent: the running one, else the next. "
            "Ignored with a warning on a streak.",
        },
        "initialBalance": {
            "type": ["number", "string", "null"],
            "minimum": 0,
            "maximum": 999_999_999_999.999,
            "pattern": r"^[0-9]{1,12}(\.[0-9]+)?$",
            "description": "The value to start from, three places. null resumes the period that was left. "
            "Ignored with a warning on a streak.",
        },
        "resetStreakStatus": {
            "type": ["boolean", "null"],
            "description": "true starts a new run of a streak at zero, whose levels earn again.",
        },
    }
)

ENROLLED: Final = enveloped({"type": ["integer", "null"], "description": "The customer's id."})

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/targetGroups/{targetGroupId}/targets/{targetId}/enroll",
        function=enroll,
        summary="Enrol or re-enrol a customer in a milestone or a streak",
        resource=Resource.ENROLMENTS,
        level=Level.WRITE,
        request=ENROL_BODY,
        response=ENROLLED,
        statuses=(200, 400),
        examples={"request": [{"customerId": 600100200, "periodName": "Cycle_3", "initialBalance": 40}]},
    ),
    Operation(
        method="POST",
        path="/targetGroups/{targetGroupId}/targets/{targetId}/unEnroll",
        function=unenroll,
        summary="Un-enrol a customer from a milestone or a streak",
        resource=Resource.ENROLMENTS,
        level=Level.WRITE,
        request=_body({}),
        response=ENROLLED,
        statuses=(200, 400),
        examples={"request": [{"customerId": 600100200}]},
    ),
)
