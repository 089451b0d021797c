"""Lives many seeds, side by side, and says what they came to: `make simulate SEEDS=100`.

SEEDS is a number of seeds or a range as in 100-199, SEED one of them, WORKERS how many are lived at the same time.
"""

import os
import sys
import time

from tests.simulation.many import live_all, seeds_of, summary


def main() -> int:
    seeds = list(seeds_of(os.environ.get("SEED"), os.environ.get("SEEDS", "20")))
    worker_count = min(int(os.environ.get("WORKERS", str(os.cpu_count() or 1))), len(seeds))
    began = time.monotonic()
    reports = []
    for report in live_all(seeds, worker_count):
        reports.append(report)
        if report.trouble:
            print(f"seed {report.seed} failed; replay it with: make simulate SEED={report.seed}\n{report.trouble}\n")
            sys.stdout.flush()
        if sys.stderr.isatty():
            print(
                f"\r{len(reports)} of {len(seeds)}",
                end="\n" * (len(reports) == len(seeds)),
                file=sys.stderr,
                flush=True,
            )
    print(summary(reports, seconds=time.monotonic() - began))
    return 1 if any(report.trouble for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
