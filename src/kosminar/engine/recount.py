"""What must be stored of one customer, made from the accepted commands, activities and reports alone, and what differs.

Replays a customer's order through core/decide.py, from nothing, under the definitions that each command met, and makes
every row that the writer would have written, to the last column. A period end is no accepted command: the trail says
under which number it was worked, and the replay decides what it must have brought. Whatever it finds, it reports; a
row that makes no sense is a difference, never an exception. Reads nothing itself; engine/auditor.py does.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias

from kosminar.core import number_set
from kosminar.core.account import Account, Entry
from kosminar.core.counter import Counters
from kosminar.core.decide import settle
from kosminar.core.event import EventName
from kosminar.core.kind import streak
from kosminar.core.ledger import Report
from kosminar.core.period import Period
from kosminar.core.programme import Programme, Target
from kosminar.core.reward import may_report
from kosminar.core.standing import Run, TargetStanding
from kosminar.engine.difference import Difference, Telling
from kosminar.engine.recount_notifications import of_notifications, reward_of_notification
from kosminar.store.activities import AcceptedActivity
from kosminar.store.commands import AcceptedCommand
from kosminar.store.facts import RecordedFact, recorded
from kosminar.store.recount import (
    CustomerRow,
    EnrolmentRow,
    NotificationRow,
    OrganisationState,
    Place,
    ProgressRow,
    RewardRow,
    StoredRow,
    StreakRow,
)
from kosminar.store.rewards import AcceptedReport, points_and_text
from kosminar.store.standings import Edition, progress_columns

Accepted: TypeAlias = AcceptedActivity | AcceptedCommand | AcceptedReport

PERIOD_END: Final = "period end"


@dataclass(slots=True)
class Stored:
    """Everything that is stored of one customer, in one snapshot."""

    customer: CustomerRow
    accepted: list[Accepted] = field(default_factory=list)
    facts: list[RecordedFact] = field(default_factory=list)
    rows: dict[Place, StoredRow] = field(default_factory=dict)
    notifications: list[NotificationRow] = field(default_factory=list)


class Definitions:
    """An organisation's programmes in their newest version and, for the replay, as a command met them."""

    def __init__(self, edition: Edition, programmes: Sequence[Programme]) -> None:
        self.edition = edition
        self.version = edition.version
        self.groups = sorted(programmes, key=lambda programme: programme.targets[0].target_id)
        # In their newest version.
        self.by_group = {programme.target_group_id: programme for programme in self.groups}
        self.by_target = {target.target_id: programme for programme in self.groups for target in programme.targets}
        self._heard: dict[tuple[str, int], tuple[Programme, ...]] = {}

    def of_target(self, target_id: int, version: int) -> Programme | None:
        programme = self.by_target.get(target_id)
        return None if programme is None else programme.as_of(version)

    def hearing(self, activity_type: str, version: int) -> tuple[Programme, ...]:
        """Those that listen to it, in the order in which a batch judges them."""
        key = (activity_type, min(version, self.version))
        heard = self._heard.get(key)
        if heard is None:
            listening = (programme for programme in self.groups if programme.hearing(activity_type))
            heard = tuple(p for programme in listening if (p := programme.as_of(version)) is not None)
            self._heard[key] = heard
        return heard


def differences(definitions: Definitions, state: OrganisationState, stored: Stored) -> list[Difference]:
    """Everything in which one customer's rows are not what the accepted commands and activities make of them."""
    telling = Telling(definitions.by_target, stored.customer)
    try:
        replay = _Replay(definitions, stored)
        return [
            *_of_order(telling, replay, definitions, stored),
            *_of_customer(telling, replay, state, stored),
            *_of_content(telling, stored),
            *_of_unknown_targets(telling, definitions, stored),
            *_of_rows(telling, replay.rows(state, stored.rows), stored.rows),
            *_of_facts(telling, replay.facts, stored.facts),
            *of_notifications(telling, state, stored.notifications, replay.account.ledger),
            *_of_period_ends(telling, replay, state),
        ]
    except Exception as error:  # noqa: BLE001 -- Whatever nonsense is stored, the audit goes on with the next customer.
        return [telling.of("recount", {"error": "none"}, {"error": f"{type(error).__name__}: {error}"})]


def count(definitions: Definitions, stored: Stored, counters: Counters) -> None:
    """Add what one customer's accepted commands and activities moved. What makes no sense moves nothing."""
    # Whatever nonsense is stored, `differences` tells of it.
    with suppress(Exception):
        _Replay(definitions, stored, counters)


