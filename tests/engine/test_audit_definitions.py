"""What foreign keys and unique indexes held of definitions, the audit reports: rows of customers that name what their
organisation's definitions do not have, and documents that are damaged or that names and due instants contradict.
"""

import asyncpg
import pytest
from tests.engine.brand import deactivate, found, milestone
from tests.engine.test_auditor import OF_CUSTOMER, ROW, STANDING, Tampered, town

from kosminar.engine.auditor import Scope, audit
from kosminar.engine.difference import Difference

__all__ = ["town"]
pytestmark = pytest.mark.asyncio

NOWHERE = 999
"""No sequence gives it here, and no organisation's definitions have it."""
LEVEL = f"{ROW} AND level_id <> 0"

NAMING = [
    ("journal", "target_id", f"{ROW} AND number = 2", "At the end"),
    ("standing", "target_group_id", STANDING, "At the end"),
    ("standing", "period_number", STANDING, "At the end"),
    ("standing", "document", STANDING, "At the end"),
    ("standing", "document", STANDING, "In a row"),
    ("ended_period", "target_group_id", f"{ROW} AND period_number = 1", "At the end"),
    ("ended_period", "target_id", f"{ROW} AND period_number = 1", "At the end"),
    ("ended_period", "period_number", f"{ROW} AND period_number = 1", "At the end"),
    ("reward", "target_id", f"{ROW} AND period_id % 1024 = 1", "At the end"),
    ("reward", "period_id", f"{ROW} AND period_id % 1024 = 1", "At the end"),
    ("reward", "level_id", LEVEL, "In a row"),
    ("reward", "reward_definition_id", f"{ROW} AND period_id % 1024 = 1", "At the end"),
    ("notification", "target_id", f"{OF_CUSTOMER} AND number = 1", "At the end"),
]


def is_of_counters(difference: Difference) -> bool:
    """A command that the definitions do not know is not counted in the recount either."""
    return difference.what.startswith("counters of ")


@pytest.mark.parametrize(("table", "column", "where", "name"), NAMING)
async def test_a_row_that_names_what_the_definitions_do_not_have_is_a_difference(
    town: Tampered, table: str, column: str, where: str, name: str
) -> None:
    value: object = NOWHERE
    if column == "document":
        # A target's id as the key of its part; a level's among those that a run has reached.
        pattern, into = (r'"\d+":', f'"{NOWHERE}":') if name == "At the end" else (r"\[\d+\]", f"[{NOWHERE}]")
        value = f"regexp_replace(document::text, '{pattern}', '{into}')::json"

    await town.tamper(f"UPDATE {table} SET {column} = {value} {where}", name=name)

    differences = await town.differences()
    of_customers = {(one.organisation_id, one.customer_id) for one in differences if not is_of_counters(one)}
    assert of_customers == {(town.brand.organisation_id, 1)}
    assert str(NOWHERE) in " ".join(map(str, differences))


OF_NEWEST = "WHERE organisation_id = $1 AND target_group_id = $2"
DAMAGE = [
    (f"UPDATE definition SET document = document - 'zone' {OF_NEWEST}", "definition of target group"),
    (f"UPDATE definition SET version = version + 100 {OF_NEWEST}", "definition of target group"),
    (f"UPDATE definition SET deactivated_at = changed_at {OF_NEWEST}", "definition of target group"),
    (f"UPDATE name SET name_key = 'another' {OF_NEWEST} AND kind = 'group'", "name 'another' of a group"),
    (f"UPDATE name SET target_group_id = 999 {OF_NEWEST} AND kind = 'target'", "name 'lone' of a target"),
    (f"DELETE FROM name {OF_NEWEST} AND kind = 'group'", "name 'lone' of a group"),
    ("DELETE FROM due_instant WHERE organisation_id = $1 AND $2 > 0", "due instant of period 1 of target group"),
    (
        f"INSERT INTO definition SELECT organisation_id, 999, 1, document, NULL, changed_at, '' FROM definition {OF_NEWEST}",
        "id ",
    ),
]


