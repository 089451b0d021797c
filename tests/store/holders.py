"""Processes that hold an embedded database (HOLDER): locks, signals and orphans are what is tested with them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from kosminar.store import embedded

SOURCE = Path(embedded.__file__).parents[2]
ROOT = os.geteuid() == 0
NOBODY = 65534
DEADLINE_SECONDS = 60

HOLDER = """
import os, sys
from pathlib import Path
from kosminar.store import embedded, embedded_host

directory, uid = Path(sys.argv[1]), int(sys.argv[2])
if uid != os.geteuid():
    # Give up root only now: the interpreter and the virtualenv may lie where the other user cannot enter.
    embedded_host.find_binaries(embedded_host._known_user(uid))
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
with embedded.open_embedded(directory) as database:
    print(database.url, flush=True)
    sys.stdin.readline()
"""


class Holder:
    """A process that opens the database, prints its URL, and leaves when told."""

    def __init__(self, directory: Path, *, uid: int | None = None) -> None:
        arguments = [str(directory), str(os.geteuid() if uid is None else uid)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, self.process.communicate()[1]
        return line

    def leave(self) -> None:
        _, errors = self.process.communicate("\n", timeout=DEADLINE_SECONDS)
        assert self.process.returncode == 0, errors

    def signal(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode


def eventually(condition) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def processes(directory: Path) -> list[int]:
    """Every process that works inside the cluster: the server and its children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(directory):
                found.append(int(entry.name))
    return found


def server(directory: Path) -> int:
    return int((directory / "postgresql" / "postmaster.pid").read_text().split()[0])


def starts(directory: Path) -> int:
    return (directory / "postgresql" / "server.log").read_text().count("LOG:  starting PostgreSQL")


def ask(url: str, *statements: str) -> object:
    """The answer to the last statement, which fetches one value."""

    async def talk() -> object:
        connection = await asyncpg.connect(url)
        try:
            answers = [await connection.fetchval(statement) for statement in statements]
            return answers[-1]
        finally:
            await connection.close()

    return asyncio.run(talk())


WRITE = ("CREATE TABLE IF NOT EXISTS visit (number int)", "INSERT INTO visit VALUES (1)")
COUNT = "SELECT count(*) FROM visit"


def socket_folder(url: str) -> Path:
    return Path(url.partition("host=")[2].partition("&")[0].replace("%2F", "/"))
