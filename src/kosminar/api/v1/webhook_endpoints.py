"""Webhook endpoints: where a brand is told, what it wants to hear, how its deliveries fare, and sending them again.

An endpoint's secret is shown when it is made or rotated, and never again; of its headers only the names are. Told in
docs/webhooks.md.
"""

import os
from datetime import timedelta
from typing import Any, Final

from kosminar.api.answer import Answer, native
from kosminar.api.idempotency import change_once
from kosminar.api.operation import Call, Operation, Parameter, Refused, Schema, path_id, refuse_faults
from kosminar.api.v1.endpoint_fields import CHOSEN_STATES, read_changes, read_new
from kosminar.api.v1.page import BIGINT_MAX, CURSOR, LIMIT, page_limit, page_schema, read_cursor, write_cursor
from kosminar.core.access import Level, Resource
from kosminar.core.amount import ID_MAX
from kosminar.core.endpoint import (
    CONNECTION_COUNT_DEFAULT,
    CONNECTION_COUNT_MAX,
    DESCRIPTION_LENGTH_MAX,
    HEADER_COUNT_MAX,
    HEADER_VALUE_LENGTH_MAX,
    HEADER_VALUE_PATTERN,
    OVERLAP_HOURS_MAX,
    URL_LENGTH_MAX,
    Endpoint,
    EndpointKey,
    EndpointState,
)
from kosminar.core.errors import Code, Complaint, invalid
from kosminar.core.event import EventName, event_id
from kosminar.core.webhook import secret_text
from kosminar.engine.house import House
from kosminar.engine.use_cases import endpoints
from kosminar.engine.use_cases.endpoints import SECRET_BYTES, TestUnderWay

DELIVERY_STATES: Final = ("waiting", "delivered", "refused", "parked")
RETRY_AFTER: Final = {"Retry-After": "15"}


async def create_endpoint(house: House, call: Call) -> Answer:
    """A new endpoint, active from the next change on; its secret is in this answer and in no other."""
    new = await read_new(call)
    secret = os.urandom(SECRET_BYTES)
    return await change_once(
        call,
        lambda made: native({**shown(made), "secret": secret_text(secret)}, status=201),
        lambda slot: endpoints.create(house, call.organisation_id, new, secret=secret, slot=slot),
    )


async def list_endpoints(house: House, call: Call) -> Answer:
    """Every endpoint of the organisation, by id."""
    found = await endpoints.list_all(house, call.organisation_id)
    return native({"data": [shown(endpoint) for endpoint in found]})


async def get_endpoint(house: House, call: Call) -> Answer:
    """One endpoint, with how its deliveries fare."""
    return native(shown(await endpoints.read(house, _key(call))))


async def change_endpoint(house: House, call: Call) -> Answer:
    """Change what is given and nothing else; null clears. Set active, everything that waits is due, and has its days."""
    changes, state = await read_changes(call)
    return await change_once(
        call,
        lambda changed: native(shown(changed)),
        lambda slot: endpoints.change(house, _key(call), changes, state, slot=slot),
    )


async def delete_endpoint(house: House, call: Call) -> Answer:
    """Gone for good; what waited for it is parked. Rewards that it was to hand over stay pending until reported."""
    return await change_once(
        call,
        lambda state: native({"state": state}),
        lambda slot: endpoints.remove(house, _key(call), slot=slot),
    )


async def rotate_secret(house: House, call: Call) -> Answer:
    """A new secret, in this answer only; the old one signs beside it until the overlap ends."""
    fields = await call.fields()
    overlap = timedelta(hours=fields.whole_number("overlapHours", minimum=0, maximum=OVERLAP_HOURS_MAX))
    refuse_faults(fields.faults)
    secret = os.urandom(SECRET_BYTES)
    return await change_once(
        call,
        lambda rotated: native({**shown(rotated), "secret": secret_text(secret)}),
        lambda slot: endpoints.rotate_secret(house, _key(call), secret, overlap=overlap, slot=slot),
    )


