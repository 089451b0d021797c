"""The embedded PostgreSQL: made, started, shared, adopted and stopped.

Kosminar without a database URL runs its own server in the data directory, reachable through a unix socket only.
Three lock files say who does what; the kernel releases them however a process ends:

    users.lock    shared, by every process that uses the server: the last to leave stops it.
    starting.lock exclusive, while someone joins or leaves.
    server.lock   exclusive, inherited by PostgreSQL's own processes: held as long as one of them lives. A process that
                  gets it knows that no server runs, whatever a left-over pid file says.

A killed Kosminar leaves its server running, and the next one adopts it. A killed server is started again by the next
process that joins, and under one that keeps it alive (`kept_alive`) within a second. One that neither ends nor answers is
ended (embedded_server.py). embedded_host.py decides about its user, programs and folders. No path reaches a shell,
except quoted in the commands that archive. Tests: tests/store/test_embedded.py.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self
from urllib.parse import quote

from kosminar.endings import EndingSignals
from kosminar.store.archive import archive_command, archiving_settings
from kosminar.store.embedded_host import (
    CLUSTER,
    EmbeddedDatabaseError,
    ServerUser,
    archive_folder,
    find_binaries,
    forget_archive,
    major_version,
    make_socket_directory,
    prepare_data_directory,
    private_folder,
    real_directory,
    remembered_archive,
    server_user,
    shared_buffers_bytes,
    sync_folder,
)
from kosminar.store.embedded_locks import SERVER, STARTING, USERS, open_lock, opened_lock, try_lock
from kosminar.store.embedded_server import (
    CREATE_DATABASE,
    KNOCK_SECONDS,
    NAME,
    POLL_SECONDS,
    PORT,
    EmbeddedServer,
    Greeting,
    Progress,
)

__all__ = ["EmbeddedDatabase", "EmbeddedDatabaseError", "Origin", "kept_alive", "open_embedded"]

SETTINGS: Final = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0777",  # The folder around the socket is closed to others, and peer names who may enter.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "max_wal_size": "2GB",  # Fewer checkpoints under load; a recovery has more to read, some seconds of it.
    "jit": "off",  # Compiling costs more than our short statements take.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_min_error_statement": "panic",  # Statements and details hold customers' data; the caller gets the error anyway.
    "log_error_verbosity": "terse",
}

PATIENCE_SECONDS = 300
"""How long a start may go without a sign of progress. Recovery after a crash reports every ten seconds, and may take many
minutes in all; the checkpoint that ends it is silent."""

RULES: Final = f"""\
# Written by Kosminar. Only root and the server's own user may enter.
local all {NAME} peer map={NAME}
local replication {NAME} peer map={NAME}
"""
"""Of pg_hba.conf; the second rule is for back-ups."""

RESTORING = "restoring"
"""The file that stands in a data directory while a back-up is restored into it."""

REVIVAL_SECONDS = 1
REVIVAL_PAUSE_SECONDS = 10
"""After a start that failed: the disk may be full, and trying each second would fill the log as well."""

NOTICE_SECONDS = 5
MEGABYTE: Final = 1024 * 1024
LOG_BYTES_MAX = 16 * MEGABYTE
"""At a start, a longer log becomes server.log.1."""

REFUSED_FOR_NOW: Final = "FATAL:  the database system is "
"""Of a line of the log that was written because we looked in."""

# Detaches the server from us, so that it is no child and no zombie of ours. The values are arguments, which the shell passes on
# unread; pg_ctl would write them into a command for a shell to read.
LAUNCH: Final = 'exec </dev/null >>"$1" 2>&1; shift; "$@" &'

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A cluster that is not made empty: `fill` puts its files into a folder, and the settings are for recovering them."""

    fill: Callable[[Path], None]
    settings: Mapping[str, str]


def open_embedded(
    data_directory: Path, *, archive_directory: Path | None = None, forget: bool = False
) -> "EmbeddedDatabase":
    """Join the server of that data directory, making the directory and starting the server where needed.

    A server that is started here archives its log in the archive directory. Without one it goes on archiving where the
    last one did, so that a command which does not know of the archive leaves no gap in it; to `forget` ends that.

    Blocks until the server answers, for minutes if it recovers from a crash: call it before the event loop starts, and
    leave it (`with`, or `close`) after the loop has ended. In the main thread it also turns SIGTERM and SIGHUP, where
    nobody else handles them, into SystemExit, because their default would end the process without leaving.
    """
    directory = real_directory(data_directory)
    user = server_user(directory)
    prepare_data_directory(directory, user)
    database = EmbeddedDatabase(
        directory,
        user,
        binaries=find_binaries(user),
        archive_directory=archive_directory and archive_directory.absolute(),
        forget=forget,
    )
    try:
        database.join()
    except BaseException:
        database.close()
        raise
    return database


