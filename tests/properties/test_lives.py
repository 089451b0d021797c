"""What is true of every customer's life in every programme, over the core alone.

Each property says of which fields it holds. That the standing is also right, not only consistent, is shown by
tests/model, which these worlds come from.
"""

from collections import Counter
from datetime import datetime
from typing import Any

from hypothesis import assume, event, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.model.engine_replay import TARGET_ID
from tests.model.histories import random_attributes
from tests.properties.effort import effort
from tests.properties.worlds import MOMENT, RANDOMS, WORLDS, Life, Step, World, describe, ledger, reward_key

from kosminar.core.activity import Activity
from kosminar.core.decide import Enrol, UnEnrol, decide, settle
from kosminar.core.errors import Code
from kosminar.core.fact import (
    Achieved,
    Enrolled,
    EnrolmentMovedBack,
    Fact,
    FactName,
    Progressed,
    ReEnrolled,
    RewardEarned,
    UnEnrolled,
)
from kosminar.core.fold import fold
from kosminar.core.kind import streak
from kosminar.core.period import Period
from kosminar.core.standing import TargetStanding

CHOICES = st.data()


def instants_between(world: World, first: datetime, last: datetime) -> list[datetime]:
    """Both ends, the middle, and every edge between them with the moments beside it."""
    beside = {at + moment for at in world.edges for moment in (-MOMENT, 0 * MOMENT, MOMENT)}
    return sorted({first, first + (last - first) / 2, *(at for at in beside if first <= at <= last), last})


# ---------------------------------------------------------------- folding


@effort(150)
@given(WORLDS, CHOICES)
def test_folding_facts_in_any_batches_gives_the_same_standing(world: World, choices: st.DataObject) -> None:
    life = Life(world).live(world.steps).wait(world.ends_at)
    describe(life)
    cuts = sorted(choices.draw(st.lists(st.integers(0, len(life.facts)), max_size=6)))

    programme = life.programme(world.ends_at)
    folded = programme.untouched
    for first, last in zip([0, *cuts], [*cuts, len(life.facts)], strict=True):
        folded = fold(programme, folded, life.facts[first:last])

    assert folded == life.standing
    assert fold(programme, programme.untouched, life.facts) == life.standing


# ---------------------------------------------------------------- duplicates


@effort(150)
@given(WORLDS, CHOICES)
def test_a_call_that_comes_again_before_the_next_one_changes_nothing(world: World, choices: st.DataObject) -> None:
    calls = [n for n, step in enumerate(world.steps) if not isinstance(step.command, Activity)]
    assume(calls)
    repeated = choices.draw(st.sampled_from(calls))
    life = Life(world).live(world.steps[:repeated])
    call = world.steps[repeated]
    decision = life.do(call)
    assume(decision is not None and decision.facts)
    again_at = choices.draw(st.sampled_from(instants_between(world, call.at, world.ends_at)))

    again = decide(life.active, life.standing, call.command, again_at)

    event("at once" if again_at == call.at else "later")
    known = Code.ALREADY_ENROLLED if isinstance(call.command, Enrol) else Code.ALREADY_UN_ENROLLED
    told = {*again.errors, *again.warnings} - {Code.PERIOD_NAME_IGNORED, Code.INITIAL_BALANCE_IGNORED}
    assert again.facts == ()
    # The period that was entered, or the programme, may be over by then.
    assert told == {known} or (again_at > call.at and told == {Code.UNKNOWN_PERIOD})


# ---------------------------------------------------------------- order


