"""The embedded server is ended whatever state it is in, in bounded time, and the next start works."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.holders import COUNT, ROOT, WRITE, Holder, ask, eventually, processes, server

from kosminar.store import embedded, embedded_host, embedded_server
from kosminar.store.embedded import EmbeddedDatabase, open_embedded
from kosminar.store.embedded_locks import SERVER, STARTING, USERS
from kosminar.store.embedded_server import EmbeddedServer

# From the crash of a process to the request to end: where PostgreSQL 18 forgets its own processes lies in between.
GAPS_SECONDS = (0.05, 0.15, 0.3)
ENDED_SECONDS_MAX = 30
TIMES = [3, pytest.param(20, marks=pytest.mark.long)]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that makes no progress is noticed sooner than on a busy machine it should be."""
    monkeypatch.setattr(embedded, "PATIENCE_SECONDS", ENDED_SECONDS_MAX)
    monkeypatch.setattr(embedded_server, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(embedded_server, "LOOK_SECONDS", 0.1)


def children(directory: Path) -> dict[str, int]:
    """The server's own processes, by their titles."""
    found = {}
    for pid in processes(directory):
        with contextlib.suppress(OSError):
            title = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")[0].decode()
            if title.startswith("postgres: "):
                found[title.removeprefix("postgres: ").strip()] = pid
    return found


def send(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end_in_time(database: EmbeddedDatabase, directory: Path) -> None:
    began = time.monotonic()
    database.close()
    assert processes(directory) == []
    assert time.monotonic() - began < ENDED_SECONDS_MAX


@pytest.mark.parametrize("times", TIMES)
def test_the_last_to_leave_ends_a_server_that_recovers_from_the_crash_of_one_process(
    directory: Path, soon: None, times: int
) -> None:
    for number in range(times):
        with open_embedded(directory) as database:
            ask(database.url, *WRITE)
            titles = sorted(children(directory))
            send(signal.SIGKILL, children(directory)[titles[number % len(titles)]])
            time.sleep(GAPS_SECONDS[number % len(GAPS_SECONDS)])
            end_in_time(database, directory)

    with open_embedded(directory) as database:
        assert ask(database.url, COUNT) == times


@pytest.mark.parametrize("times", TIMES)
def test_a_fast_shutdown_in_the_midst_of_a_recovery_is_followed_by_an_immediate_one(
    directory: Path, soon: None, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the process had crashed between the look and the request: the recovery is not waited for.
    monkeypatch.setattr(EmbeddedServer, "_steady", lambda _: True)

    for _ in range(times):
        with open_embedded(directory) as database:
            ask(database.url, *WRITE)
            send(signal.SIGKILL, children(directory)["checkpointer"])
            time.sleep(GAPS_SECONDS[0])
            end_in_time(database, directory)

    with open_embedded(directory) as database:
        assert ask(database.url, COUNT) == times


@pytest.mark.parametrize("who", ["all", "checkpointer"])
def test_stopped_processes_do_not_keep_the_last_one_from_leaving(directory: Path, soon: None, who: str) -> None:
    with open_embedded(directory) as database:
        ask(database.url, *WRITE)
        send(signal.SIGSTOP, *(processes(directory) if who == "all" else [children(directory)[who]]))
        end_in_time(database, directory)

    with open_embedded(directory) as database:
        assert ask(database.url, COUNT) == 1


def test_a_server_left_on_stopping_is_ended_by_the_next_start(directory: Path, soon: None) -> None:
    owner = Holder(directory)
    ask(owner.url(), *WRITE)
    pid = server(directory)
    send(signal.SIGSTOP, children(directory)["checkpointer"])
    left = server_of(directory)
    left.request_stop("fast")
    eventually(lambda: left.status() == "stopping")
    owner.signal(signal.SIGKILL)
    assert pid in processes(directory)

    began = time.monotonic()
    with open_embedded(directory) as database:
        assert ask(database.url, COUNT) == 1
        assert time.monotonic() - began < ENDED_SECONDS_MAX
        assert server(directory) != pid


def test_a_process_that_outlives_the_postmaster_does_not_keep_the_next_start_waiting(
    directory: Path, soon: None
) -> None:
    owner = Holder(directory)
    ask(owner.url(), *WRITE)
    left = children(directory)["checkpointer"]
    send(signal.SIGSTOP, left)
    send(signal.SIGKILL, server(directory))
    owner.signal(signal.SIGKILL)

    with open_embedded(directory) as database:
        assert ask(database.url, COUNT) == 1
        assert left not in processes(directory)


def test_a_server_in_use_that_does_not_answer_is_left_to_its_users(directory: Path, soon: None) -> None:
    owner = Holder(directory)
    url = owner.url()
    send(signal.SIGSTOP, *processes(directory))

    open_embedded(directory).close()

    send(signal.SIGCONT, *processes(directory))
    assert ask(url, "SELECT 1") == 1
    owner.leave()


@pytest.mark.parametrize("times", TIMES)
def test_who_joins_during_a_recovery_gets_in_when_it_is_over(directory: Path, times: int) -> None:
    with open_embedded(directory):
        for _ in range(times):
            send(signal.SIGKILL, children(directory)["checkpointer"])
            eventually(lambda: "checkpointer" not in children(directory))
            with open_embedded(directory) as joined:
                assert ask(joined.url, "SELECT 1") == 1


@contextlib.contextmanager
def bystander(folder: Path, *files: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's user that works in a folder, with files open."""
    opened = [file.open("r+b") for file in files]
    user = embedded_host.server_user(folder)
    # With its group as well, or the kernel would show its files to root alone.
    credentials = {"user": user.uid, "group": user.gid, "extra_groups": []} if ROOT else {}
    with subprocess.Popen(
        ["sleep", "600"],
        cwd=folder,
        pass_fds=[file.fileno() for file in opened],
        **credentials,
    ) as process:
        for file in opened:
            file.close()
        try:
            yield process
        finally:
            process.kill()


def test_only_processes_of_the_cluster_are_killed(directory: Path, soon: None) -> None:
    locks = [directory / name for name in (SERVER, USERS, STARTING)]
    database = open_embedded(directory)
    with (
        bystander(database._cluster) as visitor,
        # Another Kosminar that looks whether the server lives, in a shell that stands in the cluster.
        bystander(database._cluster, *locks[:2]) as kosminar,
        bystander(database._cluster, locks[0], locks[2]) as starting,
        bystander(directory, locks[0]) as elsewhere,
    ):
        command = ("/bin/sh", "-c", embedded_server._KILL, "sh", database._cluster, *locks)
        send(signal.SIGSTOP, server(directory))

        embedded_host.server_user(directory).run(*command)

        eventually(lambda: server(directory) not in processes(directory))
        assert [one.poll() for one in (visitor, kosminar, starting, elsewhere)] == [None] * 4
    database.close()


def server_of(directory: Path) -> EmbeddedServer:
    user = embedded_host.server_user(directory)
    return EmbeddedServer(data_directory=directory, user=user, binaries=embedded_host.find_binaries(user))
