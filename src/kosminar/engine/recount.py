"""What must be stored of one customer, made from what the journal accepted alone, and what differs.

Replays a customer's order through core/decide.py, from nothing, each number at its instant and under its definitions,
and makes every row that the writer would have written, to the last column. Of a period's end the journal says whose
group ended and when it was settled; the replay decides what it must have brought. Everything found is reported; a row
that makes no sense is a difference, never an exception. Reads nothing itself; engine/auditor.py does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import Any, Final

from msgspec.structs import asdict

from kosminar.core.account import Account, Entry
from kosminar.core.activity import Activity
from kosminar.core.amount import decimal_of
from kosminar.core.counter import Counters
from kosminar.core.decide import Enrol, UnEnrol, settle
from kosminar.core.event import EventName
from kosminar.core.fact import Fact
from kosminar.core.ledger import Report
from kosminar.core.reward import may_report
from kosminar.engine.catalogue import Definitions
from kosminar.engine.difference import Difference, Telling
from kosminar.engine.recount_notifications import of_notifications, reward_of_notification
from kosminar.engine.recount_standings import Recounted, of_standings
from kosminar.store import facts, journal
from kosminar.store.journal import StoredEntry
from kosminar.store.recount import (
    CustomerRow,
    NotificationRow,
    OrganisationState,
    Place,
    RewardRow,
    StandingRows,
)
from kosminar.store.rewards import points_and_text

LABELS: Final = {
    journal.ACTIVITY: "activity",
    journal.ENROL: "command",
    journal.UN_ENROL: "command",
    journal.REPORT: "reward's report",
    journal.PERIOD_END: "period end",
}


@dataclass(slots=True)
class Stored:
    """Everything that is stored of one customer, in one snapshot."""

    customer: CustomerRow
    journal: list[StoredEntry] = field(default_factory=list)
    # By target group id.
    standings: dict[int, StandingRows] = field(default_factory=dict)
    rewards: dict[Place, RewardRow] = field(default_factory=dict)
    notifications: list[NotificationRow] = field(default_factory=list)


def differences(definitions: Definitions, state: OrganisationState, stored: Stored) -> list[Difference]:
    """Everything in which one customer's rows are not what the journal makes of them."""
    telling = Telling(definitions.by_target, stored.customer)
    try:
        replay = _Replay(definitions, stored)
        return [
            *_of_order(telling, definitions, stored),
            *_of_customer(telling, state, stored),
            *_of_content(telling, stored),
            *_of_unknown_targets(telling, definitions, stored),
            *of_standings(telling, definitions.by_group, state, replay.recounted(), stored.standings),
            *_of_rewards(telling, replay.rewards(), stored.rewards),
            *_of_what_it_brought(telling, replay, stored),
            *of_notifications(telling, state, stored.notifications, replay.account.ledger),
            *_of_period_ends(telling, replay, state),
        ]
    except Exception as error:  # noqa: BLE001 -- Whatever nonsense is stored, the audit goes on with the next customer.
        return [telling.of("recount", {"error": "none"}, {"error": f"{type(error).__name__}: {error}"})]


def count(definitions: Definitions, stored: Stored, counters: Counters) -> None:
    """Add what one customer's journal moved. What makes no sense moves nothing."""
    # Whatever nonsense is stored, `differences` tells of it.
    with suppress(Exception):
        _Replay(definitions, stored, counters)


# ---------------------------------------------------------------- what should be


