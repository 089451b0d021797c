"""The embedded PostgreSQL: made, started, shared, adopted and stopped.

Kosminar without a database URL runs its own server in the data directory, reachable through a unix socket only.
Three lock files say who does what; the kernel releases them however a process ends:

    users.lock    shared, by every process that uses the server: the last to leave stops it.
    starting.lock exclusive, while someone joins or leaves.
    server.lock   exclusive, inherited by PostgreSQL's own processes: held as long as one of them lives. Who cannot get it
                  must not start a server; who gets it knows that none is running, whatever a left-over pid file says.

A killed Kosminar leaves its server running, and the next one adopts it. Which user, which programs and which folders
the server gets is decided in embedded_host.py. Every promise here has its test in tests/store/test_embedded.py.
"""

import contextlib
import fcntl
import logging
import os
import shlex
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, NoReturn, Self
from urllib.parse import quote

from kosminar.store.embedded_host import (
    CLUSTER,
    EmbeddedDatabaseError,
    ServerUser,
    find_binaries,
    major_version,
    make_socket_directory,
    prepare_data_directory,
    server_user,
)

__all__ = ["EmbeddedDatabase", "EmbeddedDatabaseError", "open_embedded"]

NAME = "kosminar"
"""Of the database and of its owner."""

PORT = 5432
"""Only part of the socket's file name; fixed, so that no PGPORT can change it."""

SETTINGS: Final = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0777",  # The folder around the socket is closed to others, and peer names who may enter.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "shared_buffers": "128MB",
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

STOP_SECONDS_MAX = 120
"""A fast shutdown writes at most shared_buffers to disk; a server that takes longer finishes without us."""

NOTICE_SECONDS = 5
POLL_SECONDS = 0.02
LOG_BYTES_MAX = 16 * 1024 * 1024
"""At a start, a longer log becomes server.log.1."""

_log = logging.getLogger(__name__)


def open_embedded(data_directory: Path) -> "EmbeddedDatabase":
    """Join the server of that data directory, making the directory and starting the server where needed.

    Blocks until the server answers, for minutes if it recovers from a crash: call it before the event loop starts, and
    leave it (`with`, or `close`) after the loop has ended. In the main thread it also turns SIGTERM and SIGHUP, where
    nobody else handles them, into SystemExit, because their default would end the process without leaving.
    """
    directory = data_directory.resolve()
    user = server_user(directory)
    prepare_data_directory(directory, user)
    database = EmbeddedDatabase(directory, user, binaries=find_binaries(user))
    try:
        database.join()
    except BaseException:
        database.close()
        raise
    return database


