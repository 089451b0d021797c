"""The slow, honest model: one customer in one target, recounted from the whole history at every question.

Owns nothing but the list of accepted commands with the answers they got. Every other thing (stretches, values, counts,
levels, rewards) is a question that walks that list again from its beginning, so no state can go stale and no shortcut of
the engine can hide here. It never imports kosminar. The law is docs/decisions.md; its rules are cited by number.
The stories that prove it right are in test_slow_model.py, the worlds that test the engine with it in histories.py.

Where the rules leave a choice, this model chose as follows. Each choice is fair to the customer and safe for the brand's money.

C1  Codes and ids (4, 21). An error comes without warnings. A future activity is refused before its id is looked up, so 390006 goes
    before 390005. A deactivated programme answers 310017 to both calls, and `not counted` (never `too late`) to activity.
C2  Period names (13) are found whatever their case, since they are unique whatever their case.
C3  First stretch (12). An opt-out before any enrolment is no stretch and leaves no period: the enrol call after it is a first
    enrolment, with the exception for earlier activity of its period and with null = 0. The exception lasts: it holds as well
    for activity that arrives in a later stretch, if that activity's period may be counted at all.
C4  An automatic first stretch (11) moves back even after the customer left it: the activity is of an earlier, ended period, and
    nobody is brought back. It moves back with trackFromEnrolment on too: rule 11 says where that enrolment begins.
C5  Covering (13). A stretch entered for a later period covers nothing before it: neither activity, nor a period's end, nor
    "the period that was left". An earlier stretch that did cover a period goes on making it one that was left.
C6  Up to five minutes ahead (20). Activity may be counted in a period that has not begun. If the customer leaves, or the programme is
    deactivated, before that period begins, an achieved period-end reward of it is forfeited like one of the running period
    (27: the un-enrolment that loses it writes it). Re-entered as "another period", null is 0 there, and the achievement goes.
C7  A continuous streak (19) does not run across a period that is still open and unmet: a later period met ahead of time counts from 1
    while the earlier one is open, and the course is recomputed when that one is met. Else a level could be earned
    across a period that turns short a minute later.
C8  Runs (16). An activity's run is found on its arrival and stays (12: judged once), also when a reset follows within its five minutes
    ahead. A first enrolment with reset begins run 1. A period is short for the run whose stretch covers its end, for no other.
C9  Values (14, 24). Each amount, balance and target is rounded, then added. A negative or unreadable amount does not count (returns
    are ignored by default, 22, and an achieved value stays at or above its target). A zero amount counts, and may achieve what a balance prepared. A second visit
    on a day counts and adds 0. Nothing is achieved without a counted activity, not even a target of 0.
C10 Deactivation (28) forfeits what is achieved by whoever is enrolled at that instant, with its own reason, also where a row forfeited by an
    earlier un-enrolment exists: without the deactivation that row would have been paid.
C11 A streak's target may name immediate rewards too (26): one row a period for ever, with run 1, in whichever run it was met first.
C12 `too late` is said only if the activity would have counted had it come in time, enrolling automatically included.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal
from zoneinfo import ZoneInfo

FUTURE_MAX = timedelta(minutes=5)
PLACES = Decimal("0.001")

GROUP_NOT_FOUND = 310017
PERIOD_NOT_FOUND = 310019
ALREADY_ENROLLED = 310119
NEVER_ENROLLED = 310149
ALREADY_UNENROLLED = 390001
PERIOD_NAME_IGNORED = 390002
BALANCE_IGNORED = 390003
CHANGES_NOTHING = {GROUP_NOT_FOUND, PERIOD_NOT_FOUND, ALREADY_ENROLLED, NEVER_ENROLLED, ALREADY_UNENROLLED}

COUNTED = "counted"
NOT_COUNTED = "not counted"
TOO_LATE = "too late"
FUTURE = "future"
DUPLICATE = "duplicate"
CONFLICT = "conflict"
RECORDED = {COUNTED, NOT_COUNTED, TOO_LATE}

ISSUED = "issued"
FORFEITED = "forfeited"
LEFT_EARLY = "un-enrolled before period end"
DEACTIVATED = "programme deactivated"


@dataclass(frozen=True)
class ModelPeriod:
    period_id: int
    number: int
    name: str
    starts_at: datetime
    ends_at: datetime
    due_at: datetime
    target_value: Decimal


@dataclass(frozen=True)
class ModelReward:
    definition_id: int
    kind: str
    value: str | Decimal
    allocation: Literal["IMMEDIATE", "PERIOD_END"]


@dataclass(frozen=True)
class ModelLevel:
    level_id: int
    name: str
    count: int
    rewards: tuple[ModelReward, ...] = ()


@dataclass(frozen=True)
class ModelProgramme:
    kind: Literal["DEFAULT", "STREAKS", "NON_CONTINUOUS_STREAKS"]
    automatic: bool
    zone: str
    track_from_enrolment: bool
    periods: tuple[ModelPeriod, ...]
    rewards: tuple[ModelReward, ...] = ()
    levels: tuple[ModelLevel, ...] = ()
    entity: Literal["TRANSACTION", "EVENT"] = "TRANSACTION"
    measure: Literal["GROSS_SALES", "SALES", "COUNT", "VISIT", "EVENT_ATTRIBUTE"] = "COUNT"
    event_name: str | None = None
    attribute: str | None = None
    deactivated_at: datetime | None = None


@dataclass(frozen=True)
class Enrol:
    at: datetime
    period_name: str | None = None
    initial_balance: Decimal | None = None
    reset: bool = False


@dataclass(frozen=True)
class UnEnrol:
    at: datetime


@dataclass(frozen=True)
class Act:
    at: datetime
    activity_id: str
    type: str
    occurred_at: datetime
    attributes: dict[str, object] = field(default_factory=dict)


Command = Enrol | UnEnrol | Act
Answer = list[int] | str
History = tuple[tuple[Command, Answer], ...]


@dataclass(frozen=True)
class Outcome:
    """What holds at `now`. `progress` names only what a counted activity or a given balance touched; the rest is (0, False)."""

    answers: list[Answer]
    progress: dict[tuple[int, int], tuple[Decimal, bool]]
    rewards: dict[tuple[int | None, int | None, int, int], tuple[str, str | None]]
    reached: set[tuple[int, int]]
    count: int
    enrolled: bool


def replay(programme: ModelProgramme, commands: Sequence[Command], *, now: datetime) -> Outcome:
    """Answer each command from the history before it, then ask the whole history what holds at `now`."""
    history: History = ()
    for command in commands:
        assert not history or history[-1][0].at <= command.at, "the clock never goes back"
        assert command.at <= now, "now is not before the last command"
        history = (*history, (command, answer_to(programme, history, command)))

    return Outcome(
        answers=[answer for _, answer in history],
        progress=progress(programme, history),
        rewards=rewards(programme, history, now),
        reached=reached(programme, history),
        count=current_count(programme, history, now),
        enrolled=open_stretch(programme, history) is not None,
    )


# Answers


def answer_to(programme: ModelProgramme, history: History, command: Command) -> Answer:
    match command:
        case Enrol():
            return answer_to_enrol(programme, history, command)
        case UnEnrol():
            return answer_to_unenrol(programme, history, command)
        case Act():
            return answer_to_activity(programme, history, command)


def answer_to_enrol(programme: ModelProgramme, history: History, enrol: Enrol) -> list[int]:
    """Rules 4, 13, 14 and 17: the period is looked up before the customer can be enrolled already."""
    if deactivated(programme, enrol.at):
        return [GROUP_NOT_FOUND]
    if first_covered(programme, enrol) is None:
        return [PERIOD_NOT_FOUND]
    if open_stretch(programme, history) is not None:
        return [ALREADY_ENROLLED]
    warnings = []
    if is_streak(programme) and enrol.period_name is not None:
        warnings.append(PERIOD_NAME_IGNORED)
    if is_streak(programme) and enrol.initial_balance is not None:
        warnings.append(BALANCE_IGNORED)
    return warnings


def answer_to_unenrol(programme: ModelProgramme, history: History, unenrol: UnEnrol) -> list[int]:
    """Rules 10 and 11: all over, then never enrolled (an automatic group takes an opt-out), then already gone."""
    if deactivated(programme, unenrol.at):
        return [GROUP_NOT_FOUND]
    if all(period.ends_at <= unenrol.at for period in programme.periods):
        return [PERIOD_NOT_FOUND]
    if open_stretch(programme, history) is not None:
        return []
    if has_left(history):
        return [ALREADY_UNENROLLED]
    return [] if programme.automatic else [NEVER_ENROLLED]


def answer_to_activity(programme: ModelProgramme, history: History, act: Act) -> str:
    """Rules 20 and 21, then rule 12."""
    if act.occurred_at > act.at + FUTURE_MAX:
        return FUTURE
    for earlier, answer in history:
        if isinstance(earlier, Act) and answer in RECORDED and earlier.activity_id == act.activity_id:
            return DUPLICATE if same_content(earlier, act) else CONFLICT
    if not would_count_in_time(programme, history, act):
        return NOT_COUNTED
    return COUNTED if act.at < period_of(programme, act).due_at else TOO_LATE


def would_count_in_time(programme: ModelProgramme, history: History, act: Act) -> bool:
    """Rules 11, 12 and 28: everything that decides whether an activity counts, but for its coming too late."""
    period = period_of(programme, act)
    if period is None or amount_of(programme, act) is None or deactivated(programme, act.at):
        return False
    # An automatic enrolment begins or moves back by the very activity that counts, so it is judged as if it had.
    held = stretches(programme, (*history, (act, COUNTED)))
    if not dated_inside(programme, held, period, act.occurred_at):
        return False
    if period.ends_at <= act.at:
        return stretch_at_end(held, period) is not None
    return held[-1].ends_at is None and held[-1].covers(period)


def dated_inside(programme: ModelProgramme, held: list["Stretch"], period: ModelPeriod, occurred_at: datetime) -> bool:
    """Rule 12: inside an enrolled stretch that covers the period, or earlier in the first enrolment's period."""
    if any(stretch.covers(period) and stretch.contains(occurred_at) for stretch in held):
        return True
    return (
        bool(held)
        and not programme.track_from_enrolment
        and held[0].first == period
        and occurred_at < held[0].starts_at
    )


