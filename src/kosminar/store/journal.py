"""The journal: a customer's order, one row for each number, with what was accepted and what it brought.

Everything kept of a customer can be recomputed from these rows. They are only ever added, by the save of a batch and by
the sweep. A row that makes no sense is read all the same, because the audit has to report it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Final, NamedTuple

import msgspec

from kosminar.core.account import Cause, Entry
from kosminar.core.activity import Activity
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.ledger import Report
from kosminar.core.reward import RewardState, parse_reward_id, reward_id
from kosminar.store import facts
from kosminar.store.queries import Connection, array, load
from kosminar.store.saving import Part, keys
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


def parts(entries: Sequence[JournalEntry]) -> list[Part]:
    """The new rows: each kind has columns of its own."""
    of_kind: dict[type, list[JournalEntry]] = {Activity: [], Enrol: [], UnEnrol: [], Report: [], NoneType: []}
    for one in entries:
        of_kind[type(one.entry.cause)].append(one)
    return [
        Part(QUERIES["insert_activities"], of_kind[Activity], _activities),
        Part(QUERIES["insert_commands"], [*of_kind[Enrol], *of_kind[UnEnrol]], _commands),
        Part(QUERIES["insert_reports"], of_kind[Report], _reports),
        Part(QUERIES["insert_period_ends"], of_kind[NoneType], _period_ends),
    ]


def _columns(entries: Sequence[JournalEntry]) -> dict[str, Any]:
    """What every kind has."""
    return {
        **keys([one.customer for one in entries]),
        "numbers": array([one.entry.number for one in entries]),
        "ats": array([one.entry.at for one in entries]),
        "definitions_versions": array([one.definitions_version for one in entries]),
        "facts": array([facts.write(fact for _, fact in one.entry.facts()) for one in entries]),
    }


def _origins(entries: Sequence[JournalEntry]) -> dict[str, list[str]]:
    origins = [one.origin for one in entries if one.origin is not None]
    return {
        "asked_bys": [origin.asked_by for origin in origins],
        "request_ids": [origin.request_id for origin in origins],
    }


def _activities(entries: Sequence[JournalEntry]) -> dict[str, Any]:
    activities: list[Any] = [one.entry.cause for one in entries]
    return {
        **_columns(entries),
        **_origins(entries),
        "occurred_ats": array([activity.occurred_at for activity in activities]),
        "activity_ids": [activity.activity_id for activity in activities],
        "types": [activity.type for activity in activities],
        "fingerprints": _fingerprints(entries),
        "verdicts": array([facts.write_verdicts(one.entry.judgements) for one in entries]),
        "attributes": [ENCODER.encode(activity.attributes).decode() for activity in activities],
    }


def _commands(entries: Sequence[JournalEntry]) -> dict[str, Any]:
    commands: list[Any] = [one.entry.cause for one in entries]
    enrolments = [command if isinstance(command, Enrol) else None for command in commands]
    return {
        **_columns(entries),
        **_origins(entries),
        "kinds": array([UN_ENROL if one is None else ENROL for one in enrolments]),
        "target_ids": array([command.target_id for command in commands]),
        "initial_balances": array([None if one is None else one.initial_balance for one in enrolments]),
        "resets": array([None if one is None else one.reset for one in enrolments]),
        "period_names": [None if one is None else one.period_name for one in enrolments],
    }


def _reports(entries: Sequence[JournalEntry]) -> dict[str, Any]:
    reports: list[Any] = [one.entry.cause for one in entries]
    named = zip(entries, reports, strict=True)
    return {
        **_columns(entries),
        **_origins(entries),
        "fingerprints": _fingerprints(entries),
        "reward_ids": array([reward_id(one.customer.customer_id, report.key) for one, report in named]),
        "outcomes": array([report.outcome for report in reports]),
        "reasons": [report.reason for report in reports],
    }


def _period_ends(entries: Sequence[JournalEntry]) -> dict[str, Any]:
    ended = [change.programme for one in entries for change in one.entry.changes]
    return {**_columns(entries), "target_group_ids": array([programme.target_group_id for programme in ended])}


def _fingerprints(entries: Sequence[JournalEntry]) -> str:
    return array([f"\\x{one.fingerprint.hex()}" for one in entries if one.fingerprint is not None])


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
