"""`Idempotency-Key` on every POST: the same request again is answered with what came of it the first time (decision 6).

A key belongs to the caller who used it. The answer is kept in the transaction of the change wherever there is one
transaction: by the writer for what is asked of a customer, by the operation itself for the rest. A request that was
cut off between the change and its answer therefore finds the answer, and not the change, when it is repeated; one that
was cut off before finds neither and is worked. Two at once follow each other under the customer's or the key's lock.
Signing in is no change and belongs to nobody yet, so the token operations keep nothing.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from kosminar.api.answer import Answer
from kosminar.api.operation import Call, Operation, Refused
from kosminar.api.request import in_shape
from kosminar.core.bucket import bucket_of_key
from kosminar.core.decoder import decode, encode
from kosminar.core.errors import Code, Complaint, invalid
from kosminar.engine.change import Kept, KeptOutcome, Outcome
from kosminar.store import idempotency
from kosminar.store.idempotency import IdempotencyKey
from kosminar.store.queries import Connection

if TYPE_CHECKING:
    from kosminar.engine.house import House

HEADER: Final = "idempotency-key"
REPLAYED: Final = {"Idempotent-Replayed": "true"}
KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

WHOLE: Final = 0
"""Where the whole answer is kept; the items of a request that has many are kept from 1 on."""

CONFLICT, SERVER_ERROR = 409, 500
# What was not worked, or not to the end: a repeat is to work it. A kept refusal is as final as any other answer.
NOT_KEPT: Final = frozenset({401, 403, 408, 413, 415, 429})


async def answer_once(house: "House", operation: Operation, call: Call) -> Answer:
    """The operation's answer; under a key that was used for this request before, that answer."""
    if operation.method != "POST" or operation.resource is None or HEADER not in call.headers:
        return await operation.function(house, call)
    key, request_hash = _key(call), _request_hash(operation, call)
    async with house.pool.acquire() as connection:
        first = await idempotency.claim(connection, key, request_hash, now=house.wall())
        if first != request_hash:
            raise Refused(Complaint.of(Code.IDEMPOTENCY_KEY_REUSED), status=CONFLICT)
        known = await idempotency.find_result(connection, key, WHOLE)
    if known is not None:
        return replace(_read(known), headers=REPLAYED)
    try:
        answer = await operation.function(house, replace(call, key=key))
    except Refused as refused:
        answer = in_shape(operation.path, refused)
    if answer.final and answer.status < SERVER_ERROR and answer.status not in NOT_KEPT:
        async with house.pool.acquire() as connection:
            await idempotency.insert_results(connection, [(key, WHOLE, _written(answer))])
    return answer


def kept(call: Call, render: Callable[[Any], Answer]) -> Kept | None:
    """For a request to the writer whose outcome is the whole answer."""
    if call.key is None:
        return None
    return Kept(call.key, WHOLE, lambda outcome: _written(render(outcome)))


def answer_of(outcome: Outcome, render: Callable[[Any], Answer]) -> Answer:
    """The answer to an outcome, kept or not."""
    return _read(outcome.result) if isinstance(outcome, KeptOutcome) else render(outcome)


def kept_item(call: Call, index: int, render: Callable[[Any], dict[str, Any]]) -> Kept | None:
    """For one item of many; each is kept with its own change."""
    if call.key is None:
        return None
    return Kept(call.key, WHOLE + 1 + index, lambda outcome: encode(render(outcome)).decode())


def item_of(outcome: Outcome, render: Callable[[Any], dict[str, Any]]) -> Any:
    """The item's result, kept or not."""
    return decode(outcome.result.encode()) if isinstance(outcome, KeptOutcome) else render(outcome)


async def repeated(connection: Connection, call: Call) -> Answer | None:
    """First thing in an operation's own transaction: what came of the request before; a repeat waits here for us."""
    if call.key is None:
        return None
    await idempotency.hold(connection, call.key)
    known = await idempotency.find_result(connection, call.key, WHOLE)
    return None if known is None else _read(known)


async def keep(connection: Connection, call: Call, answer: Answer) -> Answer:
    """Last thing in an operation's own transaction."""
    if call.key is not None:
        await idempotency.insert_results(connection, [(call.key, WHOLE, _written(answer))])
    return answer


def _key(call: Call) -> IdempotencyKey:
    given = call.headers[HEADER]
    if not KEY.fullmatch(given):
        raise Refused(invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters"))
    organisation_id = call.caller.organisation_id
    key_hash = _digest(call.caller.name, given)
    return IdempotencyKey(bucket_of_key(organisation_id, key_hash), organisation_id, key_hash)


def _request_hash(operation: Operation, call: Call) -> bytes:
    """Everything that decides what the request means; of the headers, only those that name an organisation."""
    return _digest(
        operation.path,
        *(f"{name}={value}" for name, value in sorted(call.ids.items())),
        *call.names.values(),
        *(f"{name}={value}" for name, value in sorted(call.query.items())),
        *map(str, call.organisation_ids),
        call.body,
    )


def _digest(*parts: str | bytes) -> bytes:
    """Each part with its length, so that no two lists of parts read the same."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.digest()


def _written(answer: Answer) -> str:
    return encode({"status": answer.status, "mediaType": answer.media_type, "body": answer.body.decode()}).decode()


def _read(text: str) -> Answer:
    read: Any = decode(text.encode())
    return Answer(int(read["status"]), read["body"].encode(), media_type=read["mediaType"])