def same_content(one: Act, other: Act) -> bool:
    """Rule 21: type, instant and attributes as parsed; 1.0 equals 1.00, and true is no 1."""
    return (one.type, one.occurred_at, plain(one.attributes)) == (
        other.type,
        other.occurred_at,
        plain(other.attributes),
    )


def plain(value: object) -> object:
    match value:
        case bool():
            return ("boolean", value)
        case int() | Decimal():
            return ("number", Decimal(value))
        case dict():
            return ("object", sorted((name, plain(part)) for name, part in value.items()))
        case list() | tuple():
            return ("array", [plain(part) for part in value])
        case _:
            return ("other", repr(value))


# Stretches and periods


@dataclass(frozen=True)
class Stretch:
    """One enrolment: [starts_at, ends_at), covering the period `first` and every later one."""

    starts_at: datetime
    ends_at: datetime | None
    first: ModelPeriod
    run: int
    automatic: bool

    def covers(self, period: ModelPeriod) -> bool:
        return self.first.number <= period.number

    def contains(self, at: datetime) -> bool:
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


def stretches(programme: ModelProgramme, history: History) -> list[Stretch]:
    """Every stretch of the history, oldest first, the automatic first one as far back as it has been moved."""
    found: list[Stretch] = []
    opted_out = False
    for command, answer in history:
        if isinstance(command, Enrol) and changed(answer):
            resets = bool(found) and command.reset and is_streak(programme)
            run = (found[-1].run if found else 1) + (1 if resets else 0)
            found.append(Stretch(command.at, None, first_covered(programme, command), run, automatic=False))
        if isinstance(command, UnEnrol) and changed(answer):
            if found:
                found[-1] = replace(found[-1], ends_at=command.at)
            else:
                opted_out = True
        if isinstance(command, Act) and answer == COUNTED and programme.automatic:
            period = period_of(programme, command)
            if not found and not opted_out:
                found.append(Stretch(period.starts_at, None, period, run=1, automatic=True))
            elif found and found[0].automatic and period.number < found[0].first.number:
                found[0] = replace(found[0], starts_at=period.starts_at, first=period)
    return found


