"""`make compare` as a command: what it refuses, whose code it runs, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from benchmarks.compare.sender import Messages, message, send
from benchmarks.compare.trees import LAUNCHER, ROOT, NotComparable

COMMAND = (sys.executable, "-m", "benchmarks.compare")
PATIENCE_SECONDS = 120

with_repository = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def left_behind(process_id: int) -> list[str]:
    """Folders of a comparison by that process, and processes that work in one."""
    mark = f"kosminar-compare-{process_id}-"
    folders = [str(path) for path in Path("/tmp").glob(f"{mark}*")]  # noqa: S108 -- Where it makes them.
    lines = (path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    return folders + [line for line in lines if mark in line]


@with_repository
def test_a_commit_that_does_not_exist_is_refused_with_a_sentence() -> None:
    done = run("no-such-commit")

    assert done.returncode == 2
    assert done.stderr == (
        "compare: There is no commit no-such-commit in this repository. `git log` lists those that there are.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "name the commit to compare with: make compare BASE=<commit>"),
        (["HEAD", "--pairs", "8"], "--pairs is at least 9"),
        (["HEAD", "--quick", "--pairs", "0"], "--pairs is at least 1"),
        (
            ["HEAD", "--part", "everything"],
            "--part is one of activities, imports, calls, reads or all, not everything.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(arguments: list[str], said: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_launcher_refuses_to_run_the_code_of_another_tree(tmp_path: Path) -> None:
    (tmp_path / "src" / "kosminar").mkdir(parents=True)

    done = subprocess.run(
        [sys.executable, "-P", LAUNCHER, tmp_path, "settings"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "would run, and not that of" in done.stderr


class Answering(BaseHTTPRequestHandler):
    """Keeps what it was sent; refuses what says so."""

    protocol_version = "HTTP/1.1"
    received: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(body)
        answer = b'{"status":"rejected"}' if b"refuse" in body else b'{"status":"accepted"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[tuple[int, list[bytes]]]:
    received: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answering,), {"received": received}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def messages(*bodies: bytes) -> Messages:
    return Messages([message("POST", "/", "Basic eA==", body) for body in bodies], b'"status":"accepted"', 3)


def test_every_request_is_sent_once() -> None:
    bodies = [f"body {number}".encode() for number in range(50)]

    with answering() as (port, received):
        send(port, messages(*bodies))

    assert sorted(received) == sorted(bodies)


def test_a_load_of_which_something_was_refused_is_no_measurement() -> None:
    with answering() as (port, _), pytest.raises(NotComparable, match=r"not answered as it should be.*rejected"):
        send(port, messages(b"one", b"refuse", b"three"))


@with_repository
@pytest.mark.long
def test_a_small_pair_of_a_commit_and_the_work_tree_is_measured_and_leaves_nothing() -> None:
    command = [*COMMAND, "HEAD", "--quick", "--pairs", "1", "--part", "calls", "--at-most", "900", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said, progress = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, progress
    result = json.loads(said)
    (load,) = result["loads"]
    assert result["pairs"] == 1
    assert result["verdicts"] == {load["title"]: "kept"}
    # A call takes some hundreds of microseconds of each, on any machine.
    assert all(
        20 < load["measures"][name][side][0] < 20_000
        for name in ("server_us", "database_us")
        for side in ("base", "new")
    )
    assert left_behind(process.pid) == []


@with_repository
@pytest.mark.long
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("part", "until"), [("calls", "two servers start"), ("imports", "pair 1 of")])
def test_an_interrupt_ends_it_with_a_sentence_and_leaves_nothing(signal_number: int, part: str, until: str) -> None:
    command = [*COMMAND, "HEAD", "--quick", "--part", part]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while until not in process.stderr.readline():
            pass
        time.sleep(2)  # Servers are starting, or a command is importing; any moment would do.
        process.send_signal(signal_number)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130
    assert said.splitlines()[-1] == "compare: Interrupted. Its servers and its files are gone."
    assert "Traceback" not in said
    assert left_behind(process.pid) == []
