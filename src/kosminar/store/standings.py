"""Standings in the database: locking customers, loading what a batch touches, saving what it changed.

What their rows say is rows.py's business. Everything is set-based: a batch is a handful of statements whatever its
size. Loads give core values.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
from kosminar.core.customer import Customer
from kosminar.core.period import Period
from kosminar.core.programme import Programme, Target
from kosminar.core.standing import Standing
from kosminar.store.queries import Connection, load
from kosminar.store.rows import (
    EndedKey,
    EndedRow,
    StandingRow,
    ended_row_of,
    ended_rows,
    only_value_moved,
    standing_of,
    standing_row,
)

QUERIES: Final = load("standings")
EVERY_BUCKET: Final = list(range(BUCKET_COUNT))


class CustomerKey(NamedTuple):
    """A customer's place and name; ordered as locks are taken. A tuple, because every row of a batch is found by it."""

    bucket: int
    organisation_id: int
    customer_id: int

    @classmethod
    def of(cls, organisation_id: int, customer_id: int) -> "CustomerKey":
        return cls(bucket_of_customer(organisation_id, customer_id), organisation_id, customer_id)


def place(customer: CustomerKey) -> dict[str, int]:
    """The key of one customer's rows, as the queries name it."""
    return {
        "bucket": customer.bucket,
        "organisation_id": customer.organisation_id,
        "customer_id": customer.customer_id,
    }


def places(customers: Sequence[CustomerKey]) -> dict[str, list[int]]:
    """The keys of many customers' rows, as arrays."""
    return {
        "buckets": [customer.bucket for customer in customers],
        "organisation_ids": [customer.organisation_id for customer in customers],
        "customer_ids": [customer.customer_id for customer in customers],
    }


class StandingKey(NamedTuple):
    """One customer in one group."""

    customer: CustomerKey
    target_group_id: int


class Edition(NamedTuple):
    """One content of an organisation's definitions: after a failover a version that was lost is given again."""

    generation: int
    version: int


@dataclass(frozen=True, slots=True)
class Clock:
    """An organisation's clock and the edition of its definitions, as held by a batch; and the house's generation."""

    test_clock: bool
    clock_at: datetime
    definitions_version: int
    generation: int

    @property
    def edition(self) -> Edition:
        return Edition(self.generation, self.definitions_version)


@dataclass(frozen=True, slots=True)
class LockedCustomer:
    """What the customer row remembers; whoever has one holds the lock."""

    sequence: int
    notification_number: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class LoadedStanding:
    """A standing, whether it has a row, and which of its ended periods that were loaded have rows of their own."""

    standing: Standing
    is_kept: bool = False
    apart: frozenset[EndedKey] = frozenset()


@dataclass(frozen=True, slots=True)
class ChangedStanding:
    """A standing as it was loaded and after a batch, in which the customer's time was `at`."""

    key: StandingKey
    programme: Programme
    loaded: LoadedStanding
    after: Standing
    at: datetime

    @property
    def only_value_moved(self) -> bool:
        return self.loaded.is_kept and only_value_moved(self.loaded.standing, self.after)

    @property
    def may_have_ended(self) -> bool:
        """Only an earlier progress than the latest one leaves."""
        return any(len(part.progress) > 1 for part in self.after.targets)

    def row(self) -> StandingRow:
        return standing_row(self.programme, self.after, self.at, self.loaded.apart)

    def ended_rows(self) -> list[EndedRow]:
        """Those that differ from what is kept."""
        ended = ended_rows(self.programme, self.after, self.at, self.loaded.apart)
        return [row for row in ended if self._differs(row)]

    def _differs(self, row: EndedRow) -> bool:
        """One that leaves the standing has no row yet."""
        if EndedKey(row.target_id, row.period_number, row.run) not in self.loaded.apart:
            return True
        index = self.programme.index_of(row.target_id)
        place = row.period_number, row.run
        was, now = (one.targets[index].find_progress(*place) for one in (self.loaded.standing, self.after))
        return was is not now


async def hold(connection: Connection, definitions_keys: Iterable[int]) -> None:
    """Hold organisations' definitions and clocks still until the transaction ends."""
    await QUERIES["hold_definitions"].rows(connection, keys=sorted(definitions_keys))


async def lock(
    connection: Connection, keys: Iterable[CustomerKey], *, clocks_of: Iterable[int] = ()
) -> tuple[dict[CustomerKey, LockedCustomer], dict[int, Clock]]:
    """Lock the customers that exist, in key order, and read the clocks of organisations that are held.

    Unknown customers are simply not in the answer.
    """
    ordered = sorted(keys)
    customers, clocks = {}, {}
    for place, sequence, number, changed_at, organisation_id, *clock in await QUERIES["lock_customers"].rows(
        connection, **places(ordered), clocks_of=list(clocks_of)
    ):
        if place is None:
            clocks[organisation_id] = Clock(*clock)
        else:
            customers[ordered[place - 1]] = LockedCustomer(sequence, number, changed_at)
    return customers, clocks


