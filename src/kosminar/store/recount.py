"""What the audit reads: customers a page at a time, and their rows as they are stored, column by column.

Rows stay rows here, because a row that makes no sense must be reported and never stop the one who reads it. What is in
the accepted commands and activities is read by their own modules.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
from kosminar.store.queries import Connection, load
from kosminar.store.rows import EndedRow, StandingRow, ended_row_of
from kosminar.store.standings import CustomerRange, Edition

QUERIES: Final = load("recount")
EVERY_BUCKET: Final = list(range(BUCKET_COUNT))
# Of strays in one bucket; more of them say nothing more.
STRAY_COUNT_MAX: Final = 1_000


class Bounds(NamedTuple):
    """Customers after one (organisation id, customer id) up to another one, the last included."""

    after: tuple[int, int]
    last: tuple[int, int]


class CustomerRow(NamedTuple):
    """A customer without the names."""

    organisation_id: int
    customer_id: int
    sequence: int
    notification_number: int
    changed_at: datetime
    created_at: datetime
    external_id: str | None
    mobile: str | None
    email: str | None


class OrganisationState(NamedTuple):
    """An organisation's clock and definitions; `settled_version` belongs to `settled_at`. And the house's generations."""

    test_clock: bool
    clock_at: datetime
    settled_at: datetime
    settled_version: int
    definitions_version: int
    generations: Collection[int]

    @property
    def edition(self) -> Edition:
        return Edition(max(self.generations, default=0), self.definitions_version)


class RewardRow(NamedTuple):
    """What a reward says beside its key."""

    kind: str
    points: Decimal | None
    text: str | None
    allocation: str
    state: str
    reason: str | None
    earned_at: datetime
    sequence: int
    handed_over: bool


class Place(NamedTuple):
    """What is kept of a customer in a target: a reward, an enrolment, progress or a run; and its own numbers."""

    what: str
    target_id: int
    numbers: tuple[int, ...]


@dataclass(slots=True)
class StandingRows:
    """Of one customer in one group: the standing's row, if there is one, and those of its ended periods."""

    standing: StandingRow | None = None
    ended: list[EndedRow] = field(default_factory=list)


class NotificationRow(NamedTuple):
    """A notification without what it says but for its event id, None where its body has none."""

    number: int
    generation: int
    event_id: str | None
    name: str
    target_id: int
    period_id: int | None
    reward_id: str | None
    at: datetime


class IdentifierRow(NamedTuple):
    """An identifier that was found in a bucket."""

    organisation_id: int
    type: str
    value: str
    customer_id: int


@dataclass(frozen=True, slots=True)
class Stray:
    """Rows of a table that hang on nothing."""

    table: str
    organisation_id: int
    customer_id: int
    row_count: int


async def list_page(connection: Connection, bucket: int, within: Bounds, *, limit: int) -> list[CustomerRow]:
    """The next customers of the bucket, in order."""
    rows = await QUERIES["list_customer_page"].rows(connection, bucket=bucket, limit=limit, **_bounds(within))
    return [CustomerRow(*row) for row in rows]


async def count_customers(connection: Connection, within: Bounds) -> int:
    return int(await QUERIES["count_customers"].value(connection, **_bounds(within)))


async def find_organisation(connection: Connection, organisation_id: int) -> OrganisationState | None:
    row = await QUERIES["find_organisation_state"].row(connection, organisation_id=organisation_id)
    return None if row is None else OrganisationState(*row)


async def list_standings(connection: Connection, within: CustomerRange) -> dict[tuple[int, int], StandingRows]:
    """Of a range of customers, by customer and target group id."""
    found: defaultdict[tuple[int, int], StandingRows] = defaultdict(StandingRows)
    bounds = within.bounds()
    for customer_id, group_id, *columns in await QUERIES["list_standing_rows"].rows(connection, **bounds):
        found[customer_id, group_id].standing = StandingRow(*columns)
    for customer_id, group_id, *columns in await QUERIES["list_ended_period_rows"].rows(connection, **bounds):
        found[customer_id, group_id].ended.append(ended_row_of(columns))
    return found


async def list_rewards(connection: Connection, within: CustomerRange) -> list[tuple[int, Place, RewardRow]]:
    """The rewards of a range of customers, by customer id."""
    rows = []
    for row in await QUERIES["list_reward_rows"].rows(connection, **within.bounds()):
        customer_id, target_id, period_id, level_id, run, definition_id, *columns = row
        place = Place("reward", target_id, (period_id, level_id, run, definition_id))
        rows.append((customer_id, place, RewardRow(*columns)))
    return rows


async def list_notifications(connection: Connection, within: CustomerRange) -> list[tuple[int, NotificationRow]]:
    """A range of customers' notifications by customer id, in the order of their numbers."""
    return [
        (customer_id, NotificationRow(*columns))
        for customer_id, *columns in await QUERIES["list_notification_rows"].rows(connection, **within.bounds())
    ]


async def list_identifiers(
    connection: Connection, bucket: int, *, after: tuple[int, str, str], last_organisation: int, limit: int
) -> list[IdentifierRow]:
    """The next identifiers of the bucket, in order."""
    rows = await QUERIES["list_identifier_page"].rows(
        connection,
        bucket=bucket,
        after_organisation=after[0],
        after_type=after[1],
        after_value=after[2],
        last_organisation=last_organisation,
        limit=limit,
    )
    return [IdentifierRow(*row) for row in rows]


async def list_identifiers_of(
    connection: Connection, organisation_id: int, customer_id: int
) -> list[tuple[int, IdentifierRow]]:
    """One customer's identifiers with the bucket in which each was found. Reads all of the organisation's."""
    rows = await QUERIES["list_identifiers_of_customer"].rows(
        connection, buckets=EVERY_BUCKET, organisation_id=organisation_id, customer_id=customer_id
    )
    return [(row["bucket"], IdentifierRow(organisation_id, row["type"], row["value"], customer_id)) for row in rows]


async def list_customers_named(connection: Connection, named: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
    """By (organisation id, customer id): the external id, mobile and e-mail of those that are there."""
    rows = await QUERIES["list_customers_named"].rows(
        connection,
        buckets=[bucket_of_customer(*one) for one in named],
        organisation_ids=[organisation_id for organisation_id, _ in named],
        customer_ids=[customer_id for _, customer_id in named],
    )
    return {(organisation_id, customer_id): tuple(said) for organisation_id, customer_id, *said in rows}


async def list_strays(
    connection: Connection, bucket: int, *, first_organisation: int, last_organisation: int
) -> list[Stray]:
    """Rows of the bucket whose customer, or notification, is not there."""
    rows = await QUERIES["list_strays"].rows(
        connection,
        bucket=bucket,
        first_organisation=first_organisation,
        last_organisation=last_organisation,
        limit=STRAY_COUNT_MAX,
    )
    return [Stray(*row) for row in rows]


def _bounds(within: Bounds) -> dict[str, int]:
    return {
        "after_organisation": within.after[0],
        "after_customer": within.after[1],
        "last_organisation": within.last[0],
        "last_customer": within.last[1],
    }
