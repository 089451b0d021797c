"""Time zones: which there are, and where their days begin.

A zone is what the IANA database calls one. Some files in its folder are not zones: "localtime" is another
one on each machine, "right/UTC" counts leap seconds, and a folder such as "America" makes the reader fail.

A day is a label on a calendar, never twenty-four hours: a local time that occurs twice is its first occurrence, a
skipped one is the instant of the jump. Both sides of each daylight-saving night: tests/core/test_zone.py.
"""

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

# Before 1970 the zone database is guesswork by its own account (tz database, theory.html), and no programme outlives
# 2200. Far from both ends of what datetime can hold, so that offsets and `offset_days` never overflow.
YEAR_MIN = 1970
YEAR_MAX = 2200

# A year: rewards of a period wait that long for late activity.
OFFSET_DAYS_MAX = 366

# "Factory" says that nobody has chosen a zone yet.
_NO_ZONES = frozenset({"localtime", "Factory"})


def zone_named(name: str) -> ZoneInfo:
    """The zone of that name, spelled as IANA does; raises ValueError for anything else."""
    if name not in _zone_names():
        raise ValueError("must be the name of an IANA time zone, such as Europe/Paris")
    return ZoneInfo(name)


def check_year(year: int) -> None:
    """Raises ValueError for a year outside YEAR_MIN to YEAR_MAX."""
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise ValueError(f"must lie in the years {YEAR_MIN} to {YEAR_MAX}")


def local_midnight(on: date, zone: ZoneInfo) -> datetime:
    """The UTC instant at which a calendar day begins in the zone, which need not be at 00:00."""
    return in_utc(datetime.combine(on, time.min), zone)


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
    return in_utc(_on_the_wall(ends_at, zone) + timedelta(days=offset_days), zone)


def in_utc(local: datetime, zone: ZoneInfo) -> datetime:
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


def _on_the_wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


@cache
def _zone_names() -> frozenset[str]:
    # Read once: the answer comes from walking a folder of some hundred files.
    return frozenset(available_timezones()) - _NO_ZONES
