"""Un-enrolment racing with activity and with period end: 64 clients at once on a few customers, over real HTTP.

A real server process on its own data directory; each seed is one organisation on its own test clock, with small worlds in
which the races matter: an immediate milestone, one paid at period end with days of grace, and a streak with levels.
Clients send activities (some twice, some with another content under the same id), enrol, un-enrol and come back with resets
and balances, while the test clock is advanced across period ends. Of each request is kept when it was sent and when it was
answered. Afterwards the rows must tell one story: the slow model, which shares no code with the engine, lives through each
customer's commands in the audit trail's order and must find the same ledger; and that order must respect every pair of
which one was answered before the other was sent.

RACE_SEEDS=200 runs more seeds, RACE_SEED=17 one of them. A seed fixes what is asked; who wins each race it cannot fix.
"""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from tests.model import slow_model as model
from tests.model import stored
from tests.model.stored import Row, modelled, row_of_activity, row_of_command
from tests.unfolded import UNFOLDED

from kosminar.core.activity import Activity
from kosminar.engine.use_cases import clients as setting_up
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import temporary_data_directory

KOSMINAR = str(Path(sys.executable).with_name("kosminar"))
CLIENT_COUNT = 64
CUSTOMER_IDS = range(1, 7)
REQUESTS_PER_CLIENT = 8
ADVANCE_COUNT = 9
EVENT = "lap"
REAL_TIME = datetime(2026, 1, 1, tzinfo=UTC)

if "RACE_SEED" in os.environ:
    SEEDS = [int(os.environ["RACE_SEED"])]
else:
    SEEDS = list(range(int(os.environ.get("RACE_SEEDS", "20"))))

GONE_ALREADY = 390001
REFUSALS = {310019, 310119, 310149}
ENROL_WARNINGS = {390002, 390003}


# ---------------------------------------------------------------- the server


class Server(NamedTuple):
    """A running `kosminar serve`: where it listens, and the database it uses."""

    url: str
    database_url: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    directory = temporary_data_directory()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
    environment["KOSMINAR_LOG_LEVEL"] = "warning"
    log_path = directory.with_suffix(".log")
    serve = [KOSMINAR, "serve", "--data-dir", str(directory), "--port", "0", "--json"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, log_path.read_text()
        with open_embedded(directory) as database:
            yield Server(json.loads(told)["url"], database.url)
            audited = subprocess.run(
                [KOSMINAR, "audit", "--data-dir", str(directory), "--json"],
                capture_output=True,
                env=environment,
                timeout=300,
                check=False,
            )
            assert audited.returncode == 0, audited.stdout.decode()[:5_000] + audited.stderr.decode()[-5_000:]
            assert log_path.read_text() == "", "the server had something to complain about"
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
        shutil.rmtree(directory)
        log_path.unlink()


@pytest_asyncio.fixture
async def http(server: Server) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=CLIENT_COUNT + 4, max_keepalive_connections=CLIENT_COUNT + 4)
    async with httpx2.AsyncClient(base_url=server.url, limits=limits, timeout=120) as client:
        yield client


# ---------------------------------------------------------------- the world


@dataclass
class World:
    """One organisation with three programmes, as the slow model knows them; keyed by target id."""

    seed: int
    random: Random
    organisation_id: int
    credentials: list[tuple[str, str]]
    programmes: dict[int, model.ModelProgramme] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)

    @property
    def periods(self) -> list[model.ModelPeriod]:
        """Of the first programme; all have the same days."""
        return list(next(iter(self.programmes.values())).periods)


