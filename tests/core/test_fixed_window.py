"""Fixed windows in every zone: both sides of each boundary, both daylight-saving nights, odd days."""

from datetime import date, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.zones import APIA, CAIRO, DAYS, LORD_HOWE, NEW_YORK, SAO_PAULO, TICK, WITHOUT_CHANGES, ZONES, utc

from kosminar.core.period import Frequency, Period, Span
from kosminar.core.window.fixed import EXPLICIT_COUNT_MAX, GENERATED_COUNT_MAX, FixedWindow, faults, generate, lay_out
from kosminar.core.window.window import Share
from kosminar.core.written import end_after, instant
from kosminar.core.zone import YEAR_MAX, YEAR_MIN, local_day, local_midnight


def starts(spans: list[Span], zone: ZoneInfo) -> list[str]:
    """Where spans start and the last one ends, as clocks of the zone show it."""
    bounds = [*(span.starts_at for span in spans), spans[-1].ends_at]
    return [at.astimezone(zone).strftime("%Y-%m-%d %H:%M") for at in bounds]


def hours(spans: list[Span]) -> list[float]:
    return [(span.ends_at - span.starts_at) / timedelta(hours=1) for span in spans]


@pytest.mark.parametrize(
    ("zone", "first_on", "lengths"),
    [
        (NEW_YORK, date(2026, 3, 7), [24, 23, 24]),
        (NEW_YORK, date(2026, 10, 31), [24, 25, 24]),
        (LORD_HOWE, date(2026, 10, 3), [24, 23.5, 24]),
        (LORD_HOWE, date(2026, 4, 4), [24, 24.5, 24]),
        (SAO_PAULO, date(2018, 11, 3), [24, 23, 24]),
        (SAO_PAULO, date(2018, 2, 17), [25, 24, 24]),
        (CAIRO, date(2026, 4, 23), [24, 23, 24]),
        (CAIRO, date(2026, 10, 29), [25, 24, 24]),
    ],
)
def test_a_day_lasts_until_the_next_begins_in_the_nights_the_clocks_change(
    zone: ZoneInfo, first_on: date, lengths: list[float]
) -> None:
    spans = generate(first_on, Frequency.DAILY, 1, 3, zone)

    assert hours(spans) == lengths
    assert [local_day(span.starts_at, zone) for span in spans] == [first_on + timedelta(days=n) for n in range(3)]


def test_the_day_that_apia_skipped_is_left_out_and_takes_no_name() -> None:
    spans = generate(date(2011, 12, 29), Frequency.DAILY, 1, 4, APIA)

    assert [span.name for span in spans] == ["Cycle_1", "Cycle_2", "Cycle_3"]
    assert starts(spans, APIA) == ["2011-12-29 00:00", "2011-12-31 00:00", "2012-01-01 00:00", "2012-01-02 00:00"]
    assert hours(spans) == [24, 24, 24]


