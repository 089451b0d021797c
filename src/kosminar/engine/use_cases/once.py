"""One key, one answer: a change that its caller may repeat, in one transaction with the answer to it (decision 6).

The edge says how an answer is written; the use case says when. An answer is kept under the row of its key, which the
same request waits for: so the second of two makes nothing of its own (ADR-0038).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from kosminar.core.errors import Code
from kosminar.core.idempotency import WHOLE, IdempotencyKey
from kosminar.engine.change import KeptOutcome
from kosminar.engine.use_cases.refusal import Refusal
from kosminar.store import idempotency
from kosminar.store.queries import Connection

T = TypeVar("T")


class KeyReused(Refusal):
    """The key was used with another request."""


class KeptRefusal(Exception):
    """The same request was refused before; `result` is the answer as it was written then."""

    def __init__(self, result: str) -> None:
        super().__init__(result)
        self.result = result


@dataclass(frozen=True, slots=True)
class AnswerSlot:
    """The place under an Idempotency-Key for the answer to a change.

    `write` makes the text to keep of an outcome or of a Refusal, None where the answer is not kept; `refused` says of
    such a text whether it is a refusal's.
    """

    key: IdempotencyKey
    write: Callable[[Any], str | None]
    refused: Callable[[str], bool]


async def claim(pool: asyncpg.Pool, key: IdempotencyKey, request_hash: bytes, *, now: datetime) -> str | None:
    """Take the key for this request; the whole answer, if it was answered before. Raises KeyReused."""
    async with pool.acquire() as connection:
        first = await idempotency.claim(connection, key, request_hash, now=now)
        if first != request_hash:
            raise KeyReused.of(Code.IDEMPOTENCY_KEY_REUSED)
        return await idempotency.find_result(connection, key, WHOLE)


async def keep_first(pool: asyncpg.Pool, key: IdempotencyKey, answer: str) -> str:
    """Keep the whole answer, unless another was kept before; the one that counts."""
    async with pool.acquire() as connection:
        return await idempotency.keep_first(connection, key, WHOLE, answer)


async def change_once(
    pool: asyncpg.Pool,
    slot: AnswerSlot | None,
    work: Callable[[Connection], Awaitable[T]],
    *,
    number: int = WHOLE,
) -> T | KeptOutcome:
    """The outcome of `work` in a transaction of its own, committed with the answer; under a key once.

    `number` is BEGUN where something is left to do after the commit: a repeat finds the answer, and does what is left.
    Raises Refusal, which is kept too, and KeptRefusal.
    """
    async with pool.acquire() as connection, connection.transaction():
        outcome = await change_once_in(connection, slot, work, number=number)
    if isinstance(outcome, Refusal | KeptRefusal):
        raise outcome
    return outcome


async def change_once_in(
    connection: Connection,
    slot: AnswerSlot | None,
    work: Callable[[Connection], Awaitable[T]],
    *,
    number: int = WHOLE,
) -> T | KeptOutcome | Refusal | KeptRefusal:
    """As `change_once`, in the caller's transaction; a refusal is returned to be raised once it is committed."""
    if slot is not None:
        await idempotency.hold(connection, slot.key)
        known = await idempotency.find_result(connection, slot.key, number)
        if known is not None:
            return KeptRefusal(known) if slot.refused(known) else KeptOutcome(known)
    outcome: T | Refusal
    try:
        # A savepoint: a refusal half-way leaves no change, and is kept all the same.
        async with connection.transaction():
            outcome = await work(connection)
    except Refusal as refusal:
        outcome = refusal
    if slot is not None and (answer := slot.write(outcome)) is not None:
        first = await idempotency.insert_results(connection, [(slot.key, number, answer)])
        assert first, "a change that is judged under the row of its key is the first to keep an answer"
    return outcome
