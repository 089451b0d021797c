"""The changes of counters, added up, are what an honest recount of the standings and the ledger finds.

The recount asks each standing by itself, and shares with core/counter.py only the names of the numbers.
"""

import os
from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

from tests.core.builders import Customer, build_programme, build_streak, day
from tests.model import slow_model as model
from tests.model.engine_replay import TARGET_ID, programme_of
from tests.model.histories import random_history

from kosminar.core.account import Account, Entry
from kosminar.core.activity import Activity
from kosminar.core.amount import thousandths_of
from kosminar.core.counter import SLOT_COUNT, WHOLE_GROUP, CounterKey, Counters, Counts, Slot
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.ledger import Report
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardState, may_report
from kosminar.core.standing import Method

SEED_COUNT = int(os.environ.get("SEEDS", "1500"))


def recount(programme: Programme, account: Account) -> dict[int, Counts]:
    """By period number, of one customer."""
    counted: dict[int, Counter[Slot]] = {}

    def count(number: int, slot: int, how_many: int = 1) -> None:
        counted.setdefault(number, Counter())[Slot(slot)] += how_many

    ends = [period.ends_at for period in programme.periods]
    for target, part in zip(programme.targets, account.standing(programme).targets, strict=True):
        for stretch in part.stretches:
            if stretch.method is Method.OPT_OUT:
                continue
            count(stretch.first_period_number, Slot.ENROLLED)
            if stretch.ends_at is not None:
                count(max(stretch.first_period_number, bisect_right(ends, stretch.ends_at) + 1), Slot.LEFT)
        for number in {progress.period_number for progress in part.progress}:
            runs = [progress for progress in part.progress if progress.period_number == number]
            latest = max(runs, key=lambda progress: progress.run)
            reached = [tenth for tenth in range(11) if latest.value * 10 >= tenth * target.values[number - 1]]
            count(number, Slot.TENTH_0 + max(reached))
            if [progress for progress in runs if progress.achieved_at is not None]:
                count(number, Slot.ACHIEVED)
        for run in part.runs:
            for level in programme.levels:
                if level.level_id in run.reached:
                    count(WHOLE_GROUP, Slot.LEVEL_1 + level.number - 1)
        if part.runs and part.enrolled:
            last = part.runs[-1]
            if any(
                last.met >> period.number & 1 and period.number > last.broken_number for period in programme.periods
            ):
                count(WHOLE_GROUP, Slot.ON_STREAK)
    for key, reward in account.ledger.items():
        number = programme.period_number(key.period_id) if key.period_id else WHOLE_GROUP
        first = Slot[reward.state.name]
        count(number, first)
        if isinstance(reward.value, int):
            count(number, first + 1, reward.value // 1_000_000)
            count(number, first + 2, reward.value % 1_000_000)
    return {number: Counts(its[slot] for slot in Slot) for number, its in counted.items() if any(its.values())}


def added(counters: Counters) -> dict[int, Counts]:
    """By period number, of all days."""
    sums: dict[int, list[int]] = {}
    for key, counts in counters.rows():
        row = sums.setdefault(key.period_number, [0] * SLOT_COUNT)
        for slot, number in enumerate(counts):
            row[slot] += number
    return {number: Counts(row) for number, row in sums.items() if any(row)}


class Life:
    """One customer of a random world, through the same account as the Writer's."""

    def __init__(self, world: model.ModelProgramme, random: Random) -> None:
        self.world, self.random = world, random
        self.active = programme_of(world)
        self.account = Account(0, day(1), handed_over=lambda _: random.random() < 0.5)
        self.counters = Counters()
        self.known: set[str] = set()

    def programme(self, at: datetime) -> Programme:
        gone = self.world.deactivated_at
        if gone is None or at < gone:
            return self.active
        return replace(self.active, deactivated_at=gone, deactivated_version=2)

    def live(self, command: object) -> None:
        self.account.at = command.at
        self.account.given.clear()
        programme = self.programme(command.at)
        entry: Entry | None = None
        match command:
            case model.Act():
                activity = Activity(command.activity_id, command.type, command.occurred_at, dict(command.attributes))
                if activity.activity_id not in self.known and not activity.in_the_future(command.at):
                    self.known.add(activity.activity_id)
                    entry = self.account.accept(activity, [programme])
            case model.Enrol() if programme.deactivated_at is None:
                balance = None if command.initial_balance is None else thousandths_of(command.initial_balance)
                enrol = Enrol(TARGET_ID, command.period_name, balance, bool(command.reset))
                _, entry = self.account.command(enrol, programme)
            case model.UnEnrol() if programme.deactivated_at is None:
                _, entry = self.account.command(UnEnrol(TARGET_ID), programme)
        self.keep(entry)
        self.report(programme)

    def settle(self, at: datetime) -> None:
        self.account.at = at
        self.account.given.clear()
        self.keep(self.account.settle(self.programme(at)))

    def report(self, programme: Programme) -> None:
        key = self.random.choice([None, *self.account.ledger])
        outcome = self.random.choice([RewardState.ISSUED, RewardState.FAILED, RewardState.REVERSED])
        if key is not None and may_report(self.account.ledger[key].state, outcome):
            self.keep(self.account.report(Report(key, outcome, "why"), programme))

    def keep(self, entry: Entry | None) -> None:
        if entry is not None:
            self.counters.add(entry)


def lived(seed: int, *, settle_often: bool) -> Life:
    world, commands, now = random_history(Random(seed))
    life = Life(world, Random(seed))
    for command in commands:
        if settle_often:
            life.settle(command.at)
        life.live(command)
        assert added(life.counters) == recount(life.active, life.account), f"seed {seed}"
    life.settle(now)
    assert added(life.counters) == recount(life.active, life.account), f"seed {seed}"
    return life


def test_changes_added_up_are_a_recount_after_every_step_of_every_random_history() -> None:
    moved: Counter[Slot] = Counter()
    for seed in range(SEED_COUNT):
        life = lived(seed, settle_often=seed % 2 == 1)
        moved.update(slot for _, counts in life.counters.rows() for slot in Slot if counts[slot])

    states = {Slot[state.name] for state in RewardState}
    happened = {Slot.ENROLLED, Slot.LEFT, Slot.ACHIEVED, Slot.TENTH_0, Slot.TENTH_10, Slot.ON_STREAK, Slot.LEVEL_1}
    assert {slot for slot in happened | states | {Slot.ISSUED_REST} if not moved[slot]} == set()


def test_what_time_brings_counts_on_its_own_day_whether_or_not_the_closer_came_first() -> None:
    for seed in range(SEED_COUNT // 5):
        world, commands, now = random_history(Random(seed))
        silent, often = Life(world, Random(0)), Life(world, Random(0))
        for life in (silent, often):
            life.account.handed_over = lambda _: False
            life.report = lambda _: None
        for command in commands:
            often.settle(command.at)
            often.live(command)
            silent.live(command)
        for life in (silent, often):
            life.settle(now)
        assert list(silent.counters.rows()) == list(often.counters.rows()), f"seed {seed}"


def counted(customer: Customer, *causes: object) -> dict[tuple[int, int], Counts]:
    """By period number and the day's number."""
    account = Account(0, day(1), handed_over=lambda _: False)
    counters = Counters()
    for at, cause in causes:
        account.at = day(at)
        if isinstance(cause, Activity):
            counters.add(account.accept(cause, [customer.programme]))
        else:
            _, entry = account.command(cause, customer.programme)
            counters.add(entry)
    return {(key.period_number, (key.day - day(1).date()).days + 1): counts for key, counts in counters.rows()}


def bought(on: float, amount: str) -> tuple[float, Activity]:
    return on, Activity(f"{on}", "transaction", day(on), {"amount": Decimal(amount)})


def test_a_tenth_begins_at_its_part_of_the_target_value_and_the_last_is_all_of_it() -> None:
    for amount, tenth in (("9.999", 0), ("10", 1), ("99.999", 9), ("100", 10), ("1000", 10)):
        counts = counted(Customer(build_programme()), (1, Enrol(7)), bought(1.5, amount))[1, 1]
        assert [number for number in range(11) if counts.tenths[number]] == [tenth], amount
        assert counts.active == 1


def test_a_day_is_the_zones_day() -> None:
    programme = build_programme(zone=ZoneInfo("Asia/Kolkata"))
    late = timedelta(hours=18, minutes=30) / timedelta(days=1)

    before = counted(Customer(programme), (1 + late - 1e-6, Enrol(7)))
    after = counted(Customer(programme), (1 + late, Enrol(7)))

    assert list(before) == [(1, 1)]
    assert list(after) == [(1, 2)]


def test_customers_who_are_alike_are_counted_at_once() -> None:
    programme = build_streak()
    account = Account(0, day(1), handed_over=lambda _: False)
    _, entry = account.command(Enrol(7), programme)
    one, many = Counters(), Counters()

    for _ in range(3):
        one.add(entry)
    many.add(entry, times=3)

    assert list(many.rows()) == list(one.rows())
    assert [key for key, _ in many.rows()] == [CounterKey(1, 1, 1, day(1).date())]


def test_points_of_any_sum_stay_within_64_bits() -> None:
    most = 10**15 - 1
    rows = Counts([0] * SLOT_COUNT)
    rows = Counts((*rows[: Slot.ISSUED_UNITS], most // 10**6, most % 10**6, *rows[Slot.ISSUED_REST + 1 :]))

    assert rows.points(RewardState.ISSUED) == most
    assert max(rows) * 10**7 * 100 < 2**63
