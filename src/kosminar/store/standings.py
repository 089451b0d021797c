"""Standings in the database: locking customers, loading what a batch touches, saving what it changed.

The only module that reads or writes customer, enrolment, progress and streak rows for the writer. Everything is
set-based: a batch is a handful of statements whatever its size. Loads give core values; no row leaves.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from kosminar.core import milestone, streak
from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.standing import FIRST_RUN, Method, Progress, Run, Standing, Stretch
from kosminar.store.queries import Connection, Query, load

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
    """One customer in one target."""

    customer: CustomerKey
    target_id: int


@dataclass(frozen=True, slots=True)
class Clock:
    """An organisation's clock and the version of its definitions, as held by a batch."""

    test_clock: bool
    clock_at: datetime
    definitions_version: int


@dataclass(frozen=True, slots=True)
class LockedCustomer:
    """What the customer row remembers; whoever has one holds the lock."""

    sequence: int
    notification_number: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ChangedStanding:
    """A standing before and after a batch, with the instant it was brought to.

    Of a stale one, what period ends look at is written anew, though nothing may have happened to it.
    """

    key: StandingKey
    programme: Programme
    before: Standing
    after: Standing
    at: datetime
    stale: bool = False


async def hold(connection: Connection, organisation_ids: Sequence[int], keys: Sequence[int]) -> dict[int, Clock]:
    """Hold the organisations' definitions and clocks still until the transaction ends, and read them."""
    await QUERIES["hold_definitions"].rows(connection, keys=sorted(keys))
    rows = await QUERIES["list_clocks"].rows(connection, organisation_ids=list(organisation_ids))
    return {
        row["organisation_id"]: Clock(row["test_clock"], row["clock_at"], row["definitions_version"]) for row in rows
    }


async def lock_customers(connection: Connection, keys: Iterable[CustomerKey]) -> dict[CustomerKey, LockedCustomer]:
    """Lock the customers that exist, in key order; the unknown ones are simply not in the answer."""
    ordered = sorted(keys)
    rows = await QUERIES["lock_customers"].rows(connection, **places(ordered))
    return {ordered[place - 1]: LockedCustomer(*remembered) for place, *remembered in rows}


async def save_customers(connection: Connection, customers: Mapping[CustomerKey, LockedCustomer]) -> None:
    keys = sorted(customers)
    await QUERIES["save_customers"].run(
        connection,
        **places(keys),
        sequences=[customers[key].sequence for key in keys],
        notification_numbers=[customers[key].notification_number for key in keys],
        changed_ats=[customers[key].changed_at for key in keys],
    )


async def load_standings(
    connection: Connection, wanted: Mapping[StandingKey, tuple[Programme, Collection[int]]]
) -> dict[StandingKey, Standing]:
    """The standings, each with the progress of the wanted period ids and of what still awaits a period end."""
    customers = sorted({key.customer for key in wanted})
    here = places(customers)
    place_of = {customer: place for place, customer in enumerate(customers, start=1)}
    everything = [(place_of[customer], target_id, *wish) for (customer, target_id), wish in wanted.items()]
    loading = _Loading(dict(enumerate(customers, start=1)), {key: programme for key, (programme, _) in wanted.items()})

    async def rows_of(query: Query, places_and_ids: Sequence[tuple[int, ...]], *names: str) -> list[Any]:
        arrays = dict(zip(("places", *names), zip(*places_and_ids, strict=True), strict=True))
        return await query.rows(connection, **here, **arrays)

    loading.enrolments(await rows_of(QUERIES["list_enrolments"], [each[:2] for each in everything], "target_ids"))
    touched = [(place, target_id, period_id) for place, target_id, _, ids in everything for period_id in ids]
    if touched:
        loading.progress(await rows_of(QUERIES["list_progress"], touched, "target_ids", "period_ids"))
    awaiting = [each[:2] for each in everything if each[2].target.period_end_rewards]
    if awaiting:
        loading.progress(await rows_of(QUERIES["list_awaiting_progress"], awaiting, "target_ids"))
    streaks = [each[:2] for each in everything if each[2].streak]
    if streaks:
        loading.runs(await rows_of(QUERIES["list_runs"], streaks, "target_ids"))
    return loading.standings()


@dataclass(frozen=True, slots=True)
class CustomerRange:
    """Customers of one organisation and bucket whose ids lie between two, both included."""

    bucket: int
    organisation_id: int
    first: int
    last: int

    @classmethod
    def of(cls, customer: CustomerKey) -> "CustomerRange":
        """Only this one."""
        return cls(customer.bucket, customer.organisation_id, customer.customer_id, customer.customer_id)

    def bounds(self) -> dict[str, int]:
        """As the queries name them."""
        return {
            "bucket": self.bucket,
            "organisation_id": self.organisation_id,
            "first": self.first,
            "last": self.last,
        }


async def load_range(
    connection: Connection, within: CustomerRange, customer_ids: Iterable[int], programmes: Sequence[Programme]
) -> dict[StandingKey, Standing]:
    """Everything remembered of these customers of the range, untouched standings included."""
    customers = {
        customer_id: CustomerKey(within.bucket, within.organisation_id, customer_id) for customer_id in customer_ids
    }
    keys = {StandingKey(key, p.target.target_id): p for key in customers.values() for p in programmes}
    loading = _Loading(customers, keys)
    loading.enrolments(await QUERIES["list_enrolments_of_customers"].rows(connection, **within.bounds()))
    loading.progress(await QUERIES["list_progress_of_customers"].rows(connection, **within.bounds()))
    if any(programme.streak for programme in programmes):
        loading.runs(await QUERIES["list_runs_of_customers"].rows(connection, **within.bounds()))
    return loading.standings()