@pytest.mark.parametrize(("sql", "what"), DAMAGE, ids=lambda value: value[:60])
async def test_a_definition_that_was_tampered_with_is_a_difference_of_its_organisation_alone(
    house, sql: str, what: str
) -> None:
    brand, other = [await found(house.pool, name, [milestone("Lone", months=1)]) for name in ("acme", "globex")]
    assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []

    await tamper(house.pool, sql, brand.organisation_id, brand.programmes["Lone"].target_group_id)

    differences = [one async for one in audit(house.pool, progressed=lambda _: None)]
    assert {one.organisation_id for one in differences} == {brand.organisation_id}
    of_definitions = [one for one in differences if one.customer_id is None]
    assert any(one.what.startswith(what) for one in of_definitions), differences
    assert str(of_definitions[0]).startswith(f"organisation {brand.organisation_id}: ")
    scope = Scope(other.organisation_id)
    assert [one async for one in audit(house.pool, scope=scope, progressed=lambda _: None)] == []


async def test_an_id_that_two_organisations_have_is_a_difference(house) -> None:
    brand, other = [await found(house.pool, name, [milestone("Lone", months=1)]) for name in ("acme", "globex")]
    mine, theirs = (each.programmes["Lone"].targets[0].target_id for each in (brand, other))

    await tamper(
        house.pool,
        f"UPDATE definition SET document = jsonb_set(document, '{{targets,0,target_id}}', '{mine}')"
        " WHERE organisation_id = $1 AND $2 > 0",
        other.organisation_id,
        theirs,
    )

    (difference,) = [one async for one in audit(house.pool, progressed=lambda _: None)]
    assert difference.what.startswith(f"id {mine} in the definition of target group ")
    assert difference.organisation_id == other.organisation_id


async def test_where_definitions_are_damaged_each_customer_is_reported_and_the_audit_goes_on(house) -> None:
    brand, other = [await found(house.pool, name, [milestone("Lone", months=1)]) for name in ("acme", "globex")]
    await deactivate(house.pool, brand, "Lone", at=brand.programmes["Lone"].periods[0].starts_at)

    await tamper(
        house.pool,
        f"UPDATE definition SET document = '{{}}' {OF_NEWEST}",
        brand.organisation_id,
        brand.programmes["Lone"].target_group_id,
    )

    heard: list[int] = []
    differences = [one async for one in audit(house.pool, progressed=heard.append)]
    assert sum(heard) == 6
    assert {(one.organisation_id, one.customer_id) for one in differences} == {
        (brand.organisation_id, customer_id) for customer_id in (None, 1, 2, 3)
    }
    assert other.organisation_id != brand.organisation_id


async def tamper(pool: asyncpg.Pool, sql: str, organisation_id: int, number: int) -> None:
    done = await pool.execute(sql, organisation_id, number)
    assert done.split()[-1] != "0", done


@pytest.mark.parametrize("name", ["reward_earned", "period_ended"])
async def test_a_period_ends_fact_that_names_another_target_is_one_difference(town, name: str) -> None:
    mine, another = town.target_id("At the end"), town.target_id("In a row")
    await town.tamper(
        f"UPDATE journal SET facts = replace(facts::text, '[\"{name}\",{mine},', '[\"{name}\",{another},')::json"
        f" {OF_CUSTOMER} AND kind = 'period_end' AND facts::text LIKE '%[\"period_ended\",{mine},1,%'"
    )

    (difference,) = await town.differences()

    assert (difference.expected, difference.found) == ({"target_id": mine}, {"target_id": another})


@pytest.mark.parametrize(("table", "column"), [("journal", "initial_balance_thousandths"), ("reward", "points")])
async def test_the_database_takes_no_number_that_is_none(town, table: str, column: str) -> None:
    """What is read as a number is one, so that nothing that is stored can stop the audit."""
    with pytest.raises(
        (asyncpg.CheckViolationError, asyncpg.NumericValueOutOfRangeError, asyncpg.InvalidTextRepresentationError)
    ):
        await town.house.pool.execute(
            f"UPDATE {table} SET {column} = 'NaN' WHERE organisation_id = $1 AND {column} IS NOT NULL",
            town.brand.organisation_id,
        )
