"""The embedded server as its files, its socket and its processes show it: whether it lives and answers, and how it is ended.

The caller holds starting.lock, except for `dead`. A server is ended in steps, each for a bounded time: its crash
recovery is waited for, then a fast shutdown, an immediate one, and SIGKILL for what is left. PostgreSQL 18 has to be
helped so: asked for a fast shutdown while it recovers from the crash of one of its processes, it ends the recovery and
then waits for ever for processes that it never asked to end (its postmaster.pid stays on `stopping`). A step is left early
when the server makes no progress. Nothing is lost by any of it: what was committed is in the log, and the next start
recovers it. ADR-0029; tested by tests/store/test_ending.py.
"""

import contextlib
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from kosminar.store.embedded_host import CLUSTER, ServerUser
from kosminar.store.embedded_locks import SERVER, STARTING, USERS, opened_lock, try_lock

NAME = "kosminar"
"""Of the database and of its owner."""

CREATE_DATABASE: Final = f"CREATE DATABASE {NAME}\n"
"""For a server in single-user mode, which reads one statement a line."""

PORT = 5432
"""Only part of the socket's file name; fixed, so that no PGPORT can change it."""

POLL_SECONDS = 0.02

KNOCK_SECONDS = 0.1
"""Between two questions to a server that lets no connection in: each writes a line to its log."""

RECOVERY_SECONDS_MAX = 60
"""A recovery from the crash of one process reads at most max_wal_size; one that takes longer is taken up at the next start."""

FAST_SECONDS_MAX = 120
"""A fast shutdown writes at most shared_buffers to disk."""

IMMEDIATE_SECONDS_MAX = 10
"""PostgreSQL itself kills what has not ended after five seconds."""

KILL_SECONDS_MAX = 10
"""Only a process that waits for a broken disk outlives a SIGKILL for longer."""

STALL_SECONDS = 5
"""None of its processes began, ended, computed or waited for the disk or a processor: the server makes no progress."""

LOOK_SECONDS = 0.25
"""Between two looks at all processes of the machine."""

ANSWER_SECONDS = 0.3
"""A server that lives answers in milliseconds. Those who join wait for it one after another."""

CANNOT_CONNECT_NOW: Final = b"57P03"
"""PostgreSQL's code for starting up, recovering and shutting down."""

BUSY: Final = frozenset("RD")
"""The kernel's letters for having or awaiting a processor, and for awaiting the disk."""

_PROTOCOL_VERSION: Final = 3 << 16
_STATUS: Final = 7
_SOCKET_FOLDER: Final = 4

_KILL: Final = """
for process in /proc/[0-9]*; do
    [ "$process/cwd" -ef "$1" ] || continue
    inherited=
    for file in "$process"/fd/*; do
        if [ "$file" -ef "$2" ]; then inherited=yes; fi
        if [ "$file" -ef "$3" ] || [ "$file" -ef "$4" ]; then inherited=; break; fi
    done
    [ -z "$inherited" ] || kill -KILL "${process#/proc/}"
done
"""
"""Kills what works inside the cluster and has inherited server.lock. A Kosminar that has that lock open for a moment has one
of the two other locks open as well, which are not inherited."""


