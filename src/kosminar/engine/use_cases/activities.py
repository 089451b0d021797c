"""Activities and bills: accepted by request to the Writer, and answered when they are saved."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from kosminar.core.activity import TRANSACTION, UNDATED, Activity
from kosminar.engine.change import Kept, Outcome, Request
from kosminar.engine.house import House
from kosminar.engine.use_cases import clock


class GivenActivity(NamedTuple):
    """An activity of a customer, and where its result is kept."""

    customer_id: int
    activity: Activity
    kept: Kept | None


async def accept(
    house: House, organisation_id: int, given: Iterable[GivenActivity], *, asked_by: str, request_id: str
) -> list[Outcome]:
    """An ActivityOutcome or a KeptOutcome for each, in order. Raises NotSaved; others may be saved all the same."""
    return await house.writer.submit(
        Request(organisation_id, one.customer_id, one.activity, asked_by=asked_by, request_id=request_id, kept=one.kept)
        for one in given
    )


def id_of_bill(number: str) -> str:
    """The activity id of a bill: a repeated bill is counted once (decision 21)."""
    return f"bill:{number}"


async def accept_bill(
    house: House,
    organisation_id: int,
    customer_id: int,
    number: str,
    attributes: Mapping[str, Any],
    *,
    billed_at: datetime | None,
    asked_by: str,
    request_id: str,
    kept: Kept | None,
) -> Outcome:
    """A bill without a date is dated when it is processed, and marked so that a repeat is known for the same bill.

    An ActivityOutcome or a KeptOutcome. Raises NotSaved.
    """
    if billed_at is None:
        billed_at = await clock.instant(house.pool, organisation_id, wall=house.wall())
        attributes = {**attributes, UNDATED: True}
    bill = Activity(id_of_bill(number), TRANSACTION, billed_at, attributes)
    given = [GivenActivity(customer_id, bill, kept)]
    (outcome,) = await accept(house, organisation_id, given, asked_by=asked_by, request_id=request_id)
    return outcome
