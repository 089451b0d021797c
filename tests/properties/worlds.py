"""What the properties are tried on: the small adversarial worlds of tests/model, and one customer's life in one.

Half of the lives are those of the model's own tests; the other half are busy ones, in which most periods are achieved, left
and entered again. A world is drawn from one number, so it does not shrink; what is drawn beside it does. `describe` notes
where an example has come, which `pytest --hypothesis-show-statistics` shows as shares.
"""

from collections import Counter
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import event
from hypothesis import strategies as st
from tests.model import slow_model as model
from tests.model.engine_replay import TARGET_ID, programme_of
from tests.model.histories import ATTRIBUTE, boundaries, random_enrol, random_history, random_programme

from kosminar.core.activity import Activity
from kosminar.core.amount import thousandths_of
from kosminar.core.decide import Command, Decision, Enrol, UnEnrol, decide, settle
from kosminar.core.fact import Fact, FactName
from kosminar.core.programme import Programme
from kosminar.core.standing import Standing, TargetStanding

MOMENT = timedelta(microseconds=1)

RANDOMS = st.integers(0, 2**32 - 1).map(Random)


@dataclass(frozen=True)
class Step:
    """A command and the instant at which it is accepted."""

    at: datetime
    command: Command


@dataclass(frozen=True)
class World:
    """A programme, what one customer asks for in the order of acceptance, and an instant when all of it is settled."""

    model: model.ModelProgramme
    steps: tuple[Step, ...]

    @property
    def edges(self) -> list[datetime]:
        return boundaries(self.model)

    @property
    def ends_at(self) -> datetime:
        return max(self.edges[-1], self.steps[-1].at) + timedelta(days=2)


def _world(random: Random) -> World:
    programme, commands, _ = random_history(random)
    return World(programme, tuple(Step(command.at, _core_command(command)) for command in commands))


def _busy_world(random: Random) -> World:
    """In early, active in most periods, out and in again often; late activity is dated at the calls' own instants."""
    programme = random_programme(random)
    restlessness = random.choice([0.05, 0.35])
    commands: list[model.Command] = []
    if not programme.automatic or random.random() < 0.5:
        commands.append(model.Enrol(programme.periods[0].starts_at))
    for period in programme.periods:
        if random.random() < 0.25:
            continue
        within = [period.starts_at + (period.ends_at - period.starts_at) * random.random() for _ in range(5)]
        on_edges = random.sample([period.starts_at, period.ends_at - MOMENT, period.ends_at, period.due_at], 2)
        for at in sorted([*within[: random.randint(1, 5)], *on_edges]):
            at = max([at, *(command.at for command in commands[-1:])])  # noqa: PLW2901 -- never back in time.
            commands.append(_busy_command(random, programme, period, commands, at=at, restlessness=restlessness))
    commands = commands or [model.Enrol(programme.periods[0].starts_at)]
    return World(programme, tuple(Step(command.at, _core_command(command)) for command in commands))


def _busy_command(
    random: Random,
    programme: model.ModelProgramme,
    period: model.ModelPeriod,
    earlier: list[model.Command],
    *,
    at: datetime,
    restlessness: float,
) -> model.Command:
    calls = [command for command in earlier if not isinstance(command, model.Act)]
    out = bool(calls) and isinstance(calls[-1], model.UnEnrol)
    if random.random() < (0.6 if out else restlessness):
        return random_enrol(random, programme, at) if out else model.UnEnrol(at)
    value = random.choice([period.target_value, period.target_value, period.target_value / 2])
    dates = [at, at, at, at, *(date for call in calls[-3:] for date in (call.at, call.at - MOMENT, call.at + MOMENT))]
    return model.Act(
        at,
        activity_id=f"a{len(earlier)}",
        type=programme.event_name or "transaction",
        occurred_at=random.choice(dates),
        attributes=dict.fromkeys(("amount", "grossAmount", ATTRIBUTE), value),
    )


def _core_command(command: model.Command) -> Command:
    match command:
        case model.Enrol():
            balance = None if command.initial_balance is None else thousandths_of(command.initial_balance)
            return Enrol(TARGET_ID, command.period_name, balance, bool(command.reset))
        case model.UnEnrol():
            return UnEnrol(TARGET_ID)
        case model.Act():
            return Activity(command.activity_id, command.type, command.occurred_at, dict(command.attributes))


