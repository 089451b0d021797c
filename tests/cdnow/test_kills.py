"""`kill -9` at ten random moments of an import of real purchases: the end state equals an undisturbed run's.

Everything is as an operator has it: `kosminar serve` and `kosminar import activities` as processes on one data directory,
with its embedded PostgreSQL. The story is that of scenario.py, its first months, with a part of its customers and all whom it
un-enrols and enrols again. It is lived twice: once in peace, and once while the import, the server, both, or PostgreSQL itself
are killed, in the middle of imports and of the longest advances of the test clock; what was cut off is started and asked again.
Compared are keys and values as a brand knows them, not sequences or internal ids.

KILLS=30 kills more often, KILL_SEED=2 at other moments, KILL_MONTHS=18 KILL_EVERY=1 lives the whole story.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import httpx2
import pytest
from tests.cdnow import scenario
from tests.cdnow.purchases import months
from tests.cdnow.story import MAPPING, definition_of, write_month
from tests.unfolded import UNFOLDED

from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import CLUSTER, temporary_data_directory

KOSMINAR = str(Path(sys.executable).with_name("kosminar"))
KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("KILL_SEED", "1"))
MONTH_COUNT = int(os.environ.get("KILL_MONTHS", "2"))
EVERY = int(os.environ.get("KILL_EVERY", "4"))
"""Every so manieth customer takes part, beside all whom the story un-enrols or enrols."""

KILLS_IN_ADVANCES = 3
CUSTOMERS_PER_CALL = 1_000
TRIES_MAX = 20


# ---------------------------------------------------------------- the story


def steps() -> list[scenario.Step]:
    """The story's first months; then the clock goes on until they are over and done with."""
    told = scenario.steps()
    imports = [number for number, step in enumerate(told) if isinstance(step, scenario.ImportMonth)]
    if len(imports) <= MONTH_COUNT:
        return list(told)
    last = told[imports[MONTH_COUNT - 1]]
    assert isinstance(last, scenario.ImportMonth)
    return [*told[: imports[MONTH_COUNT - 1] + 1], scenario.Advance(last.at + timedelta(days=40))]


def participants(story: Sequence[scenario.Step]) -> list[int]:
    visited = {step.customer_id for step in story if isinstance(step, scenario.Enrol | scenario.UnEnrol)}
    buyers = {p.customer_id for _, _, rows in list(months())[:MONTH_COUNT] for p in rows if p.customer_id % EVERY == 0}
    return sorted(visited | buyers)


# ---------------------------------------------------------------- the kills


@dataclass
class Kill:
    """Whom to kill, and after what part of the time that the same thing took in peace."""

    victims: tuple[str, ...]
    part: float


@dataclass
class Plan:
    """The kills still to come, by what they interrupt; without any, all is peace."""

    random: Random
    imports: list[Kill] = field(default_factory=list)
    advances: dict[int, Kill] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    """How long each step took in peace."""

    @classmethod
    def after(cls, peaceful: "House", seed: int) -> "Plan":
        random = Random(seed)
        in_advances = min(KILLS_IN_ADVANCES, KILLS)
        victims = [("import",), ("postgres",), ("server", "import"), ("import",), ("server",)]
        # Early enough that what is left of the file is cut again and again.
        imports = [
            Kill(victims[number % len(victims)], random.uniform(0.15, 0.7)) for number in range(KILLS - in_advances)
        ]
        random.shuffle(imports)
        longest = sorted(
            (number for number, step in enumerate(peaceful.story) if isinstance(step, scenario.Advance)),
            key=lambda number: -peaceful.seconds[number],
        )
        advances = {
            number: Kill((victim,), random.uniform(0, 1))
            for number, victim in zip(longest[:in_advances], ("server", "postgres", "server"), strict=False)
        }
        return cls(random, imports, advances, peaceful.seconds)


# ---------------------------------------------------------------- processes


