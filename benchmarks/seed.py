"""Millions of customers in a few minutes, past the Writer: what two customers left behind, copied for all others.

Two models come through the API: a member, enrolled by a call, and an achiever, who reached the target by one activity.
Whatever the Writer kept of them, in whatever table, depends on the customer by id and bucket alone, so everybody else's
rows are theirs with another id and bucket; counters are moved as often as there are customers of each kind. Rows go in by bucket and id, as keys are ordered, and indexes are built from
them at the end. `kosminar audit` of one of each kind must find nothing wrong.

    .venv/bin/python -m benchmarks.seed [--quick]      (seeds, audits, and says how long each took)
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
from benchmarks import kept
from benchmarks.counted import Added, Counting, Moved
from benchmarks.pairs import Figure
from benchmarks.programmes import POINTS, visits
from benchmarks.stage import CLOCK, Stage, ask, open_stage

from kosminar.core.bucket import bucket_of_customer
from kosminar.store import counters, saving

MEMBER, ACHIEVER = 1, 3
PROGRAMME = visits(1, {**POINTS, "value": 10}, {**POINTS, "allocation": "PERIOD_END"})
# Every third customer is an achiever; the models are the first of their kind.
KINDS = 3
CHUNK = 500_000
PROCESS_COUNT = 2
# Above this only a sample is audited.
AUDITED_WHOLE_MAX = 20_000
# Customers of one read or write of a benchmark; so many that they are not all in memory already.
SAMPLE_SIZE = 200_000


@dataclass(frozen=True)
class Population:
    """A database of enrolled customers, numbered from 1, every third of them an achiever."""

    stage: Stage
    database: str
    customer_count: int
    organisation_id: int
    authorization: str
    target_group_id: int
    target_id: int
    period_id: int
    period_end: str

    @property
    def path(self) -> str:
        return f"/v3/targetGroups/{self.target_group_id}/targets/{self.target_id}"

    @property
    def achiever_count(self) -> int:
        return self.customer_count // KINDS

    def some(self, kind: int | None = None, *, count: int = SAMPLE_SIZE) -> Path:
        """A file with the ids of random customers, of one kind or of all, one to a line, always the same ones."""
        wanted = range(kind or 1, self.customer_count + 1, 1 if kind is None else KINDS)
        chosen = random.Random(self.customer_count).sample(wanted, min(count, len(wanted)))  # noqa: S311
        file = self.stage.directory / f"{self.database}-{kind or 'all'}.txt"
        file.write_text("\n".join(map(str, chosen)), encoding="ascii")
        return file

    def audited(self, database: str | None = None, *, sample: bool = False) -> bool:
        """Whether the audit finds nothing wrong: with everybody if they are few, else with one of each kind."""
        database = database or self.database
        if self.customer_count <= AUDITED_WHOLE_MAX and not sample:
            return self.stage.audited(database)
        last_achiever = self.achiever_count * KINDS
        return self.stage.audited_some(database, self.organisation_id, (last_achiever - 1, last_achiever))


@contextmanager
def populated(stage: Stage, name: str, customer_count: int, *, other_programmes: int = 0) -> Iterator[Population]:
    """A database of that name with as many customers, for as long as the context lasts.

    The other programmes listen to events that never come.
    """
    with stage.cloned(name, template="template0"):
        population, member, achiever = _begin(stage, name, customer_count, other_programmes)
        multiply(stage, name, population.organisation_id, customer_count, member=member, achiever=achiever)
        if not population.audited(sample=True):
            raise RuntimeError(f"{name}: the audit finds something wrong with what was seeded")
        yield population


def _begin(stage: Stage, name: str, customer_count: int, other_programmes: int) -> tuple[Population, Moved, Moved]:
    """Organisation, programmes and the two models, through the API; and what each of the models moved."""
    organisation_id = stage.create_organisation(name)
    authorization = stage.sign_up(organisation_id, name)
    with stage.served(name) as server:
        tell = partial(ask, server.url, authorization)
        for number in range(other_programmes):
            tell("/v3/targetGroups", _listening_to(f"event {number}"))
        made = tell("/v3/targetGroups", PROGRAMME)["data"]
        tell("/v1/customers", {"customers": [{"customerId": MEMBER}, {"customerId": ACHIEVER}]})
        path = f"/v3/targetGroups/{made['id']}/targets/{made['targets'][0]['id']}"
        tell(f"{path}/enroll", [{"customerId": MEMBER}])
        counting = Counting(stage, name, organisation_id)
        member = counting.moved()
        activity = {"id": "first", "customerId": ACHIEVER, "type": "transaction", "occurredAt": CLOCK}
        tell("/v1/activities", {"activities": [activity]})
        achiever = counting.moved()
    population = Population(
        stage=stage,
        database=name,
        customer_count=customer_count,
        organisation_id=organisation_id,
        authorization=authorization,
        target_group_id=made["id"],
        target_id=made["targets"][0]["id"],
        period_id=made["periods"][0]["id"],
        period_end="2031-02-01T00:00:00Z",
    )
    return population, member, achiever


def _listening_to(event_name: str) -> dict[str, Any]:
    (target,) = PROGRAMME["targets"]
    entity = {"targetEntity": "EVENT", "eventName": event_name, "name": event_name}
    return {**PROGRAMME, "name": event_name, "targets": [{**target, **entity}]}


# ---------------------------------------------------------------- the others


def multiply(
    stage: Stage, database: str, organisation_id: int, customer_count: int, *, member: Moved, achiever: Moved
) -> None:
    """As many customers, of whom the two models are there: every third of them like the achiever."""
    achiever_count = customer_count // KINDS
    # The models are counted already.
    added = Added({achiever: achiever_count - 1, member: customer_count - achiever_count - 1})
    asyncio.run(_multiply(stage.url(database), organisation_id, customer_count, added))


async def _multiply(url: str, organisation_id: int, customer_count: int, added: Added) -> None:
    async with asyncpg.create_pool(url, min_size=PROCESS_COUNT, max_size=PROCESS_COUNT, setup=_prepare) as pool:
        await _make_places(pool, organisation_id, customer_count)
        tables = await pool.fetch(CUSTOMER_TABLES, kept.LARGEST_TABLES)
        queue = [table["name"] for table in tables]
        await asyncio.gather(*(_work_off(pool, queue, organisation_id) for _ in range(PROCESS_COUNT)))
        async with pool.acquire() as connection:
            await connection.execute("DROP TABLE copy")
            await saving.save(connection, [counters.changes_part(added, bucket=0)], joined=False)
            await connection.execute("CHECKPOINT")


async def _prepare(connection: asyncpg.Connection) -> None:
    # Nobody's rows lack their customer's: they are copies of some that do not. What is scanned is to keep its order.
    await connection.execute(
        "SET session_replication_role = replica; SET synchronize_seqscans = off; SET synchronous_commit = off; "
        "SET work_mem = '512MB'; SET maintenance_work_mem = '512MB'; SET search_path = public"
    )


async def _make_places(pool: asyncpg.Pool, organisation_id: int, customer_count: int) -> None:
    """A row for each customer who is not there yet, in the order of the keys."""
    await pool.execute("CREATE UNLOGGED TABLE drawn (bucket smallint, customer_id bigint)")
    last = customer_count + 1
    chunks = [range(first, min(first + CHUNK, last)) for first in range(1, last, CHUNK)]
    with ProcessPoolExecutor(PROCESS_COUNT) as processes:
        for chunk, buckets in zip(chunks, processes.map(_Buckets(organisation_id), chunks), strict=True):
            await pool.execute(
                "INSERT INTO drawn SELECT get_byte($1::bytea, n), $2::bigint + n FROM generate_series(0, length($1::bytea) - 1) AS n",
                buckets,
                chunk.start,
            )
    await pool.execute(
        f"CREATE UNLOGGED TABLE copy AS SELECT bucket, customer_id, CASE WHEN customer_id % {KINDS} = 0 "
        f"THEN {ACHIEVER} ELSE {MEMBER} END AS model FROM drawn WHERE customer_id NOT IN ({MEMBER}, {ACHIEVER}) "
        "ORDER BY bucket, customer_id"
    )
    await pool.execute("DROP TABLE drawn; ANALYZE copy")


@dataclass(frozen=True)
class _Buckets:
    """The buckets of a range of customers, a byte each. A class, because processes are sent what they are to call."""

    organisation_id: int

    def __call__(self, customer_ids: range) -> bytes:
        return bytes(bucket_of_customer(self.organisation_id, customer_id) for customer_id in customer_ids)


# What is kept per customer; the largest is begun first, which was found by looking.
CUSTOMER_TABLES = """
SELECT table_name AS name
  FROM information_schema.columns
 WHERE table_schema = 'public' AND column_name IN ('bucket', 'organisation_id', 'customer_id')
 GROUP BY table_name
