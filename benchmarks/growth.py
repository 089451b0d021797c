"""What an activity and an un-enrol cost as standings and programmes grow.

One server for each size, each on a database of its own: 10 thousand, 1 million and 10 million customers with a standing
each, and 10, 100 and 1,000 live programmes of which one hears the activity. All sizes are loaded by turns, a few seconds
each, with customers drawn at random, so that in the large ones hardly a page is met twice. The cost of a request is the
reciprocal of the rate at 32 connections; the comparisons are of rates, so a ratio of 0.77 is a cost of 1.3 times.

    .venv/bin/python -m benchmarks.growth [--quick]
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.pairs import Comparison, Measured, alternate
from benchmarks.seed import ACHIEVER, MEMBER, Population, populated
from benchmarks.stage import Served, Stage, open_stage
from benchmarks.traffic import Load, enrol_again, send

CONNECTIONS = 32
PAIRS = 5
SECONDS = 1.5
QUICK_SECONDS = 1.0
WARM_UP_SECONDS = 1.0
# The least rates, as parts of the smallest size's, that cost at most so many times as much.
STANDINGS_COST, PROGRAMMES_COST = 1.3, 1.5


@dataclass
class _Growing:
    """One size, its server, and how far its customers have been gone through."""

    population: Population
    server: Served
    gone: dict[str, int] = field(default_factory=dict)

    def by_turns(self, kind: str, seconds: float) -> Callable[[int], Measured]:
        return lambda _: self.measure(kind, seconds)

    def measure(self, kind: str, seconds: float) -> Measured:
        # An achiever's next visit changes a row that is there, and so does leaving and coming back of a member.
        whom = ACHIEVER if kind == "activity" else MEMBER
        first = self.gone.get(kind, 0)
        load = Load(kind, self.population.some(whom), self.population.path, self.population.authorization, first=first)
        report = send(self.server.url, load, connections=CONNECTIONS, seconds=seconds)
        if kind == "enrolment":
            enrol_again(self.server.url, load, report.requests, connections=CONNECTIONS)
        self.gone[kind] = load.after(report.requests, CONNECTIONS)
        return report.measured


def run(
    stage: Stage,
    *,
    quick: bool,
    made: Sequence[Population] = (),
    sizes: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
) -> list[Comparison]:
    """`made` are populations that are there already; those of a size that is asked for are not made again."""
    sizes = sizes or ((10_000, 100_000) if quick else (10_000, 1_000_000, 10_000_000))
    counts = counts or ((10, 100) if quick else (10, 100, 1_000))
    there = {population.customer_count: population for population in made}
    with ExitStack() as stack:
        standings = [
            there.get(size) or stack.enter_context(populated(stage, f"standings_{size}", size)) for size in sizes
        ]
        found = _compare(standings, sizes, "standings", STANDINGS_COST, quick=quick)
    with ExitStack() as stack:
        programmes = [
            stack.enter_context(populated(stage, f"programmes_{count}", sizes[0], other_programmes=count - 1))
            for count in counts
        ]
        found += _compare(programmes, counts, "live programmes", PROGRAMMES_COST, quick=quick)
    return found


def _compare(
    populations: Iterable[Population], sizes: Sequence[int], what: str, cost: float, *, quick: bool
) -> list[Comparison]:
    """Each larger size against the smallest, at activities and at leaving and coming back."""
    found = []
    seconds, pairs = (QUICK_SECONDS, 2) if quick else (SECONDS, PAIRS)
    with ExitStack() as stack:
        least, *larger = [
            _Growing(population, stack.enter_context(population.stage.served(population.database)))
            for population in populations
        ]
        for kind, title in (("activity", "Activity"), ("enrolment", "Un-enrol and enrol")):
            for one in (least, *larger):
                one.measure(kind, WARM_UP_SECONDS)
            for size, one in zip(sizes[1:], larger, strict=True):
                comparison = Comparison(
                    f"{title}, {size:,} {what} to {sizes[0]:,}",
                    "requests/s",
                    # The aim is for the largest; those between show the way there.
                    aim=round(1 / cost, 3) if size == sizes[-1] else None,
                )
                comparison.ours, comparison.yardstick = alternate(
                    pairs,
                    one.by_turns(kind, seconds),
                    least.by_turns(kind, seconds),
                )
                found.append(comparison)
        for one in (least, *larger):
            if not one.population.audited(sample=quick):
                raise RuntimeError(f"{one.population.database}: the audit finds something wrong")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer customers")
    parser.add_argument("--customers", type=int, action="append", help="other sizes, the smallest first")
    parser.add_argument("--programmes", type=int, action="append", help="other numbers of them, the smallest first")
    options = parser.parse_args()
    with open_stage() as stage:
        for comparison in run(stage, quick=options.quick, sizes=options.customers, counts=options.programmes):
            print(comparison.line(), flush=True)


if __name__ == "__main__":
    main()
