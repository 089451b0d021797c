"""An organisation's clock; a test clock is moved forward here, period end by period end (decision 34)."""

from typing import Final

from kosminar.api.answer import Answer, native
from kosminar.api.operation import Call, Operation, Refused, Schema, refuse_faults
from kosminar.core.access import Level, Resource
from kosminar.core.clock import clock_now
from kosminar.core.errors import Code, Complaint
from kosminar.engine.closer import NoTestClock
from kosminar.engine.house import House
from kosminar.store import clocks


async def show_clock(house: House, call: Call) -> Answer:
    """What time it is for this organisation, and whether it is a test clock."""
    async with house.pool.acquire() as connection:
        state = await clocks.fetch(connection, call.organisation_id)
    now = clock_now(test_clock=state.test_clock, clock_at=state.clock_at, wall=house.wall())
    return native({"now": now, "testClock": state.test_clock})


async def advance_clock(house: House, call: Call) -> Answer:
    """Answers when everything due up to that instant is done; may be repeated if it was cut off."""
    fields = await call.fields()
    to = fields.instant("to", await house.zones.of(call.organisation_id))
    refuse_faults(fields.faults)
    try:
        now = await house.closer.advance(call.organisation_id, to, key=call.key)
    except NoTestClock:
        raise Refused(Complaint.of(Code.NO_TEST_CLOCK), status=409) from None
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
