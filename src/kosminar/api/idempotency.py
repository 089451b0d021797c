"""`Idempotency-Key` on every operation that changes something: one key, one answer (decision 6, ADR-0038).

A key belongs to the caller who used it. The answer that was kept first is the answer: a request that comes to another
one later has changed nothing. It is kept in the transaction of the change wherever there is one transaction:
by the Writer for what is asked of a customer, by engine/use_cases/once.py for the rest. A request that was cut off between the
change and its answer therefore finds the answer, and not the change, when it is repeated; one that was cut off before
finds neither and runs. What takes several transactions keeps what it has begun, and a repeat goes on with that.
Signing in is no change and belongs to no caller yet, so the token operations keep nothing.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from kosminar.api.answer import Answer
from kosminar.api.operation import Call, Operation, Refused, refused
from kosminar.api.places import CURRENT, unless_gone
from kosminar.api.request import in_shape
from kosminar.core.bucket import bucket_of_key
from kosminar.core.decoder import decode, encode
from kosminar.core.errors import invalid
from kosminar.core.idempotency import WHOLE, IdempotencyKey
from kosminar.engine.change import Kept, KeptOutcome
from kosminar.engine.use_cases import once
from kosminar.engine.use_cases.once import AnswerSlot, KeptRefusal, KeyReused
from kosminar.engine.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from kosminar.engine.house import House

HEADER: Final = "idempotency-key"
REPLAYED: Final = {"Idempotent-Replayed": "true"}
KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

CONFLICT, SERVER_ERROR = 409, 500
# What did not run, or not to the end: a repeat is to run it. A refusal is kept like any other answer, also one that
# depended on the state of that moment: if it turned into a success later, the caller could not know which it was.
NOT_KEPT: Final = frozenset({401, 403, 408, 413, 415, 429})


class _Turns:
    """Of one key."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        # Those that have the lock or wait for it: between two of them it is free for a moment.
        self.count = 0


class SameKey:
    """Requests under one key follow each other within this process; those that wait hold no connection and no place.

    Between processes the rows of the key decide.
    """

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[IdempotencyKey, _Turns] = WeakValueDictionary()

    @asynccontextmanager
    async def alone(self, key: IdempotencyKey) -> AsyncIterator[None]:
        """Returns when no other request has the key. Raises Busy, and ClientGone as soon as a client that waits hangs up."""
        turns = self._turns.setdefault(key, _Turns())
        place, client_gone = CURRENT.get(), None
        if place is not None and turns.count > 0:
            place.give_back()
            client_gone = place.client_gone
        turns.count += 1
        try:
            async with unless_gone(client_gone):
                await turns.lock.acquire()
            try:
                if place is not None:
                    await place.take()
                yield
            finally:
                turns.lock.release()
        finally:
            turns.count -= 1


async def answer_once(house: "House", same_key: SameKey, operation: Operation, call: Call) -> Answer:
    """The operation's answer; under a key that was used for this request before, that answer."""
    if not operation.takes_key or HEADER not in call.headers:
        return await operation.function(house, call)
    key, request_hash = _key(call), _request_hash(operation, call)
    async with same_key.alone(key):
        try:
            known = await once.claim(house.pool, key, request_hash, now=house.wall())
        except KeyReused as reused:
            raise Refused(*reused.complaints, status=CONFLICT) from None
        if known is not None:
            return _replayed(known)
        return await _work(house, operation, replace(call, key=key), key)


async def _work(house: "House", operation: Operation, call: Call, key: IdempotencyKey) -> Answer:
    """The answer that was kept first: ours, unless another process was faster."""
    try:
        answer = await operation.function(house, call)
    except Refused as error:
        answer = in_shape(operation.path, error)
    except Refusal as refusal:
        answer = in_shape(operation.path, refused(refusal, operation.path))
    if not _lasting(answer):
        return answer
    written = _written(answer)
    counts = await once.keep_first(house.pool, key, written)
    return answer if counts == written else _replayed(counts)


def kept(call: Call, render: Callable[[Any], Answer]) -> Kept | None:
    """For a request to the writer whose outcome is the whole answer."""
    if call.key is None:
        return None
    return Kept(call.key, WHOLE, lambda outcome: _written(render(outcome)))


def answer_of(outcome: Any, render: Callable[[Any], Answer]) -> Answer:
    """The answer to an outcome, kept or not."""
    return _read(outcome.result) if isinstance(outcome, KeptOutcome) else render(outcome)


def kept_item(call: Call, index: int, render: Callable[[Any], dict[str, Any]]) -> Kept | None:
    """For one item of many; each is kept with its own change."""
    if call.key is None:
        return None
    return Kept(call.key, WHOLE + 1 + index, lambda outcome: encode(render(outcome)).decode())


def item_of(outcome: Any, render: Callable[[Any], dict[str, Any]]) -> Any:
    """The item's result, kept or not."""
    return decode(outcome.result.encode()) if isinstance(outcome, KeptOutcome) else render(outcome)


async def change_once(
    call: Call, render: Callable[[Any], Answer], change: Callable[[AnswerSlot | None], Awaitable[Any]]
) -> Answer:
    """The answer to a change that a use case makes in a transaction of its own, committed with it; under a key once."""
    try:
        return answer_of(await change(_slot(call, render)), render)
    except KeptRefusal as earlier:
        return _read(earlier.result)
    except Refusal as refusal:
        return in_shape(call.path, refused(refusal, call.path))


def _slot(call: Call, render: Callable[[Any], Answer]) -> AnswerSlot | None:
    def write(outcome: Any) -> str | None:
        answer = in_shape(call.path, refused(outcome, call.path)) if isinstance(outcome, Refusal) else render(outcome)
        return _written(answer) if _lasting(answer) else None

    return None if call.key is None else AnswerSlot(call.key, write, refused=lambda text: _read(text).refused)


def _lasting(answer: Answer) -> bool:
    return answer.final and answer.status < SERVER_ERROR and answer.status not in NOT_KEPT


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
        # A POST by its path alone, as keys of earlier releases have it.
        operation.path if operation.method == "POST" else f"{operation.method} {operation.path}",
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


def _replayed(text: str) -> Answer:
    return replace(_read(text), headers=REPLAYED)
