"""Written dates and date-times: every form, both daylight-saving nights, days that begin late or never."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from tests.core.zones import (
    APIA,
    CAIRO,
    DAYS,
    KOLKATA,
    LOCAL_TIMES,
    LORD_HOWE,
    NEW_YORK,
    SAO_PAULO,
    TICK,
    WITHOUT_CHANGES,
    ZONES,
    utc,
)

from kosminar.core.written import end_after, instant
from kosminar.core.zone import local_midnight


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
