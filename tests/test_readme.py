"""The README's first un-enrol, run as it stands: its shell blocks in one bash, on a port and in a folder of their own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kosminar.store.embedded_host import temporary_data_directory

ROOT = Path(__file__).resolve().parent.parent
SECTION = "The first un-enrol"
# Four starts of a process and a new database cluster; the rest is for a machine that is busy.
SECONDS_MAX = 120


def shell_blocks(markdown: str, section: str) -> list[str]:
    (body,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## )", markdown, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def data_directory() -> Iterator[Path]:
    directory = temporary_data_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def script() -> str:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("NOT TESTED: the README's shell blocks need bash and curl")
    blocks = shell_blocks((ROOT / "README.md").read_text(encoding="utf-8"), SECTION)
    # Whatever fails, the server that the first block starts is stopped.
    return "\n".join(["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT", *blocks])


def run(script: str, data_directory: Path) -> str:
    """The script's standard output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KOSMINAR_DATA_DIR": str(data_directory),
        "KOSMINAR_PORT": str(free_port()),
    }
    shell = subprocess.Popen(
        ["bash", "-c", script],
        cwd=data_directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = shell.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGTERM)
        output, errors = shell.communicate(timeout=SECONDS_MAX)
    assert shell.returncode == 0, f"exit code {shell.returncode}\n{output}\n{errors}"
    return output


def test_the_readme_shows_what_an_un_enrolled_customer_kept_and_lost(script: str, data_directory: Path) -> None:
    output = run(script, data_directory)

    assert '{"data":1001,"errors":null,"warnings":null}' in output
    shown = json.loads(output[output.index("{\n") :])
    assert [(reward["value"], reward["state"], reward["reason"]) for reward in shown["data"]] == [
        (50.0, "issued", None),
        ("FREE-BEANS", "forfeited", "un-enrolled before period end"),
    ]
