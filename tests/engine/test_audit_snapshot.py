"""The audit of a customer is of one moment: whatever is committed while it reads, and whichever server answers."""

from collections.abc import Iterator

import asyncpg
import pytest
from tests.conftest import TEMPLATE
from tests.definitions import POINTS, month
from tests.engine.brand import found, milestone

from kosminar.engine.auditor import audit
from kosminar.engine.writer import Writer
from kosminar.store import generations, recount

pytestmark = pytest.mark.asyncio


async def test_what_is_committed_in_the_middle_of_a_page_is_no_difference(house, pool, monkeypatch) -> None:
    brand = await found(pool, "acme", [milestone("Spring", POINTS)], customer_ids=(1,), test_clock_at=month(1))
    await house.writer.submit([brand.enrol(1, "Spring"), brand.buy(1, "before", month(1), "40")])
    read_rows = recount.list_standings
    meanwhile = []

    async def list_standings(*page):
        # What was accepted has been read; what came of it has not.
        if not meanwhile:
            meanwhile.append(await house.writer.submit_one(brand.buy(1, "meanwhile", month(1), "60")))
        return await read_rows(*page)

    monkeypatch.setattr(recount, "list_standings", list_standings)
    differences = [difference async for difference in audit(pool, progressed=lambda _: None)]

    assert len(meanwhile) == 1
    assert differences == []


@pytest.fixture
def copy_url(database_server) -> Iterator[str]:
    name = database_server.create_database(TEMPLATE)
    yield database_server.url(name)
    database_server.drop_database(name)


async def live(url: str, wall, *, target: str, later_generation: bool) -> None:
    async with (
        asyncpg.create_pool(url, min_size=0, max_size=4) as pool,
        Writer(pool, wall=wall, lane_count=1) as writer,
    ):
        brand = await found(pool, "acme", [milestone("Spring", POINTS, target=target)], test_clock_at=month(1))
        if later_generation:
            async with pool.acquire() as connection:
                await generations.begin(connection, now=wall())
        await writer.submit(brand.enrol(customer_id, "Spring") for customer_id in (1, 2, 3))
        await writer.submit(brand.buy(customer_id, "bought", month(1), "60") for customer_id in (1, 2, 3))


async def test_a_version_that_was_lost_and_given_again_is_not_judged_by_the_lost_definitions(
    database_url: str, copy_url: str, wall
) -> None:
    """Of the old primary and of the copy that takes over, the programme has the same version and not the same target."""
    await live(database_url, wall, target="100", later_generation=False)
    await live(copy_url, wall, target="60", later_generation=True)
    passed: list[int] = []

    async def connect(*_, **options) -> asyncpg.Connection:
        return await asyncpg.connect(copy_url if sum(passed) else database_url, **options)

    async with asyncpg.create_pool(connect=connect, min_size=0, max_size=1, max_queries=1) as pool:
        differences = [difference async for difference in audit(pool, progressed=passed.append)]

    assert [count for count in passed if count] == [1, 1, 1]
    assert differences == []
