"""Who sends a request: Basic credentials or an access token, exactly one of them (decision 30).

Every failure gets the same answer, so that usernames cannot be probed; too many wrong secrets of a name at an
address are answered 429, and a right one passes all the same (engine/sign_ins.py). What was verified is remembered for
a few seconds under its hash; therefore a revoked client keeps its access for as long, and no longer.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from kosminar.api.limits import TooManyRequests
from kosminar.api.operation import Refused
from kosminar.api.places import pause
from kosminar.api.request import ClientGone
from kosminar.core.access import Caller, Level, Resource
from kosminar.core.errors import Code, Complaint
from kosminar.engine.sign_ins import Attempt
from kosminar.engine.use_cases import clients, tokens
from kosminar.engine.use_cases.tokens import TokenRefused

if TYPE_CHECKING:
    from kosminar.engine.house import House

AUTHORIZATION: Final = "authorization"
TOKEN_HEADER: Final = "x-cap-api-oauth-token"  # noqa: S105  # A name, no secret.
CHALLENGE: Final = 'Basic realm="Kosminar", charset="UTF-8", Bearer realm="Kosminar"'

REMEMBERED_FOR: Final = timedelta(seconds=5)
# More callers than this at once are looked up more often; each entry is a few hundred bytes.
REMEMBERED_MAX: Final = 2048


class NotAuthenticated(Refused):
    """No credentials, too many, or wrong ones."""

    def __init__(self) -> None:
        super().__init__(Complaint.of(Code.NOT_AUTHENTICATED), status=401, headers={"WWW-Authenticate": CHALLENGE})


class Authenticator:
    """Turns a request's headers into its caller."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._remembered: dict[bytes, tuple[Caller, datetime]] = {}

    async def authenticate(self, headers: Mapping[str, str], *, peer: str) -> Caller:
        """The caller, by headers with names in lower case; raises NotAuthenticated, or TooManyRequests to who guesses."""
        now = self._house.wall()
        scheme, credentials = _credentials(headers)
        fingerprint = hashlib.sha256(f"{scheme} {credentials}".encode()).digest()
        known = self._remembered.get(fingerprint)
        if known is not None and now < known[1]:
            return known[0]
        if scheme == "basic":
            caller, valid_until = await self._by_password(credentials, now, peer)
        else:
            caller, valid_until = await self._by_token(credentials, now)
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[fingerprint] = caller, min(valid_until, now + REMEMBERED_FOR)
        return caller

    async def _by_password(self, credentials: str, now: datetime, peer: str) -> tuple[Caller, datetime]:
        username, password = _username_and_password(credentials)
        attempt = await begin_sign_in(self._house, peer, username, password)
        user = await clients.find_by_password(self._house.pool, username, password)
        if user is None:
            note_failure(self._house, attempt, peer, username)
            raise NotAuthenticated
        self._house.sign_ins.succeeded(peer, username, password, now=now)
        return user, now + REMEMBERED_FOR

    async def _by_token(self, token: str, now: datetime) -> tuple[Caller, datetime]:
        try:
            return await tokens.caller_of(self._house.pool, token, now=now)
        except TokenRefused:
            raise NotAuthenticated from None


async def begin_sign_in(house: "House", peer: str, name: str, secret: str) -> Attempt:
    """Returns when it is the secret's turn to be looked at.

    Raises TooManyRequests where too many wait at the address. Of a client that hangs up the secret is not looked at, and
    its turn goes to the next that comes: raises ClientGone.
    """
    attempt = house.sign_ins.begin(peer, name, secret, now=house.wall())
    if attempt.turn_seconds is None:
        raise TooManyRequests(attempt.wait_seconds)
    if attempt.turn_seconds > 0:
        try:
            await pause(attempt.turn_seconds)
        except ClientGone:
            house.sign_ins.gave_up(peer, attempt)
            raise
    return attempt


def note_failure(house: "House", attempt: Attempt, peer: str, name: str) -> None:
    """Counts a wrong secret. Raises TooManyRequests if it came too early to be called wrong."""
    if attempt.wait_seconds > 0:
        raise TooManyRequests(attempt.wait_seconds)
    house.sign_ins.failed(peer, name, now=house.wall())


def permit(caller: Caller, level: Level, resource: Resource) -> None:
    """Raises Refused unless the caller's access group gives the level on the resource."""
    if not caller.may(level, resource):
        raise Refused(Complaint.of(Code.ACCESS_DENIED), status=403)


def basic_credentials(authorization: str) -> tuple[str, str] | None:
    """Username and password of a Basic `Authorization` header; None if it is none, or malformed."""
    try:
        scheme, credentials = _credentials({AUTHORIZATION: authorization})
        return _username_and_password(credentials) if scheme == "basic" else None
    except NotAuthenticated:
        return None


def _credentials(headers: Mapping[str, str]) -> tuple[str, str]:
    authorization, token = headers.get(AUTHORIZATION), headers.get(TOKEN_HEADER)
    if authorization is None and token:
        return "bearer", token.strip()
    if authorization is None or token is not None:
        raise NotAuthenticated
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() not in ("basic", "bearer"):
        raise NotAuthenticated
    return scheme.lower(), credentials.strip()


def _username_and_password(credentials: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise NotAuthenticated from None
    # PostgreSQL's text cannot hold NUL, so no username has one.
    if not colon or "\0" in username:
        raise NotAuthenticated
    return username, password
