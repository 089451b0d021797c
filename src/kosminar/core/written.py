"""Dates and date-times as people write them, read strictly into UTC instants.

Knows no clock: "now" is an argument. Everything after this module compares instants only. What a local time means where
clocks change is core/zone.py's business. Both sides of each form: tests/core/test_written.py.
"""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from kosminar.core.zone import check_year, in_utc


def instant(text: str, zone: ZoneInfo) -> datetime:
    """The UTC instant that an ISO 8601 date or date-time means; without an offset it is local time in the zone.

    Raises ValueError for anything else, and outside the years YEAR_MIN to YEAR_MAX.
    """
    return _read(text).in_utc(zone)


def end_after(text: str, zone: ZoneInfo) -> datetime:
    """The first UTC instant after a written end, which is included down to its grain.

    The grain of a date is the day, else a second, a millisecond or a microsecond, as it is written. It is added to the
    local time: 23:59:59.999 ends where the next day begins, though that be an hour later or midnight not exist.
    """
    written = _read(text)
    return written._replace(local=written.local + written.grain).in_utc(zone)


class _Written(NamedTuple):
    """A parsed date-time: what it says, to which grain, and its own offset if it has one."""

    local: datetime
    grain: timedelta
    offset: tzinfo | None

    def in_utc(self, zone: ZoneInfo) -> datetime:
        if self.offset is not None:
            return self.local.replace(tzinfo=self.offset).astimezone(UTC)
        return in_utc(self.local, zone)


_PATTERN = re.compile(
    r"""
    (?P<year>\d{4}) - (?P<month>\d{2}) - (?P<day>\d{2})
    (?: [T\ ] (?P<hour>\d{2}) : (?P<minute>\d{2})
        (?: : (?P<second>\d{2}) (?: \. (?P<fraction>\d{1,6}) )? )?
        (?: (?P<utc>Z) | (?P<sign>[+-]) (?P<offset_hours>[01]\d|2[0-3]) :? (?P<offset_minutes>[0-5]\d) )?
    )?
    """,
    re.ASCII | re.VERBOSE,
)


def _read(text: str) -> _Written:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError("must be a date or date-time such as 2031-09-07, 2031-09-07T23:59:59.999 or ...T21:00:00Z")
    on = _date(match["year"], match["month"], match["day"])
    if match["hour"] is None:
        return _Written(datetime.combine(on, time.min), timedelta(days=1), None)
    fraction = match["fraction"] or ""
    try:
        at = time(int(match["hour"]), int(match["minute"]), int(match["second"] or 0), int(fraction.ljust(6, "0")))
    except ValueError:
        raise ValueError("must have a time from 00:00:00 to 23:59:59") from None
    return _Written(datetime.combine(on, at), _grain(len(fraction)), _offset(match))


def _date(year: str, month: str, day: str) -> date:
    check_year(int(year))
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        raise ValueError("must be a day that the calendar has") from None


def _grain(fraction_digits: int) -> timedelta:
    if fraction_digits == 0:
        return timedelta(seconds=1)
    return timedelta(milliseconds=1) if fraction_digits <= 3 else timedelta(microseconds=1)


def _offset(match: re.Match[str]) -> tzinfo | None:
    if match["utc"]:
        return UTC
    if match["sign"] is None:
        return None
    offset = timedelta(hours=int(match["offset_hours"]), minutes=int(match["offset_minutes"]))
    return timezone(-offset if match["sign"] == "-" else offset)
