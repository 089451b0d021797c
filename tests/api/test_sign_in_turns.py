"""Secrets of one address are looked at in turn: a flood of wrong ones neither locks a right one out nor goes faster."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.api.test_limits import until
from tests.api.wire import Heard, Wire, request, serving
from tests.conftest import Wall

from kosminar.api.admission import Admission
from kosminar.api.app import build_app
from kosminar.engine import sign_ins as module
from kosminar.engine.house import House
from kosminar.engine.sign_ins import (
    FORGOTTEN_AFTER,
    LOOKS_AT_ONCE,
    LOOKS_PER_SECOND,
    TURN_SECONDS_MAX,
    Attempt,
    SignIns,
)
from kosminar.engine.use_cases.clients import Credentials, create_client, create_organisation
from kosminar.settings import Settings

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HERE, THERE = "203.0.113.9", "198.51.100.7"
EMPTY = LOOKS_AT_ONCE
IN_LINE = int(TURN_SECONDS_MAX * LOOKS_PER_SECOND)


def turn(sign_ins: SignIns, number: int, *, peer: str = HERE, now: datetime = NOW) -> float | None:
    return sign_ins.begin(peer, "ana", f"guess {number}", now=now).turn_seconds


async def test_the_first_ones_do_not_wait_then_each_waits_for_those_before_and_too_many_are_not_looked_at() -> None:
    sign_ins = SignIns()

    at_once = {turn(sign_ins, number) for number in range(EMPTY)}
    in_line = [turn(sign_ins, number) for number in range(IN_LINE)]

    assert at_once == {0.0}
    assert in_line == pytest.approx([number / LOOKS_PER_SECOND for number in range(1, IN_LINE + 1)])
    assert turn(sign_ins, 0) is None
    assert turn(sign_ins, 0, now=NOW + timedelta(seconds=1 / LOOKS_PER_SECOND)) == pytest.approx(TURN_SECONDS_MAX)
    assert turn(sign_ins, 0, peer=THERE) == 0


async def test_every_connection_of_a_server_as_it_comes_has_its_turn_at_one_address() -> None:
    """A connection has one request under way, so a flood cannot be longer."""
    sign_ins = SignIns()
    for number in range(EMPTY):
        turn(sign_ins, number)

    waits = [turn(sign_ins, number) for number in range(Settings.read({}).connections_max)]

    assert None not in waits


async def test_an_hour_of_guesses_is_no_more_than_docs_security_says() -> None:
    """A minute of ten times as many as are looked at, over many names; the rest of an hour goes on like it."""
    sign_ins = SignIns()
    looked_at = 0

    for number in range(60 * 10 * LOOKS_PER_SECOND):
        now = NOW + timedelta(seconds=number / (10 * LOOKS_PER_SECOND))
        attempt = sign_ins.begin(HERE, f"name {number % 77}", f"guess {number}", now=now)
        if attempt.turn_seconds is not None and now + timedelta(seconds=attempt.turn_seconds) < NOW + timedelta(
            minutes=1
        ):
            looked_at += 1

    assert looked_at == pytest.approx(LOOKS_AT_ONCE + 60 * LOOKS_PER_SECOND, abs=2)


async def test_a_secret_that_was_right_there_lately_does_not_wait_for_its_turn() -> None:
    sign_ins = SignIns()
    sign_ins.succeeded(HERE, "ana", "right", now=NOW)
    for number in range(EMPTY + IN_LINE):
        turn(sign_ins, number)

    assert sign_ins.begin(HERE, "ana", "right", now=NOW).turn_seconds == 0
    for name, secret, peer in (("ana", "Right", HERE), ("ben", "right", HERE), ("anar", "ight", HERE)):
        assert sign_ins.begin(peer, name, secret, now=NOW).turn_seconds is None
    later = NOW + FORGOTTEN_AFTER
    for number in range(EMPTY + IN_LINE):
        turn(sign_ins, number, now=later)
    assert sign_ins.begin(HERE, "ana", "right", now=later).turn_seconds is None


async def test_right_secrets_are_no_guesses_and_make_nobody_wait() -> None:
    sign_ins = SignIns()

    for number in range(3 * EMPTY):
        assert turn(sign_ins, number) == 0
        sign_ins.succeeded(HERE, "ana", f"guess {number}", now=NOW)


async def test_a_turn_that_is_given_up_goes_to_the_next_that_comes_and_is_nothing_once_it_has_passed() -> None:
    sign_ins = SignIns()
    for number in range(EMPTY):
        turn(sign_ins, number)
    waiting = [sign_ins.begin(HERE, "ana", f"guess {number}", now=NOW) for number in range(IN_LINE)]
    for given_up in (waiting[7], waiting[3], waiting[500]):
        sign_ins.gave_up(HERE, given_up)

    assert turn(sign_ins, 0) == waiting[3].turn_seconds
    later = NOW + timedelta(seconds=1)
    assert turn(sign_ins, 0, now=later) == pytest.approx((waiting[500].turn_seconds or 0) - 1)
    assert turn(sign_ins, 0, now=later) == pytest.approx(TURN_SECONDS_MAX - 0.99)


async def test_attempts_that_are_given_up_before_their_turn_buy_no_more_looks_in_any_second() -> None:
    """A guesser fills the line; for a while it gives up what is about to be looked at, and joins again for a burst."""
    sign_ins = SignIns()
    for number in range(EMPTY):
        turn(sign_ins, number)
    waiting: list[tuple[datetime, Attempt]] = []

    def join(now: datetime) -> None:
        attempt = sign_ins.begin(HERE, "ana", "guess", now=now)
        if attempt.turn_seconds is not None:
            waiting.append((now + timedelta(seconds=attempt.turn_seconds), attempt))

    for _ in range(IN_LINE):
        join(NOW)
    for number in range(12 * 3 * LOOKS_PER_SECOND):
        now = NOW + timedelta(seconds=number / (3 * LOOKS_PER_SECOND))
        if now < NOW + timedelta(seconds=9.5):
            given_up = [one for one in waiting if now < one[0] < now + timedelta(seconds=0.02)]
            waiting = [one for one in waiting if one not in given_up]
            for _, each in given_up:
                sign_ins.gave_up(HERE, each)
        join(now)

    looked_at = sorted(at for at, _ in waiting)
    assert len(looked_at) > 10 * LOOKS_PER_SECOND
    hundreds = [last - first for first, last in zip(looked_at, looked_at[LOOKS_PER_SECOND:], strict=False)]
    assert min(hundreds) >= timedelta(seconds=0.99)


async def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    sign_ins = SignIns()
    for number in range(EMPTY + IN_LINE):
        turn(sign_ins, number)

    assert turn(sign_ins, 0, now=NOW - timedelta(hours=1)) == 0


# ---------------------------------------------------------------- a flood


USER_COUNT = 20
FLOODER_COUNT = 60


@asynccontextmanager
async def real_time(wall: Wall) -> AsyncIterator[None]:
    async def go_on() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            wall.advance(seconds=now - last)
            last = now

    going = asyncio.create_task(go_on())
    try:
        yield
    finally:
        going.cancel()


async def users(house: House) -> list[Credentials]:
    async with house.pool.acquire() as connection:
        acme = await create_organisation(connection, name="Acme", zone="UTC", now=house.wall())
        return [
            await create_client(connection, organisation_id=acme, random_bytes=os.urandom, now=house.wall())
            for _ in range(USER_COUNT)
        ]


def sign_in(username: str, password: str) -> bytes:
    credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
    return request("GET", "/v1/clock", f"Authorization: Basic {credentials}")


async def flood(wire: Wire, usernames: list[str], statuses: list[int]) -> None:
    """One connection that guesses as fast as it is answered."""
    line = await wire.open()
    try:
        while True:
            await line.say(sign_in(usernames[len(statuses) % len(usernames)], f"guess {len(statuses)}"))
            statuses.append((await line.hear()).status)
    finally:
        await line.hang_up()


async def test_under_a_flood_of_wrong_passwords_each_right_one_passes_and_others_have_their_places(
    house: House, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty first sign-ins, at the very names and the address that are flooded, with fewer places than flooders."""
    monkeypatch.setattr(module, "LOOKS_AT_ONCE", 0)
    place = Admission(FLOODER_COUNT // 4)
    made = await users(house)
    statuses: list[int] = []

    async with real_time(wall), serving(build_app(house, admission=place)) as wire:
        flooding = [
            asyncio.create_task(flood(wire, [each.username for each in made], statuses)) for _ in range(FLOODER_COUNT)
        ]
        async with asyncio.timeout(60):
            while statuses.count(429) < 2 * FLOODER_COUNT:
                await asyncio.sleep(0.01)
        began, before = time.monotonic(), len(statuses)
        signed_in: list[Heard] = await asyncio.gather(
            *(wire.ask(sign_in(each.username, each.password)) for each in made)
        )
        seconds, answered = time.monotonic() - began, len(statuses) - before
        other = await wire.ask(request("GET", "/v2/nothing"))
        for each in flooding:
            each.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)

    assert [heard.status for heard in signed_in] == [200] * USER_COUNT
    assert other.status == 404
    assert set(statuses) == {401, 429}
    assert answered <= seconds * LOOKS_PER_SECOND + FLOODER_COUNT