class House:
    """A data directory, the server on it, and an import now and then; whatever is killed is started again."""

    def __init__(self, directory: Path, folder: Path, plan: Plan | None = None) -> None:
        self.directory = directory
        self.folder = folder
        self.plan = plan
        self.story = steps()
        self.customer_ids = participants(self.story)
        self.seconds: dict[int, float] = {}
        self.kill_count = 0
        self.server: subprocess.Popen[bytes] | None = None
        self.importing: subprocess.Popen[bytes] | None = None
        self.http = httpx2.Client(timeout=120)
        self.auth = ("", "")
        self.organisation_id = 0
        self.targets: dict[str, tuple[int, int]] = {}
        self.environment = {n: value for n, value in os.environ.items() if not n.startswith("KOSMINAR_")}
        self.environment["KOSMINAR_LOG_LEVEL"] = "error"

    def command(self, *words: str) -> list[str]:
        return [KOSMINAR, *words, "--data-dir", str(self.directory), "--json"]

    def run(self, *words: str) -> Any:
        done = subprocess.run(self.command(*words), capture_output=True, env=self.environment, timeout=300, check=False)
        assert done.returncode == 0, done.stdout.decode()[:5_000] + done.stderr.decode()[-5_000:]
        # Of several lines the last one sums up.
        return json.loads(done.stdout.splitlines()[-1])

    def serve(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                self.command("serve", "--port", "0"), stdout=subprocess.PIPE, stderr=log, env=self.environment
            )
        assert self.server.stdout is not None
        told = self.server.stdout.readline()
        assert told, (self.folder / "server.log").read_text()[-5_000:]
        self.http.base_url = json.loads(told)["url"]

    def ensure_serving(self) -> None:
        """Start the server again if it is dead, or lives without its database."""
        if self.server is not None and self.server.poll() is None:
            with suppress(httpx2.HTTPError):
                if self.http.get("/readyz").status_code == 200:
                    return
        self.end_server(signal.SIGKILL)
        self.serve()

    def end_server(self, number: int) -> None:
        if self.server is not None:
            self.server.send_signal(number)
            self.server.wait(120)
            assert self.server.stdout is not None
            self.server.stdout.close()
            self.server = None

    def close(self) -> None:
        self.http.close()
        self.end_server(signal.SIGTERM)

    # ---------------------------------------------------------------- living

    def begin(self) -> None:
        self.serve()
        starts_at = scenario.CLOCK_STARTS_AT.isoformat()
        made = self.run("organisation", "create", "--name", "CDNOW", "--zone", scenario.ZONE, "--test-clock", starts_at)
        self.organisation_id = made["organisationId"]
        client = self.run("client", "create", "--organisation", str(self.organisation_id))
        self.auth = (client["username"], client["password"])
        for programme in scenario.PROGRAMMES:
            body = json.dumps(definition_of(programme), default=str)
            headers = {"Content-Type": "application/json"}
            answer = self.http.post("/v3/targetGroups", content=body, headers=headers, auth=self.auth)
            assert answer.status_code == 201, answer.text
            group = answer.json()["data"]
            self.targets[programme.name] = (group["id"], group["targets"][0]["id"])
        for first in range(0, len(self.customer_ids), CUSTOMERS_PER_CALL):
            part = [{"customerId": one} for one in self.customer_ids[first : first + CUSTOMERS_PER_CALL]]
            answer = self.http.post("/v1/customers", json={"customers": part}, auth=self.auth)
            assert answer.status_code == 200, answer.text

    def live(self) -> None:
        taking_part = set(self.customer_ids)
        rows = {
            (year, month): [p for p in purchases if p.customer_id in taking_part] for year, month, purchases in months()
        }
        last_import = max(number for number, step in enumerate(self.story) if isinstance(step, scenario.ImportMonth))
        for number, step in enumerate(self.story):
            started = time.monotonic()
            if isinstance(step, scenario.ImportMonth):
                path = write_month(self.folder, step.year, step.month, rows[step.year, step.month])
                self.import_file(number, path, last=number == last_import)
            else:
                self.ask(number, step)
            self.seconds[number] = time.monotonic() - started

    def import_file(self, number: int, path: Path, *, last: bool) -> None:
        """Until it went through; the last one until all kills were used up."""
        kills = [] if self.plan is None else self.plan.imports
        for _ in range(KILLS + TRIES_MAX):
            kill = kills.pop() if kills else None
            with self.killing(kill, number) as killed:
                finished = self.import_once(path, killed)
            self.ensure_serving()
            if kill is not None and not killed.is_set():
                # It was too quick for us: earlier, next time.
                kills.append(Kill(kill.victims, kill.part / 2))
            if finished and not (last and kills):
                return
        pytest.fail("the import never went through")

    def import_once(self, path: Path, killed: threading.Event) -> bool:
        mapping = [word for column, name in MAPPING.items() for word in ("--map", f"{column}={name}")]
        words = ("import", "activities", "--organisation", str(self.organisation_id), "--file", str(path), *mapping)
        self.importing = subprocess.Popen(
            self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment
        )
        out, err = self.importing.communicate(timeout=600)
        if self.importing.returncode == 0:
            assert json.loads(out)["refused"] == 0, out
            return True
        assert killed.is_set(), out.decode() + err.decode()
        if self.importing.returncode != -signal.SIGKILL:
            # It lost its database, and ends with a sentence.
            assert self.importing.returncode == 1, err.decode()[-5_000:]
            assert err.splitlines()[-1].startswith(b"kosminar: "), err.decode()[-5_000:]
        return False

    def ask(self, number: int, step: scenario.Step) -> None:
        """Over HTTP; what was cut off is asked again, and may then be done already."""
        kill = None if self.plan is None else self.plan.advances.pop(number, None)
        for attempt in range(TRIES_MAX):
            with self.killing(kill if attempt == 0 else None, number) as killed, suppress(httpx2.HTTPError):
                if self.asked_once(step, repeated=attempt > 0, disturbed=killed):
                    break
            self.ensure_serving()
        else:
            pytest.fail(f"{step} never went through")
        if kill is not None:
            self.ensure_serving()

    def asked_once(self, step: scenario.Step, *, repeated: bool, disturbed: threading.Event) -> bool:
        match step:
            case scenario.Advance():
                answer = self.http.post("/v1/clock/advance", json={"to": step.to.isoformat()}, auth=self.auth)
                done = answer.status_code == 200
            case scenario.Enrol():
                balance = None if step.initial_balance is None else str(step.initial_balance)
                body = {"customerId": step.customer_id, "initialBalance": balance, "resetStreakStatus": step.reset}
                answer, done = self.call(step, "enroll", body, scenario.ALREADY_ENROLLED if repeated else None)
            case scenario.UnEnrol():
                body = {"customerId": step.customer_id}
                answer, done = self.call(step, "unEnroll", body, scenario.ALREADY_UN_ENROLLED if repeated else None)
            case _:
                raise AssertionError(step)
        # Without its database the server says so; anything else is a fault.
        assert done or answer.status_code in {500, 503}, f"{step}: {answer.text}"
        assert done or disturbed.is_set() or repeated, f"{step}: {answer.text}"
        return done

    def call(
        self, step: scenario.Enrol | scenario.UnEnrol, verb: str, body: dict[str, Any], done_before: int | None
    ) -> tuple[httpx2.Response, bool]:
        group_id, target_id = self.targets[step.programme]
        path = f"/v3/targetGroups/{group_id}/targets/{target_id}/{verb}"
        answer = self.http.post(path, json=[body], auth=self.auth)
        if answer.status_code >= 500:
            return answer, False
        told = answer.json()
        codes = [one["code"] for one in [*(told["errors"] or ()), *(told["warnings"] or ())]]
        expected = [] if step.expected_code is None else [step.expected_code]
        assert codes in (expected, [done_before]), f"{step}: {answer.text}"
        return answer, True

    # ---------------------------------------------------------------- dying

    @contextmanager
    def killing(self, kill: Kill | None, number: int) -> Iterator[threading.Event]:
        """Meanwhile, after a part of the time that this took in peace, the victims die; the event tells whether they did."""
        killed = threading.Event()
        if kill is None or self.plan is None:
            yield killed
            return
        timer = threading.Timer(kill.part * self.plan.seconds[number], self.kill, (kill, killed))
        timer.start()
        try:
            yield killed
        finally:
            timer.cancel()
            timer.join()
            if "import" not in kill.victims and not killed.is_set():
                # It was answered too quickly for us: then at once, and what was answered must stay.
                self.kill(kill, killed)
            self.kill_count += killed.is_set()

    def kill(self, kill: Kill, killed: threading.Event) -> None:
        for victim in kill.victims:
            if victim == "postgres":
                killed.set()
                kill_postgres(self.directory)
                continue
            process = self.importing if victim == "import" else self.server
            if process is not None and process.poll() is None:
                killed.set()
                process.kill()


