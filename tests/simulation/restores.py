"""Restores to an instant, in a share of the lives: a back-up is taken, the days go on, and then they are undone.

The instant lies within a round, at its end at the latest. What was answered before it must be there afterwards; what was
on its way is asked again; what was asked later is lost by intent, and in half of the lives asked again. A programme that
was created after the instant is lost with what it paid, and after the restore another one is created. The receivers stay
and forget nothing: to them an event id, and a reward's id, must name one thing for ever (receiver.py).

The restore is the real one (store/backup.py), with the archive and `until`. It is the machine's whole PostgreSQL that is
restored; to the servers, whose database has a URL, it is one that was restored by its owner.
"""

import asyncio
import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg
from tests.simulation.asking import Asker, Call, request_of
from tests.simulation.machine import PATIENCE_SECONDS, Machine
from tests.simulation.plan import Advance, Deactivation, Plan, PlannedOrganisation, PlannedProgramme, draw_programme
from tests.simulation.verdict import Chronicle, Disagreement, Group

from kosminar.store.archive import SUFFIX
from kosminar.store.backup import restore_backup, take_backup
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import remembered_archive, server_user
from kosminar.wiring import utc_now

if TYPE_CHECKING:
    from tests.simulation.life import Life

SHARE = 0.15
LOST_COUNTS = (1, 2, 3)
INSTANT_SECONDS_MAX = 0.4
"""Rounds take a few tenths of a second, more where something dies; some are over before their instant has come."""


@dataclass(frozen=True)
class Restore:
    """In which round the instant lies, and when; how many rounds after it are lost too; whether those are lived again."""

    round_number: int
    after_seconds: float
    lost_count: int
    sent_again: bool
    # Of each organisation: what is created after the instant and lost, and what is created after the restore.
    lost: tuple[PlannedProgramme, ...]
    found: tuple[PlannedProgramme, ...]

    @property
    def last_number(self) -> int:
        return self.round_number + self.lost_count


def plan_restore(plan: Plan) -> Restore | None:
    """By dice of its own, so that the plans of lives without a restore stay as they are."""
    random = Random(f"restore {plan.seed}")
    if random.random() >= SHARE:
        return None
    places = [
        (number, lost_count)
        for number in range(len(plan.rounds))
        for lost_count in LOST_COUNTS
        if number + lost_count < len(plan.rounds) - 1 and _parts_no_deactivation(plan, number, number + lost_count)
    ]
    if not places:
        return None
    number, lost_count = random.choice(places)
    late = [_late_programme(random, one) for one in plan.organisations]
    return Restore(
        round_number=number,
        after_seconds=random.random() * INSTANT_SECONDS_MAX,
        lost_count=lost_count,
        sent_again=random.random() < 0.5,
        lost=tuple(_named("Lost", one) for one in late),
        found=tuple(_named("Found", one) for one in late),
    )


def _parts_no_deactivation(plan: Plan, first: int, last: int) -> bool:
    """A deactivation's rounds give it an instant of its own: they are lost all together, or none of them is."""
    for number, one in enumerate(plan.rounds):
        if any(isinstance(step.asked, Deactivation) for step in one.steps):
            before, within, after = number + 1 < first, first < number - 1 and number + 1 <= last, last < number - 1
            if not (before or within or after):
                return False
    return True


def _named(name: str, planned: PlannedProgramme) -> PlannedProgramme:
    """The two differ in their names alone, so that ids which are given again are sure to meet."""
    (target,) = planned.definition["targets"]
    definition = planned.definition | {"name": name, "targets": [target | {"name": name}]}
    return PlannedProgramme(definition, planned.programme)


def _late_programme(random: Random, organisation: PlannedOrganisation) -> PlannedProgramme:
    """One that customers come into by what they do: nothing in the plan knows of it."""
    while True:
        drawn = draw_programme(random, "Late", organisation.zone, organisation.eve)
        if drawn.programme.automatic and any(one.allocation == "IMMEDIATE" for one in drawn.programme.rewards):
            return drawn


# ---------------------------------------------------------------- the machine


def archive(machine: Machine, seed: int) -> None:
    """Start the machine's PostgreSQL again so that it archives; no life is under way."""
    folder = _archive_of(machine, seed)
    folder.mkdir()
    server_user(machine.directory).own(folder)
    machine.postgres.close()
    machine.postgres = open_embedded(machine.directory, archive_directory=folder)


def _archive_of(machine: Machine, seed: int) -> Path:
    return machine.folder / f"archive-{seed}"


def _backup_of(machine: Machine, seed: int) -> Path:
    return machine.folder / f"backup-{seed}"


