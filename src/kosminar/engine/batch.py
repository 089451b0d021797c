"""One batch: lock, load, decide, save, in one transaction, for any number of customers and organisations.

The order of the house's one way in is the order of this file. A refusal is one caller's outcome and never the batch's
failure. Requests of one customer are decided in the order in which they came, each seeing what the one before did:
core/account.py is one customer's part of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from kosminar.core.account import Account, Entry
from kosminar.core.activity import Activity
from kosminar.core.clock import clock_now
from kosminar.core.counter import Counters
from kosminar.core.decide import Enrol, Verdict, covered_from
from kosminar.core.errors import Code
from kosminar.core.event import EventName
from kosminar.core.idempotency import IdempotencyKey
from kosminar.core.ledger import Report
from kosminar.core.notice.notice import Notice, Trigger
from kosminar.core.notice.wording import notices, period_completed
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.reward import may_report
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
from kosminar.engine.posting import post
from kosminar.engine.retry import Interrupted
from kosminar.store import counters, idempotency, journal, notifications, rewards, saving, standings
from kosminar.store.facts import RecordedFact, recorded
from kosminar.store.journal import JournalEntry, Origin
from kosminar.store.notifications import Posted
from kosminar.store.programmes import definitions_key
from kosminar.store.queries import Connection
from kosminar.store.standings import ChangedStanding, CustomerKey, LoadedStanding, LockedCustomer, StandingKey
from kosminar.turns import each_in_turns

Wall = Callable[[], datetime]


class ResultKept(Interrupted):
    """The same request was worked meanwhile, for a customer whom nobody could lock yet: what it came to counts."""


async def work(
    connection: Connection,
    requests: Sequence[Request],
    *,
    wall: Wall,
    catalogues: Catalogues,
    posted: Callable[[], None],
    joined: bool,
) -> list[Outcome]:
    """The outcomes, in the order of the requests, durable when this returns; `posted` hears of new deliveries.

    `joined`: what is saved is sent as one statement.
    """
    async with connection.transaction():
        batch = await _lock(connection, requests, wall=wall, catalogues=catalogues)
        await _load(connection, batch, requests)
        # Others run meanwhile, and share nothing with the batch but catalogues, which never change.
        outcomes = await each_in_turns(lambda request: _decide(batch, request), requests)
        await _save(connection, batch, joined=joined)
    if batch.posted:
        posted()
    return outcomes


@dataclass(slots=True)
class _Customer:
    """A locked customer while the batch works on it."""

    account: Account
    notification_number: int
    # When a number or a notification was taken last, before this batch.
    changed_at: datetime
    changed: bool = False


class _Completion(NamedTuple):
    """A completed period of a target, of which a customer is to be notified once."""

    customer: CustomerKey
    target_id: int
    period_id: int


@dataclass(slots=True)
class _Batch:
    """Everything a batch has locked and loaded, and what it has to save."""

    wall: datetime
    generation: int
    catalogues: Mapping[int, Catalogue]
    clocks: Mapping[int, datetime]
    customers: Mapping[CustomerKey, _Customer]
    loaded: Mapping[StandingKey, LoadedStanding] = field(default_factory=dict)
    fingerprints: dict[tuple[CustomerKey, str], bytes] = field(default_factory=dict)
    completed: set[_Completion] = field(default_factory=set)
    kept: dict[tuple[IdempotencyKey, int], str] = field(default_factory=dict)
    entries: list[JournalEntry] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    results: list[tuple[IdempotencyKey, int, str]] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)


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
        key: _Customer(
            Account(
                number=customer.sequence,
                # A customer's own time never runs backwards, whatever the machines' clocks do.
                at=max(instants[key.organisation_id], customer.changed_at),
                handed_over=known[key.organisation_id].hands_over_reward,
            ),
            customer.notification_number,
            customer.changed_at,
        )
        for key, customer in locked.items()
    }
    # Where no organisation is known, no customer is, and nothing is written.
    generation = max((clock.generation for clock in clocks.values()), default=0)
    return _Batch(wall=now, generation=generation, catalogues=known, clocks=instants, customers=customers)


# ---------------------------------------------------------------- load


async def _load(connection: Connection, batch: _Batch, requests: Sequence[Request]) -> None:
    """What the requests may touch: standings with the ended periods concerned, and what was seen, told and kept before."""
    wanted: dict[StandingKey, tuple[Programme, set[int]]] = {}
    for request in requests:
        customer = request.customer
        if customer not in batch.customers:
            continue
        at = batch.customers[customer].account.at
        for programme, period in _touched(batch, request, at):
            _, numbers = wanted.setdefault(StandingKey(customer, programme.target_group_id), (programme, set()))
            if period is not None and period.ends_at <= at:
                numbers.add(period.number)
    if wanted:
        batch.loaded = await standings.load_standings(connection, wanted)
        for key, loaded in batch.loaded.items():
            batch.customers[key.customer].account.standings[key.target_group_id] = loaded.standing
    ids = {
        (request.customer, request.change.activity_id) for request in requests if isinstance(request.change, Activity)
    }
    if ids:
        batch.fingerprints = await journal.list_known(connection, ids)
    reported = {
        (request.customer, request.change.key)
        for request in requests
        if isinstance(request.change, RewardReport) and request.customer in batch.customers
    }
    if reported:
        for (customer, reward_key), reward in (await rewards.list_by_key(connection, reported)).items():
            batch.customers[customer].account.ledger[reward_key] = reward
    ended = {completion for request in requests if (completion := _completion(batch, request)) is not None}
    if ended:
        batch.completed = {_Completion(*one) for one in await notifications.list_completed(connection, ended)}
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
        number = change.completed_number
        return [(settled, None if number is None else settled.period(number))]
    if isinstance(change, RewardReport):
        return []
    named = catalogue.by_group.get(change.target_group_id)
    if named is None or not named.has_target(change.command.target_id):
        return []
    return [(named, covered_from(named, change.command, at) if isinstance(change.command, Enrol) else None)]


def _completion(batch: _Batch, request: Request) -> _Completion | None:
    """The completed period that the customer is to be notified of, if this request asks for it."""
    if not isinstance(request.change, Settlement) or request.change.completed_number is None:
        return None
    target_id = request.change.target_id
    programme = batch.catalogues[request.organisation_id].by_target.get(target_id)
    if programme is None:
        return None
    return _Completion(request.customer, target_id, programme.period_id(request.change.completed_number))


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
    """What is missing is reported together; only when all is found does the standing decide (rule 4)."""
    key = request.customer
    missing = _missing(batch, key, change)
    if missing:
        return EnrolmentOutcome(errors=missing)
    catalogue = batch.catalogues[request.organisation_id]
    account = batch.customers[key].account
    decision, entry = account.command(change.command, catalogue.by_group[change.target_group_id])
    if entry is None:
        return EnrolmentOutcome(errors=decision.errors, warnings=() if decision.errors else decision.warnings)
    trigger = Trigger(key.organisation_id, key.customer_id, asked_by=request.asked_by)
    return EnrolmentOutcome(warnings=decision.warnings, facts=_record(batch, request, entry, trigger))


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
    if not programme.has_target(change.command.target_id):
        missing.add(Code.UNKNOWN_TARGET)
    if isinstance(change.command, Enrol):
        at = customer.account.at if customer is not None else batch.clocks[key.organisation_id]
        if covered_from(programme, change.command, at) is None:
            missing.add(Code.UNKNOWN_PERIOD)
    return tuple(sorted(missing))


def _accept(batch: _Batch, request: Request, activity: Activity) -> ActivityOutcome:
    """Recorded for ever unless rejected; then each programme that hears it judges it once (rules 12, 20, 21)."""
    key = request.customer
    customer = batch.customers.get(key)
    if customer is None:
        return ActivityOutcome(Status.REJECTED, Code.UNKNOWN_CUSTOMER)
    if activity.in_the_future(customer.account.at):
        return ActivityOutcome(Status.REJECTED, Code.ACTIVITY_IN_THE_FUTURE)
    fingerprint = activity.fingerprint()
    known = batch.fingerprints.get((key, activity.activity_id))
    if known == fingerprint:
        return ActivityOutcome(Status.DUPLICATE)
    if known is not None:
        return ActivityOutcome(Status.REJECTED, Code.ACTIVITY_ID_REUSED)
    catalogue = batch.catalogues[request.organisation_id]
    entry = customer.account.accept(activity, catalogue.by_activity_type.get(activity.type, ()))
    batch.fingerprints[key, activity.activity_id] = fingerprint
    verdicts = {judgement.verdict for judgement in entry.judgements}
    late = Verdict.TOO_LATE in verdicts and Verdict.COUNTED not in verdicts
    trigger = Trigger(key.organisation_id, key.customer_id, activity=activity)
    facts = _record(batch, request, entry, trigger, fingerprint=fingerprint)
    return ActivityOutcome(Status.ACCEPTED, Code.ACTIVITY_TOO_LATE if late else None, facts)


def _settlement(batch: _Batch, request: Request, change: Settlement) -> SettlementOutcome:
    programme = batch.catalogues[request.organisation_id].by_target.get(change.target_id)
    customer = batch.customers.get(request.customer)
    if programme is None or customer is None:
        return SettlementOutcome()
    trigger = Trigger(request.organisation_id, request.customer_id)
    entry = customer.account.settle(programme)
    facts = () if entry is None else _record(batch, request, entry, trigger)
    _notify_completed(batch, request, programme, trigger)
    return SettlementOutcome(facts)


def _notify_completed(batch: _Batch, request: Request, programme: Programme, trigger: Trigger) -> None:
    """Once for each period, for customers who were in it at its end, achieved or not (rule 28)."""
    completion = _completion(batch, request)
    wanted = EventName.TARGET_PERIOD_COMPLETED in batch.catalogues[request.organisation_id].subscribers
    if completion is None or not wanted or completion in batch.completed:
        return
    number = programme.period_number(completion.period_id)
    assert number is not None, "a completed period is one of the programme's"
    period = programme.period(number)
    index = programme.index_of(completion.target_id)
    part = batch.customers[completion.customer].account.standing(programme).targets[index]
    if part.enrolled_at_end_of(period) and not programme.cut_short(period):
        batch.completed.add(completion)
        _post(batch, request, [period_completed(programme, programme.targets[index], part, period, trigger)])


def _report(batch: _Batch, request: Request, change: RewardReport) -> ReportOutcome:
    """What became of a reward moves its row, and nothing else; the same again changes nothing."""
    key = request.customer
    report = Report(change.key, change.outcome, change.reason, automatic=change.automatic)
    customer = batch.customers.get(key)
    reward = None if customer is None else customer.account.ledger.get(report.key)
    programme = batch.catalogues[request.organisation_id].by_target.get(report.key.target_id)
    if customer is None or reward is None or programme is None:
        return ReportOutcome(errors=(Code.UNKNOWN_REWARD,))
    if not may_report(reward.state, report.outcome):
        return ReportOutcome(errors=(Code.REWARD_NOT_REPORTABLE,), reward=reward)
    entry = customer.account.report(report, programme)
    if entry is None:
        return ReportOutcome(reward=reward)
    trigger = Trigger(key.organisation_id, key.customer_id, asked_by=request.asked_by)
    facts = _record(batch, request, entry, trigger, fingerprint=report.fingerprint())
    return ReportOutcome(reward=customer.account.ledger[report.key], facts=facts)


def _record(
    batch: _Batch, request: Request, entry: Entry, trigger: Trigger, *, fingerprint: bytes | None = None
) -> tuple[RecordedFact, ...]:
    """Put the entry, and the notices that follow from its facts, with what is saved."""
    batch.customers[request.customer].changed = True
    catalogue = batch.catalogues[request.organisation_id]
    origin = None if entry.cause is None else Origin(request.asked_by, request.request_id)
    batch.entries.append(JournalEntry(request.customer, entry, catalogue.version, origin, fingerprint))
    batch.counters.add(entry)
    subscribers = catalogue.subscribers
    if subscribers:
        for change in entry.changes:
            told = notices(change.programme, change.before, change.facts, trigger, wanted=subscribers.keys())
            _post(batch, request, told)
    return recorded(entry.facts(), sequence=entry.number)


# ---------------------------------------------------------------- tell


def _post(batch: _Batch, request: Request, told: Sequence[Notice]) -> None:
    """Put the notices into the outbox."""
    customer = batch.customers[request.customer]
    posted = post(
        told,
        request.customer,
        subscribers=batch.catalogues[request.organisation_id].subscribers,
        after_number=customer.notification_number,
        generation=batch.generation,
        request_id=request.request_id,
        at=customer.account.at,
        wall=batch.wall,
    )
    customer.notification_number += len(posted)
    customer.changed = customer.changed or bool(posted)
    batch.posted += posted


# ---------------------------------------------------------------- save


async def _save(connection: Connection, batch: _Batch, *, joined: bool) -> None:
    changed = list(_changed_standings(batch))
    numbered = {
        key: LockedCustomer(customer.account.number, customer.notification_number, customer.account.at)
        for key, customer in batch.customers.items()
        if customer.changed
    }
    # A reward that was given and reported in this batch is inserted as it is now: joined parts do not see each other's rows.
    given = [
        (key, customer.account.reported.get(reward.key, reward))
        for key, customer in batch.customers.items()
        for reward in customer.account.given.values()
    ]
    moved = {
        (key, reward.key): reward
        for key, customer in batch.customers.items()
        for reward in customer.account.reported.values()
        if reward.key not in customer.account.given
    }
    parts = [
        saving.customers_part(numbered),
        *saving.standing_parts(changed),
        *journal.parts(batch.entries),
        rewards.given_part(given),
        rewards.moved_part(moved),
        counters.changes_part(batch.counters, bucket=min((key.bucket for key in numbered), default=0)),
        *notifications.parts(batch.posted, due_at=batch.wall, expires_at=batch.wall + DELIVERED_WITHIN),
        idempotency.results_part(batch.results, lost=ResultKept),
    ]
    await saving.save(connection, parts, joined=joined)


def _changed_standings(batch: _Batch) -> Iterator[ChangedStanding]:
    """A new version may change a standing without a number of the customer's: then no period leaves it, as of that instant."""
    for key, loaded in batch.loaded.items():
        customer = batch.customers[key.customer]
        now = customer.account.standings[key.target_group_id]
        if now is not loaded.standing:
            at = customer.account.at if customer.changed else customer.changed_at
            programme = batch.catalogues[key.customer.organisation_id].by_group[key.target_group_id]
            yield ChangedStanding(key, programme, loaded, now, at)