def kill_postgres(directory: Path) -> None:
    """The leader at once; the others end when they notice, and until then one may still answer that all is well."""
    leader = int((directory / CLUSTER / "postmaster.pid").read_text().split()[0])
    others = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    os.kill(leader, signal.SIGKILL)
    while any(is_running(other) for other in others):
        time.sleep(0.01)


def is_running(process_id: str) -> bool:
    # A dead process that nobody has asked about has no command line any more.
    with suppress(OSError):
        return Path(f"/proc/{process_id}/cmdline").read_bytes() != b""
    return False


@contextmanager
def house(folder: Path, plan: Plan | None = None) -> Iterator[House]:
    directory = temporary_data_directory()
    folder.mkdir()
    lived_in = House(directory, folder, plan)
    try:
        yield lived_in
    finally:
        lived_in.close()
        shutil.rmtree(directory)


# ---------------------------------------------------------------- what is left

STATE = {
    "reward": f"""{UNFOLDED}
        SELECT t.name AS programme, q.name AS period, r.customer_id, l.name AS level, r.run, r.kind, r.points, r.text,
               r.allocation, r.state, r.reason, r.earned_at
          FROM reward r JOIN target t USING (target_id) LEFT JOIN period q USING (period_id)
          LEFT JOIN level l USING (level_id)
    """,
    "progress": f"""{UNFOLDED}
        SELECT t.name AS programme, q.name AS period, p.customer_id, p.run, p.value, p.achieved_at,
               p.achieved_recorded_at, p.days, p.rewarded, p.forfeited, p.settled
          FROM progress p JOIN target t USING (target_id) JOIN period q USING (period_id)
    """,
    "streak": f"""{UNFOLDED}
        SELECT t.name AS programme, s.customer_id, s.run, s.starts_at, s.ends_at, s.met, s.broken_number,
               ARRAY(SELECT l.name FROM level l WHERE l.level_id = ANY(s.reached) ORDER BY l.name) AS reached
          FROM streak s JOIN target t USING (target_id)
    """,
    "enrolment": f"""{UNFOLDED}
        SELECT t.name AS programme, e.customer_id, e.number, e.method, e.starts_at, e.ends_at, e.first_period_number
          FROM enrolment e JOIN target t USING (target_id)
    """,
    "standing": f"""{UNFOLDED}
        SELECT DISTINCT t.name AS programme, s.customer_id, s.wakes_at, s.likeness, s.enrolled, s.left_at, s.period_number
          FROM standing s JOIN target t USING (target_group_id)
    """,
    "activity": f"{UNFOLDED} SELECT customer_id, activity_id, type, occurred_at, attributes, fingerprint, at FROM activity",
    "command": f"""{UNFOLDED}
        SELECT t.name AS programme, c.customer_id, c.name, c.period_name, c.initial_balance, c.reset, c.at
          FROM command c JOIN target t USING (target_id)
    """,
    "fact": f"""{UNFOLDED}
        SELECT t.name AS programme, f.customer_id, f.name, f.at, q.name AS period, f.run, l.name AS level, f.amount, f.value, f.reason
          FROM fact f JOIN target t USING (target_id) LEFT JOIN period q USING (period_id)
          LEFT JOIN level l USING (level_id)
    """,
    "clock": "SELECT clock_at, settled_at FROM organisation",
}


