"""A standby takes over under a running house, and was behind: what the old primary had answered last is lost, and no id
that it gave names another thing.

Real PostgreSQL on both sides: the standby is made by pg_basebackup, stopped before the last changes, and promoted after
the primary was killed. The house finds whichever is primary by its URL, as with a named database, and is not restarted.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import MIGRATED_AT
from tests.store.clusters import Cluster, clusters_folder
from tests.store.copies import CarefulReceiver, Credentials, generations_of, open_shop, settle_in
from tests.store.running import DEADLINE_SECONDS

from kosminar.store import generations
from kosminar.store.embedded import NAME, PORT, EmbeddedDatabase, open_embedded
from kosminar.store.embedded_host import CLUSTER, ServerUser, server_user, temporary_data_directory
from kosminar.store.link import Link
from kosminar.store.migration import migrate
from kosminar.wiring import utc_now


@dataclass
class Standby:
    """A second PostgreSQL that follows the first one while it runs."""

    primary: EmbeddedDatabase
    directory: Path
    user: ServerUser

    @property
    def url(self) -> str:
        return f"postgresql://{NAME}@/{NAME}?host={self.directory}&port={PORT}"

    def make(self) -> None:
        where = f"host={self.primary.socket_folder} port={PORT} user={NAME}"
        self._run("pg_basebackup", "-d", where, "-D", str(self.directory / CLUSTER), "-R", "--checkpoint=fast")

    def start(self) -> None:
        options = (
            f"-c listen_addresses= -c unix_socket_directories={self.directory} -c port={PORT} -c max_connections=200"
        )
        self._control("start", "-l", str(self.directory / "log"), "-o", options)

    def stop(self) -> None:
        self._control("stop", "-m", "fast")

    def promote(self) -> None:
        self._control("promote")

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", *arguments, "-w", "-D", str(self.directory / CLUSTER))

    def _run(self, program: str, *arguments: str) -> None:
        done = self.user.run(self.primary.binaries / program, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def two_servers() -> Iterator[tuple[EmbeddedDatabase, Standby]]:
    folders = [temporary_data_directory() for _ in range(2)]
    user = server_user(folders[1])
    user.own(folders[1])
    with open_embedded(folders[0]) as primary:
        standby = Standby(primary, folders[1], user)
        try:
            yield primary, standby
        finally:
            if (standby.directory / CLUSTER / "postmaster.pid").exists():
                standby.stop()
    for folder in folders:
        shutil.rmtree(folder)


def kill(primary: EmbeddedDatabase) -> None:
    process_id = int((primary.data_directory / CLUSTER / "postmaster.pid").read_text().split()[0])
    os.kill(process_id, signal.SIGQUIT)


async def eventually(call: Callable[[], Awaitable[int]], status: int) -> None:
    """What is answered 503 is sent again, as docs/reliability.md tells callers."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (answered := await call()) != status:
            assert answered == 503, answered
            await asyncio.sleep(0.05)


async def fail_over(primary: EmbeddedDatabase, standby: Standby) -> tuple[CarefulReceiver, list[int], list[str]]:
    hosts = f"{primary.socket_folder},{standby.directory}"
    url = f"postgresql://{NAME}@/{NAME}?host={hosts}&port={PORT},{PORT}&target_session_attrs=primary"
    credentials = await Credentials.made(primary.url)
    async with CarefulReceiver() as receiver, open_shop(url, credentials) as shop:
        await settle_in(shop, receiver)
        await shop.create("Always")
        await shop.visit("Always", 503, "before")
        await asyncio.to_thread(standby.make)
        # Of this the standby never hears.
        await shop.create("Lost")
        await shop.visit("Lost", 501, "lost")
        await shop.visit("Always", 502, "again")
        await shop.deliver()
        kill(primary)
        await asyncio.to_thread(standby.start)
        await asyncio.to_thread(standby.promote)
        # First of all, so that its definitions have the version that those of the lost programme had.
        await eventually(lambda: shop.try_create("After the failover"), 201)
        await eventually(lambda: shop.try_visit("After the failover", 501, "new"), 200)
        await shop.visit("Always", 502, "again")
        await shop.deliver()
        differences = await shop.differences()
        return receiver, await generations_of(standby.url), differences


@pytest.fixture(scope="module")
def story() -> Iterator[tuple[CarefulReceiver, list[int], list[str]]]:
    with two_servers() as (primary, standby):
        yield asyncio.run(fail_over(primary, standby))


def test_a_standby_that_takes_over_under_a_running_house_begins_a_generation(story) -> None:
    _, generations, differences = story

    assert generations[0] == 0
    assert len(generations) == 2
    assert differences == []


def test_what_the_old_primary_told_and_the_new_one_tells_have_different_ids(story) -> None:
    receiver, _, _ = story

    assert receiver.two_things_of_one_id == []
    assert sorted(receiver.paid.values()) == ["After the failover", "Always", "Always", "Lost"]


@pytest.mark.asyncio
async def test_a_session_from_before_the_promotion_writes_nothing_and_the_next_one_begins_the_generation() -> None:
    with clusters_folder() as folder:
        cluster = Cluster(folder, 5432).make().start()
        link = Link(cluster.url)
        async with link.connection() as connection:
            await migrate(connection, now=MIGRATED_AT)
        cluster.demote()
        async with link.pool(max_size=1, init=partial(generations.keep, now=utc_now())) as pool:
            async with pool.acquire() as opened_on_the_standby:
                cluster.promote()
                assert not await opened_on_the_standby.fetchval("SELECT pg_is_in_recovery()")
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await opened_on_the_standby.execute("CREATE TABLE written ()")

            await pool.execute("CREATE TABLE written ()")

        assert len(await generations_of(cluster.url)) == 2
