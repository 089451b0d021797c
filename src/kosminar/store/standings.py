"""Standings in the database: locking customers, loading what a batch touches, making rows of what it changed.

The only module that knows customer, enrolment, progress and streak rows for the writer; saving.py writes them.
Everything is set-based: a batch is a handful of statements whatever its size. Loads give core values.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from msgspec.structs import astuple

from kosminar.core import number_set
from kosminar.core.amount import decimal_of, exact_thousandths
from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
from kosminar.core.customer import Customer
from kosminar.core.kind import milestone, streak
from kosminar.core.period import Period
from kosminar.core.programme import Programme, Target
from kosminar.core.standing import Method, Progress, Run, Standing, Stretch, TargetStanding
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
class ChangedStanding:
    """A standing before and after a batch.

    Of a stale one, what period ends look at is written again, though nothing may have happened to it.
    """

    key: StandingKey
    programme: Programme
    before: Standing
    after: Standing
    stale: bool = False

    def parts(self) -> Iterator[tuple[Target, TargetStanding, TargetStanding]]:
        """Each target with its part before and after."""
        return zip(self.programme.targets, self.before.targets, self.after.targets, strict=True)


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
    """The standings, each with the progress of the wanted period numbers and of what still awaits a period end."""
    customers = sorted({key.customer for key in wanted})
    place_of = {customer: place for place, customer in enumerate(customers, start=1)}
    targets = [
        (place_of[key.customer], target, programme, numbers)
        for key, (programme, numbers) in wanted.items()
        for target in programme.targets
    ]
    touched = [
        (place, target.target_id, programme.period_id(number))
        for place, target, programme, numbers in targets
        for number in numbers
    ]
    awaiting = [(place, target.target_id) for place, target, _, _ in targets if target.period_end_rewards]
    running = [(place, target.target_id) for place, target, programme, _ in targets if programme.kind.untouched().runs]
    rows = await QUERIES["list_standings"].rows(
        connection,
        **places(customers),
        places=[place for place, _, _, _ in targets],
        target_ids=[target.target_id for _, target, _, _ in targets],
        touched_places=[place for place, _, _ in touched],
        touched_target_ids=[target_id for _, target_id, _ in touched],
        touched_period_ids=[period_id for _, _, period_id in touched],
        awaiting_places=[place for place, _ in awaiting],
        awaiting_target_ids=[target_id for _, target_id in awaiting],
        streak_places=[place for place, _ in running],
        streak_target_ids=[target_id for _, target_id in running],
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
        """By target group id, untouched standings included."""
        wanted = {StandingKey(self._key, programme.target_group_id): programme for programme in programmes}
        loading = _Loading({self._key.customer_id: self._key}, wanted)
        loading.enrolments(map(ENROLMENT_COLUMNS, self._enrolments))
        loading.progress(map(PROGRESS_COLUMNS, self._progress))
        loading.runs(map(RUN_COLUMNS, self._runs))
        return {key.target_group_id: standing for key, standing in loading.standings().items()}


async def find(connection: Connection, key: CustomerKey) -> CustomerWithStandings | None:
    """One customer as a read needs it, by one statement."""
    row = await QUERIES["find_customer_with_standings"].row(connection, **place(key))
    if row is None:
        return None
    columns = dict(row)
    remembered = [columns.pop(name) for name in ("enrolments", "progress", "runs")]
    clock = Clock(*[columns.pop(name) for name in ("test_clock", "clock_at", "definitions_version", "generation")])
    return CustomerWithStandings(Customer(**columns), clock, key, *remembered)


_Kept = TypeVar("_Kept", Stretch, Progress, Run)

# Looked up for every row; calling the class takes longer.
METHODS: Final = {method.value: method for method in Method}


class _Loading:
    """Gathers rows by standing; rows of customers and targets that nobody asked for are passed over.

    Each row begins with what stands for its customer in the query, then the target.
    """

    def __init__(self, customers: Mapping[int, CustomerKey], programmes: Mapping[StandingKey, Programme]) -> None:
        self._customers = customers
        self._programmes = programmes
        self._groups = {
            target.target_id: programme for programme in programmes.values() for target in programme.targets
        }
        parts = [
            (key.customer, target.target_id) for key, programme in programmes.items() for target in programme.targets
        ]
        self._stretches: dict[_Place, dict[int, Stretch]] = {part: {} for part in parts}
        self._progress: dict[_Place, dict[tuple[int, int], Progress]] = {part: {} for part in parts}
        self._runs: dict[_Place, dict[int, Run]] = {part: {} for part in parts}

    def enrolments(self, rows: Iterable[Any]) -> None:
        for customer, target_id, number, method, *stretch in rows:
            stretches = self._stretches.get((self._customers.get(customer), target_id))
            if stretches is not None:
                stretches[number] = Stretch(METHODS[method], *stretch)

    def progress(self, rows: Iterable[Any]) -> None:
        for customer, target_id, period_id, run, value, achieved_at, recorded_at, days, *marks in rows:
            progress = self._progress.get((self._customers.get(customer), target_id))
            if progress is not None:
                number = self._groups[target_id].period_number(period_id)
                assert number is not None, "progress is of the programme's periods"
                kept = exact_thousandths(value)
                progress[number, run] = Progress(number, run, kept, achieved_at, recorded_at, tuple(days), *marks)

    def runs(self, rows: Iterable[Any]) -> None:
        for customer, target_id, run, starts_at, ends_at, met, reached, broken_number in rows:
            runs = self._runs.get((self._customers.get(customer), target_id))
            if runs is not None:
                met_numbers = number_set.of(met)
                runs[run] = Run(run, starts_at, ends_at, met_numbers, tuple(sorted(reached)), broken_number)

    def standings(self) -> dict[StandingKey, Standing]:
        return {
            key: programme.standing_of(
                tuple(self._part(programme, (key.customer, target.target_id)) for target in programme.targets)
            )
            for key, programme in self._programmes.items()
        }

    def _part(self, programme: Programme, place: "_Place") -> TargetStanding:
        return TargetStanding(
            _in_order(self._stretches[place]),
            _in_order(self._progress[place]),
            _in_order(self._runs[place]) or programme.kind.untouched().runs,
        )


def _in_order(found: Mapping[Any, _Kept]) -> tuple[_Kept, ...]:
    return tuple(found[key] for key in sorted(found))


# A customer and a target; a customer that nobody asked for is None.
_Place: TypeAlias = tuple[CustomerKey | None, int]


def enrolment_rows(changed: Sequence[ChangedStanding]) -> list[tuple[Any, ...]]:
    """The stretches that differ, in the order of the table's columns."""
    return [
        (*change.key.customer, target.target_id, number, *astuple(stretch))
        for change in changed
        for target, before, after in change.parts()
        for number, stretch in enumerate(after.stretches, start=1)
        if number > len(before.stretches) or stretch != before.stretches[number - 1]
    ]