def open_stretch(programme: ModelProgramme, history: History) -> Stretch | None:
    held = stretches(programme, history)
    return held[-1] if held and held[-1].ends_at is None else None


def stretch_at_end(held: list[Stretch], period: ModelPeriod) -> Stretch | None:
    """The stretch in which the customer was enrolled at the period's end; who leaves at that very instant still was."""
    for stretch in held:
        began = stretch.starts_at < period.ends_at
        lasted = stretch.ends_at is None or period.ends_at <= stretch.ends_at
        if stretch.covers(period) and began and lasted:
            return stretch
    return None


def was_left(held: list[Stretch], period: ModelPeriod) -> bool:
    """Whether the customer was ever un-enrolled inside the period while it was covered (rules 7 and 14)."""
    return any(
        stretch.ends_at is not None and stretch.covers(period) and period.starts_at <= stretch.ends_at < period.ends_at
        for stretch in held
    )


def has_left(history: History) -> bool:
    return any(isinstance(command, UnEnrol) and changed(answer) for command, answer in history)


def changed(answer: Answer) -> bool:
    return not CHANGES_NOTHING.intersection(answer)


def first_covered(programme: ModelProgramme, enrol: Enrol) -> ModelPeriod | None:
    """Rule 13: the named period of a milestone unless it ended, else the running one, else the nearest to come."""
    remaining = [period for period in in_order(programme) if enrol.at < period.ends_at]
    if not is_streak(programme) and enrol.period_name is not None:
        remaining = [period for period in remaining if period.name.casefold() == enrol.period_name.casefold()]
    return remaining[0] if remaining else None