def definitions(random: Random, zone: str) -> list[dict[str, Any]]:
    """An immediate milestone, one paid at period end, and a streak; days for periods, so that the clock crosses many."""
    points = {"kind": "POINTS", "value": 100}
    group = {
        "trackingType": "DEFAULT",
        "frequencyType": "DAILY",
        "frequency": 1,
        "totalPeriods": 6,
        "recurringCycles": 0,
        "targetCycleStartDate": "2026-03-06",
        "timeZoneName": zone,
    }
    sales = {"targetEntity": "TRANSACTION", "targetType": "SALES", "expression": "true"}
    laps = {"targetEntity": "EVENT", "targetType": "COUNT", "eventName": EVENT, "expression": "true"}
    method = random.choice(["IMPORT", "TRANSACTION"])

    def target(name: str, measure: dict[str, Any], value: int, *rewards: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                **measure,
                "enrolmentMethod": method,
                "defaultValues": [{"defaultValue": value}],
                "rewards": list(rewards),
            }
        ]

    levels = [
        {"name": f"{n} days", "targetCountOfSequence": n, "rewards": [{"kind": "BADGE", "value": f"{n} days"}]}
        for n in (2, 3, 5)
    ]
    return [
        {
            **group,
            "name": "At once",
            "trackFromEnrolment": random.random() < 0.5,
            "targets": target("At once", sales, 40, {**points, "allocation": "IMMEDIATE"}),
        },
        {
            **group,
            "name": "At the end",
            "offsetDays": random.choice([0, 1, 2]),
            "trackFromEnrolment": random.random() < 0.5,
            "targets": target(
                "At the end",
                sales,
                30,
                {**points, "allocation": "PERIOD_END"},
                {"kind": "COUPON", "value": "END", "allocation": "PERIOD_END"},
            ),
        },
        {
            **group,
            "name": "Streak",
            "trackingType": random.choice(["STREAKS", "STREAKS", "NON_CONTINUOUS_STREAKS"]),
            "offsetDays": random.choice([0, 1, 2]),
            "targets": target("Streak", laps, 2),
            "streaks": levels,
        },
    ]


async def build_world(server: Server, http: httpx2.AsyncClient, connection: asyncpg.Connection, seed: int) -> World:
    random = Random(seed)
    zone = random.choice(["UTC", "America/New_York", "Europe/Berlin"])
    organisation_id = await setting_up.create_organisation(
        connection,
        name=f"seed {seed}",
        zone=zone,
        test_clock_at=datetime(2026, 3, 5, 18, tzinfo=UTC),
        now=REAL_TIME,
    )
    made = [
        await setting_up.create_client(
            connection, organisation_id=organisation_id, random_bytes=secrets.token_bytes, now=REAL_TIME
        )
        for _ in range(CLIENT_COUNT)
    ]
    world = World(seed, random, organisation_id, [(one.username, one.password) for one in made])
    auth = world.credentials[0]
    for definition in definitions(random, zone):
        answer = await http.post("/v3/targetGroups", json=definition, auth=auth)
        assert answer.status_code == 201, answer.text
        group = answer.json()["data"]
        target_id = group["targets"][0]["id"]
        world.groups[target_id] = group["id"]
        world.programmes[target_id] = await modelled(connection, definition, target_id, zone)
    customers = [{"customerId": customer_id} for customer_id in CUSTOMER_IDS]
    answer = await http.post("/v1/customers", json={"customers": customers}, auth=auth)
    assert answer.status_code == 200, answer.text
    return world


# ---------------------------------------------------------------- the race


@dataclass
class Asked:
    """One thing asked of one customer: when it was sent and answered, by one counter for all, and the answer."""

    client: int
    customer_id: int
    sent: int
    name: str
    target_id: int | None = None
    activity: dict[str, Any] | None = None
    answered: int = 0
    accepted: bool = False
    codes: tuple[int, ...] = ()
    status: str = ""


