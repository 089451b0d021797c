"""That a period is over is told once to whoever was in it, though the call that moved the clock there was cut off."""

import pytest
from tests.definitions import POINTS, month
from tests.engine.brand import FOUNDED_AT, Brand, found, milestone
from tests.unfolded import UNFOLDED

from kosminar.core.event import EventName
from kosminar.engine.house import House
from kosminar.store import clocks, programmes, webhook_endpoints

pytestmark = pytest.mark.asyncio


async def listening(house: House) -> Brand:
    """A brand in its first period, that wants to be told of periods that are over."""
    brand = await found(house.pool, "acme", [milestone("Spring", POINTS)], test_clock_at=month(1))
    async with house.pool.acquire() as connection, connection.transaction():
        await programmes.lock_definitions(connection, brand.organisation_id)
        change = await programmes.begin_change(connection, brand.organisation_id, wall=FOUNDED_AT)
        await webhook_endpoints.insert(
            connection,
            brand.organisation_id,
            url="https://example.com/hook",
            description=None,
            event_names=frozenset({EventName.TARGET_PERIOD_COMPLETED.value}),
            headers={},
            connection_count_max=1,
            secret=bytes(32),
            now=change.at,
        )
    return brand


async def test_a_call_that_was_cut_off_after_moving_the_clock_leaves_nobody_untold(house, pool) -> None:
    brand = await listening(house)
    await house.writer.submit(brand.enrol(customer_id, "Spring") for customer_id in (1, 2))
    # The clock is there; nothing that fell due by it was worked.
    async with pool.acquire() as connection:
        await clocks.move(connection, brand.organisation_id, month(3))

    await house.closer.settle(brand.organisation_id)
    await house.closer.settle(brand.organisation_id)

    rows = await pool.fetch(
        f"{UNFOLDED} SELECT n.customer_id, n.name, p.number"
        " FROM notification n JOIN period p USING (period_id) ORDER BY 1, 3"
    )
    assert [tuple(row) for row in rows] == [(c, "targetPeriodCompleted", p) for c in (1, 2) for p in (1, 2)]
