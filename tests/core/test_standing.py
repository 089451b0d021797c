"""Enrolled stretches against periods, and the fold."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.builders import Customer, build_programme, day

from kosminar.core.fold import fold
from kosminar.core.standing import Method, Stretch, TargetStanding

MOMENT = timedelta(microseconds=1)


def test_held_at_a_period_end_means_left_at_it_or_later() -> None:
    first = build_programme().periods[0]

    def held(starts_at: float, ends_at: object) -> bool:
        return Stretch(Method.EXPLICIT, day(starts_at), ends_at, 1).holds_at_end_of(first)

    assert held(1, None)
    assert held(1, day(2))
    assert not held(1, day(2) - MOMENT)
    assert not held(2, None)
    assert not Stretch(Method.EXPLICIT, day(1), None, 2).holds_at_end_of(first)


def test_a_stretch_contains_its_start_and_not_its_end() -> None:
    stretch = Stretch(Method.EXPLICIT, day(1), day(2), 1)

    assert stretch.contains(day(1))
    assert stretch.contains(day(2) - MOMENT)
    assert not stretch.contains(day(2))


def test_an_opt_out_is_no_enrolment() -> None:
    standing = TargetStanding(stretches=(Stretch(Method.OPT_OUT, day(1), day(1), 1),))

    assert standing.enrolments == ()
    assert not standing.enrolled
    assert not standing.left(build_programme().periods[0])


@settings(deadline=None, max_examples=100)
@given(cuts=st.lists(st.integers(min_value=0, max_value=40), max_size=5))
def test_folding_in_any_batches_gives_the_same_standing(cuts: list[int]) -> None:
    ana = Customer(build_programme(offset_days=1))
    ana.enrol(1)
    for n in (1.2, 1.4, 2.5, 3.5):
        ana.buy(n, "60")
    ana.un_enrol(3.6)
    ana.enrol(3.7)
    ana.wait(9)

    standing = ana.programme.untouched
    edges = sorted({0, len(ana.facts), *(c for c in cuts if c <= len(ana.facts))})
    for first, last in pairwise(edges):
        standing = fold(ana.programme, standing, ana.facts[first:last])

    assert standing == ana.standing
