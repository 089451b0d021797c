"""What an overview of a brand takes while changes wait to be added, what adding them takes, and what counting costs.

A brand of 20 programmes with twelve monthly periods and a year of days behind it. An overview of 30 days is read with
changes of 0, 600, 1,000 and 10,000 batches waiting. Each batch is of ten single activities at one or at five targets and
leaves a row for each; the core makes them and the store inserts them, as for the Writer. There are no rows of customers,
because none is read (tests/engine/test_counters.py). Medians of warm reads. The cost of counting is that of the core, of
activities at five targets in batches of 500.

    .venv/bin/python -m benchmarks.counters [--quick]
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg
from benchmarks.pairs import Figure
from benchmarks.stage import TEMPLATE, Stage, open_stage

from kosminar.core.account import Account, Entry
from kosminar.core.activity import Activity
from kosminar.core.bucket import BUCKET_COUNT, bucket_of_group
from kosminar.core.counter import SLOT_COUNT, Counters
from kosminar.core.decide import Enrol
from kosminar.core.kind.catalogue import KINDS
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity
from kosminar.core.period import Period
from kosminar.core.programme import EnrolmentMethod, Programme, Target, TrackingType
from kosminar.core.reward import Allocation, RewardDefinition, RewardKind
from kosminar.core.window.fixed import FixedWindow
from kosminar.engine.counter_adder import CounterAdder
from kosminar.engine.use_cases.overview import overview
from kosminar.store import saving
from kosminar.store.counters import changes_part

GROUP_COUNT, PERIOD_COUNT, DAY_COUNT = 20, 12, 365
# Of 32 callers in three lanes.
SINGLES_IN_A_BATCH = 10
# Prime, and no divisor of how many different batches there are.
STRIDE = 7_919
READS, QUICK_READS = 101, 21
TARGET_COUNTS, QUICK_TARGET_COUNTS = (1, 5), (5,)
ORGANISATION_ID = 1
TODAY = date(2031, 12, 15)
NOW = datetime(2031, 12, 15, 12, tzinfo=UTC)
FIRST = datetime(2031, 1, 1, tzinfo=UTC)
# By how many batches wait: the most milliseconds that an overview may take.
AIMS = {0: 5.0, 600: 5.0, 1_000: None, 10_000: 25.0}


def run(stage: Stage, *, quick: bool) -> list[Figure]:
    stage.kosminar("migrate")
    reading = (QUICK_READS, QUICK_TARGET_COUNTS) if quick else (READS, TARGET_COUNTS)
    return [*asyncio.run(_read(stage.url(TEMPLATE), *reading)), *_counted()]


# ---------------------------------------------------------------- reading and adding


async def _read(url: str, read_count: int, target_counts: Sequence[int]) -> list[Figure]:
    figures: list[Figure] = []
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        await pool.execute(TOTALS, *_where(), GROUP_COUNT, DAY_COUNT, PERIOD_COUNT, TODAY, SLOT_COUNT)
        await pool.execute("VACUUM ANALYZE counter_total")
        for target_count in target_counts:
            batches = _batches(target_count)
            for batch_count, aim in AIMS.items():
                await _leave(pool, batches, batch_count)
                took = [await _overview_seconds(pool) for _ in range(read_count)]
                began = time.perf_counter()
                added = await CounterAdder(pool).add()
                adding = time.perf_counter() - began
                title = f"overview, {batch_count:,} batches waiting, {target_count} target{'s' * (target_count > 1)}"
                extremes = f"{min(took) * 1000:.1f} to {max(took) * 1000:.1f} ms"
                note = f"{extremes}; adding their {added:,} rows took {adding * 1000:.0f} ms"
                figures.append(Figure(title, statistics.median(took) * 1000, "ms", aim, note=note))
    return figures


def _batches(target_count: int) -> Sequence[Counters]:
    """What batches of ten single activities move; each batch at as many programmes of the brand, by turns.

    Of targets from 1,000 to 5,000, which 25 purchases of some 54 reach and do not reach.
    """
    batches = []
    for first in range(1, GROUP_COUNT + 1, target_count):
        entries = _entries(100, 25, [PROGRAMMES[number] for number in range(first, first + target_count)])
        for place in range(0, len(entries), SINGLES_IN_A_BATCH):
            counters = Counters()
            for entry in entries[place : place + SINGLES_IN_A_BATCH]:
                counters.add(entry)
            # One of another batch is taken instead of one that moved nothing, so that none is short of rows.
            if sum(1 for _ in counters.rows()) >= target_count:
                batches.append(counters)
    return batches


async def _leave(pool: asyncpg.Pool, batches: Sequence[Counters], batch_count: int) -> None:
    """As many batches, in an order in which neighbours are of different programmes."""
    async with pool.acquire() as connection, connection.transaction():
        for number in range(batch_count):
            await saving.save(
                connection,
                [changes_part(batches[number * STRIDE % len(batches)], bucket=number % BUCKET_COUNT)],
                joined=False,
            )
        # As autovacuum does within a minute.
        await connection.execute("ANALYZE counter_change")


def _where() -> tuple[int, list[int]]:
    return ORGANISATION_ID, [bucket_of_group(ORGANISATION_ID, group) for group in range(1, GROUP_COUNT + 1)]


# Every day of the year moves each group in the month's period and in none.
TOTALS = """
INSERT INTO counter_total (bucket, organisation_id, target_group_id, day, period_number, counts)
SELECT ($2::smallint[])[g], $1::bigint, g, $6::date - d, p.number, array_fill(7, ARRAY[$7::integer])
  FROM generate_series(1, $3::integer) AS g
 CROSS JOIN generate_series(0, $4::integer - 1) AS d
 CROSS JOIN LATERAL (VALUES (0), (extract(month FROM $6::date - d)::integer)) AS p (number)
 UNION ALL