class EmbeddedDatabase:
    """One process's hold on the server; `url` is valid until `close`."""

    url: str

    def __init__(self, data_directory: Path, user: ServerUser, *, binaries: Path) -> None:
        self._directory = data_directory
        self._cluster = data_directory / CLUSTER
        self._log_file = self._cluster / "server.log"
        self._user = user
        self._binaries = binaries
        self._users_lock: int | None = None
        self._signals = _EndingSignals()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def join(self) -> None:
        self._signals.catch()
        with self._starting():
            self._users_lock = self._open_lock("users.lock")
            fcntl.flock(self._users_lock, fcntl.LOCK_SH)
            folder = self._ensure_running()
        self.url = f"postgresql://{NAME}@/{NAME}?host={quote(str(folder), safe='')}&port={PORT}"

    def close(self) -> None:
        """Leave the server, and stop it if nobody else uses it. Closing again does nothing."""
        try:
            if self._users_lock is not None:
                with self._starting():
                    if _try_lock(self._users_lock):
                        self._stop()
        finally:
            if self._users_lock is not None:
                os.close(self._users_lock)
                self._users_lock = None
            self._signals.release()

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        descriptor = self._open_lock("starting.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self, name: str) -> int:
        path = self._directory / name
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            try:
                return os.open(path, flags)
            except PermissionError as error:
                raise EmbeddedDatabaseError(
                    f"The database in {self._directory} belongs to another user ({error}). Run Kosminar as that user or "
                    "as root, or choose another directory with --data-dir or KOSMINAR_DATA_DIR."
                ) from error
        except OSError as error:
            raise EmbeddedDatabaseError(
                f"The data directory {self._directory} cannot be written ({error}). Choose another with --data-dir or "
                "KOSMINAR_DATA_DIR."
            ) from error
        if os.geteuid() == 0:
            os.fchown(descriptor, self._user.uid, self._user.gid)
        return descriptor

    def _ensure_running(self) -> Path:
        """Adopt the server or start one; wait until it answers. Returns the folder of its socket."""
        started = False
        stale: list[str] = []
        patience = _Patience()
        while True:
            server_lock = self._open_lock("server.lock")
            try:
                if _try_lock(server_lock):
                    if started:
                        self._fail("PostgreSQL did not start.")
                    stale = self._pid_file()
                    self._start(server_lock)
                    started = True
                    patience = _Patience()
            finally:
                os.close(server_lock)
            status = self._pid_file()
            if status != stale and len(status) > 7 and status[7].strip() == "ready":
                folder = Path(status[4])
                with contextlib.suppress(ConnectionRefusedError):  # Killed, and its last processes are leaving.
                    try:
                        _knock(folder)
                        return folder
                    except FileNotFoundError:
                        # Someone tidied the socket away. Nobody can enter any more, so nobody loses by a restart.
                        self._request_stop()
            if patience.exhausted(self._last_log_lines(1)):
                self._fail(f"PostgreSQL made no progress for {PATIENCE_SECONDS} seconds.")
            time.sleep(POLL_SECONDS)

    def _start(self, server_lock: int) -> None:
        if not self._cluster.exists():
            self._make_cluster(server_lock)
        self._check_version()
        with contextlib.suppress(FileNotFoundError):
            if self._log_file.stat().st_size > LOG_BYTES_MAX:
                self._log_file.replace(self._log_file.with_suffix(".log.1"))
        folder = make_socket_directory(self._directory, self._user)
        self._remove_misleading_locks(folder)
        settings = SETTINGS | {"unix_socket_directories": str(folder)}
        options = shlex.join(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        # pg_ctl detaches the server from us, so that it is nobody's child and nobody's zombie.
        start = ("start", "-W", "-D", self._cluster, "-l", self._log_file, "-o", options)
        self._run(self._binaries / "pg_ctl", *start, kept=server_lock)

    def _make_cluster(self, server_lock: int) -> None:
        """Make a new cluster under another name first: whatever interrupts this, the real name is whole or absent."""
        draft = self._cluster.with_suffix(".new")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(mode=0o700)
        self._user.own(draft)
        locale = (
            ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            if major_version(self._binaries, self._user) >= 17  # The first with a provider of its own.
            else ("--locale=C.UTF-8",)
        )
        common = ("--encoding=UTF8", "--data-checksums", "--auth=peer", f"--username={NAME}", "--no-sync")
        self._run(self._binaries / "initdb", "-D", draft, *common, *locale, kept=server_lock)
        rules = (
            f"# Written by Kosminar. Only root and the server's own user may enter.\nlocal all {NAME} peer map={NAME}\n"
        )
        self._run("tee", draft / "pg_hba.conf", stdin=rules)
        names = "".join(f'{NAME} "{system_user}" {NAME}\n' for system_user in sorted({"root", self._user.name}))
        self._run("tee", draft / "pg_ident.conf", stdin=names)
        single = ("--single", "-D", draft, "-c", "exit_on_error=on", "template1")
        self._run(self._binaries / "postgres", *single, stdin=f"CREATE DATABASE {NAME}\n", kept=server_lock)
        self._run(self._binaries / "initdb", "--sync-only", "-D", draft, kept=server_lock)
        draft.rename(self._cluster)
        _sync_folder(self._directory)

    def _check_version(self) -> None:
        major = major_version(self._binaries, self._user)
        try:
            found = (self._cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedDatabaseError(
                f"{self._cluster} holds no database of Kosminar's. Move it away, or choose another directory with "
                "--data-dir or KOSMINAR_DATA_DIR."
            ) from None
        if found != str(major):
            raise EmbeddedDatabaseError(
                f"The database in {self._cluster} was made by PostgreSQL {found}, but {self._binaries} is version {major}. "
                f"Dump it with version {found} (pg_dump), move the directory away, and restore the dump (pg_restore); or "
                "run it with that version yourself and name it with --database-url or KOSMINAR_DATABASE_URL."
            )

    def _remove_misleading_locks(self, socket_folder: Path) -> None:
        """Remove PostgreSQL's lock files if the number in them belongs to another program by now, or to a zombie.

        Both happen in containers, and PostgreSQL would take either for a running server. We hold server.lock, so it is
        none of ours; one that was started by hand works inside the cluster, and there PostgreSQL's own refusal is right.
        """
        process = Path("/proc", *self._pid_file()[:1])
        if process.name.isdigit() and process.exists() and _working_folder(process) != self._cluster.resolve():
            (self._cluster / "postmaster.pid").unlink()
            (socket_folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _stop(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS_MAX
        folder = next(iter(self._pid_file()[4:5]), "")
        self._request_stop()
        server_lock = self._open_lock("server.lock")
        try:
            while not _try_lock(server_lock):
                if time.monotonic() > deadline:
                    _log.warning(
                        "The embedded database in %s takes long to stop; it finishes by itself.", self._cluster
                    )
                    return
                time.sleep(POLL_SECONDS)
        finally:
            os.close(server_lock)
        with contextlib.suppress(OSError):
            Path(folder).rmdir()

    def _request_stop(self) -> None:
        # Through pg_ctl and as the server's user: a number in a file that is not root's never tells root whom to signal.
        self._user.run(self._binaries / "pg_ctl", "stop", "-W", "-D", self._cluster, "-m", "fast")

    def _run(self, program: str | Path, *arguments: str | Path, stdin: str = "", kept: int | None = None) -> None:
        done = self._user.run(program, *arguments, stdin=stdin, kept_descriptor=kept)
        if done.returncode != 0:
            raise EmbeddedDatabaseError(
                f"{program} failed for {self._directory}; is the disk full, or the directory closed to user "
                f"{self._user.name}? It said:\n{done.stdout}{done.stderr}"
            )

    def _pid_file(self) -> list[str]:
        """Lines of postmaster.pid: number, directory, start, port, socket folder, address, shared memory, status."""
        with contextlib.suppress(FileNotFoundError):
            return (self._cluster / "postmaster.pid").read_text().splitlines()
        return []

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


class _EndingSignals:
    """Turns signals whose default is to end the process at once into SystemExit, until released."""

    def __init__(self) -> None:
        self._caught: list[signal.Signals] = []

    def catch(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python sets handlers in the main thread only; the caller looks after its signals.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit)
                self._caught.append(number)

    def release(self) -> None:
        while self._caught:
            number = self._caught.pop()
            if signal.getsignal(number) is _exit:
                signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise SystemExit(128 + number)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _working_folder(process: Path) -> Path | None:
    with contextlib.suppress(OSError):  # A zombie has none, and other users' programs do not tell.
        return (process / "cwd").readlink()
    return None


def _knock(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(folder / f".s.PGSQL.{PORT}"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