class _Replay:
    """A customer's order, lived again."""

    def __init__(self, definitions: Definitions, stored: Stored, counters: Counters | None = None) -> None:
        self.definitions = definitions
        self._counters = counters
        # Who is to hand a reward over is told so in the transaction that earns it: the notification says that somebody
        # was, and not the ledger, which is what is recounted.
        self._handed_over = {
            key
            for notification in stored.notifications
            if notification.name == EventName.REWARD_ISSUED
            and (key := reward_of_notification(stored.customer, notification)) is not None
        }
        self.account = Account(0, stored.customer.created_at, handed_over=lambda key: key in self._handed_over)
        # By target group id: the version of the definitions under which it changed last.
        self.versions: dict[int, int] = {}
        # What each number brought; a number that brings nothing has none, unless it is an activity's.
        self.entries: dict[int, Entry] = {}
        for one in stored.journal:
            self.account.number, self.account.at = one.number - 1, one.at
            entry = self._live(one)
            if entry is not None:
                self._keep(entry, one)

    def _live(self, one: StoredEntry) -> Entry | None:
        match one.cause:
            case Activity():
                heard = self.definitions.hearing(one.cause.type, one.definitions_version)
                return self.account.accept(one.cause, heard)
            case Enrol() | UnEnrol():
                programme = self.definitions.of_target(one.cause.target_id, one.definitions_version)
                return None if programme is None else self.account.command(one.cause, programme)[1]
            case Report():
                return self._report(one.cause)
            case None:
                newest = None if one.target_group_id is None else self.definitions.by_group.get(one.target_group_id)
                programme = None if newest is None else newest.as_of(one.definitions_version)
                return None if programme is None else self.account.settle(programme)

    def _report(self, report: Report) -> Entry | None:
        """A report of what was never given, or not in that state, moves nothing."""
        reward = self.account.ledger.get(report.key)
        programme = self.definitions.by_target.get(report.key.target_id)
        if programme is None or reward is None or not may_report(reward.state, report.outcome):
            return None
        return self.account.report(report, programme)

    def _keep(self, entry: Entry, one: StoredEntry) -> None:
        self.entries[entry.number] = entry
        if self._counters is not None:
            self._counters.add(entry)
        if entry.moves_standings:
            for change in entry.changes:
                self.versions[change.programme.target_group_id] = one.definitions_version

    def recounted(self) -> dict[int, Recounted]:
        """The standings to which something happened, by target group id."""
        return {
            group_id: Recounted(self.account.standings[group_id], version)
            for group_id, version in self.versions.items()
        }

    def rewards(self) -> dict[Place, RewardRow]:
        """Every reward that must be there."""
        return {
            Place("reward", key.target_id, tuple(key)[1:]): RewardRow(
                reward.kind.value,
                *points_and_text(reward.value),
                reward.allocation.value,
                reward.state.value,
                reward.reason,
                reward.earned_at,
                reward.sequence,
                reward.handed_over,
            )
            for key, reward in self.account.ledger.items()
        }


# ---------------------------------------------------------------- what differs


def _of_order(telling: Telling, definitions: Definitions, stored: Stored) -> Iterator[Difference]:
    """The customer's numbers: none left out, and time and definitions never run backwards."""
    at, version, previous = stored.customer.created_at, 0, 0
    for one in stored.journal:
        if one.at < at:
            yield telling.of(_label(one), {"at": at, "or later": True}, {"at": one.at})
        at = max(at, one.at)
        if not version <= one.definitions_version <= definitions.version:
            allowed = {"definitions_version": version, "to": definitions.version}
            yield telling.of(_label(one), allowed, {"definitions_version": one.definitions_version})
        version = max(version, one.definitions_version)
        if one.number != previous + 1:
            last = one.number - 1
            missing = f"number {last}" if last == previous + 1 else f"numbers {previous + 1} to {last}"
            expected = {"one of": sorted(set(LABELS.values()))}
            yield telling.of(f"{missing} of the customer's order", expected, None)
        previous = one.number


def _label(one: StoredEntry) -> str:
    said = f" {one.cause.activity_id!r}" if isinstance(one.cause, Activity) else ""
    return f"{LABELS[one.kind]}{said}, number {one.number}"


def _of_customer(telling: Telling, state: OrganisationState, stored: Stored) -> Iterator[Difference]:
    """The customer's own row: the last number, and when the customer last changed.

    A completed period is told of without a number of its own.
    """
    customer = stored.customer
    last = stored.journal[-1].number if stored.journal else 0
    if customer.sequence != last:
        yield telling.of("customer", {"sequence": last}, {"sequence": customer.sequence})
    ats = (*(one.at for one in stored.journal), *(notification.at for notification in stored.notifications))
    changed_at = max(ats, default=customer.created_at)
    if customer.changed_at != changed_at:
        yield telling.of("customer", {"changed_at": changed_at}, {"changed_at": customer.changed_at})
    elif state.test_clock and customer.changed_at > state.clock_at:
        yield telling.of(
            "customer", {"changed_at": state.clock_at, "or earlier": True}, {"changed_at": customer.changed_at}
        )


def _of_content(telling: Telling, stored: Stored) -> Iterator[Difference]:
    """What was said is what its fingerprint was made of; an activity was not ahead of the clock, and is the first."""
    for one in stored.journal:
        if not isinstance(one.cause, Activity | Report):
            continue
        fingerprint = one.cause.fingerprint()
        if fingerprint != one.fingerprint:
            kept = None if one.fingerprint is None else one.fingerprint.hex()
            expected = {"fingerprint of its content": kept}
            yield telling.of(_label(one), expected, {"fingerprint of its content": fingerprint.hex()})
        if isinstance(one.cause, Activity):
            if one.entry != journal.FIRST_ENTRY:
                yield telling.of(_label(one), {"entry": journal.FIRST_ENTRY}, {"entry": one.entry})
            if one.cause.in_the_future(one.at):
                expected_at = {"occurred_at": one.at, "or earlier": True}
                yield telling.of(_label(one), expected_at, {"occurred_at": one.cause.occurred_at})


