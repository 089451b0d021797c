"""Who sends a request: Basic credentials and access tokens, and everything that is neither.

Asked through GET /v1/clock, which any client of the default group may read. Globex has clients of its own throughout.
"""

import asyncio
import base64
import json
import os
from dataclasses import dataclass
from datetime import timedelta

import httpx2
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from kosminar.api.authentication import CHALLENGE, REMEMBERED_FOR
from kosminar.core.access import Level, Resource
from kosminar.core.secret import hash_of_password, md5_hex
from kosminar.engine.house import House
from kosminar.engine.use_cases.clients import Credentials, create_client, create_organisation
from kosminar.store import clients

pytestmark = pytest.mark.asyncio
TOKEN = "X-CAP-API-OAUTH-TOKEN"


@dataclass
class Cast:
    acme: int
    globex: int
    ana: Credentials
    stranger: Credentials


@pytest_asyncio.fixture
async def cast(house: House) -> Cast:
    async with house.pool.acquire() as connection:
        ids = [
            await create_organisation(connection, name=name, zone="Europe/Berlin", now=house.wall())
            for name in ("Acme", "Globex")
        ]
        made = [
            await create_client(connection, organisation_id=one, random_bytes=os.urandom, now=house.wall())
            for one in ids
        ]
    return Cast(*ids, *made)


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


async def status(http: httpx2.AsyncClient, headers) -> int:
    response = await http.get("/v1/clock", headers=headers)
    if response.status_code == 401:
        assert response.json()["code"] == 390010
        assert response.headers["WWW-Authenticate"] == CHALLENGE
    return response.status_code


async def generate(http: httpx2.AsyncClient, client: Credentials) -> str:
    response = await http.post("/v3/oauth/token/generate", json={"key": client.key, "secret": client.secret})
    assert response.status_code == 200
    return response.json()["data"]["accessToken"]


async def test_basic_takes_the_password_and_its_md5(http, cast) -> None:
    assert await status(http, basic(cast.ana.username, cast.ana.password)) == 200
    assert await status(http, basic(cast.ana.username, md5_hex(cast.ana.password))) == 200


async def test_the_published_md5_vector_signs_in(http, house, cast) -> None:
    async with house.pool.acquire() as connection:
        group_id = await clients.find_access_group(connection, cast.acme, name="default")
        kept = hash_of_password("123")
        await clients.insert_api_user(
            connection, cast.acme, access_group_id=group_id, username="till1", secret_hash=kept, now=house.wall()
        )

    assert await status(http, basic("till1", "202cb962ac59075b964b07152d234b70")) == 200
    assert await status(http, basic("till1", "123")) == 200
    assert await status(http, basic("till1", "124")) == 401


async def test_nobody_signs_in_with_nothing_or_with_anothers_password(http, cast) -> None:
    assert await status(http, {}) == 401
    assert await status(http, basic(cast.ana.username, cast.stranger.password)) == 401
    assert await status(http, basic("nobody", cast.ana.password)) == 401
    assert await status(http, basic(cast.ana.username.upper(), cast.ana.password)) == 401
    assert await status(http, basic(cast.ana.username, "")) == 401
    assert await status(http, basic("", cast.ana.password)) == 401
    assert await status(http, basic("a\0b", "x")) == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YWJj",  # abc, without a colon
        "Basic /////w==",  # no UTF-8
        "Basic YTpi YTpi",
        "Digest username=ana",
        "YTpi",
        "Bearer",
        "Bearer ",
        "Bearer a.b.c",
        "Bearer " + "a" * 5000,
        "Basic YTpi, Basic YTpi",
    ],
)
async def test_malformed_credentials_answer_401(http, cast, authorization: str) -> None:
    assert await status(http, {"Authorization": authorization}) == 401


async def test_two_kinds_of_credentials_at_once_answer_401(http, cast) -> None:
    token = await generate(http, cast.ana)
    password = basic(cast.ana.username, cast.ana.password)

    assert await status(http, {TOKEN: token}) == 200
    assert await status(http, password | {TOKEN: token}) == 401
    assert await status(http, {"Authorization": f"Bearer {token}", TOKEN: token}) == 401
    assert await status(http, password | {TOKEN: ""}) == 401
    assert await status(http, [("Authorization", password["Authorization"])] * 2) == 401


async def test_a_token_signs_in_by_either_header(http, cast) -> None:
    token = await generate(http, cast.ana)

    assert await status(http, {TOKEN: token}) == 200
    assert await status(http, {"Authorization": f"Bearer {token}"}) == 200
    assert await status(http, {"Authorization": f"bearer {token}"}) == 200
    assert await status(http, {TOKEN: f"Bearer {token}"}) == 401


