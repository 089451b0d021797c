"""What server processes and PostgreSQL compute while something is measured, from /proc (compare/processor.py)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.compare.processor import cpu_seconds

MICROSECONDS = 1_000_000


@dataclass
class Cpu:
    """CPU seconds, complete once the context that gave it has ended. PostgreSQL's are those of all its processes."""

    server_seconds: float = 0.0
    database_seconds: float = 0.0

    def __add__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.server_seconds + other.server_seconds, self.database_seconds + other.database_seconds)

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.server_seconds - other.server_seconds, self.database_seconds - other.database_seconds)

    def server_us(self, count: float) -> float:
        """Of one, where so many were done."""
        return self.server_seconds / count * MICROSECONDS

    def database_us(self, count: float) -> float:
        return self.database_seconds / count * MICROSECONDS


@contextmanager
def watched(postmaster_id: int, server_ids: Sequence[int] = ()) -> Iterator[Cpu]:
    """What they compute while the context lasts; the servers are not to end within it."""
    cpu = Cpu()
    servers, database = _servers(server_ids), cpu_seconds(postmaster_id)
    yield cpu
    cpu.server_seconds, cpu.database_seconds = _servers(server_ids) - servers, cpu_seconds(postmaster_id) - database


def _servers(server_ids: Sequence[int]) -> float:
    return sum(map(cpu_seconds, server_ids))
