"""Periods: a period covers [start, end') in the programme's zone.

Owns the way from written dates and calendar steps to UTC instants, and the rules for a row of periods. A day is a
label on a calendar, never twenty-four hours: a local time that occurs twice is its first occurrence, a skipped one is
the instant of the jump. Everything after this module compares instants only. Knows no clock: "now" is an argument.
Both sides of each daylight-saving night: tests/core/test_period.py.
"""

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

# Before 1970 the zone database is guesswork by its own account (tz database, theory.html), and no programme outlives
# 2200. Far from both ends of what datetime can hold, so that offsets and `offset_days` never overflow.
YEAR_MIN = 1970
YEAR_MAX = 2200

# The published API takes 100 individually dated periods; a programme of days needs more.
EXPLICIT_COUNT_MAX = 1_000
# More than two years of days; each generated period is a row for every target of the programme.
GENERATED_COUNT_MAX = 1_000
# A year: rewards of a period wait that long for late activity.
OFFSET_DAYS_MAX = 366


class Frequency(StrEnum):
    """The calendar step from one generated period to the next."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    YEARLY = "YEARLY"
    CUSTOM = "CUSTOM"


class Fault(NamedTuple):
    """One thing wrong with a request. The message completes the path to a sentence: "periods[2].endDate must ..."."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'the body'} {self.message}"


class Span(NamedTuple):
    """A period before it has its place among others and its id."""

    name: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """One cycle of a programme. Its end is excluded; `due_at` is when late activity stops counting and the end runs."""

    period_id: int
    number: int
    name: str
    starts_at: datetime
    ends_at: datetime
    due_at: datetime

    def covers(self, at: datetime) -> bool:
        return self.starts_at <= at < self.ends_at


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


