"""One batch: lock, load, decide, save, in one transaction, for any number of customers and organisations.

The order of the house's one way in is the order of this file. A refusal is one caller's outcome and never the batch's
failure. Requests of one customer are decided in the order in which they came, each seeing what the one before did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from kosminar.core.activity import Activity
from kosminar.core.clock import clock_now
from kosminar.core.decide import Decision, Enrol, Verdict, covered_from, decide, settle
from kosminar.core.errors import Code
from kosminar.core.event import EventName, event_id, sealed
from kosminar.core.fact import Fact, FactName, reward_fact
from kosminar.core.notification import Cause, Notice, key_of_reward, notices, period_completed
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardKey, RewardState, may_report
from kosminar.core.standing import Standing
from kosminar.core.webhook import DELIVERED_WITHIN
from kosminar.engine.catalogue import Catalogue, Catalogues
from kosminar.engine.change import (
    ActivityOutcome,
    EnrolmentChange,
    EnrolmentOutcome,
    KeptOutcome,
    Outcome,
    ReportOutcome,
    Request,
    RewardReport,
    Settlement,
    SettlementOutcome,
    Status,
)
from kosminar.store import activities, idempotency, notifications, rewards, saving, standings
from kosminar.store.activities import AcceptedActivity
from kosminar.store.commands import AcceptedCommand
from kosminar.store.facts import RecordedFact
from kosminar.store.idempotency import IdempotencyKey
from kosminar.store.notifications import Notification, Posted
from kosminar.store.programmes import definitions_key
from kosminar.store.queries import Connection
from kosminar.store.rewards import AcceptedReport, Reward, RewardGivenTwice
from kosminar.store.standings import ChangedStanding, CustomerKey, LockedCustomer, StandingKey
from kosminar.store.turns import each_in_turns

Wall = Callable[[], datetime]


class ResultKept(Exception):
    """The same request was worked meanwhile, for a customer whom nobody could lock yet: what it came to counts."""


async def work(
    connection: Connection,
    requests: Sequence[Request],
    *,
    wall: Wall,
    catalogues: Catalogues,
    posted: Callable[[], None],
) -> list[Outcome]:
    """The outcomes, in the order of the requests, durable when this returns; `posted` hears of new deliveries."""
    async with connection.transaction():
        batch = await _lock(connection, requests, wall=wall, catalogues=catalogues)
        await _load(connection, batch, requests)
        # Others run meanwhile, and share nothing with the batch but catalogues, which never change.
        outcomes = await each_in_turns(lambda request: _decide(batch, request), requests)
        await _save(connection, batch)
    if batch.posted:
        posted()
    return outcomes


@dataclass(slots=True)
class _Customer:
    """A locked customer while the batch works on it."""

    sequence: int
    notification_number: int
    at: datetime
    changed: bool = False


@dataclass(slots=True)
class _Batch:
    """Everything a batch has locked and loaded, and what it has to save."""

    wall: datetime
    generation: int
    catalogues: Mapping[int, Catalogue]
    clocks: Mapping[int, datetime]
    customers: Mapping[CustomerKey, _Customer]
    programmes: dict[StandingKey, Programme] = field(default_factory=dict)
    loaded: Mapping[StandingKey, Standing] = field(default_factory=dict)
    current: dict[StandingKey, Standing] = field(default_factory=dict)
    fingerprints: dict[tuple[CustomerKey, str], bytes] = field(default_factory=dict)
    ledger: dict[tuple[CustomerKey, RewardKey], Reward] = field(default_factory=dict)
    completed: set[tuple[CustomerKey, int, int]] = field(default_factory=set)
    kept: dict[tuple[IdempotencyKey, int], str] = field(default_factory=dict)
    commands: list[AcceptedCommand] = field(default_factory=list)
    activities: list[AcceptedActivity] = field(default_factory=list)
    facts: list[tuple[CustomerKey, RecordedFact]] = field(default_factory=list)
    rewards: dict[tuple[CustomerKey, RewardKey], Reward] = field(default_factory=dict)
    reports: list[AcceptedReport] = field(default_factory=list)
    moved: dict[tuple[CustomerKey, RewardKey], Reward] = field(default_factory=dict)
    posted: list[Posted] = field(default_factory=list)
    results: list[tuple[IdempotencyKey, int, str]] = field(default_factory=list)
    stale: set[StandingKey] = field(default_factory=set)


# ---------------------------------------------------------------- lock


async def _lock(connection: Connection, requests: Sequence[Request], *, wall: Wall, catalogues: Catalogues) -> _Batch:
    """Hold the definitions and clocks of the organisations, then the customers; only then is it known what time it is."""
    organisation_ids = {request.organisation_id for request in requests}
    await standings.hold(connection, map(definitions_key, organisation_ids))
    wanted = {request.customer for request in requests}
    locked, clocks = await standings.lock(connection, wanted, clocks_of=organisation_ids)
    now = wall()
    known = {o: await catalogues.get(connection, o, clock.edition) for o, clock in clocks.items()}
    instants = {
        o: clock_now(test_clock=clock.test_clock, clock_at=clock.clock_at, wall=now) for o, clock in clocks.items()
    }
    customers = {
        # A customer's own time never runs backwards, whatever the machines' clocks do.
        key: _Customer(
            customer.sequence, customer.notification_number, max(instants[key.organisation_id], customer.changed_at)
        )
        for key, customer in locked.items()
    }
    # Where no organisation is known, no customer is, and nothing is written.
    generation = max((clock.generation for clock in clocks.values()), default=0)
    return _Batch(wall=now, generation=generation, catalogues=known, clocks=instants, customers=customers)


# ---------------------------------------------------------------- load


async def _load(connection: Connection, batch: _Batch, requests: Sequence[Request]) -> None:
    """What the requests may touch: standings with the periods concerned, and what was seen, told and kept before."""
    wanted: dict[StandingKey, tuple[Programme, set[int]]] = {}
    for request in requests:
        customer = request.customer
        if customer not in batch.customers:
            continue
        for programme, period in _touched(batch, request, batch.customers[customer].at):
            _, period_ids = wanted.setdefault(StandingKey(customer, programme.target.target_id), (programme, set()))
            if period is not None:
                period_ids.add(programme.period_id(period.number))
    batch.programmes = {key: programme for key, (programme, _) in wanted.items()}
    if wanted:
        batch.loaded = await standings.load_standings(connection, wanted)
        batch.current = dict(batch.loaded)
    ids = {
        (request.customer, request.change.activity_id) for request in requests if isinstance(request.change, Activity)
    }
    if ids:
        batch.fingerprints = await activities.list_known(connection, ids)
    reported = {
        (request.customer, request.change.key) for request in requests if isinstance(request.change, RewardReport)
    }
    if reported:
        batch.ledger = await rewards.list_by_key(connection, reported)
    ended = {completion for request in requests if (completion := _completion(batch, request)) is not None}
    if ended:
        batch.completed = await notifications.list_completed(connection, ended)
    kept = {(request.kept.key, request.kept.number) for request in requests if request.kept is not None}
    if kept:
        batch.kept = await idempotency.list_results(connection, kept)


def _touched(batch: _Batch, request: Request, at: datetime) -> list[tuple[Programme, Period | None]]:
    """The programmes a request concerns, each with the period it may write."""
    catalogue = batch.catalogues[request.organisation_id]
    change = request.change
    if isinstance(change, Activity):
        return [
            (programme, period)
            for programme in catalogue.by_activity_type.get(change.type, ())
            if (period := programme.window.period_at(change.occurred_at, None)) is not None
            and not programme.deactivated(at)
        ]
    if isinstance(change, Settlement):
        settled = catalogue.by_target.get(change.target_id)
        if settled is None:
            return []
        return [(settled, None if change.completed_number is None else settled.period(change.completed_number))]
    if isinstance(change, RewardReport):
        return []
    named = catalogue.by_group.get(change.target_group_id)
    if named is None or named.target.target_id != change.target_id:
        return []
    return [(named, covered_from(named, change.command, at) if isinstance(change.command, Enrol) else None)]


def _completion(batch: _Batch, request: Request) -> tuple[CustomerKey, int, int] | None:
    """The (customer, target id, period id) that is to be told of as completed, if this request asks for it."""
    if not isinstance(request.change, Settlement) or request.change.completed_number is None:
        return None
    programme = batch.catalogues[request.organisation_id].by_target.get(request.change.target_id)
    if programme is None:
        return None
    return request.customer, programme.target.target_id, programme.period_id(request.change.completed_number)


# ---------------------------------------------------------------- decide


def _decide(batch: _Batch, request: Request) -> Outcome:
    """The outcome; where the caller wants it kept, what was kept before counts and nothing is done (decision 6)."""
    if request.kept is None:
        return _outcome(batch, request)
    place = (request.kept.key, request.kept.number)
    if place in batch.kept:
        return KeptOutcome(batch.kept[place])
    outcome = _outcome(batch, request)
    batch.kept[place] = request.kept.render(outcome)
    batch.results.append((*place, batch.kept[place]))
    return outcome


def _outcome(batch: _Batch, request: Request) -> Outcome:
    match request.change:
        case Activity():
            return _accept(batch, request, request.change)
        case EnrolmentChange():
            return _enrolment(batch, request, request.change)
        case Settlement():
            return _settlement(batch, request, request.change)
        case RewardReport():
            return _report(batch, request, request.change)


def _enrolment(batch: _Batch, request: Request, change: EnrolmentChange) -> EnrolmentOutcome:
    """What is missing is reported together; only when all is found does the standing decide (decision 4)."""
    key = request.customer
    missing = _missing(batch, key, change)
    if missing:
        return EnrolmentOutcome(errors=missing)
    programme = batch.catalogues[request.organisation_id].by_group[change.target_group_id]
    customer = batch.customers[key]
    standing_key = StandingKey(key, change.target_id)
    decision = decide(programme, batch.current[standing_key], change.command, customer.at)
    if not decision.facts:
        return EnrolmentOutcome(errors=decision.errors, warnings=() if decision.errors else decision.warnings)
    sequence = _next_sequence(customer)
    batch.commands.append(
        AcceptedCommand(
            customer=key,
            sequence=sequence,
            target_id=change.target_id,
            command=change.command,
            definitions_version=batch.catalogues[request.organisation_id].version,
            at=customer.at,
            asked_by=change.asked_by,
        )
    )
    cause = Cause(key.organisation_id, key.customer_id, asked_by=change.asked_by)
    recorded = _record(batch, request, [(standing_key, decision.facts)], sequence, cause)
    return EnrolmentOutcome(warnings=decision.warnings, facts=recorded)


def _missing(batch: _Batch, key: CustomerKey, change: EnrolmentChange) -> tuple[Code, ...]:
    catalogue = batch.catalogues.get(key.organisation_id)
    programme = None if catalogue is None else catalogue.by_group.get(change.target_group_id)
    customer = batch.customers.get(key)
    missing = set()
    if customer is None:
        missing.add(Code.UNKNOWN_CUSTOMER)
    if programme is None:
        return tuple(sorted({*missing, Code.UNKNOWN_TARGET_GROUP, Code.UNKNOWN_TARGET}))
    if programme.deactivated_at is not None:
        missing.add(Code.UNKNOWN_TARGET_GROUP)
    if programme.target.target_id != change.target_id:
        missing.add(Code.UNKNOWN_TARGET)
    if isinstance(change.command, Enrol):
        at = customer.at if customer is not None else batch.clocks[key.organisation_id]
        if covered_from(programme, change.command, at) is None:
            missing.add(Code.UNKNOWN_PERIOD)
    return tuple(sorted(missing))


def _accept(batch: _Batch, request: Request, activity: Activity) -> ActivityOutcome:
    """Recorded for ever unless rejected; then each programme that hears it judges it once (decisions 12, 20, 21)."""
    key = request.customer
    customer = batch.customers.get(key)
    if customer is None:
        return ActivityOutcome(Status.REJECTED, Code.UNKNOWN_CUSTOMER)
    if activity.in_the_future(customer.at):
        return ActivityOutcome(Status.REJECTED, Code.ACTIVITY_IN_THE_FUTURE)
    fingerprint = activity.fingerprint()
    known = batch.fingerprints.get((key, activity.activity_id))
    if known == fingerprint:
        return ActivityOutcome(Status.DUPLICATE)
    if known is not None:
        return ActivityOutcome(Status.REJECTED, Code.ACTIVITY_ID_REUSED)
    decisions = _judge(batch, request, activity, customer.at)
    sequence = _next_sequence(customer)
    batch.fingerprints[key, activity.activity_id] = fingerprint
    version = batch.catalogues[request.organisation_id].version
    batch.activities.append(AcceptedActivity(key, sequence, activity, fingerprint, version, customer.at))
    cause = Cause(key.organisation_id, key.customer_id, activity=activity)
    recorded = _record(batch, request, [(standing_key, d.facts) for standing_key, d in decisions], sequence, cause)
    verdicts = {decision.verdict for _, decision in decisions}
    late = Verdict.TOO_LATE in verdicts and Verdict.COUNTED not in verdicts
    return ActivityOutcome(Status.ACCEPTED, Code.ACTIVITY_TOO_LATE if late else None, recorded)


def _judge(batch: _Batch, request: Request, activity: Activity, at: datetime) -> list[tuple[StandingKey, Decision]]:
    judged = []
    for programme in batch.catalogues[request.organisation_id].by_activity_type.get(activity.type, ()):
        key = StandingKey(request.customer, programme.target.target_id)
        # Where nothing was loaded, there is no period at this instant, or the programme has been deactivated.
        if key in batch.current:
            judged.append((key, decide(programme, batch.current[key], activity, at)))
    return judged


def _settlement(batch: _Batch, request: Request, change: Settlement) -> SettlementOutcome:
    customer_key = request.customer
    key = StandingKey(customer_key, change.target_id)
    programme = batch.programmes.get(key)
    if programme is None:
        return SettlementOutcome()
    cause = Cause(customer_key.organisation_id, customer_key.customer_id)
    recorded: tuple[RecordedFact, ...] = ()
    due = settle(programme, batch.current[key], batch.customers[customer_key].at)
    if due:
        recorded = _record(batch, request, [(key, tuple(due))], _next_sequence(batch.customers[customer_key]), cause)
    elif change.completed_number is None:
        # Nothing happened, but what a period end should look at may have changed: it is written anew.
        batch.stale.add(key)
    _tell_completed(batch, request, cause)
    return SettlementOutcome(recorded)


def _tell_completed(batch: _Batch, request: Request, cause: Cause) -> None:
    """Once for each period, to whoever was in it at its end, whether or not the target was reached (decision 28)."""
    completion = _completion(batch, request)
    wanted = EventName.TARGET_PERIOD_COMPLETED in batch.catalogues[request.organisation_id].subscribers
    if completion is None or not wanted or completion in batch.completed:
        return
    customer_key, target_id, period_id = completion
    key = StandingKey(customer_key, target_id)
    programme, standing = batch.programmes[key], batch.current[key]
    number = programme.period_number(period_id)
    assert number is not None, "a completed period is the programme's"
    period = programme.period(number)
    if standing.enrolled_at_end_of(period) and not programme.cut_short(period):
        batch.completed.add(completion)
        _post(batch, request, [period_completed(programme, standing, period, cause)])


def _report(batch: _Batch, request: Request, report: RewardReport) -> ReportOutcome:
    """What became of a reward moves its row, and nothing else; the same again changes nothing."""
    key = request.customer
    reward = batch.ledger.get((key, report.key))
    programme = batch.catalogues[request.organisation_id].by_target.get(report.key.target_id)
    if reward is None or programme is None:
        return ReportOutcome(errors=(Code.UNKNOWN_REWARD,))
    if not may_report(reward.state, report.outcome):
        return ReportOutcome(errors=(Code.REWARD_NOT_REPORTABLE,), reward=reward)
    overruled = report.automatic and reward.state is RewardState.ISSUED
    if overruled or reward.state is report.outcome:
        return ReportOutcome(reward=reward)
    customer = batch.customers[key]
    sequence = _next_sequence(customer)
    moved = replace(reward, state=report.outcome, reason=report.reason)
    batch.ledger[key, report.key] = batch.moved[key, report.key] = moved
    batch.reports.append(
        AcceptedReport(key, sequence, report.key, report.outcome, report.reason, customer.at, report.reported_by)
    )
    fact = report_fact(programme, report.key, report.outcome, report.reason, customer.at)
    recorded = RecordedFact.of(fact, programme, sequence=sequence, ordinal=0)
    batch.facts.append((key, recorded))
    cause = Cause(key.organisation_id, key.customer_id, asked_by=report.reported_by)
    wanted = batch.catalogues[request.organisation_id].subscribers.keys()
    _post(batch, request, notices(programme, Standing(), [fact], cause, wanted=wanted))
    return ReportOutcome(reward=moved, facts=(recorded,))


def report_fact(programme: Programme, key: RewardKey, outcome: RewardState, reason: str | None, at: datetime) -> Fact:
    """The report of a reward as the audit trail tells it."""
    return reward_fact(
        REPORT_FACTS[outcome],
        programme.reward(key.reward_definition_id),
        at=at,
        run=key.run,
        period_number=programme.period_number(key.period_id),
        level_id=key.level_id or None,
        reason=reason,
    )


REPORT_FACTS: Final = {
    RewardState.ISSUED: FactName.REWARD_ISSUED,
    RewardState.FAILED: FactName.REWARD_FAILED,
    RewardState.REVERSED: FactName.REWARD_REVERSED,
}


def _next_sequence(customer: _Customer) -> int:
    customer.sequence += 1
    customer.changed = True
    return customer.sequence


def _record(
    batch: _Batch,
    request: Request,
    happened: Sequence[tuple[StandingKey, tuple[Fact, ...]]],
    sequence: int,
    cause: Cause,
) -> tuple[RecordedFact, ...]:
    """Fold the facts into the standings and put them, and what follows from them, with what is saved."""
    catalogue = batch.catalogues[request.organisation_id]
    recorded: list[RecordedFact] = []
    for key, new in happened:
        programme, before = batch.programmes[key], batch.current[key]
        batch.current[key] = before.after(new)
        for fact in new:
            recorded.append(RecordedFact.of(fact, programme, sequence=sequence, ordinal=len(recorded)))
            if fact.name in LEDGER_FACTS:
                _give(
                    batch, key.customer, reward_of(fact, programme, sequence=sequence, hands_over=catalogue.hands_over)
                )
        if catalogue.subscribers:
            told = notices(programme, before, new, cause, wanted=catalogue.subscribers.keys())
            _post(batch, request, told)
    batch.facts += [(happened[0][0].customer, fact) for fact in recorded]
    return tuple(recorded)


LEDGER_FACTS: Final = (FactName.REWARD_EARNED, FactName.REWARD_FORFEITED)


def _give(batch: _Batch, customer: CustomerKey, reward: Reward) -> None:
    earlier = batch.rewards.get((customer, reward.key))
    if earlier is not None and earlier.state is not RewardState.FORFEITED:
        raise RewardGivenTwice("two facts of one batch would give the same reward")
    batch.rewards[customer, reward.key] = batch.ledger[customer, reward.key] = reward


def reward_of(fact: Fact, programme: Programme, *, sequence: int, hands_over: bool) -> Reward:
    """The ledger's row for an earned or forfeited reward.

    A reward that nobody is to hand over is issued in the transaction that earned it (decision 27).
    """
    assert fact.reward_definition_id is not None
    definition = programme.reward(fact.reward_definition_id)
    earned = fact.name is FactName.REWARD_EARNED
    handed_over = earned and hands_over
    given = RewardState.PENDING if handed_over else RewardState.ISSUED
    return Reward(
        key=key_of_reward(fact, programme),
        kind=definition.kind,
        value=definition.value,
        allocation=definition.allocation,
        state=given if earned else RewardState.FORFEITED,
        reason=fact.reason,
        earned_at=fact.at,
        sequence=sequence,
        handed_over=handed_over,
    )


# ---------------------------------------------------------------- tell


def _post(batch: _Batch, request: Request, told: Sequence[Notice]) -> None:
    """Number the notices in the customer's order and put them, sealed, into the outbox."""
    key = request.customer
    customer = batch.customers[key]
    subscribers = batch.catalogues[request.organisation_id].subscribers
    for notice in told:
        customer.notification_number += 1
        customer.changed = True
        number = customer.notification_number
        notification = Notification(
            number=number,
            generation=batch.generation,
            name=notice.name.value,
            target_id=notice.target_id,
            period_id=notice.period_id,
            reward_id=notice.reward_id,
            body=sealed(
                notice.name,
                key.organisation_id,
                event_id=event_id(key.organisation_id, key.customer_id, batch.generation, number),
                request_id=request.request_id,
                at=customer.at,
                sequence=number,
                data=notice.data,
            ),
            at=customer.at,
            created_at=batch.wall,
        )
        batch.posted.append(Posted(key, notification, subscribers[notice.name]))


# ---------------------------------------------------------------- save


async def _save(connection: Connection, batch: _Batch) -> None:
    changed = [
        ChangedStanding(
            key,
            batch.programmes[key],
            batch.loaded[key],
            standing,
            batch.customers[key.customer].at,
            stale=key in batch.stale,
        )
        for key, standing in batch.current.items()
        if standing is not batch.loaded[key] or key in batch.stale
    ]
    numbered = {
        key: LockedCustomer(customer.sequence, customer.notification_number, customer.at)
        for key, customer in batch.customers.items()
        if customer.changed
    }
    if numbered or changed:
        await saving.save_batch(
            connection,
            customers=numbered,
            changed=changed,
            commands_accepted=batch.commands,
            activities_accepted=batch.activities,
            facts=batch.facts,
        )
    if batch.rewards:
        await rewards.save(connection, [(customer, reward) for (customer, _), reward in batch.rewards.items()])
    if batch.reports:
        await rewards.save_reports(connection, batch.reports, batch.moved)
    if batch.posted:
        await notifications.insert(
            connection, batch.posted, due_at=batch.wall, expires_at=batch.wall + DELIVERED_WITHIN
        )
    if batch.results and not await idempotency.insert_results(connection, batch.results):
        raise ResultKept
