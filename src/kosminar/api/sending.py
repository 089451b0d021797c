"""An answer as ASGI messages, for whoever answers past the framework."""

from collections.abc import Mapping
from typing import cast

from litestar.types import Message, Scope, Send

from kosminar.api.answer import Answer
from kosminar.api.request import request_id_of


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
