"""CPU time of real processes: threads, living children and ended ones, as `make compare` counts them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.compare.processor import cpu_seconds

# Computes on a line from us, in itself, a thread, a child that ends, or one that lives on; then says so and waits.
FAMILY = """
import os, sys, threading, time

def burn(seconds, clock):
    until = clock() + seconds
    while clock() < until:
        pass

def child(lives_on):
    pid = os.fork()
    if pid == 0:
        burn(0.25, time.process_time)
        if lives_on:
            print("done", flush=True)
            time.sleep(600)
        os._exit(0)
    if not lives_on:
        os.waitpid(pid, 0)
        print("done", flush=True)
    return pid

living = 0
print("done", flush=True)
for line in sys.stdin:
    if line == "itself\\n":
        burn(0.25, time.thread_time)
        print("done", flush=True)
    elif line == "thread\\n":
        thread = threading.Thread(target=burn, args=(0.25, time.thread_time))
        thread.start()
        thread.join()
        print("done", flush=True)
    elif line == "ending child\\n":
        child(False)
    else:
        living = child(True)
if living:
    os.kill(living, 9)
"""
# Two readings in hundredths of a second, of several processes, and a fork.
TOLERANCE_SECONDS = 0.06


@contextmanager
def family() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process


def ask(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


@pytest.mark.parametrize("what", ["itself", "thread", "ending child", "living child"])
def test_whatever_part_of_a_family_computes_it_is_counted_once(what: str) -> None:
    with family() as process:
        before = cpu_seconds(process.pid)
        ask(process, what)

        assert cpu_seconds(process.pid) - before == pytest.approx(0.25, abs=TOLERANCE_SECONDS)


def test_a_descendant_may_be_left_out_because_it_is_counted_elsewhere() -> None:
    with family() as process:
        before = cpu_seconds(process.pid)
        ask(process, "living child")
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii"))

        assert cpu_seconds(process.pid, apart_from=child) - before < TOLERANCE_SECONDS
        assert cpu_seconds(child) == pytest.approx(0.25, abs=TOLERANCE_SECONDS)


def test_an_ended_process_is_said_to_have_ended() -> None:
    with family() as process:
        process_id = process.pid
        assert process.stdin is not None
        process.stdin.close()

    with pytest.raises(ProcessLookupError, match="has ended"):
        cpu_seconds(process_id)
