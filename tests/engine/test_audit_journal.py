"""What the journal says is guarded: each field of each fact by the audit, and each kind's columns by the database.

Fields are found by walking the declared types, and a life is lived in which every kind of fact happens.
"""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, get_args

import asyncpg
import pytest
import pytest_asyncio
from msgspec.structs import fields, replace
from tests.definitions import POINTS, POINTS_AT_PERIOD_END, build_definition, build_periods, build_target, month
from tests.engine.brand import Brand, found, milestone, streak
from tests.engine.test_auditor import live, report

from kosminar.core.fact import Fact, RewardFailed, RewardIssued, RewardReversed
from kosminar.core.programme import EnrolmentMethod
from kosminar.core.reward import RewardState
from kosminar.engine.auditor import Scope, audit
from kosminar.engine.difference import Difference
from kosminar.engine.house import House
from kosminar.store import facts

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
REPORTED = (RewardIssued, RewardFailed, RewardReversed)
KEY = "organisation_id = $1 AND customer_id = $2 AND number = $3"


async def lived(house: House) -> Brand:
    """The auditor's brand; and beside it one in which happens what does not happen there."""
    brand = await live(house, "acme")
    await report(house, brand, 4, RewardState.FAILED)
    return brand


async def lived_otherwise(house: House) -> Brand:
    """Activity enrols, comes late, is opted out of; a balance takes an achievement back."""
    automatic = build_definition(
        name="By itself",
        periods=build_periods(3),
        offset_days=20,
        target=build_target(
            name="By itself", values=(100_000,) * 3, enrolment_method=EnrolmentMethod.TRANSACTION, rewards=(POINTS,)
        ),
    )
    definitions = [automatic, milestone("Given up", POINTS_AT_PERIOD_END), streak("In a row", 2)]
    brand = await found(house.pool, "globex", definitions, customer_ids=(1, 2))
    submit, advance = house.writer.submit, house.closer.advance
    await advance(brand.organisation_id, month(2) + DAY)
    await submit([brand.enrol(1, "Given up"), brand.un_enrol(2, "By itself")])
    await submit([brand.buy(1, "february", month(2) + DAY)])
    await submit([brand.buy(1, "late", month(2) - DAY), brand.buy(1, "only counts", month(2) + DAY, "1")])
    await submit([brand.un_enrol(1, "Given up"), brand.enrol(1, "Given up", initial_balance=5_000)])
    return brand


@pytest_asyncio.fixture
async def brands(house: House) -> tuple[Brand, Brand]:
    return await lived(house), await lived_otherwise(house)


async def differences(pool: asyncpg.Pool, organisation_id: int, customer_id: int) -> list[Difference]:
    scope = Scope(organisation_id, customer_id)
    return [one async for one in audit(pool, scope=scope, progressed=lambda _: None)]


async def rows_with_facts(pool: asyncpg.Pool) -> list[tuple[tuple[int, int, int], list[Fact], asyncpg.Record]]:
    rows = await pool.fetch("SELECT * FROM journal ORDER BY organisation_id, customer_id, number")
    return [
        (
            (row["organisation_id"], row["customer_id"], row["number"]),
            list(facts.read(row["facts"], reason=row["reason"])),
            row,
        )
        for row in rows
    ]


async def put(pool: asyncpg.Pool, key: tuple[int, int, int], text: str) -> None:
    assert await pool.execute(f"UPDATE journal SET facts = $4::json WHERE {KEY}", *key, text) == "UPDATE 1"


def another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case datetime():
            return value + timedelta(seconds=1)
        case date():
            return value + DAY
        case str():
            return value + "!"
        case _:
            return None


def altered(fact: Fact) -> Iterator[tuple[str, Fact]]:
    """The fact with each of its fields altered, where the field is there: that none becomes some is altered too."""
    for field in fields(fact):
        if field.name == "reason" and isinstance(fact, REPORTED):
            # It has a column of its own.
            continue
        value = getattr(fact, field.name)
        if value is not None:
            yield field.name, replace(fact, **{field.name: another(value)})
        elif "day" not in field.name:
            yield field.name, replace(fact, **{field.name: "somebody" if field.name == "reason" else 1})
        else:
            yield field.name, replace(fact, **{field.name: date(2031, 1, 1)})