def _of_unknown_targets(telling: Telling, definitions: Definitions, stored: Stored) -> Iterator[Difference]:
    """What names a target that there was not, and may have done nothing that would show it."""
    foreign = "of a target that the organisation does not have"
    for one in stored.journal:
        if isinstance(one.cause, Enrol | UnEnrol):
            target_id = one.cause.target_id
            if definitions.of_target(target_id, one.definitions_version) is None:
                found = {"target_id": target_id, "definitions_version": one.definitions_version}
                yield telling.of(f"{_label(one)}, {foreign}", None, found, target_id=target_id)
    for notification in stored.notifications:
        if notification.target_id not in definitions.by_target:
            what = f"notification {notification.number} ({notification.name}), {foreign}"
            yield telling.of(what, None, {"target_id": notification.target_id}, target_id=notification.target_id)


def _of_rewards(
    telling: Telling, expected: Mapping[Place, RewardRow], found: Mapping[Place, RewardRow]
) -> Iterator[Difference]:
    if expected == found:
        return
    for place in sorted(expected.keys() | found.keys()):
        wanted, is_there = expected.get(place), found.get(place)
        if wanted != is_there:
            yield telling.of_row(telling.named(place), wanted, is_there, target_id=place.target_id)


def _of_what_it_brought(telling: Telling, replay: _Replay, stored: Stored) -> Iterator[Difference]:
    """Each number brought just its facts and verdicts; only an activity may take a number and bring nothing."""
    for one in stored.journal:
        entry = replay.entries.get(one.number)
        if entry is None and one.kind != journal.ACTIVITY:
            yield telling.of(f"{_label(one)}, which brings nothing", None, {"at": one.at, "facts": one.facts})
        expected = () if entry is None else tuple(fact for _, fact in entry.facts())
        if one.facts != facts.write(expected):
            yield from _of_facts(telling, one, expected)
        if one.verdicts is not None:
            verdicts = facts.write_verdicts(() if entry is None else entry.judgements)
            if one.verdicts != verdicts:
                yield telling.of(_label(one), {"verdicts": verdicts}, {"verdicts": one.verdicts})


def _of_facts(telling: Telling, one: StoredEntry, expected: Sequence[Fact]) -> Iterator[Difference]:
    try:
        found = tuple(facts.read(one.facts, reason=one.reason))
    except facts.FactsDamaged as error:
        yield telling.of(f"facts of {_label(one)}", {"fault": "none"}, {"fault": str(error)})
        return
    if found == tuple(expected):
        yield telling.of(f"facts of {_label(one)}", {"text": facts.write(expected)}, {"text": one.facts})
    for ordinal, (wanted, is_there) in enumerate(zip_longest(expected, found)):
        if wanted != is_there:
            known = wanted or is_there
            assert known is not None, "a place is on one of the two sides"
            sides = [None if fact is None else _fields(fact) for fact in (wanted, is_there)]
            what = f"fact {one.number}.{ordinal} ({known.name})"
            yield telling.of(what, *_differing(*sides), target_id=known.target_id)


def _fields(fact: Fact) -> dict[str, Any]:
    """The name and every field of a fact, with its values as decimals."""
    kept = {"name": fact.name.value, **asdict(fact)}
    for name in ("amount", "value", "points"):
        if kept.get(name) is not None:
            kept[name] = decimal_of(kept[name])
    return kept


def _differing(
    expected: dict[str, Any] | None, found: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Of two the fields that differ; of one alone all of it."""
    if expected is None or found is None:
        return expected, found
    names = [name for name in expected | found if expected.get(name, ...) != found.get(name, ...)]
    return {name: expected.get(name) for name in names}, {name: found.get(name) for name in names}


def _of_period_ends(telling: Telling, replay: _Replay, state: OrganisationState) -> Iterator[Difference]:
    """Everything due up to the instant that is noted as settled must have been worked, by the definitions of then."""
    for newest in replay.definitions.by_group.values():
        programme = newest.as_of(state.settled_version)
        overdue = [] if programme is None else settle(programme, replay.account.standing(newest), state.settled_at)[1]
        by_target = groupby(overdue, key=lambda fact: fact.target_id)
        for target_id, due in by_target:
            names = [f"{fact.name} at {fact.at.isoformat()}" for fact in due]
            yield telling.of("period end not worked", {"facts": names}, None, target_id=target_id)