async def test_a_sign_in_that_waits_for_its_turn_gives_its_place_up_and_gets_one_again(
    house: House, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKS_AT_ONCE", 0)
    for number in range(LOOKS_PER_SECOND):
        house.sign_ins.begin("127.0.0.1", "ana", f"guess {number}", now=wall())
    place = Admission(1, wait_seconds=0.01, refusal_seconds=0)

    async with serving(build_app(house, admission=place)) as wire:
        line = await wire.open(sign_in("ana", "guess"))
        await until(lambda: house.meters.requests_under_way._value.get() == 1 and place.working == 0)
        other = await wire.ask(request("GET", "/v2/nothing"))
        heard = await line.hear()
        await line.hang_up()

    assert (other.status, heard.status) == (404, 401)
    assert (place.working, place.waiting) == (0, 0)


async def test_guessers_that_hang_up_leave_their_turns_to_others(
    house: House, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still, so the line gets no shorter by itself; all who wait in it at its end hang up."""
    monkeypatch.setattr(module, "LOOKS_AT_ONCE", 0)
    monkeypatch.setattr(module, "TURN_SECONDS_MAX", 3)
    place = Admission(2)
    ana = (await users(house))[0]
    under_way = house.meters.requests_under_way._value
    for number in range(3 * LOOKS_PER_SECOND - FLOODER_COUNT):
        house.sign_ins.begin("127.0.0.1", "ana", f"guess {number}", now=wall())

    async with serving(build_app(house, admission=place)) as wire:
        guessing = [await wire.open(sign_in(ana.username, f"wrong {number}")) for number in range(FLOODER_COUNT)]
        await until(lambda: under_way.get() == FLOODER_COUNT and place.working == place.waiting == 0)
        in_full_line = await wire.ask(sign_in(ana.username, ana.password))
        for line in guessing:
            await line.hang_up()
        await until(lambda: under_way.get() == 0)
        afterwards = await wire.ask(sign_in(ana.username, ana.password))

    assert (in_full_line.status, afterwards.status) == (429, 200)
    assert (place.working, place.waiting) == (0, 0)
