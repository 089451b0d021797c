"""Wrong secrets hear of a wait that grows, per name at an address and per address; right ones pass all the same."""

import asyncio
import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import pytest_asyncio

from kosminar.api.app import build_app
from kosminar.engine import sign_ins as module
from kosminar.engine.house import House
from kosminar.engine.sign_ins import (
    ADDRESS_FORGIVEN_SECONDS,
    ADDRESS_FREE_COUNT,
    FORGOTTEN_AFTER,
    NAME_FREE_COUNT,
    WAIT_SECONDS_MAX,
    SignIns,
)
from kosminar.engine.use_cases.clients import Credentials, create_client, create_organisation

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HERE, THERE = "203.0.113.9", "198.51.100.7"


def fail(sign_ins: SignIns, count: int, *, peer: str = HERE, name: str = "ana", now: datetime = NOW) -> None:
    for _ in range(count):
        sign_ins.failed(peer, name, now=now)


async def test_a_few_failures_are_free_and_the_next_ones_cost_twice_as_long_each() -> None:
    sign_ins = SignIns()
    now, waits = NOW, []

    for _ in range(NAME_FREE_COUNT + 11):
        wait = sign_ins.wait_seconds(HERE, "ana", now=now)
        now += timedelta(seconds=wait)
        assert sign_ins.wait_seconds(HERE, "ana", now=now) == 0
        sign_ins.failed(HERE, "ana", now=now)
        waits.append(wait)

    assert waits[: NAME_FREE_COUNT + 1] == [0] * (NAME_FREE_COUNT + 1)
    assert waits[NAME_FREE_COUNT + 1 :] == [1, 2, 4, 8, 16, 32, 64, 128, 256, WAIT_SECONDS_MAX]


async def test_a_success_forgets_the_failures_of_its_name_only() -> None:
    sign_ins = SignIns()
    fail(sign_ins, NAME_FREE_COUNT + 1)
    fail(sign_ins, NAME_FREE_COUNT + 1, name="ben")

    sign_ins.succeeded(HERE, "ana", "right", now=NOW)

    assert sign_ins.wait_seconds(HERE, "ana", now=NOW) == 0
    assert sign_ins.wait_seconds(HERE, "ben", now=NOW) == 1


async def test_failures_at_one_address_lock_nobody_out_at_another() -> None:
    sign_ins = SignIns()

    fail(sign_ins, 1000)

    assert sign_ins.wait_seconds(HERE, "ana", now=NOW) == WAIT_SECONDS_MAX
    assert sign_ins.wait_seconds(THERE, "ana", now=NOW) == 0


async def test_an_address_that_tries_many_names_has_to_wait_with_all_of_them() -> None:
    sign_ins = SignIns()
    for number in range(ADDRESS_FREE_COUNT):
        fail(sign_ins, 1, name=f"name{number}")
    assert sign_ins.wait_seconds(HERE, "fresh", now=NOW) == 0

    fail(sign_ins, 1, name="one more")

    assert sign_ins.wait_seconds(HERE, "fresh", now=NOW) == 1
    assert sign_ins.wait_seconds(THERE, "fresh", now=NOW) == 0
    assert sign_ins.wait_seconds(HERE, "fresh", now=NOW + timedelta(seconds=1)) == 0


async def test_who_signed_in_at_an_address_lately_does_not_suffer_from_its_neighbours() -> None:
    sign_ins = SignIns()
    sign_ins.succeeded(HERE, "till", "right", now=NOW)

    for number in range(1000):
        fail(sign_ins, 1, name=f"name{number}")

    assert sign_ins.wait_seconds(HERE, "till", now=NOW) == 0
    assert sign_ins.wait_seconds(HERE, "fresh", now=NOW) > 1


async def test_one_good_secret_pays_for_no_guesses_at_others() -> None:
    sign_ins = SignIns()

    for number in range(ADDRESS_FREE_COUNT + 1):
        fail(sign_ins, 1, name=f"name{number}")
        sign_ins.succeeded(HERE, "mallory", "right", now=NOW)

    assert sign_ins.wait_seconds(HERE, "fresh", now=NOW) == 1


async def test_an_address_is_forgiven_bit_by_bit() -> None:
    sign_ins = SignIns()
    now = NOW

    for number in range(10 * ADDRESS_FREE_COUNT):
        assert sign_ins.wait_seconds(HERE, "fresh", now=now) == 0
        fail(sign_ins, 1, name=f"name{number}", now=now)
        now += timedelta(seconds=ADDRESS_FORGIVEN_SECONDS)