@effort(250)
@given(WORLDS, RANDOMS, CHOICES)
def test_the_order_of_activities_of_one_period_that_arrive_together_does_not_matter(
    world: World, random: Any, choices: st.DataObject
) -> None:
    """Holds of verdicts, stretches, runs with their met periods and levels, and in each period of each run of the value,
    the visited days and whether it is achieved; of the rewards by their keys.

    Does not hold, and need not, of `achieved_at` (the activity that crossed), of which run carries the flag that the
    period's immediate rewards were given, and of the values told on the way.
    """
    before = choices.draw(st.integers(0, len(world.steps)))
    life = Life(world).live(world.steps[:before])
    first_at = world.steps[before - 1].at if before else world.edges[0] - MOMENT
    period = choices.draw(st.sampled_from(life.active.periods))
    at = choices.draw(st.sampled_from(instants_between(world, first_at, world.ends_at)))
    together = _activities(world, random, period, at)
    assume(len(together) > 1)
    order = choices.draw(st.permutations(together))

    one, other = life.fork().live(together), life.fork().live(order)

    describe(one)
    counted = one.facts[len(life.facts) :]
    event(f"{min(2, sum(fact.name is FactName.PROGRESSED for fact in counted))} or more counted")
    event(f"achieved among them: {any(fact.name is FactName.ACHIEVED for fact in counted)}")
    assert _verdicts(one) == _verdicts(other)
    assert _what_order_leaves(one.part) == _what_order_leaves(other.part)
    assert ledger(one.facts) == ledger(other.facts)
    assert Counter(map(_without_order, one.facts)) == Counter(map(_without_order, other.facts))


def _activities(world: World, random: Any, period: Period, at: datetime) -> list[Step]:
    """Two to five activities dated in the period, where something happened in it."""
    places = {period.starts_at, period.ends_at - MOMENT, *(step.at for step in world.steps), at}
    dates = sorted(date for date in places if period.covers(date))
    event_type = world.model.event_name or "transaction"
    made = [
        Activity(f"together-{n}", event_type, random.choice(dates), random_attributes(random, world.model))
        for n in range(random.randint(2, 5))
    ]
    return [Step(at, activity) for activity in made if not activity.in_the_future(at)]


def _verdicts(life: Life) -> dict[str, Any]:
    return {
        s.command.activity_id: [judgement.verdict for judgement in d.judgements]
        for s, d in life.told
        if isinstance(s.command, Activity)
    }


def _what_order_leaves(part: TargetStanding) -> tuple[Any, ...]:
    progress = {
        (p.period_number, p.run): (p.value, p.achieved_at is not None, p.days, p.settled, p.forfeited)
        for p in part.progress
    }
    rewarded = {p.period_number for p in part.progress if p.rewarded}
    return part.stretches, part.runs, progress, rewarded


def _without_order(fact: Fact) -> Fact:
    match fact:
        case Progressed():
            return replace(fact, amount=0, value=0, day=None)
        case Achieved():
            return replace(fact, value=0, occurred_at=fact.at)
        case RewardEarned(level_id=None):
            return replace(fact, run=1)
    return fact


# ---------------------------------------------------------------- once


@effort(500)
@given(WORLDS)
def test_a_level_is_reached_once_a_run_and_a_reward_earned_once_for_ever(world: World) -> None:
    life = Life(world).live(world.steps).wait(world.ends_at).wait(world.ends_at)

    describe(life)
    reached = Counter((f.run, f.level_id) for f in life.facts if f.name is FactName.LEVEL_REACHED)
    earned = Counter(reward_key(f) for f in life.facts if f.name is FactName.REWARD_EARNED)
    assert set(reached.values()) <= {1}
    assert set(earned.values()) <= {1}


# ---------------------------------------------------------------- leaving and coming back


