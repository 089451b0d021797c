"""A period's end for 1 and 10 million enrolled customers, a third of them achieved, against one INSERT of the rewards.

Ours is POST /v1/clock/advance over the end: locks, facts, settled progress, rewards and customers' sequences. The
yardstick is one INSERT ... SELECT of as many reward rows into tables of its own (yardsticks/schema.sql), with as many
achievers, indexes and foreign keys, and nothing else. At the end both have the same number of rewards, and the audit
finds ours to be the right ones.

Beside it: what other requests' p99 becomes meanwhile, how much memory the server takes, and that a server killed
half-way finishes once it is asked again, with each reward there once.

    .venv/bin/python -m benchmarks.period_ends [--quick] [--customers 20000]
"""

import argparse
import contextlib
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import asyncpg
import httpx2
from benchmarks import kept
from benchmarks.cpu import Cpu
from benchmarks.pairs import Comparison, Figure, Measured
from benchmarks.seed import MEMBER, Population, populated
from benchmarks.stage import Served, Stage, ask, open_stage
from benchmarks.traffic import Load, Report, send, sending
from benchmarks.yardsticks import tables

MEGABYTE = 1_000_000
PAIRS = 5
# A tail is made of few requests, and swings.
ROUNDS_WITH_OTHERS, QUICK_ROUNDS_WITH_OTHERS = 3, 1
# The requests beside it: two connections, each with a pause before every request.
CONNECTIONS_BESIDE = 2
DELAY_MS = 10
SECONDS_BEFORE = 5
SAMPLE_SECONDS = 0.1
# How often it is looked whether rewards are there already, to kill the server half-way.
POLL_SECONDS = 0.02


@dataclass
class Memory:
    """Of the server's process, in bytes."""

    before: int = 0
    peak: int = 0
    after: int = 0


@dataclass
class Ended:
    """What one period end took."""

    seconds: float
    cpu: Cpu
    memory: Memory = field(default_factory=Memory)
    before: Report | None = None
    beside: Report | None = None


def run(
    stage: Stage,
    *,
    quick: bool,
    sizes: Sequence[int] | None = None,
    reuse: Callable[[Sequence[Population]], None] = lambda _: None,
) -> list[Comparison | Figure]:
    """The smaller sizes by pairs, and with requests beside it; the largest once, and in quiet.

    `reuse` is given all populations, the largest last, before they go.
    """
    *small, large = sizes or ((30_000, 100_000) if quick else (1_000_000, 10_000_000))
    found: list[Comparison | Figure] = []
    peaks = []
    with contextlib.ExitStack() as stack:
        made = []
        for customer_count in small:
            population = stack.enter_context(populated(stage, f"seeded_{customer_count}", customer_count))
            made.append(population)
            comparison, memories = _pairs(population, pairs=2 if quick else PAIRS)
            found += [
                comparison,
                _subscribed(population),
                _resumed(population),
                *_with_others(population, rounds=QUICK_ROUNDS_WITH_OTHERS if quick else ROUNDS_WITH_OTHERS),
            ]
            peaks.append(statistics.median(memory.peak - memory.before for memory in memories))
        made.append(stack.enter_context(populated(stage, f"seeded_{large}", large)))
        comparison, memories = _pairs(made[-1], pairs=1)
        found += [comparison, _memory(made[-1], memories[0], peaks[0])]
        reuse(made)
    return found


def _pairs(population: Population, *, pairs: int) -> tuple[Comparison, list[Memory]]:
    comparison = Comparison(_title(population), "rewards/s", aim=0.5, goal=0.6)
    memories = []
    count = population.customer_count
    with tables.filled(population.stage, f"achievers_{count}", "fill_achievers", customer_count=count) as achievers:
        for number in range(pairs):
            with _clones(population, achievers) as (ours, yardstick):
                order = {ours: _ours, yardstick: _bare} if number % 2 == 0 else {yardstick: _bare, ours: _ours}
                ended = {side: work(population, side) for side, work in order.items()}
                _note(comparison, population, ours, yardstick, ended[ours], ended[yardstick])
                memories.append(ended[ours].memory)
    return comparison, memories


