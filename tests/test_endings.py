"""Signals that end a process while it talks to the database: it leaves in order, and the driver does not end it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from tests.store.holders import DEADLINE_SECONDS, SOURCE, eventually

BUSY = """
import asyncio, sys
import asyncpg, uvloop
from kosminar.endings import EndingSignals, run

async def talk(pool):
    while True:
        await pool.fetch("SELECT generate_series(1, 2000), 'x' || random()")

async def main():
    try:
        async with asyncpg.create_pool(sys.argv[1], min_size=4, max_size=4) as pool:
            await pool.fetchval("SELECT 1")
            print("talking", flush=True)
            await asyncio.gather(*(talk(pool) for _ in range(4)))
    finally:
        print("left in order", flush=True)

EndingSignals().catch()
run(main(), loop_factory={"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[sys.argv[2]])
"""

TIMES = [4, pytest.param(20, marks=pytest.mark.long)]
ROOT_FOLDER = SOURCE.parent


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_signal_among_answers_of_the_database_ends_the_process_in_order(
    database_url: str, loop: str, number: signal.Signals, times: int
) -> None:
    random = Random(7)
    for _ in range(times):
        with busy(database_url, loop) as process:
            time.sleep(random.random() / 10)  # Any moment will do.
            process.send_signal(number)
            try:
                said, complaints = process.communicate(timeout=DEADLINE_SECONDS)
            finally:
                process.kill()  # One that hangs would be waited for without end.

        assert (said, process.returncode) == ("left in order\n", 128 + number), complaints


def busy(database_url: str, loop: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", BUSY, database_url, loop],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=SOURCE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "talking\n"
    return process


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
def test_a_test_run_that_a_timeout_ends_ends_in_order(times: int, tmp_path: Path) -> None:
    for number in range(times):
        log = tmp_path / f"log-{number}"
        with log.open("w") as written:
            run = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "-v",
                    "-n",
                    "0",
                    "-p",
                    "no:cacheprovider",
                    "tests/engine/test_auditor.py",
                ],
                stdout=written,
                stderr=subprocess.STDOUT,
                cwd=ROOT_FOLDER,
            )
        eventually(lambda log=log: "PASSED" in log.read_text())
        time.sleep(Random(number).random() * 2)  # Any moment will do.

        run.send_signal(signal.SIGTERM)

        assert run.wait(DEADLINE_SECONDS) == pytest.ExitCode.INTERRUPTED, log.read_text()[-3000:]
        assert "FAILED" not in log.read_text()
        assert "Fatal Python error" not in log.read_text()
