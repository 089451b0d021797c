"""Activities in batches of 500, singly, and from a CSV file, at 1, 5 and 10 targets of mixed kinds.

Everybody is enrolled in all targets and has come once before. The yardstick is the bare set-based SQL: batches of 500,
one after another on one connection, that insert the same activities and upsert the same progress rows, one for each
target, from arrays; no rules, no facts, no HTTP. Ours writes these rows too, and beside them what it takes to be able to
prove them: facts, customers' numbers, the courses of streaks, rewards.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import count

import asyncpg
import httpx2
from benchmarks.pairs import Comparison, Measured, alternate
from benchmarks.programmes import programme
from benchmarks.seed import ACHIEVER, MEMBER, multiply
from benchmarks.stage import CLOCK, PATIENCE_SECONDS, Served, Stage, ask
from benchmarks.traffic import Load, send

from kosminar.core.bucket import bucket_of_customer

CUSTOMER_COUNT = 100_000
TARGET_COUNTS = (1, 5, 10)
BATCH_SIZE = 500
# Of a hundred thousand; writes.py recounts all of its customers.
AUDITED_COUNT = 4
ASKING_SECONDS = 0.05
# Of requests with one activity each, and of requests with 500: enough to keep every lane at work.
SINGLE_CONNECTIONS, BATCH_CONNECTIONS = 32, 4
OCCURRED_AT = datetime(2031, 1, 15, 11, 30, tzinfo=UTC)

BARE_ACTIVITIES = """
INSERT INTO activity (bucket, organisation_id, customer_id, activity_id, sequence, type, occurred_at, attributes,
                      fingerprint, definitions_version, at)
SELECT k.bucket, $1, k.customer_id, k.activity_id, k.sequence, 'transaction', $2, k.attributes::jsonb,
       decode(repeat('ab', 32), 'hex'), 1, $2
  FROM unnest($3::smallint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[])
       AS k (bucket, customer_id, activity_id, sequence, attributes)
"""
BARE_PROGRESS = """
INSERT INTO progress (bucket, organisation_id, customer_id, target_id, period_id, run, value, target_value,
                      achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled, awaits_end)
SELECT k.bucket, $1, k.customer_id, t.target_id, t.period_id, 1, sum(k.amount), 1000000, NULL, NULL, '{}', false,
       false, false, false
  FROM unnest($2::smallint[], $3::bigint[], $4::numeric[]) AS k (bucket, customer_id, amount)
       CROSS JOIN unnest($5::bigint[], $6::bigint[]) AS t (target_id, period_id)
 GROUP BY k.bucket, k.customer_id, t.target_id, t.period_id
    ON CONFLICT (bucket, organisation_id, customer_id, target_id, period_id, run) DO UPDATE
   SET value = progress.value + EXCLUDED.value
"""


@dataclass(frozen=True)
class Cast:
    """One organisation with so many customers; each target with its running period."""

    organisation_id: int
    authorization: str
    targets: tuple[tuple[int, int], ...]


def prepare(stage: Stage, template: str, organisation_id: int, authorization: str, target_count: int) -> Cast:
    """The programmes, in a database of their own, and everybody's first visit."""
    targets = []
    with stage.served(template) as server:
        tell = partial(ask, server.url, authorization)
        for number in range(target_count):
            made = tell("/v3/targetGroups", programme(number))["data"]
            running = next(period for period in made["periods"] if period["periodStatus"] == "RUNNING")
            targets.append((made["targets"][0]["id"], running["id"]))
        models = [{"customerId": number} for number in (MEMBER, ACHIEVER)]
        tell("/v1/customers", {"customers": models})
        first = {"id": "first", "type": "transaction", "occurredAt": CLOCK, "attributes": {"amount": 1}}
        tell("/v1/activities", {"activities": [{**first, **model} for model in models]})
    multiply(stage, template, organisation_id, CUSTOMER_COUNT)
    return Cast(organisation_id, authorization, tuple(targets))


