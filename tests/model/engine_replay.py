"""Replays a history of the slow model through the real core, the way the engine's batches do, without a database."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from tests.model import slow_model as model

from kosminar.core.activity import Activity
from kosminar.core.amount import decimal_of, thousandths_of
from kosminar.core.decide import Enrol, UnEnrol, Verdict, decide, settle
from kosminar.core.errors import Code
from kosminar.core.fact import Fact, RewardEarned, RewardForfeited
from kosminar.core.fold import fold
from kosminar.core.kind.catalogue import KINDS
from kosminar.core.ledger import key_of
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity
from kosminar.core.period import Period
from kosminar.core.programme import EnrolmentMethod, Level, Programme, Target, TrackingType
from kosminar.core.reward import Allocation, RewardDefinition, RewardKind
from kosminar.core.standing import Standing
from kosminar.core.window.fixed import FixedWindow

TARGET_ID = 1


def programme_of(world: model.ModelProgramme) -> Programme:
    rewards = tuple(_reward(reward) for reward in world.rewards)
    event = world.event_name or "transaction"
    return Programme(
        target_group_id=1,
        organisation_id=1,
        name="world",
        kind=KINDS[TrackingType(world.kind)],
        zone=ZoneInfo(world.zone),
        track_from_enrolment=world.track_from_enrolment,
        window=FixedWindow(tuple(Period(p.number, p.name, p.starts_at, p.ends_at, p.due_at) for p in world.periods)),
        targets=(
            Target(
                target_id=TARGET_ID,
                name="world",
                description=None,
                measure=measure_of(Entity(world.entity), world.measure, event, world.attribute),
                enrolment_method=EnrolmentMethod.TRANSACTION if world.automatic else EnrolmentMethod.IMPORT,
                values=tuple(thousandths_of(p.target_value) for p in world.periods),
                rewards=rewards,
            ),
        ),
        levels=tuple(
            Level(level.level_id, number, level.name, level.count, tuple(_reward(r) for r in level.rewards))
            for number, level in enumerate(world.levels, start=1)
        ),
        created_version=1,
        deactivated_at=None,
        deactivated_version=None,
    )


def _reward(reward: model.ModelReward) -> RewardDefinition:
    kind = RewardKind(reward.kind)
    value = thousandths_of(reward.value) if kind is RewardKind.POINTS else reward.value
    return RewardDefinition(reward.definition_id, kind, value, Allocation(reward.allocation))


class Replay:
    """One customer in one programme, command by command."""

    def __init__(self, world: model.ModelProgramme) -> None:
        self.world = world
        self.active = programme_of(world)
        self.standing = self.active.untouched
        self.rewards: dict[tuple, tuple] = {}
        self.answers: list = []
        self.fingerprints: dict[str, bytes] = {}

    def programme(self, at: datetime) -> Programme:
        if self.world.deactivated_at is None or at < self.world.deactivated_at:
            return self.active
        from dataclasses import replace

        return replace(self.active, deactivated_at=self.world.deactivated_at, deactivated_version=2)

    def apply(self, command: object) -> None:
        match command:
            case model.Act():
                self.answers.append(self._act(command))
            case model.Enrol():
                balance = None if command.initial_balance is None else thousandths_of(command.initial_balance)
                self.answers.append(
                    self._call(Enrol(TARGET_ID, command.period_name, balance, bool(command.reset)), command.at)
                )
            case model.UnEnrol():
                self.answers.append(self._call(UnEnrol(TARGET_ID), command.at))

    def _call(self, command: Enrol | UnEnrol, at: datetime) -> list[int]:
        programme = self.programme(at)
        if programme.deactivated_at is not None:
            return [int(Code.UNKNOWN_TARGET_GROUP)]
        decision = decide(programme, self.standing, command, at)
        self._keep(decision.standing, decision.facts, programme)
        return [int(code) for code in (decision.errors or decision.warnings)]

    def _act(self, command: model.Act) -> str:
        activity = Activity(command.activity_id, command.type, command.occurred_at, dict(command.attributes))
        if activity.in_the_future(command.at):
            return "future"
        known = self.fingerprints.get(activity.activity_id)
        if known is not None:
            return "duplicate" if known == activity.fingerprint() else "conflict"
        self.fingerprints[activity.activity_id] = activity.fingerprint()
        programme = self.programme(command.at)
        decision = decide(programme, self.standing, activity, command.at)
        self._keep(decision.standing, decision.facts, programme)
        # A target that hears another type of activity has nothing to say of this one.
        verdict = decision.judgements[0].verdict if decision.judgements else Verdict.NOT_COUNTED
        return {Verdict.COUNTED: "counted", Verdict.NOT_COUNTED: "not counted", Verdict.TOO_LATE: "too late"}[verdict]

    def settle(self, at: datetime) -> None:
        programme = self.programme(at)
        self._keep(*settle(programme, self.standing, at), programme)

    def _keep(self, standing: Standing, facts: Iterable[Fact], programme: Programme) -> None:
        """One pass and the fold come to the same; a reward is earned once, or after it was forfeited."""
        facts = tuple(facts)
        assert not facts or standing == fold(programme, self.standing, facts)
        self.standing = standing
        for fact in facts:
            if not isinstance(fact, RewardEarned | RewardForfeited):
                continue
            of = key_of(fact, programme)
            number = programme.period_number(of.period_id)
            period_id = None if number is None else self._period_id(number)
            key = (period_id, of.level_id or None, of.run, fact.reward_definition_id)
            before = self.rewards.get(key)
            assert before is None or before[0] == "forfeited", f"{key} rewarded twice"
            earned = isinstance(fact, RewardEarned)
            self.rewards[key] = ("issued", None) if earned else ("forfeited", fact.reason)

    def _period_id(self, number: int) -> int:
        """The id that the world gives a period."""
        return self.world.periods[number - 1].period_id

    def outcome(self, now: datetime) -> model.Outcome:
        self.settle(now)
        programme = self.programme(now)
        (part,) = self.standing.targets
        reached = programme.kind.count_now(programme, part, now)
        return model.Outcome(
            answers=self.answers,
            progress={
                (self._period_id(p.period_number), p.run): (decimal_of(p.value), p.achieved_at is not None)
                for p in part.progress
            },
            rewards=self.rewards,
            reached={(level, run.number) for run in part.runs for level in run.reached},
            count=0 if reached is None else reached.count,
            enrolled=part.enrolled,
        )