async def test_failures_are_forgotten_after_a_while() -> None:
    sign_ins = SignIns()
    fail(sign_ins, 1000)

    almost = NOW + FORGOTTEN_AFTER - timedelta(seconds=1)
    fail(sign_ins, 1, now=almost)
    assert sign_ins.wait_seconds(HERE, "ana", now=almost) == WAIT_SECONDS_MAX

    fail(sign_ins, 1, now=almost + FORGOTTEN_AFTER)
    assert sign_ins.wait_seconds(HERE, "ana", now=almost + FORGOTTEN_AFTER) == 0


async def test_beyond_the_free_ones_attempts_come_one_at_a_time() -> None:
    sign_ins = SignIns()
    fail(sign_ins, NAME_FREE_COUNT + 4)
    now = NOW + timedelta(seconds=8)

    waits = [sign_ins.wait_seconds(HERE, "ana", now=now) for _ in range(3)]

    assert waits == [0, 8, 8]


async def test_an_ipv6_network_is_one_address_and_a_mapped_address_the_one_it_means() -> None:
    sign_ins = SignIns()

    fail(sign_ins, NAME_FREE_COUNT + 1, peer="2001:db8::1")
    fail(sign_ins, NAME_FREE_COUNT + 1, peer=f"::ffff:{HERE}")

    assert sign_ins.wait_seconds("2001:db8::abcd:1", "ana", now=NOW) == 1
    assert sign_ins.wait_seconds("2001:db8:0:1::1", "ana", now=NOW) == 0
    assert sign_ins.wait_seconds(HERE, "ana", now=NOW) == 1


async def test_what_is_remembered_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 100)
    sign_ins = SignIns()

    for number in range(1000):
        peer = f"10.0.{number // 250}.{number % 250}"
        fail(sign_ins, NAME_FREE_COUNT + 1, peer=peer, name="x" * number)
        sign_ins.succeeded(peer, f"name{number}", "right", now=NOW)

        sign_ins.begin(peer, "x" * number, "guess", now=NOW)

    kept = [sign_ins._names._failures, sign_ins._addresses._failures, sign_ins._welcome, sign_ins._right]
    kept.append(sign_ins._turns._lines)
    assert [len(each) for each in kept] == [100] * 5
    assert sign_ins.wait_seconds("10.0.3.249", "x" * 999, now=NOW) == 1
    assert sign_ins.wait_seconds("10.0.0.0", "", now=NOW) == 0


@pytest_asyncio.fixture
async def ana(house: House) -> Credentials:
    async with house.pool.acquire() as connection:
        acme = await create_organisation(connection, name="Acme", zone="UTC", now=house.wall())
        return await create_client(connection, organisation_id=acme, random_bytes=os.urandom, now=house.wall())


@pytest.fixture
def open_at(house: House) -> Callable[[str], httpx2.AsyncClient]:
    app = build_app(house)

    def at(address: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=app, client=(address, 4711))
        return httpx2.AsyncClient(transport=transport, base_url="http://kosminar.test")

    return at


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


async def test_guessing_a_password_ends_in_429_with_a_wait_that_grows(open_at, wall, ana) -> None:
    async with open_at(HERE) as http:

        async def attempt(password: str) -> httpx2.Response:
            return await http.get("/v1/clock", headers=basic(ana.username, password))

        guesses = [(await attempt(f"guess {number}")).status_code for number in range(NAME_FREE_COUNT + 1)]
        refused, other = await attempt("guess"), await attempt("another guess")
        wall.advance(seconds=1)
        again = await attempt("guess")
        later = await attempt("guess")

    assert guesses == [401] * (NAME_FREE_COUNT + 1)
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (429, 390009, "1")
    assert (other.status_code, refused.json()["detail"]) == (429, other.json()["detail"])
    assert (again.status_code, later.status_code, later.headers["Retry-After"]) == (401, 429, "2")


async def test_the_right_password_passes_at_once_however_many_were_wrong_there(open_at, wall, ana) -> None:
    async with open_at(HERE) as http:
        for _ in range(45):
            for _ in range(3):
                wrong = await http.get("/v1/clock", headers=basic(ana.username, "guess"))
            wall.advance(seconds=1)
        right = await http.get("/v1/clock", headers=basic(ana.username, ana.password))

    assert (wrong.status_code, right.status_code) == (429, 200)