@pytest.mark.parametrize(
    ("first_on", "frequency", "every", "days"),
    [
        (date(2026, 1, 31), Frequency.MONTHLY, 1, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        (date(2028, 1, 30), Frequency.MONTHLY, 1, ["2028-01-30", "2028-02-29", "2028-03-30", "2028-04-30"]),
        (date(2026, 11, 30), Frequency.MONTHLY, 3, ["2026-11-30", "2027-02-28", "2027-05-30", "2027-08-30"]),
        (date(2026, 11, 30), Frequency.QUARTERLY, 1, ["2026-11-30", "2027-02-28", "2027-05-30", "2027-08-30"]),
        (date(2026, 8, 31), Frequency.HALF_YEARLY, 1, ["2026-08-31", "2027-02-28", "2027-08-31", "2028-02-29"]),
        (date(2028, 2, 29), Frequency.YEARLY, 1, ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28"]),
        (date(2028, 2, 29), Frequency.YEARLY, 2, ["2028-02-29", "2030-02-28", "2032-02-29", "2034-02-28"]),
        (date(2028, 2, 28), Frequency.DAILY, 1, ["2028-02-28", "2028-02-29", "2028-03-01", "2028-03-02"]),
        (date(2026, 12, 28), Frequency.WEEKLY, 2, ["2026-12-28", "2027-01-11", "2027-01-25", "2027-02-08"]),
        (date(2026, 12, 28), Frequency.CUSTOM, 10, ["2026-12-28", "2027-01-07", "2027-01-17", "2027-01-27"]),
    ],
)
def test_each_start_is_computed_from_the_first(
    first_on: date, frequency: Frequency, every: int, days: list[str]
) -> None:
    spans = generate(first_on, frequency, every, 3, NEW_YORK)

    assert starts(spans, NEW_YORK) == [f"{day} 00:00" for day in days]


@given(DAYS, st.sampled_from(Frequency), st.integers(1, 5), st.integers(1, 9), ZONES)
def test_generated_periods_tile_and_begin_with_local_days(
    first_on: date, frequency: Frequency, every: int, count: int, zone: ZoneInfo
) -> None:
    spans = generate(first_on, frequency, every, count, zone)

    assert [span.name for span in spans] == [f"Cycle_{number}" for number in range(1, len(spans) + 1)]
    for before, after in pairwise(spans):
        assert before.ends_at == after.starts_at
    for span in spans:
        assert span.starts_at < span.ends_at
        assert span.starts_at == local_midnight(local_day(span.starts_at, zone), zone)
        assert local_day(span.starts_at - TICK, zone) < local_day(span.starts_at, zone)


def test_the_days_of_a_changing_season_tile_in_every_zone() -> None:
    for name in sorted(available_timezones()):
        for first_on in (date(2026, 3, 1), date(2026, 10, 1)):
            spans = generate(first_on, Frequency.DAILY, 1, 40, ZoneInfo(name))

            assert len(spans) == 40, name
            assert all(before.ends_at == after.starts_at for before, after in pairwise(spans)), name


@pytest.mark.parametrize("frequency", Frequency)
def test_a_programme_ends_within_the_years_we_know(frequency: Frequency) -> None:
    longest = generate(date(YEAR_MAX, 12, 1), Frequency.DAILY, 1, 30, WITHOUT_CHANGES)

    assert longest[-1].ends_at == utc(f"{YEAR_MAX}-12-31T00:00")
    for first_on, every in ((date(YEAR_MAX, 12, 31), 366), (date(2026, 1, 1), 10**40), (date(YEAR_MIN - 1, 12, 31), 1)):
        with pytest.raises(ValueError, match="must lie in the years 1970 to 2200"):
            generate(first_on, frequency, every, 1, WITHOUT_CHANGES)


def test_as_many_periods_are_generated_as_the_limit_and_no_more() -> None:
    spans = generate(date(2026, 1, 1), Frequency.DAILY, 1, GENERATED_COUNT_MAX, NEW_YORK)

    assert spans[-1].name == f"Cycle_{GENERATED_COUNT_MAX}"
    for every, count in ((1, GENERATED_COUNT_MAX + 1), (1, 0), (0, 1)):
        with pytest.raises(AssertionError):
            generate(date(2026, 1, 1), Frequency.DAILY, every, count, NEW_YORK)


def laid_out() -> FixedWindow:
    """Two days side by side, a day's gap, and a third."""
    one, two, _, four = generate(date(2026, 3, 7), Frequency.DAILY, 1, 4, NEW_YORK)
    return FixedWindow(lay_out([one, two, four], offset_days=2, zone=NEW_YORK))


def test_spans_are_laid_out_as_numbered_periods_with_their_due_instants() -> None:
    first, second, third = laid_out().periods

    assert first == Period(1, "Cycle_1", utc("2026-03-07T05:00"), utc("2026-03-08T05:00"), utc("2026-03-10T04:00"))
    assert [(period.number, period.name) for period in (second, third)] == [(2, "Cycle_2"), (3, "Cycle_4")]


def test_a_period_is_found_by_instant_on_both_sides_of_each_bound() -> None:
    window = laid_out()
    first, second, third = window.periods
    table = [
        (first.starts_at - TICK, None, first),
        (first.starts_at, first, first),
        (first.ends_at - TICK, first, first),
        (second.starts_at, second, second),
        (second.ends_at - TICK, second, second),
        (second.ends_at, None, third),
        (third.starts_at - TICK, None, third),
        (third.starts_at, third, third),
        (third.ends_at - TICK, third, third),
        (third.ends_at, None, None),
    ]

    for at, covering, running_or_coming in table:
        assert window.period_at(at, None) is covering
        assert window.running_or_next(at, None) is running_or_coming
        assert window.over(at, None) is (running_or_coming is None)
    assert FixedWindow(()).period_at(first.starts_at, None) is None
    assert FixedWindow(()).running_or_next(first.starts_at, None) is None
    assert FixedWindow(()).next_boundary(first.starts_at, None) is None
    assert FixedWindow(()).over(first.starts_at, None)


def test_a_period_is_found_by_its_number_and_there_is_none_of_another() -> None:
    window = laid_out()

    assert [window.period(number, None) for number in (1, 2, 3)] == list(window.periods)
    for number in (-1, 0, 4):
        with pytest.raises((AssertionError, IndexError)):
            window.period(number, None)


def test_the_next_boundary_is_the_first_start_or_end_after_an_instant() -> None:
    window = laid_out()
    first, second, third = window.periods
    boundaries = [first.starts_at, second.starts_at, second.ends_at, third.starts_at, third.ends_at]

    assert window.next_boundary(first.starts_at - TICK, None) == first.starts_at
    for at, following in pairwise(boundaries):
        assert window.next_boundary(at, None) == following
        assert window.next_boundary(following - TICK, None) == following
    assert window.next_boundary(third.ends_at, None) is None


def test_a_fixed_window_is_the_same_for_every_customer() -> None:
    window = laid_out()
    at = window.periods[0].starts_at
    questions = (window.period_at, window.running_or_next, window.next_boundary, window.over)

    for ask in questions:
        with pytest.raises(AssertionError):
            ask(at, at)
    with pytest.raises(AssertionError):
        window.period(1, at)


def test_a_fixed_window_never_carries_an_amount_into_the_next_period() -> None:
    window = laid_out()

    for value, amount in ((0, 1), (999, 1), (1_000, 5_000), (0, 10**17)):
        assert window.spread(window.periods[1], value, amount, 1_000) == (Share(2, amount),)


@given(st.integers(-3 * 86_400, 9 * 86_400))
def test_an_instant_lies_in_the_one_period_that_covers_it(seconds: int) -> None:
    window = laid_out()
    at = window.periods[0].starts_at + timedelta(seconds=seconds)

    found = window.period_at(at, None)

    assert [period for period in window.periods if period.covers(at)] == ([] if found is None else [found])


def span(name: str, start: str, end: str, zone: ZoneInfo = NEW_YORK) -> Span:
    return Span(name, instant(start, zone), end_after(end, zone))


def test_periods_side_by_side_or_with_gaps_have_no_fault() -> None:
    spans = [
        span("W1", "2026-03-02", "2026-03-08T23:59:59.999"),
        span("W2", "2026-03-09", "2026-03-15"),
        span("W3", "2026-04-01", "2026-04-01"),
    ]

    assert faults(spans) == []
    assert faults([]) == []


def test_every_fault_of_a_row_of_periods_is_found() -> None:
    spans = [
        span("May", "2026-05-01", "2026-05-31"),
        span("June", "2026-05-31T23:59:59.999", "2026-06-30"),
        span("MAY", "2026-04-01", "2026-04-30"),
        span("Whole", "2026-05-20", "2026-09-30"),
        span("August", "2026-08-01", "2026-08-31"),
        span("September", "2026-09-30", "2026-09-01"),
        span("stra\u00dfe", "2027-01-01", "2027-01-31"),
        span("STRASSE", "2027-02-01", "2027-02-28"),
    ]

    assert [str(fault) for fault in faults(spans)] == [
        "periods[1].startDate must not overlap periods[3]",
        "periods[2].startDate must not be before periods[1].startDate",
        "periods[2].refCode must differ from periods[0].refCode, case ignored",
        "periods[3].startDate must not overlap periods[0]",
        "periods[4].startDate must not overlap periods[3]",
        "periods[5].endDate must be after startDate",
        "periods[7].refCode must differ from periods[6].refCode, case ignored",
    ]


def test_an_explicit_period_on_the_skipped_day_has_no_length() -> None:
    assert [str(fault) for fault in faults([span("Friday", "2011-12-30", "2011-12-30", APIA)], "body")] == [
        "body[0].endDate must be after startDate"
    ]


def test_as_many_explicit_periods_are_taken_as_the_limit_and_no_more() -> None:
    begin, hour = utc("2026-01-01T00:00"), timedelta(hours=1)
    spans = [Span(f"P{n}", begin + n * hour, begin + (n + 1) * hour) for n in range(EXPLICIT_COUNT_MAX + 1)]

    assert faults(spans[:-1]) == []
    assert [str(fault) for fault in faults(spans)] == [f"periods must be at most {EXPLICIT_COUNT_MAX} periods"]


def test_many_periods_are_checked_at_once() -> None:
    everywhere = [Span("same", utc("2026-01-01T00:00"), utc("2027-01-01T00:00"))] * EXPLICIT_COUNT_MAX

    assert len(faults(everywhere)) == 2 * (EXPLICIT_COUNT_MAX - 1)
