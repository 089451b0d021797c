"""Memory for bodies is bounded in sum and for each client; honest clients are served while hostile ones wait."""

import asyncio
import json

import pytest
import pytest_asyncio
from tests.api.brand import Brand, event, open_brand, sign_in
from tests.api.wire import Line, request, serving

from kosminar.api import body_memory
from kosminar.api.admission import Admission, Busy
from kosminar.api.app import build_app
from kosminar.api.body_memory import SHARE_COUNT, BodyMemory, Room
from kosminar.api.request import FREE_BODY_BYTES

pytestmark = pytest.mark.asyncio

ANA, BEN, CY = (1, "ana"), (1, "ben"), (2, "cy")
BODY = 100
TODAY = "2031-02-12T09:00:00Z"


def memory(bytes_max: int = SHARE_COUNT * BODY, wait_seconds: float = 30) -> BodyMemory:
    return BodyMemory(BODY, bytes_max=bytes_max, wait_seconds=wait_seconds)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_client_has_its_share_and_no_byte_more() -> None:
    room = memory()
    await room.take(ANA, BODY - 1)
    await room.take(ANA, 1)

    one_more = asyncio.create_task(room.take(ANA, 1))
    await settle()

    assert (one_more.done(), room.held, room.waiting) == (False, BODY, 1)
    room.give_back(ANA, 1)
    await one_more
    assert (room.held, room.waiting) == (BODY, 0)


async def test_all_together_have_no_more_than_there_is() -> None:
    room = BodyMemory(BODY, bytes_max=SHARE_COUNT * BODY)
    clients = [(1, str(number)) for number in range(SHARE_COUNT)]
    for client in clients:
        await room.take(client, BODY)

    waiting = asyncio.create_task(room.take(ANA, 1))
    await settle()

    assert (waiting.done(), room.held) == (False, SHARE_COUNT * BODY)
    room.give_back(clients[0], BODY)
    await waiting


async def test_a_client_that_waits_for_its_own_share_keeps_nobody_waiting() -> None:
    room = memory()
    await room.take(ANA, BODY)
    hers = [asyncio.create_task(room.take(ANA, BODY)) for _ in range(3)]
    await settle()

    async with asyncio.timeout(20):
        await room.take(BEN, BODY)
        await room.take(CY, BODY)

    assert [task.done() for task in hers] == [False] * 3
    for task in hers:
        task.cancel()
    await asyncio.gather(*hers, return_exceptions=True)
    assert (room.held, room.waiting) == (3 * BODY, 0)


async def test_a_long_body_that_waits_is_not_overtaken_by_short_ones_for_ever() -> None:
    room = memory()
    clients = [(1, str(number)) for number in range(SHARE_COUNT)]
    for client in clients:
        await room.take(client, BODY)
    long = asyncio.create_task(room.take(ANA, BODY))
    await settle()
    short = asyncio.create_task(room.take(BEN, 1))
    await settle()

    room.give_back(clients[0], BODY - 1)
    await settle()
    overtaken = short.done()
    room.give_back(clients[0], 1)
    await long
    room.give_back(clients[1], BODY)
    await short

    assert not overtaken


async def test_a_request_that_waits_too_long_is_turned_away_and_the_next_one_is_looked_at() -> None:
    room = memory(wait_seconds=0.05)
    await room.take(ANA, BODY)

    with pytest.raises(Busy):
        await room.take(ANA, 1)

    assert (room.held, room.waiting) == (BODY, 0)
    room.give_back(ANA, BODY)
    assert room.held == 0


async def test_so_many_requests_of_a_client_wait_and_one_more_is_turned_away_at_once(monkeypatch) -> None:
    monkeypatch.setattr(body_memory, "WAITING_MAX", 2)
    room = memory()
    await room.take(ANA, BODY)
    waiting = [asyncio.create_task(room.take(ANA, 1)) for _ in range(2)]
    await settle()

    with pytest.raises(Busy):
        await room.take(ANA, 1)

    room.give_back(ANA, BODY)
    await asyncio.gather(*waiting)


