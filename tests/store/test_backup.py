"""Back-up and restore, as an operator lives them: one story with a server under load, told once, and looked at from all
sides; and what each of them refuses.

The story: purchases go on while the back-up is taken; then comes one more, an instant, and another one; then the server
is stopped. The archive has every segment of it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from tests.store.running import ask, eventually, kosminar, running
from typer.testing import CliRunner

from kosminar import cli
from kosminar.store import backup
from kosminar.store.archive import Segment, archive_command, archived
from kosminar.store.backup import BackupRefused, Restored, restore_backup, take_backup
from kosminar.store.embedded import EmbeddedDatabaseError, open_embedded
from kosminar.store.embedded_host import forget_archive, remembered_archive, server_user, temporary_data_directory
from kosminar.wiring import utc_now

BEFORE, AFTER = "before the instant", "after the instant"


@dataclass(frozen=True)
class Story:
    backup: Path
    archive_dir: Path
    archive: Path
    answered_before_backup: frozenset[str]
    answered: frozenset[str]
    between: datetime
    data_dir: Path

    def continuing(self) -> list[Segment]:
        """The archived segments after the back-up."""
        return [segment for segment in archived(self.archive, 1) if segment > backup._last_segment(self.backup)]


def open_folder() -> Path:
    """One that the server's user can reach."""
    made = temporary_data_directory()
    server_user(made).own(made)
    return made


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    archive_dir, place = open_folder(), open_folder()
    with running(place / "log", KOSMINAR_ARCHIVE_DIR=archive_dir) as server:
        with server.load("during"):
            eventually(lambda: len(server.answered) > 20)
            before = frozenset(server.answered)
            kosminar("backup", place / "backup", "--data-dir", server.data_dir)
            next_segment(server.data_dir)
        assert server.buy(BEFORE)
        between = utc_now()
        assert server.buy(AFTER)
        next_segment(server.data_dir)
        assert server.refused == []
        server.stop()
        yield Story(
            backup=place / "backup",
            archive_dir=archive_dir,
            archive=remembered_archive(server.data_dir),
            answered_before_backup=before,
            answered=frozenset(server.answered),
            between=between,
            data_dir=server.data_dir,
        )
    shutil.rmtree(archive_dir)
    shutil.rmtree(place)


def next_segment(data_dir: Path) -> None:
    with open_embedded(data_dir) as database:
        ask(database.url, "SELECT pg_switch_wal()")


@pytest.fixture
def new() -> Iterator[Path]:
    made = temporary_data_directory()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def whole(story: Story) -> Iterator[tuple[Path, Restored]]:
    """The story's end, recovered from back-up and archive."""
    made = temporary_data_directory()
    yield made, restored(story, made)
    shutil.rmtree(made)


@pytest.fixture
def copied_archive(story: Story) -> Iterator[Path]:
    """The story's archive, to damage."""
    made = open_folder()
    subprocess.run(["cp", "-a", story.archive, made], check=True)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def small() -> Iterator[Path]:
    """A data directory with an empty database."""
    made = temporary_data_directory()
    open_embedded(made).close()
    yield made
    shutil.rmtree(made)


def purchases(data_dir: Path) -> frozenset[str]:
    with open_embedded(data_dir) as database:
        return frozenset(ask(database.url, "SELECT array_agg(activity_id) FROM journal WHERE kind = 'activity'"))


def restored(story: Story, new: Path, *, until: datetime | None = None, archive_dir: Path | None = None) -> Restored:
    return restore_backup(
        story.backup, new, archive_directory=archive_dir or story.archive_dir, until=until, wall=utc_now
    )


