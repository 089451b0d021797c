"""Zones: the names that IANA lists, and none of the files beside; days that begin late, twice or never."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.zones import APIA, HAVANA, LOCAL_TIMES, NEW_YORK, SAO_PAULO, ST_JOHNS, TICK, ZONES, utc

from kosminar.core.zone import OFFSET_DAYS_MAX, due_at, local_day, local_midnight, zone_named


@pytest.mark.parametrize("name", ["UTC", "Etc/UTC", "Europe/Paris", "Australia/Lord_Howe", "America/Argentina/Ushuaia"])
def test_an_iana_name_is_a_zone(name: str) -> None:
    assert zone_named(name).key == name


NO_ZONES = """
America europe/paris Mars/Base +05:30 ../etc/passwd /etc/localtime localtime Factory posixrules right/UTC posix/UTC
tzdata.zi
"""


@pytest.mark.parametrize("name", ["", " ", "Europe/Paris ", "x" * 10_000, *NO_ZONES.split()])
def test_anything_else_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone_named(name)


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
