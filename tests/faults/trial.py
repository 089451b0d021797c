"""Tries one fault in a copy of the tree, and judges what pytest did with it, and with the unbroken tree.

A fault is caught if its test was collected and set up, and then failed in its call. An error on the way there, a name
that is missing, or a time that ran out is no reason: a test must fail for what the fault does.
"""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.faults.rows import Fault, RowError, apply
from tests.faults.tree import Run, copy_tree, run_tests

TIMED_OUT = "from pytest-timeout"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Whether a fault was caught, the first line of what its test said, and the output where it was not."""

    caught: bool
    said: str
    output: str = ""


async def try_one(fault: Fault, base: Path, tree: Path, seconds: float) -> Outcome:
    """Break a copy of its own, run the one test, and take the copy away."""
    await asyncio.to_thread(copy_tree, base, tree)
    try:
        apply(fault, tree)
        # The first failure says it all, and later tests may wait long for what is broken.
        ran = await run_tests(tree, [fault.test], "-n", "0", "--maxfail", "1", seconds=seconds)
    except RowError as error:
        return Outcome(caught=False, said=str(error))
    finally:
        await asyncio.to_thread(shutil.rmtree, tree)
    return judge(ran)


def judge(ran: Run) -> Outcome:
    """What became of one fault."""
    if ran.exit_code is None:
        return Outcome(caught=False, said="it took too long, and was ended", output=ran.output)
    for event in ran.events:
        said = _short(event["said"])
        if event["phase"] in {"collect", "setup"}:
            why = "was skipped" if event["outcome"] == "skipped" else f"has an error in its {event['phase']}"
            return Outcome(caught=False, said=f"the test {why}: {said}", output=ran.output)
        if event["phase"] == "call" and event["outcome"] == "failed":
            if event["careless"] is not None or TIMED_OUT in event["said"]:
                return Outcome(caught=False, said=f"the test failed, but for no reason: {said}", output=ran.output)
            return Outcome(caught=True, said=said)
    why = "the test passed all the same" if ran.events else f"no test was run; pytest ended with {ran.exit_code}"
    return Outcome(caught=False, said=why, output=ran.output)


def unsound(tests: list[str], ran: Run) -> list[str]:
    """What is wrong with named tests on the unbroken tree, one line each."""
    wrong = [
        f"{event['test']} {event['outcome']} in its {event['phase']}: {_short(event['said'])}"
        for event in ran.events
        if event["outcome"] != "passed"
    ]
    cases = {event["test"] for event in ran.events}
    ran_at_all = cases | {case.partition("[")[0] for case in cases}
    wrong += [f"{test} was not run" for test in tests if test not in ran_at_all]
    if ran.exit_code != 0 and not wrong:
        wrong.append("the tests took too long" if ran.exit_code is None else f"pytest ended with {ran.exit_code}")
    return wrong


def _short(said: str) -> str:
    line = next((line for line in said.splitlines() if line.strip()), "")
    return line if len(line) <= 160 else line[:157] + "..."