def _with_others(population: Population, *, rounds: int) -> list[Comparison | Figure]:
    """Some times more; while it runs, others ask too."""
    p99 = Comparison("Others' p99 while that period ends, against before", "ms", aim=2.0, at_most=True, of="p99_ms")
    seconds = []
    for _ in range(rounds):
        with population.stage.cloned("ours", template=population.database) as ours:
            ended = _ours(population, ours, others=True)
        assert ended.before is not None
        assert ended.beside is not None
        p99.ours.append(ended.beside.measured)
        p99.yardstick.append(ended.before.measured)
        seconds.append(ended.seconds)
    return [p99, Figure("The same period end with others beside it", statistics.median(seconds), "s")]


def _subscribed(population: Population) -> Figure:
    """The same once, with an endpoint that wants every notification; deliveries are held back, and written all the same."""
    stage, organisation = population.stage, ("--organisation", population.organisation_id)
    with stage.cloned("subscribed", template=population.database) as database:
        stage.kosminar(
            *("access-group", "create", *organisation, "--name", "webhooks", "--grant", "organisation=write"),
            database=database,
        )
        authorization = stage.sign_up(population.organisation_id, database, access_group="webhooks")
        with stage.served(database) as server:
            made = ask(server.url, authorization, "/v1/webhook-endpoints", {"url": "https://webhooks.example/"})
            endpoint = f"/v1/webhook-endpoints/{made['endpointId']}"
            ask(server.url, authorization, endpoint, {"state": "paused"}, method="PATCH")
        ended = _ours(population, database)
    each = f"{ended.cpu.server_us(population.customer_count):.0f} us server"
    each += f" and {ended.cpu.database_us(population.customer_count):.0f} us database of a customer"
    return Figure("The same with a subscriber to every notification", ended.seconds, "s", note=each)


def _memory(population: Population, memory: Memory, peak_of_smaller: float) -> Figure:
    said = ", ".join(
        f"{name} {value / MEGABYTE:.0f} MB"
        for name, value in (("before", memory.before), ("peak", memory.peak), ("after", memory.after))
    )
    return Figure(
        f"Memory taken by the end for {population.customer_count:,}",
        (memory.peak - memory.before) / MEGABYTE,
        "MB",
        # Constant, that is: ten times as many take no more, but for what an allocator rounds up to.
        aim=max(2 * peak_of_smaller / MEGABYTE, 32.0),
        note=f"{said}; for fewer customers it took {peak_of_smaller / MEGABYTE:.0f} MB",
    )


def _resumed(population: Population) -> Figure:
    """Killed half-way and started again, it gives what is missing and nothing twice."""
    stage, target = population.stage, population.achiever_count * 2
    with stage.cloned("resumed", template=population.database) as database:
        with ThreadPoolExecutor(1) as calling, stage.served(database) as server:
            call = calling.submit(_advance, population, server)
            given = population.achiever_count
            while given < population.achiever_count * 3 // 2 and not call.done():
                time.sleep(POLL_SECONDS)
                given = stage.value(database, kept.REWARDS)
            os.kill(server.process_id, signal.SIGKILL)
            with contextlib.suppress(httpx2.HTTPError):
                call.result()
        given = stage.value(database, kept.REWARDS) - population.achiever_count
        with stage.served(database) as server:
            _advance(population, server)
        found = stage.value(database, kept.REWARDS)
        if found != target:
            raise RuntimeError(f"{database}: {found} rewards where there should be {target}")
        if not population.audited(database):
            raise RuntimeError(f"{database}: the audit finds something wrong after a kill")
        return Figure(
            "Rewards given when the server was killed half-way",
            100 * given / population.achiever_count,
            "%",
            note=f"asked again, all {population.achiever_count:,} were there once",
        )


