"""Standings in the database: locking customers, loading what a batch touches, making rows of what it changed.

The only module that knows customer, enrolment, progress and streak rows for the writer; saving.py writes them.
Everything is set-based: a batch is a handful of statements whatever its size. Loads give core values.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from kosminar.core import milestone, streak
from kosminar.core.amount import decimal_of, exact_thousandths
from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
from kosminar.core.customer import Customer
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.standing import FIRST_RUN, Method, Progress, Run, Standing, Stretch
from kosminar.store.queries import Connection, load

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
) -> dict[StandingKey, Standing]:
    """The standings, each with the progress of the wanted period ids and of what still awaits a period end."""
    customers = sorted({key.customer for key in wanted})
    place_of = {customer: place for place, customer in enumerate(customers, start=1)}
    everything = [(place_of[customer], target_id, *wish) for (customer, target_id), wish in wanted.items()]
    touched = [(place, target_id, period_id) for place, target_id, _, ids in everything for period_id in ids]
    awaiting = [each for each in everything if each[2].target.period_end_rewards]
    streaks = [each for each in everything if each[2].streak]
    rows = await QUERIES["list_standings"].rows(
        connection,
        **places(customers),
        places=[each[0] for each in everything],
        target_ids=[each[1] for each in everything],
        touched_places=[each[0] for each in touched],
        touched_target_ids=[each[1] for each in touched],
        touched_period_ids=[each[2] for each in touched],
        awaiting_places=[each[0] for each in awaiting],
        awaiting_target_ids=[each[1] for each in awaiting],
        streak_places=[each[0] for each in streaks],
        streak_target_ids=[each[1] for each in streaks],
    )
    loading = _Loading(dict(enumerate(customers, start=1)), {key: programme for key, (programme, _) in wanted.items()})
    loading.enrolments(row[1:8] for row in rows if row[0] == "enrolment")
    loading.progress(row[1:3] + row[8:17] for row in rows if row[0] == "progress")
    loading.runs(row[1:3] + row[17:] for row in rows if row[0] == "run")
    return loading.standings()


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


# What a standing is made of, from whole rows; in the order of the queries for batches, and with the customer's id.
ENROLMENT_COLUMNS: Final = itemgetter(
    "customer_id", "target_id", "number", "method", "starts_at", "ends_at", "first_period_number"
)
PROGRESS_COLUMNS: Final = itemgetter(
    "customer_id", "target_id", "period_id", "run", "value", "achieved_at", "achieved_recorded_at", "days", "rewarded",
    "forfeited", "settled",
)  # fmt: skip
RUN_COLUMNS: Final = itemgetter(
    "customer_id", "target_id", "run", "starts_at", "ends_at", "met", "reached", "broken_number"
)


@dataclass(frozen=True, slots=True)
class CustomerWithStandings:
    """A customer, the organisation's clock and what is remembered of every target, all of one moment."""

    customer: Customer
    clock: Clock
    _key: CustomerKey
    # Rows of the tables, with all their columns.
    _enrolments: Sequence[Any]
    _progress: Sequence[Any]
    _runs: Sequence[Any]

    def standings(self, programmes: Iterable[Programme]) -> dict[int, Standing]:
        """By target id, untouched standings included."""
        wanted = {StandingKey(self._key, programme.target.target_id): programme for programme in programmes}
        loading = _Loading({self._key.customer_id: self._key}, wanted)
        loading.enrolments(map(ENROLMENT_COLUMNS, self._enrolments))
        loading.progress(map(PROGRESS_COLUMNS, self._progress))
        loading.runs(map(RUN_COLUMNS, self._runs))
        return {key.target_id: standing for key, standing in loading.standings().items()}


async def find(connection: Connection, key: CustomerKey) -> CustomerWithStandings | None:
    """One customer as a read needs it, by one statement."""
    row = await QUERIES["find_customer_with_standings"].row(connection, **place(key))
    if row is None:
        return None
    columns = dict(row)
    remembered = [columns.pop(name) for name in ("enrolments", "progress", "runs")]
    clock = Clock(*[columns.pop(name) for name in ("test_clock", "clock_at", "definitions_version", "generation")])
    return CustomerWithStandings(Customer(**columns), clock, key, *remembered)


