"""`kosminar serve` as a process on a data directory of its own, with one brand, and somebody who buys all the time."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import httpx2
import structlog
from tests.api.brand import purchase
from tests.bodies import MILESTONE
from typer.testing import CliRunner

from kosminar import cli
from kosminar.engine.use_cases.clients import create_client, create_organisation
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import temporary_data_directory
from kosminar.wiring import utc_now

KOSMINAR = Path(sys.executable).with_name("kosminar")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
CUSTOMER_ID = 501
DEADLINE_SECONDS = 60


def kosminar(*arguments: object) -> str:
    """What a command that succeeds writes; in this process, because starting Python takes a second each."""
    try:
        done = CliRunner().invoke(cli.app, [*map(str, arguments)])
    finally:
        structlog.reset_defaults()  # Commands send the log to the standard error of the moment.
    assert done.exit_code == 0, f"{arguments}: {done.output} {done.exception!r}"
    return done.output


def eventually(condition) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


@dataclass
class Running:
    """A server at work; `answered` are the purchases whose recording was acknowledged, in that order."""

    data_dir: Path
    process: subprocess.Popen[str]
    http: httpx2.Client
    answered: list[str] = field(default_factory=list)
    refused: list[int | None] = field(default_factory=list)
    """Statuses of calls that were not answered well; None where there was no answer at all."""

    def buy(self, activity_id: str) -> bool:
        """Whether it was acknowledged."""
        bought = purchase(activity_id, CUSTOMER_ID, "2031-02-01T10:00:00Z", 1)
        try:
            response = self.http.post("/v1/activities", json={"activities": [bought]})
        except httpx2.TransportError:
            self.refused.append(None)
            return False
        if response.status_code != 200:
            self.refused.append(response.status_code)
            return False
        assert [result["status"] for result in response.json()["results"]] != ["refused"], response.text
        self.answered.append(activity_id)
        return True

    @contextmanager
    def load(self, name: str) -> Iterator[None]:
        """Purchases one after another for as long as this lasts; each is sent until it is acknowledged."""
        leaving = threading.Event()

        def shop() -> None:
            for number in range(100_000):
                while not leaving.is_set() and not self.buy(f"{name}-{number}"):
                    leaving.wait(0.05)
                if leaving.is_set():
                    return

        shopper = threading.Thread(target=shop)
        shopper.start()
        try:
            yield
        finally:
            leaving.set()
            shopper.join()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=DEADLINE_SECONDS) == 0


@contextmanager
def running(log: Path, **environment: object) -> Iterator[Running]:
    data_dir = temporary_data_directory()
    here = {"KOSMINAR_DATA_DIR": str(data_dir)} | {name: str(value) for name, value in environment.items()}
    with log.open("w") as written:
        process = subprocess.Popen(
            [KOSMINAR, "serve", "--port", "0", "--json"],
            env={**ENVIRONMENT, **here, "KOSMINAR_LOG_LEVEL": "warning"},
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline() or "{}").get("url")
        assert url, log.read_text()
        auth = asyncio.run(_open_brand(data_dir))
        with httpx2.Client(base_url=url, auth=auth, timeout=DEADLINE_SECONDS) as http:
            assert http.post("/v3/targetGroups", json=MILESTONE).is_success
            assert http.post("/v1/customers", json={"customers": [{"customerId": CUSTOMER_ID}]}).is_success
            yield Running(data_dir, process, http)
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        process.wait(timeout=DEADLINE_SECONDS)
        shutil.rmtree(data_dir)


async def _open_brand(data_dir: Path) -> tuple[str, str]:
    with open_embedded(data_dir) as database:
        connection = await asyncpg.connect(database.url)
        organisation_id = await create_organisation(
            connection, name="Acme", zone="UTC", test_clock_at=datetime(2031, 2, 12, tzinfo=UTC), now=utc_now()
        )
        made = await create_client(connection, organisation_id=organisation_id, random_bytes=os.urandom, now=utc_now())
        await connection.close()
    return made.username, made.password


def ask(url: str, statement: str) -> object:
    """The one value that a statement fetches."""

    async def talk() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(talk())
