"""Customers on the native surface: up to a thousand registered at once, each with its own result.

A faulty customer is rejected alone; the request is refused as a whole only if it is no list of customers at all.
What is decided about each: core/customer.py.
"""

from typing import Any, Final

from kosminar.api.answer import Answer, native
from kosminar.api.idempotency import change_once
from kosminar.api.operation import Call, Operation, Schema, refuse_faults
from kosminar.core import customer
from kosminar.core.access import Level, Resource
from kosminar.core.customer import IDENTIFIER_LENGTH_MAX, NAME_LENGTH_MAX, NewCustomer, Registration, Status
from kosminar.core.decoder import Json
from kosminar.core.errors import Code, Fault, invalid
from kosminar.engine.house import House
from kosminar.engine.use_cases import customers
from kosminar.engine.use_cases.customers import BATCH_COUNT_MAX
from kosminar.turns import each_in_turns


async def post_customers(house: House, call: Call) -> Answer:
    """Registers customers and answers one result for each, in order."""
    fields = await call.fields()
    items: list[Json] = fields.required("customers", _batch, [])
    refuse_faults(fields.faults)
    read = await each_in_turns(lambda place: _read(items[place], f"customers[{place}]"), range(len(items)))
    faultless = [new for new in read if isinstance(new, NewCustomer)]

    def render(registered: list[Registration]) -> Answer:
        decided = iter(registered)
        results = [one if isinstance(one, Registration) else next(decided) for one in read]
        return native({"results": [_shown(result) for result in results]})

    return await change_once(
        call, render, lambda slot: customers.register_once(house, call.organisation_id, faultless, slot=slot)
    )


def _batch(value: Json) -> list[Json]:
    if not isinstance(value, list) or not 1 <= len(value) <= BATCH_COUNT_MAX:
        raise ValueError(f"must be an array of 1 to {BATCH_COUNT_MAX} objects")
    return value


def _read(item: Json, path: str) -> NewCustomer | Registration:
    """The customer, or the rejection that names everything that is wrong with it."""
    if not isinstance(item, dict):
        return _rejected([Fault(path, "must be an object")])
    new, faults = customer.read(item, path)
    return _rejected(faults) if faults else new


def _rejected(faults: list[Fault]) -> Registration:
    message = "; ".join(invalid(fault.path, fault.message).message for fault in faults)
    return Registration.rejected(Code.INVALID_INPUT, message)


def _shown(result: Registration) -> dict[str, Any]:
    return {
        "customerId": result.customer_id,
        "status": result.status,
        "code": None if result.code is None else int(result.code),
        "message": result.message,
    }


_NAME: Final[Schema] = {"type": ["string", "null"], "minLength": 1, "maxLength": NAME_LENGTH_MAX}
_IDENTIFIER: Final[Schema] = {"type": ["string", "null"], "minLength": 1, "maxLength": IDENTIFIER_LENGTH_MAX}

NEW_CUSTOMER: Final[Schema] = {
    "type": "object",
    "properties": {
        "customerId": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 2**63 - 1,
            "description": "The brand's own id. Without one the customer gets an id from 10^9 on.",
        },
        "externalId": _IDENTIFIER,
        "mobile": {**_IDENTIFIER, "description": "Only a leading + and the digits matter."},
        "email": {**_IDENTIFIER, "description": "Case does not matter."},
        "firstName": _NAME,
        "lastName": _NAME,
    },
}

REQUEST: Final[Schema] = {
    "type": "object",
    "required": ["customers"],
    "properties": {
        "customers": {"type": "array", "minItems": 1, "maxItems": BATCH_COUNT_MAX, "items": NEW_CUSTOMER},
    },
}

RESPONSE: Final[Schema] = {
    "type": "object",
    "required": ["results"],
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["customerId", "status", "code", "message"],
                "properties": {
                    "customerId": {"type": ["integer", "null"], "description": "Null if rejected."},
                    "status": {"type": "string", "enum": [str(status) for status in Status]},
                    "code": {"type": ["integer", "null"]},
                    "message": {"type": ["string", "null"]},
                },
            },
        },
    },
}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/customers",
        function=post_customers,
        summary="Register customers",
        about=(
            "Each customer needs a customerId or an identifier. Who has a given id, or one of the identifiers, exists, "
            "and nothing of them is changed: the call is safe to repeat. Identifiers of two customers are rejected."
        ),
        resource=Resource.CUSTOMERS,
        level=Level.WRITE,
        request=REQUEST,
        response=RESPONSE,
        statuses=(200, 400),
        bulk=True,
    ),
)