async def test_a_short_body_needs_no_room_and_a_longer_one_takes_it_once() -> None:
    held = BodyMemory(1024 * 1024)
    room = Room(held)

    await room.take(ANA, FREE_BODY_BYTES)
    short = held.held
    await room.take(ANA, FREE_BODY_BYTES + 1)
    await room.take(ANA, FREE_BODY_BYTES + 1)

    assert (short, held.held) == (0, FREE_BODY_BYTES + 1)
    room.give_back()
    room.give_back()
    assert held.held == 0


@pytest_asyncio.fixture
async def acme(house, http) -> Brand:
    brand = await open_brand(house, http, "Acme")
    await brand.register(501)
    return brand


def head(authorization: str, length: int, path: str = "/v1/activities") -> bytes:
    return request("POST", path, f"Authorization: {authorization}", f"Content-Length: {length}")


async def test_clients_that_hold_their_share_open_keep_neither_others_nor_short_bodies_out(house, acme) -> None:
    """The hostile client sends the heads and beginnings of many bodies; there are fewer places than those."""
    hostile = acme.headers["Authorization"]
    honest = (await sign_in(house, acme.organisation_id))["Authorization"]
    share = house.settings.body_bytes_max
    room, places = BodyMemory(share, bytes_max=SHARE_COUNT * share), Admission(2)
    long = json.dumps({"activities": [{**event("a", 501, TODAY), "attributes": {"x": "x" * 100_000}}]}).encode()
    short = json.dumps({"activities": [event("b", 501, TODAY)]}).encode()

    async with serving(build_app(house, admission=places, body_memory=room)) as wire:
        lines: list[Line] = [await wire.open(head(hostile, share), b"{" * 10) for _ in range(6)]
        async with asyncio.timeout(20):
            while room.waiting < 5:
                await asyncio.sleep(0.01)
        others = [await wire.ask(head(who, len(body)) + body) for who, body in ((honest, long), (hostile, short))]
        held = room.held
        for line in lines:
            await line.hang_up()
        async with asyncio.timeout(20):
            while room.held or room.waiting:
                await asyncio.sleep(0.01)
        again = await wire.ask(head(hostile, len(long)) + long)

    assert [heard.status for heard in others] == [200, 200]
    assert held == share
    assert (again.status, places.working, places.waiting) == (200, 0, 0)


async def test_a_request_for_which_there_is_no_room_is_a_503_in_shape(house, acme) -> None:
    share = house.settings.body_bytes_max
    room = BodyMemory(share, bytes_max=SHARE_COUNT * share, wait_seconds=0.05)
    authorization = acme.headers["Authorization"]

    async with serving(build_app(house, body_memory=room)) as wire:
        line = await wire.open(head(authorization, share))
        async with asyncio.timeout(20):
            while not room.held:
                await asyncio.sleep(0.01)
        native = await wire.ask(head(authorization, share))
        compatible = await wire.ask(head(authorization, share, "/v3/targetGroups"))
        await line.hang_up()

    assert (native.status, native.shape, native.code) == (503, "problem", 390015)
    assert (compatible.status, compatible.shape, compatible.code) == (503, "envelope", 390015)
    assert int(native.headers["retry-after"]) >= 1


async def test_a_body_that_does_not_say_its_length_takes_room_for_the_longest_once_it_is_no_short_one(
    house, acme
) -> None:
    share = house.settings.body_bytes_max
    room = BodyMemory(share)
    start = request(
        "POST", "/v1/activities", f"Authorization: {acme.headers['Authorization']}", "Transfer-Encoding: chunked"
    )

    async with serving(build_app(house, body_memory=room)) as wire:
        line = await wire.open(start, b"%x\r\n%s\r\n" % (FREE_BODY_BYTES, b" " * FREE_BODY_BYTES))
        await asyncio.sleep(0.1)
        short = room.held
        await line.say(b"1\r\n \r\n")
        async with asyncio.timeout(20):
            while not room.held:
                await asyncio.sleep(0.01)
        long = room.held
        await line.say(b"0\r\n\r\n")
        heard = await line.hear()
        await line.hang_up()

    assert (short, long, heard.status, room.held) == (0, share, 400, 0)
