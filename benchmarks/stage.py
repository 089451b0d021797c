"""Where a benchmark happens: an embedded PostgreSQL as the product runs it, databases cloned from a seeded one, servers.

Both sides of a pair get a database of their own, cloned from the same seeded template, so that they begin with the same
rows and the same indexes, and neither grows what the other has to search.
"""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import httpx2
from benchmarks.cpu import Cpu, watched

from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import find_binaries, server_user, temporary_data_directory

KOSMINAR = Path(sys.executable).with_name("kosminar")
CLOCK = "2031-01-15T12:00:00Z"
# Long enough for the embedded database to start, and for a server to come up on it.
PATIENCE_SECONDS = 60
# As many as there are processors on the machine that the aims were set for.
JOB_COUNT_MAX = 2
TEMPLATE = "kosminar"

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """A running server; `authorization` is a value for the header of that name."""

    url: str
    process_id: int

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def resident_bytes(self) -> int:
        """What the process itself holds in memory, without PostgreSQL's."""
        for line in Path(f"/proc/{self.process_id}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the server has ended")


class Stage:
    """An embedded PostgreSQL in a temporary directory. The database `kosminar` is the template of all others."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self._url = url
        self._user = server_user(directory)
        self._binaries = find_binaries(self._user)

    def url(self, name: str = TEMPLATE) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))

    def kosminar(self, *arguments: object, database: str = TEMPLATE) -> Any:
        """What a command prints as JSON."""
        found = self._run(database, *arguments)
        if found.returncode:
            raise RuntimeError(f"kosminar {' '.join(map(str, arguments))} ended with {found.returncode}")
        return json.loads(found.stdout) if found.stdout else None

    def _run(self, database: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(KOSMINAR), *map(str, arguments), "--json"]
        environment = self.environment(database)
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)

    @property
    def postmaster_id(self) -> int:
        """The process of which all of PostgreSQL's are children."""
        (pid_file,) = self.directory.glob("*/postmaster.pid")
        return int(pid_file.read_text(encoding="utf-8").partition("\n")[0])

    @contextmanager
    def watched(self, *servers: Served) -> Iterator[Cpu]:
        """What these servers and PostgreSQL compute while the context lasts."""
        with watched(self.postmaster_id, [server.process_id for server in servers]) as cpu:
            yield cpu

    def environment(self, database: str, **settings: object) -> dict[str, str]:
        here = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
        named = {f"KOSMINAR_{name.upper()}": str(value) for name, value in settings.items()}
        return {**here, "KOSMINAR_DATABASE_URL": self.url(database), "KOSMINAR_LOG_LEVEL": "error", **named}

    def audited(self, database: str, *options: object) -> bool:
        """Whether `kosminar audit` finds nothing wrong in the database."""
        return self._run(database, "audit", *options).returncode == 0

    def audited_some(self, database: str, organisation_id: int, customer_ids: Iterable[int]) -> bool:
        """Whether `kosminar audit` finds nothing wrong with these, two at a time."""
        of_customer = partial(self.audited, database, "--organisation", organisation_id, "--customer")
        with ThreadPoolExecutor(2) as audits:
            return all(audits.map(of_customer, customer_ids))

    def create_organisation(self, database: str = TEMPLATE) -> int:
        """An organisation whose clock stands still, so that a run tomorrow does what a run today does."""
        create = ("organisation", "create", "--name", "Acme", "--zone", "UTC", "--test-clock", CLOCK)
        return int(self.kosminar(*create, database=database)["organisationId"])

    def sign_up(self, organisation_id: int, database: str = TEMPLATE, *, access_group: str = "default") -> str:
        """The Authorization header of a new client."""
        create = ("client", "create", "--organisation", organisation_id, "--access-group", access_group)
        made = self.kosminar(*create, database=database)
        credentials = f"{made['username']}:{made['password']}"
        return "Basic " + base64.b64encode(credentials.encode()).decode()

    def with_connection(self, database: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        async def connected() -> T:
            connection = await asyncpg.connect(self.url(database))
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(connected())

    def execute(self, database: str, *statements: str) -> None:
        async def run(connection: asyncpg.Connection) -> None:
            for statement in statements:
                await connection.execute(statement)

        self.with_connection(database, run)

    def counts(self, database: str, tables: Sequence[str]) -> dict[str, int]:
        """How many rows each of the tables has."""

        async def count(connection: asyncpg.Connection) -> dict[str, int]:
            return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}

        return self.with_connection(database, count)

    def value(self, database: str, query: str) -> int:
        return int(self.with_connection(database, lambda connection: connection.fetchval(query)))

    @contextmanager
    def cloned(self, name: str, template: str = TEMPLATE) -> Iterator[str]:
        """The name of a database that begins as a copy of the template; nobody may be connected to that one."""
        self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY", "CHECKPOINT")
        try:
            yield name
        finally:
            self.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def served(self, database: str, *, command: Sequence[object] = (KOSMINAR,), **settings: object) -> Iterator[Served]:
        """A server on the database. Its journal of requests goes nowhere, as the yardstick's does."""
        process = subprocess.Popen(
            [*map(str, command), "serve", "--port", "0", "--json"],
            env=self.environment(database, **settings),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server ended with {process.wait()}")
            yield Served(json.loads(line)["url"], process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=PATIENCE_SECONDS)

    def pgbench(
        self, database: str, script: Path, *, clients: int, seconds: float, defines: Mapping[str, int]
    ) -> list[float]:
        """How long each transaction took, in milliseconds; each client sends one after another, prepared."""
        parts = urlsplit(self._url)
        host = parse_qs(parts.query)["host"][0]
        with TemporaryDirectory() as logs:
            command = [
                self._binaries / "pgbench",
                *("--host", host, "--username", parts.username or TEMPLATE, "--no-vacuum", "--protocol", "prepared"),
                *("--client", clients, "--jobs", min(clients, JOB_COUNT_MAX), "--time", round(seconds)),
                *("--log", "--log-prefix", f"{logs}/log", "--file", script),
                *(part for name, value in defines.items() for part in ("--define", f"{name}={value}")),
                database,
            ]
            found = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
            if found.returncode:
                raise RuntimeError(found.stderr)
            # A line a transaction: client, number, microseconds, script, when.
            lines = (line for log in Path(logs).iterdir() for line in log.read_text(encoding="ascii").splitlines())
            return [int(line.split(" ", 3)[2]) / 1000 for line in lines]


@contextmanager
def open_stage() -> Iterator[Stage]:
    directory = temporary_data_directory()
    try:
        with open_embedded(directory) as database:
            yield Stage(directory, database.url)
    finally:
        shutil.rmtree(directory)


def ask(url: str, authorization: str, path: str, body: Any, *, method: str = "POST") -> Any:
    """One call that must succeed."""
    headers = {"Authorization": authorization}
    answer = httpx2.request(method, url + path, json=body, headers=headers, timeout=PATIENCE_SECONDS)
    if answer.status_code not in (200, 201):
        raise RuntimeError(f"{path} answered {answer.status_code}: {answer.text}")
    return answer.json()
