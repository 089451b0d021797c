"""When the instant of a restore comes: as planned, and not after its round."""

import asyncio

import pytest
from tests.simulation.asking import Asker
from tests.simulation.restores import Instant

from kosminar.wiring import utc_now

pytestmark = pytest.mark.asyncio
NEVER_SECONDS = 3600.0


async def test_a_round_that_ends_before_its_instant_ends_with_it() -> None:
    asker = Asker(1, [])
    last_answered = asker.moment()
    instant = Instant(asker, NEVER_SECONDS)

    moment, until = await asyncio.wait_for(instant.at_the_latest_now(), 10)

    assert last_answered < moment < asker.moment()
    assert until <= utc_now()


async def test_an_instant_that_came_within_its_round_stays_where_it_was() -> None:
    asker = Asker(1, [])
    began_at = utc_now()
    instant = Instant(asker, 0.0)
    async with asyncio.timeout(10):
        # It counts a moment of its own when it comes.
        sent = asker.moment()
        while (answered := asker.moment()) == sent + 1:
            sent = answered
            await asyncio.sleep(0)
    came_by = utc_now()

    moment, until = await instant.at_the_latest_now()

    assert sent < moment < answered
    assert began_at <= until <= came_by
