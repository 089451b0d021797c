"""Webhook endpoints: where a brand is told, what it wants to hear, how its deliveries fare, and sending them again.

An endpoint's secret is shown when it is made or rotated, and never again; of its headers only the names are. Told in
docs/webhooks.md.
"""

import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from kosminar.api.answer import Answer, native, problem
from kosminar.api.idempotency import begun, change_once
from kosminar.api.known import only_known_endpoints, require_customer, require_endpoint
from kosminar.api.operation import Call, Operation, Parameter, Refused, Schema, path_id, refuse_faults
from kosminar.api.v1.endpoint_fields import CHOSEN_STATES, read_changes, read_new, refuse_unless
from kosminar.api.v1.page import BIGINT_MAX, CURSOR, LIMIT, page_limit, page_schema, read_cursor, write_cursor
from kosminar.core.access import Level, Resource
from kosminar.core.amount import ID_MAX
from kosminar.core.endpoint import (
    CONNECTION_COUNT_DEFAULT,
    CONNECTION_COUNT_MAX,
    DESCRIPTION_LENGTH_MAX,
    ENDPOINT_COUNT_MAX,
    HEADER_COUNT_MAX,
    HEADER_VALUE_LENGTH_MAX,
    HEADER_VALUE_PATTERN,
    OVERLAP_HOURS_MAX,
    URL_LENGTH_MAX,
    Endpoint,
    EndpointState,
)
from kosminar.core.errors import MESSAGES, Code, Complaint, invalid
from kosminar.core.event import EventName, event_id, sealed
from kosminar.core.idempotency import BEGUN
from kosminar.core.webhook import secret_text
from kosminar.engine import endpoint_runs
from kosminar.engine.house import House
from kosminar.engine.use_cases import endpoints
from kosminar.engine.use_cases.endpoints import SECRET_BYTES, TooManyEndpoints
from kosminar.store import deliveries, notifications, webhook_endpoints
from kosminar.store.deliveries import Delivery, DeliveryPlace, EndpointKey
from kosminar.store.notifications import Notification
from kosminar.store.queries import Connection
from kosminar.store.standings import CustomerKey

DELIVERY_STATES: Final = ("waiting", "delivered", "refused", "parked")
TEST_EVENT: Final = "webhookTest"
RETRY_AFTER: Final = {"Retry-After": "15"}


async def create_endpoint(house: House, call: Call) -> Answer:
    """A new endpoint, active from the next change on; its secret is in this answer and in no other."""
    new = await read_new(call)
    secret, reachable = os.urandom(SECRET_BYTES), await house.courier.may_reach(new.url)

    async def create(connection: Connection) -> Answer:
        refuse_unless(reachable=reachable)
        try:
            made = await endpoints.create(connection, call.organisation_id, new, secret=secret, wall=house.wall())
        except TooManyEndpoints:
            raise Refused(invalid("", f"An organisation has at most {ENDPOINT_COUNT_MAX} webhook endpoints")) from None
        return native({**shown(made), "secret": secret_text(secret)}, status=201)

    return await change_once(house, call, create)


async def list_endpoints(house: House, call: Call) -> Answer:
    """Every endpoint of the organisation, by id."""
    async with house.pool.acquire() as connection:
        found = await webhook_endpoints.list_of(connection, call.organisation_id)
    return native({"data": [shown(endpoint) for endpoint in found]})


async def get_endpoint(house: House, call: Call) -> Answer:
    """One endpoint, with how its deliveries fare."""
    async with house.pool.acquire() as connection:
        return native(shown(await require_endpoint(connection, call)))


async def change_endpoint(house: House, call: Call) -> Answer:
    """Change what is given and nothing else; null clears. Set active, everything that waits is due, and has its days."""
    changes, state = await read_changes(call)
    # Looked up before the transaction and judged within: the name may have other addresses when the call is repeated.
    reachable = "url" not in changes or await house.courier.may_reach(changes["url"])
    now = house.wall()

    def changed(endpoint: Endpoint) -> Endpoint:
        endpoint = replace(endpoint, **changes)
        if state is EndpointState.ACTIVE:
            # Also if it is: whoever asks again may have been cut off.
            return endpoints.activated(endpoint, now=now)
        return endpoint if state is None else replace(endpoint, state=state, reason=None)

    async def change(connection: Connection) -> Answer:
        refuse_unless(reachable=reachable)
        with only_known_endpoints():
            return native(shown(await endpoints.change(connection, *_key(call), changed, wall=now)))

    answer = await change_once(house, call, change, number=BEGUN)
    if not answer.refused and state is EndpointState.ACTIVE:
        await endpoint_runs.resume(house.pool, house.endpoint_steps, _key(call), now=now)
        house.courier.nudge()
    return answer


async def delete_endpoint(house: House, call: Call) -> Answer:
    """Gone for good; what waited for it is parked. Rewards that it was to hand over stay pending until reported."""

    async def remove(connection: Connection) -> Answer:
        with only_known_endpoints():
            await endpoints.remove(connection, _key(call), wall=house.wall())
        return native({"state": EndpointState.REMOVED})

    answer = await change_once(house, call, remove, number=BEGUN)
    if not answer.refused:
        await endpoint_runs.park_removed(house.pool, house.endpoint_steps, _key(call))
    return answer