class Race:
    """All clients and the clock, at once."""

    def __init__(self, world: World, http: httpx2.AsyncClient) -> None:
        self.world = world
        self.http = http
        self.moments = count(1)
        self.asked: list[Asked] = []
        self.clock = datetime(2026, 3, 5, 18, tzinfo=UTC)
        self.done_count = 0
        self.done = asyncio.Condition()
        # Sent by several clients under one id: twins, and sometimes an impostor with another amount.
        self.twins = {customer_id: [self.twin(customer_id, n) for n in range(5)] for customer_id in CUSTOMER_IDS}

    async def run(self) -> None:
        await asyncio.gather(self.advance(), *(self.client(number) for number in range(CLIENT_COUNT)))

    async def advance(self) -> None:
        """Across period ends, sometimes two calls at once, evenly spread over the race."""
        random = Random(f"clock {self.world.seed}")
        crossed = [instant for p in self.world.periods for instant in (p.starts_at, p.ends_at, p.due_at)]
        between = [at + timedelta(hours=random.randrange(1, 23)) for at in crossed]
        just_before = [at - timedelta(milliseconds=1) for at in crossed]
        instants = sorted(random.sample(sorted({*crossed, *between, *just_before}), ADVANCE_COUNT))
        total = CLIENT_COUNT * REQUESTS_PER_CLIENT
        for number, to in enumerate(instants):
            async with self.done:
                await self.done.wait_for(lambda n=number: self.done_count >= total * n // ADVANCE_COUNT)
            await asyncio.gather(*(self.advance_to(to) for _ in range(random.choice([1, 1, 3]))))
            self.clock = to

    async def advance_to(self, to: datetime) -> None:
        auth = self.world.credentials[0]
        answer = await self.http.post("/v1/clock/advance", json={"to": to.isoformat()}, auth=auth)
        assert answer.status_code == 200, answer.text
        assert datetime.fromisoformat(answer.json()["now"]) == to

    async def client(self, number: int) -> None:
        random = Random(f"client {number} of {self.world.seed}")
        # Each enrolment and each un-enrolment once for each client, so that its row can be told from all others.
        places = [(customer_id, target_id) for customer_id in CUSTOMER_IDS for target_id in self.world.programmes]
        to_leave, to_join = random.sample(places, len(places)), random.sample(places, len(places))
        for request_number in range(REQUESTS_PER_CLIENT):
            chance = random.random()
            if chance < 0.66:
                await self.act(random, number, request_number)
            elif chance < 0.8:
                await self.call(number, "un_enrol", *to_leave.pop(), {})
            else:
                options = {
                    "initialBalance": random.choice([None, None, 0, "12.5", 35]),
                    "resetStreakStatus": random.choice([None, False, True, True]),
                    "periodName": random.choice([None, None, None, None, "Cycle_2", "Cycle_5"]),
                }
                await self.call(number, "enrol", *to_join.pop(), options)
            async with self.done:
                self.done_count += 1
                self.done.notify_all()

    async def call(self, client: int, name: str, customer_id: int, target_id: int, options: dict[str, Any]) -> None:
        path = {"enrol": "enroll", "un_enrol": "unEnroll"}[name]
        asked = Asked(client, customer_id, next(self.moments), name, target_id)
        self.asked.append(asked)
        answer = await self.http.post(
            f"/v3/targetGroups/{self.world.groups[target_id]}/targets/{target_id}/{path}",
            json=[{"customerId": customer_id, **options}],
            auth=self.world.credentials[client],
        )
        asked.answered = next(self.moments)
        told = answer.json()
        errors = [error["code"] for error in told["errors"] or ()]
        warnings = [warning["code"] for warning in told["warnings"] or ()]
        assert answer.status_code == (400 if errors else 200), answer.text
        assert told["data"] == (None if errors else customer_id), answer.text
        assert set(errors) <= REFUSALS, answer.text
        assert set(warnings) <= ({GONE_ALREADY} if name == "un_enrol" else ENROL_WARNINGS), answer.text
        asked.codes = (*errors, *warnings)
        asked.accepted = not errors and GONE_ALREADY not in warnings

    async def act(self, random: Random, client: int, request_number: int) -> None:
        customers = [random.choice(CUSTOMER_IDS) for _ in range(random.choice([1, 1, 2, 3]))]
        activities = [
            self.some_twin(random, customer_id)
            if random.random() < 0.3
            else self.activity(random, customer_id, f"{client}-{request_number}-{n}", self.instant(random))
            for n, customer_id in enumerate(customers)
        ]
        sent = next(self.moments)
        asked = [Asked(client, one["customerId"], sent, "activity", activity=one) for one in activities]
        self.asked += asked
        answer = await self.http.post(
            "/v1/activities", json={"activities": activities}, auth=self.world.credentials[client]
        )
        answered = next(self.moments)
        assert answer.status_code == 200, answer.text
        for one, result in zip(asked, answer.json()["results"], strict=True):
            one.answered = answered
            one.status = result["status"]
            one.accepted = result["status"] == "accepted"
            one.codes = () if result["code"] is None else (result["code"],)

    def twin(self, customer_id: int, number: int) -> dict[str, Any]:
        random = Random(f"twin {number} of {customer_id} of {self.world.seed}")
        first, last = self.world.periods[0], self.world.periods[-1]
        occurred_at = first.starts_at + (last.ends_at - first.starts_at) * random.random()
        return self.activity(random, customer_id, f"twin-{number}", occurred_at)

    def some_twin(self, random: Random, customer_id: int) -> dict[str, Any]:
        twin = random.choice(self.twins[customer_id])
        return twin if random.random() < 0.85 else {**twin, "attributes": {"amount": "7.77"}}

    def activity(self, random: Random, customer_id: int, activity_id: str, occurred_at: datetime) -> dict[str, Any]:
        return {
            "id": activity_id,
            "customerId": customer_id,
            "type": random.choice(["transaction", "transaction", EVENT, EVENT, EVENT]),
            "occurredAt": occurred_at.isoformat(timespec="milliseconds"),
            "attributes": {"amount": random.choice(["9.99", "15.005", "31", "40"])},
        }

    def instant(self, random: Random) -> datetime:
        """Mostly of late, sometimes on a period's boundary, sometimes a little ahead."""
        chance = random.random()
        if chance < 0.6:
            return self.clock - timedelta(seconds=random.choice([8, 8, 40]) * random.randrange(3600))
        if chance < 0.8:
            return self.clock + timedelta(seconds=random.randrange(300))
        period = random.choice(self.world.periods)
        return random.choice([period.starts_at, period.ends_at - timedelta(milliseconds=1)])


# ---------------------------------------------------------------- what was left behind


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("seed", SEEDS)
async def test_what_a_race_leaves_behind_is_one_story(server: Server, http: httpx2.AsyncClient, seed: int) -> None:
    replay = f"RACE_SEED={seed} pytest tests/scenarios/test_races.py asks the same again"
    connection = await asyncpg.connect(server.database_url)
    try:
        world = await build_world(server, http, connection, seed)
        race = Race(world, http)

        await race.run()

        trails = await answers_agree_with_the_trail(connection, race, replay)
        await the_slow_model_finds_the_same(connection, world, race, trails, replay)
        await no_reward_is_earned_twice(connection, world, replay)
    finally:
        await connection.close()


async def answers_agree_with_the_trail(
    connection: asyncpg.Connection, race: Race, replay: str
) -> dict[int, list[tuple[Row, Asked]]]:
    """What was accepted is in the trail exactly once, nothing else is, and the trail's order fits the answers'."""
    trails: dict[int, list[tuple[Row, Asked]]] = defaultdict(list)
    numbers = {username: number for number, (username, _) in enumerate(race.world.credentials)}
    calls = {(a.client, a.customer_id, a.name, a.target_id): a for a in race.asked if a.activity is None}
    rows = await connection.fetch(
        f"{UNFOLDED} SELECT * FROM command WHERE organisation_id = $1", race.world.organisation_id
    )
    kept = set()
    for row in rows:
        key = (numbers[row["asked_by"]], row["customer_id"], row["name"], row["target_id"])
        assert key not in kept, f"{key} is in the trail twice; {replay}"
        kept.add(key)
        trails[row["customer_id"]].append((row_of_command(row), calls[key]))
    assert kept == {key for key, asked in calls.items() if asked.accepted}, replay

    activities = await connection.fetch(
        f"{UNFOLDED} SELECT * FROM activity WHERE organisation_id = $1", race.world.organisation_id
    )
    fingerprints = {(row["customer_id"], row["activity_id"]): row["fingerprint"] for row in activities}
    accepted: dict[tuple[int, str], list[Asked]] = defaultdict(list)
    for asked in race.asked:
        if asked.activity is None:
            continue
        key = (asked.customer_id, asked.activity["id"])
        same = fingerprint(asked.activity) == fingerprints.get(key)
        match asked.status, asked.codes:
            case ("accepted", () | (390007,)):
                assert same, f"{key} was accepted but is not in the trail; {replay}"
                accepted[key].append(asked)
            case ("duplicate", ()):
                assert same, f"{key} is called a duplicate of what it does not equal; {replay}"
            case ("rejected", (390005,)):
                assert key in fingerprints, f"{key} is in conflict with nothing; {replay}"
                assert not same, f"{key} is in conflict with its like; {replay}"
            case ("rejected", (390006,)):
                pass
            case other:
                pytest.fail(f"{key} was answered {other}; {replay}")
    assert dict.fromkeys(fingerprints, 1) == {key: len(many) for key, many in accepted.items()}, replay
    for row in activities:
        (asked,) = accepted[row["customer_id"], row["activity_id"]]
        trails[row["customer_id"]].append((row_of_activity(row), asked))

    for customer_id, trail in trails.items():
        trail.sort(key=lambda one: one[0].sequence)
        assert len({row.sequence for row, _ in trail}) == len(trail), replay
        latest_sent = 0
        for row, asked in trail:
            # Whoever stands earlier in the trail was sent before this one was answered.
            assert latest_sent < asked.answered, f"customer {customer_id}: {row} overtook what was answered; {replay}"
            latest_sent = max(latest_sent, asked.sent)
    return trails


def fingerprint(item: dict[str, Any]) -> bytes:
    attributes: dict[str, Any] = dict(item["attributes"])
    if item["type"] == "transaction":
        attributes["amount"] = Decimal(attributes["amount"])
    occurred_at = datetime.fromisoformat(item["occurredAt"])
    return Activity(item["id"], item["type"], occurred_at, attributes).fingerprint()


async def the_slow_model_finds_the_same(
    connection: asyncpg.Connection,
    world: World,
    race: Race,
    trails: dict[int, list[tuple[Row, Asked]]],
    replay: str,
) -> None:
    organisation_id = world.organisation_id
    now = await connection.fetchval("SELECT clock_at FROM organisation WHERE organisation_id = $1", organisation_id)
    assert now == race.clock
    kept = await stored.read_kept(connection, organisation_id)
    for customer_id in CUSTOMER_IDS:
        trail = trails[customer_id]
        verdicts: dict[int, list[str]] = defaultdict(list)
        for target_id, programme in world.programmes.items():
            told = [(row, asked) for row, asked in trail if stored.concerns(row, target_id, programme)]
            expected = model.replay(programme, [row.command for row, _ in told], now=now)
            where = f"customer {customer_id}, {programme.kind}, target {target_id}; {replay}"

            for (row, asked), answer in zip(told, expected.answers, strict=True):
                if row.name == "activity":
                    assert answer in model.RECORDED, where
                    verdicts[row.sequence].append(answer)
                else:
                    assert list(asked.codes) == answer, f"{row}: {where}"
            place = (customer_id, target_id)
            assert kept.ledger.get(place, {}) == expected.rewards, where
            assert kept.progress.get(place, {}) == stored.touched(expected), where
            assert kept.reached.get(place, set()) == expected.reached, where
            assert (place in kept.enrolled) == expected.enrolled, where
        for row, asked in trail:
            late = model.TOO_LATE in verdicts[row.sequence] and model.COUNTED not in verdicts[row.sequence]
            if row.name == "activity":
                assert asked.codes == ((390007,) if late else ()), f"{row}; {replay}"


async def no_reward_is_earned_twice(connection: asyncpg.Connection, world: World, replay: str) -> None:
    """The ledger's key could hide a second issue; the facts could not."""
    earned = await stored.count_earned(connection, world.organisation_id)
    issued = await connection.fetchval(
        "SELECT count(*) FROM reward WHERE organisation_id = $1 AND state = 'issued'", world.organisation_id
    )
    assert max(earned.values(), default=0) <= 1, f"{earned.most_common(3)}; {replay}"
    assert len(earned) == issued, replay
