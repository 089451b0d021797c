"""A few bytes that the harness and its servers share: how far the wall is ahead, how many faults are wanted, and tallies.

A file in memory: a server that is killed leaves it as it is. Each server has its own tallies; only the harness throws
switches.
"""

import mmap
import struct
from collections import Counter
from pathlib import Path

KINDS = tuple(
    f"{prefix}{kind}"
    for prefix in ("", "commit: ")
    for kind in (
        "error instead",
        "error after",
        "cut before",
        "cut amid",
        "cut after",
        "death before",
        "death amid",
        "death after",
    )
)
LAYOUT = struct.Struct(f"dI4x{len(KINDS)}I")
LEFT_AT = 8
TALLIES_AT = 16


class Switchboard:
    """One server's view of it, and the harness's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            path.write_bytes(bytes(LAYOUT.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size)

    @property
    def ahead_seconds(self) -> float:
        """How far the servers' wall is ahead of the machine's."""
        # In native order a number is written in one piece, so that nobody reads half of it.
        ahead: float = struct.unpack_from("d", self._memory, 0)[0]
        return ahead

    @ahead_seconds.setter
    def ahead_seconds(self, seconds: float) -> None:
        struct.pack_into("d", self._memory, 0, seconds)

    @property
    def faults_left(self) -> int:
        """How many more faults are wanted; a round ends in peace."""
        left: int = struct.unpack_from("I", self._memory, LEFT_AT)[0]
        return left

    @faults_left.setter
    def faults_left(self, count: int) -> None:
        struct.pack_into("I", self._memory, LEFT_AT, count)

    def count(self, kind: str) -> None:
        self.faults_left -= 1
        at = TALLIES_AT + 4 * KINDS.index(kind)
        struct.pack_into("I", self._memory, at, struct.unpack_from("I", self._memory, at)[0] + 1)

    def tallies(self) -> Counter[str]:
        counts = struct.unpack_from(f"{len(KINDS)}I", self._memory, TALLIES_AT)
        return Counter({kind: count for kind, count in zip(KINDS, counts, strict=True) if count})

    def close(self) -> None:
        self._memory.close()
        self._path.unlink()