# ---------------------------------------------------------------- what should be


class _Step(NamedTuple):
    """A number of the customer's order, when it was, and under which version of the definitions if that is known."""

    sequence: int
    told: str
    at: datetime
    version: int | None


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
        # By target group id: the version of the definitions under which it changed last, None at a period end.
        self.versions: dict[int, int | None] = {}
        self.facts: dict[tuple[int, int], RecordedFact] = {}
        self.steps: list[_Step] = []
        self._fact_count: Counter[int] = Counter()
        accepted: dict[int, list[Accepted]] = defaultdict(list)
        for one in stored.accepted:
            accepted[one.sequence].append(one)
        found: dict[int, list[RecordedFact]] = defaultdict(list)
        for fact in stored.facts:
            found[fact.sequence].append(fact)
        for sequence in sorted(accepted.keys() | found.keys()):
            for one in accepted.get(sequence, ()):
                self._accept(one)
            if sequence not in accepted:
                self._settle(sequence, found[sequence])

    def _accept(self, one: Accepted) -> None:
        account = self._account_at(one.sequence, one.at)
        version: int | None = None
        entry: Entry | None = None
        match one:
            case AcceptedActivity():
                told, version = f"activity {one.activity.activity_id!r}", one.definitions_version
                entry = account.accept(one.activity, self.definitions.hearing(one.activity.type, version))
            case AcceptedCommand():
                told, version = "command", one.definitions_version
                programme = self.definitions.of_target(one.command.target_id, version)
                if programme is not None:
                    _, entry = account.command(one.command, programme)
            case AcceptedReport():
                told = "reward's report"
                entry = self._report(account, one)
        if entry is not None:
            self._keep(entry, version)
        self.steps.append(_Step(one.sequence, told, one.at, version))

    def _report(self, account: Account, report: AcceptedReport) -> Entry | None:
        """A report of what was never given, or not in that state, moves nothing."""
        reward = account.ledger.get(report.key)
        programme = self.definitions.by_target.get(report.key.target_id)
        if programme is None or reward is None or not may_report(reward.state, report.outcome):
            return None
        return account.report(Report(report.key, report.outcome, report.reason), programme)

    def _settle(self, sequence: int, found: Sequence[RecordedFact]) -> None:
        """A number that no command or activity has is a period end's, of one group.

        Its instant is not kept; what fell due later than its latest fact was not settled under this number.
        """
        self.steps.append(_Step(sequence, PERIOD_END, max(fact.at for fact in found), None))
        # By their targets, of which one may be wrong: then its group has nothing due, and the right one is settled.
        latest: dict[int, datetime] = {}
        for fact in found:
            newest = self.definitions.by_target.get(fact.target_id)
            if newest is not None:
                group_id = newest.target_group_id
                latest[group_id] = max(fact.at, latest.get(group_id, fact.at))
        for group_id, at in latest.items():
            newest = self.definitions.by_group[group_id]
            entry = self._account_at(sequence, at).settle(self._as_settled(newest, sequence, found, at))
            if entry is not None:
                self._keep(entry, None)

    def _as_settled(self, newest: Programme, sequence: int, found: Sequence[RecordedFact], at: datetime) -> Programme:
        """A programme may have been deactivated at the very instant of a period end: before it, or after."""
        active = None if newest.deactivated_version is None else newest.as_of(newest.deactivated_version - 1)
        if active is None:
            return newest
        standing = self.account.standing(newest)
        _, due = settle(newest, standing, at)
        _, earlier = settle(active, standing, at)
        first = self._fact_count[sequence]
        told = recorded([(active, fact) for fact in earlier], sequence=sequence, first_ordinal=first)
        return active if list(earlier) != list(due) and list(told) == list(found) else newest

    def _account_at(self, sequence: int, at: datetime) -> Account:
        """The account as it goes into this number."""
        self.account.number, self.account.at = sequence - 1, at
        return self.account

    def _keep(self, entry: Entry, version: int | None) -> None:
        if self._counters is not None:
            self._counters.add(entry)
        if entry.moves_standings:
            for change in entry.changes:
                self.versions[change.programme.target_group_id] = version
        for fact in recorded(entry.facts(), sequence=entry.number, first_ordinal=self._fact_count[entry.number]):
            self.facts[entry.number, fact.ordinal] = fact
        self._fact_count[entry.number] += sum(len(change.facts) for change in entry.changes)

    def rows(self, state: OrganisationState, found: Mapping[Place, StoredRow]) -> dict[Place, StoredRow]:
        """Every row that must be there; `found` decides only where two are right."""
        rows: dict[Place, StoredRow] = {}
        for programme in self.definitions.groups:
            standing = self.account.standing(programme)
            for target, part in zip(programme.targets, standing.targets, strict=True):
                rows.update(self._rows_of_target(programme, target, part, state, found))
        for key, reward in self.account.ledger.items():
            rows[Place("reward", key.target_id, tuple(key)[1:])] = RewardRow(
                reward.kind.value,
                *points_and_text(reward.value),
                reward.allocation.value,
                reward.state.value,
                reward.reason,
                reward.earned_at,
                reward.sequence,
                reward.handed_over,
            )
        return rows

    def _rows_of_target(
        self,
        programme: Programme,
        target: Target,
        part: TargetStanding,
        state: OrganisationState,
        found: Mapping[Place, StoredRow],
    ) -> Iterator[tuple[Place, StoredRow]]:
        for number, stretch in enumerate(part.stretches, start=1):
            yield (
                Place("enrolment", target.target_id, (number,)),
                EnrolmentRow(stretch.method.value, stretch.starts_at, stretch.ends_at, stretch.first_period_number),
            )
        for progress in part.progress:
            place = Place("progress", target.target_id, (programme.period_id(progress.period_number), progress.run))
            yield place, ProgressRow(*progress_columns(target, progress))
        if not (part.stretches or part.progress):
            return
        for run in part.runs:
            place = Place("streak", target.target_id, (run.number,))
            watched = self._watched(programme, part, run, state, found.get(place))
            met = tuple(number_set.numbers_in(run.met))
            yield place, StreakRow(run.starts_at, run.ends_at, met, run.reached, run.broken_number, watched)

    def _watched(
        self,
        programme: Programme,
        part: TargetStanding,
        run: Run,
        state: OrganisationState,
        found: StoredRow | None,
    ) -> int | None:
        """The period whose end the closer must look at.

        When a programme is deactivated, nothing is written of its customers until the closer comes by: until then the
        period that was watched before is right as well.
        """
        number = _number(streak.next_break(programme, part, run))
        stored = found.watch_number if isinstance(found, StreakRow) else None
        if programme.deactivated_version is None or stored in (None, number):
            return number
        active = programme.as_of(programme.deactivated_version - 1)
        version = self.versions.get(programme.target_group_id)
        if active is None or (version is not None and version >= programme.deactivated_version):
            return number
        before = streak.next_break(active, part, run)
        if before is None or before.number != stored:
            return number
        looked_at = before.due_at <= state.settled_at and state.settled_version >= programme.deactivated_version
        return number if looked_at else stored


