"""Transactions on the compatible surface: one bill of one customer, of type REGULAR.

A bill is the activity `bill:` and its number, so a repeated bill is counted once and answered alike, and one with other
content is a conflict (decision 21). Always works in the caller's own organisation.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final

from kosminar.api.answer import Answer, native, refusal
from kosminar.api.compat.customers import CUSTOMER_QUERY, named_customer
from kosminar.api.idempotency import answer_of, kept
from kosminar.api.operation import Call, Operation, Schema, refuse_faults
from kosminar.api.v1.facts import FACT, shown
from kosminar.core.access import Level, Resource
from kosminar.core.amount import ZERO, decimal_of, thousandths_of
from kosminar.core.decoder import Fields, Json
from kosminar.core.errors import Code, Complaint
from kosminar.core.number import stable_number
from kosminar.engine.change import ActivityOutcome
from kosminar.engine.house import House
from kosminar.engine.use_cases import activities

# As published.
BILL_NUMBER_LENGTH_MAX: Final = 50
# Beside billAmount, which measures read as `amount`.
OPTIONAL_AMOUNTS: Final = ("grossAmount", "discount")


async def post_transaction(house: House, call: Call) -> Answer:
    """Record a bill; `sideEffects` lists what it brought about."""
    fields = await call.fields()
    zone = await house.zones.of(call.organisation_id)
    fields.required("type", _regular, "")
    bill_number = fields.text("billNumber", max_length=BILL_NUMBER_LENGTH_MAX)
    billed_at = fields.optional_instant("billingDate", zone)
    amount = fields.required("billAmount", _not_negative, decimal_of(ZERO))
    attributes: dict[str, Any] = {"billNumber": bill_number, "amount": amount, **_optional_amounts(fields)}
    refuse_faults(fields.faults)
    customer_id = await named_customer(house, call)
    render = partial(_answer, stable_number(call.organisation_id, customer_id, activities.id_of_bill(bill_number)))
    outcome = await activities.accept_bill(
        house,
        call.organisation_id,
        customer_id,
        bill_number,
        attributes,
        billed_at=billed_at,
        asked_by=call.caller.name,
        request_id=call.request_id,
        kept=kept(call, render),
    )
    return answer_of(outcome, render)


def _answer(created_id: int, outcome: ActivityOutcome) -> Answer:
    if outcome.code is not None and outcome.code is not Code.ACTIVITY_TOO_LATE:
        return refusal(Complaint.of(outcome.code))
    warnings = [] if outcome.code is None else [Complaint.of(outcome.code)]
    return native(
        {
            "createdId": created_id,
            "warnings": [{"code": int(warning.code), "message": warning.message} for warning in warnings],
            "errors": [],
            "sideEffects": [shown(fact) for fact in outcome.facts],
        }
    )


def _optional_amounts(fields: Fields) -> Mapping[str, Decimal]:
    read = {name: fields.optional(name, _not_negative) for name in OPTIONAL_AMOUNTS}
    return {name: amount for name, amount in read.items() if amount is not None}


def _regular(value: Json) -> str:
    if value != "REGULAR":
        raise ValueError("must be REGULAR: other types are not supported")
    return "REGULAR"


def _not_negative(value: Json) -> Decimal:
    amount = thousandths_of(value)
    if amount < 0:
        raise ValueError("must not be negative: a return is not a REGULAR transaction")
    return decimal_of(amount)


AMOUNT: Final[Schema] = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 999_999_999_999.999,
    "pattern": r"^[0-9]{1,12}(\.[0-9]+)?$",
}
BILL: Final[Schema] = {
    "type": "object",
    "required": ["type", "billNumber", "billAmount"],
    "properties": {
        "type": {"type": "string", "const": "REGULAR"},
        "billNumber": {"type": "string", "minLength": 1, "maxLength": BILL_NUMBER_LENGTH_MAX},
        "billAmount": {**AMOUNT, "description": "Net; what SALES measures."},
        "grossAmount": {**AMOUNT, "description": "What GROSS_SALES measures."},
        "discount": AMOUNT,
        "billingDate": {
            "type": ["string", "null"],
            "description": "A date or date-time; without an offset in the organisation's zone, absent: now.",
        },
    },
}
RECORDED: Final[Schema] = {
    "type": "object",
    "required": ["createdId", "warnings", "errors", "sideEffects"],
    "properties": {
        "createdId": {"type": "integer"},
        "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Complaint"}},
        "errors": {"type": "array", "maxItems": 0},
        "sideEffects": {"type": "array", "items": FACT},
    },
}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v2/transactions",
        function=post_transaction,
        summary="Record a bill of a customer",
        resource=Resource.ACTIVITIES,
        level=Level.WRITE,
        request=BILL,
        response=RECORDED,
        statuses=(200, 400),
        query=CUSTOMER_QUERY,
        bulk=True,
    ),
)
