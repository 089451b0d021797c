"""An answer as ASGI messages, for code that answers past the framework, and no faster than its client fetches it."""

import asyncio
from collections.abc import Mapping
from typing import Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kosminar.api.answer import Answer
from kosminar.api.request import request_id_of

# Of an answer at once. What a client does not fetch is copied for its connection, and this is as much as is copied.
PIECE_BYTES: Final = 16 * 1024


def in_pieces(app: ASGIApp) -> ASGIApp:
    """The application, with each long answer sent as it is fetched: the server waits while its buffer is full."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_pieces(message: Message) -> None:
            if message["type"] != "http.response.body" or len(message["body"]) <= PIECE_BYTES:
                await send(message)
                return
            body, more = memoryview(message["body"]), message["more_body"]
            for start in range(0, len(body), PIECE_BYTES):
                piece = bytes(body[start : start + PIECE_BYTES])
                left = more or start + PIECE_BYTES < len(body)
                await send(cast("Message", {"type": "http.response.body", "body": piece, "more_body": left}))
                # What is written in one turn of the loop goes out together, and only then is the buffer full or not.
                await asyncio.sleep(0)

        await app(scope, receive, send_pieces)

    return enter


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Head and body; the codes of a refusal are left in the request's state, for the journal."""
    state = scope["state"]
    state["codes"] = answer.codes
    request_id = state.get("request_id") or request_id_of(scope)
    # Of the caller, whatever the answer is.
    headers = [*head_of(answer, request_id=request_id), *_encoded(state.get("headers", {}))]
    await send(cast("Message", {"type": "http.response.start", "status": answer.status, "headers": headers}))
    await send(cast("Message", {"type": "http.response.body", "body": answer.body, "more_body": False}))


def head_of(answer: Answer, *, request_id: str) -> list[tuple[bytes, bytes]]:
    """The header fields that belong to the answer."""
    fields = {
        "content-type": answer.media_type,
        "content-length": str(len(answer.body)),
        "x-request-id": request_id,
        **answer.headers,
    }
    return _encoded(fields)


def _encoded(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]
