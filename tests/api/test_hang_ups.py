"""A client that hangs up waits no longer, and what it waited for goes to the next: over real sockets.

The waits last 600 seconds here, and the test 20: only a wait that ends with its client passes.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand
from tests.api.test_limits import until
from tests.api.wire import Line, Wire, request, serving

from kosminar.api.admission import Admission
from kosminar.api.app import build_app
from kosminar.api.body_memory import SHARE_COUNT, BodyMemory
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio

LONG_SECONDS = 600
CLOCK = request("GET", "/v1/clock")
# An operation that needs neither a caller nor the database.
DOCUMENT = request("GET", "/openapi.json")


async def hang_up(line: Line) -> None:
    await line.hang_up()


async def end_what_is_sent(line: Line) -> None:
    line.writer.write_eof()


async def reset(line: Line) -> None:
    line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.writer.transport.abort()
    await asyncio.sleep(0)


async def close(lines: list[Line]) -> None:
    for line in lines:
        await line.hang_up()


WAYS = [hang_up, end_what_is_sent, reset]


def begun(path: str, *headers: str, length: int = 100) -> bytes:
    """A request whose body has begun, so that its connection is not read while it waits."""
    return request("POST", path, f"Content-Length: {length}", *headers) + b"{" * 10


@pytest_asyncio.fixture
async def acme(house, http) -> Brand:
    return await open_brand(house, http, "Acme", clock=datetime(2031, 2, 12, tzinfo=UTC))


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("said", [CLOCK, begun("/v1/activities")], ids=["read", "not read"])
async def test_a_client_that_hangs_up_leaves_the_queue(
    house: House, said: bytes, leave: Callable[[Line], Awaitable[None]]
) -> None:
    places = Admission(1, wait_seconds=LONG_SECONDS)
    await places.enter(lambda: b"")

    async with serving(build_app(house, admission=places)) as wire:
        lines = [await wire.open(said) for _ in range(3)]
        await until(lambda: places.waiting == 3)
        for line in lines[:2]:
            await leave(line)
        await until(lambda: places.waiting == 1)
        await leave(lines[2])
        await until(lambda: places.waiting == 0)
        places.leave()
        heard = await wire.ask(DOCUMENT)
        await close(lines)

    assert (heard.status, places.working) == (200, 0)


@pytest.mark.parametrize("leave", WAYS)
async def test_a_client_that_hangs_up_waits_for_no_body_memory_and_holds_none(
    house: House, acme: Brand, leave: Callable[[Line], Awaitable[None]]
) -> None:
    share = house.settings.body_bytes_max
    room = BodyMemory(share, bytes_max=SHARE_COUNT * share, wait_seconds=LONG_SECONDS)
    said = begun("/v1/activities", f"Authorization: {acme.headers['Authorization']}", length=share)

    async with serving(build_app(house, body_memory=room)) as wire:
        holder = await wire.open(said)
        await until(lambda: room.held == share)
        lines = [await wire.open(said) for _ in range(3)]
        await until(lambda: room.waiting == 3)
        for line in lines:
            await leave(line)
        await until(lambda: room.waiting == 0)
        held = room.held
        await leave(holder)
        await until(lambda: room.held == 0)
        await close([holder, *lines])

    assert held == share


async def test_a_client_that_hangs_up_waits_for_no_other_request_of_its_key(house: House, acme: Brand) -> None:
    """The first request of the key is held by a lock in the database."""
    places = Admission(3, wait_seconds=LONG_SECONDS)
    under_way = house.meters.requests_under_way._value
    body = b'{"to": "2031-02-12T09:00:00Z"}'
    said = request(
        "POST", "/v1/clock/advance", f"Authorization: {acme.headers['Authorization']}", "Idempotency-Key: k", body=body
    )

    async with serving(build_app(house, admission=places)) as wire, house.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE idempotency_key IN ACCESS EXCLUSIVE MODE")
            first = await wire.open(said)
            await until(lambda: under_way.get() == 1)
            others = [await wire.open(said) for _ in range(3)]
            await until(lambda: under_way.get() == 4 and places.working == 1)
            for line in others:
                await line.hang_up()
            await until(lambda: under_way.get() == 1)
        heard = await first.hear()
        await first.hang_up()

    assert (heard.status, places.working, places.waiting) == (200, 0, 0)


async def test_a_place_that_is_handed_over_to_a_client_that_hangs_up_is_not_lost(house: House) -> None:
    """Twenty times, the place becomes free at the very moment at which those that wait for it leave."""
    places = Admission(1, wait_seconds=LONG_SECONDS)

    async with serving(build_app(house, admission=places)) as wire:
        for turn_count in range(20):
            await _hand_over_while_clients_leave(places, wire, turn_count)
        heard = await wire.ask(DOCUMENT)

    assert (heard.status, places.working, places.waiting) == (200, 0, 0)


async def _hand_over_while_clients_leave(places: Admission, wire: Wire, turn_count: int) -> None:
    await places.enter(lambda: b"")
    lines = [await wire.open(each) for each in (DOCUMENT, begun("/v3/oauth/token/generate"), DOCUMENT)]
    await until(lambda: places.waiting == 3)
    for line in lines:
        line.writer.close()
    # So that each of the steps of a server's loop, from the end that comes to the wait that is cancelled, has its turn.
    for _ in range(turn_count % 10):
        await asyncio.sleep(0)
    places.leave()
    await until(lambda: places.working == places.waiting == 0)
    await close(lines)
