"""The lock files of a data directory. What each says stands in embedded.py; the kernel releases them with their holder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kosminar.store.embedded_host import EmbeddedDatabaseError, ServerUser

USERS: Final = "users.lock"
STARTING: Final = "starting.lock"
SERVER: Final = "server.lock"


def open_lock(data_directory: Path, name: str, user: ServerUser) -> int:
    """A descriptor of the lock file, which is made if it is missing. Raises EmbeddedDatabaseError."""
    path = data_directory / name
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        try:
            return os.open(path, flags)
        except PermissionError as error:
            raise EmbeddedDatabaseError(
                f"The database in {data_directory} belongs to another user ({error}). Run Kosminar as that user or "
                "as root, or choose another directory with --data-dir or KOSMINAR_DATA_DIR."
            ) from error
    except OSError as error:
        raise EmbeddedDatabaseError(
            f"The data directory {data_directory} cannot be written ({error}). Choose another with --data-dir or "
            "KOSMINAR_DATA_DIR."
        ) from error
    if os.geteuid() == 0:
        os.fchown(descriptor, user.uid, user.gid)
    return descriptor


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock was to be had at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def opened_lock(data_directory: Path, name: str, user: ServerUser) -> Iterator[int]:
    """The lock file for as long as this lasts; a lock that was taken on it ends with it unless it was inherited."""
    descriptor = open_lock(data_directory, name, user)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