class Greeting(Enum):
    """What a new connection meets."""

    WELCOME = auto()
    """Let in, or refused for good."""
    NOT_NOW = auto()
    """It starts, recovers or ends, or is gone."""
    SILENCE = auto()
    """Its processes do nothing."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedServer:
    """The server of one data directory, running or not."""

    data_directory: Path
    user: ServerUser
    binaries: Path

    @property
    def cluster(self) -> Path:
        return self.data_directory / CLUSTER

    def dead(self) -> bool:
        """Whether no process of the server lives, and none is about to be started."""
        with opened_lock(self.data_directory, SERVER, self.user) as server_lock:
            return try_lock(server_lock, fcntl.LOCK_SH)

    def pid_file(self) -> list[str]:
        """Lines of postmaster.pid: number, directory, start, port, socket folder, address, shared memory, status."""
        with contextlib.suppress(FileNotFoundError):
            return os.fsdecode((self.cluster / "postmaster.pid").read_bytes()).split("\n")
        return []

    def status(self) -> str:
        """PostgreSQL's word: starting, ready, stopping; empty if there is none. It says ready in a crash recovery, too."""
        return "".join(self.pid_file()[_STATUS : _STATUS + 1]).strip()

    def socket_folder(self) -> Path | None:
        """Where the pid file says that the socket is."""
        named = "".join(self.pid_file()[_SOCKET_FOLDER : _SOCKET_FOLDER + 1])
        return Path(named) if named.startswith("/") else None

    def has_postmaster(self) -> bool:
        """Whether the process that the pid file names lives; without it the others are of no use to anybody."""
        return bool(_activity(self.pid_file()[:1]))

    def greeting(self) -> Greeting:
        """How the server receives a connection now. Raises FileNotFoundError if there is no socket."""
        folder = self.socket_folder()
        return Greeting.NOT_NOW if folder is None else knock(folder)

    def silent(self) -> bool:
        """Whether the server lives, and takes no connection yet or does not answer one."""
        with contextlib.suppress(FileNotFoundError):
            return self.has_postmaster() and (self.socket_folder() is None or self.greeting() is Greeting.SILENCE)
        return False

    def request_stop(self, mode: str) -> None:
        # Through pg_ctl and as the server's user: a number in a file that is not root's must not name a process for root.
        self.user.run(self.binaries / "pg_ctl", "stop", "-W", "-D", self.cluster, "-m", mode)

    def end(self) -> bool:
        """End the server, gently if it lets us; False if something of it lives even then."""
        folder = self.socket_folder()
        if self.status() != "stopping":
            self._wait(self._steady, RECOVERY_SECONDS_MAX, pause=KNOCK_SECONDS)
        ended = self._stopped("fast", FAST_SECONDS_MAX) or self._stopped("immediate", IMMEDIATE_SECONDS_MAX)
        ended = ended or self._killed()
        if ended and folder is not None:
            with contextlib.suppress(OSError):
                (folder / f".s.PGSQL.{PORT}").unlink(missing_ok=True)
                (folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
                folder.rmdir()
        return ended

    def _steady(self) -> bool:
        """Whether a fast shutdown can be asked for."""
        with contextlib.suppress(FileNotFoundError):
            return self.greeting() is Greeting.WELCOME or self.dead()
        return True  # Without a socket it cannot be asked, and must be ended all the same.

    def _stopped(self, mode: str, seconds: float) -> bool:
        self.request_stop(mode)
        return self._wait(self.dead, seconds)

    def _killed(self) -> bool:
        deadline = time.monotonic() + KILL_SECONDS_MAX
        locks = [self.data_directory / name for name in (SERVER, USERS, STARTING)]
        while not self.dead():
            if time.monotonic() > deadline:
                return False
            # Again each time: what was just being started is met by the next one.
            self.user.run("/bin/sh", "-c", _KILL, "sh", self.cluster, *locks)
            time.sleep(POLL_SECONDS)
        return True

    def _wait(self, condition: Callable[[], bool], seconds: float, *, pause: float = POLL_SECONDS) -> bool:
        """Whether the condition came true; waits until then, for as long as the server makes progress and the time lasts."""
        deadline = time.monotonic() + seconds
        progress = Progress(self)
        while not condition():
            if time.monotonic() > deadline or progress.stalled():
                return condition()
            time.sleep(pause)
        return True


class Progress:
    """Watches the server's processes for signs that they do something."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._last: object = None
        self._last_at = self._looked_at = time.monotonic()

    def stalled(self) -> bool:
        """Whether nothing has changed for STALL_SECONDS."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            activity = _activity(self._server.pid_file()[:1])
            if activity != self._last or any(state in BUSY for _, state, _ in activity):
                self._last, self._last_at = activity, now
        return now - self._last_at > STALL_SECONDS


def _activity(root: list[str]) -> list[tuple[int, str, int]]:
    """Number, state and used processor time of a process and all that descend from it."""
    parents: dict[int, int] = {}
    found: dict[int, tuple[int, str, int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name before the parenthesis may hold anything.
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            number = int(entry.name)
            parents[number] = int(fields[1])
            if fields[0] != b"Z":  # Dead, and only not yet missed by its parent.
                found[number] = (number, fields[0].decode(), int(fields[11]) + int(fields[12]))
    family = {int(number) for number in root if number.isdigit()}
    grown = True
    while grown:
        children = {number for number, parent in parents.items() if parent in family} - family
        family |= children
        grown = bool(children)
    return sorted(found[number] for number in family if number in found)


def knock(folder: Path) -> Greeting:
    """How the server of the socket in a folder receives a connection. Raises FileNotFoundError if there is no socket."""
    try:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.settimeout(ANSWER_SECONDS)
            visitor.connect(str(folder / f".s.PGSQL.{PORT}"))
            return _greeted(visitor)
    except FileNotFoundError:
        raise
    except (TimeoutError, BlockingIOError):  # Its queue may be full, too.
        return Greeting.SILENCE
    except OSError:  # Refused or cut.
        return Greeting.NOT_NOW


def _greeted(visitor: socket.socket) -> Greeting:
    """Sign in and out again, without a statement."""
    parameters = b"\0".join((b"user", NAME.encode(), b"database", NAME.encode(), b"", b""))
    visitor.sendall(struct.pack("!ii", 8 + len(parameters), _PROTOCOL_VERSION) + parameters)
    with visitor.makefile("rb") as answer:
        while len(head := answer.read(5)) == 5:  # A letter and a length.
            kind, length = struct.unpack("!ci", head)
            content = answer.read(length - 4)
            if kind == b"E":
                return Greeting.NOT_NOW if b"C" + CANNOT_CONNECT_NOW in content.split(b"\0") else Greeting.WELCOME
            if kind == b"Z":
                visitor.sendall(struct.pack("!ci", b"X", 4))
                answer.read()  # Until the session is over: a shutdown must not meet it, and complain of it.
                return Greeting.WELCOME
    return Greeting.NOT_NOW