async def try_endpoint(house: House, call: Call) -> Answer:
    """Send a signed `webhookTest` now, whatever the state; what came of it is the answer, and recorded nowhere."""
    try:
        outcome = await endpoints.test(house, _key(call), request_id=call.request_id)
    except TestUnderWay:
        raise Refused(Complaint.of(Code.TOO_MANY_REQUESTS), status=429, headers=RETRY_AFTER) from None
    return native({"status": outcome.status, "error": outcome.error, "milliseconds": outcome.milliseconds})


async def list_deliveries(house: House, call: Call) -> Answer:
    """What is under way, refused or parked, by customer and number; of one customer, also what was delivered."""
    limit = page_limit(call)
    cursor = read_cursor(call, (BIGINT_MAX, BIGINT_MAX))
    state = call.query.get("state")
    if state is not None and state not in DELIVERY_STATES:
        raise Refused(invalid("state", f"must be one of {', '.join(DELIVERY_STATES)}"))
    customer_id = None if "customerId" not in call.query else path_id("customerId", call.query["customerId"])
    if state == "delivered" and customer_id is None:
        raise Refused(invalid("customerId", "is required where state is delivered"))
    page = await endpoints.list_deliveries(
        house,
        _key(call),
        state=state,
        customer_id=customer_id,
        after=None if cursor is None else (cursor[0], cursor[1]),
        limit=limit,
    )
    rows = [
        {
            "eventId": event_id(call.organisation_id, delivery.customer_id, delivery.generation, delivery.number),
            "customerId": delivery.customer_id,
            "number": delivery.number,
            "eventName": delivery.name,
            "createdAt": delivery.created_at,
            "state": delivery.state,
            "attemptCount": delivery.attempt_count,
            "expiresAt": delivery.expires_at,
            "attemptedAt": delivery.attempted_at,
            "status": delivery.status,
            "error": delivery.error,
        }
        for delivery in page.deliveries
    ]
    return native({"data": rows, "next": None if page.last is None else write_cursor(*page.last)})


async def resend(house: House, call: Call) -> Answer:
    """Send one notification once more, whatever came of it before; it takes its turn by its number."""
    return await change_once(
        call,
        lambda _: native({"status": "waiting"}),
        lambda slot: endpoints.resend(house, _key(call), call.ids["customerId"], call.ids["number"], slot=slot),
    )


async def recover(house: House, call: Call) -> Answer:
    """Send everything since an instant, by real time, that the endpoint wants and did not get."""
    fields = await call.fields()
    since = fields.instant("since", await house.zones.of(call.organisation_id))
    refuse_faults(fields.faults)
    return native({"count": await endpoints.recover(house, _key(call), since, key=call.key)})


async def list_notifications(house: House, call: Call) -> Answer:
    """Everything that was written to be told of a customer, whether or not it was delivered, oldest first."""
    limit = page_limit(call)
    (after,) = read_cursor(call, (BIGINT_MAX,)) or (0,)
    page = await endpoints.list_notifications(
        house, call.organisation_id, call.ids["customerId"], after=after, limit=limit
    )
    rows = [
        {
            "number": notification.number,
            "eventName": notification.name,
            "rewardId": notification.reward_id,
            "at": notification.at,
            "createdAt": notification.created_at,
            # As text, because it is signed byte for byte.
            "body": notification.body,
        }
        for notification in page.notifications
    ]
    return native({"data": rows, "next": None if page.last is None else write_cursor(page.last)})


# ---------------------------------------------------------------- parts


def _key(call: Call) -> EndpointKey:
    return EndpointKey(call.organisation_id, call.ids["endpointId"])