def content(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# ---------------------------------------------------------------- the story


def test_a_back_up_under_load_has_everything_answered_before_it_and_the_audit_accepts_it(
    story: Story, new: Path
) -> None:
    done = kosminar("restore", story.backup, "--data-dir", new)
    audit = kosminar("audit", "--data-dir", new)

    assert f"kosminar audit --data-dir {new}" in done
    assert " 0 differences" in audit
    assert story.answered_before_backup <= purchases(new)
    assert BEFORE not in purchases(new)


def test_recovery_up_to_an_instant_has_what_came_before_it_and_not_what_came_after(story: Story, new: Path) -> None:
    done = restored(story, new, until=story.between)

    assert purchases(new) == story.answered - {AFTER}
    assert done.last_change_at is not None
    assert done.last_change_at < story.between


def test_recovery_to_the_end_of_the_archive_has_everything_that_was_answered(
    story: Story, whole: tuple[Path, Restored]
) -> None:
    directory, done = whole

    assert purchases(directory) == story.answered
    assert done.archived_count == len(story.continuing())


def test_a_restored_database_is_backed_up_and_archived_like_any_other(
    story: Story, whole: tuple[Path, Restored], new: Path
) -> None:
    first, place = whole[0], open_folder()

    with open_embedded(first, archive_directory=story.archive_dir) as database:
        take_backup(database, place / "backup", wall=utc_now)
        ask(database.url, "CREATE TABLE later ()")
    own = remembered_archive(first)
    restore_backup(place / "backup", new, archive_directory=story.archive_dir, until=None, wall=utc_now)

    assert own is not None
    assert own != story.archive
    assert archived(own, 2) != []
    with open_embedded(new) as database:
        assert ask(database.url, "SELECT count(*) FROM later") == 0
    shutil.rmtree(own)
    shutil.rmtree(place)


def test_a_back_up_is_closed_to_others(story: Story) -> None:
    assert story.backup.stat().st_mode & 0o077 == 0
    assert content(story.backup) == ["kosminar.json", "postgresql"]


# ---------------------------------------------------------------- what restore refuses


def test_an_instant_before_the_back_ups_end_is_refused(story: Story, new: Path) -> None:
    ended_at = datetime.fromisoformat(json.loads((story.backup / "kosminar.json").read_text())["ended_at"])

    with pytest.raises(BackupRefused, match="Restore an older back-up"):
        restored(story, new, until=ended_at - timedelta(microseconds=1))

    assert content(new) == []


def test_an_instant_that_the_archive_does_not_reach_is_refused(story: Story, new: Path) -> None:
    with pytest.raises(BackupRefused, match="leave out --until"):
        restored(story, new, until=utc_now() + timedelta(days=1))

    assert content(new) == []


def test_an_instant_without_archive_is_refused(story: Story, new: Path) -> None:
    with pytest.raises(BackupRefused, match="--archive"):
        restore_backup(story.backup, new, archive_directory=None, until=story.between, wall=utc_now)


def test_an_archive_with_a_gap_is_refused_by_the_name_of_what_is_missing(
    story: Story, new: Path, copied_archive: Path
) -> None:
    missing = story.continuing()[0]
    (copied_archive / story.archive.name / f"{missing}.gz").unlink()

    with pytest.raises(BackupRefused, match=f"gap: {missing} is missing"):
        restored(story, new, archive_dir=copied_archive)

    assert content(new) == []


def test_a_damaged_segment_stops_the_recovery_and_is_not_taken_for_the_end(
    story: Story, new: Path, copied_archive: Path
) -> None:
    file = copied_archive / story.archive.name / f"{story.continuing()[-1]}.gz"
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(EmbeddedDatabaseError, match="could not restore file"):
        restored(story, new, archive_dir=copied_archive)

    assert content(new) == []


def test_another_databases_archive_is_refused(story: Story, new: Path) -> None:
    with pytest.raises(BackupRefused, match=f"does not hold {story.archive.name}"):
        restored(story, new, archive_dir=new)


def test_a_damaged_back_up_is_refused(story: Story, new: Path, tmp_path: Path) -> None:
    shutil.copytree(story.backup, tmp_path / "damaged")
    file = tmp_path / "damaged" / "postgresql" / "global" / "pg_control"
    file.write_bytes(file.read_bytes()[:-1] + b"!")

    with pytest.raises(BackupRefused, match=r"damaged.*\n.*pg_control"):
        restore_backup(tmp_path / "damaged", new, archive_directory=None, until=None, wall=utc_now)

    assert content(new) == []


def test_a_directory_that_is_not_empty_is_left_alone(story: Story, new: Path) -> None:
    (new / "holiday.jpg").touch()

    with pytest.raises(BackupRefused, match="is not empty"):
        restored(story, new)

    assert content(new) == ["holiday.jpg"]


def test_what_is_no_back_up_is_refused(new: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupRefused, match="is not a back-up"):
        restore_backup(tmp_path, new, archive_directory=None, until=None, wall=utc_now)


def test_nobody_else_opens_a_directory_while_it_is_restored_into(story: Story, new: Path) -> None:
    shutil.copytree(story.data_dir / "postgresql", new / "postgresql", ignore=lambda *_: ["base"])
    (new / "restoring").touch()

    with pytest.raises(EmbeddedDatabaseError, match="being restored into"):
        open_embedded(new)


# ---------------------------------------------------------------- what backup refuses


def test_an_interrupted_back_up_leaves_nothing_behind(small: Path, tmp_path: Path) -> None:
    with open_embedded(small) as database, pytest.raises(KeyboardInterrupt):
        take_backup(database, tmp_path / "backup", wall=interrupted_the_second_time())

    assert content(tmp_path) == []


def interrupted_the_second_time() -> Callable[[], datetime]:
    """A clock that is asked before and after the copying."""
    instants = iter([utc_now()])

    def wall() -> datetime:
        for instant in instants:
            return instant
        raise KeyboardInterrupt

    return wall


def test_a_back_up_never_replaces_another(small: Path, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    with open_embedded(small) as database:
        take_backup(database, tmp_path / "backup", wall=utc_now)
        made_at = (tmp_path / "backup").stat().st_mtime_ns

        with pytest.raises(BackupRefused, match="exists already"):
            take_backup(database, tmp_path / "backup", wall=utc_now)

    assert (tmp_path / "backup").stat().st_mtime_ns == made_at


def test_a_back_up_inside_the_data_directory_is_refused(small: Path) -> None:
    with open_embedded(small) as database, pytest.raises(BackupRefused, match="lost with it"):
        take_backup(database, small / "backup", wall=utc_now)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (["--database-url", "postgresql://db/x"], "pg_basebackup or pg_dump"),
        (["--data-dir", "/nonexistent"], "no database in /nonexistent"),
    ],
)
def test_a_database_that_is_named_or_missing_is_not_backed_up(tmp_path: Path, where: list[str], words: str) -> None:
    done = CliRunner().invoke(cli.app, ["backup", str(tmp_path / "backup"), *where])

    structlog.reset_defaults()
    assert isinstance(done.exception, BackupRefused)
    assert words in str(done.exception)
    assert content(tmp_path) == []


