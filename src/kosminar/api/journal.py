"""The journal: of every request one line and one count, whoever answered it, and never what it said.

It stands before the door, so that it also sees what the router and the door themselves refuse. Who knows more about a
request leaves it in the request's state: `request_id`, `operation`, `caller`, `codes`. Headers, queries and bodies are
never logged: they hold secrets, and customers' names. While the house drains, every answer asks its caller to come
back on another connection, which whoever balances will make to another process.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kosminar.api.operation import Operation
from kosminar.api.request import PROBES

if TYPE_CHECKING:
    from kosminar.engine.house import House

UNROUTED: Final = "unrouted"
"""Counts as operation what none was found for; the path would be a label that callers choose."""

LOG: Final = structlog.get_logger()


def keep_journal(app: ASGIApp, house: "House") -> ASGIApp:
    """The application, with its requests counted and logged."""

    async def journalled(scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if house.drain.begun:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        began = time.monotonic()
        house.meters.requests_under_way.inc()
        try:
            await app(scope, receive, answer)
        finally:
            house.meters.requests_under_way.dec()
            _note(house, scope, status, seconds=time.monotonic() - began)

    return journalled


def _note(house: "House", scope: Scope, status: int | None, *, seconds: float) -> None:
    state: Mapping[str, Any] = scope["state"]
    operation: Operation | None = state.get("operation")
    name = UNROUTED if operation is None else operation.operation_id
    codes = [int(code) for code in state.get("codes", ())]
    house.meters.count_request(name, "none" if status is None else f"{status // 100}xx", seconds=seconds)
    for code in codes:
        house.meters.refusals.labels(code=str(code)).inc()
    if house.settings.access_log == "off":
        return
    caller = state.get("caller")
    # Probes come every few seconds for ever, and say nothing that the next one does not.
    log = LOG.debug if scope["path"] in PROBES else LOG.info
    log(
        "request",
        request_id=state.get("request_id"),
        operation=name,
        status=status,
        codes=codes,
        duration_ms=round(seconds * 1000, 1),
        organisation_id=None if caller is None else caller.organisation_id,
        caller=None if caller is None else caller.name,
    )