_Numbered = TypeVar("_Numbered", Stretch, Run)

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
        self._stretches: dict[_Place, dict[int, Stretch]] = {key: {} for key in programmes}
        self._progress: dict[_Place, dict[tuple[int, int], Progress]] = {key: {} for key in programmes}
        self._runs: dict[_Place, dict[int, Run]] = {key: {} for key in programmes}

    def enrolments(self, rows: Iterable[Any]) -> None:
        for customer, target_id, number, method, *stretch in rows:
            stretches = self._stretches.get((self._customers.get(customer), target_id))
            if stretches is not None:
                stretches[number] = Stretch(METHODS[method], *stretch)

    def progress(self, rows: Iterable[Any]) -> None:
        for customer, target_id, period_id, run, value, achieved_at, recorded_at, days, *told in rows:
            progress = self._progress.get((self._customers.get(customer), target_id))
            if progress is not None:
                number = self._targets[target_id].period_number(period_id)
                assert number is not None, "progress is made in the programme's own periods"
                progress[number, run] = Progress(exact_thousandths(value), achieved_at, recorded_at, tuple(days), *told)

    def runs(self, rows: Iterable[Any]) -> None:
        for customer, target_id, run, starts_at, ends_at, met, reached, broken_number in rows:
            runs = self._runs.get((self._customers.get(customer), target_id))
            if runs is not None:
                runs[run] = Run(run, starts_at, ends_at, tuple(met), frozenset(reached), broken_number)

    def standings(self) -> dict[StandingKey, Standing]:
        return {
            key: Standing(
                _in_order(self._stretches[key]),
                MappingProxyType(self._progress[key]),
                (_in_order(self._runs[key]) or (FIRST_RUN,)) if programme.streak else (),
            )
            for key, programme in self._programmes.items()
        }


def _in_order(numbered: Mapping[int, _Numbered]) -> tuple[_Numbered, ...]:
    return tuple(numbered[number] for number in sorted(numbered))


# Equal to the StandingKey, and made faster where the row of a customer nobody asked for is looked up too.
_Place: TypeAlias = tuple[CustomerKey | None, int]


def enrolment_rows(changed: Sequence[ChangedStanding]) -> list[tuple[Any, ...]]:
    """The stretches that differ, in the order of the table's columns."""
    return [
        (*change.key.customer, change.key.target_id, number, *stretch)
        for change in changed
        for number, stretch in enumerate(change.after.stretches, start=1)
        if number > len(change.before.stretches) or stretch != change.before.stretches[number - 1]
    ]


def progress_rows(changed: Sequence[ChangedStanding]) -> list[tuple[Any, ...]]:
    """The progress that differs, in the order of the table's columns."""
    return [
        _progress_row(change, number, run, progress)
        for change in changed
        for (number, run), progress in change.after.progress.items()
        if change.before.progress.get((number, run)) != progress
    ]


def _progress_row(change: ChangedStanding, number: int, run: int, progress: Progress) -> tuple[Any, ...]:
    programme = change.programme
    return (
        *change.key.customer,
        change.key.target_id,
        programme.period_id(number),
        run,
        decimal_of(progress.value),
        decimal_of(programme.target.values[number - 1]),
        progress.achieved_at,
        progress.achieved_recorded_at,
        progress.days,
        progress.rewarded,
        progress.forfeited,
        progress.settled,
        milestone.awaits_end(programme, progress),
    )


def run_rows(changed: Sequence[ChangedStanding]) -> list[tuple[Any, ...]]:
    """Of streaks, the runs whose row may differ, in the order of the table's columns."""
    return [_run_row(change, run) for change in changed if change.programme.streak for run in _changed_runs(change)]


def _changed_runs(change: ChangedStanding) -> Sequence[Run]:
    """Where the enrolment changed, all: the period that is watched depends on it too.

    It also goes with the programme's deactivation, which the closer comes to look after by itself.
    """
    before, after = change.before, change.after
    if change.stale or after.stretches != before.stretches:
        return after.runs
    return [run for run in after.runs if run not in before.runs]


def _run_row(change: ChangedStanding, run: Run) -> tuple[Any, ...]:
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
    programme: Programme,
    period: Period,
    *,
    bucket: int,
    after: int,
    limit: int,
) -> list[int]:
    """Who of a bucket was in the period at its end and was not told so yet, by id, what comes after one."""
    rows = await QUERIES["list_customers_to_tell_of_end"].rows(
        connection,
        organisation_id=programme.organisation_id,
        target_id=programme.target.target_id,
        period_id=programme.period_id(period.number),
        number=period.number,
        ended_at=period.ends_at,
        bucket=bucket,
        after=after,
        limit=limit,
    )
    return [row["customer_id"] for row in rows]
