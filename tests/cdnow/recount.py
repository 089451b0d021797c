"""Loads the raw rows and runs the recount; every rule is in recount.sql.

Shares no code with the engine. It works in temporary tables inside a transaction that is rolled back, so that it can
run on any database, the engine's own too, and leaves nothing behind.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, NamedTuple

from asyncpg import Connection
from tests.cdnow.purchases import Purchase, months
from tests.cdnow.scenario import (
    CLOCK_STARTS_AT,
    PROGRAMMES,
    ZONE,
    Advance,
    Enrol,
    ImportMonth,
    Programme,
    Step,
    UnEnrol,
)

SQL = (Path(__file__).parent / "recount.sql").read_text(encoding="utf-8")

INPUT = """
CREATE TEMP TABLE cdnow_setting (zone text, until timestamptz);
CREATE TEMP TABLE cdnow_programme (
    programme text, tracking text, measure text, target_value numeric, every text, starts_on date,
    period_count integer, offset_days integer, allocation text
);
CREATE TEMP TABLE cdnow_programme_level (programme text, name text, count integer);
CREATE TEMP TABLE cdnow_purchase (
    line integer, customer_id bigint, purchased_on date, amount numeric, number integer, imported_at timestamptz
);
CREATE TEMP TABLE cdnow_intervention (
    number integer, at timestamptz, customer_id bigint, programme text, kind text, balance numeric, reset boolean
);
"""

EVERY = {"MONTHLY": "1 month", "WEEKLY": "1 week"}

Month = tuple[int, int]


class MilestonePeriod(NamedTuple):
    """What is left of a period; one with no row is at value 0, not achieved, without any reward."""

    programme: str
    customer_id: int
    period_number: int
    value: Decimal
    achieved: bool
    reward_state: Literal["issued", "forfeited"] | None
    reward_count: int


class StreakPeriod(NamedTuple):
    """The value of a period in one run; one with no row is at value 0."""

    programme: str
    customer_id: int
    run: int
    period_number: int
    value: Decimal


class ReachedLevel(NamedTuple):
    """A level that a run passed, and so one issued reward."""

    programme: str
    customer_id: int
    run: int
    name: str


class Standing(NamedTuple):
    """How a customer stands at last; who never counted nor called has no row."""

    programme: str
    customer_id: int
    enrolled: bool
    run: int | None  # None after nothing but an opt-out.


class Repeat(NamedTuple):
    """A call that asked for what already was: the step's place in the story, from 0."""

    number: int
    kind: Literal["enrol", "un_enrol"]


class Recount(NamedTuple):
    milestone_periods: list[MilestonePeriod]
    streak_periods: list[StreakPeriod]
    reached_levels: list[ReachedLevel]
    standings: list[Standing]
    repeats: list[Repeat]


async def recount(
    connection: Connection,
    steps: Sequence[Step],
    *,
    purchases: Mapping[Month, Iterable[Purchase]] | None = None,
    programmes: Sequence[Programme] = PROGRAMMES,
) -> Recount:
    """What must be stored for every customer when the steps are done and the clock has reached the last instant."""
    if purchases is None:
        purchases = {(year, month): rows for year, month, rows in months()}
    transaction = connection.transaction()
    await transaction.start()
    try:
        await load(connection, steps, purchases=purchases, programmes=programmes)
        await connection.execute(SQL)
        return Recount(
            [MilestonePeriod(*row) for row in await connection.fetch(MILESTONE_PERIODS)],
            [StreakPeriod(*row) for row in await connection.fetch(STREAK_PERIODS)],
            [ReachedLevel(*row) for row in await connection.fetch(REACHED_LEVELS)],
            [Standing(*row) for row in await connection.fetch(STANDINGS)],
            [Repeat(*row) for row in await connection.fetch(REPEATS)],
        )
    finally:
        await transaction.rollback()


async def load(
    connection: Connection,
    steps: Sequence[Step],
    *,
    purchases: Mapping[Month, Iterable[Purchase]],
    programmes: Sequence[Programme],
) -> None:
    """A step's place in the list is its number: the order of acceptance, also among steps of one instant."""
    await connection.execute(INPUT)
    until = max([CLOCK_STARTS_AT, *(step.to if isinstance(step, Advance) else step.at for step in steps)])
    await connection.copy_records_to_table("cdnow_setting", records=[(ZONE, until)])
    await connection.copy_records_to_table("cdnow_programme", records=[_programme_row(it) for it in programmes])
    levels = [(programme.name, level.name, level.count) for programme in programmes for level in programme.levels]
    await connection.copy_records_to_table("cdnow_programme_level", records=levels)
    await connection.copy_records_to_table("cdnow_purchase", records=_purchase_rows(steps, purchases))
    await connection.copy_records_to_table("cdnow_intervention", records=_intervention_rows(steps))
    await connection.execute("ANALYZE cdnow_purchase, cdnow_intervention, cdnow_programme, cdnow_programme_level")


def _programme_row(programme: Programme) -> tuple:
    return (
        programme.name,
        programme.tracking,
        programme.measure,
        programme.target_value,
        EVERY[programme.frequency],
        programme.starts_on,
        programme.period_count,
        programme.offset_days,
        programme.allocation,
    )


def _purchase_rows(
    steps: Sequence[Step], purchases: Mapping[Month, Iterable[Purchase]]
) -> list[tuple[int, int, date, Decimal, int, datetime]]:
    return [
        (purchase.line_number, purchase.customer_id, purchase.purchased_on, purchase.amount, number, step.at)
        for number, step in enumerate(steps)
        if isinstance(step, ImportMonth)
        for purchase in purchases[step.year, step.month]
    ]


def _intervention_rows(steps: Sequence[Step]) -> list[tuple]:
    return [
        (number, step.at, step.customer_id, step.programme, "enrol", step.initial_balance, step.reset)
        if isinstance(step, Enrol)
        else (number, step.at, step.customer_id, step.programme, "un_enrol", None, None)
        for number, step in enumerate(steps)
        if isinstance(step, Enrol | UnEnrol)
    ]


MILESTONE_PERIODS = """
SELECT programme, customer_id, period_number, value, achieved, reward_state, reward_count
FROM cdnow_milestone
ORDER BY programme, customer_id, period_number
"""

STREAK_PERIODS = """
SELECT programme, customer_id, run, period_number, value
FROM cdnow_streak_period
ORDER BY programme, customer_id, run, period_number
"""

REACHED_LEVELS = """
SELECT programme, customer_id, run, name
FROM cdnow_level
ORDER BY programme, customer_id, run, count
"""

STANDINGS = """
SELECT DISTINCT ON (programme, customer_id) programme, customer_id, turn = 'in', run
FROM cdnow_turn
LEFT JOIN cdnow_stretch USING (programme, customer_id)
ORDER BY programme, customer_id, cdnow_turn.number DESC, position DESC
"""

REPEATS = """
SELECT number, kind
FROM cdnow_intervention
WHERE NOT EXISTS (SELECT FROM cdnow_turn WHERE cdnow_turn.number = cdnow_intervention.number)
ORDER BY number
"""
