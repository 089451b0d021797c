"""The recount itself, on small dated stories whose answers were worked out by hand from the rules."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from tests.cdnow import purchases
from tests.cdnow.purchases import Purchase
from tests.cdnow.recount import Recount, Repeat, recount
from tests.cdnow.scenario import (
    MILESTONES,
    MONTHLY,
    MONTHLY_AT_END,
    PROGRAMMES,
    WEEKLY,
    ZONE,
    Advance,
    Enrol,
    ImportMonth,
    Programme,
    Step,
    UnEnrol,
    steps,
)

ANA = 7
PATIENT = replace(MONTHLY, name="Patient monthly spend", offset_days=3)
PATIENT_AT_END = replace(MONTHLY_AT_END, name="Patient monthly spend at period end", offset_days=3)


@dataclass
class Story:
    """What Ana does, told in the order in which it is accepted."""

    steps: list[Step] = field(default_factory=list)
    purchases: dict[tuple[int, int], list[Purchase]] = field(default_factory=dict)

    def imports(self, when: str, *bought: tuple[str, str]) -> "Story":
        key = (0, len(self.steps))
        self.purchases[key] = [
            Purchase(line_number, ANA, date.fromisoformat(day), 1, Decimal(amount))
            for line_number, (day, amount) in enumerate(bought, start=2)
        ]
        self.steps.append(ImportMonth(instant(when), *key))
        return self

    def leaves(self, when: str, *programmes: Programme) -> "Story":
        self.steps += [UnEnrol(instant(when), ANA, programme.name) for programme in programmes]
        return self

    def joins(
        self, when: str, *programmes: Programme, balance: str | None = None, reset: bool | None = None
    ) -> "Story":
        amount = None if balance is None else Decimal(balance)
        self.steps += [Enrol(instant(when), ANA, programme.name, amount, reset) for programme in programmes]
        return self

    async def until(self, when: str, connection, *programmes: Programme) -> "Answer":
        told = [*self.steps, Advance(instant(when))]
        return Answer(await recount(connection, told, purchases=self.purchases, programmes=programmes or PROGRAMMES))


@dataclass
class Answer:
    recount: Recount

    def months(self, programme: Programme) -> dict[int, tuple[str, bool, str | None]]:
        return {
            row.period_number: (str(row.value), row.achieved, row.reward_state)
            for row in self.recount.milestone_periods
            if row.programme == programme.name
        }

    def weeks(self) -> dict[tuple[int, int], int]:
        return {(row.run, row.period_number): int(row.value) for row in self.recount.streak_periods}

    def levels(self) -> list[tuple[int, str]]:
        return [(row.run, row.name) for row in self.recount.reached_levels]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC)


def weekly(*days: str) -> Iterable[tuple[str, str]]:
    return [(day, "9.00") for day in days]


# Weeks: 1 from Monday 30 December 1996, 2 from 6 January 1997, 3 from 13, 4 from 20, 5 from 27 January, 6 from
# 3 February, 7 from 10 February.
JANUARY_ENDS = "1997-01-31T23:59:59.999"
FEBRUARY_ENDS = "1997-02-28T23:59:59.999"


@pytest.mark.asyncio
async def test_a_month_is_achieved_at_its_target_and_paid_at_once_or_at_its_end(connection):
    story = Story().imports(JANUARY_ENDS, ("1997-01-05", "20.00"), ("1997-01-31", "30.00"))
    story.imports(FEBRUARY_ENDS, ("1997-02-01", "49.99"))
    answer = await story.until("1997-03-01", connection)
    assert answer.months(MONTHLY) == {1: ("50.00", True, "issued"), 2: ("49.99", False, None)}
    assert answer.months(MONTHLY_AT_END) == {1: ("50.00", True, "issued"), 2: ("49.99", False, None)}


@pytest.mark.asyncio
async def test_a_period_end_is_not_paid_before_it_comes(connection):
    answer = await Story().imports(JANUARY_ENDS, ("1997-01-05", "50.00")).until(JANUARY_ENDS, connection)
    assert answer.months(MONTHLY) == {1: ("50.00", True, "issued")}
    assert answer.months(MONTHLY_AT_END) == {1: ("50.00", True, None)}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("left_at", "state"), [(JANUARY_ENDS, "forfeited"), ("1997-02-01T00:00", "issued"), ("1997-02-10", "issued")]
)
async def test_leaving_forfeits_the_running_month_and_none_before(connection, left_at, state):
    story = Story().imports(JANUARY_ENDS, ("1997-01-05", "50.00")).leaves(left_at, *MILESTONES)
    story.imports(FEBRUARY_ENDS, ("1997-02-03", "70.00"))
    answer = await story.until("1997-04-01", connection)
    assert answer.months(MONTHLY) == {1: ("50.00", True, "issued")}
    assert answer.months(MONTHLY_AT_END) == {1: ("50.00", True, state)}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("balance", "month", "state"),
    [
        (None, ("50.00", True), "issued"),
        ("0", ("0", False), "forfeited"),
        ("80", ("80", False), "forfeited"),
    ],
)
async def test_a_forfeit_is_paid_after_all_when_the_achievement_comes_back(connection, balance, month, state):
    story = Story().imports("1997-01-20", ("1997-01-05", "50.00"))
    story.leaves("1997-01-21", *MILESTONES).joins("1997-01-22", *MILESTONES, balance=balance)
    answer = await story.until("1997-03-01", connection)
    assert answer.months(MONTHLY) == {1: (*month, "issued")}
    assert answer.months(MONTHLY_AT_END) == {1: (*month, state)}
    assert all(row.reward_count == 1 for row in answer.recount.milestone_periods)


@pytest.mark.asyncio
async def test_a_withdrawn_achievement_is_reached_again_by_the_next_activity_that_suffices(connection):
    story = Story().imports("1997-01-20", ("1997-01-05", "50.00"))
    story.leaves("1997-01-21", *MILESTONES).joins("1997-01-22", *MILESTONES, balance="20")
    story.imports(JANUARY_ENDS, ("1997-01-21", "99.00"), ("1997-01-23", "30.00"))  # The 21st is not in a stretch.
    answer = await story.until("1997-03-01", connection)
    assert answer.months(MONTHLY_AT_END) == {1: ("50.00", True, "issued")}
    assert answer.months(MONTHLY) == {1: ("50.00", True, "issued")}


@pytest.mark.asyncio
async def test_a_balance_alone_never_achieves_and_a_purchase_of_nothing_does(connection):
    story = Story().joins("1997-01-10", *MILESTONES, balance="60")
    story.imports(FEBRUARY_ENDS, ("1997-02-02", "0.00"))
    answer = await story.until("1997-03-01", connection)
    assert answer.months(MONTHLY) == {1: ("60", False, None)}
    story = Story().joins("1997-01-10", *MILESTONES, balance="60")
    story.imports(JANUARY_ENDS, ("1997-01-12", "0.00"))
    answer = await story.until("1997-03-01", connection)
    assert answer.months(MONTHLY) == answer.months(MONTHLY_AT_END) == {1: ("60.00", True, "issued")}


@pytest.mark.asyncio
async def test_a_balance_belongs_to_one_month_and_a_month_left_starts_the_next_return_at_nothing(connection):
    story = Story().imports("1997-01-20", ("1997-01-05", "10.00")).leaves("1997-01-21", MONTHLY)
    story.joins("1997-02-10", MONTHLY, balance="12.345").imports(FEBRUARY_ENDS, ("1997-02-10", "1.00"))
    story.imports("1997-03-31", ("1997-03-05", "2.00"))
    answer = await story.until("1997-04-01", connection)
    assert answer.months(MONTHLY) == {
        1: ("10.00", False, None),
        2: ("13.345", False, None),
        3: ("2.00", False, None),
    }


@pytest.mark.asyncio
async def test_a_first_enrolment_reaches_back_over_its_month_for_what_arrives_after_it(connection):
    story = Story().joins("1997-02-10", PATIENT)
    story.imports("1997-02-11", ("1997-01-31", "1.00"), ("1997-02-01", "2.00"), ("1997-02-10", "4.00"))
    answer = await story.until("1997-04-01", connection, PATIENT)
    assert answer.months(PATIENT) == {2: ("6.00", False, None)}


@pytest.mark.asyncio
async def test_an_opt_out_is_remembered_until_an_enrolment(connection):
    story = Story().leaves("1996-12-20", MONTHLY).imports("1997-01-20", ("1997-01-05", "70.00"))
    story.joins("1997-01-21", MONTHLY).imports(JANUARY_ENDS, ("1997-01-06", "1.00"), ("1997-01-25", "2.00"))
    answer = await story.until("1997-04-01", connection, MONTHLY)
    assert answer.months(MONTHLY) == {1: ("3.00", False, None)}


@pytest.mark.asyncio
async def test_in_the_month_that_was_left_only_stretches_count_and_only_once_back(connection):
    story = Story().imports("1997-01-06", ("1997-01-05", "1.00")).leaves("1997-01-10", MONTHLY)
    story.imports("1997-01-12", ("1997-01-07", "2.00"))  # While out: no, whatever its date.
    story.joins("1997-01-15", MONTHLY)
    story.imports(
        JANUARY_ENDS,
        ("1997-01-08", "4.00"),
        ("1997-01-10", "8.00"),  # Its date is the instant of leaving: outside.
        ("1997-01-14", "16.00"),
        ("1997-01-15", "32.00"),  # Its date is the instant of joining: inside.
    )
    answer = await story.until("1997-03-01", connection, MONTHLY)
    assert answer.months(MONTHLY) == {1: ("37.00", False, None)}


@pytest.mark.asyncio
async def test_an_earlier_month_still_counts_for_who_was_in_at_its_end(connection):
    story = Story().imports("1997-01-06", ("1997-01-05", "1.00")).leaves("1997-02-01T00:00", PATIENT, PATIENT_AT_END)
    story.imports("1997-02-03T23:59:59.999", ("1997-01-30", "50.00"))
    story.imports("1997-02-04T00:00", ("1997-01-31", "100.00"))  # Three days after the end: too late.
    answer = await story.until("1997-02-04", connection, PATIENT, PATIENT_AT_END)
    assert answer.months(PATIENT) == answer.months(PATIENT_AT_END) == {1: ("51.00", True, "issued")}


@pytest.mark.asyncio
async def test_an_earlier_month_that_was_left_counts_no_more(connection):
    story = Story().imports("1997-01-06", ("1997-01-05", "1.00")).leaves(JANUARY_ENDS, PATIENT)
    story.joins("1997-02-01T00:00", PATIENT).imports("1997-02-02", ("1997-01-30", "50.00"), ("1997-02-01", "2.00"))
    answer = await story.until("1997-04-01", connection, PATIENT)
    assert answer.months(PATIENT) == {1: ("1.00", False, None), 2: ("2.00", False, None)}


@pytest.mark.asyncio
async def test_activity_that_is_too_late_enrols_nobody_and_a_late_one_in_time_moves_the_enrolment_back(connection):
    story = Story().imports("1997-02-04T00:00", ("1997-01-30", "1.00")).leaves("1997-02-05", PATIENT)
    story.imports("1997-02-06", ("1997-02-05", "2.00"))
    answer = await story.until("1997-04-01", connection, PATIENT)
    assert answer.months(PATIENT) == {}  # Leaving was an opt-out.
    story = Story().imports("1997-02-02", ("1997-02-01", "1.00")).imports("1997-02-03", ("1997-01-30", "50.00"))
    answer = await story.until("1997-04-01", connection, PATIENT_AT_END)
    assert answer.months(PATIENT_AT_END) == {1: ("50.00", True, "issued"), 2: ("1.00", False, None)}


@pytest.mark.asyncio
async def test_weeks_in_a_row_pass_levels_and_a_short_week_starts_again(connection):
    story = Story().imports(JANUARY_ENDS, *weekly("1997-01-05", "1997-01-06", "1997-01-20", "1997-01-31"))
    answer = await story.until("1997-05-01", connection)
    assert answer.weeks() == {(1, 1): 1, (1, 2): 1, (1, 4): 1, (1, 5): 1}
    assert answer.levels() == [(1, "Two weeks")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("arrival", "levels"),
    [
        ("1997-02-19T23:59:59.999", ["Two weeks", "Three weeks", "Five weeks"]),
        ("1997-02-20T00:00", ["Two weeks"]),  # Week 3 ended on 20 January; 31 days later is too late.
    ],
)
async def test_a_late_purchase_that_fills_a_short_week_joins_the_weeks_around_it(connection, arrival, levels):
    story = Story().imports(JANUARY_ENDS, *weekly("1997-01-05", "1997-01-06", "1997-01-20", "1997-01-31"))
    answer = await story.imports(arrival, *weekly("1997-01-19")).until("1997-05-01", connection)
    assert answer.levels() == [(1, level) for level in levels]


@pytest.mark.asyncio
async def test_weeks_spent_out_and_a_week_left_short_neither_count_nor_break(connection):
    story = Story().imports("1997-01-12", *weekly("1997-01-01", "1997-01-08"))
    story.leaves("1997-01-14", WEEKLY).joins("1997-02-05", WEEKLY)  # Leaves week 3 short, is back in week 6.
    story.imports("1997-02-10", *weekly("1997-01-13", "1997-01-22", "1997-02-04", "1997-02-06"))
    answer = await story.until("1997-05-01", connection)
    assert answer.weeks() == {(1, 1): 1, (1, 2): 1, (1, 6): 1}
    assert answer.levels() == [(1, "Two weeks"), (1, "Three weeks")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("left_at", "levels"),
    [
        ("1997-01-20T00:00", ["Two weeks"]),  # Week 3 had ended short.
        ("1997-01-19T23:59:59.999", ["Two weeks", "Three weeks"]),
    ],
)
async def test_a_week_is_short_for_who_was_in_at_its_end(connection, left_at, levels):
    story = Story().imports("1997-01-12", *weekly("1997-01-01", "1997-01-08"))
    story.leaves(left_at, WEEKLY).joins("1997-01-21", WEEKLY)
    answer = await story.imports(JANUARY_ENDS, *weekly("1997-01-22")).until("1997-05-01", connection)
    assert answer.levels() == [(1, level) for level in levels]


@pytest.mark.asyncio
async def test_a_week_of_joining_ends_short_like_any_other(connection):
    story = Story().imports("1997-01-12", *weekly("1997-01-01", "1997-01-08"))
    story.leaves("1997-01-14", WEEKLY).joins("1997-01-16", WEEKLY)
    answer = await story.imports(JANUARY_ENDS, *weekly("1997-01-22")).until("1997-05-01", connection)
    assert answer.levels() == [(1, "Two weeks")]


@pytest.mark.asyncio
async def test_a_reset_starts_a_run_that_earns_again_and_shares_the_week(connection):
    story = Story().imports("1997-01-15", *weekly("1997-01-01", "1997-01-08", "1997-01-13"))
    story.leaves("1997-01-15", WEEKLY).joins("1997-01-16", WEEKLY, reset=True)
    story.imports(JANUARY_ENDS, *weekly("1997-01-14", "1997-01-15", "1997-01-16", "1997-01-26"))
    answer = await story.until("1997-05-01", connection)
    assert answer.weeks() == {(1, 1): 1, (1, 2): 1, (1, 3): 2, (2, 3): 1, (2, 4): 1}
    assert answer.levels() == [(1, "Two weeks"), (1, "Three weeks"), (2, "Two weeks")]


@pytest.mark.asyncio
async def test_without_a_reset_the_run_goes_on_and_its_levels_are_earned_once(connection):
    story = Story().imports("1997-01-15", *weekly("1997-01-01", "1997-01-08", "1997-01-13"))
    story.leaves("1997-01-15", WEEKLY).joins("1997-01-16", WEEKLY, reset=False)
    story.imports("1997-02-05", *weekly("1997-01-26", "1997-01-27"))
    answer = await story.until("1997-05-01", connection)
    assert answer.levels() == [(1, "Two weeks"), (1, "Three weeks"), (1, "Five weeks")]


@pytest.mark.asyncio
async def test_an_ended_run_still_takes_late_purchases_and_earns(connection):
    story = Story().imports("1997-01-03", *weekly("1997-01-01"))
    story.leaves("1997-01-14", WEEKLY).joins("1997-01-21", WEEKLY, reset=True)
    story.imports(JANUARY_ENDS, *weekly("1997-01-08", "1997-01-13", "1997-01-28"))  # The 13th: a week that was left.
    answer = await story.until("1997-05-01", connection)
    assert answer.weeks() == {(1, 1): 1, (1, 2): 1, (2, 5): 1}
    assert answer.levels() == [(1, "Two weeks")]


@pytest.mark.asyncio
async def test_a_first_enrolment_has_nothing_to_reset(connection):
    story = Story().leaves("1997-01-07", WEEKLY).joins("1997-01-08", WEEKLY, reset=True)
    answer = await story.imports(JANUARY_ENDS, *weekly("1997-01-09")).until("1997-05-01", connection)
    assert answer.weeks() == {(1, 2): 1}


@pytest.mark.asyncio
async def test_asking_for_what_already_is_changes_nothing(connection):
    story = Story().imports("1997-01-06", ("1997-01-05", "10.00"))
    story.joins("1997-01-07", MONTHLY, balance="99").leaves("1997-01-08", MONTHLY).leaves("1997-01-09", MONTHLY)
    story.joins("1997-01-10", MONTHLY).joins("1997-01-11", MONTHLY, balance="0")
    answer = await story.until("1997-03-01", connection)
    assert answer.months(MONTHLY) == {1: ("10.00", False, None)}
    assert answer.recount.repeats == [Repeat(1, "enrol"), Repeat(3, "un_enrol"), Repeat(5, "enrol")]


@pytest.mark.asyncio
async def test_months_begin_at_local_midnight_on_both_sides_of_daylight_saving(connection):
    story = Story().imports("1997-04-05", ("1997-04-05", "50.00"))
    at_end = datetime(1997, 5, 1, 3, 59, 59, 999_000, UTC)
    story.steps.append(UnEnrol(at_end, ANA, MONTHLY_AT_END.name))
    answer = await story.until("1997-06-01", connection)
    assert answer.months(MONTHLY_AT_END) == {4: ("50.00", True, "forfeited")}
    story.steps[-1] = UnEnrol(datetime(1997, 5, 1, 4, tzinfo=UTC), ANA, MONTHLY_AT_END.name)
    answer = await story.until("1997-06-01", connection)
    assert answer.months(MONTHLY_AT_END) == {4: ("50.00", True, "issued")}


@pytest.mark.asyncio
async def test_the_whole_history_is_recounted(connection):
    told = steps()
    answer = await recount(connection, told)
    expected = [
        Repeat(number, "enrol" if isinstance(step, Enrol) else "un_enrol")
        for number, step in enumerate(told)
        if isinstance(step, Enrol | UnEnrol) and step.expected_code is not None
    ]
    assert answer.repeats == expected
    # Whoever was never called about a milestone has exactly what they spent.
    called = {step.customer_id for step in told if isinstance(step, Enrol | UnEnrol)}
    spent: dict[tuple[int, int], Decimal] = {}
    for bought in purchases.all_purchases():
        month = (bought.purchased_on.year - 1997) * 12 + bought.purchased_on.month
        if bought.customer_id not in called and bought.amount:
            spent[bought.customer_id, month] = spent.get((bought.customer_id, month), Decimal(0)) + bought.amount
    for programme in MILESTONES:
        rows = [row for row in answer.milestone_periods if row.programme == programme.name]
        left_alone = [row for row in rows if row.customer_id not in called]
        assert {(row.customer_id, row.period_number): row.value for row in left_alone} == spent
        assert all(row.achieved is (row.value >= 50) for row in left_alone)
        assert all(row.reward_state == ("issued" if row.achieved else None) for row in left_alone)
    # The story reaches every corner: both states, every level in more than one run.
    states = {(row.programme, row.reward_state) for row in answer.milestone_periods}
    assert {(MONTHLY.name, "issued"), (MONTHLY_AT_END.name, "issued"), (MONTHLY_AT_END.name, "forfeited")} <= states
    assert {(run, level.name) for run in (1, 2) for level in WEEKLY.levels} <= {
        (row.run, row.name) for row in answer.reached_levels
    }
