"""An organisation's time: a test clock stands still, a real one never goes back."""

from datetime import UTC, datetime, timedelta

from kosminar.core.clock import clock_now

AT = datetime(2031, 3, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def test_a_test_clock_stands_where_it_was_put() -> None:
    assert clock_now(test_clock=True, clock_at=AT, wall=AT + TICK) == AT
    assert clock_now(test_clock=True, clock_at=AT, wall=AT - TICK) == AT


def test_a_real_clock_goes_with_the_wall_and_never_back() -> None:
    assert clock_now(test_clock=False, clock_at=AT, wall=AT + TICK) == AT + TICK
    assert clock_now(test_clock=False, clock_at=AT, wall=AT - TICK) == AT
