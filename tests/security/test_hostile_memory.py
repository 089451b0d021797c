"""Strangers on as many connections as may be open do not take 64 MiB, nor does a client, whatever they send and fetch.

A server process of its own, because memory is a process's. Measured is how far its resident memory rises above what it
has once it has answered the same requests; the kernel's own buffers are no part of it. `make hostile` shows the numbers.
"""

import asyncio
import base64
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from tests.api.wire import request

from kosminar.api.operation import STRANGER_BODY_BYTES_MAX
from kosminar.engine.use_cases.clients import create_client, create_organisation
from kosminar.wiring import utc_now

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
KOSMINAR = str(Path(sys.executable).with_name("kosminar"))
MIB = 1024 * 1024
BYTES_MAX = 64 * MIB
# From the second time that all kinds of floods came to the third.
GROWTH_BYTES_MAX = 4 * MIB
# As many as are open by default, and those beyond that are still answered.
CONNECTION_COUNT = 900 + 64
# Everything that was sent has been worked on when the server has done next to nothing for a while.
QUIET_SECONDS = 1.0
IDLE_SECONDS = 0.05
# Of a flood that never ends, because what was sent is refused and sent again.
FLOOD_SECONDS_MAX = 15
PATIENCE_SECONDS = 60
SAID_BYTES_MAX = 512 * 1024

# As /proc/net/tcp has them.
ESTABLISHED, CLOSE_WAIT = "01", "08"

TOKEN = "/v3/oauth/token/generate"
FIELDS = [f"a{number}: " for number in range(8_000)]


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    port: int

    def memory(self, name: str) -> int:
        """VmRSS, what is resident now, or VmHWM, the most since `forget`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))

    def worked_seconds(self) -> float:
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget(self) -> None:
        """From now on VmHWM is of what follows."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def serving(database_url: str, log: Path) -> Iterator[Server]:
    settings = {"DATABASE_URL": database_url, "ACCESS_LOG": "off", "LOG_LEVEL": "error"}
    with log.open("w") as written:
        process = subprocess.Popen(
            [KOSMINAR, "serve", "--port", "0", "--json"],
            env={**ENVIRONMENT, **{f"KOSMINAR_{name}": value for name, value in settings.items()}},
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline() or "{}")
        assert said, log.read_text()
        yield Server(process, int(said["url"].rpartition(":")[2]))
    finally:
        process.terminate()
        process.stdout.close()
        process.wait(timeout=PATIENCE_SECONDS)


def unfinished(head: bytes, filling: bytes) -> bytes:
    """A head, and so much that does not end it as can be sent."""
    return head + filling * (SAID_BYTES_MAX // len(filling))


POST = request("POST", TOKEN, "Content-Type: application/json")[:-2]
SHAPES: dict[str, bytes] = {
    "nothing": b"",
    "a target without end": unfinished(b"GET /", b"x"),
    "a header without end": unfinished(request("GET", "/healthz")[:-2] + b"X: ", b"x"),
    "small headers without end": unfinished(request("GET", "/healthz")[:-2], b"a:b\r\n"),
    "headers that all differ": request("GET", "/healthz", *FIELDS)[:-2],
    "a body that lacks its last byte": POST
    + b"Content-Length: %d\r\n\r\n" % STRANGER_BODY_BYTES_MAX
    + b" " * (STRANGER_BODY_BYTES_MAX - 1),
    "the largest headers, and a body that lacks its last byte": POST
    + b"".join(b"a%d: %s\r\n" % (number, b"x" * 155) for number in range(95))
    + b"Content-Length: %d\r\n\r\n" % STRANGER_BODY_BYTES_MAX
    + b" " * (STRANGER_BODY_BYTES_MAX - 1),
    "a body of megabytes": unfinished(POST + b"Content-Length: 4194304\r\n\r\n", b" "),
    "a body of megabytes where a client is needed": unfinished(
        request("POST", "/v1/activities", "Content-Length: 4194304"), b" "
    ),
    "a body of megabytes that nobody reads": unfinished(request("GET", "/healthz", "Content-Length: 4194304"), b" "),
    "a chunked body without end": unfinished(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's size without end": unfinished(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "a chunk's extension without end": unfinished(POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "trailers without end": unfinished(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
    "an answer that is not fetched": request("GET", "/openapi.json"),
    "requests whose answers are not fetched": unfinished(b"", request("GET", "/openapi.json")),
    "small requests whose answers are not fetched": unfinished(b"", request("GET", "/healthz")),
    "requests behind one whose body does not end": POST
    + b"Content-Length: 2\r\n\r\n"
    + unfinished(b"", request("GET", "/v3/targetGroups")),
}


def of_a_client(authorization: str) -> dict[str, bytes]:
    """The same with credentials: long bodies that are read as far as there is room."""
    post = request("POST", "/v1/activities", f"Authorization: {authorization}")[:-2]
    return {
        "a body of megabytes that lacks its end": unfinished(post + b"Content-Length: 4194304\r\n\r\n", b" "),
        "a chunked body of megabytes": unfinished(
            post + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n%4096d\r\n" % 0
        ),
        "a body that just needs no room": post + b"Content-Length: 16384\r\n\r\n" + b" " * 16_383,
    }


@pytest.fixture
def authorization(database_url: str) -> str:
    """Of a new client."""

    async def make() -> str:
        connection = await asyncpg.connect(database_url)
        organisation_id = await create_organisation(connection, name="Acme", zone="UTC", now=utc_now())
        made = await create_client(connection, organisation_id=organisation_id, random_bytes=os.urandom, now=utc_now())
        await connection.close()
        return "Basic " + base64.b64encode(f"{made.username}:{made.password}".encode()).decode()

    return asyncio.run(make())


# Those that take most; starting a server and filling a thousand connections takes ten seconds for each.
WORST = ("the largest headers, and a body that lacks its last byte", "a body of megabytes that lacks its end")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in WORST else pytest.mark.long) for name in (*SHAPES, *of_a_client(""))],
)
def test_no_shape_takes_64_mib_on_all_connections(
    database_url: str, tmp_path: Path, authorization: str, name: str
) -> None:
    """Of a fresh server, where nothing that an earlier shape took can be used again."""
    said = (SHAPES | of_a_client(authorization))[name]
    with serving(database_url, tmp_path / "log") as server:
        taken = rise(server, said)

    print(f"{taken / MIB:7.1f} MiB  {'strangers' if name in SHAPES else 'a client'}: {name}")
    assert taken < BYTES_MAX


