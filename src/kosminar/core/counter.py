"""Counters: how many customers of a group stand where, as sums of changes.

Owns the order of the numbers (`Slot`) and what each of them counts. A change is made of what an entry of a customer's
order did, so every count is a sum that needs no customer's row. Where a group has several targets, a customer counts
once for each. Rows belong to a period, or to period 0 where the count is the group's; and to the day, in the group's
zone, of the fact that moved them. Reasons: ADR-0043. Against a recount from standings: tests/properties/test_counters.py.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import IntEnum
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import Final, NamedTuple

from kosminar.core.account import Change, Entry, MovedReward
from kosminar.core.fact import Fact, LevelReached, Progressed
from kosminar.core.fold import after
from kosminar.core.number_set import above
from kosminar.core.programme import Programme, Target
from kosminar.core.reward import RewardState
from kosminar.core.standing import Method, Progress, Stretch, TargetStanding
from kosminar.core.zone import local_day

TENTHS: Final = 10
# The period of what belongs to the group as a whole: streaks, levels, and the rewards of levels.
WHOLE_GROUP: Final = 0
# Points are kept as two numbers, so that no sum of them leaves 64 bits: ten million customers may each earn the most
# points that there can be, a hundred times.
POINTS_UNIT: Final = 10**6
# A recount goes through as many instants as there are activities: so many are kept at hand.
INSTANT_COUNT_MAX: Final = 10_000


class Slot(IntEnum):
    """The place of each number in a row of counters.

    Enrolled and left count stretches, by the first period that they cover and by the one that they end in. Achieved and
    the tenths count customers in a period, by the latest run that has progress there; a tenth is of the target value,
    the last one is all of it. On a streak: enrolled, and the latest run has a met period that no break followed. A level
    counts once for each run that reached it. Of each state of rewards: how many, and their points in thousandths as a
    whole number of POINTS_UNIT and the rest.
    """

    ENROLLED = 0
    LEFT = 1
    ACHIEVED = 2
    TENTH_0 = 3
    TENTH_1 = 4
    TENTH_2 = 5
    TENTH_3 = 6
    TENTH_4 = 7
    TENTH_5 = 8
    TENTH_6 = 9
    TENTH_7 = 10
    TENTH_8 = 11
    TENTH_9 = 12
    TENTH_10 = 13
    ON_STREAK = 14
    LEVEL_1 = 15
    LEVEL_2 = 16
    LEVEL_3 = 17
    LEVEL_4 = 18
    LEVEL_5 = 19
    LEVEL_6 = 20
    LEVEL_7 = 21
    LEVEL_8 = 22
    LEVEL_9 = 23
    LEVEL_10 = 24
    PENDING = 25
    PENDING_UNITS = 26
    PENDING_REST = 27
    ISSUED = 28
    ISSUED_UNITS = 29
    ISSUED_REST = 30
    FAILED = 31
    FAILED_UNITS = 32
    FAILED_REST = 33
    FORFEITED = 34
    FORFEITED_UNITS = 35
    FORFEITED_REST = 36
    REVERSED = 37
    REVERSED_UNITS = 38
    REVERSED_REST = 39


SLOT_COUNT: Final = len(Slot)
_OF_STATE: Final = {
    RewardState.PENDING: Slot.PENDING,
    RewardState.ISSUED: Slot.ISSUED,
    RewardState.FAILED: Slot.FAILED,
    RewardState.FORFEITED: Slot.FORFEITED,
    RewardState.REVERSED: Slot.REVERSED,
}
_PERIOD_NUMBER: Final = attrgetter("period_number")


class CounterKey(NamedTuple):
    """What a row counts. The total of all days has no day; a change always has one."""

    organisation_id: int
    target_group_id: int
    period_number: int
    day: date | None


class Counts(tuple[int, ...]):
    """A row of counters, with names for what is made of its numbers."""

    __slots__ = ()

    @property
    def enrolled_now(self) -> int:
        return self[Slot.ENROLLED] - self[Slot.LEFT]

    @property
    def tenths(self) -> tuple[int, ...]:
        """Customers by tenth of the target value, from below the first to all of it and beyond."""
        return self[Slot.TENTH_0 : Slot.TENTH_10 + 1]

    @property
    def active(self) -> int:
        """Customers who have progress in the period: each is in one tenth."""
        return sum(self.tenths)

    @property
    def levels(self) -> tuple[int, ...]:
        return self[Slot.LEVEL_1 : Slot.LEVEL_10 + 1]

    def rewards(self, state: RewardState) -> int:
        return self[_OF_STATE[state]]

    def points(self, state: RewardState) -> int:
        """In thousandths."""
        slot = _OF_STATE[state]
        return self[slot + 1] * POINTS_UNIT + self[slot + 2]


class Counters:
    """Changes that are added up: of a batch, a page of a sweep, or a recount."""

    def __init__(self) -> None:
        self._counts: dict[CounterKey, list[int]] = {}
        # The same rows by group, period and instant: most facts of a batch are of one instant.
        self._rows: dict[tuple[int, int, datetime], list[int]] = {}

    def add(self, entry: Entry, *, times: int = 1) -> None:
        """What one number of a customer's order moved; of so many customers who are alike."""
        for change in entry.changes:
            facts = change.facts
            if len(facts) > 1 or type(facts[0]) is not Progressed or not self._pass_tenth(change, facts[0], times):
                self._follow(change, times)
        for moved in entry.rewards:
            self._move_reward(moved, times)

    def rows(self) -> Iterator[tuple[CounterKey, Counts]]:
        """Those that are not zero, in order."""
        for key in sorted(self._counts):
            if any(self._counts[key]):
                yield key, Counts(self._counts[key])

    def _pass_tenth(self, change: Change, fact: Progressed, times: int) -> bool:
        """What happens all day, a value that moves; False where it is more than that.

        A value above zero has progress already, and where there are no runs its row is the only one of the period.
        """
        programme, value = change.programme, fact.value
        was = value - fact.amount
        index = programme.index_of(fact.target_id)
        target_value = programme.targets[index].values[fact.period_number - 1]
        tenth, tenth_before = _tenth_of(value, target_value), _tenth_of(was, target_value)
        if tenth == tenth_before and was > 0:
            return True
        part = change.before.targets[index]
        if part.runs:
            return False
        row = self._row(programme, fact.period_number, fact.at)
        row[Slot.TENTH_0 + tenth] += times
        if was > 0 or part.find_progress(fact.period_number, fact.run) is not None:
            row[Slot.TENTH_0 + tenth_before] -= times
        return True

    def _follow(self, change: Change, times: int) -> None:
        """Facts of one instant are compared as one step. What fell due before an activity may be of another day."""
        programme, facts = change.programme, change.facts
        parts: Sequence[TargetStanding] = change.before.targets
        at = facts[0].at
        if all(fact.at == at for fact in facts):
            self._compare(programme, parts, change.after.targets, facts, times)
            return
        for _, of_instant in groupby(facts, key=lambda fact: fact.at):
            now, step = list(parts), list(of_instant)
            for fact in step:
                index = programme.index_of(fact.target_id)
                now[index] = after(now[index], fact)
            self._compare(programme, parts, now, step, times)
            parts = now

    def _compare(
        self,
        programme: Programme,
        before: Sequence[TargetStanding],
        now: Sequence[TargetStanding],
        facts: Sequence[Fact],
        times: int,
    ) -> None:
        at = facts[0].at
        for target, was, part in zip(programme.targets, before, now, strict=True):
            if part is was:
                continue
            for number in _touched(facts, target.target_id):
                self._compare_period(programme, target, was, part, number, at, times)
            if part.stretches is not was.stretches:
                self._compare_stretches(programme, was.stretches, part.stretches, at, times)
            if part.runs and (step := _on_streak(part) - _on_streak(was)):
                self._row(programme, WHOLE_GROUP, at)[Slot.ON_STREAK] += step * times
        for fact in facts:
            if isinstance(fact, LevelReached):
                number = next(level.number for level in programme.levels if level.level_id == fact.level_id)
                self._row(programme, WHOLE_GROUP, at)[Slot.LEVEL_1 + number - 1] += times

    def _compare_period(
        self,
        programme: Programme,
        target: Target,
        was: TargetStanding,
        now: TargetStanding,
        number: int,
        at: datetime,
        times: int,
    ) -> None:
        before, later = _of_period(was, number), _of_period(now, number)
        target_value = target.values[number - 1]
        tenth_before, tenth_later = _tenth(before, target_value), _tenth(later, target_value)
        achieved = _achieved(later) - _achieved(before)
        if tenth_before == tenth_later and not achieved:
            return
        row = self._row(programme, number, at)
        row[Slot.ACHIEVED] += achieved * times
        if tenth_before is not None:
            row[Slot.TENTH_0 + tenth_before] -= times
        if tenth_later is not None:
            row[Slot.TENTH_0 + tenth_later] += times

    def _compare_stretches(
        self, programme: Programme, before: Sequence[Stretch], now: Sequence[Stretch], at: datetime, times: int
    ) -> None:
        """A stretch begins, ends, or, where it is an automatic enrolment, is moved back."""
        for was, stretch in zip_longest(before, now):
            if was is stretch:
                continue
            for one, sign in ((was, -times), (stretch, times)):
                if one is None or one.method is Method.OPT_OUT:
                    continue
                self._row(programme, one.first_period_number, at)[Slot.ENROLLED] += sign
                if one.ends_at is not None:
                    self._row(programme, left_in(programme, one), at)[Slot.LEFT] += sign

    def _move_reward(self, moved: MovedReward, times: int) -> None:
        if moved.before is moved.reward.state:
            return
        key = moved.reward.key
        row = self._row(moved.programme, moved.programme.period_number(key.period_id) or WHOLE_GROUP, moved.at)
        units, rest = (0, 0) if isinstance(moved.reward.value, str) else divmod(moved.reward.value, POINTS_UNIT)
        for state, sign in ((moved.before, -times), (moved.reward.state, times)):
            if state is not None:
                slot = _OF_STATE[state]
                row[slot] += sign
                row[slot + 1] += sign * units
                row[slot + 2] += sign * rest

    def _row(self, programme: Programme, number: int, at: datetime) -> list[int]:
        place = programme.target_group_id, number, at
        row = self._rows.get(place)
        if row is None:
            group = programme.organisation_id, programme.target_group_id
            key = CounterKey(*group, number, local_day(at, programme.zone))
            if len(self._rows) == INSTANT_COUNT_MAX:
                self._rows.clear()
            row = self._rows[place] = self._counts.setdefault(key, [0] * SLOT_COUNT)
        return row