def period_of(programme: ModelProgramme, act: Act) -> ModelPeriod | None:
    for period in programme.periods:
        if within(period, act):
            return period
    return None


def within(period: ModelPeriod, act: Act) -> bool:
    return period.starts_at <= act.occurred_at < period.ends_at


def in_order(programme: ModelProgramme) -> list[ModelPeriod]:
    return sorted(programme.periods, key=lambda period: period.number)


def deactivated(programme: ModelProgramme, at: datetime) -> bool:
    return programme.deactivated_at is not None and programme.deactivated_at <= at


def is_streak(programme: ModelProgramme) -> bool:
    return programme.kind != "DEFAULT"


# Values


@dataclass(frozen=True)
class Standing:
    value: Decimal = Decimal(0)
    achieved: bool = False
    days: frozenset[object] = frozenset()
    touched: bool = False


def progress(programme: ModelProgramme, history: History) -> dict[tuple[int, int], tuple[Decimal, bool]]:
    found = {}
    for period in programme.periods:
        for run in runs(programme, history):
            standing = standing_in(programme, history, period, run=run)
            if standing.touched:
                found[period.period_id, run] = (standing.value, standing.achieved)
    return found


def standing_in(programme: ModelProgramme, history: History, period: ModelPeriod, *, run: int) -> Standing:
    """Rules 14, 16 and 18: the period's value in that run, built up in the order of acceptance."""
    standing = Standing()
    for index, (command, answer) in enumerate(history):
        before = history[:index]
        if is_balance_for(programme, period, command, answer):
            standing = with_balance(standing, command, left=was_left(stretches(programme, before), period))
        if answer == COUNTED and within(period, command) and run_of(programme, before, command) == run:
            standing = with_activity(programme, standing, period, command)
    return standing