WORLDS = st.one_of(RANDOMS.map(_world), RANDOMS.map(_busy_world))


class Life:
    """One customer in one programme, as the engine lives it: refuse what never gets to the core, decide, fold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.active = programme_of(world.model)
        self.standing = self.active.untouched
        self.told: tuple[tuple[Step, Decision], ...] = ()
        self.facts: tuple[Fact, ...] = ()
        self._seen: frozenset[str] = frozenset()

    def fork(self) -> "Life":
        """Another life that has been the same so far; nothing of either is changed in place."""
        return copy(self)

    def programme(self, at: datetime) -> Programme:
        """As the catalogue shows it then: a deactivation is not known before it happened."""
        deactivated_at = self.world.model.deactivated_at
        if deactivated_at is None or at < deactivated_at:
            return self.active
        return replace(self.active, deactivated_at=deactivated_at, deactivated_version=2)

    def live(self, steps: Iterable[Step]) -> "Life":
        for step in steps:
            self.do(step)
        return self

    def do(self, step: Step) -> Decision | None:
        """None for what the engine refuses itself: a deactivated programme, a future activity, an id that is known."""
        if not self._accepted(step):
            return None
        decision = decide(self.programme(step.at), self.standing, step.command, step.at)
        self._happen(decision.standing, decision.facts)
        self.told += ((step, decision),)
        return decision

    def wait(self, until: datetime) -> "Life":
        self._happen(*settle(self.programme(until), self.standing, until))
        return self

    @property
    def part(self) -> TargetStanding:
        """The customer's part in the group's one target."""
        return self.standing.targets[0]

    def _happen(self, standing: Standing, facts: Iterable[Fact]) -> None:
        self.standing = standing
        self.facts += tuple(facts)

    def _accepted(self, step: Step) -> bool:
        if not isinstance(step.command, Activity):
            return not self.programme(step.at).deactivated(step.at)
        if step.command.activity_id in self._seen or step.command.in_the_future(step.at):
            return False
        self._seen |= {step.command.activity_id}
        return True


def ledger(facts: Iterable[Fact]) -> dict[tuple[Any, ...], str]:
    """What has become of each reward, by its key: a period's has no run (decision 27)."""
    found = {}
    for fact in facts:
        if fact.name in (FactName.REWARD_EARNED, FactName.REWARD_FORFEITED):
            found[reward_key(fact)] = fact.reason or "earned"
    return found


def reward_key(fact: Fact) -> tuple[Any, ...]:
    place = ("level", fact.level_id, fact.run) if fact.level_id is not None else ("period", fact.period_number)
    return (*place, fact.reward_definition_id)


def describe(life: Life) -> None:
    """Note the interesting places that this life has been to."""
    programme = life.active
    names = Counter(fact.name for fact in life.facts)
    event(f"is a {programme.kind.tracking_type}")
    places = {
        "something counted": names[FactName.PROGRESSED] > 0,
        "a target was achieved": names[FactName.ACHIEVED] > 0,
        "a level was reached": names[FactName.LEVEL_REACHED] > 0,
        "a streak was broken": names[FactName.STREAK_BROKEN] > 0,
        "a reward was forfeited": names[FactName.REWARD_FORFEITED] > 0,
        "left and came back": names[FactName.RE_ENROLLED] > 0,
        "a streak was reset": names[FactName.STREAK_RESET] > 0,
        "an enrolment moved back": names[FactName.ENROLMENT_MOVED_BACK] > 0,
        "opted out": names[FactName.OPTED_OUT] > 0,
        "late activity counted": any(late(programme, fact) for fact in life.facts),
        "a step on a period's edge": any(step.at in life.world.edges for step in life.world.steps),
        "a night with another offset": len({_offset(programme, at) for at in life.world.edges}) > 1,
        "deactivated": life.world.model.deactivated_at is not None,
        "days for late activity": any(period.due_at > period.ends_at for period in programme.periods),
        "several runs with progress": len({progress.run for progress in life.part.progress}) > 1,
    }
    for place, reached in places.items():
        if reached:
            event(place)


def late(programme: Programme, fact: Fact) -> bool:
    if fact.name is not FactName.PROGRESSED:
        return False
    assert fact.period_number is not None
    return programme.period(fact.period_number).ends_at <= fact.at


def _offset(programme: Programme, at: datetime) -> timedelta | None:
    return at.astimezone(ZoneInfo(programme.zone.key)).utcoffset()