async def restore(machine: Machine, seed: int, until: datetime) -> None:
    """End PostgreSQL in order, and go on with what it was at that instant."""
    await _archive_all(machine)
    before, after = machine.directory, machine.folder / f"data-{seed}"
    backup, archived = _backup_of(machine, seed), _archive_of(machine, seed)
    machine.postgres.close()
    await asyncio.to_thread(restore_backup, backup, after, archive_directory=archived, until=until, wall=utc_now)
    machine.directory = after
    # Here, because signals are caught in the main thread only; nothing else happens meanwhile.
    machine.postgres = open_embedded(after)
    for folder in (before, backup, archived):
        shutil.rmtree(folder)


async def _archive_all(machine: Machine) -> None:
    """Wait until the segment that is being written is in the archive.

    Where a backend died, the archiver died too. PostgreSQL starts another one ten seconds after it started the last one,
    or up to a minute later: it looks when a client connects.
    """
    folder = remembered_archive(machine.directory)
    assert folder is not None, "this life archives"
    connection = await asyncpg.connect(machine.postgres.url)
    last = folder / f"{await connection.fetchval('SELECT pg_walfile_name(pg_current_wal_lsn())')}{SUFFIX}"
    await connection.execute("SELECT pg_switch_wal()")
    await connection.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not last.exists():
            await asyncio.sleep(0.05)
            await (await asyncpg.connect(machine.postgres.url)).close()


# ---------------------------------------------------------------- a life


class Instant:
    """Comes after that time, or when its round ends: what follows the round is lost, so no part of it may lie before.

    Make it when the round begins.
    """

    def __init__(self, asker: Asker, after_seconds: float) -> None:
        self._asker = asker
        self._round_ended = asyncio.Event()
        self._coming = asyncio.create_task(self._come(after_seconds))

    async def at_the_latest_now(self) -> tuple[int, datetime]:
        """The round has ended: the moment of the instant by the asker's counter, and the instant."""
        self._round_ended.set()
        return await self._coming

    async def _come(self, after_seconds: float) -> tuple[int, datetime]:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._round_ended.wait(), after_seconds)
        # In this order: what was answered before the moment was committed before the instant.
        return self._asker.moment(), utc_now()


@dataclass(frozen=True)
class _Checkpoint:
    """What was known of an organisation before the round of the instant."""

    calls: list[Call]
    brought: dict[tuple[int, int], Call]
    seen: dict[int, list[tuple[Any, ...]]]
    groups: list[Group]
    clock_at: datetime

    @classmethod
    def of(cls, chronicle: Chronicle) -> "_Checkpoint":
        groups = [replace(group) for group in chronicle.groups]
        seen = copy.copy(chronicle.seen)
        return cls(list(chronicle.calls), dict(chronicle.brought), seen, groups, chronicle.clock_at)

    def bring_back(self, chronicle: Chronicle, calls: list[Call]) -> None:
        """With those calls of the round of the instant that are still true, or asked again."""
        chronicle.calls = self.calls + calls
        chronicle.judged_until = len(self.calls)
        chronicle.brought, chronicle.seen, chronicle.groups = self.brought, self.seen, self.groups
        chronicle.clock_at = self.clock_at