def is_balance_for(programme: ModelProgramme, period: ModelPeriod, command: Command, answer: Answer) -> bool:
    """Whether this is an enrolment that sets where the period begins: milestones only, the first period alone (13, 14)."""
    if is_streak(programme) or not isinstance(command, Enrol) or not changed(answer):
        return False
    return first_covered(programme, command) == period


def with_balance(standing: Standing, enrol: Enrol, *, left: bool) -> Standing:
    """Rule 14: null resumes the period that was left; anything else replaces value, visited days and achievement."""
    if enrol.initial_balance is not None:
        return Standing(value=rounded(enrol.initial_balance), touched=True)
    return standing if left else Standing(touched=standing.touched)


def with_activity(programme: ModelProgramme, standing: Standing, period: ModelPeriod, act: Act) -> Standing:
    day = act.occurred_at.astimezone(ZoneInfo(programme.zone)).date()
    if programme.measure == "VISIT":
        value = standing.value + (0 if day in standing.days else 1)
    else:
        value = standing.value + amount_of(programme, act)
    achieved = standing.achieved or value >= rounded(period.target_value)
    return Standing(value, achieved, standing.days | {day}, touched=True)


def amount_of(programme: ModelProgramme, act: Act) -> Decimal | None:
    """What the activity adds (a visit adds its day, not this 1), or None if it is none of those that are measured."""
    if act.type != ("transaction" if programme.entity == "TRANSACTION" else programme.event_name):
        return None
    match programme.measure:
        case "GROSS_SALES":
            return decimal_or_none(act.attributes.get("grossAmount"))
        case "SALES":
            return decimal_or_none(act.attributes.get("amount"))
        case "EVENT_ATTRIBUTE":
            return decimal_or_none(act.attributes.get(programme.attribute))
        case "COUNT" | "VISIT":
            return Decimal(1)


def decimal_or_none(value: object) -> Decimal | None:
    assert not isinstance(value, float), "money never was a float"
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value < 0:
        return None
    return rounded(Decimal(value))


def rounded(value: Decimal) -> Decimal:
    return value.quantize(PLACES, rounding=ROUND_HALF_UP)


# Streaks


def runs(programme: ModelProgramme, history: History) -> range:
    held = stretches(programme, history)
    return range(1, (held[-1].run if held else 1) + 1)


def run_of(programme: ModelProgramme, before: History, act: Act) -> int:
    """Rule 16: the run going at the activity's own date; a run lasts until the re-enrolment that resets it."""
    return max((s.run for s in stretches(programme, before) if s.starts_at <= act.occurred_at), default=1)


def course(programme: ModelProgramme, history: History, *, run: int, at: datetime) -> list[int]:
    """Rule 19: the count after each period of the run, in order, as it looks at that instant."""
    held = stretches(programme, history)
    periods = in_order(programme)
    met = [standing_in(programme, history, period, run=run).achieved for period in periods]
    counts = []
    count = 0
    for index, period in enumerate(periods):
        if met[index]:
            count += 1
        elif programme.kind == "STREAKS" and breaks(held, period, run=run, at=at, overtaken=any(met[index + 1 :])):
            count = 0
        counts.append(count)
    return counts


def breaks(held: list[Stretch], period: ModelPeriod, *, run: int, at: datetime, overtaken: bool) -> bool:
    """Whether an unmet period breaks that run: it ended with the customer in it, or is open and overtaken (C7)."""
    if period.ends_at <= at:
        stretch = stretch_at_end(held, period)
        return stretch is not None and stretch.run == run
    going = bool(held) and held[-1].ends_at is None and held[-1].run == run and held[-1].covers(period)
    return going and overtaken


def current_count(programme: ModelProgramme, history: History, now: datetime) -> int:
    if not is_streak(programme):
        return 0
    # While deactivated no period turns short (28): the course stands as at that instant.
    at = now if programme.deactivated_at is None else min(now, programme.deactivated_at)
    return course(programme, history, run=runs(programme, history)[-1], at=at)[-1]


