"""The auditor: recomputes every standing, fact and reward from accepted commands and activities, and compares.

It replays each customer's commands in the order of the audit trail through core/decide.py, from nothing, under the
definitions that each command met. Period ends need no record: both sides are brought to the same instant before they
are compared. Reads one consistent snapshot a page at a time and writes nothing, so it runs beside a live system.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from kosminar.core.activity import Activity
from kosminar.core.bucket import BUCKET_COUNT
from kosminar.core.decide import decide, settle
from kosminar.core.fact import Fact
from kosminar.core.programme import Programme
from kosminar.core.standing import Progress, Standing
from kosminar.engine.batch import REWARD_STATES, reward_of
from kosminar.store import activities, clocks, commands, facts, programmes, recount, rewards, standings
from kosminar.store.activities import AcceptedActivity
from kosminar.store.commands import AcceptedCommand
from kosminar.store.facts import RecordedFact
from kosminar.store.queries import Connection
from kosminar.store.rewards import Reward, RewardKey
from kosminar.store.standings import CustomerRange

# A page is loaded and replayed in one snapshot; small enough to hold no snapshot for long.
PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """Something stored that the recount does not give, or the other way round; None is "nothing there".

    An activity whose content was altered concerns no one target; its target id is 0.
    """

    organisation_id: int
    customer_id: int
    target_id: int
    what: str
    expected: Any
    found: Any


@dataclass(slots=True)
class _Account:
    """One customer in one target: the standing, the facts in order, and the ledger."""

    standing: Standing
    facts: list[tuple[Any, ...]] = field(default_factory=list)
    rewards: dict[RewardKey, tuple[Any, ...]] = field(default_factory=dict)

    def happen(self, new: Iterable[Fact], programme: Programme) -> None:
        for fact in new:
            self.standing = self.standing.after([fact])
            self.facts.append(_comparable(RecordedFact.of(fact, programme, sequence=0, ordinal=0)))
            if fact.name in REWARD_STATES:
                reward = reward_of(fact, programme, sequence=0)
                self.rewards[reward.key] = _ledger_line(reward)


async def audit(pool: asyncpg.Pool, *, progressed: Callable[[int], None]) -> AsyncIterator[Difference]:
    """Every difference, customer by customer; `progressed` hears how many customers were gone through."""
    for bucket in range(BUCKET_COUNT):
        after = (0, 0)
        while True:
            async with (
                pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                page = await recount.list_page(connection, bucket, after=after, limit=PAGE_SIZE)
                found = [d for within, changed in page for d in await _audit_range(connection, within, changed)]
            for difference in found:
                yield difference
            if not page:
                break
            last, _ = page[-1]
            after = (last.organisation_id, last.last)
            progressed(sum(len(of_range) for _, of_range in page))


async def _audit_range(
    connection: Connection, within: CustomerRange, changed: Mapping[int, datetime]
) -> list[Difference]:
    clock = await clocks.fetch(connection, within.organisation_id)
    defined = await programmes.fetch_all(connection, within.organisation_id)
    by_target = {programme.target.target_id: programme for programme in defined}
    received = await activities.list_accepted(connection, within)
    ordered = await commands.list_accepted(connection, within)
    expected = _replay(received, ordered, list(changed), by_target)
    stored = await _stored(connection, within, list(changed), by_target)
    differences = [
        Difference(within.organisation_id, a.customer.customer_id, 0, "activity", a.activity.activity_id, "altered")
        for a in received
        if a.activity.fingerprint() != a.fingerprint
    ]
    for (customer_id, target_id), account in stored.items():
        if target_id not in by_target:
            strays = (*account.facts, *account.rewards)
            differences.append(
                Difference(
                    within.organisation_id, customer_id, target_id, "no target of the organisation", None, strays
                )
            )
            continue
        programme = by_target[target_id]
        # On a real clock a customer may have been settled later than the organisation's floor says.
        at = max(clock.clock_at, changed[customer_id])
        due = settle(programme, account.standing, at)
        overdue = [fact for fact in due if fact.at <= clock.settled_at]
        account.happen(due, programme)
        recounted = expected[customer_id, target_id]
        recounted.happen(settle(programme, recounted.standing, at), programme)
        for what, wanted, is_there in _compare(recounted, account):
            differences.append(Difference(within.organisation_id, customer_id, target_id, what, wanted, is_there))
        if overdue:
            names = [fact.name.value for fact in overdue]
            differences.append(
                Difference(within.organisation_id, customer_id, target_id, "period end not worked", names, None)
            )
    return differences


# ---------------------------------------------------------------- what should be


_Accounts = dict[tuple[int, int], _Account]


def _replay(
    received: Sequence[AcceptedActivity],
    ordered: Sequence[AcceptedCommand],
    customer_ids: Sequence[int],
    by_target: dict[int, Programme],
) -> _Accounts:
    accounts = {
        (customer_id, target_id): _Account(Standing.untouched(streak=programme.streak))
        for customer_id in customer_ids
        for target_id, programme in by_target.items()
    }
    accepted: list[AcceptedActivity | AcceptedCommand] = [*received, *ordered]
    for one in sorted(accepted, key=lambda a: (a.customer, a.sequence)):
        for programme in _concerned(one, by_target):
            account = accounts[one.customer.customer_id, programme.target.target_id]
            command: Any = one.activity if isinstance(one, AcceptedActivity) else one.command
            account.happen(decide(programme, account.standing, command, one.at).facts, programme)
    return accounts


def _concerned(one: AcceptedActivity | AcceptedCommand, by_target: dict[int, Programme]) -> list[Programme]:
    if isinstance(one, AcceptedActivity):
        heard = [p for p in by_target.values() if _hears(p, one.activity)]
    else:
        heard = [by_target[one.target_id]] if one.target_id in by_target else []
    return [p for programme in heard if (p := programme.as_of(one.definitions_version)) is not None]


def _hears(programme: Programme, activity: Activity) -> bool:
    return programme.target.measure.listens_to == activity.type


# ---------------------------------------------------------------- what is there


async def _stored(
    connection: Connection, within: CustomerRange, customer_ids: Sequence[int], by_target: dict[int, Programme]
) -> _Accounts:
    remembered = await standings.load_range(connection, within, customer_ids, list(by_target.values()))
    accounts = {(key.customer.customer_id, key.target_id): _Account(s) for key, s in remembered.items()}
    for customer_id, trail in (await facts.list_of_range(connection, within)).items():
        for fact in trail:
            _account(accounts, customer_id, fact.target_id).facts.append(_comparable(fact))
    for customer_id, ledger in (await rewards.list_of_range(connection, within)).items():
        for reward in ledger:
            _account(accounts, customer_id, reward.key.target_id).rewards[reward.key] = _ledger_line(reward)
    return accounts


def _account(accounts: _Accounts, customer_id: int, target_id: int) -> _Account:
    """The account, also for a target that the organisation does not have: what stands there is a finding."""
    return accounts.setdefault((customer_id, target_id), _Account(Standing()))


def _comparable(fact: RecordedFact) -> tuple[Any, ...]:
    # Not its place in the trail: a period end may have been worked with a command or, before it, by the closer.
    return (
        fact.name,
        fact.at,
        fact.period_id,
        fact.run,
        fact.level_id,
        fact.reward_definition_id,
        fact.value,
        fact.reason,
    )


def _ledger_line(reward: Reward) -> tuple[Any, ...]:
    return (reward.state, reward.kind, reward.value, reward.allocation, reward.reason, reward.earned_at)


def _compare(expected: _Account, found: _Account) -> list[tuple[str, Any, Any]]:
    differences: list[tuple[str, Any, Any]] = []
    if expected.standing.stretches != found.standing.stretches:
        differences.append(("enrolment", expected.standing.stretches, found.standing.stretches))
    for key in sorted(expected.standing.progress.keys() | found.standing.progress.keys()):
        wanted = expected.standing.progress.get(key, Progress())
        is_there = found.standing.progress.get(key, Progress())
        if wanted != is_there:
            differences.append((f"progress in period {key[0]}, run {key[1]}", wanted, is_there))
    if expected.standing.runs != found.standing.runs:
        differences.append(("streak", expected.standing.runs, found.standing.runs))
    if expected.facts != found.facts:
        differences.append(("facts", expected.facts, found.facts))
    for reward in sorted(expected.rewards.keys() | found.rewards.keys()):
        line, is_kept = expected.rewards.get(reward), found.rewards.get(reward)
        if line != is_kept:
            differences.append((f"reward {reward}", line, is_kept))
    return differences