# Looked up for every row; calling the class takes longer.
METHODS: Final = {method.value: method for method in Method}


class _Loading:
    """Gathers rows by standing; rows of customers and targets that nobody asked for are passed over.

    Each row begins with what stands for its customer in the query, then the target.
    """

    def __init__(self, customers: Mapping[int, CustomerKey], programmes: Mapping[StandingKey, Programme]) -> None:
        self._customers = customers
        self._programmes = programmes
        self._targets = {programme.target.target_id: programme for programme in programmes.values()}
        self._stretches: dict[_Place, list[Stretch]] = {key: [] for key in programmes}
        self._progress: dict[_Place, dict[tuple[int, int], Progress]] = {key: {} for key in programmes}
        self._runs: dict[_Place, list[Run]] = {key: [] for key in programmes}

    def enrolments(self, rows: Iterable[Any]) -> None:
        for customer, target_id, method, *stretch in rows:
            stretches = self._stretches.get((self._customers.get(customer), target_id))
            if stretches is not None:
                stretches.append(Stretch(METHODS[method], *stretch))

    def progress(self, rows: Iterable[Any]) -> None:
        for customer, target_id, period_id, run, value, achieved_at, recorded_at, days, *told in rows:
            progress = self._progress.get((self._customers.get(customer), target_id))
            if progress is not None:
                number = self._targets[target_id].number_of(period_id)
                progress[number, run] = Progress(value, achieved_at, recorded_at, tuple(days), *told)

    def runs(self, rows: Iterable[Any]) -> None:
        for customer, target_id, run, starts_at, ends_at, met, reached, broken_number in rows:
            runs = self._runs.get((self._customers.get(customer), target_id))
            if runs is not None:
                runs.append(Run(run, starts_at, ends_at, tuple(met), frozenset(reached), broken_number))

    def standings(self) -> dict[StandingKey, Standing]:
        return {
            key: Standing(
                tuple(self._stretches[key]),
                MappingProxyType(self._progress[key]),
                (tuple(self._runs[key]) or (FIRST_RUN,)) if programme.streak else (),
            )
            for key, programme in self._programmes.items()
        }


# Equal to the StandingKey, and made faster where the row of a customer nobody asked for is looked up too.
_Place: TypeAlias = tuple[CustomerKey | None, int]


async def save_standings(connection: Connection, changed: Sequence[ChangedStanding]) -> None:
    """Write the rows that differ, and of a streak those whose watched period may."""
    await _save_enrolments(connection, changed)
    await _save_progress(connection, changed)
    await _save_runs(connection, changed)


async def _save_enrolments(connection: Connection, changed: Sequence[ChangedStanding]) -> None:
    rows = [
        (*change.key.customer, change.key.target_id, number, *stretch)
        for change in changed
        for number, stretch in enumerate(change.after.stretches, start=1)
        if number > len(change.before.stretches) or stretch != change.before.stretches[number - 1]
    ]
    if rows:
        await QUERIES["save_enrolments"].run(connection, rows=rows)


async def _save_progress(connection: Connection, changed: Sequence[ChangedStanding]) -> None:
    rows = [
        _progress_row(change, number, run, progress)
        for change in changed
        for (number, run), progress in change.after.progress.items()
        if change.before.progress.get((number, run)) != progress
    ]
    if rows:
        await QUERIES["save_progress"].run(connection, rows=rows)


def _progress_row(change: ChangedStanding, number: int, run: int, progress: Progress) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    programme = change.programme
    return (
        *change.key.customer,
        change.key.target_id,
        programme.period(number).period_id,
        run,
        progress.value,
        programme.target.values[number - 1],
        progress.achieved_at,
        progress.achieved_recorded_at,
        progress.days,
        progress.rewarded,
        progress.forfeited,
        progress.settled,
        milestone.awaits_end(programme, progress),
    )


async def _save_runs(connection: Connection, changed: Sequence[ChangedStanding]) -> None:
    rows = [_run_row(change, run) for change in changed if change.programme.streak for run in _changed_runs(change)]
    if rows:
        await QUERIES["save_runs"].run(connection, rows=rows)


def _changed_runs(change: ChangedStanding) -> Sequence[Run]:
    """Where the enrolment changed, all: the period that is watched depends on it too.

    It also goes with the programme's deactivation, which the closer comes to look after by itself.
    """
    before, after = change.before, change.after
    if change.stale or after.stretches != before.stretches:
        return after.runs
    return [run for run in after.runs if run not in before.runs]


def _run_row(change: ChangedStanding, run: Run) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    watched = streak.next_break(change.programme, change.after, run, change.at)
    return (
        *change.key.customer,
        change.key.target_id,
        run.number,
        run.starts_at,
        run.ends_at,
        run.met,
        sorted(run.reached),
        run.broken_number,
        None if watched is None else watched.number,
    )


async def list_customers_to_tell_of_end(
    connection: Connection,
    organisation_id: int,
    target_id: int,
    period: Period,
    *,
    bucket: int,
    after: int,
    limit: int,
) -> list[int]:
    """Who of a bucket was in the period at its end and was not told so yet, by id, what comes after one."""
    rows = await QUERIES["list_customers_to_tell_of_end"].rows(
        connection,
        organisation_id=organisation_id,
        target_id=target_id,
        period_id=period.period_id,
        number=period.number,
        ended_at=period.ends_at,
        bucket=bucket,
        after=after,
        limit=limit,
    )
    return [row["customer_id"] for row in rows]
