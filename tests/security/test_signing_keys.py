"""The keys that sign access tokens: changed by real time, changed at once, and never two of one number.

Tokens are asked for and used over HTTP, as clients do. A client's verified token is remembered for a few seconds
(REMEMBERED_FOR); nothing else keeps a key in force that the database has retired.
"""

import asyncio
import json
import os
from datetime import timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from joserfc import jws
from joserfc.jwk import RSAKey
from tests.conftest import Wall

from kosminar.api.authentication import REMEMBERED_FOR
from kosminar.engine.house import House
from kosminar.engine.use_cases import tokens
from kosminar.engine.use_cases.clients import Credentials, create_client, create_organisation
from kosminar.engine.use_cases.tokens import SIGNS_FOR, VERIFIES_FOR
from kosminar.settings import TOKEN_SECONDS_MAX

pytestmark = pytest.mark.asyncio
TOKEN = "X-CAP-API-OAUTH-TOKEN"
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi"}


@pytest_asyncio.fixture
async def ana(house: House) -> Credentials:
    async with house.pool.acquire() as connection:
        acme = await create_organisation(connection, name="Acme", zone="UTC", now=house.wall())
        return await create_client(connection, organisation_id=acme, random_bytes=os.urandom, now=house.wall())


async def new_token(http: httpx2.AsyncClient, client: Credentials) -> str:
    response = await http.post("/v3/oauth/token/generate", json={"key": client.key, "secret": client.secret})
    assert response.status_code == 200, response.text
    return str(response.json()["data"]["accessToken"])


async def status(http: httpx2.AsyncClient, token: str) -> int:
    return (await http.get("/v1/clock", headers={TOKEN: token})).status_code


async def long_token(house: House, client: Credentials) -> str:
    """A token of the longest life that a setting allows."""
    async with house.pool.acquire() as connection:
        found = await connection.fetchrow("SELECT organisation_id, name FROM oauth_client")
        return await tokens.sign(
            connection,
            client_key=client.key,
            name=found["name"],
            organisation_id=found["organisation_id"],
            seconds=TOKEN_SECONDS_MAX,
            now=house.wall(),
        )


def signed_by(token: str) -> str:
    return str(jws.extract_compact(token.encode()).headers()["kid"])


async def rotate(house: House, *, revoke: bool = False) -> str:
    async with house.pool.acquire() as connection:
        return await tokens.rotate(connection, revoke=revoke, now=house.wall())


async def kept(house: House) -> dict[str, tuple[Any, set[str]]]:
    """Of every key: when it was retired, and the private members that are kept of it."""
    async with house.pool.acquire() as connection:
        rows = await connection.fetch("SELECT key_id, private_jwk::text AS jwk, retired_at FROM signing_key")
    return {row["key_id"]: (row["retired_at"], json.loads(row["jwk"]).keys() & PRIVATE_MEMBERS) for row in rows}


async def test_a_key_signs_for_thirty_days_and_then_a_new_one_does(
    http: httpx2.AsyncClient, wall: Wall, ana: Credentials
) -> None:
    assert signed_by(await new_token(http, ana)) == "1"

    wall.now += SIGNS_FOR - timedelta(microseconds=1)
    on_the_last_day = signed_by(await new_token(http, ana))
    wall.now += timedelta(microseconds=1)
    on_the_next = await new_token(http, ana)

    assert (on_the_last_day, signed_by(on_the_next)) == ("1", "2")
    assert await status(http, on_the_next) == 200


async def test_a_token_lives_its_whole_life_though_the_next_key_signs_already(
    http: httpx2.AsyncClient, house: House, wall: Wall, ana: Credentials
) -> None:
    token = await long_token(house, ana)

    await rotate(house)
    wall.advance(seconds=TOKEN_SECONDS_MAX - 1)
    before_its_end = await status(http, token)
    wall.advance(seconds=1)

    assert (before_its_end, await status(http, token)) == (200, 401)


async def test_a_superseded_key_verifies_for_the_longest_life_of_a_token_and_no_longer(
    house: House, wall: Wall, ana: Credentials
) -> None:
    await long_token(house, ana)
    await rotate(house)

    async def verifying() -> set[str]:
        async with house.pool.acquire() as connection:
            keys = await tokens.keys_in_force(connection, now=wall())
        return {key.key_id for key in keys}

    wall.now += VERIFIES_FOR - timedelta(microseconds=1)
    assert await verifying() == {"1", "2"}
    wall.now += timedelta(microseconds=1)
    assert await verifying() == {"2"}
    assert timedelta(seconds=TOKEN_SECONDS_MAX) < VERIFIES_FOR


