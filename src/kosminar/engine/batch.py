"""One batch: lock, load, decide, save, in one transaction, for any number of customers and organisations.

The order of the house's one way in is the order of this file. A refusal is one caller's outcome and never the batch's
failure. Requests of one customer are decided in the order in which they came, each seeing what the one before did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from kosminar.core.activity import Activity
from kosminar.core.clock import clock_now
from kosminar.core.decide import Decision, Enrol, Verdict, covered_from, decide, settle
from kosminar.core.errors import Code
from kosminar.core.fact import Fact, FactName
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardState
from kosminar.core.standing import MILESTONE_RUN, Standing
from kosminar.engine.catalogue import Catalogue, Catalogues
from kosminar.engine.change import (
    ActivityOutcome,
    EnrolmentChange,
    EnrolmentOutcome,
    Outcome,
    Request,
    Settlement,
    SettlementOutcome,
    Status,
)
from kosminar.store import activities, commands, facts, rewards, standings
from kosminar.store.activities import AcceptedActivity
from kosminar.store.commands import AcceptedCommand
from kosminar.store.facts import RecordedFact
from kosminar.store.programmes import definitions_key
from kosminar.store.queries import Connection
from kosminar.store.rewards import Reward, RewardGivenTwice, RewardKey
from kosminar.store.standings import ChangedStanding, CustomerKey, LockedCustomer, StandingKey

Wall = Callable[[], datetime]


async def work(
    connection: Connection, requests: Sequence[Request], *, wall: Wall, catalogues: Catalogues
) -> list[Outcome]:
    """The outcomes, in the order of the requests, durable when this returns."""
    async with connection.transaction():
        batch = await _lock(connection, requests, wall=wall, catalogues=catalogues)
        await _load(connection, batch, requests)
        outcomes = [_decide(batch, request) for request in requests]
        await _save(connection, batch)
    return outcomes


@dataclass(slots=True)
class _Customer:
    """A locked customer while the batch works on it."""

    sequence: int
    at: datetime
    changed: bool = False


@dataclass(slots=True)
class _Batch:
    """Everything a batch has locked and loaded, and what it has to save."""

    catalogues: Mapping[int, Catalogue]
    clocks: Mapping[int, datetime]
    customers: Mapping[CustomerKey, _Customer]
    programmes: dict[StandingKey, Programme] = field(default_factory=dict)
    loaded: Mapping[StandingKey, Standing] = field(default_factory=dict)
    current: dict[StandingKey, Standing] = field(default_factory=dict)
    fingerprints: dict[tuple[CustomerKey, str], bytes] = field(default_factory=dict)
    commands: list[AcceptedCommand] = field(default_factory=list)
    activities: list[AcceptedActivity] = field(default_factory=list)
    facts: list[tuple[CustomerKey, RecordedFact]] = field(default_factory=list)
    rewards: dict[tuple[CustomerKey, RewardKey], Reward] = field(default_factory=dict)
    stale: set[StandingKey] = field(default_factory=set)


# ---------------------------------------------------------------- lock


async def _lock(connection: Connection, requests: Sequence[Request], *, wall: Wall, catalogues: Catalogues) -> _Batch:
    """Hold the definitions and clocks of the organisations, then the customers; only then is it known what time it is."""
    organisation_ids = sorted({request.organisation_id for request in requests})
    clocks = await standings.hold(connection, organisation_ids, [definitions_key(o) for o in organisation_ids])
    known = {o: await catalogues.get(connection, o, clock.definitions_version) for o, clock in clocks.items()}
    locked = await standings.lock_customers(connection, {_customer_key(request) for request in requests})
    now = wall()
    instants = {
        o: clock_now(test_clock=clock.test_clock, clock_at=clock.clock_at, wall=now) for o, clock in clocks.items()
    }
    customers = {
        # A customer's own time never runs backwards, whatever the machines' clocks do.
        key: _Customer(customer.sequence, max(instants[key.organisation_id], customer.changed_at))
        for key, customer in locked.items()
    }
    return _Batch(catalogues=known, clocks=instants, customers=customers)


def _customer_key(request: Request) -> CustomerKey:
    return CustomerKey.of(request.organisation_id, request.customer_id)


# ---------------------------------------------------------------- load


async def _load(connection: Connection, batch: _Batch, requests: Sequence[Request]) -> None:
    """What the requests may touch: standings with the periods concerned, and activity ids seen before."""
    wanted: dict[StandingKey, tuple[Programme, frozenset[int]]] = {}
    for request in requests:
        customer = _customer_key(request)
        if customer not in batch.customers:
            continue
        for programme, numbers in _touched(batch, request, batch.customers[customer].at):
            key = StandingKey(customer, programme.target.target_id)
            wanted[key] = (programme, wanted.get(key, (programme, frozenset()))[1] | numbers)
    batch.programmes = {key: programme for key, (programme, _) in wanted.items()}
    if wanted:
        batch.loaded = await standings.load_standings(connection, wanted)
        batch.current = dict(batch.loaded)
    ids = {
        (_customer_key(request), request.change.activity_id)
        for request in requests
        if isinstance(request.change, Activity)
    }
    if ids:
        batch.fingerprints = await activities.list_known(connection, ids)


def _touched(batch: _Batch, request: Request, at: datetime) -> list[tuple[Programme, frozenset[int]]]:
    """The programmes a request concerns, each with the numbers of the periods it may write."""
    catalogue = batch.catalogues[request.organisation_id]
    change = request.change
    if isinstance(change, Activity):
        return [
            (programme, frozenset({period.number}))
            for programme in catalogue.by_activity_type.get(change.type, ())
            if (period := programme.period_at(change.occurred_at)) is not None and not programme.deactivated(at)
        ]
    if isinstance(change, Settlement):
        return [(catalogue.by_target[change.target_id], frozenset())] if change.target_id in catalogue.by_target else []
    named = catalogue.by_group.get(change.target_group_id)
    if named is None or named.target.target_id != change.target_id:
        return []
    first = covered_from(named, change.command, at) if isinstance(change.command, Enrol) else None
    return [(named, frozenset() if first is None else frozenset({first.number}))]


# ---------------------------------------------------------------- decide


def _decide(batch: _Batch, request: Request) -> Outcome:
    match request.change:
        case Activity():
            return _accept(batch, request, request.change)
        case EnrolmentChange():
            return _enrolment(batch, request, request.change)
        case Settlement():
            return _settlement(batch, request, request.change)


def _enrolment(batch: _Batch, request: Request, change: EnrolmentChange) -> EnrolmentOutcome:
    """What is missing is reported together; only when all is found does the standing decide (decision 4)."""
    key = _customer_key(request)
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
    recorded = _record(batch, [(standing_key, decision.facts)], sequence)
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
    key = _customer_key(request)
    customer = batch.customers.get(key)
    if customer is None:
        return ActivityOutcome(Status.REJECTED, Code.UNKNOWN_CUSTOMER)
    if activity.in_the_future(customer.at):
        return ActivityOutcome(Status.REJECTED, Code.ACTIVITY_IN_THE_FUTURE)
    fingerprint = activity.fingerprint()
    known = batch.fingerprints.get((key, activity.activity_id))
    if known is not None:
        if known == fingerprint:
            return ActivityOutcome(Status.DUPLICATE)
        return ActivityOutcome(Status.REJECTED, Code.ACTIVITY_ID_REUSED)
    decisions = _judge(batch, request, activity, customer.at)
    sequence = _next_sequence(customer)
    batch.fingerprints[key, activity.activity_id] = fingerprint
    version = batch.catalogues[request.organisation_id].version
    batch.activities.append(AcceptedActivity(key, sequence, activity, fingerprint, version, customer.at))
    recorded = _record(batch, [(standing_key, d.facts) for standing_key, d in decisions], sequence)
    verdicts = {decision.verdict for _, decision in decisions}
    late = Verdict.TOO_LATE in verdicts and Verdict.COUNTED not in verdicts
    return ActivityOutcome(Status.ACCEPTED, Code.ACTIVITY_TOO_LATE if late else None, recorded)


def _judge(batch: _Batch, request: Request, activity: Activity, at: datetime) -> list[tuple[StandingKey, Decision]]:
    customer = _customer_key(request)
    judged = []
    for programme, _ in _touched(batch, request, at):
        key = StandingKey(customer, programme.target.target_id)
        judged.append((key, decide(programme, batch.current[key], activity, at)))
    return judged


def _settlement(batch: _Batch, request: Request, change: Settlement) -> SettlementOutcome:
    customer_key = _customer_key(request)
    key = StandingKey(customer_key, change.target_id)
    programme = batch.programmes.get(key)
    if programme is None:
        return SettlementOutcome()
    customer = batch.customers[customer_key]
    due = settle(programme, batch.current[key], customer.at)
    if not due:
        # Nothing happened, but what a period end should look at may have changed: it is written anew.
        batch.stale.add(key)
        return SettlementOutcome()
    return SettlementOutcome(_record(batch, [(key, tuple(due))], _next_sequence(customer)))


def _next_sequence(customer: _Customer) -> int:
    customer.sequence += 1
    customer.changed = True
    return customer.sequence


def _record(
    batch: _Batch, happened: Sequence[tuple[StandingKey, tuple[Fact, ...]]], sequence: int
) -> tuple[RecordedFact, ...]:
    """Fold the facts into the standings and put them, and the rewards they speak of, with what is saved."""
    recorded: list[RecordedFact] = []
    for key, new in happened:
        programme = batch.programmes[key]
        batch.current[key] = batch.current[key].after(new)
        for fact in new:
            recorded.append(RecordedFact.of(fact, programme, sequence=sequence, ordinal=len(recorded)))
            if fact.name in REWARD_STATES:
                reward = reward_of(fact, programme, sequence=sequence)
                earlier = batch.rewards.get((key.customer, reward.key))
                if earlier is not None and earlier.state is not RewardState.FORFEITED:
                    raise RewardGivenTwice("two facts of one batch would give the same reward")
                batch.rewards[key.customer, reward.key] = reward
    batch.facts += [(happened[0][0].customer, fact) for fact in recorded]
    return tuple(recorded)


# A reward that nobody is to hand over is issued in the transaction that earned it (decision 27).
REWARD_STATES: Final = {
    FactName.REWARD_EARNED: RewardState.ISSUED,
    FactName.REWARD_FORFEITED: RewardState.FORFEITED,
}


def reward_of(fact: Fact, programme: Programme, *, sequence: int) -> Reward:
    """The ledger's row for an earned or forfeited reward; a period's reward always has run 1 (decision 27)."""
    assert fact.reward_definition_id is not None
    definition = programme.reward(fact.reward_definition_id)
    level_id = fact.level_id or 0
    period_number = None if level_id else fact.period_number
    return Reward(
        key=RewardKey(
            target_id=programme.target.target_id,
            period_id=0 if period_number is None else programme.period(period_number).period_id,
            level_id=level_id,
            run=(fact.run or MILESTONE_RUN) if level_id else MILESTONE_RUN,
            reward_definition_id=definition.reward_definition_id,
        ),
        kind=definition.kind,
        value=definition.value,
        allocation=definition.allocation,
        state=REWARD_STATES[fact.name],
        reason=fact.reason,
        earned_at=fact.at,
        sequence=sequence,
    )


# ---------------------------------------------------------------- save


async def _save(connection: Connection, batch: _Batch) -> None:
    changed = [
        ChangedStanding(key, batch.programmes[key], batch.loaded[key], standing, batch.customers[key.customer].at)
        for key, standing in batch.current.items()
        if standing is not batch.loaded[key] or key in batch.stale
    ]
    numbered = {
        key: LockedCustomer(customer.sequence, customer.at)
        for key, customer in batch.customers.items()
        if customer.changed
    }
    if numbered:
        await standings.save_customers(connection, numbered)
    if changed:
        await standings.save_standings(connection, changed)
    if batch.commands:
        await commands.insert(connection, batch.commands)
    if batch.activities:
        await activities.insert(connection, batch.activities)
    if batch.facts:
        await facts.insert(connection, batch.facts)
    if batch.rewards:
        await rewards.save(connection, [(customer, reward) for (customer, _), reward in batch.rewards.items()])
