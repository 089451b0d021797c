"""`kosminar backup` and `kosminar restore` end by a stated time, with a sentence, when PostgreSQL stands still under them.

The processes are real and stopped by SIGSTOP in the middle of copying and of recovering. The deadlines are those that
operators have, so these tests wait for 20 seconds, both at the same time; with `make endings` twenty of each do.
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from tests.store.clusters import family, frozen, frozen_for
from tests.store.holders import ask, processes, server
from tests.store.running import ENVIRONMENT, KOSMINAR, eventually, kosminar

from kosminar.store import backup
from kosminar.store.embedded import RESTORING, open_embedded
from kosminar.store.embedded_host import temporary_data_directory
from kosminar.store.embedded_server import STALL_SECONDS
from kosminar.store.link import CONNECT_SECONDS, PULSE_SECONDS, SILENCE_SECONDS
from kosminar.wiring import utc_now

# Until the silence is noticed, and at the first question after it.
NOTICED_SECONDS = SILENCE_SECONDS + PULSE_SECONDS + CONNECT_SECONDS
# A command that leaves last ends the server: three steps that end early for want of progress, then a kill.
ENDED_SECONDS = 3 * STALL_SECONDS
# Beyond the stated times, on a machine that does other things.
LATE_SECONDS = 15.0
# Bytes that a back-up copies and that the database does not read: copying them takes a second or so.
FILLING_BYTES = 512 * 1024 * 1024
SILENT = f"kosminar: The database did not answer for {SILENCE_SECONDS} seconds, so no back-up was made. "
STILL = "kosminar: PostgreSQL stands still: none of its processes does anything, and it does not answer. "


@dataclass(frozen=True)
class Ended:
    """A command under which the database was stopped: what it said, and what it left in the folder given to it."""

    code: int
    said: str
    complained: str
    left: frozenset[str]
    seconds: float


@dataclass(frozen=True)
class Both:
    """At the same time; each test waits for its own, so that what fails there fails in the test."""

    backing_up: Future[list[Ended]]
    restoring: Future[Ended]


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    made = temporary_data_directory()
    open_embedded(made).close()
    yield made
    assert processes(made) == []
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def taken(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A back-up."""
    folder = tmp_path_factory.mktemp("taken") / "backup"
    kosminar("backup", folder, "--data-dir", data_dir)
    return folder


@contextmanager
def command(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [KOSMINAR, *map(str, arguments)],
        env={**ENVIRONMENT, "KOSMINAR_LOG_LEVEL": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], folder: Path, *, within_seconds: float) -> Ended:
    began = time.monotonic()
    said, complained = process.communicate(timeout=within_seconds + LATE_SECONDS)
    left = frozenset(path.name for path in folder.iterdir())
    return Ended(process.returncode, said, complained, left, time.monotonic() - began)


@contextmanager
def much_to_copy(data_dir: Path) -> Iterator[None]:
    filling = data_dir / "postgresql" / "filling"
    with filling.open("wb") as file:
        file.truncate(FILLING_BYTES)
    os.chown(filling, filling.parent.stat().st_uid, -1)
    yield
    filling.unlink()


def copied_bytes(folder: Path) -> int:
    """How much of that the back-up has which is being made in the folder."""
    return sum(file.stat().st_size for file in folder.glob(".kosminar.unfinished-*/postgresql/filling"))


def back_ups_under_a_freeze(data_dir: Path, place: Path, *, copied: int, count: int) -> list[Ended]:
    """Of several at the same time, of which one has copied so many bytes when the database is stopped."""
    folders = [place / str(number) for number in range(count)]
    for folder in folders:
        folder.mkdir(parents=True)
    with open_embedded(data_dir), much_to_copy(data_dir), ExitStack() as stack:
        running = [stack.enter_context(command("backup", one / "backup", "--data-dir", data_dir)) for one in folders]
        eventually(lambda: any(copied_bytes(folder) >= copied for folder in folders))
        stack.enter_context(frozen(server(data_dir)))
        return [ended(*each, within_seconds=NOTICED_SECONDS) for each in zip(running, folders, strict=True)]


def restore_under_a_freeze(taken: Path, *, after_seconds: float) -> Ended:
    """That time after PostgreSQL has begun. No process of it lives afterwards."""
    new = temporary_data_directory()
    pid_file = new / "postgresql" / "postmaster.pid"
    with command("restore", taken, "--data-dir", new) as restoring:
        try:
            eventually(pid_file.exists)
            time.sleep(after_seconds)
            stop(new)
            result = ended(restoring, new, within_seconds=NOTICED_SECONDS + ENDED_SECONDS)
            assert processes(new) == []
        finally:
            restoring.kill()
            eventually(lambda: not killed(new))
            shutil.rmtree(new)
    return result