async def test_an_alteration_of_any_field_of_any_fact_is_one_difference_and_names_it(pool, brands) -> None:
    met: set[type] = set()

    for key, happened, _ in await rows_with_facts(pool):
        for place, fact in enumerate(happened):
            if type(fact) in met:
                continue
            met.add(type(fact))
            for name, changed in altered(fact):
                await put(pool, key, facts.write([*happened[:place], changed, *happened[place + 1 :]]))
                (difference,) = await differences(pool, *key[:2])
                assert difference.what == f"fact {key[2]}.{place} ({fact.name})", (fact, name)
                assert difference.expected is not None
                assert list(difference.expected) == [name], (fact, name)
        await put(pool, key, facts.write(happened))

    assert met == set(get_args(Fact))
    assert [one async for one in audit(pool, progressed=lambda _: None)] == []


async def test_a_fact_that_is_lost_doubled_or_out_of_order_is_found(pool, brands) -> None:
    tried = 0
    for key, happened, _ in await rows_with_facts(pool):
        if len(happened) < 2:
            continue
        for spoiled in (
            happened[1:],
            happened[:-1],
            [*happened, happened[-1]],
            [happened[1], happened[0], *happened[2:]],
        ):
            await put(pool, key, facts.write(spoiled))
            found = await differences(pool, *key[:2])
            assert found, spoiled
            assert all(one.what.startswith(f"fact {key[2]}.") for one in found), found
            tried += 1
        await put(pool, key, facts.write(happened))

    assert tried > 20


async def test_a_text_that_is_no_facts_is_reported_and_the_audit_goes_on(pool, brands) -> None:
    key, _, _ = next(row for row in await rows_with_facts(pool) if row[1])
    for text in ("[]", "{}", "[1]", '[["opted_out",7]]', '["2031-01-01T00:00:00Z",["unheard_of",7]]'):
        await put(pool, key, text)

        found = [one async for one in audit(pool, progressed=lambda _: None)]

        assert {(one.organisation_id, one.customer_id) for one in found} == {key[:2]}
        assert all(one.what.startswith(("facts of command, number ", f"fact {key[2]}.")) for one in found), found


async def test_another_spelling_of_the_same_facts_is_found(pool, brands) -> None:
    key, _, row = next(row for row in await rows_with_facts(pool) if row[1])
    await put(pool, key, json.dumps(json.loads(row["facts"]), indent=1))

    (difference,) = await differences(pool, *key[:2])

    assert difference.what.startswith("facts of command, number ")


async def test_an_instant_at_which_an_activity_only_counted_is_guarded(pool, brands) -> None:
    _, brand = brands
    done = await pool.execute(
        "UPDATE journal SET at = at + interval '1 second' WHERE organisation_id = $1 AND activity_id = 'only counts'",
        brand.organisation_id,
    )
    assert done == "UPDATE 1"

    found = await differences(pool, brand.organisation_id, 1)

    assert any(one.what.startswith("fact ") and one.expected is not None and "at" in one.expected for one in found)


async def test_what_was_said_in_a_report_that_another_one_followed_is_guarded(pool, house, brands) -> None:
    brand, _ = brands
    await report(house, brand, 4, RewardState.REVERSED)
    done = await pool.execute(
        "UPDATE journal SET reason = 'somebody' WHERE organisation_id = $1 AND outcome = 'failed'",
        brand.organisation_id,
    )
    assert done == "UPDATE 1"

    (difference,) = await differences(pool, brand.organisation_id, 4)

    assert difference.what.startswith("reward's report, number ")


async def test_a_period_end_that_ended_nothing_is_found(pool, brands) -> None:
    """Nothing but the number says that it is too many, and the customer's own row was put right."""
    brand, _ = brands
    last = "(SELECT max(number) FROM journal AS k WHERE k.organisation_id = $1 AND k.customer_id = 1)"
    await pool.execute(
        "INSERT INTO journal (bucket, organisation_id, customer_id, number, at, definitions_version, kind,"
        "                     target_group_id, facts)"
        f" SELECT bucket, organisation_id, customer_id, {last} + 1, at, definitions_version, 'period_end', $2, '[]'"
        f"   FROM journal WHERE organisation_id = $1 AND customer_id = 1 AND number = {last}",
        brand.organisation_id,
        brand.programmes["At the end"].target_group_id,
    )
    await pool.execute(
        "UPDATE customer SET sequence = sequence + 1 WHERE organisation_id = $1 AND customer_id = 1",
        brand.organisation_id,
    )

    (difference,) = await differences(pool, brand.organisation_id, 1)

    assert difference.what.endswith(", which brings nothing")


# ---------------------------------------------------------------- what the database itself refuses