@effort(300)
@given(WORLDS, CHOICES)
def test_to_leave_a_period_and_come_back_to_it_with_null_is_as_if_one_had_never_left(
    world: World, choices: st.DataObject
) -> None:
    """Where nothing happened in between, and nothing dated in between comes later, these are equal from then on: every
    verdict and code, each value, achievement (its instant too), visited day and settled period, which periods the
    customer was in at their end, the streak's runs with all they hold, and the ledger once everything is settled.

    Not equal are the two calls' own facts and stretches, and the forfeit that stands in between.
    """
    left = _where_one_can_leave(world)
    assume(left)
    index, leave_at, last_at = choices.draw(st.sampled_from(left))
    return_at = choices.draw(st.sampled_from(instants_between(world, leave_at, last_at)))
    steps = [step for step in world.steps[index:] if not _dated_between(step, leave_at, return_at)]
    stayed = Life(world).live(world.steps[:index])
    since = len(stayed.told)
    left_once = stayed.fork().live([Step(leave_at, UnEnrol(TARGET_ID)), Step(return_at, Enrol(TARGET_ID))])

    stayed.live(steps).wait(world.ends_at)
    left_once.live(steps).wait(world.ends_at)

    describe(stayed)
    event("came back at once" if leave_at == return_at else "was away for a time")
    event(f"lives on after it: {len(steps) > 0}")
    event(f"had lost a reward for a time: {left_once.part.progress != stayed.part.progress}")
    assert _answers(left_once, since + 2) == _answers(stayed, since)
    assert _what_leaving_leaves(left_once) == _what_leaving_leaves(stayed)
    assert ledger(left_once.facts) == ledger(stayed.facts)


def _where_one_can_leave(world: World) -> list[tuple[int, datetime, datetime]]:
    """Before which step, when, and until when one may come back: enrolled in the running period, nobody else acting."""
    found = []
    life = Life(world)
    for index in range(1, len(world.steps) + 1):
        life.do(world.steps[index - 1])
        first = world.steps[index - 1].at
        last = world.steps[index].at if index < len(world.steps) else world.ends_at
        for at in instants_between(world, first, last):
            period = life.active.window.period_at(at, None)
            if period is None or life.programme(at).deactivated(at) or not life.part.enrolled_in(period):
                continue
            until = min(last, period.ends_at - MOMENT)
            if world.model.deactivated_at is not None:
                until = min(until, world.model.deactivated_at - MOMENT)
            found.append((index, at, until))
    return found


def _dated_between(step: Step, leave_at: datetime, return_at: datetime) -> bool:
    return isinstance(step.command, Activity) and leave_at <= step.command.occurred_at < return_at


def _answers(life: Life, since: int) -> list[tuple[Any, ...]]:
    return [(step, d.errors, d.warnings, d.judgements) for step, d in life.told[since:]]


def _what_leaving_leaves(life: Life) -> tuple[Any, ...]:
    part = life.part
    progress = [replace(progress, forfeited=False) for progress in part.progress]
    held = [part.enrolled_at_end_of(period) for period in life.active.periods]
    return progress, part.runs, part.enrolled, held


# ---------------------------------------------------------------- out


class Doors:
    """When the customer went in and out, told from the facts of enrolment alone."""

    def __init__(self) -> None:
        self.stays: list[tuple[datetime, datetime | None, int]] = []

    def see(self, fact: Fact) -> None:
        match fact:
            case Enrolled() | ReEnrolled():
                self.stays.append((fact.starts_at, None, fact.period_number))
            case EnrolmentMovedBack():
                self.stays[0] = (fact.starts_at, self.stays[0][1], fact.period_number)
            case UnEnrolled():
                came_at, _, first = self.stays[-1]
                self.stays[-1] = (came_at, fact.at, first)

    def in_now(self, period: Period) -> bool:
        return bool(self.stays) and self.stays[-1][1] is None and self.stays[-1][2] <= period.number

    def in_at_end(self, period: Period) -> bool:
        return any(
            first <= period.number and came_at < period.ends_at and (went_at is None or went_at >= period.ends_at)
            for came_at, went_at, first in self.stays
        )

    def out_on(self, date: datetime) -> bool:
        """Between a leaving and the coming back; before the first coming nobody is out."""
        came = [came_at for came_at, _, _ in self.stays]
        went = [went_at for _, went_at, _ in self.stays]
        returns = [*came[1:], None]
        return any(
            left is not None and left <= date and (back is None or date < back)
            for left, back in zip(went, returns, strict=True)
        )


