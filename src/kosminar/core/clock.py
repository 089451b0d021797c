"""What time it is for an organisation.

What a brand sees goes by its organisation's clock, what protects the house by real time (decision 34). Asks no machine:
the time on the wall is an argument.
"""

from datetime import datetime


def clock_now(*, test_clock: bool, clock_at: datetime, wall: datetime) -> datetime:
    """The organisation's instant: a test clock stands where it was put, a real one goes with the wall, never back.

    `clock_at` is what is stored of the clock; of a real one it is the floor, because the wall may be set back.
    """
    return clock_at if test_clock else max(clock_at, wall)
