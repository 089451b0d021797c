"""`kosminar serve` on a database that stands still: probes, calls and commands end by a stated time, and all goes on.

What SIGSTOP does to PostgreSQL's processes is what a stuck disk, a paused machine or a lost network does: connections
are taken, and nothing is answered.
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from tests.bodies import MILESTONE
from tests.store.clusters import frozen, frozen_for
from tests.store.running import ENVIRONMENT, KOSMINAR, Running, eventually, running

from kosminar.store.embedded_server import knock
from kosminar.store.link import CONNECT_SECONDS, PULSE_SECONDS, SILENCE_SECONDS

FREEZES = int(os.environ.get("FREEZES", "2"))
PROBE_SECONDS = 3.0
# As docs/operations.md says: in a statement until the silence is noticed, then one attempt to connect.
CALL_SECONDS = SILENCE_SECONDS + PULSE_SECONDS + CONNECT_SECONDS
# Beyond a stated time, on a machine that does other things; and for a command, Python's start.
LATE_SECONDS = 5.0
START_SECONDS = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("serve") / "log") as server:
        yield server


def postmaster(server: Running) -> int:
    return int((server.data_dir / "postgresql" / "postmaster.pid").read_text().split()[0])


def timed(server: Running, path: str) -> tuple[httpx2.Response, float]:
    began = time.monotonic()
    response = server.http.get(path)
    return response, time.monotonic() - began


def test_probes_answer_in_time_while_the_database_stands_still_and_calls_work_when_it_goes_on(server: Running) -> None:
    for number in range(FREEZES):
        assert server.buy(f"before-{number}")
        with frozen(postmaster(server)), ThreadPoolExecutor(4) as pool:
            asked = {path: pool.submit(timed, server, path) for path in ("/readyz", "/metrics", "/healthz")}
            answers = {path: one.result() for path, one in asked.items()}
        assert {path: answer.status_code for path, (answer, _) in answers.items()} == {
            "/readyz": 503,
            "/metrics": 200,
            "/healthz": 200,
        }
        assert max(seconds for _, seconds in answers.values()) < PROBE_SECONDS + LATE_SECONDS
        assert answers["/readyz"][0].headers["Retry-After"] == "1"
        assert "kosminar_requests_total" in answers["/metrics"][0].text

        eventually(lambda: server.http.get("/readyz").status_code == 200)
        assert server.buy(f"after-{number}")


def test_calls_end_by_the_stated_time_and_leave_no_place_of_a_pool_taken(server: Running) -> None:
    """Forty callers are more than the pool of thirty-two has places."""
    calls = [
        ("POST", "/v1/activities", {"activities": []}),
        ("POST", "/v3/targetGroups", {**MILESTONE, "name": "Another"}),
        ("GET", "/v3/targetGroups", None),
        ("POST", "/v1/customers", {"customers": [{"customerId": 77}]}),
    ]

    def call(number: int) -> tuple[int, str | None, float]:
        method, path, body = calls[number % len(calls)]
        began = time.monotonic()
        if path == "/v1/activities":
            bought = {"id": f"frozen-{number}", "customerId": 501, "type": "transaction"}
            body = {"activities": [{**bought, "occurredAt": "2031-02-01T10:00:00Z", "attributes": {"amount": 1}}]}
        response = server.http.request(method, path, json=body)
        return response.status_code, response.headers.get("Retry-After"), time.monotonic() - began

    assert server.buy("credentials-are-known")
    with frozen(postmaster(server)), ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(call, range(40)))
        assert {(status, again) for status, again, _ in answers} == {(503, "1")}
        assert max(seconds for *_, seconds in answers) < CALL_SECONDS + LATE_SECONDS
        # By now it is known, and nobody waits.
        assert call(0)[2] < CONNECT_SECONDS / 2

    eventually(lambda: server.http.get("/readyz").status_code == 200)
    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(server.buy, [f"thawed-{number}" for number in range(40)]))
    used = 'kosminar_database_connections{pool="requests",state="used"} 0.0'
    eventually(lambda: used in server.http.get("/metrics").text)


def test_commands_beside_it_say_so_in_one_sentence(server: Running, tmp_path: Path) -> None:
    commands = {"doctor": [], "audit": [], "serve": ["--port", "0"], "backup": [tmp_path / "backup"]}

    def run(command: str) -> tuple[subprocess.CompletedProcess[str], float]:
        began = time.monotonic()
        done = subprocess.run(
            [KOSMINAR, command, *commands[command], "--data-dir", server.data_dir],
            env={**ENVIRONMENT, "KOSMINAR_LOG_LEVEL": "error"},
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS + START_SECONDS,
            check=False,
        )
        return done, time.monotonic() - began

    with frozen(postmaster(server)), ThreadPoolExecutor(4) as pool:
        ended = dict(zip(commands, pool.map(run, commands), strict=True))

    assert max(seconds for _, seconds in ended.values()) < CONNECT_SECONDS + START_SECONDS
    assert {(done.returncode, done.stdout) for done, _ in ended.values()} == {(1, "")}
    told = {command: done.stderr for command, (done, _) in ended.items()}
    assert "timeout expired" in told.pop("backup")
    assert set(told.values()) == {f"kosminar: The database did not answer within {CONNECT_SECONDS} seconds.\n"}


def test_it_is_stopped_in_time_by_a_signal_while_the_database_stands_still(server: Running) -> None:
    """Of two that use the database: the one that leaves first does not stop it."""
    other = subprocess.Popen(
        [KOSMINAR, "serve", "--data-dir", server.data_dir, "--port", "0", "--json"],
        env={**ENVIRONMENT, "KOSMINAR_LOG_LEVEL": "error"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    with other.stdout, server.load("until-the-end"):
        assert other.stdout.readline()
        with frozen_for(postmaster(server), seconds_max=CALL_SECONDS + LATE_SECONDS):
            other.send_signal(signal.SIGTERM)
            assert other.wait(timeout=60) == 0


def test_a_socket_that_takes_no_more_visitors_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(tmp_path / ".s.PGSQL.5432"))
        full.listen(0)
        waiting = []
        try:
            while True:
                visitor = socket.socket(socket.AF_UNIX)
                waiting.append(visitor)
                visitor.setblocking(False)
                visitor.connect(str(tmp_path / ".s.PGSQL.5432"))
        except BlockingIOError:
            knocking = threading.Thread(target=knock, args=(tmp_path,), daemon=True)
            knocking.start()
            knocking.join(LATE_SECONDS)
            assert not knocking.is_alive()
        finally:
            for visitor in waiting:
                visitor.close()