async def rotate_secret(house: House, call: Call) -> Answer:
    """A new secret, in this answer only; the old one signs beside it until the overlap ends."""
    fields = await call.fields()
    overlap = timedelta(hours=fields.whole_number("overlapHours", minimum=0, maximum=OVERLAP_HOURS_MAX))
    refuse_faults(fields.faults)
    secret, now = os.urandom(SECRET_BYTES), house.wall()

    def rotated(was: Endpoint) -> Endpoint:
        return endpoints.with_new_secret(was, secret, now=now, overlap=overlap)

    async def rotate(connection: Connection) -> Answer:
        with only_known_endpoints():
            endpoint = await endpoints.change(connection, *_key(call), rotated, wall=now)
        return native({**shown(endpoint), "secret": secret_text(secret)})

    return await change_once(house, call, rotate)


async def try_endpoint(house: House, call: Call) -> Answer:
    """Send a signed `webhookTest` now, whatever the state; what came of it is the answer, and recorded nowhere."""
    async with house.pool.acquire() as connection:
        endpoint = await require_endpoint(connection, call)
    async with house.endpoint_tests.alone(endpoint.webhook_endpoint_id) as alone:
        if not alone:
            raise Refused(Complaint.of(Code.TOO_MANY_REQUESTS), status=429, headers=RETRY_AFTER)
        outcome = await house.courier.send_test(endpoint, _test_body(call, house.wall()))
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
    async with house.pool.acquire() as connection:
        await require_endpoint(connection, call)
        found = await deliveries.list_page(
            connection,
            call.organisation_id,
            call.ids["endpointId"],
            state=state,
            customer_id=customer_id,
            after=DeliveryPlace(0, 0) if cursor is None else DeliveryPlace(*cursor),
            limit=limit + 1,
        )
    last = found[limit - 1] if len(found) > limit else None
    following = None if last is None else write_cursor(last.customer_id, last.number)
    return native({"data": [_shown_delivery(call, one) for one in found[:limit]], "next": following})


async def resend(house: House, call: Call) -> Answer:
    """Send one notification once more, whatever came of it before; it takes its turn by its number."""
    customer_id, number = call.ids["customerId"], call.ids["number"]

    async def start_again(connection: Connection) -> Answer:
        await require_endpoint(connection, call)
        with only_known_endpoints():
            there = await deliveries.resend(connection, *_key(call), customer_id, number, house.wall())
        if not there:
            return problem(404, Code.UNKNOWN_NOTIFICATION, MESSAGES[Code.UNKNOWN_NOTIFICATION])
        return native({"status": "waiting"})

    answer = await change_once(house, call, start_again)
    house.courier.nudge()
    return answer


async def recover(house: House, call: Call) -> Answer:
    """Send everything since an instant, by real time, that the endpoint wants and did not get."""
    fields = await call.fields()
    since = fields.instant("since", await house.zones.of(call.organisation_id))
    refuse_faults(fields.faults)
    async with house.pool.acquire() as connection:
        if not await begun(connection, call):
            await require_endpoint(connection, call)
    with only_known_endpoints():
        steps, now = house.endpoint_steps, house.wall()
        count = await endpoint_runs.recover(house.pool, steps, _key(call), since, now=now, key=call.key)
    house.courier.nudge()
    return native({"count": count})


async def list_notifications(house: House, call: Call) -> Answer:
    """Everything that was written to be told of a customer, whether or not it was delivered, oldest first."""
    limit = page_limit(call)
    (after,) = read_cursor(call, (BIGINT_MAX,)) or (0,)
    key = CustomerKey.of(call.organisation_id, call.ids["customerId"])
    async with house.pool.acquire() as connection:
        await require_customer(connection, call, key.organisation_id, key.customer_id)
        found = await notifications.list_page(connection, key, after=after, limit=limit + 1)
    following = write_cursor(found[limit - 1].number) if len(found) > limit else None
    return native({"data": [_shown_notification(each) for each in found[:limit]], "next": following})


# ---------------------------------------------------------------- parts


def _key(call: Call) -> EndpointKey:
    return EndpointKey(call.organisation_id, call.ids["endpointId"])


def _test_body(call: Call, now: datetime) -> str:
    return sealed(
        TEST_EVENT,
        call.organisation_id,
        event_id=f"{call.organisation_id}-test-{call.request_id}",
        request_id=call.request_id,
        at=now,
        sequence=0,
        data={},
    )


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


def _shown_delivery(call: Call, delivery: Delivery) -> dict[str, Any]:
    return {
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


def _shown_notification(notification: Notification) -> dict[str, Any]:
    return {
        "number": notification.number,
        "eventName": notification.name,
        "rewardId": notification.reward_id,
        "at": notification.at,
        "createdAt": notification.created_at,
        # As text, because it is signed byte for byte.
        "body": notification.body,
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
