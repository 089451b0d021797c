"""What a batch changed, written by one statement, or by several where there is very much of it.

One round trip instead of one for each table: at a few requests a batch that is most of what saving costs. What one
statement is given is encoded in one go, in which no request is answered, so a large batch is given in parts. The rows of
each table are made by the module that reads them; rewards and notifications, which few batches have and which are
checked by what went in, are saved by their own.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Final

from kosminar.store import journal, standings
from kosminar.store.journal import JournalEntry
from kosminar.store.queries import Connection, load
from kosminar.store.standings import ChangedStanding, CustomerKey, LockedCustomer, places
from kosminar.store.turns import in_parts

QUERIES: Final = load("saving")

# Of one statement: each takes about ten milliseconds to encode. Batches of the usual size have far fewer.
STANDING_COUNT_MAX: Final = 1_000
ENTRY_COUNT_MAX: Final = 100


async def save_batch(
    connection: Connection,
    *,
    customers: Mapping[CustomerKey, LockedCustomer],
    changed: Sequence[ChangedStanding],
    entries: Sequence[JournalEntry],
) -> None:
    """Customers' numbers, the rows of standings that differ, and the journal's new entries."""
    keys = sorted(customers)
    parts = zip_longest(
        in_parts(changed, STANDING_COUNT_MAX),
        in_parts(entries, ENTRY_COUNT_MAX),
        fillvalue=(),
    )
    for standings_part, entries_part in parts:
        await QUERIES["save_batch"].run(
            connection,
            **places(keys),
            sequences=[customers[key].sequence for key in keys],
            notification_numbers=[customers[key].notification_number for key in keys],
            changed_ats=[customers[key].changed_at for key in keys],
            enrolments=standings.enrolment_rows(standings_part),
            progress=standings.progress_rows(standings_part),
            runs=standings.run_rows(standings_part),
            entries=[journal.row(one) for one in entries_part],
        )
        # With the first part, whatever there is.
        keys = []
