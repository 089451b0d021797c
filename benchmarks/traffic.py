"""wrk, and what it reports: the load generator of all benchmarks, a process of its own.

Scripts print one line of JSON at their end (see done() in customers.lua). A run may have a fixed length, or last until
the context is left, beside something else that is measured.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from benchmarks.pairs import Measured

HERE = Path(__file__).parent
SCRIPT = HERE / "customers.lua"
# So many customers for each connection are un-enrolled before the first of them is enrolled again: the answer to the
# first request is long there when the second one is sent, however unlucky the first one was.
BLOCK_OF_A_CONNECTION = 6
# Of those who are enrolled again.
AT_ONCE = 16
# Longer than anything beside which a load runs; it is ended, never awaited.
FOR_EVER_SECONDS = 7_200


@dataclass(frozen=True)
class Load:
    """Which requests: of what kind, for the customers in a file, beginning with that line.

    `delay_ms` makes a low, even rate of many connections: each waits about so long between an answer and the next request.
    A request of the kind `batch` has `size` activities, each of another customer.
    """

    kind: str
    customers: Path
    path: str
    authorization: str
    first: int = 0
    delay_ms: int = 0
    size: int = 1

    def arguments(self, connections: int) -> tuple[str, ...]:
        block = block_of(connections)
        return (
            *(self.kind, str(self.customers), self.path, str(self.first)),
            *(str(self.delay_ms), str(self.size), str(block)),
        )

    def after(self, requests: int, connections: int) -> int:
        """The line to begin with next, so that no two measurements ask for the same customers before all were asked for."""
        if self.kind != "enrolment":
            return self.first + requests + connections
        block = block_of(connections)
        return self.first + (requests // (2 * block) + 2) * block


@dataclass(frozen=True)
class Report:
    """What wrk saw. `refused` were answered, but did nothing or not what was asked; `failed` were 5xx or no answers."""

    requests: int
    refused: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float

    def require_all_done(self) -> None:
        """Whatever was refused would be no measurement of work."""
        if self.refused or self.failed:
            raise RuntimeError(f"not everything was done: {self}")

    @property
    def measured(self) -> Measured:
        self.require_all_done()
        return Measured(self.requests / self.seconds, p50_ms=self.p50_ms, p99_ms=self.p99_ms)


def require_wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("The benchmarks load the server with wrk, which is not installed: apt-get install -y wrk")
    return found


def send(url: str, load: Load, *, connections: int, seconds: float) -> Report:
    """As many connections for so long."""
    process = _start(url, load, connections, seconds)
    return _report(process)


def block_of(connections: int) -> int:
    return BLOCK_OF_A_CONNECTION * connections


def enrol_again(url: str, load: Load, requests: int, *, connections: int) -> None:
    """Whom the end of a load of enrolments left un-enrolled: of its last block, and of the next one."""
    ids = load.customers.read_text(encoding="ascii").split()
    block = block_of(connections)
    begun = load.first + requests // (2 * block) * block
    left = [int(ids[place % len(ids)]) for place in range(begun, begun + 2 * block)]
    with (
        httpx2.Client(base_url=url, headers={"Authorization": load.authorization}, timeout=60) as client,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        # Whoever was in already is answered with an error, and stays in.
        list(threads.map(lambda one: client.post(f"{load.path}/enroll", json=[{"customerId": one}]), left))


class Sending:
    """A load that is under way; `report` is there once it has ended."""

    report: Report | None = None


@contextmanager
def sending(url: str, load: Load, *, connections: int) -> Iterator[Sending]:
    """A load for as long as the context lasts."""
    process = _start(url, load, connections, FOR_EVER_SECONDS)
    under_way = Sending()
    try:
        yield under_way
    finally:
        process.send_signal(signal.SIGINT)
        under_way.report = _report(process)


def _start(url: str, load: Load, connections: int, seconds: float) -> subprocess.Popen[str]:
    command: Sequence[str] = (
        *(require_wrk(), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"),
        *("--timeout", "60s", "--script", str(SCRIPT), url, "--", *load.arguments(connections)),
    )
    # Not on the command line, where everybody on the machine could read it.
    return subprocess.Popen(
        command,
        env={
            "PATH": os.environ["PATH"],
            "AUTHORIZATION": load.authorization,
            "RUN": f"{time.monotonic_ns():x}",
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def _report(process: subprocess.Popen[str]) -> Report:
    try:
        said, _ = process.communicate()
    except BaseException:
        # Who interrupts us does not want it to go on.
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"wrk ended with {process.returncode}: {said}")
    return Report(**json.loads(said.splitlines()[-1]))
