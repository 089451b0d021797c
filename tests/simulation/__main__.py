"""Lives many seeds, side by side, and says what they came to: `make simulate SEEDS=100`.

SEEDS is a number of seeds or a range as in 100-199, SEED one of them, WORKERS how many are lived at the same time.
"""

import os
import sys
import time
from contextlib import suppress

from tests.simulation.many import live_all, seeds_of, summary

LOGGED_EVERY = 50


def main() -> int:
    seeds = list(seeds_of(os.environ.get("SEED"), os.environ.get("SEEDS", "20")))
    worker_count = min(int(os.environ.get("WORKERS", str(os.cpu_count() or 1))), len(seeds))
    began = time.monotonic()
    reports = []
    # Who loses patience still hears what the seeds until then came to.
    with suppress(KeyboardInterrupt):
        for report in live_all(seeds, worker_count):
            reports.append(report)
            if report.trouble:
                again = f"replay it with: make simulate SEED={report.seed}"
                print(f"seed {report.seed} failed; {again}\n{report.trouble}\n", flush=True)
            _show_progress(len(reports), len(seeds))
    print(summary(reports, seconds=time.monotonic() - began))
    return 1 if any(report.trouble for report in reports) else 0


def _show_progress(count: int, total: int) -> None:
    """On a terminal a number that moves; in a log a line now and then."""
    if sys.stderr.isatty():
        print(f"\r{count} of {total}", end="\n" * (count == total), file=sys.stderr, flush=True)
    elif count % LOGGED_EVERY == 0:
        print(f"{count} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
