"""Counts, levels, breaks and runs of a streak."""

from tests.core.builders import Customer, build_streak, day

from kosminar.core.fact import FactName
from kosminar.core.kind import streak


def count(customer: Customer, at: float) -> int:
    return streak.count(customer.programme, customer.part, customer.part.runs[-1], day(at))


def levels(customer: Customer) -> list[tuple[int | None, int | None]]:
    return [(f.level_id, f.run) for f in customer.facts if f.name is FactName.LEVEL_REACHED]


def enrolled(**overrides: object) -> Customer:
    ana = Customer(build_streak(**overrides))
    ana.enrol(1)
    return ana


def test_levels_are_reached_as_the_count_comes_to_them() -> None:
    ana = enrolled()

    for n in (1, 2, 3):
        ana.buy(n + 0.5)

    assert count(ana, 3.6) == 3
    assert levels(ana) == [(11, 1), (12, 1)]


def test_a_period_that_ended_unmet_breaks_at_once_and_is_reported_when_due() -> None:
    ana = enrolled(offset_days=2)
    ana.buy(1.5)

    assert count(ana, 3 - 1e-9) == 1
    assert count(ana, 3) == 0
    assert ana.wait(5 - 1e-9) == []
    assert [(f.name, f.period_number, f.count) for f in ana.wait(5)] == [(FactName.STREAK_BROKEN, 2, 1)]
    assert ana.wait(9) == []


def test_a_streak_of_nothing_is_not_reported_broken() -> None:
    ana = enrolled()

    assert ana.wait(10) == []


def test_late_activity_mends_the_course_and_earns_the_levels_it_passes() -> None:
    ana = enrolled(offset_days=2)
    ana.buy(1.5)
    ana.buy(3.5)
    assert count(ana, 3.6) == 1
    assert levels(ana) == []

    ana.buy(2.5, at=3.7)

    assert count(ana, 3.8) == 3
    assert levels(ana) == [(11, 1), (12, 1)]


def test_a_non_continuous_streak_never_resets() -> None:
    ana = enrolled(continuous=False)

    ana.buy(1.5)
    ana.buy(5.5)
    ana.buy(8.5)

    assert count(ana, 10.5) == 3
    assert ana.wait(11) == []


def test_periods_spent_un_enrolled_neither_count_nor_break() -> None:
    ana = enrolled()
    ana.buy(1.5)
    ana.un_enrol(2.5)
    ana.enrol(4.5)

    ana.buy(4.6)

    assert count(ana, 4.7) == 2


def test_a_reset_starts_a_new_run_whose_levels_earn_again() -> None:
    ana = enrolled()
    ana.buy(1.5)
    ana.buy(2.5)
    ana.un_enrol(2.7)

    ana.enrol(3.5, reset=True)
    assert count(ana, 3.6) == 0
    ana.buy(3.6)
    ana.buy(4.5)

    assert levels(ana) == [(11, 1), (11, 2)]


def test_without_a_reset_a_level_is_not_earned_again() -> None:
    ana = enrolled(levels=(2,))
    ana.buy(1.5)
    ana.buy(2.5)
    ana.wait(4)
    ana.un_enrol(4.5)
    ana.enrol(5.5)

    ana.buy(5.6)
    ana.buy(6.5)

    assert levels(ana) == [(11, 1)]


def test_an_ended_run_still_takes_late_activity_and_earns_its_levels() -> None:
    ana = enrolled(offset_days=5)
    ana.buy(1.5)
    ana.un_enrol(3.5)
    ana.enrol(3.6, reset=True)

    ana.buy(2.5, at=4)

    assert levels(ana) == [(11, 1)]
    assert count(ana, 4) == 0


def test_the_same_period_may_be_met_in_two_runs() -> None:
    ana = enrolled()
    ana.buy(1.3)
    ana.un_enrol(1.4)
    ana.enrol(1.5, reset=True)

    ana.buy(1.6)

    assert [(p.period_number, p.run) for p in ana.part.progress] == [(1, 1), (1, 2)]


def test_an_open_unmet_period_parts_its_neighbours_until_it_is_met() -> None:
    # Five minutes is what a shop's clock may run ahead: period 2 is met while period 1 is still open.
    ana = enrolled()
    ahead = 2 + 1 / 24 / 60
    before = 2 - 1 / 24 / 60

    ana.buy(ahead, at=before)
    ana.buy(ahead, at=before)
    assert levels(ana) == []
    ana.buy(before)

    assert levels(ana) == [(11, 1)]


def test_who_left_is_watched_for_no_break() -> None:
    ana = enrolled()
    ana.buy(1.5)
    watched = streak.next_break(ana.programme, ana.part, ana.part.runs[0])
    assert watched is not None
    assert watched.number == 2

    ana.un_enrol(1.7)

    assert streak.next_break(ana.programme, ana.part, ana.part.runs[0]) is None
