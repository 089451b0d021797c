"""The journal: a customer's order, one row for each number, with what was accepted and what it brought.

Everything kept of a customer can be recomputed from these rows. They are only ever added; saving.py writes them. A row
that makes no sense is read all the same, because the audit has to report it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from kosminar.core.account import Cause, Entry
from kosminar.core.activity import Activity
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.ledger import Report
from kosminar.core.reward import RewardState, parse_reward_id, reward_id
from kosminar.store import facts
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, CustomerRange, place, places

QUERIES: Final = load("journal")

ACTIVITY: Final = "activity"
ENROL: Final = "enrol"
UN_ENROL: Final = "un_enrol"
REPORT: Final = "report"
PERIOD_END: Final = "period_end"

# Of what is accepted under an activity's id.
FIRST_ENTRY: Final = 1

# Numbers keep all their digits on the way into jsonb, which keeps them too.
ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class Origin(NamedTuple):
    """Who asked for a change, and under which request."""

    asked_by: str
    request_id: str


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A number of a customer's order, and the definitions under which it was decided. Time itself has no origin."""

    customer: CustomerKey
    entry: Entry
    definitions_version: int
    origin: Origin | None
    # Of an activity or a report.
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A row as it is stored. `cause` is None for a period's end, and for a report that names no reward of the customer."""

    customer_id: int
    number: int
    kind: str
    at: datetime
    definitions_version: int
    cause: Cause
    # Of a period's end.
    target_group_id: int | None
    # Of an activity, and the fingerprint of a report too.
    entry: int | None
    fingerprint: bytes | None
    verdicts: str | None
    facts: str
    reason: str | None


class StoredFacts(NamedTuple):
    """The facts of one number, still as text."""

    number: int
    facts: str
    reason: str | None


# ---------------------------------------------------------------- writing


def row(written: JournalEntry) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    entry, cause, origin = written.entry, written.entry.cause, written.origin or (None, None)
    text = facts.write(fact for _, fact in entry.facts())
    head = (*written.customer, entry.number, entry.at)
    version, fingerprint = written.definitions_version, written.fingerprint
    match cause:
        case Activity(activity_id, type_, occurred_at, attributes):
            verdicts = facts.write_verdicts(entry.judgements)
            said = ENCODER.encode(attributes).decode()
            return (
                *(*head, occurred_at, version, FIRST_ENTRY, ACTIVITY, *origin, activity_id, type_, fingerprint),
                *(verdicts, text, None, None, None, None, None, None, None, said, None),
            )
        case Enrol(target_id, period_name, balance, reset):
            return (
                *(*head, None, version, None, ENROL, *origin, None, None, None, None, text),
                *(target_id, None, balance, reset, period_name, None, None, None, None),
            )
        case UnEnrol(target_id):
            return (
                *(*head, None, version, None, UN_ENROL, *origin, None, None, None, None, text),
                *(target_id, None, None, None, None, None, None, None, None),
            )
        case Report():
            rewarded = reward_id(written.customer.customer_id, cause.key)
            return (
                *(*head, None, version, None, REPORT, *origin, None, None, fingerprint, None, text),
                *(None, None, None, None, None, rewarded, cause.outcome.value, None, cause.reason),
            )
        case None:
            (change,) = entry.changes
            return (
                *(*head, None, version, None, PERIOD_END, *origin, None, None, None, None, text),
                *(None, change.programme.target_group_id, None, None, None, None, None, None, None),
            )


# ---------------------------------------------------------------- reading


async def list_known(
    connection: Connection, activities: Iterable[tuple[CustomerKey, str]]
) -> dict[tuple[CustomerKey, str], bytes]:
    """The fingerprints of activities that were accepted before, by customer and activity id."""
    keys = list(activities)
    rows = await QUERIES["list_known_activities"].rows(
        connection, **places([customer for customer, _ in keys]), activity_ids=[activity_id for _, activity_id in keys]
    )
    return {
        (CustomerKey(row["bucket"], row["organisation_id"], row["customer_id"]), row["activity_id"]): row["fingerprint"]
        for row in rows
    }


async def list_facts(connection: Connection, customer: CustomerKey, *, first: int, limit: int) -> list[StoredFacts]:
    """From a number on, those numbers that brought facts, oldest first."""
    rows = await QUERIES["list_facts"].rows(connection, **place(customer), first=first, limit=limit)
    return [StoredFacts(*row) for row in rows]


async def list_entries(connection: Connection, within: CustomerRange) -> list[StoredEntry]:
    """A range of customers' journals, each customer's in its order."""
    return [_stored(row) for row in await QUERIES["list_entries"].rows(connection, **within.bounds())]


def _stored(row: Any) -> StoredEntry:
    return StoredEntry(
        customer_id=row["customer_id"],
        number=row["number"],
        kind=row["kind"],
        at=row["at"],
        definitions_version=row["definitions_version"],
        cause=_cause(row),
        target_group_id=row["target_group_id"],
        entry=row["entry"],
        fingerprint=row["fingerprint"],
        verdicts=row["verdicts"],
        facts=row["facts"],
        reason=row["reason"],
    )


def _cause(row: Any) -> Cause:
    match row["kind"]:
        case "activity":
            attributes = json.loads(row["attributes"], parse_float=Decimal)
            return Activity(row["activity_id"], row["type"], row["occurred_at"], attributes)
        case "enrol":
            return Enrol(row["target_id"], row["period_name"], row["initial_balance_thousandths"], row["reset"])
        case "un_enrol":
            return UnEnrol(row["target_id"])
        case "report":
            named = parse_reward_id(row["reward_id"])
            if named is not None and named[0] == row["customer_id"]:
                return Report(named[1], RewardState(row["outcome"]), row["reason"])
    return None
