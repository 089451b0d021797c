"""One key, one answer, one effect, also when `serve` is killed in the middle of what it was asked.

A real process gets SIGKILL at a random moment of an operation that changes something, is started again, and is asked the
same under the same key. KILL_SEED=2 chooses other moments. Cut connections: tests/api/test_one_key_one_answer.py.
"""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import httpx2
import pytest
from tests.api.brand import purchase
from tests.bodies import milestone, named
from tests.store.holders import ask
from tests.store.running import ENVIRONMENT, KOSMINAR, kosminar

from kosminar.engine.use_cases.clients import Credentials, create_client, create_organisation
from kosminar.wiring import utc_now

SEED = int(os.environ.get("KILL_SEED", "1"))
MANY = pytest.param(20, marks=pytest.mark.long)
CUSTOMERS = range(501, 521)
BEGIN = datetime(2031, 1, 5, tzinfo=UTC)
MONTHS_MAX = 40
PATIENCE_SECONDS = 60
SUCCESS = (200, 201)
ADVANCE = "/v1/clock/advance"
KEPT = "SELECT count(*) FROM idempotency_result"
# Keeping an answer takes this long, so that most kills come while what an operation does is half done; and a statement whose
# client is gone ends, as it would if the kill had come before it was sent.
SLOW_SECONDS = 0.2
SLOW = f"""
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep({SLOW_SECONDS});
    RETURN NEW;
END $$;
CREATE TRIGGER slow BEFORE INSERT ON idempotency_result FOR EACH ROW EXECUTE FUNCTION slow();
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET client_connection_check_interval = 10', current_database());
END $$
"""
# Of what an operation took undisturbed: so some of the kills come just after its end.
LATEST = 1.2


@dataclass
class Server:
    """`kosminar serve` on that database, killed and started again; `http` is of the process that runs."""

    database_url: str
    log: Path
    credentials: Credentials
    random: Random

    def start(self) -> None:
        with self.log.open("a") as written:
            self.process = subprocess.Popen(
                [KOSMINAR, "serve", "--port", "0", "--json"],
                env={**ENVIRONMENT, "KOSMINAR_DATABASE_URL": self.database_url, "KOSMINAR_LOG_LEVEL": "warning"},
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
            )
        assert self.process.stdout is not None
        url = json.loads(self.process.stdout.readline() or "{}").get("url")
        assert url, self.log.read_text()
        auth = (self.credentials.username, self.credentials.password)
        self.http = httpx2.Client(base_url=url, auth=auth, timeout=PATIENCE_SECONDS)
        # What only the first request costs.
        assert self.http.get("/v1/clock").is_success

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.http.close()

    def post(self, path: str, body: Any, key: str) -> tuple[int, Any]:
        response = self.http.post(path, json=body, headers={"Idempotency-Key": key})
        return response.status_code, response.json()

    def post_and_kill(self, path: str, body: Any, key: str, *, after_seconds: float) -> tuple[int, Any] | None:
        """The answer, if it came before the process was killed."""
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(self.post, path, body, key)
            time.sleep(after_seconds)
            self.process.kill()
            try:
                return asking.result()
            except httpx2.TransportError:
                return None


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    credentials = asyncio.run(open_brand(database_url))
    it = Server(database_url, tmp_path / "log", credentials, Random(SEED))
    it.start()
    try:
        yield it
    finally:
        it.kill()


async def open_brand(database_url: str) -> Credentials:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(SLOW)
        organisation_id = await create_organisation(
            connection, name="Acme", zone="UTC", test_clock_at=BEGIN, now=utc_now()
        )
        return await create_client(connection, organisation_id=organisation_id, random_bytes=os.urandom, now=utc_now())
    finally:
        await connection.close()


def killed_and_asked_again(server: Server, path: str, body: Any, key: str, *, seconds: float) -> Any:
    """The one answer of the key: of the call that is killed if it still came, of the next one, and of those after it."""
    before = ask(server.database_url, KEPT)
    cut = server.post_and_kill(path, body, key, after_seconds=server.random.uniform(0, LATEST * seconds))
    server.kill()
    kept = ask(server.database_url, KEPT) != before
    print(f"{'answered' if cut else 'not answered'}, {'kept' if kept else 'not kept'}: {key}")
    server.start()
    status, answer = server.post(path, body, key)
    assert status in SUCCESS, answer
    assert server.post(path, body, key) == (status, answer)
    assert cut is None or cut == (status, answer)
    return answer


@pytest.mark.parametrize("count", [1, MANY])
def test_a_group_is_created_once_and_has_one_answer_though_serve_is_killed(server: Server, count: int) -> None:
    began = time.monotonic()
    server.post("/v3/targetGroups", named("Undisturbed"), "undisturbed")
    seconds = time.monotonic() - began

    for number in range(count):
        answer = killed_and_asked_again(
            server, "/v3/targetGroups", named(f"Group {number}"), f"group-{number}", seconds=seconds
        )
        assert answer["data"]["name"] == f"Group {number}"

    groups = [group["name"] for group in server.http.get("/v3/targetGroups").json()["data"]]
    assert sorted(groups) == sorted(["Undisturbed", *(f"Group {number}" for number in range(count))])


@pytest.mark.parametrize("count", [2, MANY])
def test_a_clock_is_moved_once_and_has_one_answer_though_serve_is_killed(server: Server, count: int) -> None:
    """Each time over a period's end that pays all customers; others move the clock on before the key comes once more."""
    server.post("/v3/targetGroups", milestone(totalPeriods=MONTHS_MAX), "group")
    server.post("/v1/customers", {"customers": [{"customerId": each} for each in CUSTOMERS]}, "customers")
    seconds = advance_over_a_month(server, 0)

    answers = {}
    for number in range(1, count + 1):
        buy(server, number)
        to = instant(number + 1, 2)
        key = f"clock-{number}"
        answers[key, to] = killed_and_asked_again(server, ADVANCE, {"to": to}, key, seconds=seconds)
        assert server.post(ADVANCE, {"to": instant(number + 1, 3)}, f"on-{number}")[0] == 200
    repeated = {(key, to): server.post(ADVANCE, {"to": to}, key)[1] for key, to in answers}

    assert repeated == answers
    assert [answer["now"][:10] for answer in answers.values()] == [to[:10] for _, to in answers]
    paid = ask(server.database_url, "SELECT count(*) FROM reward")
    assert paid == len(CUSTOMERS) * (count + 1)
    assert " 0 differences" in kosminar("audit", "--database-url", server.database_url)


def instant(month_number: int, day: int) -> str:
    """Months count from the first of the story, which is 0."""
    years, month = divmod(month_number, 12)
    return f"{2031 + years}-{month + 1:02}-{day:02}T00:00:00Z"


def buy(server: Server, month_number: int) -> None:
    """Every customer reaches the month's target."""
    at = instant(month_number, 1)
    bought = [purchase(f"{month_number}-{each}", each, at, 300) for each in CUSTOMERS]
    status, answer = server.post("/v1/activities", {"activities": bought}, f"buy-{month_number}")
    assert status == 200, answer
    assert {result["status"] for result in answer["results"]} == {"accepted"}, answer


def advance_over_a_month(server: Server, month_number: int) -> float:
    """How long it takes undisturbed."""
    buy(server, month_number)
    began = time.monotonic()
    assert server.post(ADVANCE, {"to": instant(month_number + 1, 2)}, "undisturbed")[0] == 200
    return time.monotonic() - began
