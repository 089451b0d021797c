"""Access tokens: JWTs that we sign and verify ourselves, RS256 and nothing else (decision 30).

The keys are kept in the database, so that every process verifies what any of them signed. The newest signs. After 30
days a new one is made; the one before still verifies until the longest-lived of its tokens has run out, and is then
retired. Which keys hold is read anew for every verification; only what parsing them gave is remembered, under the
key's own text. Who a token speaks for is looked up again whenever it is verified: a token proves its holder's name,
never its rights. Tested by tests/security/test_signing_keys.py.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final, Protocol, TypeVar

import asyncpg
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, RSAKey

from kosminar.core.access import Caller
from kosminar.settings import TOKEN_SECONDS_MAX
from kosminar.store import clients
from kosminar.store.clients import SigningKey, VerifyingKey
from kosminar.store.queries import Connection

ISSUER: Final = "Kosminar"
TOKEN_USE: Final = "token_access"  # noqa: S105  # A claim, no secret.
ALGORITHM: Final = "RS256"
KEY_BITS: Final = 2048
# How long a key signs: what is stolen with a back-up is worth nothing after it, and a key costs a fraction of a second.
SIGNS_FOR: Final = timedelta(days=30)
# How long a key verifies after the next one was made: the longest life of a token, and a minute for tokens that were
# being signed just then and for machines whose clocks differ.
VERIFIES_FOR: Final = timedelta(seconds=TOKEN_SECONDS_MAX + 60)
# There are two keys for an hour each month, so this many are never in use at once.
PARSED_COUNT_MAX: Final = 16
# Ours have some 700. What is longer is refused before anything is decoded.
LENGTH_MAX: Final = 4096


class TokenRefused(Exception):
    """The token is not one of ours, or no longer valid."""


class _Dated(Protocol):
    @property
    def created_at(self) -> datetime: ...


Key = TypeVar("Key", bound=_Dated)


async def grant(pool: asyncpg.Pool, client_key: str, client: Caller, *, seconds: int, now: datetime) -> str:
    """A token for a client that has proved its secret."""
    async with pool.acquire() as connection:
        return await sign(
            connection,
            client_key=client_key,
            name=client.name,
            organisation_id=client.organisation_id,
            seconds=seconds,
            now=now,
        )


async def caller_of(pool: asyncpg.Pool, token: str, *, now: datetime) -> tuple[Caller, datetime]:
    """The client that a token speaks for, as its rights are now, and when the token expires. Raises TokenRefused."""
    async with pool.acquire() as connection:
        client_key, organisation_id, valid_until = await verify(connection, token, now=now)
        client = await clients.find_oauth_client(connection, client_key)
    if client is None or client.organisation_id != organisation_id:
        raise TokenRefused
    return client, valid_until


async def sign(
    connection: Connection, *, client_key: str, name: str, organisation_id: int, seconds: int, now: datetime
) -> str:
    """A token for a client that has proved its secret."""
    assert 0 < seconds <= TOKEN_SECONDS_MAX, "a token must not outlive the key that signed it"
    key = await _signing_key(connection, now=now)
    claims = {
        "iss": ISSUER,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(seconds=seconds)).timestamp()),
        "jti": secrets.token_urlsafe(16),
        "sub": name,
        "client_id": client_key,
        "org_id": organisation_id,
        "token_use": TOKEN_USE,
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key.key_id}, claims, _parsed(key.private_jwk), algorithms=[ALGORITHM])


async def verify(connection: Connection, token: str, *, now: datetime) -> tuple[str, int, datetime]:
    """The client key and the organisation that a token names, and when it expires; raises TokenRefused."""
    if len(token) > LENGTH_MAX:
        raise TokenRefused
    keys = {key.key_id: key for key in await keys_in_force(connection, now=now)}

    def key_of(token: GuestProtocol) -> RSAKey:
        key = keys.get(str(token.headers().get("kid")))
        if key is None:
            raise TokenRefused
        return _parsed(key.public_jwk)

    try:
        claims = jwt.decode(token, key_of, algorithms=[ALGORITHM]).claims
        _registry(now).validate(claims)
    # A header may be nested deeper than the parser's stack; all else that is wrong with JSON is a ValueError.
    except (JoseError, ValueError, RecursionError):
        raise TokenRefused from None
    client_key, organisation_id = claims["client_id"], claims["org_id"]
    if not isinstance(client_key, str) or not isinstance(organisation_id, int):
        raise TokenRefused
    return client_key, organisation_id, datetime.fromtimestamp(claims["exp"], tz=now.tzinfo)


async def keys_in_force(connection: Connection, *, now: datetime) -> list[VerifyingKey]:
    """The keys whose tokens are taken at that instant, newest first."""
    return _in_force(await clients.list_verifying_keys(connection), now)


async def rotate(connection: Connection, *, revoke: bool, now: datetime) -> str:
    """Make a new key that signs from now on, and return its number.

    Tokens of the old keys are taken until they expire; with `revoke` no longer at all.
    """
    async with connection.transaction():
        await clients.lock_signing_keys(connection)
        older = await clients.list_signing_keys(connection)
        keys = await _make(connection, now=now)
        if revoke:
            await clients.retire_signing_keys(connection, [key.key_id for key in older], now=now)
        else:
            await _retire(connection, keys, now=now)
    return keys[0].key_id


async def _signing_key(connection: Connection, *, now: datetime) -> SigningKey:
    """The newest key, which is a new one where none is young enough."""
    keys = await clients.list_signing_keys(connection)
    if _due(keys, now):
        async with connection.transaction():
            if not keys:
                await clients.lock_signing_keys(connection)
            elif not await clients.try_lock_signing_keys(connection):
                return keys[0]  # Somebody is making the next one, and this one is good until then.
            # Whoever held the lock before may have made it.
            keys = await clients.list_signing_keys(connection)
            if _due(keys, now):
                keys = await _make(connection, now=now)
    await _retire(connection, keys, now=now)
    return keys[0]


def _due(keys: Sequence[SigningKey], now: datetime) -> bool:
    return not keys or now - keys[0].created_at >= SIGNS_FOR


def _in_force(keys: Sequence[Key], now: datetime) -> list[Key]:
    """Of keys with the newest first, those that verify: a key does until some time after the next was made."""
    return [*keys[:1], *(key for newer, key in pairwise(keys) if now < _ends(newer))]


def _ends(newer: _Dated) -> datetime:
    return newer.created_at + VERIFIES_FOR


async def _make(connection: Connection, *, now: datetime) -> list[SigningKey]:
    """All keys, with a new one first."""
    # Takes a good part of a second, which other requests should not wait for.
    made = await asyncio.to_thread(RSAKey.generate_key, KEY_BITS)
    await clients.insert_signing_key(connection, json.dumps(made.as_dict(private=True)), now=now)
    return await clients.list_signing_keys(connection)


async def _retire(connection: Connection, keys: Sequence[SigningKey], *, now: datetime) -> None:
    """Verification passes them over already; this makes their private halves forgotten."""
    ended = {key.key_id for key in keys} - {key.key_id for key in _in_force(keys, now)}
    if ended:
        await clients.retire_signing_keys(connection, sorted(ended), now=now)


@lru_cache(maxsize=PARSED_COUNT_MAX)
def _parsed(jwk: str) -> RSAKey:
    # A private key is proved consistent when it is read, which takes a thousand times as long as using it.
    return RSAKey.import_key(json.loads(jwk))


def _registry(now: datetime) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        iss={"essential": True, "value": ISSUER},
        token_use={"essential": True, "value": TOKEN_USE},
        exp={"essential": True},
        client_id={"essential": True},
        org_id={"essential": True},
    )
