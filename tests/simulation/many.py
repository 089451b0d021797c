"""Many seeds side by side, each worker with a machine of its own; and what they came to, all together."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.simulation.life import Report, live
from tests.simulation.machine import Machine
from tests.simulation.verdict import Tally

REWARDS = tuple(vars(Tally()))


def seeds_of(one: str | None, many: str) -> range:
    """Which seeds are meant."""
    if one is not None:
        return range(int(one), int(one) + 1)
    first, dash, last = many.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


def live_all(seeds: list[int], worker_count: int) -> Iterator[Report]:
    """Reports as they come in; each worker has a machine of its own and takes the next seed when it is free."""
    context = get_context("spawn")
    waiting = iter(seeds)
    ours: dict[Connection, Any] = {}
    for _ in range(worker_count):
        our_end, their_end = context.Pipe()
        worker = context.Process(target=work, args=(their_end,))
        worker.start()
        their_end.close()
        ours[our_end] = worker
        our_end.send(next(waiting, None))
    while ours:
        for ready in wait(list(ours)):
            assert isinstance(ready, Connection)
            try:
                report = ready.recv()
            except EOFError:
                ours.pop(ready).join()
                continue
            yield report
            ready.send(next(waiting, None))


def work(told: Connection) -> None:
    """One worker's life, seed after seed until there is none left, or nobody who asks."""
    # Sent to all of us at once where somebody loses patience; the machine is to be taken down in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with Machine() as machine, suppress(EOFError):
        # Whose harness has gone ends here too, and takes its machine down.
        while (seed := told.recv()) is not None:
            report = live(machine, seed)
            with suppress(BrokenPipeError):
                told.send(report)
    told.close()


def summary(reports: list[Report], *, seconds: float) -> str:
    """What the seeds came to, all together."""
    failed = sorted(report.seed for report in reports if report.trouble)
    tallies = sum((report.tallies for report in reports), Counter[str]())
    rewards = {name: sum(getattr(report.rewards, name) for report in reports) for name in REWARDS}
    each = sum(report.seconds for report in reports) / len(reports)
    lines = [
        f"{len(reports)} seeds in {seconds:.0f} s, {each:.1f} s each; failed: {failed or 'none'}",
        "rewards: " + ", ".join(f"{count} {name}" for name, count in rewards.items()),
        "tallies: " + ", ".join(f"{count} {name}" for name, count in sorted(tallies.items())),
    ]
    return "\n".join(lines)