class EmbeddedDatabase:
    """One process's hold on the server; `url` is valid until `close`."""

    url: str
    socket_folder: Path

    def __init__(
        self,
        data_directory: Path,
        user: ServerUser,
        *,
        binaries: Path,
        archive_directory: Path | None = None,
        forget: bool = False,
        origin: Origin | None = None,
    ) -> None:
        self.data_directory = self._directory = data_directory
        self.binaries = binaries
        self._archive_directory = archive_directory
        self._forget = forget
        self._origin = origin
        self._cluster = data_directory / CLUSTER
        self._log_file = self._cluster / "server.log"
        self._user = user
        self._server = EmbeddedServer(data_directory=data_directory, user=user, binaries=binaries)
        self._users_lock: int | None = None
        self._signals = EndingSignals()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def join(self) -> None:
        self._signals.catch()
        with self._starting():
            self._users_lock = open_lock(self._directory, USERS, self._user)
            fcntl.flock(self._users_lock, fcntl.LOCK_SH)
            self._refuse_half_restored()
            self.socket_folder = self._ensure_running()
            self._check_adopted()
        self.url = f"postgresql://{NAME}@/{NAME}?host={quote(str(self.socket_folder), safe='')}&port={PORT}"

    def revive(self) -> bool:
        """Start the server again if it has died, and wait until it answers; True if it had died.

        While it lives this costs one attempt at a lock. May be called from any thread, one call at a time, and not after
        `close`. Raises EmbeddedDatabaseError if the server does not start; it may be called again.
        """
        if not self._server.dead():
            return False
        with self._starting():
            if not self._server.dead():
                return False  # Somebody was faster.
            _log.warning("The embedded database in %s has died; it is started again.", self._cluster)
            folder = self._ensure_running()
        if folder != self.socket_folder:
            raise EmbeddedDatabaseError(
                f"The embedded database now listens in {folder}, no longer in {self.socket_folder}. Restart Kosminar."
            )
        _log.warning("The embedded database in %s answers again.", self._cluster)
        return True

    def close(self) -> None:
        """Leave the server, and stop it if nobody else uses it. Closing again does nothing."""
        try:
            if self._users_lock is not None:
                with self._starting():
                    if try_lock(self._users_lock) and not self._server.end():
                        _log.error("The embedded database in %s could not be ended, not even killed.", self._cluster)
        finally:
            if self._users_lock is not None:
                os.close(self._users_lock)
                self._users_lock = None
            self._signals.release()

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        with opened_lock(self._directory, STARTING, self._user) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def _ensure_running(self) -> Path:
        """Adopt the server or start one; wait until it answers. Returns the folder of its socket."""
        started = False
        stale: list[str] = []
        patience, progress = _Patience(), Progress(self._server)
        while True:
            with opened_lock(self._directory, SERVER, self._user) as server_lock:
                if try_lock(server_lock):
                    if started:
                        self._fail("PostgreSQL did not start.")
                    stale = self._server.pid_file()
                    self._start(server_lock)
                    started = True
                    patience, progress = _Patience(), Progress(self._server)
            if self._server.pid_file() != stale and (folder := self._entered(progress)) is not None:
                return folder
            if progress.stalled() and self._server.silent():
                self._fail("PostgreSQL stands still: none of its processes does anything, and it does not answer.")
            if patience.exhausted(self._sign()):
                self._fail(f"PostgreSQL made no progress for {PATIENCE_SECONDS} seconds.")
            time.sleep(POLL_SECONDS)

    def _entered(self, progress: Progress) -> Path | None:
        """The folder of the socket of a server that answers; None if it does not yet, or was ended for it never would."""
        status = self._server.status()
        if status == "stopping" or (progress.stalled() and not self._server.has_postmaster()):
            # Left by a Kosminar that was killed, or by an older one; or processes that outlive their postmaster.
            self._end()
        elif status == "ready":
            try:
                # One in use that stands still is left to its users.
                if self._server.greeting() is not Greeting.NOT_NOW:
                    return self._server.socket_folder()
            except FileNotFoundError:
                # Someone tidied the socket away. No one can enter any more, so no one loses by a restart.
                self._end()
            time.sleep(KNOCK_SECONDS)
        return None

    def _end(self) -> None:
        if not self._server.end():
            self._fail("PostgreSQL neither answers nor ends, not even when killed.")

    def _start(self, server_lock: int) -> None:
        if not self._cluster.exists():
            self._make_cluster(server_lock)
        self._check_version()
        self._write_rules(self._cluster)
        with contextlib.suppress(FileNotFoundError):
            if self._log_file.stat().st_size > LOG_BYTES_MAX:
                self._log_file.replace(self._log_file.with_suffix(".log.1"))
        folder = self._socket_folder()
        self._remove_misleading_locks(folder)
        settings = {
            **SETTINGS,
            "shared_buffers": f"{shared_buffers_bytes() // MEGABYTE}MB",
            "unix_socket_directories": str(folder),
            **self._log_settings(),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        program = self.binaries / "postgres"
        self._run(
            "/bin/sh", "-c", LAUNCH, "sh", self._log_file, program, "-D", self._cluster, *options, kept=server_lock
        )

    def _socket_folder(self) -> Path:
        """Where the dead server's socket was, if that place is still private: others may be waiting for it there.

        A copied directory has its origin's pid file, and the origin may well live.
        """
        folder = self._server.socket_folder()
        origin = self._server.pid_file()[1:2]
        if folder is not None and origin == [str(self._cluster)] and private_folder(folder, self._user):
            return folder
        return make_socket_directory(self._directory, self._user)

    def _log_settings(self) -> Mapping[str, str]:
        if self._origin is not None:
            return self._origin.settings
        if self._archive_directory is None and self._forget:
            forget_archive(self._directory)
        before = remembered_archive(self._directory)
        folder = before
        if self._archive_directory is not None:
            folder = archive_folder(self._directory, self._archive_directory, self._user)
        if folder is None:
            return {}
        if folder != before:
            _log.warning("Archiving begins in %s. It is of use from the next `kosminar backup` on.", folder)
        if not folder.is_dir():
            _log.warning("The archive %s is not there. What changes is kept in %s until it is.", folder, self._cluster)
        return archiving_settings(folder)

    def _check_adopted(self) -> None:
        """Bring the rules of a server up to date that an older Kosminar started; say if it archives other than told."""
        if self._write_rules(self._cluster):
            self._run(self.binaries / "pg_ctl", "reload", "-D", self._cluster)
        folder = remembered_archive(self._directory)
        archiving = folder is not None and archive_command(folder) in self._start_options()
        wanted = self._archive_directory
        if wanted is not None and not (archiving and folder is not None and folder.parent == wanted):
            _log.warning(
                "The embedded database does not archive in %s: it was started by a process that was not told to. "
                "Stop every Kosminar on %s and start it again.",
                wanted,
                self._directory,
            )
        if wanted is None and self._forget and archiving:
            _log.warning(
                "The embedded database goes on archiving in %s until every Kosminar on %s is stopped.",
                folder,
                self._directory,
            )

    def _start_options(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return os.fsdecode((self._cluster / "postmaster.opts").read_bytes())
        return ""

    def _refuse_half_restored(self) -> None:
        if self._origin is None and (self._directory / RESTORING).exists():
            raise EmbeddedDatabaseError(
                f"A back-up is being restored into {self._directory}, or that was interrupted. Wait for it; or empty the "
                "directory and run `kosminar restore` again."
            )

    def _make_cluster(self, server_lock: int) -> None:
        """Make a new cluster under another name first: whatever interrupts this, the real name is whole or absent."""
        draft = self._cluster.with_suffix(".new")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(mode=0o700)
        self._user.own(draft)
        if self._origin is None:
            self._make_empty(draft, server_lock)
        else:
            self._origin.fill(draft)
        self._run(self.binaries / "initdb", "--sync-only", "-D", draft, kept=server_lock)
        draft.rename(self._cluster)
        sync_folder(self._directory)

    def _make_empty(self, draft: Path, server_lock: int) -> None:
        locale = (
            ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            if major_version(self.binaries, self._user) >= 17  # The first with a provider of its own.
            else ("--locale=C.UTF-8",)
        )
        common = ("--encoding=UTF8", "--data-checksums", "--auth=peer", f"--username={NAME}", "--no-sync")
        self._run(self.binaries / "initdb", "-D", draft, *common, *locale, kept=server_lock)
        self._write_rules(draft)
        single = ("--single", "-D", draft, "-c", "exit_on_error=on", "template1")
        self._run(self.binaries / "postgres", *single, stdin=CREATE_DATABASE, kept=server_lock)

    def _write_rules(self, cluster: Path) -> bool:
        """Who may enter, and as whom, for this machine's user and this version's needs; True if that was not so yet."""
        names = "".join(f'{NAME} "{system_user}" {NAME}\n' for system_user in sorted({"root", self._user.name}))
        changed = False
        for file, content in ((cluster / "pg_hba.conf", RULES), (cluster / "pg_ident.conf", names)):
            if not file.exists() or file.read_text() != content:
                self._run("tee", file, stdin=content)
                changed = True
        return changed

    def _check_version(self) -> None:
        major = major_version(self.binaries, self._user)
        try:
            found = (self._cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedDatabaseError(
                f"{self._cluster} holds no database of Kosminar's. Move it away, or choose another directory with "
                "--data-dir or KOSMINAR_DATA_DIR."
            ) from None
        if found != str(major):
            raise EmbeddedDatabaseError(
                f"The database in {self._cluster} was made by PostgreSQL {found}, but {self.binaries} is version {major}. "
                f"Dump it with version {found} (pg_dump), move the directory away, and restore the dump (pg_restore); or "
                "run it with that version yourself and name it with --database-url or KOSMINAR_DATABASE_URL."
            )

    def _remove_misleading_locks(self, socket_folder: Path) -> None:
        """Remove PostgreSQL's lock files if the number in them belongs to another program by now, or to a zombie.

        Both happen in containers, and PostgreSQL would take either for a running server. We hold server.lock, so it is
        none of ours; one that was started by hand works inside the cluster, and there PostgreSQL's own refusal is right.
        """
        process = Path("/proc", *self._server.pid_file()[:1])
        if process.name.isdigit() and process.exists() and _working_folder(process) != self._cluster.resolve():
            (self._cluster / "postmaster.pid").unlink()
            (socket_folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _run(self, program: str | Path, *arguments: str | Path, stdin: str = "", kept: int | None = None) -> None:
        done = self._user.run(program, *arguments, stdin=stdin, kept_descriptor=kept)
        if done.returncode != 0:
            raise EmbeddedDatabaseError(
                f"{program} failed for {self._directory}; is the disk full, or the directory closed to user "
                f"{self._user.name}? It said:\n{done.stdout}{done.stderr}"
            )

    def _sign(self) -> str:
        """The last line of the log that tells of the server and not of us."""
        lines = self._last_log_lines(50).splitlines()
        return next((line for line in reversed(lines) if REFUSED_FOR_NOW not in line), "")

    def _last_log_lines(self, count: int) -> str:
        with contextlib.suppress(FileNotFoundError), self._log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
        return ""

    def _fail(self, what: str) -> NoReturn:
        raise EmbeddedDatabaseError(
            f"{what} Its log, {self._log_file}, ends:\n{self._last_log_lines(10)}\n"
            "Put right what it names and start again, or name another PostgreSQL with KOSMINAR_DATABASE_URL."
        )


@contextlib.contextmanager
def kept_alive(database: EmbeddedDatabase) -> Iterator[None]:
    """While this lasts, a server that dies is started again within a second or two of its last process's end.

    A thread looks, because a start blocks. On leaving, a start under way is waited for.
    """
    leaving = threading.Event()
    watch = threading.Thread(target=_revive_until, args=(database, leaving), name="revival", daemon=True)
    watch.start()
    try:
        yield
    finally:
        leaving.set()
        watch.join()


def _revive_until(database: EmbeddedDatabase, leaving: threading.Event) -> None:
    pause = REVIVAL_SECONDS
    while not leaving.wait(pause):
        try:
            database.revive()
            pause = REVIVAL_SECONDS
        except (EmbeddedDatabaseError, OSError):
            _log.exception("The embedded database cannot be started again; it is tried anew in a while.")
            pause = REVIVAL_PAUSE_SECONDS


class _Patience:
    """Waits as long as the server's log shows progress, and says now and then what is being waited for."""

    def __init__(self) -> None:
        self._last_sign = ""
        self._last_sign_at = self._notice_at = time.monotonic()

    def exhausted(self, sign: str) -> bool:
        moment = time.monotonic()
        if sign != self._last_sign:
            self._last_sign, self._last_sign_at = sign, moment
        if moment - self._notice_at > NOTICE_SECONDS:
            self._notice_at = moment
            _log.warning("Waiting for the embedded database. Its log says: %s", sign)
        return moment - self._last_sign_at > PATIENCE_SECONDS


def _working_folder(process: Path) -> Path | None:
    with contextlib.suppress(OSError):  # A zombie has none, and other users' programs do not tell.
        return (process / "cwd").readlink()
    return None