async def test_wrong_passwords_at_one_address_are_none_at_another(open_at, ana) -> None:
    async with open_at(HERE) as here, open_at(THERE) as there:
        for _ in range(NAME_FREE_COUNT + 1):
            await here.get("/v1/clock", headers=basic(ana.username, "guess"))

        delayed = await here.get("/v1/clock", headers=basic(ana.username, "guess"))
        free = await there.get("/v1/clock", headers=basic(ana.username, "guess"))

    assert (delayed.status_code, free.status_code) == (429, 401)


async def test_a_name_that_nobody_has_is_treated_like_one_that_somebody_has(open_at, ana) -> None:
    async with open_at(HERE) as http:

        async def guesses(name: str) -> list[tuple[int, str | None]]:
            answers = [await http.get("/v1/clock", headers=basic(name, "guess")) for _ in range(NAME_FREE_COUNT + 3)]
            return [(answer.status_code, answer.headers.get("Retry-After")) for answer in answers]

        assert await guesses(ana.username) == await guesses("nobody") == await guesses("x" * 5000)


@pytest.mark.parametrize("way", ["json", "form", "header"])
async def test_guessing_a_secret_of_a_client_ends_in_429_too_and_the_right_one_passes(
    open_at, wall, ana, way: str
) -> None:
    async with open_at(HERE) as http:

        async def attempt(secret: str) -> httpx2.Response:
            grant = {"grant_type": "client_credentials"}
            if way == "json":
                return await http.post("/v3/oauth/token/generate", json={"key": ana.key, "secret": secret})
            if way == "form":
                return await http.post("/oauth/token", data=grant | {"client_id": ana.key, "client_secret": secret})
            return await http.post("/oauth/token", data=grant, headers=basic(ana.key, secret))

        guesses = [(await attempt("guess")).status_code for _ in range(NAME_FREE_COUNT + 1)]
        refused = await attempt("guess")
        wall.advance(seconds=1)
        again, later, granted = await attempt("guess"), await attempt("guess"), await attempt(ana.secret)

    assert guesses == [401] * (NAME_FREE_COUNT + 1)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 390009)
    assert refused.headers["Retry-After"] == "1"
    assert (again.status_code, later.status_code, later.headers["Retry-After"]) == (401, 429, "2")
    assert granted.status_code == 200


async def test_one_address_that_tries_many_names_has_to_wait_and_locks_no_name_out(open_at, ana) -> None:
    async with open_at(HERE) as http:
        statuses = [
            (await http.get("/v1/clock", headers=basic(f"name{number}", "guess"))).status_code
            for number in range(ADDRESS_FREE_COUNT + 2)
        ]
        right = await http.get("/v1/clock", headers=basic(ana.username, ana.password))
        granted = await http.post("/v3/oauth/token/generate", json={"key": ana.key, "secret": ana.secret})

    assert (right.status_code, granted.status_code) == (200, 200)
    assert statuses == [401] * (ADDRESS_FREE_COUNT + 1) + [429]


async def test_who_is_signed_in_goes_on_while_somebody_guesses_at_the_name(open_at, ana) -> None:
    async with open_at(HERE) as http:
        right = basic(ana.username, ana.password)
        assert (await http.get("/v1/clock", headers=right)).status_code == 200
        for _ in range(NAME_FREE_COUNT + 2):
            last = await http.get("/v1/clock", headers=basic(ana.username, "guess"))

        assert (last.status_code, (await http.get("/v1/clock", headers=right)).status_code) == (429, 200)


async def test_many_first_calls_at_once_with_the_right_password_are_no_guesses(open_at, ana) -> None:
    async with open_at(HERE) as http:
        right = basic(ana.username, ana.password)

        responses = await asyncio.gather(*(http.get("/v1/clock", headers=right) for _ in range(50)))

    assert {response.status_code for response in responses} == {200}


async def test_what_cannot_be_a_guess_is_not_counted(open_at, ana) -> None:
    async with open_at(HERE) as http:
        for authorization in ("Basic", "Basic !!!", "Basic YWJj", "Digest x", "Bearer a.b.c"):
            for _ in range(ADDRESS_FREE_COUNT // 3):
                assert (await http.get("/v1/clock", headers={"Authorization": authorization})).status_code == 401

        assert (await http.get("/v1/clock", headers=basic(ana.username, ana.password))).status_code == 200