def local_midnight(on: date, zone: ZoneInfo) -> datetime:
    """The UTC instant at which a calendar day begins in the zone, which need not be at 00:00."""
    return _in_utc(datetime.combine(on, time.min), zone)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The calendar day that is written on the wall at an instant."""
    assert at.tzinfo is not None, "instants are always aware"
    return at.astimezone(zone).date()


def due_at(ends_at: datetime, offset_days: int, zone: ZoneInfo) -> datetime:
    """The end, moved by calendar days of the zone: the same time on the wall, so many days later.

    An end where a day begins stays one, though that day or the later one have no 00:00.
    """
    assert 0 <= offset_days <= OFFSET_DAYS_MAX
    if offset_days == 0:
        # The way over local time would move an end in a repeated hour to that hour's first pass.
        return ends_at
    end_on = local_day(ends_at, zone)
    if ends_at == local_midnight(end_on, zone):
        return local_midnight(end_on + timedelta(days=offset_days), zone)
    return _in_utc(_on_the_wall(ends_at, zone) + timedelta(days=offset_days), zone)


def generate(first_on: date, frequency: Frequency, every: int, count: int, zone: ZoneInfo) -> list[Span]:
    """Periods of equal length in calendar terms, one ending where the next begins, named Cycle_1, Cycle_2, ...

    Each start is computed from the first one: a programme that begins on the 31st begins on the last day of a short
    month, then on the 31st again. A period of no length (a day that the zone skipped) is left out and takes no name.
    Raises ValueError if the last one would end after YEAR_MAX.
    """
    assert every >= 1
    assert 1 <= count <= GENERATED_COUNT_MAX
    _check_year(first_on.year)
    # The last end first: if it can be named, so can all before it.
    last_end_on = _step(first_on, frequency, every * count)
    starts_on = [*(_step(first_on, frequency, every * index) for index in range(count)), last_end_on]
    bounds = pairwise(local_midnight(on, zone) for on in starts_on)
    lasting = [(starts_at, ends_at) for starts_at, ends_at in bounds if starts_at < ends_at]
    return [Span(f"Cycle_{number}", *bound) for number, bound in enumerate(lasting, start=1)]


def faults(spans: Sequence[Span], path: str = "periods") -> list[Fault]:
    """Everything wrong with explicitly dated periods: too many, without length, out of order, overlapping, same name."""
    if len(spans) > EXPLICIT_COUNT_MAX:
        return [Fault(path, f"must be at most {EXPLICIT_COUNT_MAX} periods")]
    found: list[Fault] = []
    overlapped = _overlaps(spans)
    index_of_name: dict[str, int] = {}
    for index, span in enumerate(spans):
        here = f"{path}[{index}]"
        if span.ends_at <= span.starts_at:
            found.append(Fault(f"{here}.endDate", "must be after startDate"))
        if index > 0 and span.starts_at < spans[index - 1].starts_at:
            found.append(Fault(f"{here}.startDate", f"must not be before {path}[{index - 1}].startDate"))
        if index in overlapped:
            found.append(Fault(f"{here}.startDate", f"must not overlap {path}[{overlapped[index]}]"))
        namesake = index_of_name.setdefault(span.name.casefold(), index)
        if namesake != index:
            found.append(Fault(f"{here}.refCode", f"must differ from {path}[{namesake}].refCode, case ignored"))
    return found


def lay_out(
    spans: Sequence[Span], *, period_ids: Sequence[int], offset_days: int, zone: ZoneInfo
) -> tuple[Period, ...]:
    """Spans without faults become the numbered periods of a programme."""
    assert all(before.ends_at <= after.starts_at for before, after in pairwise(spans))
    return tuple(
        Period(period_id, number, *span, due_at(span.ends_at, offset_days, zone))
        for number, (period_id, span) in enumerate(zip(period_ids, spans, strict=True), start=1)
    )


def period_at(periods: Sequence[Period], starts: Sequence[datetime], at: datetime) -> Period | None:
    """The period that covers the instant, or None in a gap, before the first and after the last.

    `starts` are the periods' starts, kept by whoever asks often.
    """
    begun = bisect_right(starts, at)
    return periods[begun - 1] if begun > 0 and periods[begun - 1].covers(at) else None


def running_or_next(periods: Sequence[Period], at: datetime) -> Period | None:
    """The period that covers the instant, else the nearest to come; None when all are over."""
    ended = bisect_right(periods, at, key=lambda period: period.ends_at)
    return periods[ended] if ended < len(periods) else None


_MONTHS = {Frequency.MONTHLY: 1, Frequency.QUARTERLY: 3, Frequency.HALF_YEARLY: 6, Frequency.YEARLY: 12}
_DAYS = {Frequency.DAILY: 1, Frequency.WEEKLY: 7, Frequency.CUSTOM: 1}


def _step(first_on: date, frequency: Frequency, units: int) -> date:
    if frequency in _DAYS:
        ordinal = first_on.toordinal() + units * _DAYS[frequency]
        # Cut off first: so many days may be more than a date can hold.
        on = date.fromordinal(min(ordinal, date.max.toordinal()))
        _check_year(on.year)
        return on
    years, month_index = divmod(first_on.month - 1 + units * _MONTHS[frequency], 12)
    year, month = first_on.year + years, month_index + 1
    _check_year(year)
    return date(year, month, min(first_on.day, monthrange(year, month)[1]))


def _overlaps(spans: Sequence[Span]) -> dict[int, int]:
    """For each span that begins inside another: that other's index. Those without length overlap nothing."""
    found: dict[int, int] = {}
    lasting = [index for index, span in enumerate(spans) if span.starts_at < span.ends_at]
    # The one that ends last, not the neighbour: a long period may reach over the next into the one after.
    longest: int | None = None
    for index in sorted(lasting, key=lambda index: spans[index].starts_at):
        if longest is not None and spans[index].starts_at < spans[longest].ends_at:
            found[index] = longest
        if longest is None or spans[index].ends_at > spans[longest].ends_at:
            longest = index
    return found


class _Written(NamedTuple):
    """A parsed date-time: what it says, to which grain, and its own offset if it has one."""

    local: datetime
    grain: timedelta
    offset: tzinfo | None

    def in_utc(self, zone: ZoneInfo) -> datetime:
        if self.offset is not None:
            return self.local.replace(tzinfo=self.offset).astimezone(UTC)
        return _in_utc(self.local, zone)


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
    _check_year(int(year))
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


def _check_year(year: int) -> None:
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise ValueError(f"must lie in the years {YEAR_MIN} to {YEAR_MAX}")


def _on_the_wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _in_utc(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which clocks of the zone show the local time, or pass over it."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _on_the_wall(first, zone) == local:
        return first
    # The local time was skipped. Python reads it with the offset before the jump (fold=0, an instant after the jump) or
    # with the one after it (fold=1, an instant before); the jump is between the two, on a whole second.
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(microsecond=0)
    seconds = range(int((first - before).total_seconds()) + 1)
    jump = bisect_left(seconds, True, key=lambda n: _on_the_wall(before + timedelta(seconds=n), zone) > local)
    return before + timedelta(seconds=jump)
