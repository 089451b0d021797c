"""Standings in the database: locking customers, loading what a batch touches, saving what it changed.

The only module that reads or writes customer, enrolment, progress and streak rows for the writer. Everything is
set-based: a batch is a handful of statements whatever its size. Loads give core values; no row leaves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kosminar.core import milestone, streak
from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
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
    """A standing before and after a batch, with the instant it was brought to."""

    key: StandingKey
    programme: Programme
    before: Standing
    after: Standing
    at: datetime


async def hold(connection: Connection, organisation_ids: Sequence[int], keys: Sequence[int]) -> dict[int, Clock]:
    """Hold the organisations' definitions and clocks still until the transaction ends, and read them."""
    await QUERIES["hold_definitions"].rows(connection, keys=sorted(keys))
    rows = await QUERIES["list_clocks"].rows(connection, organisation_ids=list(organisation_ids))
    return {
        row["organisation_id"]: Clock(row["test_clock"], row["clock_at"], row["definitions_version"]) for row in rows
    }


async def lock_customers(connection: Connection, keys: Iterable[CustomerKey]) -> dict[CustomerKey, LockedCustomer]:
    """Lock the customers that exist, in key order; the unknown ones are simply not in the answer."""
    rows = await QUERIES["lock_customers"].rows(connection, **places(sorted(keys)))
    return {
        CustomerKey(row["bucket"], row["organisation_id"], row["customer_id"]): LockedCustomer(
            row["sequence"], row["notification_number"], row["changed_at"]
        )
        for row in rows
    }


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
    connection: Connection, wanted: Mapping[StandingKey, tuple[Programme, frozenset[int]]]
) -> dict[StandingKey, Standing]:
    """The standings, each with the progress of the wanted period numbers and of what still awaits a period end."""
    keys = list(wanted)
    loading = _Loading({key: programme for key, (programme, _) in wanted.items()})
    loading.enrolments(await QUERIES["list_enrolments"].rows(connection, **_standings(keys)))
    touched = [(key, programme.period(n).period_id) for key, (programme, numbers) in wanted.items() for n in numbers]
    if touched:
        loading.progress(
            await QUERIES["list_progress"].rows(
                connection,
                **_standings([key for key, _ in touched]),
                period_ids=[period_id for _, period_id in touched],
            )
        )
    awaiting = [key for key, (programme, _) in wanted.items() if programme.target.period_end_rewards]
    if awaiting:
        loading.progress(await QUERIES["list_awaiting_progress"].rows(connection, **_standings(awaiting)))
    streaks = [key for key, (programme, _) in wanted.items() if programme.streak]
    if streaks:
        loading.runs(await QUERIES["list_runs"].rows(connection, **_standings(streaks)))
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
    keys = [CustomerKey(within.bucket, within.organisation_id, customer_id) for customer_id in customer_ids]
    loading = _Loading({StandingKey(key, p.target.target_id): p for key in keys for p in programmes})
    loading.enrolments(await QUERIES["list_enrolments_of_customers"].rows(connection, **within.bounds()))
    loading.progress(await QUERIES["list_progress_of_customers"].rows(connection, **within.bounds()))
    loading.runs(await QUERIES["list_runs_of_customers"].rows(connection, **within.bounds()))
    return loading.standings()


class _Loading:
    """Gathers rows by standing; rows of targets that nobody asked for are passed over."""

    def __init__(self, programmes: Mapping[StandingKey, Programme]) -> None:
        self._programmes = programmes
        self._numbers = {p.target.target_id: {q.period_id: q.number for q in p.periods} for p in programmes.values()}
        self._stretches: dict[StandingKey, list[Stretch]] = {key: [] for key in programmes}
        self._progress: dict[StandingKey, dict[tuple[int, int], Progress]] = {key: {} for key in programmes}
        self._runs: dict[StandingKey, list[Run]] = {key: [] for key in programmes}

    def enrolments(self, rows: Iterable[Any]) -> None:
        for row in rows:
            stretches = self._stretches.get(_key(row))
            if stretches is not None:
                stretches.append(
                    Stretch(Method(row["method"]), row["starts_at"], row["ends_at"], row["first_period_number"])
                )

    def progress(self, rows: Iterable[Any]) -> None:
        for row in rows:
            progress = self._progress.get(_key(row))
            if progress is not None:
                number = self._numbers[row["target_id"]][row["period_id"]]
                progress[number, row["run"]] = Progress(
                    value=row["value"],
                    achieved_at=row["achieved_at"],
                    achieved_recorded_at=row["achieved_recorded_at"],
                    days=tuple(row["days"]),
                    rewarded=row["rewarded"],
                    forfeited=row["forfeited"],
                    settled=row["settled"],
                )

    def runs(self, rows: Iterable[Any]) -> None:
        for row in rows:
            runs = self._runs.get(_key(row))
            if runs is not None:
                runs.append(
                    Run(
                        number=row["run"],
                        starts_at=row["starts_at"],
                        ends_at=row["ends_at"],
                        met=tuple(row["met"]),
                        reached=frozenset(row["reached"]),
                        broken_number=row["broken_number"],
                    )
                )

    def standings(self) -> dict[StandingKey, Standing]:
        return {
            key: Standing(
                stretches=tuple(self._stretches[key]),
                progress=MappingProxyType(self._progress[key]),
                runs=(tuple(self._runs[key]) or (FIRST_RUN,)) if programme.streak else (),
            )
            for key, programme in self._programmes.items()
        }


async def save_standings(connection: Connection, changed: Sequence[ChangedStanding]) -> None:
    """Write the rows that differ, and only these."""
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
    # The period that is watched depends on the enrolment too, so every run of a changed streak is written.
    rows = [_run_row(change, run) for change in changed if change.programme.streak for run in change.after.runs]
    if rows:
        await QUERIES["save_runs"].run(connection, rows=rows)


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


def _key(row: Any) -> StandingKey:
    return StandingKey(CustomerKey(row["bucket"], row["organisation_id"], row["customer_id"]), row["target_id"])


def _standings(keys: Sequence[StandingKey]) -> dict[str, list[int]]:
    return {**places([key.customer for key in keys]), "target_ids": [key.target_id for key in keys]}
