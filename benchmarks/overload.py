"""Ten times as many clients as saturate the server: whoever is accepted is answered, nothing that was accepted is lost.

    make overload            (or: .venv/bin/python -m benchmarks.overload --seconds 20 --clients 80)

Closed-loop clients, each with one activity at a time, first measure the rate that the server sustains; then ten times
as many send without a pause, and whoever hears 503 sends the same again at once, which is ruder than real clients are.
Beside them one polite caller with credentials of its own sends one request at a time. At the end the acknowledged
activities are compared with those in the database, and `kosminar audit` recounts everything. Exits 1 if anything was
lost, doubled, unanswered or answered otherwise than 200 or 503 with Retry-After. Also run, smaller and in one process,
by tests/api/test_overload.py.
"""

import argparse
import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import uvloop
from benchmarks import kept
from benchmarks.programmes import POINTS, visits
from benchmarks.stage import CLOCK, KOSMINAR

from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import temporary_data_directory

TIMES = 10
CUSTOMER_COUNT = 1_000
WARM_UP_SECONDS = 2.0
# No answer for so long is no answer.
PATIENCE_SECONDS = 60.0


@dataclass
class Tally:
    """What a crowd of clients saw."""

    acknowledged: set[str] = field(default_factory=set)
    # Only ever refused, when the time was over.
    given_up: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    # What must not happen: no Retry-After on a refusal, an activity that was there before, a connection cut off.
    faults: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    began_at: float = 0.0
    ended_at: float = 0.0

    def rate(self) -> float:
        return len(self.acknowledged) / (self.ended_at - self.began_at)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")

    def line(self, title: str) -> str:
        return (
            f"{title:<34} {len(self.acknowledged):>7} accepted {self.rate():>8.1f}/s   "
            f"p50 {self.percentile(50) * 1000:>6.0f} ms  p99 {self.percentile(99) * 1000:>6.0f} ms  "
            f"max {self.percentile(100) * 1000:>6.0f} ms   503: {self.statuses[503]:>7}   faults: {dict(self.faults)}"
        )


async def load(port: int, authorization: str, *, client_count: int, seconds: float, name: str) -> Tally:
    """So many clients for so long; each finishes what it began."""
    loop = asyncio.get_running_loop()
    tally = Tally(began_at=loop.time())
    until = loop.time() + seconds
    clients = [_Client(port, authorization, tally, f"{name}-{number}") for number in range(client_count)]
    await asyncio.gather(*(client.send_until(until) for client in clients))
    tally.ended_at = loop.time()
    return tally


class _Client:
    """One connection, one activity at a time; what is refused is sent again until it is accepted."""

    def __init__(self, port: int, authorization: str, tally: Tally, name: str) -> None:
        self._port = port
        self._authorization = authorization
        self._tally = tally
        self._name = name
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send_until(self, until: float) -> None:
        number = 0
        while asyncio.get_running_loop().time() < until:
            number += 1
            await self._record(f"{self._name}-{number}", number, until)
        if self._stream is not None:
            self._stream[1].close()

    async def _record(self, activity_id: str, number: int, until: float) -> None:
        customer_id = hash((self._name, number)) % CUSTOMER_COUNT + 1
        activity = {"id": activity_id, "customerId": customer_id, "type": "transaction", "occurredAt": CLOCK}
        said = request("POST", "/v1/activities", self._authorization, {"activities": [activity]})
        loop = asyncio.get_running_loop()
        while True:
            began_at = loop.time()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    status, headers, content = await self._ask(said)
            except (OSError, EOFError, TimeoutError) as error:
                self._tally.faults[type(error).__name__] += 1
                self._stream = None
                return
            self._tally.statuses[status] += 1
            if status == 200:
                self._tally.seconds.append(loop.time() - began_at)
                self._note(activity_id, content["results"][0]["status"])
                return
            if status != 503:
                self._tally.faults[f"status {status}"] += 1
                return
            if int(headers.get("retry-after", "0")) < 1:
                self._tally.faults["503 without Retry-After"] += 1
            if loop.time() >= until:
                self._tally.given_up.add(activity_id)
                return

    def _note(self, activity_id: str, status: str) -> None:
        if status != "accepted":
            self._tally.faults[status] += 1
        self._tally.acknowledged.add(activity_id)

    async def _ask(self, said: bytes) -> tuple[int, Mapping[str, str], Any]:
        if self._stream is None:
            self._stream = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._stream
        writer.write(said)
        status, headers, content = await answer(reader)
        if headers.get("connection") == "close":
            writer.close()
            self._stream = None
        return status, headers, content


