"""Copies of the tree, and pytest in them.

A copy has everything but hidden folders, such as .git and .venv. Its tests run with the original's .venv; PYTHONPATH
puts the copy's src before the installed package, also for the processes that a test starts.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kosminar.store.embedded import open_embedded

GRACE_SECONDS = 30
"""For pytest to take its servers down after SIGINT."""

POLL_SECONDS = 0.05

SKIPPED = {"build", ".hypothesis"}
KEPT = {".ci", ".gitignore"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What pytest did: its exit code, None if it took too long; what the witness saw; the end of the output."""

    exit_code: int | None
    events: list[dict[str, Any]]
    output: str


def copy_tree(source: Path, target: Path) -> None:
    """Copy with times, so that compiled code in the copy stays valid."""

    def ignored(_: str, names: list[str]) -> set[str]:
        return {name for name in names if name in SKIPPED or (name.startswith(".") and name not in KEPT)}

    shutil.copytree(source, target, ignore=ignored, symlinks=True)


async def run_tests(tree: Path, tests: list[str], *options: str, seconds: float) -> Run:
    """Run these tests in that tree, and end them after so many seconds, or when this task is cancelled."""
    witness = tree / "witness.jsonl"
    output = tree / "output.txt"
    plugin = ("-p", "tests.faults.witness", "--witness", str(witness))
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"),
            *(*plugin, *options, *tests),
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "src")},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    exit_code = None
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                exit_code = await process.wait()
    finally:
        await end(process, grace_seconds=GRACE_SECONDS)
    events = [json.loads(line) for line in witness.read_text("utf-8").splitlines()] if witness.exists() else []
    return Run(exit_code=exit_code, events=events, output=output.read_text("utf-8", errors="replace")[-3_000:])


async def end(process: asyncio.subprocess.Process, *, grace_seconds: float) -> None:
    """Nothing of the run stays: its group is asked first, as by Ctrl-C, to take its servers down; then it is killed."""
    directories = set()
    if process.returncode is None:
        directories = _data_directories(process.pid)
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
            async with asyncio.timeout(grace_seconds):
                await process.wait()
                while _members(process.pid):
                    await asyncio.sleep(POLL_SECONDS)
    directories |= _data_directories(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for directory in directories:
        await asyncio.to_thread(_remove, directory)


def _members(group: int) -> list[Path]:
    """The group's processes that live. One that has ended and was not collected yet has no command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(entry.name)) == group and (entry / "cmdline").read_bytes():
                found.append(entry)
    return found


def _data_directories(group: int) -> set[Path]:
    """The data directories that processes of that group use: each holds the lock file of one."""
    found = set()
    for member in _members(group):
        with contextlib.suppress(OSError):
            links = [descriptor.readlink() for descriptor in (member / "fd").iterdir()]
            found |= {link.parent for link in links if link.name == "users.lock"}
    return found


def _remove(directory: Path) -> None:
    """Stop the server that a killed process left behind: it is adopted, and the last to leave stops it."""
    if directory.exists():
        open_embedded(directory).close()
        shutil.rmtree(directory)