@pytest.mark.long
def test_floods_of_all_kinds_one_after_another_leave_no_more_each_time(
    database_url: str, tmp_path: Path, authorization: str
) -> None:
    """Of one server: what a kind leaves behind in the allocator is used again when all kinds come once more."""
    kinds = SHAPES | of_a_client(authorization)
    most, left = [], []
    with serving(database_url, tmp_path / "log") as server:
        for said in kinds.values():
            flood(server, said, count=8)
        before = server.memory("VmRSS")
        server.forget()
        for time_number in range(1, 4):
            for said in kinds.values():
                flood(server, said, count=CONNECTION_COUNT)
            most.append(server.memory("VmHWM") - before)
            left.append(server.memory("VmRSS") - before)
            print(f"{most[-1] / MIB:7.1f} MiB  all {len(kinds)} kinds one after another, {time_number} times: the most")
            print(
                f"{left[-1] / MIB:7.1f} MiB  all {len(kinds)} kinds one after another, {time_number} times: afterwards"
            )

    assert most[2] - most[1] < GROWTH_BYTES_MAX
    assert left[2] - left[1] < GROWTH_BYTES_MAX


def rise(server: Server, said: bytes) -> int:
    """How far the memory rises while all connections say this and fetch nothing, above what a few of them took."""
    flood(server, said, count=8)
    before = server.memory("VmRSS")
    server.forget()
    flood(server, said, count=CONNECTION_COUNT)
    return server.memory("VmHWM") - before


def flood(server: Server, said: bytes, *, count: int) -> None:
    """All connections send as much of it as is taken from them, until nothing has been taken for a while."""
    with ExitStack() as stack:
        lines = {}
        for _ in range(count):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS))
            # A client that fetches nothing, and tells so early.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.setblocking(False)
            lines[line] = memoryview(said)
        quiet_at = time.monotonic() + QUIET_SECONDS
        worked = server.worked_seconds()
        end_at = time.monotonic() + FLOOD_SECONDS_MAX
        while time.monotonic() < min(quiet_at, end_at):
            for line in writable(line for line, rest in lines.items() if rest):
                try:
                    lines[line] = lines[line][line.send(lines[line]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    # It was refused, and the connection ended.
                    lines[line] = memoryview(b"")
            if server.worked_seconds() > worked + IDLE_SECONDS:
                worked = server.worked_seconds()
                quiet_at = time.monotonic() + QUIET_SECONDS
    settle(server)


def settle(server: Server) -> None:
    """Until the server has seen the ends of all connections."""
    until = time.monotonic() + PATIENCE_SECONDS
    while open_connections(server.port):
        assert time.monotonic() < until, "connections stay open"
        time.sleep(0.05)


def open_connections(port: int) -> int:
    """How many connections the server has not closed, whether or not the client has."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = f"0100007F:{port:04X}"
    return sum(row[1] == here and row[3] in {ESTABLISHED, CLOSE_WAIT} for row in rows)


def writable(lines: Iterable[socket.socket]) -> list[socket.socket]:
    """Those on which something can be sent, waiting a moment for one."""
    poll = select.poll()
    by_number = {line.fileno(): line for line in lines}
    for number in by_number:
        poll.register(number, select.POLLOUT)
    return [by_number[number] for number, _ in poll.poll(100)]