def _number(period: Period | None) -> int | None:
    return None if period is None else period.number


# ---------------------------------------------------------------- what differs


def _of_order(telling: Telling, replay: _Replay, definitions: Definitions, stored: Stored) -> Iterator[Difference]:
    """The customer's numbers: each taken once, none left out, and time and definitions never run backwards."""
    taken: dict[int, list[str]] = defaultdict(list)
    at, version = stored.customer.created_at, 0
    for step in replay.steps:
        taken[step.sequence].append(step.told)
        what = f"{step.told} {step.sequence}" if step.version is None else f"{step.told}, number {step.sequence}"
        if step.told != PERIOD_END and step.at < at:
            yield telling.of(what, {"at": at, "or later": True}, {"at": step.at})
        at = max(at, step.at)
        if step.version is not None:
            if not version <= step.version <= definitions.version:
                allowed = {"definitions_version": version, "to": definitions.version}
                yield telling.of(what, allowed, {"definitions_version": step.version})
            version = max(version, step.version)
    previous = 0
    for number, told in taken.items():
        if number != previous + 1:
            missing = f"number {previous + 1}" if number == previous + 2 else f"numbers {previous + 1} to {number - 1}"
            expected = {"one of": ["command", "activity", "reward's report", PERIOD_END]}
            yield telling.of(f"{missing} of the customer's order", expected, None)
        if len(told) > 1:
            yield telling.of(f"number {number} of the customer's order", {"taken": "once"}, {"taken": told})
        previous = number


