"""Applies each row of tests/faults.toml in a copy of the tree, and says whether its test fails: `make faults`.

ONLY=text takes the rows with that text in promise, part, test, file or line. WORKERS is how many are tried at the same
time, one for each core unless it says otherwise. FAULT_SECONDS is how long one may take.

First the named tests run on the unbroken tree, where each must pass. The exit code is 0 if every fault was caught.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.faults.rows import ROOT, Fault, RowError, chosen, read_rows
from tests.faults.tree import copy_tree, run_tests
from tests.faults.trial import Outcome, try_one, unsound

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)

SECONDS_MAX = 300
"""For one fault. The slowest takes a tenth of it on two idle cores."""


def main() -> int:
    try:
        faults = chosen(read_rows().faults, os.environ.get("ONLY", ""))
    except RowError as error:
        print(error)
        return 2
    if not faults:
        print(f"No row has {os.environ['ONLY']!r} in its promise, part, test, file or line.")
        return 2
    worker_count = max(1, int(os.environ.get("WORKERS") or os.cpu_count() or 1))
    # Not below a folder that is closed to others: some tests run programs as another user.
    folder = Path(tempfile.mkdtemp(prefix="kosminar-faults-"))
    folder.chmod(0o755)
    try:
        return asyncio.run(run(faults, folder, worker_count, float(os.environ.get("FAULT_SECONDS") or SECONDS_MAX)))
    except asyncio.CancelledError:
        print("Ended before all faults were tried.")
        return 130
    finally:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)


async def run(faults: list[Fault], folder: Path, worker_count: int, seconds: float) -> int:
    began = time.monotonic()
    end_at_first_signal()
    base = folder / "base"
    copy_tree(ROOT, base)
    if not await unbroken_tree_passes(faults, base, worker_count, seconds):
        return 1
    outcomes = await try_all(faults, base, worker_count, seconds)
    missed = [fault for fault, outcome in zip(faults, outcomes, strict=True) if not outcome.caught]
    print(f"\n{len(faults) - len(missed)} of {len(faults)} faults were caught, in {time.monotonic() - began:.0f} s.")
    for fault in missed:
        print(f"NOT CAUGHT: {fault.name}\n    by {fault.test}")
    return 1 if missed else 0


def end_at_first_signal() -> None:
    """Later signals change nothing: a terminal and make may send two, and what is taken down is not to be left half-way."""
    task = asyncio.current_task()
    assert task is not None
    waiting = [task]
    for number in ENDING_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, lambda: waiting and waiting.pop().cancel())


async def unbroken_tree_passes(faults: Iterable[Fault], base: Path, worker_count: int, seconds: float) -> bool:
    """Whether each named test passes as things are: one that always fails would prove nothing."""
    began = time.monotonic()
    tests = sorted({fault.test for fault in faults})
    process_count = min(worker_count, len(tests))
    options = ("-n", str(process_count if process_count > 1 else 0), "--dist", "worksteal")
    ran = await run_tests(base, tests, *options, seconds=seconds * len(tests))
    wrong = unsound(tests, ran)
    for line in wrong:
        print(line)
    if wrong:
        print(f"{ran.output}\nThe unbroken tree must pass every named test, or its failing proves nothing.")
    else:
        print(
            f"The unbroken tree passes the {len(tests)} named tests, in {time.monotonic() - began:.0f} s.", flush=True
        )
    return not wrong


async def try_all(faults: list[Fault], base: Path, worker_count: int, seconds: float) -> list[Outcome]:
    free = asyncio.Semaphore(worker_count)

    async def one(number: int, fault: Fault) -> Outcome:
        async with free:
            began = time.monotonic()
            outcome = await try_one(fault, base, base.parent / f"fault-{number}", seconds)
            _show(fault, outcome, time.monotonic() - began)
            return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number, fault)) for number, fault in enumerate(faults, start=1)]
    return [task.result() for task in tasks]


def _show(fault: Fault, outcome: Outcome, seconds: float) -> None:
    word = "caught" if outcome.caught else "NOT CAUGHT"
    said = outcome.said if outcome.caught else outcome.said + f"\n    by {fault.test}\n{outcome.output}"
    print(f"{word} in {seconds:.1f} s: {fault.name}\n    {said}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
