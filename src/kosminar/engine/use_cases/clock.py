"""An organisation's clock: what time it is, and moving a test clock forward (decision 34)."""

from datetime import datetime
from typing import NamedTuple

import asyncpg

from kosminar.core.clock import clock_now
from kosminar.core.errors import Code
from kosminar.core.idempotency import IdempotencyKey
from kosminar.engine.closer import NoTestClock
from kosminar.engine.house import House
from kosminar.engine.use_cases.refusal import Refusal
from kosminar.store import clocks
from kosminar.store.queries import Connection


class Clock(NamedTuple):
    """What time it is for an organisation, and whether it has a test clock."""

    now: datetime
    test_clock: bool


async def read(house: House, organisation_id: int) -> Clock:
    """The clock as it stands."""
    async with house.pool.acquire() as connection:
        return await read_in(connection, organisation_id, wall=house.wall())


async def read_in(connection: Connection, organisation_id: int, *, wall: datetime) -> Clock:
    """On the caller's connection; `wall` is real time."""
    state = await clocks.fetch(connection, organisation_id)
    now = clock_now(test_clock=state.test_clock, clock_at=state.clock_at, wall=wall)
    return Clock(now, state.test_clock)


async def instant(pool: asyncpg.Pool, organisation_id: int, *, wall: datetime) -> datetime:
    """The organisation's own time, which dates what is recorded without a date."""
    async with pool.acquire() as connection:
        return (await read_in(connection, organisation_id, wall=wall)).now


async def advance(house: House, organisation_id: int, to: datetime, *, key: IdempotencyKey | None) -> datetime:
    """Returns when everything that is due up to that instant is done; may be repeated if it was cut off.

    Raises Refusal of NO_TEST_CLOCK.
    """
    try:
        return await house.closer.advance(organisation_id, to, key=key)
    except NoTestClock:
        raise Refusal.of(Code.NO_TEST_CLOCK) from None
