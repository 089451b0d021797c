"""Instants and days as the compatible API writes them.

Three shapes of one instant, because existing clients read all of them: 2031-04-02T05:04:45.000+0000, its ISO twin
2031-04-02T05:04:45.000Z, and milliseconds since 1970. Days are days of the programme's zone.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from kosminar.core.zone import local_day

# The finest grain of an instant here; an end that is excluded, less one of these, is the last instant included.
TICK = timedelta(milliseconds=1)


def written(at: datetime) -> str:
    """As most fields write it.

    >>> written(datetime(2031, 4, 2, 5, 4, 45, tzinfo=UTC))
    '2031-04-02T05:04:45.000+0000'
    """
    return f"{_local(at)}+0000"


def written_iso(at: datetime) -> str:
    """As the fields that end in ISO write it."""
    return f"{_local(at)}Z"


def twins(name: str, at: datetime | None) -> dict[str, str | None]:
    """The field and its ISO twin, both null for an instant that is not known yet."""
    return {name: None if at is None else written(at), f"{name}ISO": None if at is None else written_iso(at)}


def milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // TICK


def first_day(starts_at: datetime, zone: ZoneInfo) -> date:
    return local_day(starts_at, zone)


def last_day(ends_at: datetime, zone: ZoneInfo) -> date:
    """The last day included, the end itself being excluded."""
    return local_day(ends_at - TICK, zone)


def last_instant(ends_at: datetime) -> datetime:
    """The last millisecond included."""
    return ends_at - TICK


def _local(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
