"""PostgreSQL servers of a test's own: stopped as if frozen, demoted, promoted, and followed by a standby."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

from kosminar.store.embedded_host import find_binaries, server_user, temporary_data_directory


def family(postmaster: int) -> list[int]:
    """The server's processes, the postmaster first, so that a stopped one starts no others meanwhile."""
    found = [postmaster]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold blanks; behind it come the state and the parent.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has ended meanwhile.
            continue
        if int(fields[1]) == postmaster:
            found.append(int(stat.parent.name))
    return found


@contextmanager
def frozen(postmaster: int) -> Iterator[None]:
    """Every process of the server stands still: it takes connections, and answers nothing."""
    os.kill(postmaster, signal.SIGSTOP)
    try:
        for process in family(postmaster):
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in reversed(family(postmaster)):
            os.kill(process, signal.SIGCONT)


@contextmanager
def frozen_for(postmaster: int, *, seconds_max: float) -> Iterator[None]:
    """The same; what is done meanwhile must be done within so many seconds."""
    with frozen(postmaster):
        began = time.monotonic()
        yield
        assert time.monotonic() - began < seconds_max


class Relay:
    """Between clients and the cluster that it leads to; passes on so much later what either side says. Both may change."""

    def __init__(self, cluster: "Cluster", *, delay_seconds: float = 0.0) -> None:
        self.cluster = cluster
        self.delay_seconds = delay_seconds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its URL."""
        async with await asyncio.start_server(self._connect, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            yield f"postgresql://kosminar@127.0.0.1:{port}/postgres?sslmode=disable"

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(self.cluster.socket)
        await asyncio.gather(self._pass_on(reader, questions), self._pass_on(answers, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while said := await reader.read(65_536):
                await asyncio.sleep(self.delay_seconds)
                writer.write(said)
        except OSError:
            pass  # One side has cut its connection; the other one's is closed.
        finally:
            writer.close()


class Cluster:
    """One server on a unix socket of its own. `start` and the others return when they are done."""

    def __init__(self, folder: Path, port: int) -> None:
        self._user = server_user(folder)
        self._binaries = find_binaries(self._user)
        self._folder = folder
        self._data = folder / f"cluster-{port}"
        self.port = port

    @property
    def url(self) -> str:
        return f"postgresql://kosminar@/postgres?host={quote(str(self._folder), safe='')}&port={self.port}"

    @property
    def socket(self) -> Path:
        return self._folder / f".s.PGSQL.{self.port}"

    @property
    def postmaster(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def make(self) -> "Cluster":
        self._run("initdb", "-D", self._data, "--auth=trust", "--username=kosminar", "--no-sync", "--encoding=UTF8")
        return self

    def follow(self, primary: "Cluster") -> "Cluster":
        where = ("-h", self._folder, "-p", str(primary.port), "-U", "kosminar")
        self._run("pg_basebackup", "-D", self._data, *where, "-R", "--checkpoint=fast", "--no-sync")
        return self

    def start(self) -> "Cluster":
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder} -c port={self.port} -c fsync=off"
        log = self._data / "server.log"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", options)
        return self

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def demote(self) -> None:
        """Restart as a standby that follows nobody, on the same socket."""
        self.stop()
        self.start_as_standby()

    def start_as_standby(self) -> None:
        self._run("touch", self._data / "standby.signal")
        self.start()

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "-w", "-D", self._data)

    def _run(self, program: str, *arguments: str | Path) -> None:
        known = self._binaries / program
        done = self._user.run(known if known.exists() else program, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def clusters_folder() -> Iterator[Path]:
    """A folder for clusters and their sockets; what still runs in it at the end is stopped."""
    folder = temporary_data_directory()
    user = server_user(folder)
    user.own(folder)
    try:
        yield folder
    finally:
        binaries = find_binaries(user)
        for running in folder.glob("*/postmaster.pid"):
            user.run(binaries / "pg_ctl", "stop", "-w", "-D", running.parent, "-m", "immediate")
        shutil.rmtree(folder)
