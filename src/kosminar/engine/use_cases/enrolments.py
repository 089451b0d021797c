"""Enrol and un-enrol, one customer in one target, by request to the Writer."""

from kosminar.core.decide import Enrol, UnEnrol
from kosminar.engine.change import EnrolmentChange, Kept, Outcome, Request
from kosminar.engine.house import House


async def change(
    house: House,
    organisation_id: int,
    customer_id: int,
    target_group_id: int,
    command: Enrol | UnEnrol,
    *,
    asked_by: str,
    request_id: str,
    kept: Kept | None,
) -> Outcome:
    """An EnrolmentOutcome or a KeptOutcome. Raises NotSaved."""
    change = EnrolmentChange(target_group_id, command)
    request = Request(organisation_id, customer_id, change, asked_by=asked_by, request_id=request_id, kept=kept)
    return await house.writer.submit_one(request)
