"""One seed from its first day to its last: build the world, live its rounds, judge after each, and audit at the end."""

import asyncio
import json
import signal
import time
import traceback
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
from tests.model import slow_model as model
from tests.model.stored import modelled
from tests.simulation import http, outages
from tests.simulation.asking import DECODER, ENCODER, Asker, Call, request_of
from tests.simulation.machine import Machine, Server
from tests.simulation.outages import Outage
from tests.simulation.plan import (
    SERVER_COUNT,
    Advance,
    Deactivation,
    Disaster,
    Plan,
    PlannedOrganisation,
    PlannedProgramme,
    Round,
    Step,
    make_plan,
)
from tests.simulation.receiver import BrandReceiver
from tests.simulation.restores import Restoration, archive, plan_restore
from tests.simulation.verdict import Chronicle, Disagreement, Group, Tally, take_snapshot

from kosminar.core.access import Level, Resource
from kosminar.core.secret import hash_of_password
from kosminar.engine.auditor import audit
from kosminar.engine.use_cases import clients
from kosminar.store.clients import insert_api_user
from kosminar.wiring import utc_now

MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
SEED_SECONDS_MAX = 600
DELIVERY_SECONDS_MAX = 180


@dataclass
class Report:
    """What a seed came to; `trouble` is empty if all was well."""

    seed: int
    seconds: float = 0.0
    trouble: str = ""
    tallies: Counter[str] = field(default_factory=Counter)
    rewards: Tally = field(default_factory=Tally)


def live(machine: Machine, seed: int) -> Report:
    """Never raises for what a seed brings to light: that is in the report."""
    report = Report(seed)
    started = time.monotonic()
    try:
        asyncio.run(_live(machine, make_plan(seed), report))
    except Exception as error:  # noqa: BLE001 -- Whatever a seed brings to light is its report.
        report.trouble = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        if not isinstance(error, Disagreement):
            report.trouble += "\n" + traceback.format_exc()
    report.seconds = time.monotonic() - started
    return report


async def _live(machine: Machine, plan: Plan, report: Report) -> None:
    restore = plan_restore(plan)
    if restore is not None:
        archive(machine, plan.seed)
    database = await machine.create_database()
    servers = [_server(machine, plan, database, number) for number in range(SERVER_COUNT)]
    try:
        async with asyncio.timeout(SEED_SECONDS_MAX):
            life = Life(machine, plan, database, servers, Asker(plan.seed, servers), report)
            async with life.exits:
                await life.build()
                restoration = Restoration(life, restore)
                await restoration.back_up()
                for number, one in enumerate(plan.rounds):
                    try:
                        await restoration.before(number)
                        await life.live_round(one)
                        await restoration.after(number)
                    except Exception as error:
                        error.add_note(f"in round {number}")
                        raise
                await life.look_back()
    except Exception as error:
        for server in servers:
            if server.log.exists():
                error.add_note(f"server {server.number} said at last:\n" + "\n".join(sayings(server.log)[-8:]))
        raise
    finally:
        await asyncio.gather(*(server.end() for server in servers))
        for server in servers:
            report.tallies += server.close()
            report.tallies["lives"] += server.life_count
        await machine.drop_database(database)


def _server(machine: Machine, plan: Plan, database: str, number: int) -> Server:
    recipe = {
        "database_url": machine.url(database),
        "fault_rate": plan.fault_rate,
        "switchboard": str(machine.folder / f"{database}_{number}.switches"),
        "log": str(machine.folder / f"{database}_{number}.log"),
        "settings": {"webhook_networks": "127.0.0.0/8"},
    }
    return Server(machine, number, recipe, plan.seed)