async def load_standings(
    connection: Connection, wanted: Mapping[StandingKey, tuple[Programme, Collection[int]]]
) -> dict[StandingKey, LoadedStanding]:
    """The standings, each with the ended periods of the wanted numbers and those whose end has something to decide."""
    keys = list(wanted)
    touched = [(place, number) for place, key in enumerate(keys, start=1) for number in wanted[key][1]]
    rows = await QUERIES["list_standings"].rows(
        connection,
        **_standing_places(keys),
        **{f"ended_{name}": column for name, column in _standing_places([keys[p - 1] for p, _ in touched]).items()},
        ended_period_numbers=[number for _, number in touched],
        ended_places=[place for place, _ in touched],
    )
    kept: dict[int, StandingRow] = {}
    ended: dict[int, set[EndedRow]] = {}
    for row in rows:
        if row[0] == "standing":
            kept[row[1]] = StandingRow(*row[2:17])
        else:
            # One that was wanted and also has something to decide comes twice.
            ended.setdefault(row[1], set()).add(ended_row_of((row[17], *row[7:13], row[18], *row[13:16], row[19])))
    return {
        key: _loaded(wanted[key][0], kept.get(place), ended.get(place, ())) for place, key in enumerate(keys, start=1)
    }


def _loaded(programme: Programme, row: StandingRow | None, ended: Collection[EndedRow]) -> LoadedStanding:
    apart = frozenset([EndedKey(one.target_id, one.period_number, one.run) for one in ended])
    return LoadedStanding(standing_of(programme, row, ended), row is not None, apart)


def _standing_places(keys: Sequence[StandingKey]) -> dict[str, list[int]]:
    return {**places([key.customer for key in keys]), "target_group_ids": [key.target_group_id for key in keys]}


@dataclass(frozen=True, slots=True)
class CustomerRange:
    """Customers of one organisation and bucket whose ids lie between two, both included."""

    bucket: int
    organisation_id: int
    first: int
    last: int

    def bounds(self) -> dict[str, int]:
        """As the queries name them."""
        return {
            "bucket": self.bucket,
            "organisation_id": self.organisation_id,
            "first": self.first,
            "last": self.last,
        }


@dataclass(frozen=True, slots=True)
class CustomerWithStandings:
    """A customer, the organisation's clock and what is remembered of every group, all of one moment."""

    customer: Customer
    clock: Clock
    # By target group id.
    _rows: Mapping[int, StandingRow]
    _ended: Mapping[int, Sequence[EndedRow]]

    def standings(self, programmes: Iterable[Programme]) -> dict[int, Standing]:
        """By target group id, untouched standings included."""
        ids = {programme.target_group_id: programme for programme in programmes}
        return {one: standing_of(each, self._rows.get(one), self._ended.get(one, ())) for one, each in ids.items()}


async def find(connection: Connection, key: CustomerKey) -> CustomerWithStandings | None:
    """One customer as a read needs it, by one statement."""
    row = await QUERIES["find_customer_with_standings"].row(connection, **place(key))
    if row is None:
        return None
    columns = dict(row)
    standings, periods = [columns.pop(name) for name in ("standings", "ended")]
    clock = Clock(*[columns.pop(name) for name in ("test_clock", "clock_at", "definitions_version", "generation")])
    # After the customer's key and the group.
    rows = {one["target_group_id"]: StandingRow(*list(one.values())[4:]) for one in standings}
    ended: dict[int, list[EndedRow]] = {}
    for one in periods:
        ended.setdefault(one["target_group_id"], []).append(ended_row_of(list(one.values())[4:]))
    return CustomerWithStandings(Customer(**columns), clock, rows, ended)


# ---------------------------------------------------------------- completed periods


async def list_customers_to_tell_of_end(
    connection: Connection,
    programme: Programme,
    target: Target,
    period: Period,
    *,
    bucket: int,
    after: int,
    limit: int,
) -> list[int]:
    """Who of a bucket may have been in the period at its end and was not notified yet, by id, what comes after one."""
    rows = await QUERIES["list_customers_to_tell_of_end"].rows(
        connection,
        organisation_id=programme.organisation_id,
        target_group_id=programme.target_group_id,
        target_id=target.target_id,
        period_id=programme.period_id(period.number),
        ended_at=period.ends_at,
        bucket=bucket,
        after=after,
        limit=limit,
    )
    return [row["customer_id"] for row in rows]
