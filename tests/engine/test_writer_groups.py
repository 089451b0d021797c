"""No batch of the Writer holds customers of two groups of buckets (rule 9 of ADR-0041).

The groups are made up, as those of a distributed database would be. What was one batch is read off the database: its
rows were written by one transaction.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio
from tests.conftest import Wall
from tests.definitions import POINTS
from tests.engine.brand import BEFORE, Brand, found, milestone

from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer
from kosminar.engine.writer import BATCH_SIZE_MAX, Writer
from kosminar.store.distribution import ONE_GROUP, Groups

pytestmark = pytest.mark.asyncio

CUSTOMER_IDS = range(1, 81)
# Shards do not follow the buckets' order.
GROUPS = Groups.of_shards({bucket: 102008 + bucket * 7 % 5 for bucket in range(BUCKET_COUNT)})


@pytest_asyncio.fixture
async def brand(pool: asyncpg.Pool) -> Brand:
    return await found(pool, "acme", [milestone("Spring", POINTS)], customer_ids=CUSTOMER_IDS)


@asynccontextmanager
async def writing(database_url: str, wall: Wall, groups: Groups, *, lane_count: int) -> AsyncIterator[Writer]:
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=lane_count) as lane_pool,
        Writer(lane_pool, wall=wall, lane_count=lane_count, groups=groups) as writer,
    ):
        yield writer


async def batches(pool: asyncpg.Pool) -> list[list[int]]:
    """The buckets of each batch's activities, in the order in which the batches began to write."""
    found = defaultdict(list)
    for row in await pool.fetch("SELECT xmin::text::bigint AS batch, bucket FROM journal"):
        found[row["batch"]].append(row["bucket"])
    return [found[number] for number in sorted(found)]


def spanning(found: list[list[int]]) -> list[set[int]]:
    """The groups of those batches that hold customers of several."""
    held = [{GROUPS.group_of(bucket) for bucket in buckets} for buckets in found]
    return [groups for groups in held if len(groups) > 1]


async def buy_all_at_once(brand: Brand, writer: Writer, *, callers: int) -> None:
    """Each caller buys once for every customer."""
    await asyncio.gather(
        *(
            writer.submit([brand.buy(customer_id, f"{caller}", BEFORE, "1") for customer_id in CUSTOMER_IDS])
            for caller in range(callers)
        )
    )


@pytest.mark.parametrize("lane_count", [1, 2, 3, 8])
async def test_no_batch_spans_two_groups(
    database_url: str, pool: asyncpg.Pool, wall: Wall, brand: Brand, lane_count: int
) -> None:
    async with writing(database_url, wall, GROUPS, lane_count=lane_count) as writer:
        await buy_all_at_once(brand, writer, callers=5)

    found = await batches(pool)
    assert sum(map(len, found)) == 5 * len(CUSTOMER_IDS)
    assert spanning(found) == []
    # Those of a group are saved together, not bucket by bucket.
    assert len(found) == GROUPS.count


async def test_where_all_buckets_lie_together_a_batch_holds_whatever_waits_in_its_lane(
    database_url: str, pool: asyncpg.Pool, wall: Wall, brand: Brand
) -> None:
    async with writing(database_url, wall, ONE_GROUP, lane_count=2) as writer:
        await buy_all_at_once(brand, writer, callers=5)

    found = await batches(pool)
    assert [len(set(buckets)) > 1 for buckets in found] == [True, True]
    assert len(spanning(found)) == 2


async def test_the_halves_of_a_failed_batch_span_no_groups_either(
    database_url: str, pool: asyncpg.Pool, wall: Wall, brand: Brand
) -> None:
    # The database refuses one activity, so that its batch is tried again in halves.
    await pool.execute("ALTER TABLE journal ADD CONSTRAINT refused CHECK (activity_id <> 'poison')")
    async with writing(database_url, wall, GROUPS, lane_count=2) as writer:
        poisoned = writer.submit([brand.buy(CUSTOMER_IDS[0], "poison", BEFORE, "1")])
        _, outcomes = await asyncio.gather(buy_all_at_once(brand, writer, callers=2), poisoned)

    found = await batches(pool)
    assert [outcome.status.value for outcome in outcomes] == ["rejected"]
    assert sum(map(len, found)) == 2 * len(CUSTOMER_IDS)
    assert len(found) > GROUPS.count
    assert spanning(found) == []


async def test_a_group_that_never_pauses_keeps_no_other_group_of_its_lane_waiting(
    database_url: str, pool: asyncpg.Pool, wall: Wall, brand: Brand
) -> None:
    busy, other = (customers_of(brand, group) for group in (0, 1))
    async with pool.acquire() as connection, writing(database_url, wall, GROUPS, lane_count=1) as writer:
        # The first batch waits for this lock, and all the rest for the first batch.
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM customer WHERE customer_id = $1 FOR UPDATE", busy[0])
            calls = [
                asyncio.create_task(writer.submit([brand.buy(busy[0], "first", BEFORE, "1")])),
                asyncio.create_task(
                    writer.submit(brand.buy(busy[0], f"{number}", BEFORE, "1") for number in range(3 * BATCH_SIZE_MAX))
                ),
                asyncio.create_task(writer.submit([brand.buy(other[0], "last", BEFORE, "1")])),
            ]
            await asyncio.sleep(0)
        await asyncio.gather(*calls)

    turns = [GROUPS.group_of(buckets[0]) for buckets in await batches(pool)]
    assert turns.count(1) == 1
    assert turns.index(1) <= 2
    assert len(turns) >= 4


def customers_of(brand: Brand, group: int) -> list[int]:
    return [
        customer_id
        for customer_id in CUSTOMER_IDS
        if GROUPS.group_of(bucket_of_customer(brand.organisation_id, customer_id)) == group
    ]