class Life:
    """Holds what the rounds of one seed share."""

    def __init__(
        self, machine: Machine, plan: Plan, database: str, servers: list[Server], asker: Asker, report: Report
    ) -> None:
        self.machine = machine
        self.plan = plan
        self.database = database
        self.servers = servers
        self.asker = asker
        self.report = report
        self.tills: list[list[tuple[str, str]]] = []
        self.chronicles: list[Chronicle] = []
        self.receivers: list[BrandReceiver] = []
        self.exits = AsyncExitStack()
        self.call_count = 0
        self._moves: list[tuple[float, float]] = []

    # ------------------------------------------------------------ the world

    async def build(self) -> None:
        """In peace: what the world consists of is not what is tried here."""
        await asyncio.gather(*(server.up.wait() for server in self.servers))
        connection = await asyncpg.connect(self.machine.url(self.database))
        try:
            for index, organisation in enumerate(self.plan.organisations):
                await self._build_organisation(connection, index, organisation)
        finally:
            await connection.close()

    async def _build_organisation(
        self, connection: asyncpg.Connection, index: int, planned: PlannedOrganisation
    ) -> None:
        random = Random(f"credentials {index} of {self.plan.seed}")
        organisation_id = await clients.create_organisation(
            connection, name=f"Brand {index}", zone=planned.zone, test_clock_at=planned.clock_at, now=MADE_AT
        )
        access_group_id = await clients.create_access_group(
            connection,
            organisation_id=organisation_id,
            name="everything",
            grants=dict.fromkeys(Resource, Level.WRITE),
            now=MADE_AT,
        )
        # In one round each till asks one thing, so that a row's author tells which call brought it.
        count = max(sum(step.organisation_index == index for step in one.steps) for one in self.plan.rounds)
        tills = [(f"till {index} {number}", random.randbytes(8).hex()) for number in range(count)]
        async with connection.transaction():
            for username, password in tills:
                await insert_api_user(
                    connection,
                    organisation_id,
                    access_group_id=access_group_id,
                    username=username,
                    secret_hash=hash_of_password(password),
                    now=MADE_AT,
                )
        self.tills.append(tills)
        groups = [await self.build_programme(connection, index, one) for one in planned.programmes]
        customers = [{"customerId": customer_id} for customer_id in planned.customer_ids]
        await self._build("/v1/customers", {"customers": customers}, index, status=200)
        receivers = [
            await self._build_endpoint(index, number, event_names)
            for number, event_names in enumerate(planned.endpoints)
        ]
        self.chronicles.append(Chronicle(organisation_id, planned.customer_ids, groups, receivers, planned.clock_at))

    async def build_programme(self, connection: asyncpg.Connection, index: int, planned: PlannedProgramme) -> Group:
        answer = await self._build("/v3/targetGroups", planned.definition, index, status=201)
        group_id, target_id = answer["data"]["id"], answer["data"]["targets"][0]["id"]
        programme = await modelled(connection, planned.definition, target_id, planned.programme.zone)
        _as_planned(planned.programme, programme)
        created = await connection.fetchval("SELECT min(version) FROM definition WHERE target_group_id = $1", group_id)
        return Group(group_id, target_id, planned.definition, programme, created)

    async def _build_endpoint(self, index: int, number: int, event_names: tuple[str, ...] | None) -> BrandReceiver:
        receiver = BrandReceiver(f"receiver {number} of {index} of {self.plan.seed}", event_names, self.wall)
        await self.exits.enter_async_context(receiver)
        self.receivers.append(receiver)
        body = {"url": receiver.url, "eventNames": event_names}
        made = await self._build("/v1/webhook-endpoints", body, index, status=201)
        receiver.secrets.append(made["secret"])
        return receiver

    async def _build(self, path: str, body: Any, index: int, *, status: int) -> Any:
        answer = await self._send("POST", path, index, ENCODER.encode(body))
        assert answer.status == status, answer
        return DECODER.decode(answer.content)

    async def _send(self, method: str, path: str, index: int, content: bytes = b"") -> http.Answer:
        """In peace, to the first server."""
        server = self.servers[0]
        await server.up.wait()
        assert server.port is not None
        auth = self.tills[index][0]
        return await http.send(server.port, method, path, auth=auth, content=content, timeout=SEED_SECONDS_MAX)

    # ------------------------------------------------------------ a round

    async def live_round(self, planned: Round) -> None:
        self._arm(planned.fault_count_max)
        tills = [iter(one) for one in self.tills]
        asking = [self._ask(step, next(tills[step.organisation_index])) for step in planned.steps]
        befalling = [self._befall(disaster) for disaster in planned.disasters]
        befalling += [self._suffer(outage) for outage in planned.outages]
        try:
            await asyncio.gather(*asking, *befalling)
        finally:
            self._arm(0)
        await self.judge(final=False)
        self._move_wall(planned.wall_seconds)

    def _move_wall(self, seconds: float) -> None:
        self._moves.append((time.monotonic(), seconds))
        for server in self.servers:
            server.switchboard.ahead_seconds += seconds

    def wall(self, ago: float = 0.0) -> datetime:
        """What the wall showed so many seconds ago of real time."""
        since = time.monotonic() - ago
        moved = sum(seconds for moved_at, seconds in self._moves if moved_at >= since)
        return utc_now() + timedelta(seconds=self.servers[0].switchboard.ahead_seconds - moved - ago)

    def _arm(self, fault_count_max: int) -> None:
        for server in self.servers:
            server.switchboard.faults_left = fault_count_max

    async def _ask(self, step: Step, credentials: tuple[str, str]) -> None:
        chronicle = self.chronicles[step.organisation_index]
        self.call_count += 1
        call = Call(self.call_count, step.organisation_index, step.asked, step.server, *credentials)
        chronicle.calls.append(call)
        twins = [call]
        if step.twice:
            twins.append(Call(self.call_count, step.organisation_index, step.asked, 1 - step.server, *credentials))
        groups = [(group.group_id, group.target_id) for group in chronicle.groups]
        method, path, body = request_of(step.asked, groups)
        await asyncio.sleep(step.after_seconds)
        await asyncio.gather(
            *(self.asker.ask(one, method, path, body, patience_seconds=step.patience_seconds) for one in twins)
        )
        if any((one.status, one.answer) != (call.status, call.answer) for one in twins):
            raise Disagreement("one key, two answers: " + "; ".join(map(str, twins)))
        call.sent, call.answered = min(one.sent for one in twins), max(one.answered for one in twins)
        if isinstance(step.asked, Advance | Deactivation):
            done_before = call.lost_count and call.status == 400
            assert call.status == 200 or (isinstance(step.asked, Deactivation) and done_before), str(call)

    async def _befall(self, disaster: Disaster) -> None:
        server = self.servers[disaster.server]
        await asyncio.sleep(disaster.after_seconds)
        if disaster.after_answer:
            await self.asker.hear_answer()
        self.report.tallies[disaster.what] += 1
        match disaster.what:
            case "kill":
                server.signal(signal.SIGKILL)
            case "stop":
                server.signal(signal.SIGTERM)
            case "freeze":
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(disaster.lasts_seconds)
                server.signal(signal.SIGCONT)
            case "postgres":
                await self.machine.kill_postgres()
                await asyncio.sleep(disaster.lasts_seconds)
                await self.machine.restart_postgres()
            case "backend":
                self.machine.kill_backend(self.database)
            case "connections":
                await self.machine.cut_connections(self.database, disaster.server)

    async def _suffer(self, outage: Outage) -> None:
        self.report.tallies[outage.what] += 1
        server, directory = self.machine.postgres.url, self.machine.directory
        await outages.befall(outage, server=server, database=self.database, data_directory=directory)

    # ------------------------------------------------------------ judgement

    async def judge(self, *, final: bool) -> None:
        connection = await self.connect()
        try:
            await self._await_deactivations(connection)
            for chronicle in self.chronicles:
                chronicle.judge(await take_snapshot(connection, chronicle.organisation_id), final=final)
        finally:
            await connection.close()

    async def _await_deactivations(self, connection: asyncpg.Connection) -> None:
        """A deactivation is answered before its forfeits only if it was cut off; then the closer makes up for it."""
        async with asyncio.timeout(90):
            while await connection.fetchval(
                "SELECT count(*) FROM definition JOIN organisation USING (organisation_id)"
                " WHERE deactivated_at IS NOT NULL AND version > settled_version"
            ):
                await asyncio.sleep(0.05)

    async def connect(self) -> asyncpg.Connection:
        """Soon: PostgreSQL may still be recovering."""
        async with asyncio.timeout(90):
            while True:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    return await asyncpg.connect(self.machine.url(self.database))
                await asyncio.sleep(0.02)

    async def look_back(self) -> None:
        """After the last round: everything delivered, the streaks' counts as the API shows them, the audit, the sums."""
        await self._await_deliveries()
        await self.judge(final=True)
        for index, chronicle in enumerate(self.chronicles):
            await self._judge_counts(index, chronicle)
        async with asyncpg.create_pool(self.machine.url(self.database), min_size=1, max_size=1) as pool:
            differences = [difference async for difference in audit(pool, progressed=lambda _: None)]
        if differences:
            raise Disagreement("the auditor found\n" + "\n".join(str(difference) for difference in differences))
        self.report.tallies += self.asker.tallies
        for one in self.receivers:
            self.report.tallies += one.tallies
            self.report.tallies["notifications"] += sum(map(len, one.taken.values()))
        if self.asker.incidents:
            told = [line for server in self.servers for line in sayings(server.log) if " incident" in line]
            raise Disagreement("\n".join(["the servers blamed themselves:", *self.asker.incidents, *told]))
        for chronicle in self.chronicles:
            self.report.tallies["rows"] += len(chronicle.brought)
            for name, value in vars(chronicle.tally).items():
                setattr(self.report.rewards, name, getattr(self.report.rewards, name) + value)

    async def _await_deliveries(self) -> None:
        """All receivers are well now, and time flies; whoever still waits is hurried."""
        for one in self.receivers:
            one.healthy = True
        connection = await self.connect()
        try:
            async with asyncio.timeout(DELIVERY_SECONDS_MAX):
                while waiting := await connection.fetchval("SELECT count(*) FROM delivery WHERE state = 'waiting'"):
                    self.report.tallies["hurried"] += 1
                    # As long as the longest back-off; now and then, because a lease needs its time too.
                    self._move_wall(3601)
                    for server in self.servers:
                        await server.up.wait()
                        server.signal(signal.SIGUSR1)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Disagreement(f"{waiting} deliveries are still waiting") from None
        finally:
            await connection.close()

    async def _judge_counts(self, index: int, chronicle: Chronicle) -> None:
        connection = await self.connect()
        try:
            snapshot = await take_snapshot(connection, chronicle.organisation_id)
        finally:
            await connection.close()
        for customer_id in chronicle.customer_ids:
            query = "includeInactive=true&includeInactiveTargets=true"
            answer = await self._send("GET", f"/v3/users/{customer_id}/targetGroups?{query}", index)
            shown = {group["id"]: group for group in DECODER.decode(answer.content)["data"]["targetGroups"]}
            for group in chronicle.groups:
                expected = chronicle.count(snapshot, customer_id, group)
                if expected is None:
                    continue
                found = (
                    {level["currentCount"] for level in shown[group.group_id]["streaks"]}
                    if group.group_id in shown
                    else {0}
                )
                if found != {expected}:
                    raise Disagreement(
                        f"customer {customer_id}, target {group.target_id}: the count is {expected}, shown is {found}"
                    )