SELECT ($2::smallint[])[g], $1, g, NULL, p, array_fill(7, ARRAY[$7::integer])
  FROM generate_series(1, $3) AS g
 CROSS JOIN generate_series(0, $5::integer) AS p
"""


async def _overview_seconds(pool: asyncpg.Pool) -> float:
    began = time.perf_counter()
    await overview(pool, ORGANISATION_ID, PROGRAMMES, at=NOW)
    return time.perf_counter() - began


# ---------------------------------------------------------------- counting


def _programme(number: int) -> Programme:
    starts = [FIRST.replace(month=month) for month in range(1, 13)]
    ends = [*starts[1:], FIRST.replace(year=FIRST.year + 1)]
    periods = tuple(Period(n, f"{n}", *bounds, bounds[1]) for n, bounds in enumerate(zip(starts, ends, strict=True), 1))
    measure = measure_of(Entity.TRANSACTION, "SALES", "transaction", None)
    value = 1_000_000 * ((number - 1) % 5 + 1)
    reward = RewardDefinition(number, RewardKind.POINTS, 50_000, Allocation.IMMEDIATE)
    target = Target(number, f"{number}", None, measure, EnrolmentMethod.IMPORT, (value,) * len(periods), (reward,))
    return Programme(
        target_group_id=number,
        organisation_id=ORGANISATION_ID,
        name=f"{number}",
        kind=KINDS[TrackingType.DEFAULT],
        zone=ZoneInfo("UTC"),
        track_from_enrolment=False,
        window=FixedWindow(periods),
        targets=(target,),
        levels=(),
        created_version=1,
        deactivated_at=None,
        deactivated_version=None,
    )


PROGRAMMES = {number: _programme(number) for number in range(1, GROUP_COUNT + 1)}


def _counted() -> list[Figure]:
    """Ten purchases of each of 500 customers; targets from 1,000 to 5,000, so that tenths pass by."""
    entries = _entries(500, 10, [PROGRAMMES[number] for number in range(1, 6)])
    took = []
    for _ in range(5):
        began = time.process_time()
        for first in range(0, len(entries), 500):
            counters = Counters()
            for entry in entries[first : first + 500]:
                counters.add(entry)
            list(counters.rows())
        took.append((time.process_time() - began) / len(entries))
    moved = statistics.fmean(_moves(entry) for entry in entries)
    note = f"of its five targets {moved:.1f} stand in another tenth after it"
    return [Figure("counting an activity at five targets, in the core", min(took) * 1e6, "us", 1.0, note=note)]


def _entries(customer_count: int, bought_count: int, heard: Sequence[Programme]) -> Sequence[Entry]:
    accounts = [Account(0, NOW, handed_over=lambda _: False) for _ in range(customer_count)]
    for account in accounts:
        for programme in heard:
            account.command(Enrol(programme.targets[0].target_id), programme)
    entries = []
    for number in range(bought_count):
        for index, account in enumerate(accounts):
            amount = Decimal(10 + (index * 7 + number * 13) % 90)
            bought = Activity(f"{number}", "transaction", NOW - timedelta(hours=1), {"amount": amount})
            entries.append(account.accept(bought, heard))
    return entries


def _moves(entry: Entry) -> int:
    counters = Counters()
    counters.add(entry)
    return len(list(counters.rows()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer reads, at five targets only")
    options = parser.parse_args()
    with open_stage() as stage:
        for figure in run(stage, quick=options.quick):
            print(figure.line(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
