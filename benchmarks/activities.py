"""Activities in batches of 500, singly, and from a CSV file, at 1, 5 and 10 targets of mixed kinds.

Everybody is enrolled in all targets and has come once before. The yardstick is the bare set-based SQL: batches of 500,
one after another on one connection, that insert the same activities and upsert the same progress rows, one for each
target, from arrays; no rules, no facts, no HTTP. Its tables are its own (yardsticks/schema.sql). Ours writes as many
activities, and beside them what it takes to be able to prove what came of them: facts, customers' numbers, the courses
of streaks, rewards.
"""

import random
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import count
from operator import itemgetter

import asyncpg
import httpx2
from benchmarks import footprint, kept, processes
from benchmarks.counted import Counting
from benchmarks.cpu import Cpu
from benchmarks.pairs import Comparison, Figure, Measured, alternate
from benchmarks.programmes import programme
from benchmarks.seed import ACHIEVER, MEMBER, multiply
from benchmarks.stage import CLOCK, PATIENCE_SECONDS, Served, Stage, ask
from benchmarks.traffic import Load, send
from benchmarks.yardsticks import tables

CUSTOMER_COUNT = 100_000
# At which everything is measured; at the others batches only.
FIVE = 5
TARGET_COUNTS = (1, FIVE, 10)
BATCH_SIZE = 500
# Of a hundred thousand; writes.py recounts all of its customers.
AUDITED_COUNT = 4
ASKING_SECONDS = 0.05
# Of requests with 500 activities: enough to keep every lane at work.
BATCH_CONNECTIONS = 4
# Of requests with one, with the least ratio that is wanted and a better one.
SINGLE_CONNECTIONS = {32: (0.14, 0.2), 128: (0.18, 0.25)}
BATCHED = (0.5, 0.6)
OCCURRED_AT = datetime(2031, 1, 15, 11, 30, tzinfo=UTC)
INSERT_ACTIVITIES, UPSERT_PROGRESS = tables.statement("insert_activities"), tables.statement("upsert_progress")


@dataclass(frozen=True)
class Cast:
    """One organisation with so many customers."""

    organisation_id: int
    authorization: str


def prepare(stage: Stage, template: str, organisation_id: int, authorization: str, target_count: int) -> Cast:
    """The programmes, in a database of their own, and everybody's first visit."""
    with stage.served(template) as server:
        tell = partial(ask, server.url, authorization)
        for number in range(target_count):
            tell("/v3/targetGroups", programme(number))
        models = [{"customerId": number} for number in (MEMBER, ACHIEVER)]
        tell("/v1/customers", {"customers": models})
        first = {"id": "first", "type": "transaction", "occurredAt": CLOCK, "attributes": {"amount": 1}}
        counting, moved = Counting(stage, template, organisation_id), []
        for model in models:
            tell("/v1/activities", {"activities": [{**first, **model}]})
            moved.append(counting.moved())
    member, achiever = moved
    multiply(stage, template, organisation_id, CUSTOMER_COUNT, member=member, achiever=achiever)
    return Cast(organisation_id, authorization)


@dataclass
class Ours:
    """What wrk or the import sends to a server, counted by the rows that it left."""

    stage: Stage
    cast: Cast
    database: str

    def post(self, server: Served, *, size: int, connections: int, seconds: float, run: str) -> Measured:
        before = self._activities()
        customers = self.stage.directory / "all.txt"
        drawn = random.Random(run).sample(range(1, CUSTOMER_COUNT + 1), CUSTOMER_COUNT)  # noqa: S311 -- No secret.
        customers.write_text("\n".join(map(str, drawn)), encoding="ascii")
        load = Load("batch", customers, "", self.cast.authorization, size=size)
        began = time.perf_counter()
        with self.stage.watched(server) as cpu:
            report = send(server.url, load, connections=connections, seconds=seconds)
            _wait_for_the_last(server)
        took = time.perf_counter() - began
        acknowledged, written = report.requests * size, self._activities() - before
        if not acknowledged <= written <= acknowledged + connections * size:
            raise RuntimeError(f"{acknowledged} activities were acknowledged and {written} are there")
        return replace(
            report.measured,
            rate=written / took,
            server_us=cpu.server_us(written),
            database_us=cpu.database_us(written),
        )

    def import_file(self, *, line_count: int, run: str) -> Measured:
        """The command's own time, without starting it: an import of no lines, just before, is taken off."""
        starting_seconds, starting = self._imported(0, run)
        before = self._activities()
        seconds, cpu = self._imported(line_count, run)
        if self._activities() - before != line_count:
            raise RuntimeError("the import left other activities than its lines")
        own = cpu - starting
        return Measured(
            line_count / (seconds - starting_seconds),
            server_us=own.server_us(line_count),
            database_us=own.database_us(line_count),
        )

    def _imported(self, line_count: int, run: str) -> tuple[float, Cpu]:
        path = self.stage.directory / "activities.csv"
        with path.open("w", encoding="ascii") as file:
            file.write("id,customerId,occurredAt,attributes.amount,attributes.billNumber\n")
            dice = random.Random(run)  # noqa: S311 -- No secret.
            for number in range(line_count):
                customer_id = dice.randint(1, CUSTOMER_COUNT)
                file.write(
                    f"{run}-{number},{customer_id},2031-01-15T11:30:00Z,{dice.randint(0, 499) / 100:.2f},B{number}\n"
                )
        began, before = time.perf_counter(), _of_ended_children()
        command = ("import", "activities", "--file", path, "--organisation", self.cast.organisation_id)
        with self.stage.watched() as cpu:
            self.stage.kosminar(*command, database=self.database)
        cpu.server_seconds = _of_ended_children() - before
        return time.perf_counter() - began, cpu

    def _activities(self) -> int:
        return self.stage.value(self.database, kept.ACTIVITIES)


