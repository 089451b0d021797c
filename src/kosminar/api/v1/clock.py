"""An organisation's clock; a test clock is moved forward here, period end by period end (decision 34)."""

from typing import Final

from kosminar.api.answer import Answer, native
from kosminar.api.operation import Call, Operation, Schema, refuse_faults
from kosminar.core.access import Level, Resource
from kosminar.engine.house import House
from kosminar.engine.use_cases import clock


async def show_clock(house: House, call: Call) -> Answer:
    """What time it is for this organisation, and whether it is a test clock."""
    found = await clock.read(house, call.organisation_id)
    return native({"now": found.now, "testClock": found.test_clock})


async def advance_clock(house: House, call: Call) -> Answer:
    """Answers when everything due up to that instant is done; may be repeated if it was cut off."""
    fields = await call.fields()
    to = fields.instant("to", await house.zones.of(call.organisation_id))
    refuse_faults(fields.faults)
    now = await clock.advance(house, call.organisation_id, to, key=call.key)
    return native({"now": now, "status": "ready"})


NOW: Final[Schema] = {"type": "string", "format": "date-time"}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/clock",
        function=show_clock,
        summary="The organisation's clock",
        resource=Resource.CLOCK,
        level=Level.READ,
        response={
            "type": "object",
            "required": ["now", "testClock"],
            "properties": {"now": NOW, "testClock": {"type": "boolean"}},
        },
    ),
    Operation(
        method="POST",
        path="/v1/clock/advance",
        function=advance_clock,
        summary="Move a test clock forward",
        resource=Resource.CLOCK,
        level=Level.WRITE,
        request={
            "type": "object",
            "required": ["to"],
            "properties": {
                "to": {
                    "type": "string",
                    "description": "A date or date-time; without an offset it is in the organisation's zone.",
                }
            },
        },
        response={
            "type": "object",
            "required": ["now", "status"],
            "properties": {"now": NOW, "status": {"type": "string", "const": "ready"}},
        },
        statuses=(200, 400, 409),
    ),
)
