"""The fixed story that the engine and the recount both live through: programmes, and steps in time order.

Pure data made by a formula: the same list on every machine and Python. It knows when a customer is enrolled (it must,
to ask only what can be asked), and nothing else of the rules. Only `Random.random()` is used, the one method whose
sequence Python promises to keep.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from itertools import count, pairwise
from random import Random
from typing import Any, Literal
from zoneinfo import ZoneInfo

from tests.cdnow.purchases import Purchase, all_purchases, months

ZONE = "America/New_York"

ALREADY_UN_ENROLLED = 390001  # A warning.
ALREADY_ENROLLED = 310119  # An error.


@dataclass(frozen=True)
class Level:
    name: str
    count: int  # Periods in a row.
    points: Decimal


@dataclass(frozen=True)
class Programme:
    """A group with one target and automatic enrolment; its periods are called Cycle_1, Cycle_2, ..."""

    name: str
    tracking: Literal["MILESTONE", "STREAKS"]
    measure: Literal["SALES", "COUNT"]
    target_value: Decimal
    frequency: Literal["MONTHLY", "WEEKLY"]
    starts_on: date
    period_count: int
    offset_days: int
    allocation: Literal["IMMEDIATE", "PERIOD_END"] = "IMMEDIATE"
    points: Decimal | None = None  # A milestone's reward.
    levels: tuple[Level, ...] = ()  # A streak's.


MONTHLY = Programme(
    name="Monthly spend",
    tracking="MILESTONE",
    measure="SALES",
    target_value=Decimal("50.00"),
    frequency="MONTHLY",
    starts_on=date(1997, 1, 1),
    period_count=18,
    offset_days=0,
    allocation="IMMEDIATE",
    points=Decimal(100),
)
MONTHLY_AT_END = Programme(
    name="Monthly spend at period end",
    tracking="MILESTONE",
    measure="SALES",
    target_value=Decimal("50.00"),
    frequency="MONTHLY",
    starts_on=date(1997, 1, 1),
    period_count=18,
    offset_days=0,
    allocation="PERIOD_END",
    points=Decimal(100),
)
WEEKLY = Programme(
    name="Weekly purchases",
    tracking="STREAKS",
    measure="COUNT",
    target_value=Decimal(1),
    frequency="WEEKLY",
    starts_on=date(1996, 12, 30),
    period_count=79,
    offset_days=31,
    levels=(
        Level("Two weeks", 2, Decimal(20)),
        Level("Three weeks", 3, Decimal(30)),
        Level("Five weeks", 5, Decimal(50)),
        Level("Eight weeks", 8, Decimal(80)),
    ),
)
MILESTONES = (MONTHLY, MONTHLY_AT_END)
PROGRAMMES = (MONTHLY, MONTHLY_AT_END, WEEKLY)


@dataclass(frozen=True)
class Advance:
    """Move the test clock."""

    to: datetime


@dataclass(frozen=True)
class ImportMonth:
    """Import the purchases of one month, in the file's order. The clock stands at the month's last millisecond."""

    at: datetime
    year: int
    month: int


@dataclass(frozen=True)
class UnEnrol:
    at: datetime
    customer_id: int
    programme: str
    expected_code: int | None = None  # The warning of a deliberate repeat.


@dataclass(frozen=True)
class Enrol:
    at: datetime
    customer_id: int
    programme: str
    initial_balance: Decimal | None = None  # Milestones only.
    reset: bool | None = None  # Streaks only.
    expected_code: int | None = None  # The error of a deliberate repeat.


Step = Advance | ImportMonth | UnEnrol | Enrol


def local(year: int, month: int, day: int, *clock: int) -> datetime:
    """An instant by the wall clock of the zone."""
    return datetime.combine(date(year, month, day), time(*clock), ZoneInfo(ZONE)).astimezone(UTC)


PROGRAMMES_END_AT = local(1998, 7, 1)  # The milestones'; nothing is asked of the streak in its last days either.
CLOCK_STARTS_AT = local(1996, 12, 20)
CLOCK_ENDS_AT = local(1998, 8, 15)  # Past the last period end: 6 July 1998 and 31 days.


@cache
def steps() -> tuple[Step, ...]:
    """The whole story, in time order; the clock first shows CLOCK_STARTS_AT and last CLOCK_ENDS_AT."""
    return tuple(_Story().told())


BEFORE_IMPORT, IMPORT, AFTER_IMPORT = range(3)
"""Inside one instant: a month's last millisecond holds commands on both sides of its import."""