async def test_of_a_key_whose_time_has_passed_the_private_half_is_forgotten(
    http: httpx2.AsyncClient, house: House, wall: Wall, ana: Credentials
) -> None:
    await new_token(http, ana)
    await rotate(house)
    await new_token(http, ana)
    assert await kept(house) == {"1": (None, PRIVATE_MEMBERS), "2": (None, PRIVATE_MEMBERS)}

    wall.now += VERIFIES_FOR
    await new_token(http, ana)

    assert await kept(house) == {"1": (wall(), set()), "2": (None, PRIVATE_MEMBERS)}


async def test_revoked_keys_verify_no_longer_than_a_verified_token_is_remembered(
    http: httpx2.AsyncClient, house: House, wall: Wall, ana: Credentials
) -> None:
    used, unused = await new_token(http, ana), await new_token(http, ana)
    assert await status(http, used) == 200

    await rotate(house, revoke=True)

    assert await status(http, unused) == 401
    wall.now += REMEMBERED_FOR
    assert await status(http, used) == 401
    assert timedelta(seconds=5) >= REMEMBERED_FOR


async def test_after_a_revocation_new_tokens_are_taken_and_nothing_private_of_the_old_key_is_kept(
    http: httpx2.AsyncClient, house: House, wall: Wall, ana: Credentials
) -> None:
    await new_token(http, ana)

    assert await rotate(house, revoke=True) == "2"

    assert await status(http, await new_token(http, ana)) == 200
    assert await kept(house) == {"1": (wall(), set()), "2": (None, PRIVATE_MEMBERS)}


async def test_the_first_key_may_be_made_by_a_rotation(
    http: httpx2.AsyncClient, house: House, ana: Credentials
) -> None:
    assert await rotate(house, revoke=True) == "1"

    assert signed_by(await new_token(http, ana)) == "1"


async def test_where_every_key_was_retired_a_new_number_is_taken(
    http: httpx2.AsyncClient, house: House, wall: Wall, ana: Credentials
) -> None:
    await new_token(http, ana)
    async with house.pool.acquire() as connection:
        await connection.execute("UPDATE signing_key SET retired_at = $1", wall())

    assert signed_by(await new_token(http, ana)) == "2"


async def test_of_many_who_find_a_key_due_at_once_one_makes_the_next(
    http: httpx2.AsyncClient, house: House, wall: Wall, ana: Credentials
) -> None:
    await new_token(http, ana)
    wall.now += SIGNS_FOR

    made = await asyncio.gather(*(new_token(http, ana) for _ in range(8)))

    assert (await kept(house)).keys() == {"1", "2"}
    assert {signed_by(token) for token in made} <= {"1", "2"}
    assert [await status(http, token) for token in made] == [200] * 8


async def test_rotations_at_once_each_make_a_key_of_their_own(house: House) -> None:
    made = await asyncio.gather(*(rotate(house) for _ in range(4)))

    assert sorted(made) == ["1", "2", "3", "4"]


async def test_whoever_waits_for_anothers_key_signs_with_the_one_before(
    house: House, wall: Wall, ana: Credentials, connection: asyncpg.Connection
) -> None:
    """Otherwise every request for a token would wait while one process makes a key."""
    await long_token(house, ana)
    wall.now += SIGNS_FOR

    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", tokens.clients.SIGNING_KEYS_LOCK_KEY)
        token = await asyncio.wait_for(long_token(house, ana), timeout=10)

    assert signed_by(token) == "1"


async def test_a_key_is_parsed_once_however_many_tokens_it_verifies(
    http: httpx2.AsyncClient, house: House, wall: Wall, ana: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[Any] = []
    import_key = RSAKey.import_key
    monkeypatch.setattr(RSAKey, "import_key", lambda jwk: parsed.append(jwk) or import_key(jwk))
    tokens._parsed.cache_clear()
    made = [await new_token(http, ana) for _ in range(5)]

    assert [await status(http, token) for token in made] == [200] * 5

    # Once to sign, with the private half, and once to verify, with the public one.
    assert [len(jwk.keys() & PRIVATE_MEMBERS) for jwk in parsed] == [6, 0]


async def test_verification_reads_no_private_key(http: httpx2.AsyncClient, house: House, ana: Credentials) -> None:
    await new_token(http, ana)

    async with house.pool.acquire() as connection:
        keys = await tokens.keys_in_force(connection, now=house.wall())

    assert [json.loads(key.public_jwk).keys() & PRIVATE_MEMBERS for key in keys] == [set()]
    assert [RSAKey.import_key(json.loads(key.public_jwk)).is_private for key in keys] == [False]