def _ours(population: Population, database: str, *, others: bool = False) -> Ended:
    stage = population.stage
    beside = Load("enrolment", population.some(MEMBER), population.path, population.authorization, delay_ms=DELAY_MS)
    with stage.served(database) as server:
        before = None
        if others:
            before = send(server.url, beside, connections=CONNECTIONS_BESIDE, seconds=SECONDS_BEFORE)
        stage.execute(database, "CHECKPOINT")
        with contextlib.ExitStack() as stack:
            under_way = None
            if others:
                # Far enough from where it began before.
                later = replace(beside, first=population.achiever_count // 2)
                under_way = stack.enter_context(sending(server.url, later, connections=CONNECTIONS_BESIDE))
            memory = stack.enter_context(_watched(server))
            cpu = stack.enter_context(stage.watched(server))
            began = time.perf_counter()
            _advance(population, server)
            seconds = time.perf_counter() - began
    if not population.audited(database):
        raise RuntimeError(f"{database}: the audit finds something wrong after the period's end")
    return Ended(seconds, cpu, memory, before, None if under_way is None else under_way.report)


@contextmanager
def _watched(server: Served) -> Iterator[Memory]:
    memory = Memory(before=server.resident_bytes())
    memory.peak = memory.before
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            memory.peak = max(memory.peak, server.resident_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield memory
    finally:
        over.set()
        watching.join()
        memory.after = server.resident_bytes()


def _advance(population: Population, server: Served) -> None:
    """Answers when the period's end is worked; however long that takes."""
    answer = httpx2.post(
        server.url + "/v1/clock/advance",
        json={"to": population.period_end},
        headers={"Authorization": population.authorization},
        timeout=None,  # Millions take their time.
    )
    answer.raise_for_status()


def _bare(population: Population, database: str) -> Ended:
    async def insert(connection: asyncpg.Connection) -> Ended:
        await connection.execute("CHECKPOINT")
        due_at = await connection.fetchval("SELECT due_at FROM period WHERE period_id = $1", tables.PERIOD_ID)
        began = time.perf_counter()
        with population.stage.watched() as cpu:
            await connection.execute(tables.statement("insert_rewards"), due_at, tables.ORGANISATION_ID)
        return Ended(time.perf_counter() - began, cpu)

    return population.stage.with_connection(database, insert)


@contextmanager
def _clones(population: Population, achievers: str) -> Iterator[tuple[str, str]]:
    stage = population.stage
    with (
        stage.cloned("ours", template=population.database) as ours,
        stage.cloned("yardstick", template=achievers) as yardstick,
    ):
        yield ours, yardstick


def _note(
    comparison: Comparison, population: Population, ours: str, yardstick: str, our_end: Ended, their_end: Ended
) -> None:
    """Both sides gave as many rewards as there are achievers, beside those of before; then their rates count."""
    for side in (ours, yardstick):
        given = population.stage.value(side, kept.REWARDS)
        if given != 2 * population.achiever_count:
            raise RuntimeError(f"{side} has {given} rewards for {population.achiever_count} achievers")
    count = population.achiever_count
    comparison.ours.append(
        Measured(
            count / our_end.seconds,
            server_us=our_end.cpu.server_us(count),
            database_us=our_end.cpu.database_us(count),
        )
    )
    comparison.yardstick.append(Measured(count / their_end.seconds, database_us=their_end.cpu.database_us(count)))


def _title(population: Population) -> str:
    return f"Period end, {population.customer_count:,} enrolled"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the customers, or less")
    parser.add_argument(
        "--customers", type=int, action="append", help="another size, twice: a smaller and a larger one"
    )
    options = parser.parse_args()
    with open_stage() as stage:
        for line in run(stage, quick=options.quick, sizes=options.customers):
            print(line.line(), flush=True)


if __name__ == "__main__":
    main()