def progress_rows(changed: Sequence[ChangedStanding]) -> list[tuple[Any, ...]]:
    """The progress that differs, in the order of the table's columns."""
    return [
        _progress_row(change, target, progress)
        for change in changed
        for target, before, after in change.parts()
        for progress in after.progress
        if before.find_progress(progress.period_number, progress.run) != progress
    ]


def _progress_row(change: ChangedStanding, target: Target, progress: Progress) -> tuple[Any, ...]:
    return (
        *change.key.customer,
        target.target_id,
        change.programme.period_id(progress.period_number),
        progress.run,
        *progress_columns(target, progress),
    )


def progress_columns(target: Target, progress: Progress) -> tuple[Any, ...]:
    """What a row of progress says, without its key; the audit expects the same."""
    return (
        decimal_of(progress.value),
        decimal_of(target.values[progress.period_number - 1]),
        progress.achieved_at,
        progress.achieved_recorded_at,
        progress.days,
        progress.rewarded,
        progress.forfeited,
        progress.settled,
        milestone.awaits_end(target, progress),
    )


def run_rows(changed: Sequence[ChangedStanding]) -> list[tuple[Any, ...]]:
    """Of streaks, the runs whose row may differ, in the order of the table's columns."""
    return [
        _run_row(change, target, after, run)
        for change in changed
        for target, before, after in change.parts()
        for run in _changed_runs(before, after, stale=change.stale)
    ]


def _changed_runs(before: TargetStanding, after: TargetStanding, *, stale: bool) -> Sequence[Run]:
    """Where the enrolment changed, all: the period that is watched depends on it too.

    It also goes with the programme's deactivation, which the closer comes to look after by itself.
    """
    if stale or after.stretches != before.stretches:
        return after.runs
    return [run for run in after.runs if run not in before.runs]


def _run_row(change: ChangedStanding, target: Target, part: TargetStanding, run: Run) -> tuple[Any, ...]:
    watched = streak.next_break(change.programme, part, run)
    return (
        *change.key.customer,
        target.target_id,
        run.number,
        run.starts_at,
        run.ends_at,
        tuple(number_set.numbers_in(run.met)),
        run.reached,
        run.broken_number,
        None if watched is None else watched.number,
    )


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
    """Who of a bucket was in the period at its end and was not told so yet, by id, what comes after one."""
    rows = await QUERIES["list_customers_to_tell_of_end"].rows(
        connection,
        organisation_id=programme.organisation_id,
        target_id=target.target_id,
        period_id=programme.period_id(period.number),
        number=period.number,
        ended_at=period.ends_at,
        bucket=bucket,
        after=after,
        limit=limit,
    )
    return [row["customer_id"] for row in rows]
