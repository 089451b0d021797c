"""The account: one customer's standings, ledger and order of changes, while a batch or the audit works on them.

The Writer and the auditor live a customer's order through the same object, so that what is stored and what is recounted
differ only where something is wrong. Reads and writes nothing: its owner fills it with what was loaded and saves what
it made. The check that does not share this code is the second model (tests/model/slow_model.py).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from kosminar.core.activity import Activity
from kosminar.core.decide import Decision, Enrol, Judgement, UnEnrol, decide, settle
from kosminar.core.fact import Fact, RewardEarned, RewardForfeited
from kosminar.core.ledger import Report, Reward, RewardGivenTwice, key_of, reported, reward_of
from kosminar.core.programme import Programme
from kosminar.core.reward import Allocation, RewardKey, RewardState
from kosminar.core.standing import Standing

# What takes a number of a customer's order; None is time, which brings a period's end.
Cause: TypeAlias = Activity | Enrol | UnEnrol | Report | None


@dataclass(frozen=True, slots=True)
class Change:
    """What one group made of it: the standing before, the facts, and the standing after them."""

    programme: Programme
    before: Standing
    facts: tuple[Fact, ...]
    after: Standing


@dataclass(frozen=True, slots=True)
class MovedReward:
    """A reward as it is now, and the state that it was in; None where it is given for the first time."""

    programme: Programme
    before: RewardState | None
    reward: Reward
    at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One number of a customer's order: what was accepted, at which instant, and what it brought in each group."""

    number: int
    at: datetime
    cause: Cause
    changes: tuple[Change, ...]
    judgements: tuple[Judgement, ...] = ()
    rewards: tuple[MovedReward, ...] = ()

    @property
    def moves_standings(self) -> bool:
        """A report moves the ledger alone."""
        return not isinstance(self.cause, Report)

    def facts(self) -> Iterator[tuple[Programme, Fact]]:
        """All facts in their order, each with its group."""
        for change in self.changes:
            for fact in change.facts:
                yield change.programme, fact


@dataclass(slots=True)
class Account:
    """One customer.

    `number` is the last one taken of the customer's order. `standings`, by target group id, and `ledger` hold what was
    loaded and what it has become; `handed_over` says of a reward that is earned whether an endpoint is to hand it over.
    """

    number: int
    at: datetime
    handed_over: Callable[[RewardKey], bool]
    standings: dict[int, Standing] = field(default_factory=dict)
    ledger: dict[RewardKey, Reward] = field(default_factory=dict)
    # Rewards as they were given, and as reports left them, since the account was filled: what is to be saved.
    given: dict[RewardKey, Reward] = field(default_factory=dict)
    reported: dict[RewardKey, Reward] = field(default_factory=dict)

    def standing(self, programme: Programme) -> Standing:
        return self.standings.get(programme.target_group_id) or programme.untouched

    def accept(self, activity: Activity, programmes: Iterable[Programme]) -> Entry:
        """An activity is recorded for ever, and each group that hears it judges it once (rules 12, 20)."""
        decided = [(programme, self._decide(programme, activity)) for programme in programmes]
        judgements = tuple(judgement for _, decision in decided for judgement in decision.judgements)
        return self._enter(activity, decided, judgements)

    def command(self, command: Enrol | UnEnrol, programme: Programme) -> tuple[Decision, Entry | None]:
        """An enrolment or an un-enrolment; without an entry where it is refused or has no effect."""
        decision = self._decide(programme, command)
        if not decision.facts:
            return decision, None
        return decision, self._enter(command, [(programme, decision)])

    def settle(self, programme: Programme) -> Entry | None:
        """What fell due; None where nothing did, and then the standing is what the newest definition makes of it."""
        settled, facts = settle(programme, self.standing(programme), self.at)
        if not facts:
            self.standings[programme.target_group_id] = settled
            return None
        return self._enter(None, [(programme, Decision(settled, tuple(facts)))])

    def report(self, report: Report, programme: Programme) -> Entry | None:
        """What became of a reward moves its row and nothing else; None where the row is as reported already.

        The caller has looked whether the reward is there and may be reported so.
        """
        reward = self.ledger[report.key]
        overruled = report.automatic and reward.state is RewardState.ISSUED
        if overruled or reward.state is report.outcome:
            return None
        moved, fact = reported(programme, reward, report, self.at)
        self.ledger[report.key] = self.reported[report.key] = moved
        moves = (MovedReward(programme, reward.state, moved, self.at),)
        return self._enter(report, [(programme, Decision(self.standing(programme), (fact,)))], moved=moves)

    def _decide(self, programme: Programme, command: Activity | Enrol | UnEnrol) -> Decision:
        return decide(programme, self.standing(programme), command, self.at)

    def _enter(
        self,
        cause: Cause,
        decided: Iterable[tuple[Programme, Decision]],
        judgements: tuple[Judgement, ...] = (),
        *,
        moved: tuple[MovedReward, ...] = (),
    ) -> Entry:
        """Take the next number; the standings and the ledger become what was decided."""
        self.number += 1
        changes = []
        rewards = list(moved)
        for programme, decision in decided:
            if not decision.facts:
                continue
            change = Change(programme, self.standing(programme), decision.facts, decision.standing)
            changes.append(change)
            self.standings[programme.target_group_id] = decision.standing
            rewards += self._given(change)
        return Entry(self.number, self.at, cause, tuple(changes), judgements, tuple(rewards))

    def _given(self, change: Change) -> Iterator[MovedReward]:
        programme = change.programme
        for fact in change.facts:
            if not isinstance(fact, RewardEarned | RewardForfeited):
                continue
            handed_over = self.handed_over(key_of(fact, programme))
            reward = reward_of(fact, programme, sequence=self.number, handed_over=handed_over)
            earlier = self.given.get(reward.key)
            if earlier is not None and earlier.state is not RewardState.FORFEITED:
                raise RewardGivenTwice("two facts of one batch would give the same reward")
            self.ledger[reward.key] = self.given[reward.key] = reward
            before = RewardState.FORFEITED if _was_forfeited(change, fact, reward) else None
            yield MovedReward(programme, before, reward, fact.at)


def _was_forfeited(change: Change, fact: RewardEarned | RewardForfeited, reward: Reward) -> bool:
    """A period-end reward that was forfeited may be given after all, or forfeited again (rules 9, 28).

    The standing says so, because the ledger holds only what was loaded.
    """
    if reward.allocation is not Allocation.PERIOD_END or fact.period_number is None:
        return False
    part = change.before.targets[change.programme.index_of(fact.target_id)]
    progress = part.find_progress(fact.period_number, fact.run)
    return progress is not None and progress.forfeited
