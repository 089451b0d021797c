"""The one place where a command becomes facts or a refusal.

`decide` is pure and total: programme, standing, command and instant in, decision out. It settles first what fell due
before the command, so that a late period-end job changes nothing (rule 8). It gives the facts and the standing after
them in one pass, and folding the facts gives the same standing (core/fold.py). Who asked, and where the facts go, is
the engine's business. Rules in prose: docs/rules.md. Tests: tests/core/test_decide.py, tests/model.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Struct

from kosminar.core.activity import Activity
from kosminar.core.amount import VALUE_LIMIT
from kosminar.core.errors import Code
from kosminar.core.fact import (
    Achieved,
    Enrolled,
    EnrolmentMovedBack,
    Fact,
    OptedOut,
    Progressed,
    ReEnrolled,
    RewardEarned,
    UnEnrolled,
    of_reward,
)
from kosminar.core.fold import after, fold
from kosminar.core.period import Period
from kosminar.core.programme import EnrolmentTerms, Programme, Target
from kosminar.core.standing import Method, Progress, Standing, Stretch, TargetStanding
from kosminar.core.zone import local_day


class Enrol(Struct, frozen=True):
    """Enrol or re-enrol: the same call, and the standing tells which (rules 13, 14, 16)."""

    target_id: int
    period_name: str | None = None
    initial_balance: int | None = None
    reset: bool = False


class UnEnrol(Struct, frozen=True):
    """Out of the running period and all later ones (rule 7)."""

    target_id: int


Command: TypeAlias = Enrol | UnEnrol | Activity


class Verdict(StrEnum):
    """What became of an activity in one target."""

    COUNTED = "counted"
    NOT_COUNTED = "not counted"
    TOO_LATE = "too late"


class Reason(StrEnum):
    """Why: the first that holds, in this order (rule 89)."""

    DEACTIVATED = "DEACTIVATED"
    OUTSIDE_PERIODS = "OUTSIDE_PERIODS"
    NO_NUMBER = "NO_NUMBER"
    OPTED_OUT = "OPTED_OUT"
    NOT_ENROLLED = "NOT_ENROLLED"
    BEFORE_ENROLMENT = "BEFORE_ENROLMENT"
    WHILE_OUT = "WHILE_OUT"
    TOO_LATE = "TOO_LATE"
    COUNTED = "COUNTED"
    DAY_COUNTED = "DAY_COUNTED"


_VERDICTS: Final = {
    Reason.TOO_LATE: Verdict.TOO_LATE,
    Reason.COUNTED: Verdict.COUNTED,
    Reason.DAY_COUNTED: Verdict.COUNTED,
}


class Judgement(Struct, frozen=True, gc=False):
    """What one target made of an activity: the reason, and where it counted the period, what it added, the value after."""

    target_id: int
    reason: Reason
    period_number: int | None = None
    amount: int | None = None
    value: int | None = None

    @property
    def verdict(self) -> Verdict:
        return _VERDICTS.get(self.reason, Verdict.NOT_COUNTED)


class Decision(Struct, frozen=True):
    """The facts, oldest first, and the standing after them; or the errors, and then the standing as it was.

    There may be warnings with either. Of an activity there is a judgement for each target that hears it.
    """

    standing: Standing
    facts: tuple[Fact, ...] = ()
    errors: tuple[Code, ...] = ()
    warnings: tuple[Code, ...] = ()
    judgements: tuple[Judgement, ...] = ()


def decide(programme: Programme, standing: Standing, command: Command, at: datetime) -> Decision:
    """What this command does at that instant, after everything that fell due before it.

    A command without effect changes nothing, also not what fell due: the next one or the period's end settles that.
    """
    settled, due = settle(programme, standing, at)
    match command:
        case Activity():
            decision = _count(programme, settled, command, at)
        case Enrol():
            decision = _enrol(programme, settled, command, at)
        case UnEnrol():
            decision = _un_enrol(programme, settled, command, at)
    if not decision.facts:
        return Decision(standing, (), decision.errors, decision.warnings, decision.judgements)
    if not due:
        return decision
    return Decision(decision.standing, (*due, *decision.facts), decision.errors, decision.warnings, decision.judgements)


def settle(programme: Programme, standing: Standing, at: datetime) -> tuple[Standing, Sequence[Fact]]:
    """The standing once everything is settled that fell due up to that instant, and the facts that this brought.

    A standing of an earlier version of the definition is brought to this one, and one that was to wake before anything
    is due gets its right instant: to wake too early is harmless, because what is due is decided here.
    """
    if standing.version != programme.version:
        standing = programme.standing_of(standing.targets)
    if standing.wakes_at is None or standing.wakes_at > at:
        return standing, ()
    facts: list[Fact] = []
    for target, part in zip(programme.targets, standing.targets, strict=True):
        facts += programme.kind.due(programme, target, part, at)
    return fold(programme, standing, facts), facts


# ---------------------------------------------------------------- enrol


def covered_from(programme: Programme, command: Enrol, at: datetime) -> Period | None:
    """The first period that an enrolment would cover; None where the answer is 310019 (rule 13)."""
    if command.period_name is None or not programme.kind.may_name_period():
        return programme.window.running_or_next(at, None)
    period = programme.window.period_named(command.period_name)
    return period if period is not None and at < period.ends_at else None


def _enrol(programme: Programme, standing: Standing, command: Enrol, at: datetime) -> Decision:
    target, part = _part(programme, standing, command.target_id)
    period = covered_from(programme, command, at)
    warnings = programme.kind.ignored(
        period_named=command.period_name is not None, balance_given=command.initial_balance is not None
    )
    if period is None:
        return Decision(standing, errors=(Code.UNKNOWN_PERIOD,), warnings=warnings)
    if part.enrolled:
        return Decision(standing, errors=(Code.ALREADY_ENROLLED,), warnings=warnings)
    begin = ReEnrolled if part.enrolments else Enrolled
    terms = EnrolmentTerms(period, command.initial_balance, command.reset)
    facts = [begin(at, target.target_id, period.number, at), *programme.kind.entered(target, part, terms, at)]
    return Decision(fold(programme, standing, facts), tuple(facts), warnings=warnings)


# ---------------------------------------------------------------- un-enrol


def _un_enrol(programme: Programme, standing: Standing, command: UnEnrol, at: datetime) -> Decision:
    target, part = _part(programme, standing, command.target_id)
    if programme.window.over(at, None):
        return Decision(standing, errors=(Code.UNKNOWN_PERIOD,))
    if not part.stretches:
        if not target.automatic:
            return Decision(standing, errors=(Code.NEVER_ENROLLED,))
        opted_out = OptedOut(at, target.target_id)
        return Decision(fold(programme, standing, [opted_out]), (opted_out,))
    if not part.enrolled:
        return Decision(standing, warnings=(Code.ALREADY_UN_ENROLLED,))
    running = programme.window.period_at(at, None)
    left = UnEnrolled(at, target.target_id, None if running is None else running.number)
    facts = (left, *programme.kind.left(programme, target, part, at))
    return Decision(fold(programme, standing, facts), facts)


def _part(programme: Programme, standing: Standing, target_id: int) -> tuple[Target, TargetStanding]:
    index = programme.index_of(target_id)
    return programme.targets[index], standing.targets[index]


# ---------------------------------------------------------------- activity


def _count(programme: Programme, standing: Standing, activity: Activity, at: datetime) -> Decision:
    """Each target that hears the activity judges it once; what one of them makes of it is nothing to the others."""
    facts: list[Fact] = []
    judgements = []
    parts = list(standing.targets)
    turned = False
    for index, target in programme.hearing(activity.type):
        counted = _count_in(programme, target, parts[index], activity, at)
        judgements.append(counted.judgement)
        if counted.facts:
            parts[index] = counted.standing
            facts += counted.facts
            turned = turned or counted.turned
    if not facts:
        return Decision(standing, judgements=tuple(judgements))
    # When time next changes something is worked out again only where more than a value moved.
    moved = (
        programme.standing_of(tuple(parts)) if turned else Standing(tuple(parts), standing.version, standing.wakes_at)
    )
    return Decision(moved, tuple(facts), judgements=tuple(judgements))


class _Counted(Struct, frozen=True, gc=False):
    """What one target makes of an activity. `turned` where more changed than a value."""

    judgement: Judgement
    standing: TargetStanding
    facts: list[Fact]
    turned: bool = False


def _count_in(programme: Programme, target: Target, part: TargetStanding, activity: Activity, at: datetime) -> _Counted:
    def refused(reason: Reason, period: Period | None = None) -> _Counted:
        number = None if period is None else period.number
        return _Counted(Judgement(target.target_id, reason, number), part, [])

    if programme.deactivated(at):
        return refused(Reason.DEACTIVATED)
    period = programme.window.period_at(activity.occurred_at, None)
    if period is None:
        return refused(Reason.OUTSIDE_PERIODS)
    amount = target.measure.number(activity)
    if amount is None:
        return refused(Reason.NO_NUMBER, period)
    brought = _automatic_enrolment(target, part, period, at)
    admitted = after(part, brought) if brought is not None else part
    out = _why_out(programme, admitted, activity, period, at)
    if out is not None:
        return refused(out, period)
    if at >= period.due_at:
        return refused(Reason.TOO_LATE, period)
    counted = _progress(programme, target, admitted, activity, period, amount, at)
    if counted is None:
        return refused(Reason.NO_NUMBER, period)
    if brought is None:
        return counted
    return _Counted(counted.judgement, counted.standing, [brought, *counted.facts], turned=True)


def _automatic_enrolment(target: Target, part: TargetStanding, period: Period, at: datetime) -> Fact | None:
    """The enrolment holds from the earliest period in which an activity counted (rule 11)."""
    if not target.automatic:
        return None
    # Activity may be dated a few minutes ahead, in a period that has not begun: nobody is enrolled ahead of the clock.
    starts_at = min(period.starts_at, at)
    if not part.stretches:
        return Enrolled(at, target.target_id, period.number, starts_at, automatic=True)
    first = part.stretches[0]
    if first.method is Method.AUTOMATIC and period.number < first.first_period_number:
        return EnrolmentMovedBack(at, target.target_id, period.number, starts_at)
    return None


def _why_out(
    programme: Programme, part: TargetStanding, activity: Activity, period: Period, at: datetime
) -> Reason | None:
    """None where the enrolment lets the activity count in its period (rules 11, 12)."""
    enrolments = part.enrolments
    if not enrolments:
        return Reason.OPTED_OUT if part.stretches else Reason.NOT_ENROLLED
    outside = _why_dated_outside(programme, enrolments, activity, period)
    if outside is not None:
        return outside
    if period.ends_at <= at:
        return None if part.enrolled_at_end_of(period) else Reason.WHILE_OUT
    if not part.enrolled:
        return Reason.WHILE_OUT
    return None if part.enrolled_in(period) else Reason.NOT_ENROLLED


def _why_dated_outside(
    programme: Programme, enrolments: Sequence[Stretch], activity: Activity, period: Period
) -> Reason | None:
    """Inside an enrolled stretch; or before the first enrolment, in its period, unless the programme forbids it."""
    reaching = [stretch for stretch in enrolments if stretch.reaches(period)]
    if any(stretch.contains(activity.occurred_at) for stretch in reaching):
        return None
    first = enrolments[0]
    if activity.occurred_at < first.starts_at:
        if first.first_period_number != period.number:
            return Reason.NOT_ENROLLED
        return Reason.BEFORE_ENROLMENT if programme.track_from_enrolment else None
    return Reason.WHILE_OUT if reaching else Reason.NOT_ENROLLED


def _progress(
    programme: Programme,
    target: Target,
    part: TargetStanding,
    activity: Activity,
    period: Period,
    amount: int,
    at: datetime,
) -> _Counted | None:
    """The value moves; the target may be achieved, and then what follows is earned (rules 15, 18, 19).

    None where the value would pass the bound of what can be kept.
    """
    was = part.progress_in(period, run=programme.kind.run_at(part, activity.occurred_at))
    day = local_day(activity.occurred_at, programme.zone) if target.measure.daily else None
    day_counted = day in was.days
    if day_counted:
        amount = 0
    value = was.value + amount
    if value >= VALUE_LIMIT:
        return None
    reason = Reason.DAY_COUNTED if day_counted else Reason.COUNTED
    judgement = Judgement(target.target_id, reason, period.number, amount, value)
    facts: list[Fact] = [Progressed(at, target.target_id, period.number, was.run, amount, value, day)]
    achieved = was.achieved_at is None and value >= target.values[period.number - 1]
    if not achieved:
        # What happens all day is written out; the fold takes longer.
        days = was.days if day is None or day_counted else tuple(sorted((*was.days, day)))
        moved = Progress(
            period.number,
            was.run,
            value,
            was.achieved_at,
            was.achieved_recorded_at,
            days,
            was.rewarded,
            was.forfeited,
            was.settled,
        )
        return _Counted(judgement, part.with_progress(moved), facts)
    follows: list[Fact] = [Achieved(at, target.target_id, period.number, was.run, value, activity.occurred_at)]
    if not part.rewarded_in(period):
        follows += [
            of_reward(RewardEarned, reward, at=at, target_id=target.target_id, run=was.run, period_number=period.number)
            for reward in target.immediate_rewards
        ]
    for fact in (*facts, *follows):
        part = after(part, fact)
    levels = programme.kind.met(programme, target, part, was.run, at)
    for fact in levels:
        part = after(part, fact)
    return _Counted(judgement, part, [*facts, *follows, *levels], turned=True)