@effort(250)
@given(WORLDS)
def test_nothing_un_enrolled_ever_earns(world: World) -> None:
    """No value moves for activity dated while out, nor in a running period that one is out of, nor in an ended one that
    one was out of at its end; and each reward comes with a value that moved, or at the end of a period one was in.
    """
    life = Life(world).live(world.steps).wait(world.ends_at)

    describe(life)
    doors, moved_at = Doors(), None
    at_period_end = {r.reward_definition_id for r in life.active.targets[0].period_end_rewards}
    dates = iter([s.command.occurred_at for s, d in life.told if any(isinstance(f, Progressed) for f in d.facts)])
    for fact in life.facts:
        doors.see(fact)
        if isinstance(fact, Progressed):
            period = life.active.period(fact.period_number)
            assert not doors.out_on(next(dates))
            assert doors.in_at_end(period) if period.ends_at <= fact.at else doors.in_now(period)
            moved_at = fact.at
        if fact.name is FactName.REWARD_EARNED and fact.reward_definition_id in at_period_end:
            assert doors.in_at_end(life.active.period(fact.period_number))
        elif fact.name in (FactName.ACHIEVED, FactName.LEVEL_REACHED, FactName.REWARD_EARNED):
            assert fact.at == moved_at


# ---------------------------------------------------------------- streaks


@effort(250)
@given(WORLDS.filter(lambda world: world.model.kind != "DEFAULT"), CHOICES)
def test_the_longest_is_never_less_than_the_current_count_nor_that_than_zero(
    world: World, choices: st.DataObject
) -> None:
    """Of every run, at every instant of a life: as many periods met >= peak >= count >= 0. The peak never falls, and no
    level above it was reached.
    """
    life, highest = Life(world), Counter[int]()
    counts = {level.level_id: level.count for level in life.active.levels}
    waits = [Step(at, Enrol(TARGET_ID)) for at in choices.draw(st.sets(st.sampled_from(world.edges)))]
    for step in sorted([*world.steps, *waits], key=lambda step: step.at):
        life.wait(step.at) if step in waits else life.do(step)
        programme = life.programme(step.at)
        for run in life.part.runs:
            count = streak.count(programme, life.part, run, step.at)
            peak = streak.peak(programme, life.part, run, step.at)
            assert run.met.bit_count() >= peak >= count >= 0
            assert peak >= highest[run.number]
            assert all(counts[level_id] <= peak for level_id in run.reached if level_id is not None)
            highest[run.number] = peak
            event(f"peak above count: {peak > count}")

    describe(life)


# ---------------------------------------------------------------- settling


@effort(250)
@given(WORLDS, CHOICES)
def test_settling_early_late_or_stepwise_gives_the_same_facts_and_twice_gives_none(
    world: World, choices: st.DataObject
) -> None:
    """The same facts with the same instants, and so the same standing. In one go they come run by run, stepwise by due
    instant: facts of two runs of a streak may change places.
    """
    steps = sorted({*world.edges, *(step.at for step in world.steps), world.ends_at})
    settled_at = choices.draw(st.sets(st.sampled_from(steps)))
    late, stepwise = Life(world), Life(world)
    for step in world.steps:
        for at in sorted(at for at in settled_at if at <= step.at):
            _settle_twice(stepwise, at)
            settled_at = settled_at - {at}
        late.do(step)
        stepwise.do(step)
    for at in [*sorted(settled_at), world.ends_at]:
        _settle_twice(stepwise, at)
    late.wait(world.ends_at)

    describe(late)
    event(f"settled by itself: {min(3, sum(f.name in _DUE for f in late.facts))} or more")
    assert _verdicts(stepwise) == _verdicts(late)
    assert Counter(stepwise.facts) == Counter(late.facts)
    assert stepwise.standing == late.standing


_DUE = (FactName.PERIOD_ENDED, FactName.STREAK_BROKEN)


def _settle_twice(life: Life, at: datetime) -> None:
    life.wait(at)
    assert settle(life.programme(at), life.standing, at) == (life.standing, ())
