"""Which paths are routed: those of the operations as they are written, and no other spelling of them.

A proxy that keeps a path from the outside must see the path that is routed. So paths are routed as they were sent,
byte for byte; only what fills a parameter is decoded, after that. A path that a proxy may rewrite (an empty segment, a
dot segment, an encoded slash) and a target that is no path (`http://...`, `*`) name no operation. Reasons: ADR-0030.
Tested by tests/api/test_paths.py.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from litestar.types import ASGIApp, Receive, Scope, Send

from kosminar.api.operation import Refused
from kosminar.api.request import in_shape
from kosminar.api.sending import send_answer
from kosminar.core.errors import Code, Complaint, invalid

_SEGMENT: Final = r"(?!(?:\.|%2e){1,2}(?:/|$))(?:[^/%]|%(?!2f))+"
_PLAIN: Final = re.compile(rf"(?:/{_SEGMENT})+", re.IGNORECASE)
_BROKEN_ENCODING: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def path_as_sent(scope: Scope) -> str:
    """The request's path without decoding, as the routes and probes are compared with it."""
    return scope["raw_path"].decode("latin-1")


def only_plain_paths(app: ASGIApp) -> ASGIApp:
    """The application, without requests for a path that two readers may understand differently."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if _PLAIN.fullmatch(scope["path"]):
            await app(scope, receive, send)
            return
        unknown = Refused(Complaint.of(Code.UNKNOWN_PATH), status=404)
        await send_answer(in_shape(scope["path"], unknown), scope, send)

    return enter


def decoded(name: str, segment: str) -> str:
    """What fills the parameter of that name in a path. Raises Refused.

    >>> decoded("rewardId", "7-1-P1%2D1-1")
    '7-1-P1-1-1'
    """
    if "%" not in segment:
        return segment
    try:
        if _BROKEN_ENCODING.search(segment):
            raise ValueError
        return unquote_to_bytes(segment).decode("utf-8")
    except ValueError:
        raise Refused(invalid(name, "must be UTF-8, with % and two hexadecimal digits for each byte encoded")) from None
