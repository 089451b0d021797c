"""Time zones by name: only what the IANA database calls a zone.

The files beside the zones are no zones for a programme: "localtime" is another one on each machine, "right/UTC" counts
leap seconds, and a folder such as "America" makes the reader fail.
"""

from functools import cache
from zoneinfo import ZoneInfo, available_timezones

# "Factory" says that nobody has chosen a zone yet.
_NO_ZONES = frozenset({"localtime", "Factory"})


def zone_named(name: str) -> ZoneInfo:
    """The zone of that name, spelled as IANA does; raises ValueError for anything else."""
    if name not in _zone_names():
        raise ValueError("must be the name of an IANA time zone, such as Europe/Paris")
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    # Read once: the answer comes from walking a folder of some hundred files.
    return frozenset(available_timezones()) - _NO_ZONES