def sayings(log: Path) -> list[str]:
    """A server's log, a line each: what happened, and the chain of errors with the places in our code."""
    lines = []
    for line in log.read_text().splitlines() if log.exists() else ():
        try:
            told = json.loads(line)
        except ValueError:
            lines.append(line)
            continue
        chain = [
            f"{one['exc_type']}: {one['exc_value']} at "
            + " > ".join(f"{f['name']}:{f['lineno']}" for f in one["frames"] if "/kosminar/" in f["filename"])
            for one in told.pop("exception", ())
        ]
        rest = " ".join(
            f"{name}={value}" for name, value in told.items() if name not in ("event", "timestamp", "level")
        )
        lines.append(" | ".join([f"{told.get('level')} {told.get('event')} {rest}", *chain]))
    return lines


def _as_planned(planned: model.ModelProgramme, built: model.ModelProgramme) -> None:
    """The periods became the instants that were meant."""
    for wanted, found in zip(planned.periods, built.periods, strict=True):
        pairs = [(wanted.starts_at, found.starts_at), (wanted.ends_at, found.ends_at)]
        assert all(one == other for one, other in pairs), f"{wanted} was built as {found}"
        assert planned.zone == "Pacific/Apia" or wanted.due_at == found.due_at, f"{wanted} was built as {found}"
        assert wanted.target_value == found.target_value
