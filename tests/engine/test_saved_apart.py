"""A batch saved part by part, as where Citus is, is the same as one saved by one statement."""

from collections import Counter

import asyncpg
import pytest
from tests.definitions import POINTS, month
from tests.engine.brand import found, milestone
from tests.engine.test_auditor import live

from kosminar.core.errors import Code
from kosminar.engine.auditor import audit
from kosminar.store.distribution import NOT_DISTRIBUTED, ONE_GROUP

pytestmark = pytest.mark.asyncio

EITHER_WAY = pytest.mark.parametrize("groups", [ONE_GROUP, NOT_DISTRIBUTED], ids=["joined", "apart"])
TABLES = (
    "customer",
    "journal",
    "standing",
    "ended_period",
    "reward",
    "notification",
    "delivery",
    "webhook_queue",
)


async def row_counts(pool: asyncpg.Pool, organisation_id: int) -> Counter[str]:
    return Counter(
        {
            table: await pool.fetchval(f"SELECT count(*) FROM {table} WHERE organisation_id = $1", organisation_id)
            for table in TABLES
        }
    )


async def test_a_life_that_is_saved_part_by_part_is_audited_clean_and_has_as_many_rows(house, pool) -> None:
    house.writer.groups = NOT_DISTRIBUTED
    apart = await live(house, "acme")
    house.writer.groups = ONE_GROUP
    joined = await live(house, "globex")

    counts = [await row_counts(pool, brand.organisation_id) for brand in (apart, joined)]

    assert counts[0] == counts[1]
    assert min(counts[0].values()) > 0
    assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []


@EITHER_WAY
async def test_a_reward_that_is_there_fails_the_batch_that_would_give_it_again(house, pool, groups) -> None:
    house.writer.groups = groups
    brand = await found(house.pool, "acme", [milestone("Spring", POINTS)], test_clock_at=month(1))
    await house.writer.submit([brand.enrol(1, "Spring"), brand.buy(1, "first", month(1))])
    await pool.execute(
        "UPDATE standing SET rewarded = false, achieved_at = NULL, achieved_recorded_at = NULL, value_thousandths = 0"
    )

    (outcome,) = await house.writer.submit([brand.buy(1, "again", month(1))])

    assert outcome.code is Code.INTERNAL_ERROR
    assert await pool.fetchval("SELECT count(*) FROM journal") == 2