def killed(data_dir: Path) -> list[int]:
    """What of the server was still there to be killed."""
    found = processes(data_dir)
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return found


def stop(data_dir: Path) -> None:
    """What lives of the server. The command that it is stopped under kills it, so it is not continued."""
    with suppress(OSError, IndexError):  # It has ended, or has not written its number yet.
        first = server(data_dir)
        for process in (first, *family(first)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)


@pytest.fixture(scope="module")
def both(data_dir: Path, taken: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A back-up in the middle of its copying, and a restore at the beginning of its recovery."""
    place = tmp_path_factory.mktemp("backups")
    with ThreadPoolExecutor(2) as pool:
        yield Both(
            pool.submit(back_ups_under_a_freeze, data_dir, place, copied=1, count=1),
            pool.submit(restore_under_a_freeze, taken, after_seconds=0.05),
        )


def test_a_back_up_under_which_the_database_stands_still_ends_with_a_sentence_and_leaves_nothing(
    both: Both, data_dir: Path, tmp_path: Path
) -> None:
    (it,) = both.backing_up.result()

    assert (it.code, it.said, it.left) == (1, "", frozenset())
    # Behind the line of the log.
    assert it.complained.splitlines()[-1].startswith(SILENT)
    kosminar("backup", tmp_path / "afterwards", "--data-dir", data_dir)


def test_a_restore_under_which_the_database_stands_still_ends_with_a_sentence_and_leaves_nothing(
    both: Both,
) -> None:
    it = both.restoring.result()

    assert (it.code, it.said, it.left) == (1, "", frozenset())
    assert it.complained.startswith(STILL)
    assert "Traceback" not in it.complained


@pytest.mark.long
def test_a_restored_database_that_stands_still_when_it_is_asked_where_it_stands_is_not_waited_for(
    data_dir: Path,
) -> None:
    """In the middle of a statement, for which the driver has no deadline."""

    async def ask_and_stop(url: str) -> None:
        holder = await asyncpg.connect(url)
        await holder.execute("CREATE TABLE generation ()")
        await holder.execute("BEGIN; LOCK TABLE generation")
        asking = asyncio.create_task(backup._recovered(url, now=utc_now()))
        async with asyncio.timeout(LATE_SECONDS):
            while await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0:
                await asyncio.sleep(0.01)
        with frozen_for(server(data_dir), seconds_max=NOTICED_SECONDS + 2 * LATE_SECONDS):
            done, _ = await asyncio.wait({asking}, timeout=NOTICED_SECONDS + LATE_SECONDS)
            assert done, "it still waits"
            assert isinstance(asking.exception(), asyncpg.PostgresConnectionError)
            holder.terminate()

    with open_embedded(data_dir) as database:
        asyncio.run(ask_and_stop(database.url))
        ask(database.url, "DROP TABLE generation")


@pytest.mark.long
def test_twenty_back_ups_end_with_a_sentence_wherever_the_database_stands_still(data_dir: Path, tmp_path: Path) -> None:
    for number in range(5):
        copied = 1 + random.randrange(FILLING_BYTES // 2)
        for it in back_ups_under_a_freeze(data_dir, tmp_path / str(number), copied=copied, count=4):
            assert (it.code, it.said, it.left) == (1, "", frozenset()), it
            # One that was just beginning waits as long as a connection may take.
            last = it.complained.splitlines()[-1]
            assert last.startswith(SILENT) or last.endswith("timeout expired."), it


@pytest.mark.long
def test_twenty_restores_end_wherever_the_database_stands_still_whole_or_with_nothing_left(taken: Path) -> None:
    moments = [random.uniform(0, 1) for _ in range(20)]
    with ThreadPoolExecutor(4) as pool:
        restores = list(pool.map(lambda seconds: restore_under_a_freeze(taken, after_seconds=seconds), moments))

    for it in restores:
        assert "Traceback" not in it.complained
        assert RESTORING not in it.left
        if it.code == 0:
            assert "postgresql" in it.left
        else:
            assert (it.code, it.said, it.left) == (1, "", frozenset()), it
            assert it.complained.startswith("kosminar: ")
    assert {it.code for it in restores} >= {1}