REFUSED = [
    ("number = 0", "activity", "journal_number_check"),
    ("definitions_version = -1", "activity", "journal_definitions_version_check"),
    ("kind = 'unheard of', target_id = NULL", "un_enrol", "journal_kind_check"),
    ("entry = 0", "activity", "journal_entry_check"),
    ("activity_id = ''", "activity", "journal_activity_id_check"),
    ("activity_id = repeat('x', 101)", "activity", "journal_activity_id_check"),
    ("type = ''", "activity", "journal_type_check"),
    ("type = repeat('x', 101)", "activity", "journal_type_check"),
    ("fingerprint = '\\x00'", "activity", "journal_fingerprint_check"),
    ("attributes = '[]'", "activity", "journal_attributes_check"),
    ("initial_balance_thousandths = -1", "enrol", "journal_initial_balance_thousandths_check"),
    ("initial_balance_thousandths = 1000000000000000", "enrol", "journal_initial_balance_thousandths_check"),
    ("outcome = 'forfeited'", "report", "journal_outcome_check"),
    ("reason = ''", "report", "journal_reason_check"),
    ("reason = repeat('x', 501)", "report", "journal_reason_check"),
    ("reward_id = repeat('x', 201)", "report", "journal_reward_id_check"),
    ("asked_by = NULL", "enrol", "only_time_asks_for_itself"),
    ("request_id = NULL", "report", "only_time_asks_for_itself"),
    ("asked_by = 'somebody'", "period_end", "only_time_asks_for_itself"),
    *(
        (f"{column} = NULL", "activity", "an_activity_is_whole")
        for column in ("activity_id", "entry", "type", "occurred_at", "attributes", "verdicts")
    ),
    ("verdicts = '[]'", "un_enrol", "an_activity_is_whole"),
    ("fingerprint = NULL", "activity", "what_was_said_has_a_fingerprint"),
    ("fingerprint = NULL", "report", "what_was_said_has_a_fingerprint"),
    ("fingerprint = sha256('x')", "enrol", "what_was_said_has_a_fingerprint"),
    ("target_id = NULL", "enrol", "an_enrolment_names_its_target"),
    ("target_id = NULL", "un_enrol", "an_enrolment_names_its_target"),
    ("target_id = 1", "activity", "an_enrolment_names_its_target"),
    ("reset = NULL", "enrol", "only_enrolling_has_options"),
    ("reset = false", "un_enrol", "only_enrolling_has_options"),
    ("period_name = 'Cycle_1'", "un_enrol", "only_enrolling_has_options"),
    ("initial_balance_thousandths = 0", "un_enrol", "only_enrolling_has_options"),
    ("target_group_id = NULL", "period_end", "a_period_end_names_its_group"),
    ("target_group_id = 1", "enrol", "a_period_end_names_its_group"),
    ("reward_id = NULL", "report", "a_report_names_its_reward"),
    ("outcome = NULL", "report", "a_report_names_its_reward"),
    ("reason = 'somebody'", "activity", "a_report_names_its_reward"),
    ("outcome = 'reversed', reason = NULL", "report", "what_was_not_given_says_why"),
]


async def test_the_database_takes_no_row_that_its_kind_cannot_be(pool, brands) -> None:
    for change, kind, constraint in REFUSED:
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await pool.execute(f"UPDATE journal SET {change} WHERE kind = '{kind}'")

        assert refused.value.constraint_name == constraint, change


async def test_every_check_of_the_journal_is_tried(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'journal'::regclass AND contype = 'c'"
    )

    assert {row["conname"] for row in rows} == {constraint for _, _, constraint in REFUSED}


async def test_a_number_and_an_activitys_id_are_a_customers_once(pool, brands) -> None:
    for change, index in (("number = 3", "journal_pkey"), ("activity_id = 'twice'", "journal_activity")):
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await pool.execute(f"UPDATE journal SET {change} WHERE kind = 'activity' AND customer_id = 1")

        assert refused.value.constraint_name == index


async def test_the_database_takes_no_number_that_is_none_in_a_document(pool, brands) -> None:
    for text in ("NaN", "[NaN]", '["2031-01-01T00:00:00Z",["progressed",7,1,1,5,NaN,null]]'):
        for column in ("facts", "verdicts", "attributes"):
            with pytest.raises(asyncpg.InvalidTextRepresentationError):
                await pool.execute(f"UPDATE journal SET {column} = $1 WHERE kind = 'activity'", text)
