"""A database that takes no changes: calls hear "try again", probes and commands say why, and it passes by itself.

It comes about by a failover, by an administrator, or by a watchdog where a disk is full. Nothing is restarted here.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
import structlog
from tests.api.brand import Programme
from tests.conftest import MIGRATED_AT
from tests.store.clusters import Cluster, clusters_folder
from tests.store.failovers import CUSTOMER_ID, ask, changes, eventually_ready, programme_on
from tests.store.test_link import both

from kosminar.engine import doctor
from kosminar.logs import configure_logs
from kosminar.store.health import find_hindrance
from kosminar.store.migration import migrate

KOSMINAR = Path(sys.executable).with_name("kosminar")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
FAILOVERS = int(os.environ.get("FAILOVERS", "2"))

ROLE = "ALTER ROLE kosminar IN DATABASE {name}"
DATABASE = "ALTER DATABASE {name}"


async def kosminar(*arguments: object, url: str, code: int) -> subprocess.CompletedProcess[str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [KOSMINAR, *map(str, arguments), "--database-url", url],
        env={**ENVIRONMENT, "KOSMINAR_LOG_LEVEL": "error"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(autouse=True)
def as_served() -> Iterator[None]:
    """The log as `serve` has it: what structlog does by itself with an error takes a second, and the loop stands."""
    configure_logs("warning")
    yield
    structlog.reset_defaults()


@pytest_asyncio.fixture
async def programme(database_url: str) -> AsyncIterator[Programme]:
    async with programme_on(database_url) as programme:
        yield programme


@asynccontextmanager
async def read_only(url: str, setting: str, *, cut: bool = True) -> AsyncIterator[None]:
    name = urlsplit(url).path[1:]
    # By way of another database, which stays as it is.
    admin = await asyncpg.connect(urlunsplit(urlsplit(url)._replace(path="/postgres")))
    await admin.execute(setting.format(name=name) + " SET default_transaction_read_only = on")
    try:
        if cut:
            await cut_all(admin, name)
        yield
    finally:
        await admin.execute(setting.format(name=name) + " RESET default_transaction_read_only")
        if not cut:
            await cut_all(admin, name)
        await admin.close()


async def cut_all(admin: asyncpg.Connection, name: str) -> None:
    await admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")


@pytest.mark.asyncio
@pytest.mark.parametrize("setting", [ROLE, DATABASE])
async def test_every_change_hears_try_again_and_is_taken_at_once_when_the_database_takes_changes(
    database_url: str, programme: Programme, setting: str
) -> None:
    brand = programme.brand
    for number in range(FAILOVERS):
        async with read_only(database_url, setting):
            for asked in changes(programme, number):
                refused = await ask(brand, asked)
                assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "1"), (asked, refused.text)
                assert "390015" in refused.text
            assert (await brand.call("GET", "/targetGroups")).status_code == 200
            ready = await brand.http.get("/readyz")
            assert (ready.status_code, ready.headers["Retry-After"]) == (503, "1")
            assert "read-only" in ready.text

        for asked in changes(programme, number):
            assert (await ask(brand, asked)).is_success, asked
        await eventually_ready(brand)


@pytest.mark.asyncio
async def test_connections_that_were_not_cut_do_not_stay_what_they_were(
    database_url: str, programme: Programme
) -> None:
    """More calls at once than there are connections, so that new ones are opened, which take no changes."""
    brand = programme.brand
    for number in range(FAILOVERS):
        calls = [changes(programme, 100 * number + index)[2] for index in range(60)]
        async with read_only(database_url, DATABASE):
            assert (await brand.call("GET", "/targetGroups")).status_code == 200
        # One connection that takes changes, and places for more.
        assert (await ask(brand, calls[0])).is_success
        async with read_only(database_url, DATABASE, cut=False):
            answers = await asyncio.gather(*(ask(brand, asked) for asked in calls))
            assert {answer.status_code for answer in answers} == {200, 503}

        answers = await asyncio.gather(*(ask(brand, asked) for asked in calls))
        assert {answer.status_code for answer in answers} == {200}, answers


@pytest.mark.asyncio
async def test_a_primary_that_comes_back_as_a_standby_and_is_promoted_is_used_again() -> None:
    with clusters_folder() as folder:
        cluster = Cluster(folder, 5432).make().start()
        async with programme_on(cluster.url) as programme:
            for number in range(FAILOVERS):
                await asyncio.to_thread(cluster.demote)
                ready = await programme.brand.http.get("/readyz")
                assert (ready.status_code, "in recovery" in ready.text) == (503, True)
                for asked in changes(programme, number):
                    refused = await ask(programme.brand, asked)
                    assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "1"), refused.text
                assert (await programme.brand.call("GET", "/targetGroups")).status_code == 200

                await asyncio.to_thread(cluster.promote)
                await eventually_ready(programme.brand)
                for asked in changes(programme, number):
                    assert (await ask(programme.brand, asked)).is_success, asked


@pytest.mark.asyncio
async def test_of_two_hosts_the_promoted_one_is_found_and_its_former_primary_left() -> None:
    with clusters_folder() as folder:
        first, second = Cluster(folder, 5432).make().start(), Cluster(folder, 5433)
        second.follow(first).start()
        url = both(first, second, "&target_session_attrs=read-write")
        async with programme_on(url) as programme:
            await _replicated(first, second)
            # The audit reads a standby that follows, and writes nothing there.
            audited = await kosminar("audit", url=second.url, code=0)
            assert " 0 differences" in audited.stdout
            examined = (await kosminar("doctor", url=second.url, code=1)).stdout
            assert "BAD writing: in recovery" in examined
            assert "ok  generation: 0\n" in examined

            await asyncio.to_thread(first.stop, "immediate")
            assert (await ask(programme.brand, changes(programme, 0)[0])).status_code == 503
            await asyncio.to_thread(second.promote)
            await eventually_ready(programme.brand)
            for asked in changes(programme, 0):
                assert (await ask(programme.brand, asked)).is_success, asked

            # The old one comes back as what it is now, and is passed over.
            await asyncio.to_thread(first.start_as_standby)
            for asked in changes(programme, 1):
                assert (await ask(programme.brand, asked)).is_success, asked


async def _replicated(first: Cluster, second: Cluster) -> None:
    ahead, behind = await asyncpg.connect(first.url), await asyncpg.connect(second.url)
    try:
        written = await ahead.fetchval("SELECT pg_current_wal_lsn()::text")
        async with asyncio.timeout(10):
            while not await behind.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written):
                await asyncio.sleep(0.01)
    finally:
        await ahead.close()
        await behind.close()


# ---------------------------------------------------------------- commands


@pytest.mark.asyncio
async def test_commands_on_a_read_only_database_work_or_say_why_not(database_url: str, tmp_path: Path) -> None:
    await kosminar("organisation", "create", "--name", "Acme", "--zone", "UTC", url=database_url, code=0)
    people = tmp_path / "people.csv"
    people.write_text(f"customerId\n{CUSTOMER_ID}\n")
    await kosminar("import", "customers", "--organisation", 1, "--file", people, url=database_url, code=0)
    bought = tmp_path / "bought.csv"
    bought.write_text(f"customerId,occurredAt\n{CUSTOMER_ID},2026-03-02\n")

    async with read_only(database_url, DATABASE):
        assert "1 customers recounted" in (await kosminar("audit", url=database_url, code=0)).stdout
        shown = json.loads((await kosminar("doctor", "--json", url=database_url, code=1)).stdout)
        writing = next(check for check in shown["checks"] if check["name"] == "writing")
        assert writing["found"] == "read-only: default_transaction_read_only is on"
        assert "503" in writing["advice"]
        assert "up to date" in (await kosminar("migrate", url=database_url, code=0)).stdout
        for noun, file in (("customers", people), ("activities", bought)):
            file.write_text(file.read_text().replace(str(CUSTOMER_ID), str(CUSTOMER_ID + 1)))
            told = (
                await kosminar("import", noun, "--organisation", 1, "--file", file, url=database_url, code=1)
            ).stderr
            assert told.startswith("kosminar: The database ")
            assert "read-only" in told
            assert told.count("\n") == 1

    assert "ok  writing: a change was saved" in (await kosminar("doctor", url=database_url, code=1)).stdout
    await kosminar("import", "customers", "--organisation", 1, "--file", people, url=database_url, code=0)


@pytest.mark.asyncio
async def test_an_older_schema_on_a_read_only_database_is_refused_in_a_sentence(empty_database_url: str) -> None:
    async with read_only(empty_database_url, DATABASE):
        told = (await kosminar("audit", url=empty_database_url, code=1)).stderr

    assert told.startswith("kosminar: The database is read-only, and its schema is older than this Kosminar. Run `kosm")
    assert told.count("\n") == 1


# ---------------------------------------------------------------- the write that leaves nothing


@pytest.mark.asyncio
async def test_the_test_write_is_real_and_leaves_nothing_and_needs_no_special_right(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE ROLE lowly; SET ROLE lowly")
        rows = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables"
        size = "SELECT pg_database_size(current_database())"
        before = [await connection.fetchval(statement) for statement in (rows, size)]
        written = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")

        assert await find_hindrance(connection, writing=True) is None

        assert await connection.fetchval("SELECT pg_current_wal_insert_lsn() > $1::text::pg_lsn", written)
        assert [await connection.fetchval(statement) for statement in (rows, size)] == before
    finally:
        await connection.execute("RESET ROLE; DROP ROLE lowly")
        await connection.close()


@pytest.mark.asyncio
async def test_a_crowd_at_the_probe_makes_one_write_a_second(database_url: str, programme: Programme) -> None:
    admin = await asyncpg.connect(database_url)
    first = await admin.fetchval("SELECT pg_current_xact_id()::text::bigint")
    began = time.monotonic()

    answers = [await programme.brand.http.get("/readyz") for _ in range(30)]
    answers += await asyncio.gather(*(programme.brand.http.get("/readyz") for _ in range(30)))

    seconds = time.monotonic() - began
    written = await admin.fetchval("SELECT pg_current_xact_id()::text::bigint") - first - 1
    await admin.close()
    assert {answer.status_code for answer in answers} == {200}
    assert 1 <= written <= 2 + seconds


@pytest.mark.asyncio
async def test_a_commit_that_waits_for_a_standby_that_is_not_there_is_not_ready_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "WRITE_SECONDS", 1)
    with clusters_folder() as folder:
        cluster = Cluster(folder, 5432).make().start()
        async with programme_on(cluster.url) as programme:
            admin = await asyncpg.connect(cluster.url)
            await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
            await admin.execute("SELECT pg_reload_conf()")
            await admin.close()
            async with asyncio.timeout(10):
                while (await programme.brand.http.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.05)
            connection = await asyncpg.connect(cluster.url)
            checks = {check.name: check for check in await doctor.examine(connection, now=MIGRATED_AT)}
            connection.terminate()
            assert not checks["writing"].healthy
            assert checks["writing"].found == "nothing was saved within 1 seconds"


@pytest.mark.asyncio
async def test_where_nothing_is_missing_to_migrate_writes_nothing(connection: asyncpg.Connection) -> None:
    await connection.execute("SET default_transaction_read_only = on")

    assert await migrate(connection, now=MIGRATED_AT) == []
