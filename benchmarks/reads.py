"""Reads of random customers among millions: target groups, rewards and facts, at 32 connections.

Nobody else is at work meanwhile. Each customer read is another one, so pages come from the system's memory or the disk
as they would for real callers. Counts for an overview are not an operation yet, and are not measured. Beside callers
who never pause, which tells how many reads a process can do, the same with a pause before each: how long a read takes.

    .venv/bin/python -m benchmarks.reads [--quick]
"""

import argparse
import statistics
from dataclasses import replace

from benchmarks.pairs import Figure
from benchmarks.seed import ACHIEVER, Population, populated
from benchmarks.stage import Stage, open_stage
from benchmarks.traffic import Load, Report, send

CONNECTIONS = 32
ROUNDS = 3
SECONDS = 3.0
QUICK_SECONDS = 1.0
WARM_UP_SECONDS = 1.0
# Between an answer and the next request of those who pause: some hundreds of requests a second of 32.
PAUSE_MS = 80
# Kind of request, title, and whether only achievers have something to show.
READS = (
    ("target_groups", "A customer's target groups", None),
    ("rewards", "A customer's rewards", ACHIEVER),
    ("facts", "A customer's facts", None),
)
# Of callers who never pause, in milliseconds: the most that p99 may be, and what would be better.
P99_MS = {
    "A customer's target groups": (45.0, 30.0),
    "A customer's rewards": (30.0, 20.0),
    "A customer's facts": (30.0, 20.0),
}


def run(stage: Stage, *, quick: bool, population: Population | None = None, size: int | None = None) -> list[Figure]:
    """Of a population that is there already, or of one made for this."""
    if population is not None:
        return _measure(population, quick=quick)
    with populated(stage, "read", size or (100_000 if quick else 10_000_000)) as made:
        return _measure(made, quick=quick)


def _measure(population: Population, *, quick: bool) -> list[Figure]:
    rounds, seconds = (1, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    loads = {
        title: Load(kind, population.some(whom), population.path, population.authorization)
        for kind, title, whom in READS
    }
    with population.stage.served(population.database) as server:
        found: dict[str, list[Report]] = {title: [] for title in loads}
        for length in (WARM_UP_SECONDS, *[seconds] * rounds):
            for title, load in loads.items():
                report = send(server.url, load, connections=CONNECTIONS, seconds=length)
                found[title].append(report)
                # From where this one ended: nobody is read twice.
                loads[title] = replace(load, first=load.after(report.requests, CONNECTIONS))
        paused = {
            title: send(server.url, replace(load, delay_ms=PAUSE_MS), connections=CONNECTIONS, seconds=seconds)
            for title, load in loads.items()
        }
    return [
        figure
        for title, reports in found.items()
        for figure in (_figure(population, title, reports[1:]), _paused(title, paused[title]))
    ]


def _paused(title: str, report: Report) -> Figure:
    report.require_all_done()
    rate = report.requests / report.seconds
    return Figure(
        f"{title}, p99 when each caller pauses",
        report.p99_ms,
        "ms",
        note=f"{PAUSE_MS} ms before each request: {rate:,.0f} requests/s; p50 {report.p50_ms:.1f} ms",
    )


def _figure(population: Population, title: str, reports: list[Report]) -> Figure:
    for report in reports:
        report.require_all_done()
    p99 = [report.p99_ms for report in reports]
    p50 = statistics.median(report.p50_ms for report in reports)
    rate = statistics.median(report.requests / report.seconds for report in reports)
    return Figure(
        f"{title}, p99 of {population.customer_count:,}",
        statistics.median(p99),
        "ms",
        aim=P99_MS[title][0],
        goal=P99_MS[title][1],
        note=f"{min(p99):.1f} to {max(p99):.1f} in {len(p99)} rounds; p50 {p50:.1f} ms; {rate:,.0f} requests/s",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer customers")
    parser.add_argument("--customers", type=int, help="another size")
    options = parser.parse_args()
    with open_stage() as stage:
        for figure in run(stage, quick=options.quick, size=options.customers):
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