def shown(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "endpointId": endpoint.webhook_endpoint_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "eventNames": None if endpoint.event_names is None else sorted(endpoint.event_names),
        "headerNames": sorted(endpoint.headers),
        "connectionCountMax": endpoint.connection_count_max,
        "state": endpoint.state,
        "reason": endpoint.reason,
        "failureCount": endpoint.failure_count,
        "notBefore": endpoint.not_before,
        "previousSecretUntil": endpoint.previous_secret_until,
        "createdAt": endpoint.created_at,
        "updatedAt": endpoint.updated_at,
    }


# ---------------------------------------------------------------- shapes

_INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
_NAMES: Final[Schema] = {"type": "array", "items": {"type": "string", "enum": list(EventName)}}
_GIVEN: Final[Schema] = {
    "url": {
        "type": "string",
        "format": "uri",
        "maxLength": URL_LENGTH_MAX,
        "description": "https, and a public address, unless the operator allows others.",
    },
    "eventNames": {
        **_NAMES,
        "type": ["array", "null"],
        "minItems": 1,
        "uniqueItems": True,
        "description": "null or absent: every event, those to come included.",
    },
    "description": {"type": ["string", "null"], "minLength": 1, "maxLength": DESCRIPTION_LENGTH_MAX},
    "headers": {
        "type": ["object", "null"],
        "maxProperties": HEADER_COUNT_MAX,
        "propertyNames": {"pattern": r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"},
        "additionalProperties": {
            "type": "string",
            "maxLength": HEADER_VALUE_LENGTH_MAX,
            "pattern": f"^{HEADER_VALUE_PATTERN}$",
        },
        "description": "Sent with every delivery; the values are never shown again.",
    },
    "connectionCountMax": {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": CONNECTION_COUNT_MAX,
        "default": CONNECTION_COUNT_DEFAULT,
    },
}
ENDPOINT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["endpointId", "url", "state", "eventNames", "failureCount"],
    "properties": {
        "endpointId": {"type": "integer"},
        "url": {"type": "string"},
        "description": _TEXT_OR_NULL,
        "eventNames": {**_NAMES, "type": ["array", "null"]},
        "headerNames": {"type": "array", "items": {"type": "string"}},
        "connectionCountMax": {"type": "integer"},
        "state": {"type": "string", "enum": list(EndpointState)},
        "reason": _TEXT_OR_NULL,
        "failureCount": {"type": "integer", "description": "Attempts in a row that failed."},
        "notBefore": {**_INSTANT_OR_NULL, "description": "Nothing is tried before; after many failures in a row."},
        "previousSecretUntil": _INSTANT_OR_NULL,
        "createdAt": _INSTANT,
        "updatedAt": _INSTANT,
    },
}
WITH_SECRET: Final[Schema] = {
    **ENDPOINT,
    "required": [*ENDPOINT["required"], "secret"],
    "properties": {
        **ENDPOINT["properties"],
        "secret": {"type": "string", "pattern": "^whsec_", "description": "Shown this once."},
    },
}
DELIVERY: Final[Schema] = {
    "type": "object",
    "required": ["eventId", "customerId", "number", "eventName", "state", "attemptCount"],
    "properties": {
        "eventId": {"type": "string"},
        "customerId": {"type": "integer"},
        "number": {"type": "integer"},
        "eventName": {"type": "string"},
        "createdAt": _INSTANT,
        "state": {"type": "string", "enum": list(DELIVERY_STATES)},
        "attemptCount": {"type": "integer"},
        "expiresAt": _INSTANT,
        "attemptedAt": _INSTANT_OR_NULL,
        "status": {"type": ["integer", "null"], "description": "Of the last answer, if there was one."},
        "error": _TEXT_OR_NULL,
    },
}
NOTIFICATION: Final[Schema] = {
    "type": "object",
    "required": ["number", "eventName", "rewardId", "at", "createdAt", "body"],
    "properties": {
        "number": {"type": "integer"},
        "eventName": {"type": "string"},
        "rewardId": _TEXT_OR_NULL,
        "at": _INSTANT,
        "createdAt": _INSTANT,
        "body": {"type": "string", "description": "The JSON document that is sent, byte for byte."},
    },
}