@dataclass
class Ours:
    """What wrk or the import sends to a server, counted by the rows that it left."""

    stage: Stage
    cast: Cast
    database: str
    _starting_seconds: float | None = None

    def post(self, server: Served, *, size: int, connections: int, seconds: float, run: str) -> Measured:
        before = self._activities()
        customers = self.stage.directory / "all.txt"
        drawn = random.Random(run).sample(range(1, CUSTOMER_COUNT + 1), CUSTOMER_COUNT)  # noqa: S311 -- No secret.
        customers.write_text("\n".join(map(str, drawn)), encoding="ascii")
        load = Load("batch", customers, "", self.cast.authorization, size=size)
        began = time.perf_counter()
        report = send(server.url, load, connections=connections, seconds=seconds)
        _wait_for_the_last(server)
        took = time.perf_counter() - began
        acknowledged, written = report.requests * size, self._activities() - before
        if not acknowledged <= written <= acknowledged + connections * size:
            raise RuntimeError(f"{acknowledged} activities were acknowledged and {written} are there")
        return replace(report.measured, rate=written / took)

    def import_file(self, *, line_count: int, run: str) -> Measured:
        """The command's own time, without starting it: an import of no lines is taken off."""
        if self._starting_seconds is None:
            self._starting_seconds = self._imported(0, run)
        before = self._activities()
        seconds = self._imported(line_count, run) - self._starting_seconds
        if self._activities() - before != line_count:
            raise RuntimeError("the import left other activities than its lines")
        return Measured(line_count / seconds)

    def _imported(self, line_count: int, run: str) -> float:
        path = self.stage.directory / "activities.csv"
        with path.open("w", encoding="ascii") as file:
            file.write("id,customerId,occurredAt,attributes.amount,attributes.billNumber\n")
            dice = random.Random(run)  # noqa: S311 -- No secret.
            for number in range(line_count):
                customer_id = dice.randint(1, CUSTOMER_COUNT)
                file.write(
                    f"{run}-{number},{customer_id},2031-01-15T11:30:00Z,{dice.randint(0, 499) / 100:.2f},B{number}\n"
                )
        began = time.perf_counter()
        command = ("import", "activities", "--file", path, "--organisation", self.cast.organisation_id)
        self.stage.kosminar(*command, database=self.database)
        return time.perf_counter() - began

    def _activities(self) -> int:
        return self.stage.counts(self.database, ("activity",))["activity"]


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
    cast: Cast
    database: str

    def measure(self, *, seconds: float, run: str) -> Measured:
        async def work(connection: asyncpg.Connection) -> Measured:
            dice = random.Random(run)  # noqa: S311 -- No secret.
            before = await connection.fetchval("SELECT count(*) FROM activity")
            began, sent = time.perf_counter(), 0
            for number in count():
                if time.perf_counter() - began >= seconds:
                    break
                await self._batch(connection, dice, f"{run}-{number}")
                sent += BATCH_SIZE
            took = time.perf_counter() - began
            if await connection.fetchval("SELECT count(*) FROM activity") - before != sent:
                raise RuntimeError("the yardstick left other activities than it sent")
            return Measured(sent / took)

        return self.stage.with_connection(self.database, work)

    async def _batch(self, connection: asyncpg.Connection, dice: random.Random, name: str) -> None:
        organisation_id = self.cast.organisation_id
        customers = sorted(dice.randint(1, CUSTOMER_COUNT) for _ in range(BATCH_SIZE))
        buckets = [bucket_of_customer(organisation_id, customer_id) for customer_id in customers]
        ids = [f"{name}-{number}" for number in range(BATCH_SIZE)]
        amounts = [Decimal(dice.randint(0, 499)) / 100 for _ in customers]
        attributes = [f'{{"amount":{amount},"billNumber":"{each}"}}' for amount, each in zip(amounts, ids, strict=True)]
        sequences = [next(SEQUENCES) for _ in customers]
        async with connection.transaction():
            await connection.execute(
                BARE_ACTIVITIES, organisation_id, OCCURRED_AT, buckets, customers, ids, sequences, attributes
            )
            targets, periods = zip(*self.cast.targets, strict=True)
            await connection.execute(
                BARE_PROGRESS, organisation_id, buckets, customers, amounts, list(targets), list(periods)
            )


# Unique and rising is all that the index asks of them; the first is that of everybody's first visit.
SEQUENCES = count(2)


def run(stage: Stage, *, quick: bool) -> list[Comparison]:
    """Every way in against the same yardstick at five targets, for which the aim is; the others in batches only."""
    organisation_id = stage.create_organisation()
    authorization = stage.sign_up(organisation_id)
    compared = []
    for target_count in TARGET_COUNTS if not quick else (5,):
        with stage.cloned("template_targets") as template:
            cast = prepare(stage, template, organisation_id, authorization, target_count)
            with stage.cloned("ours", template) as left, stage.cloned("yardstick", template) as right:
                ours, bare = Ours(stage, cast, left), Yardstick(stage, cast, right)
                compared += _compare(ours, bare, target_count, quick=quick)
                audited = range(1, CUSTOMER_COUNT, CUSTOMER_COUNT // AUDITED_COUNT)
                if not stage.audited_some(left, organisation_id, audited):
                    raise RuntimeError(f"the audit found differences in {left}")
    return compared


def _compare(ours: Ours, bare: Yardstick, target_count: int, *, quick: bool) -> list[Comparison]:
    pairs, seconds, bare_seconds = (2, 2, 1) if quick else (5, 3, 2)
    line_count = 2_000 if quick else 5_000
    compared = []

    def compare(title: str, measure: Callable[[int], Measured]) -> None:
        comparison = Comparison(
            f"{title}, {target_count} target{'s' * (target_count > 1)}",
            "activities/s",
            aim=0.5 if target_count == 5 else None,
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
        if target_count != 5:
            return compared
        singly = partial(ours.post, server, size=1, connections=SINGLE_CONNECTIONS, seconds=seconds)
        compare("one by one", lambda number: singly(run=f"single{number}"))
    compare("CSV import", lambda number: ours.import_file(line_count=line_count, run=f"csv{number}"))
    return compared
