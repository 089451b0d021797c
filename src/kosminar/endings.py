"""The signals that end a process: outside an event loop they become SystemExit, inside one they cancel its task.

An exception that a signal handler raises while a loop runs comes out of whichever callback the loop was in. If that is
asyncpg's reader, the connection keeps half of its state; the next bytes it gets end the process with a segmentation
fault (`_decode_row` without a statement, seen with asyncpg 0.30.0 and 0.32.0), or nothing ever wakes its caller. So no
handler of ours raises into a running loop, and every loop that talks to the database is run by `run`.
Tested by tests/test_endings.py.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar

T = TypeVar("T")

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""Their default ends the process at once, without leaving the embedded database."""


class EndingSignals:
    """Turns the signals whose default is to end the process at once into SystemExit, until released."""

    def __init__(self) -> None:
        self._caught: list[signal.Signals] = []

    def catch(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python sets handlers in the main thread only; the caller looks after its signals.
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit)
                self._caught.append(number)

    def release(self) -> None:
        while self._caught:
            number = self._caught.pop()
            if signal.getsignal(number) is _exit:
                signal.signal(number, signal.SIG_DFL)


def run(
    main: Coroutine[Any, Any, T], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> T:
    """Run a coroutine to its end, as asyncio.run does.

    A signal that EndingSignals has caught cancels it instead, as often as the signal comes, and SystemExit is raised once
    the loop is closed. The result of a coroutine that ends by itself nevertheless is returned. In another thread than the
    main one the signals stay as they are.
    """
    seen: list[int] = []
    tasks: list[asyncio.Task[Any]] = []

    def cancel(number: int, frame: FrameType | None) -> None:
        del frame
        seen.append(number)
        for task in tasks:
            # The handler runs in the middle of any callback: the loop cancels the task when that has returned.
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def noted() -> T:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            if seen:
                task.cancel()
            return await main
        finally:
            tasks.clear()

    with _handled_by(cancel):
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                return runner.run(noted())
        except asyncio.CancelledError:
            if not seen:
                raise
            raise SystemExit(128 + seen[0]) from None


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """The signals that EndingSignals has caught go to the handler for as long as this lasts."""
    ours = threading.current_thread() is threading.main_thread()
    caught = [number for number in ENDING if ours and signal.getsignal(number) is _exit]
    for number in caught:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise SystemExit(128 + number)
