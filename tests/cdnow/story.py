"""Lives the CDNOW story through the engine: programmes over the API, months through the ordinary import."""

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
from tests.cdnow import scenario
from tests.cdnow.purchases import Purchase, customer_ids

from kosminar.api.compat.definitions import read_definition
from kosminar.core.amount import thousandths_of
from kosminar.core.customer import NewCustomer
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.decoder import Fields
from kosminar.core.zone import zone_named
from kosminar.engine.change import EnrolmentChange, EnrolmentOutcome, Request
from kosminar.engine.house import House
from kosminar.engine.use_cases import clients
from kosminar.engine.use_cases import customers as registration
from kosminar.engine.use_cases.imports import LineStatus, import_activities
from kosminar.store import programmes as programme_store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAPPING = {"customer_id": "customerId", "date": "occurredAt", "amount": "attributes.amount"}


def definition_of(programme: scenario.Programme) -> dict[str, Any]:
    """The body of the create call."""
    streak = programme.tracking == "STREAKS"
    rewards = []
    if programme.points is not None:
        rewards = [{"kind": "POINTS", "value": programme.points, "allocation": programme.allocation}]
    body: dict[str, Any] = {
        "name": programme.name,
        "trackingType": "STREAKS" if streak else "DEFAULT",
        "frequencyType": programme.frequency,
        "frequency": 1,
        "totalPeriods": programme.period_count,
        "recurringCycles": 0,
        "targetCycleStartDate": programme.starts_on.isoformat(),
        "timeZoneName": scenario.ZONE,
        "offsetDays": programme.offset_days,
        "targets": [
            {
                "name": programme.name,
                "targetEntity": "TRANSACTION",
                "targetType": programme.measure,
                "enrolmentMethod": "TRANSACTION",
                "expression": "true",
                "defaultValues": [{"defaultValue": programme.target_value}],
                "rewards": rewards,
            }
        ],
    }
    if streak:
        body["streaks"] = [
            {
                "name": level.name,
                "targetCountOfSequence": level.count,
                "rewards": [{"kind": "POINTS", "value": level.points}],
            }
            for level in programme.levels
        ]
    return body


class Story:
    """One organisation on a test clock; `targets` are (target group id, target id) by programme name."""

    def __init__(self, house: House, organisation_id: int, targets: dict[str, tuple[int, int]]) -> None:
        self.house = house
        self.organisation_id = organisation_id
        self.targets = targets

    @classmethod
    async def begin(cls, house: House) -> "Story":
        async with house.pool.acquire() as connection:
            organisation_id = await clients.create_organisation(
                connection, name="CDNOW", zone=scenario.ZONE, test_clock_at=scenario.CLOCK_STARTS_AT, now=NOW
            )
            targets = {p.name: await create(connection, organisation_id, p) for p in scenario.PROGRAMMES}
        ids = customer_ids()
        for first in range(0, len(ids), registration.BATCH_COUNT_MAX):
            part = ids[first : first + registration.BATCH_COUNT_MAX]
            await registration.register(
                house.pool, organisation_id, [NewCustomer(customer_id=i) for i in part], scenario.CLOCK_STARTS_AT
            )
        return cls(house, organisation_id, targets)

    async def live(
        self, steps: Sequence[scenario.Step], folder: Path, purchases: Mapping[tuple[int, int], Sequence[Purchase]]
    ) -> None:
        for step in steps:
            match step:
                case scenario.Advance():
                    await self.house.closer.advance(self.organisation_id, step.to)
                case scenario.ImportMonth():
                    path = write_month(folder, step.year, step.month, purchases[step.year, step.month])
                    await self.import_file(path)
                case _:
                    await self.call(step)

    async def import_file(self, path: Path) -> None:
        async for result, _ in import_activities(self.house, self.organisation_id, path, MAPPING):
            assert result.status is not LineStatus.REFUSED, result

    async def call(self, step: scenario.Enrol | scenario.UnEnrol) -> None:
        group_id, target_id = self.targets[step.programme]
        command: Enrol | UnEnrol = UnEnrol(target_id)
        if isinstance(step, scenario.Enrol):
            balance = None if step.initial_balance is None else thousandths_of(Decimal(step.initial_balance))
            command = Enrol(target_id, None, balance, bool(step.reset))
        change = EnrolmentChange(group_id, command)
        outcome = await self.house.writer.submit_one(Request(self.organisation_id, step.customer_id, change))
        assert isinstance(outcome, EnrolmentOutcome)
        expected = [] if step.expected_code is None else [step.expected_code]
        assert [int(code) for code in (*outcome.errors, *outcome.warnings)] == expected, step


async def create(
    connection: asyncpg.Connection, organisation_id: int, programme: scenario.Programme
) -> tuple[int, int]:
    definition, complaints = read_definition(Fields(definition_of(programme)), zone_named(scenario.ZONE))
    assert complaints == [], complaints
    async with connection.transaction():
        await programme_store.lock_definitions(connection, organisation_id)
        change = await programme_store.begin_change(connection, organisation_id, wall=NOW)
        group_id = await programme_store.insert(
            connection,
            definition,
            organisation_id=organisation_id,
            created_by="story",
            now=change.at,
            version=change.version,
        )
    (found,) = [
        p for p in await programme_store.fetch_all(connection, organisation_id) if p.target_group_id == group_id
    ]
    return group_id, found.targets[0].target_id


def write_month(folder: Path, year: int, month: int, rows: Sequence[Purchase]) -> Path:
    path = folder / f"{year}-{month:02d}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "date", "quantity", "amount"])
        writer.writerows((r.customer_id, r.purchased_on.isoformat(), r.quantity, r.amount) for r in rows)
    return path
