"""`kosminar serve` asked to stop: what was accepted is answered, what was answered is there, and one of two can go unnoticed.

The processes are real, on a test's own database; the test is their clients and their balancer. Clients keep their
connections, as callers do. A request counts as failed whatever the reason: the balancer repeats none but those for
which it could not even connect.
"""

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import asyncpg
import httpx2
import pytest
from tests.api.brand import Brand, Programme, open_brand, purchase
from tests.bodies import MILESTONE

from kosminar import serve
from kosminar.engine import auditor
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio

KOSMINAR = str(Path(sys.executable).with_name("kosminar"))
CLOCK = datetime(2031, 2, 12, 12, tzinfo=UTC)
PROBE_SECONDS = 0.05
# Many times what the balancer needs to notice, also on a machine that is busy with other things.
DRAIN_SECONDS = 1
CLIENT_COUNT = 6
# The customer of a request that is held up.
HELD_ID = CLIENT_COUNT + 1
# Of each process, before and after each restart.
ANSWER_COUNT = 20
# Between two requests of a client, so that a process that starts gets a processor too.
PAUSE_SECONDS = 0.005


@dataclass
class Process:
    """One `kosminar serve`, which may end and begin again on the same port."""

    database_url: str
    port: int
    drain_seconds: int = 0
    process: asyncio.subprocess.Process | None = None
    log: list[dict[str, object]] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
        self.process = await asyncio.create_subprocess_exec(
            *(KOSMINAR, "serve", "--port", str(self.port), "--json"),
            env={
                **environment,
                "KOSMINAR_DATABASE_URL": self.database_url,
                "KOSMINAR_DRAIN_SECONDS": str(self.drain_seconds),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.reading = asyncio.create_task(self._read(self.process.stderr))
        assert self.process.stdout is not None
        assert json.loads(await self.process.stdout.readline())["url"] == self.url

    async def _read(self, stderr: asyncio.StreamReader | None) -> None:
        assert stderr is not None
        async for line in stderr:
            self.log.append(json.loads(line))

    def ask_to_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        assert self.process is not None
        assert self.reading is not None
        code = await self.process.wait()
        await self.reading
        return code

    async def closed(self) -> None:
        """Returns once nobody is let in any more."""
        # Who waits to be accepted in the moment of closing is reset instead of refused.
        with suppress(ConnectionRefusedError, ConnectionResetError):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await asyncio.sleep(0.01)

    async def logged(self, event: str) -> None:
        while event not in (line["event"] for line in self.log):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(database_url: str, *, count: int = 1, drain_seconds: int = 0) -> AsyncIterator[list[Process]]:
    processes = [Process(database_url, free_port(), drain_seconds) for _ in range(count)]
    try:
        await asyncio.gather(*(process.start() for process in processes))
        yield processes
    finally:
        for process in processes:
            if process.process is not None and process.process.returncode is None:
                process.process.kill()
                await process.ended()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# ---------------------------------------------------------------- those who call


class Balancer:
    """Sends a request to one of those that are ready, and to another if it could not connect."""

    def __init__(self, clients: dict[str, httpx2.AsyncClient]) -> None:
        self.clients = clients
        self.ready: set[str] = set()
        self.answered: Counter[str] = Counter()
        self._turns = itertools.count()

    async def watch(self) -> None:
        while True:
            await asyncio.gather(*(self._probe(url) for url in self.clients))
            await asyncio.sleep(PROBE_SECONDS)

    async def _probe(self, url: str) -> None:
        with suppress(httpx2.TransportError):
            if (await self.clients[url].get(f"{url}/readyz")).status_code == 200:
                self.ready.add(url)
                return
        self.ready.discard(url)

    async def used(self, count: int) -> None:
        """Returns when every process has answered so many more requests."""
        before = Counter(self.answered)
        while any(self.answered[url] < before[url] + count for url in self.clients):
            await asyncio.sleep(PAUSE_SECONDS)

    async def send(self, method: str, path: str, **options: object) -> httpx2.Response:
        turn = next(self._turns)
        ready = sorted(self.ready)
        for url in ready[turn % len(ready) :] + ready[: turn % len(ready)]:
            with suppress(httpx2.ConnectError):
                response = await self.clients[url].request(method, url + path, **options)
                self.answered[url] += 1
                return response
        raise AssertionError(f"nobody could be reached of {ready}")


Send = Callable[..., Awaitable[httpx2.Response]]


@dataclass
class Load:
    """Clients that enrol, un-enrol and buy without a pause, and remember what they were answered."""

    brand: Brand
    programme: Programme
    recorded: set[str] = field(default_factory=set)
    commands: int = 0
    failures: list[str] = field(default_factory=list)

    async def run(self, send: Send, customer_id: int, stop: asyncio.Event) -> None:
        """One client, for one customer; ends at its first failure, which the one-process test expects."""
        verbs = itertools.cycle(["enroll", "unEnroll"])
        try:
            for number in itertools.count():
                if stop.is_set():
                    return
                await self.command(send, customer_id, next(verbs))
                await self.buy(send, customer_id, f"{customer_id}-{number}")
                await asyncio.sleep(PAUSE_SECONDS)
        except (httpx2.TransportError, AssertionError) as error:
            self.failures.append(repr(error))

    async def command(self, send: Send, customer_id: int, verb: str) -> None:
        path = "/v3" + self.programme.path(verb)
        response = await send("POST", path, headers=self.brand.headers, json=[{"customerId": customer_id}])
        assert response.status_code == 200, response.text
        self.commands += 1

    async def buy(self, send: Send, customer_id: int, activity_id: str) -> None:
        body = {"activities": [purchase(activity_id, customer_id, "2031-02-12T11:00:00Z", 1)]}
        response = await send("POST", "/v1/activities", headers=self.brand.headers, json=body)
        assert response.status_code == 200, response.text
        assert [result["status"] for result in response.json()["results"]] == ["accepted"], response.text
        self.recorded.add(activity_id)


@pytest.fixture
def customer_ids() -> range:
    return range(1, CLIENT_COUNT + 1)


async def prepared(house: House, http: httpx2.AsyncClient, customer_ids: range) -> Load:
    acme = await open_brand(house, http, "Acme", clock=CLOCK)
    await acme.register(*customer_ids, HELD_ID)
    return Load(acme, await acme.define(MILESTONE))


async def send_to(client: httpx2.AsyncClient, url: str, method: str, path: str, **options: object) -> httpx2.Response:
    return await client.request(method, url + path, **options)


async def waiting_for_a_lock(pool: asyncpg.Pool) -> None:
    while not await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        await asyncio.sleep(0.01)


async def recorded_in(pool: asyncpg.Pool) -> set[str]:
    return {row["activity_id"] for row in await pool.fetch("SELECT activity_id FROM journal WHERE kind = 'activity'")}


async def differences(pool: asyncpg.Pool) -> list[object]:
    return [found async for found in auditor.audit(pool, progressed=lambda count: None)]


# ---------------------------------------------------------------- two processes


@pytest.mark.slow
async def test_one_of_two_restarts_and_then_the_other_and_no_request_fails(
    house, http, database_url, customer_ids
) -> None:
    load = await prepared(house, http, customer_ids)
    stop = asyncio.Event()

    async with running(database_url, count=2, drain_seconds=DRAIN_SECONDS) as processes, AsyncExitStack() as stack:
        # Each client with connections of its own to each process, which it keeps.
        clients = {one.url: await stack.enter_async_context(httpx2.AsyncClient(timeout=20)) for one in processes}
        balancer = Balancer(clients)
        watching = asyncio.create_task(balancer.watch())
        while len(balancer.ready) < 2:
            await asyncio.sleep(PROBE_SECONDS)
        calling = [asyncio.create_task(load.run(balancer.send, customer_id, stop)) for customer_id in customer_ids]
        answered: list[Counter[str]] = []
        for process, other in (processes, processes[::-1]):
            await balancer.used(ANSWER_COUNT)
            async with held_up(house.pool, HELD_ID) as release:
                # One that takes longer than the drain, and with it all that come behind it in its lane.
                send = partial(send_to, clients[process.url], process.url)
                held = asyncio.create_task(load.buy(send, HELD_ID, f"held-{process.port}"))
                await waiting_for_a_lock(house.pool)
                process.ask_to_stop()
                await process.closed()
                # Time in which one that does not wait for it would be gone.
                await asyncio.sleep(0.5)
                await release()
                await held
            assert await process.ended() == 0
            answered.append(Counter(balancer.answered))
            await process.start()
            while process.url not in balancer.ready:
                await asyncio.sleep(PROBE_SECONDS)
            # Nobody waited for the one that was away.
            assert balancer.answered[other.url] > answered[-1][other.url]
        await balancer.used(ANSWER_COUNT)
        stop.set()
        await asyncio.gather(*calling)
        watching.cancel()
        for process in processes:
            process.ask_to_stop(signal.SIGINT)
        assert [await process.ended() for process in processes] == [0, 0]

    assert load.failures == []
    assert await recorded_in(house.pool) == load.recorded
    assert (
        await house.pool.fetchval("SELECT count(*) FROM journal WHERE kind IN ('enrol', 'un_enrol')") == load.commands
    )
    assert await differences(house.pool) == []


# ---------------------------------------------------------------- one process


async def test_what_was_answered_before_the_end_is_there_after_it(house, http, database_url, customer_ids) -> None:
    load = await prepared(house, http, customer_ids)

    async with running(database_url) as (process,), httpx2.AsyncClient(base_url=process.url, timeout=20) as client:
        never = asyncio.Event()
        calling = [asyncio.create_task(load.run(client.request, customer_id, never)) for customer_id in customer_ids]
        while len(load.recorded) < 10 * CLIENT_COUNT:
            await asyncio.sleep(0.01)
        process.ask_to_stop()
        await asyncio.gather(*calling)

        assert await process.ended() == 0

    # Sent after the listener was closed, or on a connection that was just being closed.
    assert len(load.failures) == CLIENT_COUNT
    kept = await recorded_in(house.pool)
    assert load.recorded <= kept
    # At most what each client was sending when it failed, and had no answer for.
    assert len(kept - load.recorded) <= CLIENT_COUNT
    assert (
        await house.pool.fetchval("SELECT count(*) FROM journal WHERE kind IN ('enrol', 'un_enrol')") >= load.commands
    )
    assert await differences(house.pool) == []


@asynccontextmanager
async def held_up(pool: asyncpg.Pool, *customer_ids: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """No change of the customers gets on until what this yields is called, or until the end."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM customer WHERE customer_id = ANY($1) FOR UPDATE", customer_ids)
        released = False

        async def release() -> None:
            nonlocal released
            if not released:
                released = True
                await transaction.rollback()

        try:
            yield release
        finally:
            await release()


async def sent_and_held_up(load: Load, client: httpx2.AsyncClient, customer_ids: range) -> list[asyncio.Task[None]]:
    """One purchase of each, all under way at once; returns when the server has taken them all in."""
    buying = [asyncio.create_task(load.buy(client.request, c, f"held-{c}")) for c in customer_ids]
    # The question itself is one of them.
    while f"\nkosminar_requests_under_way {CLIENT_COUNT + 1:.1f}\n" not in (await client.get("/metrics")).text:
        await asyncio.sleep(0.01)
    return buying


async def test_what_was_accepted_before_the_signal_is_answered(house, http, database_url, customer_ids) -> None:
    load = await prepared(house, http, customer_ids)

    async with running(database_url) as (process,), httpx2.AsyncClient(base_url=process.url, timeout=20) as client:
        async with held_up(house.pool, *customer_ids) as release:
            buying = await sent_and_held_up(load, client, customer_ids)
            process.ask_to_stop()
            await process.closed()
            await asyncio.sleep(0.5)
            assert not any(task.done() for task in buying)
            await release()
            await asyncio.gather(*buying)

        assert await process.ended() == 0

    assert load.recorded == {f"held-{c}" for c in customer_ids}
    assert await recorded_in(house.pool) == load.recorded
    assert [line["event"] for line in process.log if line["event"] != "request"] == ["stopping", "stopped"]


async def test_a_second_signal_waits_for_no_one_and_saves_nothing_unanswered(
    house, http, database_url, customer_ids
) -> None:
    load = await prepared(house, http, customer_ids)

    async with (
        running(database_url) as (process,),
        httpx2.AsyncClient(base_url=process.url, timeout=20) as client,
        # And nothing is let go on before the process has ended.
        held_up(house.pool, *customer_ids),
    ):
        buying = await sent_and_held_up(load, client, customer_ids)
        process.ask_to_stop()
        await process.logged("stopping")
        process.ask_to_stop()

        assert await process.ended() == 0
        outcomes = await asyncio.gather(*buying, return_exceptions=True)

    assert all(isinstance(outcome, httpx2.TransportError | AssertionError) for outcome in outcomes)
    assert {"stopping_hurried", "changes_given_up"} <= {line["event"] for line in process.log}
    assert await recorded_in(house.pool) == set()


async def test_the_drain_serves_on_says_so_and_is_skipped_by_ctrl_c(database_url) -> None:
    async with (
        running(database_url, drain_seconds=600) as (process,),
        httpx2.AsyncClient(base_url=process.url, timeout=20) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        process.ask_to_stop()
        await process.logged("stopping")

        ready, alive = await client.get("/readyz"), await client.get("/healthz")
        process.ask_to_stop()
        assert await process.ended() == 0

        await process.start()
        process.ask_to_stop(signal.SIGINT)
        assert await process.ended() == 0

    assert [(one.status_code, one.headers["Connection"]) for one in (ready, alive)] == [(503, "close"), (200, "close")]
    assert [line["drain_seconds"] for line in process.log if line["event"] == "stopping"] == [600, 0]
    # In a hurry too, an idle server has nothing to give up and nothing to complain of.
    assert {line["level"] for line in process.log if line["event"] != "stopping_hurried"} == {"info"}


async def test_a_worker_whose_end_was_lost_in_another_error_is_ended_all_the_same(monkeypatch) -> None:
    """A connection that breaks while it is being left puts its own error in the place of the cancellation."""
    monkeypatch.setattr(serve, "CANCEL_AGAIN_SECONDS", 0.01)
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("overheard")
        await asyncio.sleep(3600)

    worker = asyncio.create_task(work())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await serve._end([worker])

    assert (ended, worker.cancelled()) == (["overheard"], True)
