"""A database that dies under `kosminar serve` is started again by it, and nothing that was answered is lost."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.running import ask, eventually, kosminar, running

from kosminar.store import embedded
from kosminar.store.embedded import EmbeddedDatabase, EmbeddedDatabaseError, kept_alive, open_embedded
from kosminar.store.embedded_host import temporary_data_directory


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    made = temporary_data_directory()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def database(directory: Path) -> Iterator[EmbeddedDatabase]:
    with open_embedded(directory) as database:
        yield database


def server(directory: Path) -> int:
    return int((directory / "postgresql" / "postmaster.pid").read_text().split()[0])


def test_a_killed_database_comes_back_under_a_running_server_and_nothing_answered_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(log) as server_:
        with server_.load("during"):
            eventually(lambda: len(server_.answered) > 20)
            killed = server(server_.data_dir)
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: "answers again" in log.read_text())
            seen = len(server_.answered)
            eventually(lambda: len(server_.answered) > seen + 20)

        assert server(server_.data_dir) != killed
        with open_embedded(server_.data_dir) as database:
            recorded = ask(database.url, "SELECT array_agg(activity_id) FROM journal WHERE kind = 'activity'")
        assert set(server_.answered) <= set(recorded)
        assert set(server_.refused) <= {503}
        assert " 0 differences" in kosminar("audit", "--data-dir", server_.data_dir)
        server_.stop()


def test_a_living_database_is_left_alone(directory: Path, database: EmbeddedDatabase) -> None:
    pid = server(directory)

    assert not database.revive()

    assert server(directory) == pid


def test_of_two_that_find_it_dead_one_starts_it(directory: Path, database: EmbeddedDatabase) -> None:
    with open_embedded(directory) as other:
        os.kill(server(directory), signal.SIGKILL)
        eventually(database._server.dead)

        assert database.revive()
        assert not other.revive()

        assert ask(other.url, "SELECT 1") == 1


def test_it_comes_back_where_it_was_whoever_starts_it(
    directory: Path, database: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    os.kill(server(directory), signal.SIGKILL)
    eventually(database._server.dead)
    monkeypatch.setattr(embedded, "make_socket_directory", lambda *_: tmp_path)

    assert database.revive()

    assert ask(database.url, "SELECT 1") == 1


def test_a_revival_that_fails_is_tried_again(
    directory: Path, database: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "REVIVAL_SECONDS", 0.01)
    monkeypatch.setattr(embedded, "REVIVAL_PAUSE_SECONDS", 0.01)
    version = directory / "postgresql" / "PG_VERSION"
    right = version.read_text()

    with kept_alive(database):
        version.write_text("14\n")
        os.kill(server(directory), signal.SIGKILL)
        eventually(lambda: "it is tried anew" in caplog.text)
        with pytest.raises(EmbeddedDatabaseError, match="made by PostgreSQL 14"):
            open_embedded(directory)
        version.write_text(right)
        eventually(lambda: "answers again" in caplog.text)

    assert ask(database.url, "SELECT 1") == 1
