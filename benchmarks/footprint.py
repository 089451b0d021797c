"""Write-ahead log and disk for an activity at five targets and 100,000 customers, by the difference of two runs.

One run is twice as long as the other, each on a database of its own that begins after a checkpoint, so that pages that are
logged whole when they are touched first, which a run does once, do not count. Both sides of the difference draw their
customers at random, in batches of 500 over HTTP. Autovacuum is off: it would run in one of them and not in the other.
"""

import statistics
from dataclasses import dataclass

import asyncpg
from benchmarks import kept
from benchmarks.fixed_load import post, purchases
from benchmarks.pairs import Figure
from benchmarks.stage import Stage

COUNTS, QUICK_COUNTS = (20_000, 40_000), (3_000, 6_000)
ROUNDS, QUICK_ROUNDS = 3, 1
KILOBYTE = 1_000
WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


@dataclass(frozen=True)
class Bytes:
    log: int
    disk: int

    def __sub__(self, other: "Bytes") -> "Bytes":
        return Bytes(self.log - other.log, self.disk - other.disk)


def run(stage: Stage, template: str, authorization: str, customer_count: int, *, quick: bool) -> list[Figure]:
    """Of a database with so many customers who have a standing at each of five targets."""
    fewer, more = QUICK_COUNTS if quick else COUNTS
    found = []
    stage.execute("postgres", "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
    try:
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            once, twice = (
                _grown(stage, template, authorization, customer_count, count, f"{number}") for count in (fewer, more)
            )
            found.append(twice - once)
    finally:
        stage.execute("postgres", "ALTER SYSTEM RESET autovacuum", "SELECT pg_reload_conf()")
    logged, on_disk = ([getattr(each, name) / (more - fewer) for each in found] for name in ("log", "disk"))
    # The few of a quick run hardly touch a page twice, and their difference is made of whole pages.
    judged = not quick
    return [
        _figure(
            "Write-ahead log for an activity, 5 targets",
            logged,
            aim=3.5 if judged else None,
            goal=3.0 if judged else None,
        ),
        _figure("Disk for an activity, 5 targets", on_disk, aim=1.1 if judged else None),
    ]


def _grown(stage: Stage, template: str, authorization: str, customer_count: int, count: int, run_name: str) -> Bytes:
    activities = list(purchases(count, customer_count, run_name))
    with stage.cloned("footprint", template) as database, stage.served(database) as server:
        stage.execute(database, "CHECKPOINT")
        before = _bytes(stage, database)
        post(server, authorization, activities)
        return _bytes(stage, database) - before


def _bytes(stage: Stage, database: str) -> Bytes:
    async def ask(connection: asyncpg.Connection) -> Bytes:
        return Bytes(await connection.fetchval(WRITTEN), await connection.fetchval(kept.SIZE_BYTES))

    return stage.with_connection(database, ask)


def _figure(title: str, sizes: list[float], *, aim: float | None, goal: float | None = None) -> Figure:
    low, high = min(sizes) / KILOBYTE, max(sizes) / KILOBYTE
    note = f"{low:.2f} to {high:.2f} in {len(sizes)} rounds" if len(sizes) > 1 else ""
    return Figure(title, statistics.median(sizes) / KILOBYTE, "KB", aim=aim, goal=goal, note=note)
