"""What must be stored of one customer, made from the accepted commands, activities and reports alone, and what differs.

Replays a customer's order through core/decide.py, from nothing, under the definitions that each command met, and makes
every row that the writer would have written, to the last column. A period end is no accepted command: the trail says
under which number it was worked, and the replay decides what it must have brought. Whatever it finds, it reports; a
row that makes no sense is a difference, never an exception. Reads nothing itself; engine/auditor.py does.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from kosminar.core import milestone, streak
from kosminar.core.amount import decimal_of
from kosminar.core.decide import decide, settle
from kosminar.core.event import EventName
from kosminar.core.fact import Fact
from kosminar.core.notification import key_of_reward
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardKey, may_report
from kosminar.core.standing import Run, Standing
from kosminar.engine.batch import LEDGER_FACTS, report_fact, reward_of
from kosminar.engine.difference import Difference, Telling
from kosminar.engine.recount_notifications import of_notifications, reward_of_notification
from kosminar.store.activities import AcceptedActivity
from kosminar.store.commands import AcceptedCommand
from kosminar.store.facts import RecordedFact
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
from kosminar.store.rewards import AcceptedReport, Reward, points_and_text
from kosminar.store.standings import Edition

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
        self.newest = {programme.target.target_id: programme for programme in programmes}
        self._heard: dict[tuple[str, int], tuple[Programme, ...]] = {}

    def of_target(self, target_id: int, version: int) -> Programme | None:
        programme = self.newest.get(target_id)
        return None if programme is None else programme.as_of(version)

    def hearing(self, activity_type: str, version: int) -> tuple[Programme, ...]:
        """Those that listen to it, in the order in which a batch judges them."""
        key = (activity_type, min(version, self.version))
        heard = self._heard.get(key)
        if heard is None:
            listening = (p for _, p in sorted(self.newest.items()) if p.target.measure.hears == activity_type)
            heard = tuple(p for programme in listening if (p := programme.as_of(version)) is not None)
            self._heard[key] = heard
        return heard


def differences(definitions: Definitions, state: OrganisationState, stored: Stored) -> list[Difference]:
    """Everything in which one customer's rows are not what the accepted commands and activities make of them."""
    telling = Telling(definitions.newest, stored.customer)
    try:
        replay = _Replay(definitions, stored)
        return [
            *_of_order(telling, replay, definitions, stored),
            *_of_customer(telling, replay, state, stored),
            *_of_content(telling, stored),
            *_of_rows(telling, replay.rows(state, stored.rows), stored.rows),
            *_of_facts(telling, replay.facts, stored.facts),
            *of_notifications(telling, state, stored.notifications, replay.rewards),
            *_of_period_ends(telling, replay, state),
        ]
    except Exception as error:  # noqa: BLE001 -- Whatever nonsense is stored, the audit goes on with the next customer.
        return [telling.of("recount", {"error": "none"}, {"error": f"{type(error).__name__}: {error}"})]


# ---------------------------------------------------------------- what should be


@dataclass(slots=True)
class _Account:
    """One customer in one target. `version` is of the definitions under which it changed last, None at a period end."""

    programme: Programme
    standing: Standing
    changed_at: datetime
    version: int | None


class _Step(NamedTuple):
    """A number of the customer's order, when it was, and under which version of the definitions if that is known."""

    sequence: int
    told: str
    at: datetime
    version: int | None