BALANCES = (None, None, None, Decimal(0), Decimal(20), Decimal("37.655"), Decimal(60))
RESETS = (True, True, False, None)
MILLISECOND = timedelta(milliseconds=1)

Intent = Literal["turn", "return", "repeat"]


@dataclass(frozen=True)
class _Visit:
    """Something to happen to somebody: what exactly is known only when the time has come."""

    intent: Intent  # Leave or join; join if out; ask again for what already is.
    programme: Programme
    customer_id: int | None = None  # None: whoever fits.
    back_at: datetime | None = None  # When to join again after leaving.
    back_phase: int = BEFORE_IMPORT


@dataclass
class _Story:
    random: Random = field(default_factory=lambda: Random(1997))
    agenda: list[tuple[datetime, int, int, _Visit | ImportMonth]] = field(default_factory=list)
    numbers: count = field(default_factory=count)
    enrolled: dict[tuple[str, int], bool] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def told(self) -> list[Step]:
        self.plan_before_the_start()
        for year, month, purchases in months():
            self.plan_month(year, month, purchases)
        self.plan_regulars()
        self.play()
        self.steps.append(Advance(CLOCK_ENDS_AT))
        return self.steps

    # Planning: who is visited when.

    def plan_before_the_start(self) -> None:
        """Opt-outs and early enrolments, each customer once, so that none leaves before the first period begins."""
        strangers = self.sample([id_ for id_ in range(1, 23_571) if id_ % 97 == 0], 30)
        for index, customer_id in enumerate(strangers):
            at = (local(1996, 12, 28, 10), local(1996, 12, 30), local(1996, 12, 31, 23, 59, 59, 999_000))[index % 3]
            self.add(at, BEFORE_IMPORT, _Visit("turn", PROGRAMMES[index // 3 % 3], customer_id))

    def plan_month(self, year: int, month: int, purchases: Sequence[Purchase]) -> None:
        starts_at = local(year, month, 1)
        ends_at = local(year + month // 12, month % 12 + 1, 1)
        last_at = ends_at - MILLISECOND
        days: dict[int, list[date]] = {}
        spent: dict[int, Decimal] = {}
        for purchase in purchases:
            days.setdefault(purchase.customer_id, []).append(purchase.purchased_on)
            spent[purchase.customer_id] = spent.get(purchase.customer_id, Decimal(0)) + purchase.amount
        buyers = list(days)
        spenders = [id_ for id_, amount in spent.items() if amount >= MONTHLY.target_value]
        repeaters = [id_ for id_, dates in days.items() if len(set(dates)) > 1]

        self.add(last_at, IMPORT, ImportMonth(last_at, year, month))
        # On the boundary itself: the month before has ended, this one is left.
        for customer_id, programme in zip(self.sample(buyers, 5), (*PROGRAMMES, *MILESTONES), strict=True):
            self.add(starts_at, BEFORE_IMPORT, _Visit("turn", programme, customer_id))
        # In the middle, half of them back in the same month, some in between two of their purchases.
        for index, customer_id in enumerate(self.sample(repeaters, 9)):
            at = self.between(starts_at, last_at)
            back_at = self.between(at, last_at) if index % 2 else None
            self.add(at, BEFORE_IMPORT, _Visit("turn", PROGRAMMES[index % 3], customer_id, back_at))
        # On the instant at which a purchase is dated: leaving excludes it, joining includes it.
        for index, customer_id in enumerate(self.sample(repeaters, 6)):
            first, *_, last = sorted(set(days[customer_id]))
            at, back_at = local(first.year, first.month, first.day), local(last.year, last.month, last.day)
            visit = _Visit("turn", PROGRAMMES[index % 3], customer_id, back_at if index < 3 else None)
            self.add(at, BEFORE_IMPORT, visit)
        # On a Monday's midnight, where weeks meet, some back within the week.
        monday = starts_at.astimezone(ZoneInfo(ZONE)).date() + timedelta(days=7 + self.below(14))
        monday -= timedelta(days=monday.weekday())
        for index, customer_id in enumerate(self.sample(buyers, 4)):
            at = local(monday.year, monday.month, monday.day)
            back_at = at + timedelta(days=2, hours=5) if index % 2 else None
            self.add(at, BEFORE_IMPORT, _Visit("turn", WEEKLY, customer_id, back_at))
        # Between two purchases of one week, most of them back before the second.
        for index, (customer_id, first, second) in enumerate(self.sample(_pairs_of_a_week(days), 8)):
            at = self.between(
                local(first.year, first.month, first.day), local(second.year, second.month, second.day) - MILLISECOND
            )
            back_at = self.between(at, local(second.year, second.month, second.day)) if index % 4 else None
            self.add(at, BEFORE_IMPORT, _Visit("turn", WEEKLY, customer_id, back_at))
        # In the last millisecond, before the import and after it.
        for customer_id, programme in zip(self.sample(buyers, 3), PROGRAMMES, strict=True):
            self.add(last_at, BEFORE_IMPORT, _Visit("turn", programme, customer_id))
        for index, customer_id in enumerate(self.sample(spenders, 12)):
            programme = (MONTHLY_AT_END, MONTHLY, MONTHLY_AT_END, WEEKLY)[index % 4]
            back_at = (last_at, self.between(ends_at, ends_at + timedelta(days=20)), None)[index % 3]
            phase = AFTER_IMPORT if back_at == last_at else BEFORE_IMPORT
            self.add(last_at, AFTER_IMPORT, _Visit("turn", programme, customer_id, back_at, phase))
        # A burst: many at one instant.
        if month in (2, 6, 11):
            at = self.between(starts_at, last_at)
            for index, customer_id in enumerate(self.sample(buyers, 15)):
                self.add(at, BEFORE_IMPORT, _Visit("turn", PROGRAMMES[index % 3], customer_id))
        # Some return, and some ask for what already is.
        for index in range(6):
            self.add(self.between(starts_at, last_at), BEFORE_IMPORT, _Visit("return", PROGRAMMES[index % 3]))
        for programme in PROGRAMMES:
            self.add(self.between(starts_at, last_at), BEFORE_IMPORT, _Visit("repeat", programme))

    def plan_regulars(self) -> None:
        """Those who bought in four weeks on end leave in mid-streak: back in the same week, the next, or later."""
        weeks: dict[int, set[int]] = {}
        for purchase in all_purchases():
            week = (purchase.purchased_on - WEEKLY.starts_on).days // 7
            weeks.setdefault(purchase.customer_id, set()).add(week)
        streaks = [
            (customer_id, week)
            for customer_id, bought in weeks.items()
            for week in sorted(bought)
            if week - 1 not in bought and {week + 1, week + 2, week + 3} <= bought
        ]
        for index, (customer_id, week) in enumerate(self.sample(streaks, 110)):
            day = WEEKLY.starts_on + timedelta(weeks=week + 2 + index % 2)
            monday = local(day.year, day.month, day.day)
            at = self.between(monday, monday + timedelta(days=3))
            back_from = at if index % 3 == 0 else monday + timedelta(weeks=index % 3)
            back_at = self.between(back_from, back_from + timedelta(days=3))
            self.add(at, BEFORE_IMPORT, _Visit("turn", WEEKLY, customer_id, back_at))

    # Playing: what each visit becomes.

    def play(self) -> None:
        buyers = {(year, month): {purchase.customer_id for purchase in rows} for year, month, rows in months()}
        clock = CLOCK_STARTS_AT
        while self.agenda:
            at, _, _, what = heapq.heappop(self.agenda)
            if at > clock:
                self.steps.append(Advance(at))
                clock = at
            if isinstance(what, ImportMonth):
                self.steps.append(what)
                for customer_id in buyers[what.year, what.month]:
                    for programme in PROGRAMMES:
                        self.enrolled.setdefault((programme.name, customer_id), True)
            else:
                self.visit(at, what)

    def visit(self, at: datetime, visit: _Visit) -> None:
        programme = visit.programme
        if visit.intent == "turn":
            assert visit.customer_id is not None
            # Who was never there joins early, or opts out before anything happened.
            enrolled = self.enrolled.get((programme.name, visit.customer_id), self.below(2) == 0)
            if not enrolled:
                self.enrol(at, visit.customer_id, programme)
                return
            self.enrolled[programme.name, visit.customer_id] = False
            self.steps.append(UnEnrol(at, visit.customer_id, programme.name))
            if visit.back_at is not None and visit.back_at < PROGRAMMES_END_AT:
                self.add(visit.back_at, visit.back_phase, _Visit("return", programme, visit.customer_id))
        elif visit.customer_id is not None:
            if not self.enrolled[programme.name, visit.customer_id]:
                self.enrol(at, visit.customer_id, programme)
        elif visit.intent == "return":
            if out := self.those(programme, lambda enrolled: not enrolled):
                self.enrol(at, self.pick(out), programme)
        else:
            wanted = self.below(2) == 0
            if fitting := self.those(programme, lambda enrolled: enrolled is wanted):
                self.repeat(at, self.pick(fitting), programme, enrolled=wanted)

    def enrol(self, at: datetime, customer_id: int, programme: Programme) -> None:
        self.enrolled[programme.name, customer_id] = True
        if programme is WEEKLY:
            self.steps.append(Enrol(at, customer_id, programme.name, reset=self.pick(RESETS)))
        else:
            self.steps.append(Enrol(at, customer_id, programme.name, initial_balance=self.pick(BALANCES)))

    def repeat(self, at: datetime, customer_id: int, programme: Programme, *, enrolled: bool) -> None:
        if not enrolled:
            self.steps.append(UnEnrol(at, customer_id, programme.name, ALREADY_UN_ENROLLED))
        elif programme is WEEKLY:
            self.steps.append(Enrol(at, customer_id, programme.name, reset=True, expected_code=ALREADY_ENROLLED))
        else:
            balance = Decimal("99.00")
            self.steps.append(Enrol(at, customer_id, programme.name, balance, expected_code=ALREADY_ENROLLED))

    def those(self, programme: Programme, fits: Callable[[bool], bool]) -> list[int]:
        return sorted(
            id_ for (name, id_), enrolled in self.enrolled.items() if name == programme.name and fits(enrolled)
        )

    # Chance, from the one promised method.

    def add(self, at: datetime, phase: int, what: _Visit | ImportMonth) -> None:
        heapq.heappush(self.agenda, (at, phase, next(self.numbers), what))

    def below(self, limit: int) -> int:
        return int(self.random.random() * limit)

    def between(self, start: datetime, end: datetime) -> datetime:
        """A whole millisecond in [start, end)."""
        return start + self.below((end - start) // MILLISECOND) * MILLISECOND

    def pick(self, values: Sequence[Any]) -> Any:
        return values[self.below(len(values))]

    def sample(self, values: Sequence[Any], size: int) -> list[Any]:
        """So many of them, none twice."""
        left = list(values)
        return [left.pop(self.below(len(left))) for _ in range(min(size, len(left)))]


def _pairs_of_a_week(days: dict[int, list[date]]) -> list[tuple[int, date, date]]:
    return [
        (customer_id, first, second)
        for customer_id, dates in days.items()
        for first, second in pairwise(sorted(set(dates)))
        if second.isocalendar()[:2] == first.isocalendar()[:2]
    ]