def test_an_instant_without_offset_is_asked_wrongly(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["restore", str(tmp_path), "--data-dir", "x", "--until", "2031-02-01T10:00:00"])

    structlog.reset_defaults()
    assert done.exit_code == 2
    assert "with its offset" in done.output


# ---------------------------------------------------------------- the archive and the server


def test_a_cluster_of_an_older_kosminar_gets_the_rule_that_back_ups_need(small: Path, tmp_path: Path) -> None:
    rules = small / "postgresql" / "pg_hba.conf"
    rules.write_text("local all kosminar peer map=kosminar\n")

    with open_embedded(small) as database:
        take_backup(database, tmp_path / "backup", wall=utc_now)


def test_a_running_server_of_an_older_kosminar_gets_it_too(small: Path, tmp_path: Path) -> None:
    with open_embedded(small) as first:
        (small / "postgresql" / "pg_hba.conf").write_text("local all kosminar peer map=kosminar\n")
        ask(first.url, "SELECT pg_reload_conf()")

        with open_embedded(small) as second:
            take_backup(second, tmp_path / "backup", wall=utc_now)


def test_a_command_that_does_not_know_of_the_archive_goes_on_archiving_and_who_serves_ends_it(small: Path) -> None:
    archive_dir = open_folder()
    archiving = "SELECT setting FROM pg_settings WHERE name = 'archive_mode'"
    seen = []

    for told in ({"archive_directory": archive_dir, "forget": True}, {}, {"forget": True}, {}):
        with open_embedded(small, **told) as database:
            seen.append((ask(database.url, archiving), remembered_archive(small) is not None))

    assert seen == [("on", True), ("on", True), ("off", False), ("off", False)]
    # Told again, it begins anew: what changed meanwhile is in no archive, and no folder has a gap.
    with open_embedded(small, archive_directory=archive_dir):
        assert len(content(archive_dir)) == 2
    forget_archive(small)
    shutil.rmtree(archive_dir)


def test_an_archive_that_is_not_mounted_stays_where_it_is(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive_dir = open_folder()
    open_embedded(small, archive_directory=archive_dir).close()
    (folder,) = archive_dir.iterdir()
    shutil.rmtree(folder)

    with open_embedded(small, archive_directory=archive_dir):
        assert content(archive_dir) == []

    assert f"The archive {folder} is not there" in caplog.text
    forget_archive(small)
    shutil.rmtree(archive_dir)


def test_an_archive_that_the_server_cannot_use_is_refused(small: Path) -> None:
    with pytest.raises(EmbeddedDatabaseError, match="KOSMINAR_ARCHIVE_DIR"):
        open_embedded(small, archive_directory=small / "nowhere")


def test_a_server_that_was_started_without_the_archive_is_reported(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive_dir = open_folder()
    with open_embedded(small), open_embedded(small, archive_directory=archive_dir):
        assert f"does not archive in {archive_dir}" in caplog.text

    shutil.rmtree(archive_dir)


def test_a_segment_is_archived_once_and_never_over_another_one(tmp_path: Path) -> None:
    folder = tmp_path / "50% of Ana's"
    folder.mkdir()
    segment = tmp_path / "segment"
    names = {"%f": "000000010000000000000001", "%p": str(segment), "%%": "%"}

    def archive(data: bytes) -> int:
        segment.write_bytes(data)
        command = archive_command(folder)
        for name, value in names.items():
            command = command.replace(name, value)
        return subprocess.run(["sh", "-c", command], check=False, env={"PATH": os.defpath}).returncode

    # A crash left half of it under its temporary name.
    (folder / "000000010000000000000001.unfinished").write_bytes(b"half")
    assert archive(b"log") == 0
    assert content(folder) == ["000000010000000000000001.gz"]
    before = (folder / "000000010000000000000001.gz").read_bytes()
    assert archive(b"log") == 0
    assert archive(b"other") == 1
    assert (folder / "000000010000000000000001.gz").read_bytes() == before
    folder.rename(tmp_path / "unmounted")
    assert archive(b"log") != 0
