"""Periods in every zone: both sides of each boundary, both daylight-saving nights, days that begin late or never."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosminar.core.period import (
    EXPLICIT_COUNT_MAX,
    GENERATED_COUNT_MAX,
    OFFSET_DAYS_MAX,
    YEAR_MAX,
    YEAR_MIN,
    Frequency,
    Period,
    Span,
    due_at,
    end_after,
    faults,
    generate,
    instant,
    lay_out,
    local_day,
    local_midnight,
    period_at,
    running_or_next,
)

NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
APIA = ZoneInfo("Pacific/Apia")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
CAIRO = ZoneInfo("Africa/Cairo")
HAVANA = ZoneInfo("America/Havana")
ST_JOHNS = ZoneInfo("America/St_Johns")
KOLKATA = ZoneInfo("Asia/Kolkata")
WITHOUT_CHANGES = ZoneInfo("Etc/UTC")

TICK = timedelta(microseconds=1)
ZONES = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
DAYS = st.dates(date(YEAR_MIN, 1, 1), date(2150, 1, 1))
LOCAL_TIMES = st.datetimes(datetime(YEAR_MIN, 1, 2), datetime(2150, 1, 1))  # noqa: DTZ001 -- local on purpose.


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def starts(spans: list[Span], zone: ZoneInfo) -> list[str]:
    """Where spans start and the last one ends, as clocks of the zone show it."""
    bounds = [*(span.starts_at for span in spans), spans[-1].ends_at]
    return [at.astimezone(zone).strftime("%Y-%m-%d %H:%M") for at in bounds]


def hours(spans: list[Span]) -> list[float]:
    return [(span.ends_at - span.starts_at) / timedelta(hours=1) for span in spans]


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("2031-09-07", KOLKATA, "2031-09-06T18:30"),
        ("2031-09-07T10:00", KOLKATA, "2031-09-07T04:30"),
        ("2031-09-07 10:00:00", KOLKATA, "2031-09-07T04:30"),
        ("2031-09-07T10:00:00.5", KOLKATA, "2031-09-07T04:30:00.500"),
        ("2031-09-07T10:00:00.123456", KOLKATA, "2031-09-07T04:30:00.123456"),
        ("2031-09-07T10:00:00Z", KOLKATA, "2031-09-07T10:00"),
        ("2031-09-07T10:00:00+00:00", KOLKATA, "2031-09-07T10:00"),
        ("2031-09-07T10:00:00.000+0000", KOLKATA, "2031-09-07T10:00"),
        ("2031-09-07T10:00:00-03:30", KOLKATA, "2031-09-07T13:30"),
        ("2028-02-29", WITHOUT_CHANGES, "2028-02-29T00:00"),
        ("1970-01-01", APIA, "1970-01-01T11:00"),
        ("2200-12-31T23:59:59.999", APIA, "2200-12-31T10:59:59.999"),
    ],
)
def test_a_written_instant_is_local_unless_it_has_an_offset(text: str, zone: ZoneInfo, at: str) -> None:
    assert instant(text, zone) == utc(at)
    assert instant(text, zone).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "now",
            "2031",
            "2031-09",
            "20310907",
            "31-09-07",
            "2031-9-7",
            "2031-W36-7",
            "2031-250",
            "+2031-09-07",
        ),
        *("2031-02-29", "2031-13-01", "2031-00-10", "2031-09-31", "2031-09-00"),
        *(
            "2031-09-07T",
            "2031-09-07T10",
            "2031-09-07T10:0",
            "2031-09-07t10:00",
            "2031-09-07T10:00z",
            "2031-09-07  10:00",
        ),
        *("2031-09-07T24:00:00", "2031-09-07T10:60:00", "2031-09-07T23:59:60", "2031-09-07T10:00:00."),
        *("2031-09-07T10:00:00.1234567", "2031-09-07T10:00:00,5", "2031-09-07Z", "2031-09-07T10:00:00 Z"),
        *("2031-09-07T10:00:00+24:00", "2031-09-07T10:00:00+05:60", "2031-09-07T10:00:00+5", "2031-09-07T10:00[UTC]"),
        *(" 2031-09-07", "2031-09-07\n", "2031-09-07\0", "\u0662\u0660\u0663\u0661-09-07", "2031\u201109\u201107"),
        *("1969-12-31", "2201-01-01", "0000-01-01", "9999-12-31", "12031-09-07", "-2031-09-07"),
    ],
)
def test_nothing_else_is_an_instant(text: str) -> None:
    for read in (instant, end_after):
        with pytest.raises(ValueError, match=r"^must "):
            read(text, NEW_YORK)


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("2026-03-08T01:59:59.999", NEW_YORK, "2026-03-08T06:59:59.999"),
        ("2026-03-08T02:00", NEW_YORK, "2026-03-08T07:00"),
        ("2026-03-08T02:30:00.001", NEW_YORK, "2026-03-08T07:00"),
        ("2026-03-08T02:59:59.999", NEW_YORK, "2026-03-08T07:00"),
        ("2026-03-08T03:00", NEW_YORK, "2026-03-08T07:00"),
        ("2026-11-01T00:59:59.999", NEW_YORK, "2026-11-01T04:59:59.999"),
        ("2026-11-01T01:00", NEW_YORK, "2026-11-01T05:00"),
        ("2026-11-01T01:59:59.999", NEW_YORK, "2026-11-01T05:59:59.999"),
        ("2026-11-01T02:00", NEW_YORK, "2026-11-01T07:00"),
        ("2026-10-04T02:15", LORD_HOWE, "2026-10-03T15:30"),
        ("2026-10-04T02:30", LORD_HOWE, "2026-10-03T15:30"),
        ("2026-04-05T01:30", LORD_HOWE, "2026-04-04T14:30"),
        ("2026-04-05T02:00", LORD_HOWE, "2026-04-04T15:30"),
        ("2011-12-29T23:59:59.999", APIA, "2011-12-30T09:59:59.999"),
        ("2011-12-30", APIA, "2011-12-30T10:00"),
        ("2011-12-30T17:45:00.123", APIA, "2011-12-30T10:00"),
        ("2011-12-31", APIA, "2011-12-30T10:00"),
        ("2018-11-04", SAO_PAULO, "2018-11-04T03:00"),
        ("2018-11-04T00:59:59", SAO_PAULO, "2018-11-04T03:00"),
        ("2018-02-17T23:30", SAO_PAULO, "2018-02-18T01:30"),
        ("2018-02-18", SAO_PAULO, "2018-02-18T03:00"),
        ("2026-04-24", CAIRO, "2026-04-23T22:00"),
    ],
)
def test_a_local_time_twice_is_its_first_occurrence_and_a_skipped_one_the_jump(
    text: str, zone: ZoneInfo, at: str
) -> None:
    assert instant(text, zone) == utc(at)


@settings(max_examples=400)
@given(LOCAL_TIMES, ZONES)
def test_a_local_time_is_the_first_instant_whose_clock_has_reached_it(local: datetime, zone: ZoneInfo) -> None:
    at = instant(local.isoformat(), zone)

    assert (at - TICK).astimezone(zone).replace(tzinfo=None) < local <= at.astimezone(zone).replace(tzinfo=None)


@given(LOCAL_TIMES, ZONES)
def test_an_instant_written_with_its_offset_reads_back_the_same(local: datetime, zone: ZoneInfo) -> None:
    at = local.replace(tzinfo=UTC)

    assert instant(at.isoformat(), zone) == at
    assert instant(at.isoformat().replace("+00:00", "Z"), zone) == at


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("2031-09-07", KOLKATA, "2031-09-07T18:30"),
        ("2031-09-07T23:59", KOLKATA, "2031-09-07T18:29:01"),
        ("2031-09-07T23:59:59", KOLKATA, "2031-09-07T18:30"),
        ("2031-09-07T23:59:59.9", KOLKATA, "2031-09-07T18:29:59.901"),
        ("2031-09-07T23:59:59.999", KOLKATA, "2031-09-07T18:30"),
        ("2031-09-07T23:59:59.999999", KOLKATA, "2031-09-07T18:30"),
        ("2031-09-07T23:59:59.999Z", KOLKATA, "2031-09-08T00:00"),
        ("2031-09-07T23:59:59.999+0530", KOLKATA, "2031-09-07T18:30"),
        ("2026-03-08T01:59:59.999", NEW_YORK, "2026-03-08T07:00"),
        ("2026-11-01T01:59:59.999", NEW_YORK, "2026-11-01T07:00"),
        ("2018-02-17", SAO_PAULO, "2018-02-18T03:00"),
        ("2018-02-17T23:59:59.999", SAO_PAULO, "2018-02-18T03:00"),
        ("2018-11-03T23:59:59.999", SAO_PAULO, "2018-11-04T03:00"),
        ("2011-12-29T23:59:59.999", APIA, "2011-12-30T10:00"),
        ("2011-12-30", APIA, "2011-12-30T10:00"),
        ("2200-12-31", WITHOUT_CHANGES, "2201-01-01T00:00"),
    ],
)
def test_a_written_end_is_included_down_to_its_grain(text: str, zone: ZoneInfo, at: str) -> None:
    assert end_after(text, zone) == utc(at)


@given(DAYS, ZONES)
def test_every_way_to_write_the_end_of_a_day_is_where_the_next_begins(on: date, zone: ZoneInfo) -> None:
    next_day = local_midnight(on + timedelta(days=1), zone)

    for time_of_day in ("", "T23:59:59", "T23:59:59.999", " 23:59:59.999999"):
        assert end_after(f"{on}{time_of_day}", zone) == next_day


def test_a_day_need_not_begin_at_midnight_nor_have_one_midnight() -> None:
    begins = {
        zone: local_midnight(on, zone) for zone, on in ((SAO_PAULO, date(2018, 11, 4)), (HAVANA, date(2026, 11, 1)))
    }

    assert begins == {SAO_PAULO: utc("2018-11-04T03:00"), HAVANA: utc("2026-11-01T04:00")}
    for zone, at in begins.items():
        assert local_day(at, zone) - local_day(at - TICK, zone) == timedelta(days=1)


def test_a_local_day_is_what_the_calendar_on_the_wall_says() -> None:
    # In 2010 St. John's put 00:01 back to 23:01, so that the evening before came again after midnight.
    midnight = local_midnight(date(2010, 11, 7), ST_JOHNS)

    days = [local_day(midnight + timedelta(minutes=minutes), ST_JOHNS).day for minutes in (-1, 0, 1, 59, 60)]

    assert days == [6, 7, 6, 6, 7]


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


@pytest.mark.parametrize(
    ("ends_at", "offset_days", "zone", "due"),
    [
        ("2026-03-07T05:00", 0, NEW_YORK, "2026-03-07T05:00"),
        ("2026-03-07T05:00", 1, NEW_YORK, "2026-03-08T05:00"),
        ("2026-03-07T05:00", 2, NEW_YORK, "2026-03-09T04:00"),
        ("2026-10-31T04:00", 31, NEW_YORK, "2026-12-01T05:00"),
        # 02:30 on the day before the clocks go forward: a day later it is the jump, two days later 02:30 again.
        ("2026-03-07T07:30", 1, NEW_YORK, "2026-03-08T07:00"),
        ("2026-03-07T07:30", 2, NEW_YORK, "2026-03-09T06:30"),
        # The second 01:30 of the night stays the second without days, and is a plain 01:30 with them.
        ("2026-11-01T06:30", 0, NEW_YORK, "2026-11-01T06:30"),
        ("2026-11-01T06:30", 1, NEW_YORK, "2026-11-02T06:30"),
        # Days that begin at 01:00 are still days: from one to a plain one, and from a plain one to it.
        ("2018-11-04T03:00", 1, SAO_PAULO, "2018-11-05T02:00"),
        ("2018-11-03T03:00", 1, SAO_PAULO, "2018-11-04T03:00"),
        ("2011-12-29T10:00", 1, APIA, "2011-12-30T10:00"),
        ("2011-12-30T10:00", 1, APIA, "2011-12-31T10:00"),
    ],
)
def test_offset_days_are_calendar_days_of_the_zone(ends_at: str, offset_days: int, zone: ZoneInfo, due: str) -> None:
    assert due_at(utc(ends_at), offset_days, zone) == utc(due)


@given(LOCAL_TIMES, st.integers(0, OFFSET_DAYS_MAX), ZONES)
def test_a_period_is_never_due_before_its_end(ends_at: datetime, offset_days: int, zone: ZoneInfo) -> None:
    at = ends_at.replace(tzinfo=UTC)

    assert due_at(at, offset_days, zone) >= at


def laid_out() -> tuple[Period, ...]:
    """Two days side by side, a day's gap, and a third."""
    one, two, _, four = generate(date(2026, 3, 7), Frequency.DAILY, 1, 4, NEW_YORK)
    return lay_out([one, two, four], period_ids=[70, 71, 90], offset_days=2, zone=NEW_YORK)


