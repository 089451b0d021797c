"""Requests that may come twice: keys that were used, and what came of the requests that used them (decision 6).

A result is written in the transaction of the change that it tells of; the key itself before, so that another request
under the same key is recognised whatever became of the first one. Times are real time.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from kosminar.core.idempotency import BEGUN, IdempotencyKey
from kosminar.store.queries import Connection, array, load
from kosminar.store.saving import Part

QUERIES: Final = load("idempotency")


async def claim(connection: Connection, key: IdempotencyKey, request_hash: bytes, *, now: datetime) -> bytes:
    """The hash of the request that uses the key: this one, unless another was first."""
    await QUERIES["claim_idempotency_key"].run(connection, **key._asdict(), request_hash=request_hash, now=now)
    first: bytes = await QUERIES["find_idempotency_key"].value(connection, **key._asdict())
    return first


async def hold(connection: Connection, key: IdempotencyKey) -> None:
    """Until the transaction ends, who repeats the request waits."""
    assert connection.is_in_transaction(), "outside a transaction the lock is gone at once"
    await QUERIES["hold_idempotency_key"].run(connection, **key._asdict())


async def find_result(connection: Connection, key: IdempotencyKey, number: int) -> str | None:
    return (await list_results(connection, [(key, number)])).get((key, number))


async def list_results(
    connection: Connection, places: Iterable[tuple[IdempotencyKey, int]]
) -> dict[tuple[IdempotencyKey, int], str]:
    """What is kept at these places; nothing for those whose request was not worked yet."""
    asked = list(places)
    rows = await QUERIES["list_idempotency_results"].rows(connection, **_columns(asked))
    return {
        (IdempotencyKey(row["bucket"], row["organisation_id"], row["key_hash"]), row["number"]): row["result"]
        for row in rows
    }


async def insert_results(connection: Connection, results: Sequence[tuple[IdempotencyKey, int, str]]) -> bool:
    """Whether all are new: the first result of a request stays."""
    written = await QUERIES["insert_idempotency_results"].rows(connection, **_results(results))
    return len(written) == len(results)


def results_part(results: Sequence[tuple[IdempotencyKey, int, str]], *, lost: type[Exception]) -> Part:
    """What came of a batch's requests. Raises `lost` where one has a result already: the second one must change nothing."""
    return Part(QUERIES["insert_idempotency_results"], results, _results, lost=lost)


def _results(results: Sequence[tuple[IdempotencyKey, int, str]]) -> dict[str, Any]:
    return {
        "buckets": array([key.bucket for key, _, _ in results]),
        "organisation_ids": array([key.organisation_id for key, _, _ in results]),
        "key_hashes": array([f"\\x{key.key_hash.hex()}" for key, _, _ in results]),
        "numbers": array([number for _, number, _ in results]),
        "results": [result for _, _, result in results],
    }


async def keep_first(connection: Connection, key: IdempotencyKey, number: int, result: str) -> str:
    """Outside a transaction: keep the result unless another was kept before; the one that counts."""
    counts: str | None = await QUERIES["keep_idempotency_result"].value(
        connection, **key._asdict(), number=number, result=result
    )
    if counts is None:
        # Another process committed one after this statement had begun.
        counts = await find_result(connection, key, number)
    assert counts is not None, "there is one now"
    return counts


async def save_progress(connection: Connection, key: IdempotencyKey, progress: str) -> None:
    """In the transaction of a step, under `hold`: how far the request has come, in place of how far it had."""
    await QUERIES["save_idempotency_progress"].run(connection, **key._asdict(), number=BEGUN, progress=progress)


async def purge(connection: Connection, *, bucket: int, created_before: datetime) -> int:
    """Forget a bucket's old keys with their results; answers how many."""
    return len(await QUERIES["purge_idempotency_keys"].rows(connection, bucket=bucket, created_before=created_before))


def _columns(places: Sequence[tuple[IdempotencyKey, int]]) -> dict[str, list[int] | list[bytes]]:
    return {
        "buckets": [key.bucket for key, _ in places],
        "organisation_ids": [key.organisation_id for key, _ in places],
        "key_hashes": [key.key_hash for key, _ in places],
        "numbers": [number for _, number in places],
    }
