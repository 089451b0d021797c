"""What a simulation runs on: one PostgreSQL and one nursery for many seeds, a fresh database and two servers for each.

The data directory lies in memory where the machine has such a place: what is killed here are processes, never the
kernel, so the disk has nothing to add but time.
"""

import array
import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from tests.simulation.switchboard import Switchboard

from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import CLUSTER
from kosminar.store.migration import migrate
from kosminar.wiring import utc_now

MEMORY, ELSEWHERE = Path("/dev/shm"), Path("/tmp")  # noqa: S108 -- Folders of unforeseeable names are made in them.
TEMPLATE = "template_simulation"
PATIENCE_SECONDS = 30


class Machine:
    """Open it for as long as seeds are lived; it takes three seconds to make."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        with self._exits:
            parent = MEMORY if os.access(MEMORY, os.W_OK) else ELSEWHERE
            self.folder = Path(tempfile.mkdtemp(prefix="kosminar-simulation-", dir=parent))
            self._exits.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.folder.chmod(0o755)
            self.directory = self.folder / "data"
            self.postgres = open_embedded(self.directory)
            self._exits.callback(self._close_postgres)
            asyncio.run(self._make_template())
            self._start_nursery()
            self._exits = self._exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def _close_postgres(self) -> None:
        # Whichever it is by then: it has been started again since.
        self.postgres.close()

    # ---------------------------------------------------------------- databases

    def url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.postgres.url)._replace(path=f"/{database}"))

    async def _make_template(self) -> None:
        await self._run(f"CREATE DATABASE {TEMPLATE}")
        connection = await asyncpg.connect(self.url(TEMPLATE))
        await migrate(connection, now=utc_now())
        await connection.close()

    async def create_database(self) -> str:
        name = f"simulation_{next(self._numbers)}"
        await self._run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return name

    async def drop_database(self, name: str) -> None:
        await self._run(f"DROP DATABASE {name} WITH (FORCE)")

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres.url)
        await connection.execute(statement)
        await connection.close()

    async def kill_postgres(self) -> None:
        """All of it at once, as when the power goes."""
        leader = self._leader()
        victims = [leader, *_children(leader)]
        os.kill(leader, signal.SIGSTOP)  # Or it would notice the first death before its own.
        for victim in reversed(victims):
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    async def restart_postgres(self) -> None:
        """Recovery and all; meanwhile the harness goes on asking."""
        before = self.postgres
        self.postgres = await asyncio.to_thread(open_embedded, self.directory)
        assert self.postgres.url == before.url, "the socket stays where it was"
        # Here, because signals are given back in the main thread only; it has nothing to wait for.
        before.close()

    def kill_backend(self, database: str) -> bool:
        """One of the processes that serve the database; PostgreSQL then ends them all and recovers by itself."""
        for child in _children(self._leader()):
            with suppress(OSError):
                if database.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(child, signal.SIGKILL)
                    return True
        return False

    async def cut_connections(self, database: str, half: int) -> None:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(self.postgres.url)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid % 2 = $2",
                database,
                half,
            )
            await connection.close()

    def _leader(self) -> int:
        return int((self.directory / CLUSTER / "postmaster.pid").read_text().split()[0])

    # ---------------------------------------------------------------- servers

    def _start_nursery(self) -> None:
        ours, theirs = socket.socketpair()
        self._exits.callback(ours.close)
        command = [sys.executable, "-m", "tests.simulation.nursery", str(theirs.fileno())]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
        # Nobody is spoken to by TLS here, and reading all authorities' certificates takes a while.
        environment["SSL_CERT_DIR"] = str(self.folder)
        nursery = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        self._exits.callback(nursery.wait, PATIENCE_SECONDS)
        self._exits.callback(ours.shutdown, socket.SHUT_RDWR)
        # Forking takes milliseconds; a nursery that is silent this long is dead.
        ours.settimeout(PATIENCE_SECONDS)
        self.control = ours

    def fork(self, recipe: dict[str, Any], told: int) -> int:
        """The new server's process id; it writes to the descriptor."""
        socket.send_fds(self.control, [json.dumps(recipe).encode()], [told])
        numbers = array.array("i")
        numbers.frombytes(self.control.recv(numbers.itemsize))
        return numbers[0]


def _children(process_id: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]
    return []


class Server:
    """One of the two: dies, and is born again until the end of the seed."""

    def __init__(self, machine: Machine, number: int, recipe: dict[str, Any], seed: int) -> None:
        self._machine = machine
        self._recipe = recipe
        self._seed = seed
        self.number = number
        self.log = Path(recipe["log"])
        self.switchboard = Switchboard(Path(recipe["switchboard"]))
        self.life_count = 0
        self.port: int | None = None
        self._process_id = 0
        self._life: asyncio.StreamReader | None = None
        self._wanted = True
        self.up = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while self._wanted:
            if not await self._start():
                await asyncio.sleep(0.03)
                continue
            assert self._life is not None
            await self._life.read()
            self.port = None
            self.up.clear()

    async def _start(self) -> bool:
        self.life_count += 1
        read_end, write_end = os.pipe()
        dice = f"server {self.number} of {self._seed}, life {self.life_count}"
        self._process_id = self._machine.fork(self._recipe | {"dice": dice}, write_end)
        os.close(write_end)
        self._life = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(self._life)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(read_end, "rb"))
        line = await self._life.readline()
        if not line:
            return False
        self.port = int(line)
        self.up.set()
        return True

    def signal(self, number: int) -> None:
        """To the present process, whatever it is doing."""
        if self._life is not None and not self._life.at_eof():
            with suppress(ProcessLookupError):
                os.kill(self._process_id, number)

    async def move(self, database_url: str) -> None:
        """To another database, by a death: what the process was connected to is gone."""
        self._recipe = self._recipe | {"database_url": database_url}
        before = self.life_count
        self.signal(signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.life_count == before or self.port is None:
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        self._wanted = False
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._keeper

    def close(self) -> Counter[str]:
        tallies = self.switchboard.tallies()
        self.switchboard.close()
        return tallies