async def state(directory: Path) -> dict[str, list[str]]:
    """Every row by its business keys and values; as text, so that rows with NULL can be sorted."""
    with open_embedded(directory) as database:
        connection = await asyncpg.connect(database.url)
        try:
            return {
                name: sorted(repr(tuple(row)) for row in await connection.fetch(sql)) for name, sql in STATE.items()
            }
        finally:
            await connection.close()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_killed_again_and_again_an_import_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    with house(tmp_path / "peace") as peaceful:
        peaceful.begin()
        peaceful.live()
        expected = await state(peaceful.directory)
        plan = Plan.after(peaceful, SEED)

    with house(tmp_path / "war", plan) as disturbed:
        disturbed.begin()
        disturbed.live()
        actual = await state(disturbed.directory)
        audited = disturbed.run("audit")

    for name, rows in expected.items():
        missing, superfluous = sorted(set(rows) - set(actual[name])), sorted(set(actual[name]) - set(rows))
        assert (missing[:5], superfluous[:5]) == ([], []), f"{name}, KILL_SEED={SEED}"
        assert actual[name] == rows, f"{name}, KILL_SEED={SEED}"
    assert audited["differences"] == 0
    assert disturbed.kill_count >= KILLS
    assert min(len(expected[name]) for name in ("reward", "streak", "enrolment", "activity")) > 500