async def test_a_token_says_what_the_published_one_says(http, house, cast) -> None:
    token = await generate(http, cast.ana)

    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    issued_at = int(house.wall().timestamp())
    assert (header["alg"], header["kid"]) == ("RS256", "1")
    assert len(claims.pop("jti")) > 16
    assert claims == {
        "iss": "Kosminar",
        "iat": issued_at,
        "exp": issued_at + 300,
        "sub": cast.ana.key,
        "client_id": cast.ana.key,
        "org_id": cast.acme,
        "token_use": "token_access",
    }


async def test_a_token_expires_by_real_time(http, wall, cast) -> None:
    token = await generate(http, cast.ana)

    wall.advance(seconds=299)
    assert await status(http, {TOKEN: token}) == 200
    wall.advance(seconds=1)
    assert await status(http, {TOKEN: token}) == 401


@pytest.mark.parametrize(
    "prefix", ["/v3", "/v3.1", "/api_gateway/intouch-api-v3/v3", "/api_gateway/intouch-api-v3/v3.1"]
)
async def test_tokens_are_generated_under_every_prefix_and_not_stored(http, cast, prefix: str) -> None:
    response = await http.post(f"{prefix}/oauth/token/generate", json={"key": cast.ana.key, "secret": cast.ana.secret})

    content = response.json()
    assert content == {
        "data": {"accessToken": content["data"]["accessToken"], "ttlSeconds": 300},
        "errors": None,
        "warnings": None,
    }
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"key": "nobody", "secret": "x"}, (401, 390010)),
        ({"key": "no\0body", "secret": "x"}, (400, 300004)),
        ({"key": "nobody"}, (400, 300004)),
        ({"key": 7, "secret": True}, (400, 300004)),
        ([], (400, 300004)),
    ],
)
async def test_a_token_needs_key_and_secret(http, cast, body, expected) -> None:
    response = await http.post("/v3/oauth/token/generate", json=body)

    assert (response.status_code, response.json()["errors"][0]["code"]) == expected


async def test_anothers_secret_gives_no_token(http, cast) -> None:
    body = {"key": cast.ana.key, "secret": cast.stranger.secret}

    response = await http.post("/v3/oauth/token/generate", json=body)

    assert (response.status_code, response.json()["data"]) == (401, None)
    assert response.headers["WWW-Authenticate"] == CHALLENGE


async def private_key(house) -> RSAKey:
    async with house.pool.acquire() as connection:
        keys = await clients.list_signing_keys(connection)
    return RSAKey.import_key(json.loads(keys[0].private_jwk))


async def test_what_a_token_says_cannot_be_changed(http, house, cast) -> None:
    token = await generate(http, cast.ana)
    header, claims, signature = token.split(".")
    other = json.loads(base64.urlsafe_b64decode(claims + "==")) | {
        "org_id": cast.globex,
        "client_id": cast.stranger.key,
    }
    forged = base64.urlsafe_b64encode(json.dumps(other).encode()).rstrip(b"=").decode()

    assert await status(http, {TOKEN: f"{header}.{forged}.{signature}"}) == 401
    assert await status(http, {TOKEN: f"{header}.{claims}."}) == 401
    assert await status(http, {TOKEN: f"{header}.{claims}"}) == 401
    assert await status(http, {TOKEN: f"{header}.{claims}.{signature[::-1]}"}) == 401


async def test_only_our_key_and_our_algorithm_sign(http, house, cast) -> None:
    token = await generate(http, cast.ana)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    ours = await private_key(house)
    public_pem = ours.as_pem(private=False)
    unsigned = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "none", "typ": "JWT", "kid": "1"}, claims)
    ).decode()
    mac_key = OctKey.import_key(base64.urlsafe_b64encode(public_pem).decode())
    forged = {
        "none": f"{unsigned}.",
        "hs256": jwt.encode({"alg": "HS256", "kid": "1"}, claims, mac_key, algorithms=["HS256"]),
        "rs512": jwt.encode({"alg": "RS512", "kid": "1"}, claims, ours, algorithms=["RS512"]),
        "another key": jwt.encode({"alg": "RS256", "kid": "1"}, claims, RSAKey.generate_key(2048)),
        "another kid": jwt.encode({"alg": "RS256", "kid": "2"}, claims, ours),
        "no kid": jwt.encode({"alg": "RS256"}, claims, ours),
        "nested header": base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.e30",
    }

    assert {name: await status(http, {TOKEN: one}) for name, one in forged.items()} == dict.fromkeys(forged, 401)
    assert await status(http, {TOKEN: jwt.encode({"alg": "RS256", "kid": "1"}, claims, ours)}) == 200


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "Somebody"},
        {"token_use": "token_refresh"},
        {"exp": None},
        {"exp": "soon"},
        {"iat": "now"},
        {"nbf": 2**40},
        {"client_id": None},
        {"client_id": 7},
        {"client_id": "nobody"},
        {"org_id": None},
        {"org_id": 4711},
    ],
)
async def test_every_claim_is_checked_though_the_signature_is_right(http, house, cast, change) -> None:
    token = await generate(http, cast.ana)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")) | change

    signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, await private_key(house))

    assert await status(http, {TOKEN: signed}) == 401


