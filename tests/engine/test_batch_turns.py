"""A batch of 500 at ten targets gives the event loop back at least every 50 ms of its thread's CPU time.

Deciding, making rows, encoding them for the database and reading what it answers are all measured: each turn of the
loop while the real Writer works on a real database, with everything told that can be told.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.definitions import POINTS, month
from tests.engine.brand import FOUNDED_AT, Brand, found, milestone, streak
from tests.security.turns import TURN_SECONDS_MAX, watched_turns

from kosminar.core.bucket import bucket_of_customer
from kosminar.core.definition import Definition
from kosminar.core.programme import EnrolmentMethod
from kosminar.engine.auditor import audit
from kosminar.engine.change import Request, Status
from kosminar.engine.house import House
from kosminar.engine.writer import BATCH_SIZE_MAX
from kosminar.store import programmes, webhook_endpoints

pytestmark = pytest.mark.asyncio

IN_JANUARY = month(1)
TARGET_COUNT = 10
LANE_COUNT = 2


def by_purchase(definition: Definition) -> Definition:
    """Whoever buys is in it."""
    return replace(definition, target=replace(definition.target, enrolment_method=EnrolmentMethod.TRANSACTION))


DEFINITIONS = [
    *(by_purchase(milestone(f"Spend {n}", POINTS)) for n in range(5)),
    *(by_purchase(streak(f"Laps {n}", 1, 2)) for n in range(5)),
]


def in_one_lane(organisation_id: int) -> list[int]:
    """Customers who share a lane, and so a batch."""
    candidates = range(1, 10 * BATCH_SIZE_MAX)
    return [one for one in candidates if bucket_of_customer(organisation_id, one) % LANE_COUNT == 0][:BATCH_SIZE_MAX]


@pytest_asyncio.fixture
async def brand(house: House) -> Brand:
    """Ten targets that hear every purchase, and an endpoint that wants to be told of everything."""
    brand = await found(house.pool, "acme", DEFINITIONS, customer_ids=range(1, 1_001), test_clock_at=IN_JANUARY)
    async with house.pool.acquire() as connection, connection.transaction():
        await programmes.lock_definitions(connection, brand.organisation_id)
        change = await programmes.begin_change(connection, brand.organisation_id, wall=FOUNDED_AT)
        await webhook_endpoints.insert(
            connection,
            brand.organisation_id,
            url="https://example.com/hook",
            description=None,
            event_names=None,
            headers={},
            connection_count_max=1,
            secret=bytes(32),
            now=change.at,
        )
    return brand


def one_each(brand: Brand, customer_ids: list[int]) -> list[Request]:
    return [brand.buy(customer_id, "a", IN_JANUARY) for customer_id in customer_ids]


def all_of_one(brand: Brand, customer_ids: list[int]) -> list[Request]:
    return [brand.buy(customer_ids[0], f"b{n}", IN_JANUARY, "1") for n in range(BATCH_SIZE_MAX)]


@pytest.mark.parametrize("requests_of", [one_each, all_of_one])
async def test_a_batch_of_500_at_ten_targets_gives_the_loop_back(
    house: House, brand: Brand, requests_of: Callable[[Brand, list[int]], list[Request]]
) -> None:
    customer_ids = in_one_lane(brand.organisation_id)
    # What is read once for each version of the definitions, and for each connection, is read now.
    await house.writer.submit([brand.buy(customer_id, "first", IN_JANUARY) for customer_id in customer_ids[:2]])

    with watched_turns() as turns:
        await turns.begin()
        outcomes = await house.writer.submit(requests_of(brand, customer_ids))

    print(f"{turns.longest_seconds * 1000:7.1f} ms  batch: {requests_of.__name__}")
    assert turns.longest_seconds < TURN_SECONDS_MAX, turns.longest
    assert {outcome.status for outcome in outcomes} == {Status.ACCEPTED}
    assert [difference async for difference in audit(house.pool, progressed=lambda _: None)] == []
