"""Nobody waits for a database that stands still, and what takes no changes is not kept: the link, on a real server."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest
import pytest_asyncio
from tests.store.clusters import Cluster, Relay, clusters_folder, frozen, frozen_for

from kosminar.store import link as links
from kosminar.store.link import DatabaseSilent, Link, Pool, each_host, takes_no_changes, within

FREEZES = int(os.environ.get("FREEZES", "2"))
"""How often each kind of wait is frozen and thawed."""

DEADLINE_SECONDS = 0.3
# Beyond a deadline, on a machine that does other things.
LATE_SECONDS = 5.0
NEVER_SECONDS = 3_600.0


@pytest.fixture(scope="module")
def clusters() -> Iterator[tuple[Cluster, Cluster]]:
    with clusters_folder() as folder:
        yield Cluster(folder, 5432).make().start(), Cluster(folder, 5433).make().start()


@pytest.fixture
def cluster(clusters: tuple[Cluster, Cluster]) -> Cluster:
    return clusters[0]


@pytest_asyncio.fixture
async def pool(cluster: Cluster) -> AsyncIterator[Pool]:
    pool = await Link(cluster.url).pool(max_size=2)
    yield pool
    await pool.close()


async def in_a_statement(pool: asyncpg.Pool) -> None:
    async with within(pool, DEADLINE_SECONDS) as connection:
        await connection.execute("SELECT true")


async def in_a_transaction(pool: asyncpg.Pool) -> None:
    async with within(pool, DEADLINE_SECONDS) as connection, connection.transaction():
        await connection.execute("SELECT true")


async def by_connecting(pool: asyncpg.Pool) -> None:
    async with within(pool, DEADLINE_SECONDS), within(pool, DEADLINE_SECONDS) as connection:
        await connection.execute("SELECT true")


@pytest.mark.asyncio
@pytest.mark.parametrize("wait", [in_a_statement, in_a_transaction, by_connecting])
async def test_who_has_a_deadline_is_back_by_then_though_the_database_stands_still(
    cluster: Cluster, pool: Pool, wait: Callable[[asyncpg.Pool], Awaitable[None]]
) -> None:
    for _ in range(FREEZES):
        await wait(pool)
        in_time = frozen_for(cluster.postmaster, seconds_max=DEADLINE_SECONDS + LATE_SECONDS)
        with in_time, pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(pool), 30)

        # As many places as before: none is held by who gave up.
        async with asyncio.timeout(LATE_SECONDS):
            held = [await pool.acquire() for _ in range(pool.get_max_size())]
            assert [await connection.fetchval("SELECT 1") for connection in held] == [1, 1]
            for connection in held:
                await pool.release(connection)


@pytest.mark.asyncio
async def test_who_waits_for_a_place_in_the_pool_is_back_by_the_deadline(pool: Pool) -> None:
    async with pool.acquire(), pool.acquire():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_a_statement(pool), 30)

    await in_a_statement(pool)


@pytest.mark.asyncio
async def test_a_statement_in_time_costs_no_connection(pool: Pool) -> None:
    async with within(pool, 30) as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")

    async with within(pool, 30) as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == backend


@pytest.mark.asyncio
@pytest.mark.parametrize("inside", ["statement", "transaction"])
async def test_what_is_cancelled_ends_though_the_database_stands_still(
    cluster: Cluster, pool: Pool, inside: str
) -> None:
    async def work() -> None:
        async with pool.acquire() as connection:
            if inside == "statement":
                await connection.execute("SELECT pg_sleep(30)")
            async with connection.transaction():
                await connection.execute("SELECT pg_sleep(30)")

    for _ in range(FREEZES):
        working = asyncio.create_task(work())
        await asyncio.sleep(0.05)
        with frozen(cluster.postmaster):
            working.cancel()
            done, _ = await asyncio.wait({working}, timeout=links.CANCEL_SECONDS + LATE_SECONDS)
            assert done, "it still waits for the server's word"
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.asyncio
async def test_what_waits_without_a_deadline_ends_when_the_database_has_been_silent_and_it_recovers_by_itself(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched_pool(cluster.url, monkeypatch, silence_seconds=1, pulse_seconds=0.5) as pool:
        for _ in range(FREEZES):
            await asyncio.wait(five_calls(pool))
            with frozen_for(cluster.postmaster, seconds_max=1 + 2 * 0.5 + DEADLINE_SECONDS + LATE_SECONDS):
                done, _ = await asyncio.wait(five_calls(pool), timeout=30)
                assert all(isinstance(one.exception(), asyncpg.PostgresError | DatabaseSilent) for one in done)
                # From now on nobody waits at all.
                with pytest.raises(DatabaseSilent):
                    await asyncio.wait_for(pool.execute("SELECT true"), DEADLINE_SECONDS)

            await _eventually(lambda: _answers(pool))


@pytest.mark.asyncio
async def test_a_database_that_was_silent_and_then_answers_slowly_is_let_back_in(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "CONNECT_SECONDS", 1)
    relay = Relay(cluster, delay_seconds=0.1)
    async with relay.running() as url, watched_pool(url, monkeypatch, silence_seconds=1, pulse_seconds=0.1) as pool:
        assert await _answers(pool)
        # On the connections of this time, also later.
        relay.delay_seconds = NEVER_SECONDS
        with pytest.raises((asyncpg.PostgresError, DatabaseSilent)):
            await asyncio.wait_for(pool.fetchval("SELECT true"), 10)
        relay.delay_seconds = 0.1

        await _eventually(lambda: _answers(pool))


@asynccontextmanager
async def watched_pool(
    url: str, monkeypatch: pytest.MonkeyPatch, *, silence_seconds: float, pulse_seconds: float
) -> AsyncIterator[Pool]:
    """One connection, cut after so long a silence."""
    monkeypatch.setattr(links, "SILENCE_SECONDS", silence_seconds)
    monkeypatch.setattr(links, "PULSE_SECONDS", pulse_seconds)
    link = Link(url)
    async with link.watched(), link.pool(max_size=1) as pool:
        yield pool


def five_calls(pool: Pool) -> "list[asyncio.Task[str]]":
    return [asyncio.create_task(pool.execute("SELECT true")) for _ in range(5)]


async def _eventually(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await true():
            await asyncio.sleep(0.05)


async def _answers(pool: asyncpg.Pool) -> bool:
    try:
        return bool(await pool.fetchval("SELECT true"))
    except DatabaseSilent:
        return False


@pytest.mark.asyncio
async def test_a_long_wait_for_a_database_that_lives_is_nobodys_silence(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched_pool(cluster.url, monkeypatch, silence_seconds=2, pulse_seconds=0.2) as pool:
        assert await pool.fetchval("SELECT pg_sleep(3) IS NOT NULL")


@pytest.mark.asyncio
async def test_a_process_that_stood_still_itself_does_not_take_the_database_for_silent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched_pool(cluster.url, monkeypatch, silence_seconds=2, pulse_seconds=0.5) as pool:
        sleeping = asyncio.create_task(pool.fetchval("SELECT pg_sleep(4) IS NOT NULL"))
        await asyncio.sleep(0.6)
        time.sleep(2.5)

        assert await sleeping


# ---------------------------------------------------------------- what takes no changes


@pytest.mark.asyncio
async def test_a_connection_that_takes_no_changes_is_not_kept(cluster: Cluster, pool: Pool) -> None:
    admin = await asyncpg.connect(cluster.url)
    try:
        await admin.execute("ALTER ROLE kosminar SET default_transaction_read_only = on")
        await pool.expire_connections()
        async with pool.acquire() as connection:
            assert takes_no_changes(connection)
        await admin.execute("ALTER ROLE kosminar RESET default_transaction_read_only")

        async with pool.acquire() as connection:
            assert not takes_no_changes(connection)
            backend = connection.get_server_pid()
        async with pool.acquire() as connection:
            assert connection.get_server_pid() == backend
    finally:
        await admin.close()


@pytest.mark.asyncio
async def test_one_that_becomes_read_only_in_its_pool_fails_once(cluster: Cluster, pool: Pool) -> None:
    admin = await asyncpg.connect(cluster.url)
    await pool.execute("CREATE TABLE IF NOT EXISTS changed (number integer)")
    try:
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(10):
            while await admin.fetchval("SHOW default_transaction_read_only") != "on":
                await asyncio.sleep(0.01)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await pool.execute("INSERT INTO changed VALUES (1)")
    finally:
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(10):
            while await admin.fetchval("SHOW default_transaction_read_only") != "off":
                await asyncio.sleep(0.01)
        await admin.close()

    await pool.execute("INSERT INTO changed VALUES (1)")


# ---------------------------------------------------------------- several hosts


def both(first: Cluster, second: Cluster, more: str = "") -> str:
    folder = unquote(urlsplit(first.url).query.partition("&")[0].removeprefix("host="))
    return f"postgresql://kosminar@/postgres?host={folder},{folder}&port={first.port},{second.port}{more}"


@pytest.mark.asyncio
async def test_the_second_host_serves_while_the_first_stands_still_and_is_tried_first_from_then_on(
    clusters: tuple[Cluster, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "CONNECT_SECONDS", DEADLINE_SECONDS)
    first, second = clusters
    link = Link(both(first, second))
    with frozen(first.postmaster):
        async with link.connection() as connection:
            assert await connection.fetchval("SHOW port") == str(second.port)

    async with link.connection() as connection:
        assert await connection.fetchval("SHOW port") == str(second.port)


@pytest.mark.asyncio
async def test_the_host_that_takes_changes_is_found_where_the_url_asks_for_it(
    clusters: tuple[Cluster, Cluster],
) -> None:
    first, second = clusters
    first.demote()
    try:
        async with Link(both(first, second, "&target_session_attrs=read-write")).connection() as connection:
            assert await connection.fetchval("SHOW port") == str(second.port)
        async with Link(both(first, second)).connection() as connection:
            assert await connection.fetchval("SHOW port") == str(first.port)
    finally:
        first.promote()


@asynccontextmanager
async def taking_no_changes(cluster: Cluster) -> AsyncIterator[None]:
    admin = await asyncpg.connect(cluster.url)
    try:
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        yield
    finally:
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()


@asynccontextmanager
async def taking_no_connections(cluster: Cluster) -> AsyncIterator[None]:
    """Those that are open go on."""
    os.kill(cluster.postmaster, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(cluster.postmaster, signal.SIGCONT)


async def pool_and_pulse_are_on(cluster: Cluster, pool: Pool) -> bool:
    if await pool.fetchval("SHOW port") != str(cluster.port):
        return False
    observer = await asyncpg.connect(cluster.url)
    count = await observer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'link'")
    await observer.close()
    return bool(count == 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("fenced", [taking_no_changes, taking_no_connections])
async def test_the_pulse_follows_the_other_connections_to_another_host(
    clusters: tuple[Cluster, Cluster], monkeypatch: pytest.MonkeyPatch, fenced: Callable[[Cluster], Any]
) -> None:
    monkeypatch.setattr(links, "CONNECT_SECONDS", DEADLINE_SECONDS)
    monkeypatch.setattr(links, "PULSE_SECONDS", 0.1)
    first, second = clusters
    link = Link(both(first, second, "&target_session_attrs=read-write&application_name=link"))
    async with link.watched(), link.pool(max_size=1) as pool:
        await _eventually(lambda: pool_and_pulse_are_on(first, pool))
        async with fenced(first):
            await pool.expire_connections()
            await _eventually(lambda: pool_and_pulse_are_on(second, pool))


@pytest.mark.asyncio
async def test_the_pulse_follows_the_other_connections_where_one_address_leads_to_another_server(
    clusters: tuple[Cluster, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "PULSE_SECONDS", 0.1)
    first, second = clusters
    relay = Relay(first)
    async with relay.running() as url:
        link = Link(f"{url}&application_name=link")
        async with link.watched(), link.pool(max_size=1) as pool:
            await _eventually(lambda: pool_and_pulse_are_on(first, pool))
            relay.cluster = second
            async with taking_no_changes(first):
                await _eventually(lambda: pool_and_pulse_are_on(second, pool))


@pytest.mark.asyncio
async def test_a_standby_that_refuses_does_not_hide_that_the_primary_is_silent(
    clusters: tuple[Cluster, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "CONNECT_SECONDS", DEADLINE_SECONDS)
    first, second = clusters
    async with taking_no_changes(second):
        with frozen(first.postmaster), pytest.raises(DatabaseSilent):
            await Link(both(first, second, "&target_session_attrs=read-write")).connect()


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://a/db", ["postgresql://a/db"]),
        ("postgresql://u:p@a:1,b:2/db?x=y", ["postgresql://u:p@a:1/db?x=y", "postgresql://u:p@b:2/db?x=y"]),
        ("postgresql://[::1]:5,b/db", ["postgresql://[::1]:5/db", "postgresql://b/db"]),
        ("postgresql:///db?host=a,b", ["postgresql:///db?host=a", "postgresql:///db?host=b"]),
        ("postgresql:///db?host=a,b&port=1", ["postgresql:///db?host=a&port=1", "postgresql:///db?host=b&port=1"]),
        ("postgresql:///db?host=a,b&port=1,2", ["postgresql:///db?host=a&port=1", "postgresql:///db?host=b&port=2"]),
        ("postgresql:///db?host=/run/it", ["postgresql:///db?host=/run/it"]),
        ("postgresql:///db", ["postgresql:///db"]),
    ],
)
def test_a_url_is_read_host_by_host(url: str, hosts: list[str]) -> None:
    assert [unquote(host) for host in each_host(url)] == hosts


@pytest.mark.asyncio
async def test_a_database_that_does_not_let_us_in_says_so_by_a_deadline(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "CONNECT_SECONDS", DEADLINE_SECONDS)
    with frozen(cluster.postmaster), pytest.raises(DatabaseSilent, match="did not answer within"):
        await asyncio.wait_for(Link(cluster.url).connect(), DEADLINE_SECONDS + LATE_SECONDS)
