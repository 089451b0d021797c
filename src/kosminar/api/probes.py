"""Probes for whoever watches the process: is it alive, may it be sent requests."""

import asyncio
from typing import TYPE_CHECKING, Final

from kosminar.api.answer import Answer, native
from kosminar.api.operation import Call, Operation, Refused
from kosminar.core.access import Level
from kosminar.core.errors import Code, Complaint
from kosminar.store import organisations

if TYPE_CHECKING:
    from kosminar.engine.house import House

PATIENCE_SECONDS: Final = 3
"""Of a probe for the database: less than orchestrators commonly have for the probe itself."""

_STATUS: Final = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}


async def show_alive(house: "House", call: Call) -> Answer:  # noqa: ARG001  # Every operation takes both.
    """GET /healthz: the process answers, whatever the database does."""
    return native({"status": "ok"})


async def show_ready(house: "House", call: Call) -> Answer:  # noqa: ARG001
    """GET /readyz: the database answers too."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), house.pool.acquire() as connection:
            await organisations.ping(connection)
    except Exception:  # noqa: BLE001  # Whatever it is, the answer is the same: not ready.
        complaint = Complaint.of(Code.TRY_AGAIN_LATER, "The database does not answer.")
        raise Refused(complaint, status=503, headers={"Retry-After": "1"}) from None
    return native({"status": "ok"})


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/healthz",
        function=show_alive,
        summary="Is the process alive?",
        resource=None,
        level=Level.NONE,
        response=_STATUS,
    ),
    Operation(
        method="GET",
        path="/readyz",
        function=show_ready,
        summary="Is it ready for requests?",
        resource=None,
        level=Level.NONE,
        response=_STATUS,
        statuses=(200, 503),
    ),
)