class Restoration:
    """Goes beside a life's rounds: `before` and `after` each of them, and does nothing in lives without a restore."""

    def __init__(self, life: "Life", planned: Restore | None) -> None:
        self._life = life
        self._planned = planned
        self._checkpoints: list[_Checkpoint] = []
        self._instant: Instant | None = None
        self._moment = 0
        self._until = datetime.max.replace(tzinfo=UTC)
        self._calls: list[list[Call]] = []
        # Of every id that was ever given in this life: whose it is.
        self._named: dict[tuple[str, int], str] = {}

    async def back_up(self) -> None:
        """Of the world as it was built."""
        if self._planned is not None:
            machine = self._life.machine
            # A sequence that has recovered goes on where its log does, some numbers later, and so will the copy's: what
            # is created after the instant would have the same ids in both.
            await machine.kill_postgres()
            await machine.restart_postgres()
            backup = _backup_of(machine, self._life.plan.seed)
            await asyncio.to_thread(take_backup, machine.postgres, backup, wall=utc_now)

    async def before(self, number: int) -> None:
        if self._planned is not None and number == self._planned.round_number:
            self._checkpoints = [_Checkpoint.of(chronicle) for chronicle in self._life.chronicles]
            self._instant = Instant(self._life.asker, self._planned.after_seconds)

    async def after(self, number: int) -> None:
        if self._planned is None:
            return
        if number == self._planned.round_number:
            assert self._instant is not None
            self._moment, self._until = await self._instant.at_the_latest_now()
            self._calls = [
                chronicle.calls[len(checkpoint.calls) :]
                for chronicle, checkpoint in zip(self._life.chronicles, self._checkpoints, strict=True)
            ]
            for index, chronicle in enumerate(self._life.chronicles):
                for group in chronicle.groups:
                    self._name(group, f"{group.definition['name']} of organisation {index}")
            await self._create(self._planned.lost)
        if number == self._planned.last_number:
            await self._undo()

    async def _undo(self) -> None:
        assert self._planned is not None
        life = self._life
        await restore(life.machine, life.plan.seed, self._until)
        await self._heal()
        for server in life.servers:
            await server.move(life.machine.url(life.database))
        for receiver in life.receivers:
            await receiver.at_rest()
        connection = await life.connect()
        try:
            for chronicle, checkpoint, calls in zip(life.chronicles, self._checkpoints, self._calls, strict=True):
                # A call that came later is lost; one that was on its way may have been done.
                begun = [call for call in calls if call.sent < self._moment]
                checkpoint.bring_back(chronicle, begun)
                await _compare_programmes(connection, chronicle)
                await _forget_lost(connection, chronicle)
                life.report.tallies["lost: calls"] += len(calls) - len(begun)
                await asyncio.gather(*(self._ask_again(call) for call in begun if call.answered > self._moment))
        finally:
            await connection.close()
        await life.judge(final=False)
        await self._create(self._planned.found)
        life.report.tallies["restores"] += 1
        if self._planned.sent_again:
            for one in life.plan.rounds[self._planned.round_number + 1 : self._planned.last_number + 1]:
                await life.live_round(one)

    async def _heal(self) -> None:
        """The instant may lie in an outage, and what made the database read-only is restored with it."""
        connection = await asyncpg.connect(self._life.machine.postgres.url)
        await connection.execute(f"ALTER DATABASE {self._life.database} RESET default_transaction_read_only")
        await connection.close()

    async def _ask_again(self, call: Call) -> None:
        """As a caller does who does not know what the restore has left of it."""
        groups = [(g.group_id, g.target_id) for g in self._life.chronicles[call.organisation_index].groups]
        method, path, body = request_of(call.asked, groups)
        sent = call.sent
        await self._life.asker.ask(call, method, path, body, patience_seconds=None)
        call.sent = sent
        done_before = isinstance(call.asked, Deactivation) and call.status == 400
        assert call.status == 200 or done_before or not isinstance(call.asked, Advance | Deactivation), str(call)
        self._life.report.tallies["asked again after a restore"] += 1

    def _name(self, group: Group, name: str) -> None:
        for one in _ids(group):
            if self._named.setdefault(one, name) != name:
                raise Disagreement(f"the {one[0]} {one[1]} of {name} was that of {self._named[one]}, which was lost")

    async def _create(self, programmes: tuple[PlannedProgramme, ...]) -> None:
        """In peace, as the world was built."""
        connection = await self._life.connect()
        try:
            for index, planned in enumerate(programmes):
                group = await self._life.build_programme(connection, index, planned)
                self._life.chronicles[index].groups.append(group)
                self._name(group, f"{planned.definition['name']} of organisation {index}")
        finally:
            await connection.close()


def _ids(group: Group) -> Iterator[tuple[str, int]]:
    """Every id that its creation gave. Groups, targets, levels and reward definitions have none in common."""
    programme = group.programme
    yield from (("period", period.period_id) for period in programme.periods)
    levels = [reward for level in programme.levels for reward in level.rewards]
    rewards = [reward.definition_id for reward in (*programme.rewards, *levels)]
    others = (group.group_id, group.target_id, *(level.level_id for level in programme.levels), *rewards)
    yield from (("id", one) for one in others)


async def _compare_programmes(connection: asyncpg.Connection, chronicle: Chronicle) -> None:
    """Those from before the instant are in the copy, and none that was created after it."""
    rows = await connection.fetch(
        "SELECT DISTINCT target_group_id, document ->> 'name' AS name FROM definition WHERE organisation_id = $1",
        chronicle.organisation_id,
    )
    found = {row["target_group_id"]: row["name"] for row in rows}
    expected = {group.group_id: group.definition["name"] for group in chronicle.groups}
    if found != expected:
        raise Disagreement(f"the copy has the programmes {found}; those from before the instant are {expected}")


async def _forget_lost(connection: asyncpg.Connection, chronicle: Chronicle) -> None:
    """What the receivers heard and the database does not know of is no part of the story any more."""
    bodies = await connection.fetch(
        "SELECT body FROM notification WHERE organisation_id = $1", chronicle.organisation_id
    )
    kept = {json.loads(row["body"])["eventId"] for row in bodies}
    for receiver in chronicle.receivers:
        receiver.forget(kept)
