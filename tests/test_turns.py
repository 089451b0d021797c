"""Long work gives the event loop back between its steps, and work that is short does not."""

import asyncio
import time

import pytest

from kosminar import turns
from kosminar.turns import Turn, each_in_turns, in_parts, in_turns

pytestmark = pytest.mark.asyncio


def busy(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def test_others_run_between_the_items_of_long_work() -> None:
    seen: list[str] = []

    async def other() -> None:
        for _ in range(3):
            seen.append("other")
            await asyncio.sleep(0)

    def do(item: int) -> int:
        busy(turns.TURN_SECONDS)
        seen.append("item")
        return -item

    task = asyncio.create_task(other())

    assert await each_in_turns(do, [1, 2, 3]) == [-1, -2, -3]
    assert seen == ["item", "other"] * 3
    await task


async def test_short_work_is_not_interrupted() -> None:
    ran = asyncio.Event()
    task = asyncio.create_task(ran.wait())
    asyncio.get_running_loop().call_soon(ran.set)

    turn = Turn()
    for _ in range(3):
        await turn.give_way()

    assert not ran.is_set()
    await task


async def test_what_steps_return_or_raise_comes_out() -> None:
    def steps(*, fails: bool):
        busy(turns.TURN_SECONDS)
        yield
        if fails:
            raise LookupError
        return "done"

    assert await in_turns(steps(fails=False)) == "done"
    with pytest.raises(LookupError):
        await in_turns(steps(fails=True))


async def test_parts_have_up_to_their_count_and_nothing_is_one_empty_part() -> None:
    assert [list(part) for part in in_parts([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert [list(part) for part in in_parts([1, 2], 2)] == [[1, 2]]
    assert [list(part) for part in in_parts([], 2)] == [[]]
