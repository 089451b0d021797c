"""Probes for whoever watches the process: is it alive, may it be sent requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from kosminar.api.answer import Answer, native
from kosminar.api.operation import Call, Operation, Refused
from kosminar.core.access import Level
from kosminar.core.errors import Code, Complaint
from kosminar.engine import readings
from kosminar.engine.meters import Meters

if TYPE_CHECKING:
    from kosminar.engine.house import House

# The framework adds the charset.
PLAIN: Final = "text/plain; version=0.0.4"

_STATUS: Final = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}


async def show_alive(house: "House", call: Call) -> Answer:  # noqa: ARG001  # Every operation takes both.
    """GET /healthz: the process answers, whatever the database does."""
    return native({"status": "ok"})


async def show_ready(house: "House", call: Call) -> Answer:  # noqa: ARG001
    """GET /readyz: the database takes changes too, and we were not asked to stop."""
    if house.drain.begun:
        raise _not_ready("The server is stopping; requests are better sent to another one.")
    if (hindrance := await house.readiness.hindrance(house.pool)) is not None:
        raise _not_ready(hindrance)
    return native({"status": "ok"})


async def show_metrics(house: "House", call: Call) -> Answer:  # noqa: ARG001
    """GET /metrics: everything that is counted, in the Prometheus text format."""
    shown = _Shown(house.meters, await readings.read(house.pool, house.meters, house.wall()))
    return Answer(200, generate_latest(shown), media_type=PLAIN)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was counted, with what was read for this one answer."""

    meters: Meters
    read: list[Metric]

    def collect(self) -> Iterator[Metric]:
        # The counts come last: what could not be read was counted too.
        yield from self.read
        yield from self.meters.collect()


def _not_ready(message: str) -> Refused:
    return Refused(Complaint.of(Code.TRY_AGAIN_LATER, message), status=503, headers={"Retry-After": "1"})


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
    Operation(
        method="GET",
        path="/metrics",
        function=show_metrics,
        summary="What is counted, for Prometheus",
        about="Text in the Prometheus exposition format 0.0.4, without organisations and customers.",
        resource=None,
        level=Level.NONE,
    ),
)
