"""Dated stories that prove the slow model right: the two cases of unenroll-v3.txt first, then rule by rule.

The milestone runs five months from January 2026 (Cycle_1 .. Cycle_5, 100 to spend in each); the streak thirty days from
1 March (Cycle_1 .. Cycle_30, one purchase a day; levels at 4, 8 and 12). All times are UTC where nothing else is said.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from tests.model.histories import random_history
from tests.model.slow_model import (
    Act,
    Command,
    Enrol,
    ModelLevel,
    ModelPeriod,
    ModelProgramme,
    ModelReward,
    Outcome,
    UnEnrol,
    replay,
)

IMMEDIATE = ModelReward(1, "POINTS", Decimal(50), "IMMEDIATE")
PERIOD_END = ModelReward(2, "COUPON", "TEN-OFF", "PERIOD_END")
LATER = "2026-12-31"
MICROSECOND = timedelta(microseconds=1)

ISSUED = ("issued", None)
LEFT_EARLY = ("forfeited", "un-enrolled before period end")
DEACTIVATED = ("forfeited", "programme deactivated")


def instant(text: str | datetime) -> datetime:
    return text if isinstance(text, datetime) else datetime.fromisoformat(text).replace(tzinfo=UTC)


def milestone(*, rewards=(IMMEDIATE, PERIOD_END), offset_days=0, **overrides) -> ModelProgramme:
    firsts = [datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 7)]
    periods = tuple(
        ModelPeriod(n, n, f"Cycle_{n}", firsts[n - 1], firsts[n], firsts[n] + timedelta(days=offset_days), Decimal(100))
        for n in range(1, 6)
    )
    given = {"automatic": False, "track_from_enrolment": False, "measure": "GROSS_SALES", **overrides}
    return ModelProgramme(kind="DEFAULT", zone="UTC", periods=periods, rewards=rewards, **given)


def streak(*, kind="STREAKS", offset_days=0, levels=(4, 8, 12), **overrides) -> ModelProgramme:
    days = [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=n) for n in range(31)]
    periods = tuple(
        ModelPeriod(n, n, f"Cycle_{n}", days[n - 1], days[n], days[n] + timedelta(days=offset_days), Decimal(1))
        for n in range(1, 31)
    )
    named = tuple(
        ModelLevel(count, f"Level_{count}", count, (ModelReward(10 + count, "BADGE", f"{count} days", "IMMEDIATE"),))
        for count in levels
    )
    given = {"automatic": False, "track_from_enrolment": False, "measure": "COUNT", **overrides}
    return ModelProgramme(kind=kind, zone="UTC", periods=periods, levels=named, **given)


def enrol(at, period_name=None, *, balance=None, reset=False) -> Enrol:
    return Enrol(instant(at), period_name, None if balance is None else Decimal(balance), reset)


def leave(at) -> UnEnrol:
    return UnEnrol(instant(at))


def spend(at, amount, *, dated=None, bill=None, **attributes) -> Act:
    """A purchase accepted at `at`, dated then unless told; its id is its instant unless told."""
    dated = instant(at if dated is None else dated)
    named = bill or f"{at} {dated} {amount}"
    return Act(instant(at), named, "transaction", dated, {"grossAmount": Decimal(amount), **attributes})


def buys(days, *, hour=12) -> list[Act]:
    """One purchase on each of those days of March."""
    return [spend(datetime(2026, 3, day, hour, tzinfo=UTC), "1") for day in days]


def run(programme: ModelProgramme, *commands: Command, now=LATER) -> Outcome:
    return replay(programme, commands, now=instant(now))


def immediate(outcome: Outcome, period: int):
    return outcome.rewards.get((period, None, 1, IMMEDIATE.definition_id))


def period_end(outcome: Outcome, period: int):
    return outcome.rewards.get((period, None, 1, PERIOD_END.definition_id))


def levels_paid(outcome: Outcome) -> set[tuple[int, int]]:
    paid = {(level, run) for (_, level, run, _), state in outcome.rewards.items() if level and state == ISSUED}
    assert paid == outcome.reached
    return paid


# unenroll-v3.txt, case 1: milestones


def test_left_in_the_middle_of_c1_keeps_the_immediate_reward_and_loses_the_one_at_period_end() -> None:
    outcome = run(
        milestone(),
        enrol("2026-01-01"),
        spend("2026-01-10", "120"),
        leave("2026-01-15"),
        spend("2026-01-20", "500"),
        spend("2026-02-10", "500"),
    )

    assert outcome.answers == [[], "counted", [], "not counted", "not counted"]
    assert outcome.rewards == {(1, None, 1, 1): ISSUED, (1, None, 1, 2): LEFT_EARLY}
    assert outcome.progress == {(1, 1): (Decimal(120), True)}
    assert not outcome.enrolled


def test_left_in_c1_below_the_target_loses_nothing_and_gets_nothing() -> None:
    assert run(milestone(), enrol("2026-01-01"), spend("2026-01-10", "99.999"), leave("2026-01-15")).rewards == {}


@pytest.mark.parametrize("offset_days", [0, 25])
def test_left_in_the_middle_of_c3_c1_and_c2_are_paid_whatever_the_jobs_progress(offset_days) -> None:
    story = [enrol("2026-01-01"), *(spend(f"2026-0{month}-10", "100") for month in (1, 2, 3)), leave("2026-03-15")]

    outcome = run(milestone(offset_days=offset_days), *story)

    assert [immediate(outcome, n) for n in range(1, 6)] == [ISSUED, ISSUED, ISSUED, None, None]
    assert [period_end(outcome, n) for n in range(1, 6)] == [ISSUED, ISSUED, LEFT_EARLY, None, None]


# unenroll-v3.txt, case 2: streaks


def test_left_in_the_13th_cycle_keeps_the_levels_reached_and_leaves_c13_to_c30() -> None:
    outcome = run(streak(), enrol("2026-03-01"), *buys(range(1, 13)), leave("2026-03-13T10:00"), *buys(range(13, 31)))

    assert levels_paid(outcome) == {(4, 1), (8, 1), (12, 1)}
    assert outcome.count == 12
    assert outcome.answers[-18:] == ["not counted"] * 18


def test_re_enrolled_without_reset_goes_on_and_earns_no_level_again() -> None:
    outcome = run(
        streak(),
        enrol("2026-03-01"),
        *buys(range(1, 10)),
        leave("2026-03-10T10:00"),
        enrol("2026-03-20T10:00"),
        *buys(range(20, 31)),
        now="2026-03-31",
    )

    assert outcome.count == 9 + 11
    assert levels_paid(outcome) == {(4, 1), (8, 1), (12, 1)}


def test_re_enrolled_with_reset_starts_at_zero_and_earns_its_levels_again() -> None:
    outcome = run(
        streak(),
        enrol("2026-03-01"),
        *buys(range(1, 13)),
        leave("2026-03-13T10:00"),
        enrol("2026-03-20T10:00", reset=True),
        *buys(range(20, 28)),
        now="2026-03-27T23:00",
    )

    assert outcome.count == 8
    assert levels_paid(outcome) == {(4, 1), (8, 1), (12, 1), (4, 2), (8, 2)}


# Rules 7 and 8: time decides


def test_left_at_the_very_end_of_a_period_is_still_paid_for_it_and_a_microsecond_before_is_not() -> None:
    story = [enrol("2026-01-01"), spend("2026-01-10", "100")]

    at_the_end = run(milestone(), *story, leave("2026-02-01"))
    before = run(milestone(), *story, leave(instant("2026-02-01") - MICROSECOND))

    assert period_end(at_the_end, 1) == ISSUED
    assert period_end(before, 1) == LEFT_EARLY


def test_left_at_the_very_end_late_activity_of_that_period_still_counts_from_that_instant_on() -> None:
    end = instant("2026-02-01")
    story = [enrol("2026-01-01"), spend("2026-01-10", "60"), leave(end), spend(end, "40", dated="2026-01-31")]
    programme = milestone(offset_days=3)

    assert run(programme, *story).answers[-1] == "counted"
    assert period_end(run(programme, *story), 1) == ISSUED
    assert period_end(run(programme, *story, now="2026-02-02"), 1) is None


def test_a_period_end_is_paid_at_its_due_instant_and_not_before() -> None:
    story = [enrol("2026-01-01"), spend("2026-01-10", "100"), leave("2026-02-02")]
    programme = milestone(offset_days=3)

    assert period_end(run(programme, *story, now=instant("2026-02-04") - MICROSECOND), 1) is None
    assert period_end(run(programme, *story, now="2026-02-04"), 1) == ISSUED


def test_left_before_the_group_starts_is_out_of_all() -> None:
    outcome = run(milestone(), enrol("2025-12-01"), leave("2025-12-31"), spend("2026-01-10", "100"))

    assert outcome.answers == [[], [], "not counted"]


# Rule 9: forfeited, and earned back


def test_a_forfeited_reward_is_issued_if_enrolled_again_and_achieved_at_that_periods_end() -> None:
    story = [enrol("2026-01-01"), spend("2026-01-10", "100"), leave("2026-01-15"), enrol("2026-01-20")]

    assert period_end(run(milestone(), *story, now="2026-01-31"), 1) == LEFT_EARLY
    assert period_end(run(milestone(), *story), 1) == ISSUED
    assert period_end(run(milestone(), *story, leave("2026-01-25")), 1) == LEFT_EARLY


def test_a_forfeited_reward_stays_so_when_a_balance_withdrew_the_achievement() -> None:
    story = [enrol("2026-01-01"), spend("2026-01-10", "100"), leave("2026-01-15"), enrol("2026-01-20", balance=100)]

    assert period_end(run(milestone(), *story), 1) == LEFT_EARLY
    assert period_end(run(milestone(), *story, spend("2026-01-21", "0")), 1) == ISSUED


def test_left_at_the_end_with_the_reward_still_due_forfeits_nothing() -> None:
    story = [enrol("2026-01-01"), spend("2026-01-10", "100"), leave("2026-02-01")]

    assert period_end(run(milestone(offset_days=3), *story, now="2026-02-02"), 1) is None
    assert period_end(run(milestone(offset_days=3), *story), 1) == ISSUED


# Rules 10, 13 and 17: the order of answers


def test_unenrol_answers_all_over_before_never_enrolled_before_already_gone() -> None:
    outcome = run(
        milestone(),
        leave("2026-01-02"),
        enrol("2026-01-03"),
        leave("2026-01-04"),
        leave("2026-01-05"),
        leave("2026-06-01"),
    )

    assert outcome.answers == [[310149], [], [], [390001], [310019]]
    assert run(milestone(), leave("2026-06-01")).answers == [[310019]]


def test_enrol_answers_a_missing_period_before_already_enrolled() -> None:
    outcome = run(
        milestone(),
        enrol("2026-02-02", "Cycle_1"),
        enrol("2026-02-02", "Cycle_9"),
        enrol("2026-02-02", "Cycle_3"),
        enrol("2026-02-03"),
        enrol("2026-02-03", "Cycle_1"),
        enrol("2026-06-01"),
    )

    assert outcome.answers == [[310019], [310019], [], [310119], [310019], [310019]]


def test_a_streak_ignores_period_name_and_balance_with_warnings() -> None:
    outcome = run(streak(), enrol("2026-03-02", "Cycle_99", balance=0), *buys([2]), now="2026-03-02T13:00")

    assert outcome.answers == [[390002, 390003], "counted"]
    assert outcome.count == 1


def test_enrolled_for_a_later_period_nothing_before_it_counts() -> None:
    outcome = run(
        milestone(),
        enrol("2026-01-05", "Cycle_3", balance=40),
        spend("2026-01-10", "100"),
        spend("2026-02-10", "100"),
        spend("2026-03-10", "60"),
    )

    assert outcome.answers == [[], "not counted", "not counted", "counted"]
    assert outcome.progress == {(3, 1): (Decimal(100), True)}


# Rule 11: automatic enrolment


def test_the_first_activity_that_counts_enrols_from_its_periods_start() -> None:
    outcome = run(
        milestone(automatic=True, track_from_enrolment=True),
        spend("2026-02-10", "60"),
        spend("2026-02-11", "40", dated="2026-02-01"),
    )

    assert outcome.enrolled
    assert outcome.answers == ["counted", "counted"]
    assert period_end(outcome, 2) == ISSUED


def test_a_late_activity_moves_an_automatic_enrolment_back() -> None:
    story = [spend("2026-02-03", "100"), spend("2026-02-04", "100", dated="2026-01-20")]

    automatic = run(milestone(automatic=True, offset_days=10), *story)
    called = run(milestone(automatic=True, offset_days=10), enrol("2026-02-02"), *story)

    assert automatic.answers == ["counted", "counted"]
    assert period_end(automatic, 1) == ISSUED
    assert called.answers == [[], "counted", "not counted"]


def test_a_period_between_turns_short_when_the_enrolment_moves_back_over_it() -> None:
    programme = streak(automatic=True, offset_days=5)
    story = [*buys([3]), spend("2026-03-03T13:00", "1", dated="2026-03-01T12:00")]

    assert run(programme, *story, now="2026-03-03T13:00").count == 1
    assert run(programme, *story, spend("2026-03-03T14:00", "1", dated="2026-03-02"), now="2026-03-03T14:00").count == 3


def test_an_automatic_enrolment_moves_back_even_after_it_was_left() -> None:
    outcome = run(
        milestone(automatic=True, offset_days=10),
        spend("2026-02-03", "10"),
        leave("2026-02-04"),
        spend("2026-02-05", "100", dated="2026-01-20"),
        spend("2026-02-05", "100", dated="2026-02-03"),
    )

    assert outcome.answers == ["counted", [], "counted", "not counted"]
    assert period_end(outcome, 1) == ISSUED
    assert not outcome.enrolled


def test_an_opt_out_before_any_activity_is_remembered_until_an_enrol_call() -> None:
    outcome = run(
        milestone(automatic=True),
        leave("2026-01-02"),
        leave("2026-01-03"),
        spend("2026-01-10", "100"),
        enrol("2026-01-15"),
        spend("2026-01-16", "30", dated="2026-01-11"),
        spend("2026-01-20", "70"),
    )

    assert outcome.answers == [[], [390001], "not counted", [], "counted", "counted"]
    assert period_end(outcome, 1) == ISSUED


# Rule 12: what counts, judged once on arrival


@pytest.mark.parametrize(("tracked", "expected"), [(False, "counted"), (True, "not counted")])
def test_earlier_activity_of_the_first_enrolments_period_counts_unless_tracked_from_enrolment(tracked, expected):
    outcome = run(
        milestone(track_from_enrolment=tracked),
        spend("2026-01-05", "10"),
        enrol("2026-01-15"),
        spend("2026-01-16", "10", dated="2026-01-06"),
        spend("2026-01-16", "10", dated="2026-01-15"),
    )

    assert outcome.answers == ["not counted", [], expected, "counted"]


def test_once_back_in_the_period_only_activity_dated_inside_a_stretch_counts() -> None:
    left, back = instant("2026-01-15"), instant("2026-01-20")

    outcome = run(
        milestone(),
        enrol("2026-01-01"),
        leave(left),
        spend("2026-01-16", "1", dated="2026-01-10"),
        enrol(back),
        spend("2026-01-21", "2", dated="2026-01-10"),
        spend("2026-01-21", "3", dated=left - MICROSECOND),
        spend("2026-01-21", "4", dated=left),
        spend("2026-01-21", "5", dated=back - MICROSECOND),
        spend("2026-01-21", "6", dated=back),
    )

    verdicts = ["not counted", [], "counted", "counted", "not counted", "not counted", "counted"]
    assert outcome.answers[2:] == verdicts
    assert outcome.progress == {(1, 1): (Decimal(2 + 3 + 6), False)}


def test_an_earlier_ended_period_counts_while_un_enrolled_and_the_one_left_does_not() -> None:
    outcome = run(
        milestone(offset_days=40),
        enrol("2026-01-05"),
        leave("2026-02-10"),
        spend("2026-02-11", "100", dated="2026-01-20"),
        spend("2026-02-11", "100", dated="2026-02-05"),
        spend("2026-03-02", "100", dated="2026-02-05"),
        enrol("2026-03-03"),
        spend("2026-03-04", "100", dated="2026-02-05"),
    )

    assert outcome.answers == [[], [], "counted", "not counted", "not counted", [], "not counted"]
    assert period_end(outcome, 1) == ISSUED


# Rule 14: balances


def test_a_balance_alone_achieves_nothing_and_the_next_counted_activity_does() -> None:
    story = [enrol("2026-01-01", balance=100)]

    assert run(milestone(), *story).progress == {(1, 1): (Decimal(100), False)}
    assert immediate(run(milestone(), *story, spend("2026-01-02", "0")), 1) == ISSUED
    assert (2, 1) not in run(milestone(), *story).progress


@pytest.mark.parametrize(
    ("balance", "expected"), [(None, (250, True)), (0, (0, False)), (150, (150, False)), ("0.0005", ("0.001", False))]
)
def test_back_in_the_period_that_was_left_null_resumes_and_a_number_replaces(balance, expected) -> None:
    outcome = run(
        milestone(),
        enrol("2026-01-01"),
        spend("2026-01-10", "250"),
        leave("2026-01-15"),
        enrol("2026-01-20", balance=balance),
    )

    value, achieved = expected
    assert outcome.progress == {(1, 1): (Decimal(value), achieved)}
    assert immediate(outcome, 1) == ISSUED
    assert period_end(outcome, 1) == (ISSUED if achieved else LEFT_EARLY)


def test_a_replaced_balance_forgets_the_visited_days() -> None:
    visit = [spend("2026-01-10T08:00", "1"), spend("2026-01-10T09:00", "1")]
    again = [spend("2026-01-10T12:00", "1"), spend("2026-01-11T12:00", "1")]
    break_off = [leave("2026-01-10T10:00")]
    programme = milestone(measure="VISIT")

    resumed = run(programme, enrol("2026-01-01"), *visit, *break_off, enrol("2026-01-10T11:00"), *again)
    replaced = run(programme, enrol("2026-01-01"), *visit, *break_off, enrol("2026-01-10T11:00", balance=5), *again)

    assert resumed.progress[1, 1] == (Decimal(2), False)
    assert replaced.progress[1, 1] == (Decimal(7), False)


def test_rule_15_a_period_is_rewarded_once_however_often_it_is_reached() -> None:
    outcome = run(
        milestone(),
        enrol("2026-01-01"),
        spend("2026-01-10", "100"),
        leave("2026-01-11"),
        enrol("2026-01-12", balance=0),
        spend("2026-01-13", "100"),
    )

    assert outcome.rewards == {(1, None, 1, 1): ISSUED, (1, None, 1, 2): ISSUED}


def test_what_was_counted_ahead_resumes_if_its_period_was_left_and_is_replaced_if_it_was_not() -> None:
    start = instant("2026-02-01")
    story = [enrol("2026-01-01"), spend(start - timedelta(minutes=2), "100", dated=start)]
    back = enrol("2026-02-02")

    left_in_it = run(milestone(), *story, leave(start), back)
    left_before = run(milestone(), *story, leave(start - MICROSECOND), back)

    assert (left_in_it.progress[2, 1], period_end(left_in_it, 2)) == ((Decimal(100), True), ISSUED)
    assert (left_before.progress[2, 1], period_end(left_before, 2)) == ((Decimal(0), False), LEFT_EARLY)


# Rule 16: runs


def test_after_a_reset_in_the_same_period_earlier_purchases_count_for_the_old_run_only() -> None:
    outcome = run(
        streak(levels=(1, 2)),
        enrol("2026-03-01"),
        *buys([1]),
        leave("2026-03-02T11:00"),
        enrol("2026-03-02T13:00", reset=True),
        spend("2026-03-02T14:00", "1", dated="2026-03-02T10:00"),
        spend("2026-03-02T15:00", "1", dated="2026-03-02T13:00"),
        now="2026-03-02T16:00",
    )

    assert outcome.progress == {
        (1, 1): (Decimal(1), True),
        (2, 1): (Decimal(1), True),
        (2, 2): (Decimal(1), True),
    }
    assert levels_paid(outcome) == {(1, 1), (2, 1), (1, 2)}
    assert outcome.count == 1


def test_a_period_left_short_neither_counts_nor_breaks_and_one_ended_short_breaks_for_good() -> None:
    story = [enrol("2026-03-01"), *buys([1, 2])]
    back = [enrol("2026-03-05T10:00"), *buys([5])]

    left_in_c3 = run(streak(), *story, leave("2026-03-03T10:00"), *back, now="2026-03-05T13:00")
    left_after_c3 = run(streak(), *story, leave("2026-03-04T10:00"), *back, now="2026-03-05T13:00")

    assert left_in_c3.count == 3
    assert left_after_c3.count == 1


def test_a_first_enrolment_with_reset_begins_run_one() -> None:
    assert run(streak(), enrol("2026-03-01", reset=True), *buys([1])).progress == {(1, 1): (Decimal(1), True)}


# Rule 19: counts


def test_a_missed_period_breaks_at_its_end_and_not_a_microsecond_before() -> None:
    story = [enrol("2026-03-01"), *buys([1, 2, 3])]

    assert run(streak(), *story, now=instant("2026-03-05") - MICROSECOND).count == 3
    assert run(streak(), *story, now="2026-03-05").count == 0
    assert run(streak(kind="NON_CONTINUOUS_STREAKS"), *story, now="2026-03-05").count == 3


def test_late_activity_mends_the_break_and_earns_the_levels_the_course_passes() -> None:
    story = [enrol("2026-03-01"), *buys([1, 2, 4, 5])]
    mended = spend("2026-03-05T13:00", "1", dated="2026-03-03T12:00")

    broken = run(streak(offset_days=3), *story, now="2026-03-05T13:00")
    whole = run(streak(offset_days=3), *story, mended, now="2026-03-05T13:00")

    assert (broken.count, levels_paid(broken)) == (2, set())
    assert (whole.count, levels_paid(whole)) == (5, {(4, 1)})


def test_a_level_is_earned_by_the_peak_of_the_course_though_it_broke_since() -> None:
    mended = spend("2026-03-06T13:00", "1", dated="2026-03-02T12:00")

    outcome = run(
        streak(offset_days=5), enrol("2026-03-01"), *buys([1, 3, 4]), *buys([6]), mended, now="2026-03-06T13:00"
    )

    assert outcome.count == 1
    assert levels_paid(outcome) == {(4, 1)}


def test_a_period_met_ahead_of_time_does_not_carry_the_streak_over_an_open_one() -> None:
    story = [
        enrol("2026-03-01"),
        *buys([1]),
        spend("2026-03-02T23:57", "1", dated="2026-03-03T00:01"),
    ]
    met_after_all = spend("2026-03-02T23:58", "1")

    assert levels_paid(run(streak(levels=(2,)), *story, now="2026-03-02T23:59")) == set()
    assert levels_paid(run(streak(levels=(2,)), *story, met_after_all, now="2026-03-02T23:59")) == {(2, 1)}


# Rules 20 and 21: late, future, twice


def test_in_time_is_before_the_due_instant_and_too_late_at_it() -> None:
    due = instant("2026-02-03")
    programme = milestone(offset_days=2)

    outcome = run(
        programme,
        enrol("2026-01-01"),
        spend(due - MICROSECOND, "60", dated="2026-01-31"),
        spend(due, "40", dated="2026-01-31"),
    )

    assert outcome.answers == [[], "counted", "too late"]
    assert run(programme, spend(due, "40", dated="2026-01-31")).answers == ["not counted"]
    assert run(replace(programme, automatic=True), spend(due, "40", dated="2026-01-31")).answers == ["too late"]


def test_exactly_five_minutes_ahead_is_taken_and_a_microsecond_more_is_refused() -> None:
    ahead = instant("2026-01-10T00:05")

    outcome = run(
        milestone(),
        enrol("2026-01-01"),
        spend("2026-01-10", "1", dated=ahead + MICROSECOND, bill="b"),
        spend("2026-01-10", "2", dated=ahead, bill="b"),
    )

    assert outcome.answers == [[], "future", "counted"]


def test_the_same_id_counts_once_and_other_content_is_a_conflict() -> None:
    outcome = run(
        milestone(),
        spend("2026-01-01", "1.0", bill="b"),
        enrol("2026-01-02"),
        spend("2026-01-03", "1.00", dated="2026-01-01", bill="b"),
        spend("2026-01-03", "2", dated="2026-01-01", bill="b"),
        spend("2026-01-03", "1", dated="2026-01-01", bill="b", note="x"),
    )

    assert outcome.answers == ["not counted", [], "duplicate", "conflict", "conflict"]


# Rule 28: deactivation


def test_deactivated_closes_what_ended_and_forfeits_what_runs() -> None:
    programme = milestone(offset_days=20, deactivated_at=instant("2026-02-10"))
    story = [
        enrol("2026-01-01"),
        spend("2026-01-10", "100"),
        spend("2026-02-05", "100"),
        spend("2026-02-10", "100", dated="2026-02-06"),
        enrol("2026-02-11"),
        leave("2026-02-11"),
    ]

    before_due = run(programme, *story, now="2026-02-12")
    after_due = run(programme, *story)

    assert before_due.answers[-3:] == ["not counted", [310017], [310017]]
    assert (period_end(before_due, 1), period_end(after_due, 1)) == (None, ISSUED)
    assert period_end(before_due, 2) == period_end(after_due, 2) == DEACTIVATED
    assert immediate(after_due, 2) == ISSUED


def test_deactivated_at_a_periods_end_closes_that_period_as_usual() -> None:
    story = [enrol("2026-01-01"), spend("2026-01-10", "100")]
    end = instant("2026-02-01")

    assert period_end(run(milestone(deactivated_at=end), *story), 1) == ISSUED
    assert period_end(run(milestone(deactivated_at=end, offset_days=3), *story, now=end), 1) is None
    assert period_end(run(milestone(deactivated_at=end - MICROSECOND), *story), 1) == DEACTIVATED


def test_while_deactivated_no_period_turns_short() -> None:
    story = [enrol("2026-03-01"), *buys([1, 2, 3])]

    assert run(streak(deactivated_at=instant("2026-03-04T12:00")), *story).count == 3
    assert run(streak(deactivated_at=instant("2026-03-05")), *story).count == 0


# Values


def test_each_measure_adds_what_it_says() -> None:
    attributes = {"grossAmount": Decimal("1.0005"), "amount": Decimal("0.0004"), "minutes": 30}
    late = datetime(2026, 1, 10, 23, 30, tzinfo=UTC)

    def value(**overrides) -> Decimal | None:
        programme = milestone(**overrides)
        kind = "transaction" if programme.entity == "TRANSACTION" else "workout"
        acts = [Act(late + timedelta(hours=n), f"a{n}", kind, late + timedelta(hours=n), attributes) for n in range(2)]
        return run(programme, enrol("2026-01-01"), *acts).progress.get((1, 1), (None, False))[0]

    assert value(measure="GROSS_SALES") == Decimal("2.002")
    assert value(measure="SALES") == Decimal(0)
    assert value(measure="COUNT") == Decimal(2)
    assert value(measure="VISIT") == Decimal(2)
    assert value(entity="EVENT", event_name="workout", measure="EVENT_ATTRIBUTE", attribute="minutes") == Decimal(60)
    assert value(entity="EVENT", event_name="run", measure="COUNT") is None
    assert value(entity="EVENT", event_name="workout", measure="EVENT_ATTRIBUTE", attribute="steps") is None


def test_a_visited_day_is_a_day_of_the_programmes_zone() -> None:
    programme = replace(milestone(measure="VISIT"), zone="America/New_York")
    evening = datetime(2026, 3, 7, 23, 59, tzinfo=ZoneInfo("America/New_York"))
    night = datetime(2026, 3, 8, 0, 1, tzinfo=ZoneInfo("America/New_York"))
    last = datetime(2026, 3, 8, 23, 59, tzinfo=ZoneInfo("America/New_York"))

    outcome = run(programme, enrol("2026-03-01"), *(spend(at, "1") for at in (evening, night, last)))

    assert outcome.progress == {(3, 1): (Decimal(2), False)}


# What must hold in every world


@pytest.mark.parametrize("seed", range(150))
def test_random_worlds_keep_the_promises(seed) -> None:
    programme, commands, now = random_history(Random(seed))

    outcome = replay(programme, commands, now=now)

    again = random_history(Random(seed))
    assert again == (programme, commands, now)
    half = commands[: len(commands) // 2]
    if half:
        earlier = replay(programme, half, now=half[-1].at)
        assert earlier.answers == outcome.answers[: len(half)], "an answer was judged once"
        assert earlier.reached <= outcome.reached, "a level reached stays reached"
        kept = {key for key, state in earlier.rewards.items() if state == ISSUED}
        assert all(outcome.rewards[key] == ISSUED for key in kept), "a reward issued stays issued"
        assert set(earlier.rewards) <= set(outcome.rewards), "a row is never deleted"
    without = [
        c for c, answer in zip(commands, outcome.answers, strict=True) if answer not in ("duplicate", "conflict")
    ]
    assert replace(replay(programme, without, now=now), answers=[]) == replace(outcome, answers=[])