def request(method: str, path: str, authorization: str, body: Any) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: kosminar\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def answer(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str], Any]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    content = await reader.readexactly(int(headers["content-length"]))
    return int(first.split(" ")[1]), headers, json.loads(content)


async def ask(port: int, authorization: str, path: str, body: Any) -> Any:
    """One call that must succeed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST", path, authorization, body))
    status, _, content = await answer(reader)
    writer.close()
    if status not in (200, 201):
        raise RuntimeError(f"{path} answered {status}: {content}")
    return content


async def prepare(port: int, authorization: str) -> None:
    """A programme that counts the activities, and customers to send them for."""
    await ask(port, authorization, "/v3/targetGroups", visits(20, POINTS))
    customers = [{"customerId": number} for number in range(1, CUSTOMER_COUNT + 1)]
    await ask(port, authorization, "/v1/customers", {"customers": customers})


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def differences(stored: set[str], *tallies: Tally) -> list[str]:
    """What is wrong between what clients were told and what is there."""
    acknowledged = set().union(*(tally.acknowledged for tally in tallies))
    given_up = set().union(*(tally.given_up for tally in tallies))
    return [
        *(f"lost: {each}" for each in sorted(acknowledged - stored)[:10]),
        *(f"refused and yet there: {each}" for each in sorted(given_up & stored)[:10]),
        *(f"fault: {name}, {count} times" for tally in tallies for name, count in tally.faults.items()),
    ]


def _kosminar(*arguments: object) -> Any:
    found = subprocess.run([KOSMINAR, *map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True, check=False)
    return found.returncode, json.loads(found.stdout) if found.stdout else None


def _sign_up(directory: Path, organisation_id: int) -> str:
    _, made = _kosminar("client", "create", "--organisation", organisation_id, "--data-dir", directory)
    return basic(made["username"], made["password"])


async def _measure(port: int, crowd: str, polite: str, *, client_count: int, seconds: float) -> tuple[Tally, ...]:
    await prepare(port, crowd)
    warm = await load(port, crowd, client_count=client_count, seconds=WARM_UP_SECONDS, name="warm")
    sustained = await load(port, crowd, client_count=client_count, seconds=seconds, name="sustained")
    print(sustained.line(f"{client_count} clients"), flush=True)
    over, beside = await asyncio.gather(
        load(port, crowd, client_count=TIMES * client_count, seconds=seconds, name="over"),
        load(port, polite, client_count=1, seconds=seconds, name="beside"),
    )
    print(over.line(f"{TIMES * client_count} clients"), flush=True)
    print(beside.line("one polite caller beside them"), flush=True)
    after = await load(port, crowd, client_count=client_count, seconds=seconds / 2, name="after")
    print(after.line(f"{client_count} clients afterwards"), flush=True)
    return warm, sustained, over, beside, after


async def _stored(database_url: str) -> set[str]:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(kept.ACTIVITY_IDS)
    await connection.close()
    assert len(rows) == len({row["activity_id"] for row in rows}), "an activity is there twice"
    return {row["activity_id"] for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=80, help="as many as measure the sustained rate")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    options = parser.parse_args()
    directory = temporary_data_directory()
    place = ("--data-dir", directory)
    server = None
    try:
        # Held to the end, so that the commands in between need not start the database again.
        with open_embedded(directory) as database:
            create = ("organisation", "create", "--name", "Acme", "--zone", "UTC", "--test-clock", CLOCK)
            _, organisation = _kosminar(*create, *place)
            crowd, polite = (_sign_up(directory, organisation["organisationId"]) for _ in range(2))
            server = subprocess.Popen(
                [KOSMINAR, "serve", "--port", "0", "--json", *map(str, place)],
                env={**os.environ, "KOSMINAR_LOG_LEVEL": "error"},
                stdout=subprocess.PIPE,
                text=True,
            )
            assert server.stdout is not None
            port = urlsplit(json.loads(server.stdout.readline())["url"]).port
            assert port is not None
            tallies = uvloop.run(_measure(port, crowd, polite, client_count=options.clients, seconds=options.seconds))
            stored = uvloop.run(_stored(database.url))
            wrong = differences(stored, *tallies)
            audited_at = time.monotonic()
            code, _ = _kosminar("audit", *place)
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)
            server = None
        acknowledged = sum(len(tally.acknowledged) for tally in tallies)
        print(f"{acknowledged} acknowledged, {len(stored)} stored; audit {'clean' if code == 0 else 'NOT CLEAN'}")
        print(f"(audited in {time.monotonic() - audited_at:.1f} s)")
        print("\n".join(wrong) or "nothing lost, nothing doubled, every refusal was 503 with Retry-After")
        return 1 if wrong or code or not tallies[2].statuses[503] else 0
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
