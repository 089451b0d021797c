"""The archive: PostgreSQL's write-ahead log kept outside the data directory, for recovery to a point in time.

The log is a row of segments. Each finished one is archived whole, compressed, under a temporary name first; a name that
is taken is never overwritten. A folder of the archive belongs to one data directory and to one unbroken stretch of
archiving: a database that was restored has the same segment names as its origin with other content, so it gets another
folder. embedded.py decides which; backup.py writes it into the back-up. Tested by tests/store/test_backup.py.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

TIMEOUT_SECONDS: Final = 60
"""A segment is archived this long after its first change at the latest: the most that dies with the machine."""

SEGMENT_BYTES: Final = 16 * 1024 * 1024
SEGMENTS_PER_FILE_NUMBER: Final = 0x1_0000_0000 // SEGMENT_BYTES
"""A segment's name counts in two halves, of which the second wraps here."""

SUFFIX: Final = ".gz"
"""A segment is archived each minute in which anything changes, and most of it is then zeros."""

UNREADABLE: Final = 200
"""PostgreSQL takes a small exit code for the end of the archive, and one above 125 for trouble that must stop it."""

_SEGMENT = re.compile(rf"([0-9A-F]{{8}})([0-9A-F]{{8}})([0-9A-F]{{8}}){re.escape(SUFFIX)}")


class Segment(NamedTuple):
    """A segment of the log: its timeline, and its place, counted from the beginning of the log."""

    timeline: int
    number: int

    def __str__(self) -> str:
        high, low = divmod(self.number, SEGMENTS_PER_FILE_NUMBER)
        return f"{self.timeline:08X}{high:08X}{low:08X}"

    def next(self) -> "Segment":
        return self._replace(number=self.number + 1)


def segment_ending(timeline: int, position: int) -> Segment:
    """The segment that holds the last byte before a position in the log."""
    return Segment(timeline, (position - 1) // SEGMENT_BYTES)


def archived(folder: Path, timeline: int) -> list[Segment]:
    """The segments of a timeline that the folder holds, in order."""
    matches = [_SEGMENT.fullmatch(path.name) for path in folder.iterdir()]
    return sorted(
        Segment(timeline, int(match[2], 16) * SEGMENTS_PER_FILE_NUMBER + int(match[3], 16))
        for match in matches
        if match is not None and int(match[1], 16) == timeline
    )


def archiving_settings(folder: Path) -> Mapping[str, str]:
    """What a server is started with so that it archives into the folder."""
    return {
        "archive_mode": "on",
        "archive_command": archive_command(folder),
        "archive_timeout": str(TIMEOUT_SECONDS),
    }


def archive_command(folder: Path) -> str:
    """Puts one segment into the folder, durably, or fails; PostgreSQL then keeps the segment and asks again.

    Asked again for one that is there, as after a crash, it succeeds if the content is the same.
    """
    return (
        f"set -eu; folder={_quoted(folder)}; "
        f'if [ -e "$folder/%f{SUFFIX}" ]; then '
        f'gzip -dc "$folder/%f{SUFFIX}" | cmp -s - "%p" || '
        f'{{ echo "kosminar: $folder/%f{SUFFIX} has other content already" >&2; exit 1; }}; '
        f'else gzip -1 -n -c <"%p" >"$folder/%f.unfinished"; sync "$folder/%f.unfinished"; '
        f'mv "$folder/%f.unfinished" "$folder/%f{SUFFIX}"; fi; '
        f'sync "$folder"'
    )


def restore_command(folder: Path | None) -> str:
    """Fetches one segment; fails in the way that stops a recovery if it is there and cannot be read.

    Without a folder there is nothing to fetch, and what the back-up itself holds is recovered.
    """
    if folder is None:
        return "exit 1"
    return (
        f"folder={_quoted(folder)}; "
        f'[ -d "$folder" ] || exit {UNREADABLE}; '
        f'[ -e "$folder/%f{SUFFIX}" ] || exit 1; '
        f'gzip -dc "$folder/%f{SUFFIX}" >"%p" || exit {UNREADABLE}'
    )


def _quoted(path: Path) -> str:
    # A percent sign is PostgreSQL's own in these commands.
    return shlex.quote(str(path)).replace("%", "%%")
