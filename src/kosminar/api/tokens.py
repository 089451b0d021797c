"""Access tokens: JWTs that we sign and verify ourselves, RS256 and nothing else (decision 30).

The key is made on first use and kept in the database, so that every process verifies what any of them signed. Who a
token speaks for is looked up again whenever it is verified: a token proves its holder's name, never its rights.
"""

import asyncio
import json
import secrets
from datetime import datetime, timedelta
from typing import Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, RSAKey

from kosminar.store import clients
from kosminar.store.clients import SigningKey
from kosminar.store.queries import Connection

ISSUER: Final = "Kosminar"
TOKEN_USE: Final = "token_access"  # noqa: S105  # A claim, no secret.
ALGORITHM: Final = "RS256"
KEY_BITS: Final = 2048
# The first key's name is fixed, so that the database lets only one of those win who make it at once.
FIRST_KEY_ID: Final = "1"
# Ours have some 700. What is longer is refused before anything is decoded.
LENGTH_MAX: Final = 4096


class TokenRefused(Exception):
    """The token is not one of ours, or no longer valid."""


async def sign(
    connection: Connection, *, client_key: str, name: str, organisation_id: int, seconds: int, now: datetime
) -> str:
    """A token for a client that has proved its secret."""
    key = await _newest_key(connection, now=now)
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
    return jwt.encode({"alg": ALGORITHM, "kid": key.key_id}, claims, _rsa(key), algorithms=[ALGORITHM])


async def verify(connection: Connection, token: str, *, now: datetime) -> tuple[str, int, datetime]:
    """The client key and the organisation that a token names, and when it expires; raises TokenRefused."""
    if len(token) > LENGTH_MAX:
        raise TokenRefused
    keys = {key.key_id: key for key in await clients.list_signing_keys(connection)}

    def key_of(token: GuestProtocol) -> RSAKey:
        key = keys.get(str(token.headers().get("kid")))
        if key is None:
            raise TokenRefused
        return _rsa(key)

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


async def _newest_key(connection: Connection, *, now: datetime) -> SigningKey:
    keys = await clients.list_signing_keys(connection)
    if not keys:
        # Takes a good part of a second, which other requests should not wait for.
        made = await asyncio.to_thread(RSAKey.generate_key, KEY_BITS)
        private_jwk = json.dumps(made.as_dict(private=True))
        await clients.insert_signing_key(connection, SigningKey(FIRST_KEY_ID, private_jwk), now=now)
        keys = await clients.list_signing_keys(connection)
    assert keys, "the first key may be replaced, never retired alone"
    return keys[0]


def _rsa(key: SigningKey) -> RSAKey:
    return RSAKey.import_key(json.loads(key.private_jwk))


def _registry(now: datetime) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        iss={"essential": True, "value": ISSUER},
        token_use={"essential": True, "value": TOKEN_USE},
        exp={"essential": True},
        client_id={"essential": True},
        org_id={"essential": True},
    )
