"""One side of a comparison: a tree's own server on its own embedded PostgreSQL, and what both compute for a load.

Everything goes through the tree's command line and HTTP. PostgreSQL itself is asked for three things only, none of
which depends on the schema: not to vacuum by itself, which would fall into one run and not into another; to vacuum and
analyse between runs; and to write out between runs what the last one left dirty.
"""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import asyncpg
from benchmarks.compare.judgement import Sample
from benchmarks.compare.processor import cpu_seconds
from benchmarks.compare.trees import NotComparable, Tree

PATIENCE_SECONDS = 60
POLL_SECONDS = 0.02
# Of postmaster.pid, by PostgreSQL's documentation: process id, ..., port, folder of the socket.
PORT_LINE, SOCKET_LINE = 3, 4
# The name of the embedded database and of its owner.
DATABASE = "kosminar"


@dataclass
class Watch:
    """What was computed between the two ends of `Side.watched`."""

    seconds: float = 0
    server_seconds: float = 0
    database_seconds: float = 0

    def sample(self, count: int) -> Sample:
        return Sample(count, self.seconds, self.server_seconds, self.database_seconds)


@dataclass
class Side:
    """A tree at work. `url` is its server's."""

    tree: Tree
    folder: Path
    url: str = ""
    _server: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def _data_directory(self) -> Path:
        return self.folder / "data"

    @property
    def _errors(self) -> Path:
        return self.folder / "errors.txt"

    def kosminar(self, *arguments: object) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.timed(*arguments)[0])

    def timed(self, *arguments: object) -> tuple[str, Watch]:
        """What a command prints, and what it computed; PostgreSQL computes for it, and no server does."""
        database_before, began = self._database_cpu(), time.perf_counter()
        with self._errors.open("a") as errors:
            process = self._start(*arguments, "--json", errors=errors)
        assert process.stdout is not None
        try:
            with process.stdout:
                said = process.stdout.read()
            # Not Popen.wait: only this says what the process computed.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            # It would go on, and start the database again that we are about to end.
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - began
        if process.returncode:
            raise self.failed(f"`kosminar {' '.join(map(str, arguments))}` ended with {process.returncode}")
        own = usage.ru_utime + usage.ru_stime
        return said, Watch(seconds, own, self._database_cpu() - database_before)

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """What server and PostgreSQL compute while the context lasts."""
        watch = Watch()
        server, database, began = self._server_cpu(), self._database_cpu(), time.perf_counter()
        yield watch
        watch.seconds = time.perf_counter() - began
        watch.server_seconds, watch.database_seconds = self._server_cpu() - server, self._database_cpu() - database

    def rest(self) -> None:
        """Put the database into the state in which every run begins."""
        self.execute("VACUUM (ANALYZE)", "CHECKPOINT")

    def execute(self, *statements: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self._database_url(), timeout=PATIENCE_SECONDS)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        try:
            asyncio.run(run())
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self.failed(f"its PostgreSQL did not do what it should ({error})") from error

    def create_organisation(self, name: str, clock: str) -> int:
        create = ("organisation", "create", "--name", name, "--zone", "UTC", "--test-clock", clock)
        return int(self.kosminar(*create)["organisationId"])

    def sign_up(self, organisation_id: int) -> str:
        """The Authorization header of a new client."""
        made = self.kosminar("client", "create", "--organisation", organisation_id)
        return "Basic " + base64.b64encode(f"{made['username']}:{made['password']}".encode()).decode()

    @contextmanager
    def served(self) -> Iterator[None]:
        """The server with its PostgreSQL, both gone afterwards, however it ends."""
        with self._errors.open("a") as errors:
            self._server = self._start("serve", "--port", "0", "--json", errors=errors)
        try:
            assert self._server.stdout is not None
            line = self._server.stdout.readline()
            if not line:
                self._server.wait()
                raise self.failed("it did not start")
            self.url = json.loads(line)["url"]
            self.execute("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
            yield
        finally:
            self._stop(self._server)

    def failed(self, what: str) -> NotComparable:
        """The error to raise, with what became of the server and the last thing that this side said."""
        if self._server is not None and self._server.poll() is not None:
            what = f"its server ended with {self._server.returncode} ({what})"
        said = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return NotComparable(f"{self.tree.name}: {what}. It said: {said[-1] if said else 'nothing'}")

    def _start(self, *arguments: object, errors: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.tree.command(*arguments),
            env=self.tree.environment(self._data_directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # A Ctrl-C at the terminal is ours; we end the server when nothing is sent to it any more.
            start_new_session=True,
        )

    def _stop(self, server: subprocess.Popen[str]) -> None:
        before = self._pid_file()
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        assert server.stdout is not None
        server.stdout.close()
        # The server ends its PostgreSQL. Where it could not, nothing in this data directory is worth an orderly end.
        if len(lines := self._pid_file() or before) > SOCKET_LINE:
            self._end_postmaster(int(lines[0]), Path(lines[SOCKET_LINE]))

    def _end_postmaster(self, process_id: int, socket_folder: Path) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        with contextlib.suppress(ProcessLookupError):
            # The number may belong to another process by now.
            while str(self._data_directory) in _command_line(process_id) and time.monotonic() < until:
                os.kill(process_id, signal.SIGQUIT)
                time.sleep(POLL_SECONDS)
        shutil.rmtree(socket_folder, ignore_errors=True)

    def _server_cpu(self) -> float:
        assert self._server is not None
        try:
            return cpu_seconds(self._server.pid, apart_from=self._postmaster_id() or 0)
        except ProcessLookupError as error:
            raise self.failed("its server died") from error

    def _database_cpu(self) -> float:
        try:
            return cpu_seconds(self._postmaster_id() or 0)
        except ProcessLookupError as error:
            raise self.failed("its PostgreSQL died") from error

    def _postmaster_id(self) -> int | None:
        lines = self._pid_file()
        return int(lines[0]) if lines else None

    def _database_url(self) -> str:
        lines = self._pid_file()
        if len(lines) <= SOCKET_LINE:
            raise self.failed("its PostgreSQL is not running")
        return f"postgresql://{DATABASE}@/{DATABASE}?host={quote(lines[SOCKET_LINE], safe='')}&port={lines[PORT_LINE]}"

    def _pid_file(self) -> list[str]:
        for path in self._data_directory.glob("*/postmaster.pid"):
            with contextlib.suppress(FileNotFoundError):
                return path.read_text(encoding="utf-8").splitlines()
        return []


def _command_line(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