def test_spans_are_laid_out_as_numbered_periods_with_their_due_instants() -> None:
    first, second, third = laid_out()

    assert first == Period(70, 1, "Cycle_1", utc("2026-03-07T05:00"), utc("2026-03-08T05:00"), utc("2026-03-10T04:00"))
    assert [(period.period_id, period.number, period.name) for period in (second, third)] == [
        (71, 2, "Cycle_2"),
        (90, 3, "Cycle_4"),
    ]


def test_a_period_is_found_by_instant_on_both_sides_of_each_bound() -> None:
    first, second, third = periods = laid_out()
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

    starts = [period.starts_at for period in periods]
    for at, covering, running_or_coming in table:
        assert period_at(periods, starts, at) is covering
        assert running_or_next(periods, at) is running_or_coming
    assert period_at((), (), first.starts_at) is None
    assert running_or_next((), first.starts_at) is None


@given(st.integers(-3 * 86_400, 9 * 86_400))
def test_an_instant_lies_in_the_one_period_that_covers_it(seconds: int) -> None:
    periods = laid_out()
    at = periods[0].starts_at + timedelta(seconds=seconds)

    found = period_at(periods, [period.starts_at for period in periods], at)

    assert [period for period in periods if period.covers(at)] == ([] if found is None else [found])


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
