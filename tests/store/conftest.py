"""Data directories for tests of the embedded database."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.holders import eventually, processes

from kosminar.store import embedded_host
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import temporary_data_directory


@pytest.fixture
def empty_directory() -> Iterator[Path]:
    made = temporary_data_directory()
    yield made
    for pid in processes(made):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not processes(made))
    shutil.rmtree(embedded_host.socket_directory(made, embedded_host.server_user(made)), ignore_errors=True)
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    made = temporary_data_directory()
    open_embedded(made).close()
    (made / "postgresql" / "server.log").unlink()
    yield made / "postgresql"
    shutil.rmtree(made)


@pytest.fixture
def directory(empty_directory: Path, template: Path) -> Path:
    """A data directory that has been used and left; copied, because making one takes a second or more."""
    subprocess.run(["cp", "-a", template, empty_directory], check=True)
    return empty_directory