def _of_ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_the_last(server: Served) -> None:
    """What wrk leaves because its time is over is worked all the same; a batch of 500 may take seconds."""
    with httpx2.Client(timeout=PATIENCE_SECONDS) as client:
        # The one under way is the one that asks.
        while "\nkosminar_requests_under_way 1.0\n" not in client.get(f"{server.url}/metrics").text:
            time.sleep(ASKING_SECONDS)


@dataclass
class Yardstick:
    """The bare statements, on one connection."""

    stage: Stage
    database: str
    target_count: int

    def measure(self, *, seconds: float, run: str) -> Measured:
        async def work(connection: asyncpg.Connection) -> Measured:
            dice = random.Random(run)  # noqa: S311 -- No secret.
            before = await connection.fetchval("SELECT count(*) FROM activity")
            places = await connection.fetch("SELECT bucket, customer_id FROM place ORDER BY number")
            began, sent = time.perf_counter(), 0
            with self.stage.watched() as cpu:
                for number in count():
                    if time.perf_counter() - began >= seconds:
                        break
                    await self._batch(connection, dice, places, f"{run}-{number}")
                    sent += BATCH_SIZE
                took = time.perf_counter() - began
            if await connection.fetchval("SELECT count(*) FROM activity") - before != sent:
                raise RuntimeError("the yardstick left other activities than it sent")
            return Measured(sent / took, database_us=cpu.database_us(sent))

        return self.stage.with_connection(self.database, work)

    async def _batch(
        self, connection: asyncpg.Connection, dice: random.Random, places: Sequence[asyncpg.Record], name: str
    ) -> None:
        drawn = sorted(dice.choices(places, k=BATCH_SIZE), key=itemgetter("customer_id"))
        buckets, customers = [place["bucket"] for place in drawn], [place["customer_id"] for place in drawn]
        ids = [f"{name}-{number}" for number in range(BATCH_SIZE)]
        amounts = [Decimal(dice.randint(0, 499)) / 100 for _ in customers]
        attributes = [f'{{"amount":{amount},"billNumber":"{each}"}}' for amount, each in zip(amounts, ids, strict=True)]
        sequences = [next(SEQUENCES) for _ in customers]
        # Each target's running period has its number.
        targets = list(range(1, self.target_count + 1))
        async with connection.transaction():
            await connection.execute(
                INSERT_ACTIVITIES, tables.ORGANISATION_ID, OCCURRED_AT, buckets, customers, ids, sequences, attributes
            )
            await connection.execute(
                UPSERT_PROGRESS, tables.ORGANISATION_ID, buckets, customers, amounts, targets, targets
            )


# Unique and rising is all that the index asks of them; the first is that of everybody's first visit.
SEQUENCES = count(2)


def run(stage: Stage, *, quick: bool) -> list[Comparison | Figure]:
    """Every way in against the same yardstick at five targets; the other numbers of targets in batches only."""
    organisation_id = stage.create_organisation()
    authorization = stage.sign_up(organisation_id)
    compared: list[Comparison | Figure] = []
    for target_count in TARGET_COUNTS if not quick else (FIVE,):
        with stage.cloned("template_targets") as template:
            cast = prepare(stage, template, organisation_id, authorization, target_count)
            bare_tables = tables.filled(
                stage, "yardstick", "fill_visitors", customer_count=CUSTOMER_COUNT, target_count=target_count
            )
            with stage.cloned("ours", template) as left, bare_tables as right:
                ours, bare = Ours(stage, cast, left), Yardstick(stage, right, target_count)
                compared += _compare(ours, bare, target_count, quick=quick)
                audited = range(1, CUSTOMER_COUNT, CUSTOMER_COUNT // AUDITED_COUNT)
                if not stage.audited_some(left, organisation_id, audited):
                    raise RuntimeError(f"the audit found differences in {left}")
            if target_count == FIVE:
                compared.append(processes.run(stage, template, authorization, CUSTOMER_COUNT, quick=quick))
                compared += footprint.run(stage, template, authorization, CUSTOMER_COUNT, quick=quick)
    return compared


def _compare(ours: Ours, bare: Yardstick, target_count: int, *, quick: bool) -> list[Comparison]:
    pairs, seconds, bare_seconds = (2, 2, 1) if quick else (5, 3, 2)
    line_count = 2_000 if quick else 10_000
    compared = []

    def compare(title: str, measure: Callable[[int], Measured], bounds: tuple[float, float] = BATCHED) -> None:
        aim, goal = bounds
        comparison = Comparison(
            f"{title}, {target_count} target{'s' * (target_count > 1)}", "activities/s", aim=aim, goal=goal
        )
        slug = title.replace(" ", "-")
        comparison.ours, comparison.yardstick = alternate(
            pairs, measure, lambda number: bare.measure(seconds=bare_seconds, run=f"{slug}-{number}")
        )
        compared.append(comparison)
        print(comparison.line(), flush=True)

    with ours.stage.served(ours.database) as server:
        batches = partial(ours.post, server, size=BATCH_SIZE, connections=BATCH_CONNECTIONS, seconds=seconds)
        compare("batches of 500", lambda number: batches(run=f"batch{number}"))
        if target_count != FIVE:
            return compared
        for connections, bounds in SINGLE_CONNECTIONS.items():
            singly = partial(ours.post, server, size=1, connections=connections, seconds=seconds)
            title = f"one by one, {connections} connections"
            compare(title, lambda number, post=singly: post(run=f"{post.keywords['connections']}-{number}"), bounds)
    compare("CSV import", lambda number: ours.import_file(line_count=line_count, run=f"csv{number}"))
    return compared
