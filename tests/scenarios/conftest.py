"""The cast: acme, whose story is told, and globex, a stranger that holds the same ids in the same tables."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import httpx2
import pytest
import pytest_asyncio
from tests.conftest import Wall
from tests.scenarios.brand import Brand, points, programme

from kosminar.engine.house import House
from kosminar.engine.use_cases.clients import create_client, create_organisation

Found = Callable[..., Awaitable[Brand]]


@pytest.fixture
def found(house: House, http: httpx2.AsyncClient, wall: Wall) -> Found:
    """Makes an organisation with ana and ben in it; `at` is local, and None means a real clock."""

    async def found(name: str, *, zone: str = "Europe/Berlin", at: str | None = "2025-12-20") -> Brand:
        test_clock_at = None if at is None else datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(zone))
        async with house.pool.acquire() as connection:
            organisation_id = await create_organisation(
                connection, name=name, zone=zone, now=wall(), test_clock_at=test_clock_at
            )
            made = await create_client(connection, organisation_id=organisation_id, random_bytes=os.urandom, now=wall())
        brand = Brand(http, (made.username, made.password))
        await brand.register("ana", "ben")
        return brand

    return found


@pytest_asyncio.fixture
async def globex(found: Found) -> AsyncIterator[Brand]:
    """Its customers have acme's ids, its programme acme's name; whatever acme does, nothing of it moves."""
    globex = await found("Globex", at="2026-01-02")
    await globex.create(programme(rewards=[points(7), points(9, "PERIOD_END")], automatic=True))
    for who in ("ana", "ben"):
        await globex.buy(who, 500)
    before = [(await globex.rewards(who), await globex.values(who)) for who in ("ana", "ben")]
    yield globex
    assert [await globex.news(who) for who in ("ana", "ben")] == [[], []]
    assert [(await globex.rewards(who), await globex.values(who)) for who in ("ana", "ben")] == before
    await globex.at("2026-02-01")
    assert await globex.news("ana") == ["reward_earned Cycle_1 9", "period_ended Cycle_1"]


@pytest_asyncio.fixture
async def acme(found: Found, globex: Brand) -> Brand:
    """On a test clock, in Berlin, a few days before 2026."""
    return await found("Acme")
