"""What a call says a webhook endpoint shall be, read strictly; and the refusal where nothing could ever be delivered."""

from typing import Any, Final

from kosminar.api.operation import Call, refuse_faults
from kosminar.core.decoder import Fields
from kosminar.core.endpoint import (
    CONNECTION_COUNT_DEFAULT,
    CONNECTION_COUNT_MAX,
    DESCRIPTION_LENGTH_MAX,
    EndpointState,
    read_event_names,
    read_headers,
    read_url,
)
from kosminar.engine.use_cases.endpoints import NewEndpoint

# What its owner may ask for; the others come about by themselves.
CHOSEN_STATES: Final = (EndpointState.ACTIVE, EndpointState.PAUSED)


async def read_new(call: Call) -> NewEndpoint:
    """The endpoint that a call asks for. Raises Refused."""
    fields = await call.fields()
    new = NewEndpoint(
        url=fields.required("url", read_url, ""),
        description=fields.optional_text("description", max_length=DESCRIPTION_LENGTH_MAX),
        event_names=fields.optional("eventNames", read_event_names),
        headers=fields.optional("headers", read_headers) or {},
        connection_count_max=_connections(fields) or CONNECTION_COUNT_DEFAULT,
    )
    refuse_faults(fields.faults)
    return new


async def read_changes(call: Call) -> tuple[dict[str, Any], EndpointState | None]:
    """The fields that were given, as the endpoint has them, and the state if one was. Raises Refused."""
    fields = await call.fields()
    changes: dict[str, Any] = {}
    if fields.given("url"):
        changes["url"] = fields.required("url", read_url, "")
    if fields.given("description"):
        changes["description"] = fields.optional_text("description", max_length=DESCRIPTION_LENGTH_MAX)
    if fields.given("eventNames"):
        changes["event_names"] = fields.optional("eventNames", read_event_names)
    if fields.given("headers"):
        changes["headers"] = fields.optional("headers", read_headers) or {}
    if fields.given("connectionCountMax"):
        changes["connection_count_max"] = _connections(fields) or CONNECTION_COUNT_DEFAULT
    state = fields.optional("state", _chosen_state)
    if not changes and state is None and not fields.faults:
        fields.fault("", "must name something to change")
    refuse_faults(fields.faults)
    return changes, state


def _connections(fields: Fields) -> int | None:
    return fields.optional_whole_number("connectionCountMax", minimum=1, maximum=CONNECTION_COUNT_MAX)


def _chosen_state(value: Any) -> EndpointState:
    if value not in CHOSEN_STATES:
        raise ValueError(f"must be {' or '.join(CHOSEN_STATES)}; to remove an endpoint, delete it")
    return EndpointState(value)