def _answered(required: list[str], properties: dict[str, Any]) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _operation(method: str, path: str, function: Any, summary: str, **more: Any) -> Operation:
    level = Level.READ if method == "GET" else Level.WRITE
    return Operation(
        method=method,
        path=f"/v1/webhook-endpoints{path}",
        function=function,
        summary=summary,
        resource=Resource.ORGANISATION,
        level=level,
        **{"statuses": (200, 404), **more},
    )


OPERATIONS: Final = (
    _operation(
        "POST",
        "",
        create_endpoint,
        "Create a webhook endpoint",
        request={"type": "object", "required": ["url"], "properties": _GIVEN},
        response=WITH_SECRET,
        statuses=(201,),
    ),
    _operation(
        "GET",
        "",
        list_endpoints,
        "The organisation's webhook endpoints",
        response=_answered(["data"], {"data": {"type": "array", "items": ENDPOINT}}),
        statuses=(200,),
    ),
    _operation("GET", "/{endpointId}", get_endpoint, "A webhook endpoint", response=ENDPOINT),
    _operation(
        "PATCH",
        "/{endpointId}",
        change_endpoint,
        "Change, pause or resume a webhook endpoint",
        request={
            "type": "object",
            "minProperties": 1,
            "properties": {**_GIVEN, "state": {"type": ["string", "null"], "enum": [*CHOSEN_STATES, None]}},
        },
        response=ENDPOINT,
    ),
    _operation(
        "DELETE",
        "/{endpointId}",
        delete_endpoint,
        "Remove a webhook endpoint",
        response=_answered(["state"], {"state": {"const": EndpointState.REMOVED}}),
    ),
    _operation(
        "POST",
        "/{endpointId}/rotate-secret",
        rotate_secret,
        "Make a new secret for a webhook endpoint",
        request={
            "type": "object",
            "required": ["overlapHours"],
            "properties": {
                "overlapHours": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": OVERLAP_HOURS_MAX,
                    "description": "For how long the old secret signs beside the new one; 0 ends it at once.",
                }
            },
        },
        response=WITH_SECRET,
    ),
    _operation(
        "POST",
        "/{endpointId}/test",
        try_endpoint,
        "Send a test to a webhook endpoint",
        response=_answered(
            ["status", "error", "milliseconds"],
            {"status": {"type": ["integer", "null"]}, "error": _TEXT_OR_NULL, "milliseconds": {"type": "integer"}},
        ),
    ),
    _operation(
        "GET",
        "/{endpointId}/deliveries",
        list_deliveries,
        "A webhook endpoint's deliveries",
        response=page_schema(DELIVERY),
        query=(
            Parameter(
                name="state",
                schema={"type": "string", "enum": list(DELIVERY_STATES)},
                about="Only these; absent, all but the delivered ones, or all of a customer.",
            ),
            Parameter(
                name="customerId",
                schema={"type": "integer", "minimum": 1, "maximum": ID_MAX},
                about="Only this customer's.",
            ),
            CURSOR,
            LIMIT,
        ),
    ),
    _operation(
        "POST",
        "/{endpointId}/deliveries/{customerId}/{number}/resend",
        resend,
        "Send a notification once more",
        response=_answered(["status"], {"status": {"const": "waiting"}}),
    ),
    _operation(
        "POST",
        "/{endpointId}/recover",
        recover,
        "Send everything since an instant that was not delivered",
        request={"type": "object", "required": ["since"], "properties": {"since": {"type": "string"}}},
        response=_answered(["count"], {"count": {"type": "integer"}}),
    ),
    Operation(
        method="GET",
        path="/v1/customers/{customerId}/notifications",
        function=list_notifications,
        summary="Everything written to be told of a customer, oldest first",
        resource=Resource.ENROLMENTS,
        level=Level.READ,
        response=page_schema(NOTIFICATION),
        statuses=(200, 404),
        query=(CURSOR, LIMIT),
    ),
)
