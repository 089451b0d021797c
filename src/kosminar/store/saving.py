"""What a batch changed, written by one statement whatever there is of it.

One round trip instead of one for each table: at a few requests a batch that is most of what saving costs. The rows of
each table are made by the module that reads them; rewards and notifications, which few batches have and which are
checked by what went in, are saved by their own.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from kosminar.store import activities, commands, standings
from kosminar.store.activities import AcceptedActivity
from kosminar.store.commands import AcceptedCommand
from kosminar.store.facts import RecordedFact
from kosminar.store.queries import Connection, load
from kosminar.store.standings import ChangedStanding, CustomerKey, LockedCustomer, places

QUERIES: Final = load("saving")


async def save_batch(
    connection: Connection,
    *,
    customers: Mapping[CustomerKey, LockedCustomer],
    changed: Sequence[ChangedStanding],
    commands_accepted: Sequence[AcceptedCommand],
    activities_accepted: Sequence[AcceptedActivity],
    facts: Sequence[tuple[CustomerKey, RecordedFact]],
) -> None:
    """Customers' numbers, the rows of standings that differ, what was accepted, and what it came to."""
    keys = sorted(customers)
    await QUERIES["save_batch"].run(
        connection,
        **places(keys),
        sequences=[customers[key].sequence for key in keys],
        notification_numbers=[customers[key].notification_number for key in keys],
        changed_ats=[customers[key].changed_at for key in keys],
        enrolments=standings.enrolment_rows(changed),
        progress=standings.progress_rows(changed),
        runs=standings.run_rows(changed),
        commands=[commands.row(one) for one in commands_accepted],
        activities=[activities.row(one) for one in activities_accepted],
        facts=[customer + fact for customer, fact in facts],
    )