def _of_customer(telling: Telling, replay: _Replay, state: OrganisationState, stored: Stored) -> Iterator[Difference]:
    """The customer's own row: the last number, and when it was taken."""
    customer = stored.customer
    last = replay.steps[-1].sequence if replay.steps else 0
    if customer.sequence != last:
        yield telling.of("customer", {"sequence": last}, {"sequence": customer.sequence})
    changed_at, exact = _changed_at(replay, stored)
    if customer.changed_at != changed_at if exact else customer.changed_at < changed_at:
        expected = {"changed_at": changed_at} if exact else {"changed_at": changed_at, "or later": True}
        yield telling.of("customer", expected, {"changed_at": customer.changed_at})
    elif state.test_clock and customer.changed_at > state.clock_at:
        yield telling.of(
            "customer", {"changed_at": state.clock_at, "or earlier": True}, {"changed_at": customer.changed_at}
        )


def _changed_at(replay: _Replay, stored: Stored) -> tuple[datetime, bool]:
    """When the customer last changed, and whether exactly then: a period end is worked when it is due, or later.

    A completed period is told of without a number of its own.
    """
    ats = (*(step.at for step in replay.steps), *(notification.at for notification in stored.notifications))
    exact = not replay.steps or replay.steps[-1].told != PERIOD_END
    return max(ats, default=stored.customer.created_at), exact


def _of_content(telling: Telling, stored: Stored) -> Iterator[Difference]:
    """What an activity says is what its fingerprint was made of, and was not ahead of the clock."""
    for one in stored.accepted:
        if not isinstance(one, AcceptedActivity):
            continue
        fingerprint = one.activity.fingerprint()
        if fingerprint != one.fingerprint:
            expected = {"fingerprint of its content": one.fingerprint.hex()}
            found = {"fingerprint of its content": fingerprint.hex()}
            yield telling.of(f"activity {one.activity.activity_id!r}", expected, found)
        if one.activity.in_the_future(one.at):
            expected_at = {"occurred_at": one.at, "or earlier": True}
            found_at = {"occurred_at": one.activity.occurred_at}
            yield telling.of(f"activity {one.activity.activity_id!r}", expected_at, found_at)


def _of_unknown_targets(telling: Telling, definitions: Definitions, stored: Stored) -> Iterator[Difference]:
    """What names a target that there was not, and may have done nothing that would show it."""
    foreign = "of a target that the organisation does not have"
    for one in stored.accepted:
        if isinstance(one, AcceptedCommand):
            target_id = one.command.target_id
            if definitions.of_target(target_id, one.definitions_version) is None:
                found = {"target_id": target_id, "definitions_version": one.definitions_version}
                yield telling.of(f"command {one.sequence}, {foreign}", None, found, target_id=target_id)
    for notification in stored.notifications:
        if notification.target_id not in definitions.by_target:
            what = f"notification {notification.number} ({notification.name}), {foreign}"
            yield telling.of(what, None, {"target_id": notification.target_id}, target_id=notification.target_id)


def _of_rows(
    telling: Telling, expected: Mapping[Place, StoredRow], found: Mapping[Place, StoredRow]
) -> Iterator[Difference]:
    if expected == found:
        return
    for place in sorted(expected.keys() | found.keys()):
        wanted, is_there = expected.get(place), found.get(place)
        if wanted != is_there:
            yield telling.of_row(telling.named(place), wanted, is_there, target_id=place.target_id)


def _of_facts(
    telling: Telling, expected: Mapping[tuple[int, int], RecordedFact], recorded: Sequence[RecordedFact]
) -> Iterator[Difference]:
    found = {(fact.sequence, fact.ordinal): fact for fact in recorded}
    if expected == found:
        return
    for place in sorted(expected.keys() | found.keys()):
        wanted, is_there = expected.get(place), found.get(place)
        if wanted != is_there:
            one = wanted or is_there
            assert one is not None, "a place is on one of the two sides"
            what = f"fact {place[0]}.{place[1]} ({one.name})"
            yield telling.of_row(what, wanted, is_there, target_id=one.target_id)


def _of_period_ends(telling: Telling, replay: _Replay, state: OrganisationState) -> Iterator[Difference]:
    """Everything due up to the instant that is noted as settled must have been worked, by the definitions of then."""
    for newest in replay.definitions.groups:
        programme = newest.as_of(state.settled_version)
        overdue = [] if programme is None else settle(programme, replay.account.standing(newest), state.settled_at)[1]
        by_target = groupby(overdue, key=lambda fact: fact.target_id)
        for target_id, facts in by_target:
            names = [f"{fact.name} at {fact.at.isoformat()}" for fact in facts]
            yield telling.of("period end not worked", {"facts": names}, None, target_id=target_id)