def reached(programme: ModelProgramme, history: History) -> set[tuple[int, int]]:
    """Levels that any point of the course passed, as it looked after any counted activity; once reached, reached."""
    found = set()
    if not is_streak(programme):
        return found
    for index, (command, answer) in enumerate(history):
        if answer == COUNTED:
            until_then = history[: index + 1]
            for run in runs(programme, until_then):
                peak = max(course(programme, until_then, run=run, at=command.at))
                found |= {(level.level_id, run) for level in programme.levels if level.count <= peak}
    return found


# Rewards


def rewards(
    programme: ModelProgramme, history: History, now: datetime
) -> dict[tuple[int | None, int | None, int, int], tuple[str, str | None]]:
    """The ledger at `now`. What forfeits is written first, so that what is paid stands (rule 9: the same row)."""
    ledger: dict[tuple[int | None, int | None, int, int], tuple[str, str | None]] = {}
    for period in programme.periods:
        state = period_end_state(programme, history, period, now)
        for reward in programme.rewards:
            key = (period.period_id, None, 1, reward.definition_id)
            if reward.allocation == "PERIOD_END" and state is not None:
                ledger[key] = state
            if reward.allocation == "IMMEDIATE" and ever_achieved(programme, history, period):
                ledger[key] = (ISSUED, None)
    for level_id, run in reached(programme, history):
        for level in programme.levels:
            if level.level_id == level_id:
                for reward in level.rewards:
                    ledger[None, level_id, run, reward.definition_id] = (ISSUED, None)
    return ledger


def ever_achieved(programme: ModelProgramme, history: History, period: ModelPeriod) -> bool:
    """Whether the period stood achieved at any moment in any run, though a balance may have withdrawn it since."""
    return any(
        answer == COUNTED and within(period, command) and achieved(programme, history[: index + 1], period)
        for index, (command, answer) in enumerate(history)
    )


def period_end_state(
    programme: ModelProgramme, history: History, period: ModelPeriod, now: datetime
) -> tuple[str, str | None] | None:
    """What has become of the period's period-end rewards: paid, forfeited with the last reason, or no row."""
    if paid_at_end(programme, history, period, now):
        return (ISSUED, None)
    if lost_to_deactivation(programme, history, period, now):
        return (FORFEITED, DEACTIVATED)
    if lost_to_unenrolment(programme, history, period):
        return (FORFEITED, LEFT_EARLY)
    return None


def paid_at_end(programme: ModelProgramme, history: History, period: ModelPeriod, now: datetime) -> bool:
    """Rules 8 and 28: paid at due_at if achieved by then, and enrolled at the end; deactivated before its end, never."""
    if now < period.due_at:
        return False
    if programme.deactivated_at is not None and programme.deactivated_at < period.ends_at:
        return False
    until_due = tuple((command, answer) for command, answer in history if command.at < period.due_at)
    enrolled_at_end = stretch_at_end(stretches(programme, until_due), period) is not None
    return enrolled_at_end and achieved(programme, until_due, period)


def lost_to_deactivation(programme: ModelProgramme, history: History, period: ModelPeriod, now: datetime) -> bool:
    """Rule 28: achieved and enrolled at the instant of deactivation, the period not over by then."""
    if not deactivated(programme, now) or period.ends_at <= programme.deactivated_at:
        return False
    until_then = tuple((command, answer) for command, answer in history if command.at < programme.deactivated_at)
    stretch = open_stretch(programme, until_then)
    return stretch is not None and stretch.covers(period) and achieved(programme, until_then, period)


def lost_to_unenrolment(programme: ModelProgramme, history: History, period: ModelPeriod) -> bool:
    """Rule 9: some un-enrolment found the period covered, achieved and not over."""
    for index, (command, answer) in enumerate(history):
        if isinstance(command, UnEnrol) and changed(answer) and command.at < period.ends_at:
            before = history[:index]
            stretch = open_stretch(programme, before)
            if stretch is not None and stretch.covers(period) and achieved(programme, before, period):
                return True
    return False


def achieved(programme: ModelProgramme, history: History, period: ModelPeriod) -> bool:
    return any(standing_in(programme, history, period, run=run).achieved for run in runs(programme, history))