class _Replay:
    """A customer's order, lived again."""

    def __init__(self, definitions: Definitions, stored: Stored) -> None:
        self._definitions = definitions
        # Who is to hand a reward over is told so in the transaction that earns it: the notification says that somebody
        # was, and not the ledger, which is what is recounted.
        self._handed_over = {
            key
            for notification in stored.notifications
            if notification.name == EventName.REWARD_ISSUED
            and (key := reward_of_notification(stored.customer, notification)) is not None
        }
        self.accounts: dict[int, _Account] = {}
        self.facts: dict[tuple[int, int], RecordedFact] = {}
        self.rewards: dict[RewardKey, Reward] = {}
        self.steps: list[_Step] = []
        self._fact_count: Counter[int] = Counter()
        accepted: dict[int, list[Accepted]] = defaultdict(list)
        for one in stored.accepted:
            accepted[one.sequence].append(one)
        recorded: dict[int, list[RecordedFact]] = defaultdict(list)
        for fact in stored.facts:
            recorded[fact.sequence].append(fact)
        for sequence in sorted(accepted.keys() | recorded.keys()):
            for one in accepted.get(sequence, ()):
                self._accept(one)
            if sequence not in accepted:
                self._work_period_ends(sequence, recorded[sequence])

    def _accept(self, one: Accepted) -> None:
        version: int | None = None
        match one:
            case AcceptedActivity():
                told, version = f"activity {one.activity.activity_id!r}", one.definitions_version
                for programme in self._definitions.hearing(one.activity.type, version):
                    # Programmes that have no period there have nothing to say.
                    period = programme.window.period_at(one.activity.occurred_at, None)
                    if period is not None and not programme.deactivated(one.at):
                        self._decide(programme, one.activity, one)
            case AcceptedCommand():
                told, version = "command", one.definitions_version
                commanded = self._definitions.of_target(one.target_id, version)
                if commanded is not None:
                    self._decide(commanded, one.command, one)
            case AcceptedReport():
                told = "reward's report"
                self._report(one)
        self.steps.append(_Step(one.sequence, told, one.at, version))

    def _decide(self, programme: Programme, command: Any, one: AcceptedActivity | AcceptedCommand) -> None:
        new = decide(programme, self._standing(programme), command, one.at).facts
        self._happen(programme, new, one.sequence, at=one.at, version=one.definitions_version)

    def _report(self, report: AcceptedReport) -> None:
        """Moves the reward and nothing else; a report of what was never given, or not in that state, moves nothing."""
        reward = self.rewards.get(report.key)
        programme = self._definitions.newest.get(report.key.target_id)
        if programme is None or reward is None or not may_report(reward.state, report.outcome):
            return
        self.rewards[report.key] = replace(reward, state=report.outcome, reason=report.reason)
        fact = report_fact(programme, report.key, report.outcome, report.reason, report.at)
        self._keep([fact], programme, report.sequence)

    def _standing(self, programme: Programme) -> Standing:
        account = self.accounts.get(programme.target.target_id)
        return Standing.untouched(streak=programme.streak) if account is None else account.standing

    def _work_period_ends(self, sequence: int, recorded: Sequence[RecordedFact]) -> None:
        """A number that nobody's command or activity has is a period end's, of one target.

        Its instant is not kept; what fell due later than its latest fact was not worked under this number.
        """
        at = max(fact.at for fact in recorded)
        self.steps.append(_Step(sequence, PERIOD_END, at, None))
        for target_id in dict.fromkeys(fact.target_id for fact in recorded):
            newest = self._definitions.newest.get(target_id)
            if newest is None:
                continue
            latest = max(fact.at for fact in recorded if fact.target_id == target_id)
            due = self._due(newest, sequence, recorded, latest)
            self._happen(newest, due, sequence, at=latest, version=None)

    def _due(self, newest: Programme, sequence: int, recorded: Sequence[RecordedFact], at: datetime) -> Sequence[Fact]:
        """A programme may have been deactivated at the very instant of a period end: before it, or after."""
        standing = self._standing(newest)
        due = settle(newest, standing, at)
        if newest.deactivated_version is not None:
            active = newest.as_of(newest.deactivated_version - 1)
            earlier = [] if active is None else settle(active, standing, at)
            if earlier != due and list(self._recorded(newest, earlier, sequence)) == list(recorded):
                return earlier
        return due

    def _recorded(self, programme: Programme, new: Iterable[Fact], sequence: int) -> Iterator[RecordedFact]:
        for ordinal, fact in enumerate(new, start=self._fact_count[sequence]):
            yield RecordedFact.of(fact, programme, sequence=sequence, ordinal=ordinal)

    def _happen(
        self, programme: Programme, new: Sequence[Fact], sequence: int, *, at: datetime, version: int | None
    ) -> None:
        if not new:
            return
        target_id = programme.target.target_id
        newest = self._definitions.newest[target_id]
        standing = self._standing(programme).after(new)
        self.accounts[target_id] = _Account(newest, standing, at, version)
        self._keep(new, programme, sequence)
        for fact in new:
            if fact.name in LEDGER_FACTS:
                hands_over = key_of_reward(fact, programme) in self._handed_over
                reward = reward_of(fact, programme, sequence=sequence, hands_over=hands_over)
                self.rewards[reward.key] = reward

    def _keep(self, new: Sequence[Fact], programme: Programme, sequence: int) -> None:
        for recorded in self._recorded(programme, new, sequence):
            self.facts[sequence, recorded.ordinal] = recorded
        self._fact_count[sequence] += len(new)

    def rows(self, state: OrganisationState, found: Mapping[Place, StoredRow]) -> dict[Place, StoredRow]:
        """Every row that must be there; `found` decides only where two are right."""
        rows: dict[Place, StoredRow] = {}
        for target_id, account in self.accounts.items():
            programme, standing = account.programme, account.standing
            for number, stretch in enumerate(standing.stretches, start=1):
                rows[Place("enrolment", target_id, (number,))] = EnrolmentRow(
                    stretch.method.value, stretch.starts_at, stretch.ends_at, stretch.first_period_number
                )
            for (number, run_number), progress in standing.progress.items():
                place = Place("progress", target_id, (programme.period_id(number), run_number))
                rows[place] = ProgressRow(
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
            for run in standing.runs:
                place = Place("streak", target_id, (run.number,))
                watched = _watched(account, run, state, found.get(place))
                reached = tuple(sorted(run.reached))
                rows[place] = StreakRow(run.starts_at, run.ends_at, run.met, reached, run.broken_number, watched)
        for key, reward in self.rewards.items():
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


def _watched(account: _Account, run: Run, state: OrganisationState, found: StoredRow | None) -> int | None:
    """The period whose end the closer must look at.

    When a programme is deactivated, nothing is written of its customers until the closer comes by: until then the
    period that was watched before is right as well.
    """
    programme = account.programme
    watched = streak.next_break(programme, account.standing, run, account.changed_at)
    number = None if watched is None else watched.number
    stored = found.watch_number if isinstance(found, StreakRow) else None
    if programme.deactivated_version is None or stored in (None, number):
        return number
    active = programme.as_of(programme.deactivated_version - 1)
    if active is None or (account.version is not None and account.version >= programme.deactivated_version):
        return number
    before = streak.next_break(active, account.standing, run, account.changed_at)
    if before is None or before.number != stored:
        return number
    looked_at = before.due_at <= state.settled_at and state.settled_version >= programme.deactivated_version
    return number if looked_at else stored


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
    for target_id, account in replay.accounts.items():
        programme = account.programme.as_of(state.settled_version)
        overdue = [] if programme is None else settle(programme, account.standing, state.settled_at)
        if overdue:
            names = [f"{fact.name} at {fact.at.isoformat()}" for fact in overdue]
            yield telling.of("period end not worked", {"facts": names}, None, target_id=target_id)
