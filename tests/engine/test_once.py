"""A change and the answer to it in one transaction: what is kept, and what a repeat finds."""

from datetime import UTC, datetime

import pytest
import pytest_asyncio

from kosminar.core.bucket import bucket_of_key
from kosminar.core.errors import Code
from kosminar.core.idempotency import BEGUN, WHOLE, IdempotencyKey
from kosminar.engine.change import KeptOutcome
from kosminar.engine.use_cases.clients import create_organisation
from kosminar.engine.use_cases.once import AnswerSlot, KeptRefusal, KeyReused, change_once, claim, keep_first
from kosminar.engine.use_cases.refusal import Refusal
from kosminar.store import idempotency

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REQUEST, OTHER_REQUEST = b"r" * 32, b"o" * 32
KEY_HASH = b"k" * 32


def write(outcome: object) -> str | None:
    if isinstance(outcome, Refusal):
        return f"refused {outcome.complaints[0].code}"
    return None if outcome == "fleeting" else f"done {outcome}"


@pytest_asyncio.fixture
async def slot(pool) -> AnswerSlot:
    async with pool.acquire() as connection:
        organisation_id = await create_organisation(connection, name="Acme", zone="UTC", now=NOW)
    key = IdempotencyKey(bucket_of_key(organisation_id, KEY_HASH), organisation_id, KEY_HASH)
    assert await claim(pool, key, REQUEST, now=NOW) is None
    return AnswerSlot(key, write, refused=lambda text: text.startswith("refused"))


async def kept(pool, slot: AnswerSlot, number: int = WHOLE) -> str | None:
    async with pool.acquire() as connection:
        return await idempotency.find_result(connection, slot.key, number)


class Work:
    """Changes something, then has an outcome, refuses, or fails."""

    def __init__(self, outcome: str | Exception) -> None:
        self.outcome = outcome
        self.count = 0

    async def __call__(self, connection) -> str:
        self.count += 1
        await connection.execute("UPDATE organisation SET name = 'Changed'")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def name(pool) -> str:
    return await pool.fetchval("SELECT name FROM organisation")


async def test_a_change_is_made_once_and_its_answer_is_found_again(pool, slot) -> None:
    work = Work("well")

    assert await change_once(pool, slot, work) == "well"
    assert await change_once(pool, slot, work) == KeptOutcome("done well")
    assert (work.count, await name(pool), await kept(pool, slot)) == (1, "Changed", "done well")


async def test_a_refusal_has_changed_nothing_and_is_kept_and_told_from_a_success(pool, slot) -> None:
    work = Work(Refusal.of(Code.UNKNOWN_ENDPOINT))

    with pytest.raises(Refusal):
        await change_once(pool, slot, work)
    assert (await name(pool), await kept(pool, slot)) == ("Acme", f"refused {Code.UNKNOWN_ENDPOINT}")
    work.outcome = "well"
    with pytest.raises(KeptRefusal) as earlier:
        await change_once(pool, slot, work)
    assert (work.count, earlier.value.result) == (1, f"refused {Code.UNKNOWN_ENDPOINT}")


async def test_what_fails_has_changed_nothing_and_keeps_no_answer(pool, slot) -> None:
    with pytest.raises(ZeroDivisionError):
        await change_once(pool, slot, Work(ZeroDivisionError()))

    assert (await name(pool), await kept(pool, slot)) == ("Acme", None)


async def test_an_answer_that_is_not_to_be_kept_is_not(pool, slot) -> None:
    work = Work("fleeting")

    assert [await change_once(pool, slot, work) for _ in range(2)] == ["fleeting", "fleeting"]
    assert (work.count, await kept(pool, slot)) == (2, None)


async def test_without_a_key_each_call_changes_and_nothing_is_kept(pool, slot) -> None:
    work = Work("well")

    assert [await change_once(pool, None, work) for _ in range(2)] == ["well", "well"]
    assert (work.count, await kept(pool, slot)) == (2, None)


async def test_what_was_begun_is_no_whole_answer(pool, slot) -> None:
    assert await change_once(pool, slot, Work("well"), number=BEGUN) == "well"

    assert (await kept(pool, slot, BEGUN), await kept(pool, slot)) == ("done well", None)
    assert await claim(pool, slot.key, REQUEST, now=NOW) is None


async def test_a_key_is_one_requests_and_keeps_its_first_answer(pool, slot) -> None:
    assert [await keep_first(pool, slot.key, text) for text in ("first", "second")] == ["first", "first"]

    assert await claim(pool, slot.key, REQUEST, now=NOW) == "first"
    with pytest.raises(KeyReused):
        await claim(pool, slot.key, OTHER_REQUEST, now=NOW)
