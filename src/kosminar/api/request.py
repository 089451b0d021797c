"""What a request says, read from ASGI: headers, query, body; and how its surface words a refusal.

Reads strictly, so that no operation meets text that PostgreSQL cannot store or a body longer than the limit. Knows
no operation.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from litestar.types import Receive, Scope

from kosminar.api.answer import Answer, problem, refusal
from kosminar.api.operation import Refused
from kosminar.core.errors import Code, Complaint, invalid

REQUEST_ID: Final = b"x-request-id"
READ_HEADERS: Final = frozenset(
    {
        *("authorization", "x-cap-api-oauth-token", "idempotency-key"),
        *("content-encoding", "content-length", "content-type"),
        *("data-scope", "data-scope-org", "data-scope-orgs", "connected-orgs"),
    }
)
PROBES: Final = ("/healthz", "/readyz", "/metrics")
QUERY_FIELDS_MAX: Final = 100
# A Content-Length with more digits is too large whatever they are; int() would be slow and then fail.
LENGTH_DIGITS_MAX: Final = 18
# Of a body that needs no room in memory that is shared. With as many connections as are open by default, 14 MiB.
FREE_BODY_BYTES: Final = 16 * 1024

# Returns when there is room for a body that is so long or may become so long.
TakeRoom: TypeAlias = Callable[[int], Awaitable[None]]

# In a request's state, from a server that tells: the last of the body has come.
BODY_HAS_COME: Final = "body_has_come"
# In the same place: an event that is set when the client has hung up.
CLIENT_GONE: Final = "client_gone"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")


class ClientGone(Exception):
    """Nobody reads the answer any more."""


def headers_of(scope: Scope) -> dict[str, str]:
    """Those that something reads: what is not read is not kept a second time, for as long as a body takes to come.

    Names in lower case; of a repeated one the values are joined by a comma, as HTTP defines it.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name not in READ_HEADERS:
            continue
        value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def peer_of(scope: Scope) -> str:
    """The network address that the request came from, as the server found it; empty where there is none."""
    client = scope.get("client")
    return client[0] if client else ""


def request_id_of(scope: Scope) -> str:
    """The caller's `X-Request-ID` if it is fit for a log line, else a new one."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == REQUEST_ID), "")
    return given if _REQUEST_ID.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    return secrets.token_hex(16)


def query_of(scope: Scope) -> dict[str, str]:
    """Each query parameter once; two readers would disagree about which of two counts."""
    raw: bytes = scope.get("query_string", b"")
    if not raw:
        return {}
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except UnicodeDecodeError:
        raise Refused(invalid("", "The query must be UTF-8")) from None
    except ValueError:
        raise Refused(invalid("", f"The query must have no more than {QUERY_FIELDS_MAX} parameters")) from None
    query = dict(pairs)
    if len(query) < len(pairs):
        raise Refused(invalid("", "The query must not name a parameter twice"))
    if any("\0" in text for pair in pairs for text in pair):
        raise Refused(invalid("", "The query must not contain the character NUL"))
    return query


def body_has_come(scope: Scope) -> bool:
    """Whether nobody has to wait for the body, so that no clock need be set. Of most servers nothing is known."""
    return BODY_HAS_COME in scope["state"]


def client_gone(scope: Scope) -> asyncio.Event:
    """Set when the client has hung up; never where the server does not say so."""
    gone: asyncio.Event = scope["state"].get(CLIENT_GONE) or asyncio.Event()
    return gone


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    media_types: Sequence[str],
    bytes_max: int,
    seconds_max: float | None,
    take_room: TakeRoom,
) -> bytes:
    """The body, if it is of a type and length that we take and comes in time; no more than the limit is ever kept.

    `seconds_max` is None for a body that has come. Room for it is taken before it is read.
    """
    announced = headers.get("content-length", "").strip()
    if announced.isdecimal() and (len(announced) > LENGTH_DIGITS_MAX or int(announced) > bytes_max):
        raise _too_large()
    if announced.isdecimal():
        await take_room(int(announced))
    if seconds_max is None:
        body = await _whole_body(receive, bytes_max, take_room)
    else:
        body = await _whole_body_in_time(receive, bytes_max, take_room, seconds_max)
    if body:
        _check_media_type(headers, media_types)
    return body


def in_shape(path: str, refused: Refused) -> Answer:
    """A refusal as the surface words it: a problem below /v1 and on probes, else the envelope (decision 4)."""
    if path != "/v1" and not path.startswith("/v1/") and path not in PROBES:
        return refusal(*refused.complaints, status=refused.status, headers=refused.headers)
    first, *others = refused.complaints
    return problem(
        refused.status,
        first.code,
        first.message,
        errors=refused.complaints if others else (),
        headers=refused.headers,
    )


def unread(path: str) -> Answer:
    """What ends a request whose client has hung up. Nothing of it is kept under a key."""
    return in_shape(path, Refused(Complaint.of(Code.INVALID_INPUT)))


async def _whole_body_in_time(receive: Receive, bytes_max: int, take_room: TakeRoom, seconds_max: float) -> bytes:
    try:
        # Whether a body is too slow is judged by the whole of it: a byte now and then is no progress.
        async with asyncio.timeout(seconds_max):
            return await _whole_body(receive, bytes_max, take_room)
    except TimeoutError:
        raise _too_slow() from None


async def _whole_body(receive: Receive, bytes_max: int, take_room: TakeRoom) -> bytes:
    body = bytearray()
    more = True
    while more:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise _too_large()
        if len(body) > FREE_BODY_BYTES:
            # Of a body that did not say how long it is.
            await take_room(bytes_max)
        more = message.get("more_body", False)
    return bytes(body)


def _check_media_type(headers: Mapping[str, str], media_types: Sequence[str]) -> None:
    # Without a type the body is taken for what it should be; the decoder finds out.
    media_type = headers.get("content-type", media_types[0]).partition(";")[0].strip().lower()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if media_type not in media_types:
        raise Refused(
            Complaint.of(Code.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {' or '.join(media_types)}."), status=415
        )
    if encoding != "identity":
        raise Refused(Complaint.of(Code.UNSUPPORTED_MEDIA_TYPE, "Send the body without Content-Encoding."), status=415)


def _too_large() -> Refused:
    return Refused(Complaint.of(Code.REQUEST_TOO_LARGE), status=413)


def _too_slow() -> Refused:
    """The rest of the body may still come, so the connection is of no more use (RFC 9110, section 15.5.9)."""
    complaint = Complaint.of(Code.TRY_AGAIN_LATER, "The body did not arrive in time; send the request again.")
    return Refused(complaint, status=408, headers={"Connection": "close"})