def left_in(programme: Programme, stretch: Stretch) -> int:
    """The period in which a stretch that has ended is counted as left: never before the first that it covers."""
    assert stretch.ends_at is not None
    period = programme.window.running_or_next(stretch.ends_at, None)
    assert period is not None, "a customer cannot leave a group that is over"
    return max(stretch.first_period_number, period.number)


def _touched(facts: Iterable[Fact], target_id: int) -> set[int]:
    """The numbers of the periods that facts of a target speak of: only these were loaded and can be compared."""
    numbers: set[int | None] = {getattr(fact, "period_number", None) for fact in facts if fact.target_id == target_id}
    return {number for number in numbers if number is not None}


def _of_period(part: TargetStanding, number: int) -> Sequence[Progress]:
    """The progress in a period, run after run."""
    rows = part.progress
    first = bisect_left(rows, number, key=_PERIOD_NUMBER)
    return rows[first : bisect_left(rows, number + 1, lo=first, key=_PERIOD_NUMBER)]


def _tenth(runs: Sequence[Progress], target_value: int) -> int | None:
    """Where a customer stands in the latest run; None where nothing has touched the period."""
    return _tenth_of(runs[-1].value, target_value) if runs else None


def _tenth_of(value: int, target_value: int) -> int:
    return min(value * TENTHS // target_value, TENTHS)


def _achieved(runs: Iterable[Progress]) -> bool:
    return any(progress.achieved_at is not None for progress in runs)


def _on_streak(part: TargetStanding) -> bool:
    if not part.runs:
        return False
    run = part.runs[-1]
    return part.enrolled and bool(above(run.met, run.broken_number))
