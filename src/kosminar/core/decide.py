"""The one place where a command becomes facts or a refusal.

`decide` is pure and total: programme, standing, command and instant in, decision out. It settles first what fell due
before the command, so that a late period-end job changes nothing (decision 8). Who asked, and where the facts go, is
the engine's business. Rules in prose: docs/rules.md. Tests: tests/core/test_decide.py, tests/model.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from kosminar.core import milestone, streak
from kosminar.core.activity import Activity
from kosminar.core.amount import VALUE_LIMIT, ZERO
from kosminar.core.errors import Code
from kosminar.core.fact import Fact, FactName
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.standing import MILESTONE_RUN, Method, Standing
from kosminar.core.zone import local_day


@dataclass(frozen=True, slots=True)
class Enrol:
    """Enrol or re-enrol: the same call, and the standing tells which (decisions 13, 14, 16).

    `initial_balance` is in thousandths.
    """

    period_name: str | None = None
    initial_balance: int | None = None
    reset: bool = False


@dataclass(frozen=True, slots=True)
class UnEnrol:
    """Out of the running period and all later ones (decision 7)."""


Command = Enrol | UnEnrol | Activity


class Verdict(StrEnum):
    """What became of an activity in one target."""

    COUNTED = "counted"
    NOT_COUNTED = "not counted"
    TOO_LATE = "too late"


@dataclass(frozen=True, slots=True)
class Decision:
    """The facts, oldest first; or the errors, and then there are no facts. A warning may stand beside either."""

    facts: tuple[Fact, ...] = ()
    errors: tuple[Code, ...] = ()
    warnings: tuple[Code, ...] = ()
    verdict: Verdict | None = None


def decide(programme: Programme, standing: Standing, command: Command, at: datetime) -> Decision:
    """What this command does at that instant, after everything that fell due before it."""
    due = settle(programme, standing, at)
    standing = standing.after(due)
    match command:
        case Enrol():
            decision = _enrol(programme, standing, command, at)
        case UnEnrol():
            decision = _un_enrol(programme, standing, at)
        case Activity():
            decision = _count(programme, standing, command, at)
    if not due:
        return decision
    return replace(decision, facts=(*due, *decision.facts)) if decision.facts else decision


def settle(programme: Programme, standing: Standing, at: datetime) -> list[Fact]:
    """What fell due up to that instant and is not yet in the standing."""
    settle_kind = streak.settle if programme.streak else milestone.settle
    return settle_kind(programme, standing, at)


# ---------------------------------------------------------------- enrol


def covered_from(programme: Programme, command: Enrol, at: datetime) -> Period | None:
    """The first period an enrolment would cover; None where the answer is 310019 (decision 13)."""
    if programme.streak or command.period_name is None:
        return programme.window.running_or_next(at, None)
    period = programme.period_named(command.period_name)
    return period if period is not None and at < period.ends_at else None


def _enrol(programme: Programme, standing: Standing, command: Enrol, at: datetime) -> Decision:
    period = covered_from(programme, command, at)
    warnings = _ignored(programme, command)
    if period is None:
        return Decision(errors=(Code.UNKNOWN_PERIOD,), warnings=warnings)
    if standing.enrolled:
        return Decision(errors=(Code.ALREADY_ENROLLED,), warnings=warnings)
    returning = bool(standing.enrolments)
    facts = [
        Fact(
            name=FactName.RE_ENROLLED if returning else FactName.ENROLLED,
            at=at,
            period_number=period.number,
            starts_at=at,
        )
    ]
    if not programme.streak:
        facts += _balance(standing, command, period, at)
    elif returning and command.reset:
        facts.append(Fact(name=FactName.STREAK_RESET, at=at, run=standing.runs[-1].number + 1))
    return Decision(facts=tuple(facts), warnings=warnings)


def _ignored(programme: Programme, command: Enrol) -> tuple[Code, ...]:
    if not programme.streak:
        return ()
    ignored = []
    if command.period_name is not None:
        ignored.append(Code.PERIOD_NAME_IGNORED)
    if command.initial_balance is not None:
        ignored.append(Code.INITIAL_BALANCE_IGNORED)
    return tuple(ignored)


def _balance(standing: Standing, command: Enrol, period: Period, at: datetime) -> list[Fact]:
    """The value the first covered period starts with; null resumes in the period that was left (decision 14)."""
    if command.initial_balance is None and standing.left(period):
        return []
    balance = command.initial_balance if command.initial_balance is not None else ZERO
    was = standing.progress_in(period)
    facts = []
    if was.achieved_at is not None:
        facts.append(
            Fact(
                name=FactName.ACHIEVEMENT_WITHDRAWN,
                at=at,
                period_number=period.number,
                run=MILESTONE_RUN,
                value=was.value,
            )
        )
    if was.value != balance or was.days:
        facts.append(
            Fact(name=FactName.BALANCE_SET, at=at, period_number=period.number, run=MILESTONE_RUN, value=balance)
        )
    return facts


# ---------------------------------------------------------------- un-enrol


def _un_enrol(programme: Programme, standing: Standing, at: datetime) -> Decision:
    if programme.window.over(at, None):
        return Decision(errors=(Code.UNKNOWN_PERIOD,))
    if not standing.stretches:
        if not programme.target.automatic:
            return Decision(errors=(Code.NEVER_ENROLLED,))
        return Decision(facts=(Fact(name=FactName.OPTED_OUT, at=at),))
    if not standing.enrolled:
        return Decision(warnings=(Code.ALREADY_UN_ENROLLED,))
    running = programme.window.period_at(at, None)
    facts = [Fact(name=FactName.UN_ENROLLED, at=at, period_number=None if running is None else running.number)]
    if not programme.streak:
        facts += milestone.forfeit(programme, standing, at)
    return Decision(facts=tuple(facts))


# ---------------------------------------------------------------- activity


def _count(programme: Programme, standing: Standing, activity: Activity, at: datetime) -> Decision:
    amount = programme.target.measure.number(activity)
    period = programme.window.period_at(activity.occurred_at, None)
    if amount is None or period is None or programme.deactivated(at):
        return Decision(verdict=Verdict.NOT_COUNTED)
    admission = _admit(programme, standing, activity, period, at)
    if admission is None:
        return Decision(verdict=Verdict.NOT_COUNTED)
    if at >= period.due_at:
        return Decision(verdict=Verdict.TOO_LATE)
    progress = _progress(programme, standing.after(admission), activity, period, amount, at)
    if progress is None:
        return Decision(verdict=Verdict.NOT_COUNTED)
    return Decision(facts=(*admission, *progress), verdict=Verdict.COUNTED)


def _admit(
    programme: Programme, standing: Standing, activity: Activity, period: Period, at: datetime
) -> list[Fact] | None:
    """None where the activity cannot count; else the enrolment that it brings about, mostly none (decisions 11, 12)."""
    brought = _automatic_enrolment(programme, standing, period, at)
    standing = standing.after(brought)
    if not _dated_inside(programme, standing, activity, period):
        return None
    admitted = standing.enrolled_at_end_of(period) if period.ends_at <= at else standing.enrolled_in(period)
    return brought if admitted else None


def _automatic_enrolment(programme: Programme, standing: Standing, period: Period, at: datetime) -> list[Fact]:
    """The enrolment holds from the earliest period in which an activity counted (decision 11)."""
    if not programme.target.automatic:
        return []
    if not standing.stretches:
        name = FactName.ENROLLED
    elif standing.stretches[0].method is Method.AUTOMATIC and period.number < standing.stretches[0].first_period_number:
        name = FactName.ENROLMENT_MOVED_BACK
    else:
        return []
    # Activity may be dated a few minutes ahead, in a period that has not begun: nobody is enrolled ahead of the clock.
    starts_at = min(period.starts_at, at)
    return [Fact(name=name, at=at, period_number=period.number, automatic=True, starts_at=starts_at)]


def _dated_inside(programme: Programme, standing: Standing, activity: Activity, period: Period) -> bool:
    """Inside an enrolled stretch; or before the first enrolment, in its period, unless the programme forbids it."""
    enrolments = standing.enrolments
    for stretch in enrolments:
        if stretch.reaches(period) and stretch.contains(activity.occurred_at):
            return True
    if programme.track_from_enrolment or not enrolments:
        return False
    first = enrolments[0]
    return first.first_period_number == period.number and activity.occurred_at < first.starts_at


def _progress(
    programme: Programme, standing: Standing, activity: Activity, period: Period, amount: int, at: datetime
) -> list[Fact] | None:
    """The value moves; the target may be achieved, and then what follows from it is earned (decisions 15, 18, 19).

    None where the value would reach its limit: such an activity counts for nothing.
    """
    target = programme.target
    run = standing.run_at(activity.occurred_at).number if programme.streak else MILESTONE_RUN
    was = standing.progress_in(period, run=run)
    day = local_day(activity.occurred_at, programme.zone) if target.measure.daily else None
    value = was.value if day is not None and day in was.days else was.value + amount
    if value >= VALUE_LIMIT:
        return None
    progressed = Fact(
        name=FactName.PROGRESSED,
        at=at,
        period_number=period.number,
        run=run,
        value=value,
        occurred_at=activity.occurred_at,
        day=day,
    )
    if was.achieved_at is not None or value < target.values[period.number - 1]:
        return [progressed]
    facts = [progressed, progressed._replace(name=FactName.ACHIEVED, day=None)]
    if not standing.rewarded_in(period):
        facts += [milestone.earned(reward, at, period, run=run) for reward in target.immediate_rewards]
    if programme.streak:
        standing = standing.after(facts)
        facts += streak.levels_reached(programme, standing, next(r for r in standing.runs if r.number == run), at)
    return facts