HAVING count(*) = 3
 ORDER BY array_position($1::text[], table_name::text)
"""


async def _work_off(pool: asyncpg.Pool, queue: list[str], organisation_id: int) -> None:
    async with pool.acquire() as connection:
        while queue:
            await _copy(connection, queue.pop(0), organisation_id)


async def _copy(connection: asyncpg.Connection, table: str, organisation_id: int) -> None:
    """The models' rows of a table for everybody else."""
    await connection.execute(
        f"CREATE TEMPORARY TABLE model AS SELECT * FROM {table} WHERE organisation_id = {organisation_id}"
    )
    columns = [
        row["column_name"]
        for row in await connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 "
            "ORDER BY ordinal_position",
            table,
        )
    ]
    if await connection.fetchval("SELECT count(*) FROM model"):
        # What is written of an identifier does not follow from the customer's id.
        assert table != "customer_identifier"
        values = [f"p.{name}" if name in ("bucket", "customer_id") else f"m.{name}" for name in columns]
        # A row at a time costs indexes more than twice what building them at the end does.
        await connection.execute(f"UPDATE pg_index SET indisready = false WHERE indrelid = '{table}'::regclass")
        await connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
            "FROM copy AS p JOIN model AS m ON m.customer_id = p.model"
        )
        await connection.execute(f"REINDEX TABLE {table}")
        # Else the server would do it while something is measured.
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    await connection.execute("DROP TABLE model")


# ---------------------------------------------------------------- alone


def run(stage: Stage, *, quick: bool) -> list[Figure]:
    found = []
    for customer_count in (100_000,) if quick else (1_000_000, 10_000_000):
        with stage.cloned("seeded", template="template0"):
            population, member, achiever = _begin(stage, "seeded", customer_count, 0)
            began = time.perf_counter()
            multiply(stage, "seeded", population.organisation_id, customer_count, member=member, achiever=achiever)
            seconds = time.perf_counter() - began
            clean = population.audited()
            rows = stage.counts("seeded", kept.LARGEST_TABLES)
            found.append(Figure(f"Seeding {customer_count:,} customers", seconds, "s", note=f"clean: {clean}; {rows}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer customers")
    options = parser.parse_args()
    with open_stage() as stage:
        for figure in run(stage, quick=options.quick):
            print(figure.line())


if __name__ == "__main__":
    main()