async def test_many_first_tokens_at_once_share_one_key(http, house, cast) -> None:
    made = await asyncio.gather(*(generate(http, cast.ana) for _ in range(4)))

    async with house.pool.acquire() as connection:
        assert len(await clients.list_signing_keys(connection)) == 1
    assert [await status(http, {TOKEN: token}) for token in made] == [200] * 4


async def test_a_revoked_client_is_out_within_seconds(http, house, wall, cast) -> None:
    password, token = basic(cast.ana.username, cast.ana.password), {TOKEN: await generate(http, cast.ana)}
    assert (await status(http, password), await status(http, token)) == (200, 200)

    async with house.pool.acquire() as connection:
        await clients.revoke_api_user(connection, cast.acme, username=cast.ana.username, now=wall())
        await clients.revoke_oauth_client(connection, cast.acme, client_key=cast.ana.key, now=wall())
    wall.advance(seconds=REMEMBERED_FOR / timedelta(seconds=1))

    assert (await status(http, password), await status(http, token)) == (401, 401)
    response = await http.post("/v3/oauth/token/generate", json={"key": cast.ana.key, "secret": cast.ana.secret})
    assert response.status_code == 401
    assert await status(http, basic(cast.stranger.username, cast.stranger.password)) == 200


async def test_access_groups_decide_what_a_client_may_do(http, house, cast) -> None:
    async with house.pool.acquire() as connection:
        grants = {Resource.CLOCK: Level.READ, Resource.REWARDS: Level.NONE}
        await clients.insert_access_group(
            connection, cast.acme, name="clock watchers", grants=grants, built_in=False, now=house.wall()
        )
        made = await create_client(
            connection,
            organisation_id=cast.acme,
            access_group_name="clock watchers",
            random_bytes=os.urandom,
            now=house.wall(),
        )
    headers = basic(made.username, made.password)

    read = await http.get("/v1/clock", headers=headers)
    written = await http.post("/v1/clock/advance", headers=headers, json={"to": "2031-01-01T00:00:00Z"})
    elsewhere = await http.get("/v1/customers/1/rewards", headers=headers)
    compatible = await http.post("/v3/targetGroups", headers=headers, content=b"no json at all")

    assert read.status_code == 200
    assert [(one.status_code, one.json()["code"]) for one in (written, elsewhere)] == [(403, 4000)] * 2
    assert (compatible.status_code, compatible.json()) == (
        403,
        {
            "data": None,
            "errors": [{"code": 4000, "message": "Not authorized. Access is denied!"}],
            "warnings": None,
        },
    )


GRANT = {"grant_type": "client_credentials"}


@pytest.mark.parametrize("path", ["/oauth/token", "/v3/oauth/token", "/v3.1/oauth/token"])
async def test_client_credentials_after_rfc_6749(http, cast, path: str) -> None:
    by_form = await http.post(path, data=GRANT | {"client_id": cast.ana.key, "client_secret": cast.ana.secret})
    by_header = await http.post(path, data=GRANT, headers=basic(cast.ana.key, cast.ana.secret))

    for response in (by_form, by_header):
        content = response.json()
        assert (content["token_type"], content["expires_in"]) == ("Bearer", 300)
        assert response.headers["Cache-Control"] == "no-store"
        assert await status(http, {"Authorization": f"Bearer {content['access_token']}"}) == 200


@pytest.mark.parametrize(
    ("form", "headers", "expected"),
    [
        ({}, {}, (400, "invalid_request")),
        ({"grant_type": "password"}, {}, (400, "unsupported_grant_type")),
        (GRANT, {}, (401, "invalid_client")),
        (GRANT | {"client_id": "x"}, {}, (401, "invalid_client")),
        (GRANT | {"client_id": "x", "client_secret": "y"}, {}, (401, "invalid_client")),
        (GRANT | {"client_id": "x\0", "client_secret": "y"}, {}, (401, "invalid_client")),
        (GRANT, basic("x", "y"), (401, "invalid_client")),
        (GRANT, {"Authorization": "Basic !"}, (401, "invalid_client")),
        (GRANT | {"client_id": "x", "client_secret": "y"}, basic("x", "y"), (400, "invalid_request")),
        ({"grant_type": ["client_credentials", "password"]}, {}, (400, "invalid_request")),
    ],
)
async def test_grants_are_refused_as_rfc_6749_says(http, cast, form, headers, expected) -> None:
    response = await http.post("/oauth/token", data=form, headers=headers)

    assert (response.status_code, response.json()["error"]) == expected
    assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)
