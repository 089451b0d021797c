"""A brand in the engine's own words, without HTTP: programmes of months of 2031, customers, and what they do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
from tests.definitions import POINTS, build_definition, build_levels, build_periods, build_streak, build_target
from tests.unfolded import UNFOLDED

from kosminar.core.activity import Activity
from kosminar.core.amount import thousandths_of
from kosminar.core.customer import NewCustomer
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.definition import DefinedLevel, Definition, PromisedReward
from kosminar.core.programme import Programme
from kosminar.engine.change import EnrolmentChange, Request
from kosminar.engine.use_cases.clients import create_organisation
from kosminar.engine.use_cases.customers import register
from kosminar.store import programmes

FOUNDED_AT = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE = datetime(2030, 12, 15, tzinfo=UTC)
"""Where the clock stands at first: half a month before the first period."""


def milestone(name: str, *rewards: PromisedReward, months: int = 3, target: str = "100", offset_days: int = 0):
    values = (thousandths_of(target),) * months
    return build_definition(
        name=name,
        periods=build_periods(months),
        offset_days=offset_days,
        target=build_target(name=name, rewards=rewards, values=values),
    )


def streak(name: str, *counts: int, months: int = 12, target: str = "100", offset_days: int = 0):
    values = (thousandths_of(target),) * months
    return build_streak(
        name=name,
        periods=build_periods(months),
        offset_days=offset_days,
        target=build_target(name=name, values=values),
        levels=tuple(DefinedLevel(level.name, level.count, (POINTS,)) for level in build_levels(*counts)),
    )


@dataclass(frozen=True)
class Brand:
    """An organisation with its programmes by name; makes requests of what its customers do."""

    organisation_id: int
    programmes: dict[str, Programme]

    def enrol(self, customer_id: int, name: str, **options: Any) -> Request:
        return self._call(customer_id, name, Enrol(self._target_id(name), **options))

    def un_enrol(self, customer_id: int, name: str) -> Request:
        return self._call(customer_id, name, UnEnrol(self._target_id(name)))

    def _target_id(self, name: str) -> int:
        return self.programmes[name].targets[0].target_id

    def _call(self, customer_id: int, name: str, command: Enrol | UnEnrol) -> Request:
        change = EnrolmentChange(self.programmes[name].target_group_id, command)
        return Request(self.organisation_id, customer_id, change, asked_by="test")

    def buy(self, customer_id: int, activity_id: str, occurred_at: datetime, amount: str = "100") -> Request:
        bought = Activity(activity_id, "transaction", occurred_at, {"amount": Decimal(amount)})
        return Request(self.organisation_id, customer_id, bought)


async def found(
    pool: asyncpg.Pool,
    name: str,
    definitions: Sequence[Definition],
    *,
    customer_ids: Sequence[int] = (1, 2, 3),
    test_clock_at: datetime | None = BEFORE,
) -> Brand:
    """A new organisation; without a test clock it goes by the wall."""
    async with pool.acquire() as connection:
        organisation_id = await create_organisation(
            connection, name=name, zone="UTC", test_clock_at=test_clock_at, now=FOUNDED_AT
        )
        for definition in definitions:
            async with connection.transaction():
                await programmes.lock_definitions(connection, organisation_id)
                change = await programmes.begin_change(connection, organisation_id, wall=FOUNDED_AT)
                await programmes.insert(
                    connection,
                    definition,
                    organisation_id=organisation_id,
                    created_by="test",
                    now=change.at,
                    version=change.version,
                )
        stored = await programmes.fetch_all(connection, organisation_id)
    await register(pool, organisation_id, [NewCustomer(customer_id=one) for one in customer_ids], FOUNDED_AT)
    return Brand(organisation_id, {programme.name: programme for programme in stored})


async def deactivate(pool: asyncpg.Pool, brand: Brand, name: str, *, at: datetime) -> None:
    """As the API does it; the closer is yet to hear of it."""
    async with pool.acquire() as connection, connection.transaction():
        await programmes.lock_definitions(connection, brand.organisation_id)
        change = await programmes.begin_change(connection, brand.organisation_id, wall=at)
        await programmes.deactivate(
            connection,
            brand.organisation_id,
            brand.programmes[name].target_group_id,
            deactivated_by="test",
            now=change.at,
            version=change.version,
        )


async def rewards_of(pool: asyncpg.Pool, brand: Brand) -> list[tuple[int, str, int, str, str | None, datetime]]:
    """Customer, programme, period (or the level's count), state, reason, when earned; in order."""
    rows = await pool.fetch(
        f"{UNFOLDED} SELECT r.customer_id, t.name, coalesce(p.number, l.count), r.state, r.reason, r.earned_at"
        " FROM reward r JOIN target t USING (target_id)"
        " LEFT JOIN period p USING (period_id) LEFT JOIN level l USING (level_id)"
        " WHERE r.organisation_id = $1 ORDER BY 1, 2, 3",
        brand.organisation_id,
    )
    return [tuple(row) for row in rows]


async def facts_of(
    pool: asyncpg.Pool, brand: Brand
) -> list[tuple[int, str, str, int | None, datetime, Decimal | None]]:
    """Customer, programme, fact, period, when, value; each customer's in the order of the trail."""
    rows = await pool.fetch(
        f"{UNFOLDED} SELECT f.customer_id, t.name, f.name, p.number, f.at, f.value"
        " FROM fact f JOIN target t USING (target_id) LEFT JOIN period p USING (period_id)"
        " WHERE f.organisation_id = $1 ORDER BY f.customer_id, f.sequence, f.ordinal",
        brand.organisation_id,
    )
    return [tuple(row) for row in rows]
