"""Customers on the compatible surface: one profile registered, and one customer found by what names them.

Identifiers are unique in the organisation whatever the source, so a source is checked and otherwise ignored. Always
works in the caller's own organisation. What is decided about a profile: core/customer.py.
"""

from enum import StrEnum
from functools import partial
from typing import Final

from kosminar.api.answer import Answer, native, refusal
from kosminar.api.idempotency import change_once
from kosminar.api.operation import Call, Operation, Parameter, Refused, Schema, refuse_faults
from kosminar.core.access import Level, Resource
from kosminar.core.customer import (
    IDENTIFIER_LENGTH_MAX,
    NAME_LENGTH_MAX,
    IdentifierType,
    NewCustomer,
    Registration,
    Status,
    read_identifier,
)
from kosminar.core.decoder import Fields, Json
from kosminar.core.errors import Code, Complaint
from kosminar.engine.house import House
from kosminar.engine.use_cases import customers


class Source(StrEnum):
    """Where a profile comes from, as published."""

    INSTORE = "INSTORE"
    WECHAT = "WECHAT"
    MARTJACK = "MARTJACK"
    WEB_ENGAGE = "WEB_ENGAGE"
    ECOMMERCE = "ECOMMERCE"
    JD = "JD"
    TAOBAO = "TAOBAO"
    TMALL = "TMALL"
    FACEBOOK = "FACEBOOK"
    WEBSITE = "WEBSITE"
    LINE = "LINE"
    OTHERS = "OTHERS"
    ALL = "ALL"


class LookupName(StrEnum):
    """What a customer may be looked up by: an identifier, or the id itself to see whether there is one."""

    ID = "id"
    EXTERNAL_ID = "externalId"
    MOBILE = "mobile"
    EMAIL = "email"


async def post_customer(house: House, call: Call) -> Answer:
    """Registers one profile; one that exists is answered like a new one, with a warning."""
    new = _read_profile(await call.fields())
    return await change_once(
        call,
        lambda registered: _answer(*registered),
        lambda slot: customers.register_once(house, call.organisation_id, [new], slot=slot),
    )


def _answer(result: Registration) -> Answer:
    if result.code is not None:
        return refusal(Complaint.of(result.code, result.message))
    warnings = [Complaint.of(Code.CUSTOMER_EXISTS)] if result.status is Status.EXISTS else []
    return native(
        {
            "createdId": result.customer_id,
            "warnings": [{"code": int(warning.code), "message": warning.message} for warning in warnings],
        }
    )


async def lookup_customer(house: House, call: Call) -> Answer:
    """Answers the id of the customer whom the query names."""
    return native({"entity": await named_customer(house, call), "warnings": []})


async def named_customer(house: House, call: Call) -> int:
    """The customer whom `identifierName` and `identifierValue` of a query name; refuses the call if there is none."""
    query = Fields(dict(call.query))
    query.optional("source", _source)
    name = query.required_choice("identifierName", LookupName)
    if name is LookupName.ID:
        customer_id = query.digits("identifierValue")
        refuse_faults(query.faults)
        found = customer_id if await customers.exists(house.pool, call.organisation_id, customer_id) else None
    else:
        identifier_type = IdentifierType(name)
        value = query.required("identifierValue", partial(read_identifier, identifier_type), "")
        refuse_faults(query.faults)
        found = await customers.lookup(house.pool, call.organisation_id, identifier_type, value)
    if found is None:
        raise Refused(Complaint.of(Code.UNKNOWN_CUSTOMER))
    return found


def _read_profile(fields: Fields) -> NewCustomer:
    written: dict[IdentifierType, str] = {}
    first_name = last_name = None
    for profile in fields.items("profiles", min_count=1, max_count=1):
        profile.optional("source", _source)
        first_name = profile.optional_text("firstName", max_length=NAME_LENGTH_MAX)
        last_name = profile.optional_text("lastName", max_length=NAME_LENGTH_MAX)
        identifiers = profile.items("identifiers", min_count=1, max_count=len(IdentifierType))
        for identifier in identifiers:
            identifier_type = identifier.required_choice("type", IdentifierType)
            written[identifier_type] = identifier.required("value", partial(read_identifier, identifier_type), "")
        if not fields.faults and len(written) < len(identifiers):
            profile.fault("identifiers", "must be of different types")
    refuse_faults(fields.faults)
    return NewCustomer(
        external_id=written.get(IdentifierType.EXTERNAL_ID),
        mobile=written.get(IdentifierType.MOBILE),
        email=written.get(IdentifierType.EMAIL),
        first_name=first_name,
        last_name=last_name,
    )


def _source(value: Json) -> Source:
    if isinstance(value, str) and value.upper() in Source.__members__:
        return Source(value.upper())
    raise ValueError(f"must be one of {', '.join(Source)}")


_NAME: Final[Schema] = {"type": ["string", "null"], "minLength": 1, "maxLength": NAME_LENGTH_MAX}
_SOURCE: Final[Schema] = {"type": "string", "enum": [str(source) for source in Source]}
_WARNINGS: Final[Schema] = {"type": "array", "items": {"$ref": "#/components/schemas/Complaint"}}

REQUEST: Final[Schema] = {
    "type": "object",
    "required": ["profiles"],
    "properties": {
        "profiles": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["identifiers"],
                "properties": {
                    "firstName": _NAME,
                    "lastName": _NAME,
                    "source": _SOURCE,
                    "identifiers": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": len(IdentifierType),
                        "items": {
                            "type": "object",
                            "required": ["type", "value"],
                            "properties": {
                                "type": {"type": "string", "enum": [str(each) for each in IdentifierType]},
                                "value": {"type": "string", "minLength": 1, "maxLength": IDENTIFIER_LENGTH_MAX},
                            },
                        },
                    },
                },
            },
        },
    },
}

CREATED: Final[Schema] = {
    "type": "object",
    "required": ["createdId", "warnings"],
    "properties": {"createdId": {"type": "integer"}, "warnings": _WARNINGS},
}

FOUND: Final[Schema] = {
    "type": "object",
    "required": ["entity", "warnings"],
    "properties": {"entity": {"type": "integer"}, "warnings": _WARNINGS},
}

CUSTOMER_QUERY: Final = (
    Parameter(
        name="source",
        schema=_SOURCE,
        about="Checked, and otherwise ignored: identifiers are unique whatever the source.",
    ),
    Parameter(
        name="identifierName",
        schema={"type": "string", "enum": [str(name) for name in LookupName]},
        about="What names the customer.",
        required=True,
    ),
    Parameter(
        name="identifierValue",
        schema={"type": "string", "minLength": 1},
        about="The value; of a mobile number only the digits matter.",
        required=True,
    ),
)

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v2/customers",
        function=post_customer,
        summary="Register a customer",
        about="One profile. If the customer exists, the same id is answered with a warning, and nothing changes.",
        resource=Resource.CUSTOMERS,
        level=Level.WRITE,
        request=REQUEST,
        response=CREATED,
        statuses=(200, 400),
    ),
    Operation(
        method="GET",
        path="/v2/customers/lookup",
        function=lookup_customer,
        summary="Find a customer's id",
        resource=Resource.CUSTOMERS,
        level=Level.READ,
        response=FOUND,
        statuses=(200, 400),
        query=CUSTOMER_QUERY,
    ),
)
