"""The auditor finds nothing in a living database, and names every row that somebody changed behind its back.

Every column of every customer-keyed table is on one of two lists: changed behind our back it is found, or it is left
out for a reason. Two organisations with the same customers and programmes; only one is tampered with, and only that one is named.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest
import pytest_asyncio
from tests.definitions import POINTS, POINTS_AT_PERIOD_END, month
from tests.engine.brand import FOUNDED_AT, Brand, deactivate, found, milestone, streak
from tests.unfolded import UNFOLDED

from kosminar.core.customer import NewCustomer
from kosminar.core.event import EventName
from kosminar.core.reward import RewardKey, RewardState
from kosminar.engine.auditor import Scope, audit
from kosminar.engine.change import ReportOutcome, Request, RewardReport
from kosminar.engine.difference import Difference
from kosminar.engine.house import House
from kosminar.engine.use_cases.customers import register
from kosminar.store import programmes, webhook_endpoints
from kosminar.store import recount as recount_store

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
CUSTOMER_IDS = (1, 2, 3, 4)
NAMES = ("At once", "At the end", "In a row")
# Somebody with identifiers, who does nothing.
CONTACT = NewCustomer(customer_id=90, external_id="A-90", mobile="+49 170 555", email="Nine@Example.com")


async def live(house: House, name: str, customer_ids: Sequence[int] = CUSTOMER_IDS) -> Brand:
    """Three months of a small brand: paid at once and at the end, forfeited, re-enrolled, a streak reset and broken."""
    definitions = [
        milestone("At once", POINTS),
        milestone("At the end", POINTS_AT_PERIOD_END),
        streak("In a row", 2),
    ]
    brand = await found(house.pool, name, definitions, customer_ids=customer_ids)
    await register(house.pool, brand.organisation_id, [CONTACT], month(1) - timedelta(days=20))
    submit, advance = house.writer.submit, house.closer.advance
    options = {"period_name": "Cycle_1", "initial_balance": 0}
    await submit(
        brand.enrol(customer_id, name, **(options if name == "At the end" else {}))
        for customer_id in customer_ids
        for name in NAMES
    )
    await advance(brand.organisation_id, month(1) + DAY)
    await submit(brand.buy(customer_id, "january", month(1)) for customer_id in customer_ids)
    await submit([brand.un_enrol(2, "At the end"), brand.un_enrol(2, "In a row")])
    await submit([brand.enrol(2, "In a row", reset=True)])
    await advance(brand.organisation_id, month(2) + DAY)
    await subscribe(house, brand)
    await submit(brand.buy(customer_id, "february", month(2)) for customer_id in customer_ids if customer_id != 3)
    await advance(brand.organisation_id, month(3) + DAY)
    await report(house, brand, 1, RewardState.ISSUED, RewardState.REVERSED)
    # The third month runs: achieved and to be paid at its end, nothing of it is settled.
    await submit([brand.buy(1, "march", month(3)), brand.buy(4, "march", month(3), "99.999")])
    return brand


async def subscribe(house: House, brand: Brand) -> None:
    """From now on somebody hands rewards over, and wants to know what was taken back and which periods ended."""
    events = {EventName.REWARD_ISSUED, EventName.REWARD_REVERSED, EventName.TARGET_PERIOD_COMPLETED}
    async with house.pool.acquire() as connection, connection.transaction():
        await programmes.lock_definitions(connection, brand.organisation_id)
        change = await programmes.begin_change(connection, brand.organisation_id, wall=FOUNDED_AT)
        await webhook_endpoints.insert(
            connection,
            brand.organisation_id,
            url="https://example.com/hook",
            description=None,
            event_names=frozenset(event.value for event in events),
            headers={},
            connection_count_max=1,
            secret=bytes(32),
            now=change.at,
        )


async def report(house: House, brand: Brand, customer_id: int, *outcomes: RewardState) -> None:
    """What became of the customer's reward of the second month, one after another."""
    programme = brand.programmes["At once"]
    (reward,) = programme.targets[0].rewards
    key = RewardKey(programme.targets[0].target_id, programme.period_id(2), 0, 1, reward.reward_definition_id)
    for outcome in outcomes:
        reason = None if outcome is RewardState.ISSUED else "given by mistake"
        change = RewardReport(key, outcome, reason)
        (done,) = await house.writer.submit([Request(brand.organisation_id, customer_id, change)])
        assert isinstance(done, ReportOutcome)
        assert not done.errors


@dataclass(frozen=True)
class Tampered:
    """The brand that somebody tampers with, and one beside it."""

    house: House
    brand: Brand
    other: Brand

    def target_id(self, name: str) -> int:
        return self.brand.programmes[name].targets[0].target_id

    async def tamper(self, sql: str, *, name: str = "At the end", customer_id: int = 1) -> None:
        """`$1` is the organisation, `$2` the customer, `$3` the target; exactly one row must be hit.

        Foreign keys are no hindrance to who tampers: a damaged or half-restored database has none either.
        """
        async with self.house.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            done = await connection.execute(sql, self.brand.organisation_id, customer_id, self.target_id(name))
        assert done.split()[-1] == "1", done

    @asynccontextmanager
    async def undone(self, table: str) -> AsyncIterator[None]:
        """What is changed in the table meanwhile is put right again."""
        rows = await self.house.pool.fetch(f"SELECT * FROM {table}")
        yield
        async with self.house.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(f"DELETE FROM {table}")
            await connection.copy_records_to_table(table, records=rows)

    async def stop_telling_of_completed_periods(self) -> None:
        """Who is to be told is looked at when a period ends, whoever is hidden otherwise."""
        async with self.house.pool.acquire() as connection, connection.transaction():
            await programmes.lock_definitions(connection, self.brand.organisation_id)
            await programmes.begin_change(connection, self.brand.organisation_id, wall=FOUNDED_AT)
            await connection.execute(
                "UPDATE webhook_endpoint SET event_names = '{rewardIssued}' WHERE organisation_id = $1",
                self.brand.organisation_id,
            )

    async def differences(self) -> list[Difference]:
        return [one async for one in audit(self.house.pool, progressed=lambda _: None)]

    async def found(self, name: str, customer_id: int = 1) -> list[str]:
        """What differs, all of it of this customer in this target or in none."""
        differences = await self.differences()
        places = {(one.organisation_id, one.customer_id, one.target_id) for one in differences}
        known = {(self.brand.organisation_id, customer_id, target_id) for target_id in (self.target_id(name), None)}
        assert places <= known, differences
        assert all(one.expected != one.found for one in differences)
        return [one.what for one in differences]


@pytest_asyncio.fixture
async def town(house: House) -> Tampered:
    other = await live(house, "globex")
    return Tampered(house, await live(house, "acme"), other)


# ---------------------------------------------------------------- nothing to find


async def test_nothing_is_found_in_what_was_lived(town) -> None:
    heard: list[int] = []

    differences = [one async for one in audit(town.house.pool, progressed=heard.append)]

    assert differences == []
    assert sum(heard) == 2 * (len(CUSTOMER_IDS) + 1)


async def test_nothing_is_found_while_it_is_being_lived(house) -> None:
    """Beside requests, period ends and a deactivation: each page is one snapshot."""
    brand = await live(house, "acme")

    async def go_on() -> None:
        # Long enough for several audits beside it, on a busy machine too.
        for number in range(90):
            await house.writer.submit(
                [
                    *(brand.buy(customer_id, f"more-{number}", month(3)) for customer_id in CUSTOMER_IDS),
                    brand.un_enrol(1 + number % 4, "At the end"),
                    brand.enrol(1 + (number + 1) % 4, "At the end"),
                ]
            )
            await house.closer.advance(brand.organisation_id, month(3) + (2 + number * 2 / 3) * DAY)
        await deactivate(house.pool, brand, "At the end", at=month(5))
        await house.closer.settle(brand.organisation_id)

    going_on = asyncio.create_task(go_on())
    rounds = 0
    while not going_on.done():
        assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []
        rounds += 1
    await going_on

    assert rounds > 1
    assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []


async def test_a_page_is_no_limit(house, monkeypatch) -> None:
    monkeypatch.setattr("kosminar.engine.auditor.PAGE_SIZE", 1)
    # More than there are buckets, so that some bucket has a second page.
    customer_ids = [1, 2, 3, 4, *range(100, 400)]
    brand = await live(house, "acme", customer_ids)
    await house.pool.execute(
        "UPDATE ended_period SET value_thousandths = value_thousandths + 1 WHERE customer_id IN (100, 300, 399)"
    )
    heard: list[int] = []

    differences = [one async for one in audit(house.pool, progressed=heard.append)]

    assert sum(heard) == len(customer_ids) + 1
    assert max(heard) == 1
    assert {one.customer_id for one in differences} == {100, 300, 399}
    assert {one.organisation_id for one in differences} == {brand.organisation_id}


async def test_a_page_holds_no_more_changes_than_it_may_and_one_customer_at_least(house, monkeypatch) -> None:
    monkeypatch.setattr("kosminar.engine.auditor.CHANGE_COUNT_MAX", 1)
    customer_ids = [1, 2, 3, 4, *range(100, 400)]
    await live(house, "acme", customer_ids)
    heard: list[int] = []

    differences = [one async for one in audit(house.pool, progressed=heard.append)]

    assert differences == []
    assert sum(heard) == len(customer_ids) + 1
    assert max(heard) <= 2


# ---------------------------------------------------------------- beside a living house


async def test_nothing_is_found_beside_registrations_reports_and_period_ends(house) -> None:
    """Customers appear, rewards are reported and a third month ends while page after page is read."""
    brand = await live(house, "acme")

    async def go_on() -> None:
        for number in range(60):
            new = NewCustomer(external_id=f"N-{number}", mobile=f"+49 171 {number:06}", email=f"n{number}@example.com")
            (registered,) = await register(house.pool, brand.organisation_id, [new], month(3) + 2 * DAY)
            await house.writer.submit([brand.enrol(registered.customer_id, name) for name in NAMES])
            await house.closer.advance(brand.organisation_id, month(3) + (2 + number / 2) * DAY)
            await house.writer.submit([brand.buy(registered.customer_id, "first", month(3) + (2 + number / 2) * DAY)])
            if number % 2:
                await report(house, brand, 4, RewardState.ISSUED if number % 4 == 1 else RewardState.FAILED)
        await house.closer.advance(brand.organisation_id, month(4) + DAY)

    going_on = asyncio.create_task(go_on())
    rounds = 0
    while not going_on.done():
        assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []
        rounds += 1
    await going_on

    assert rounds > 1
    assert [one async for one in audit(house.pool, progressed=lambda _: None)] == []


async def test_a_page_that_is_held_open_keeps_no_writer_waiting(town, monkeypatch) -> None:
    reading, read_on = asyncio.Event(), asyncio.Event()
    list_notifications = recount_store.list_notifications

    async def held_open(*arguments):
        reading.set()
        await read_on.wait()
        return await list_notifications(*arguments)

    monkeypatch.setattr(recount_store, "list_notifications", held_open)
    auditing = asyncio.create_task(town.differences())
    await reading.wait()

    # Every kind of writer, each to its commit, while the page waits.
    await town.house.writer.submit([town.brand.buy(1, "meanwhile", month(3)), town.brand.un_enrol(4, "At once")])
    await register(town.house.pool, town.brand.organisation_id, [NewCustomer(customer_id=91)], month(3) + DAY)
    await town.house.closer.advance(town.brand.organisation_id, month(4))
    await deactivate(town.house.pool, town.brand, "In a row", at=month(5))

    assert not auditing.done()
    read_on.set()
    assert await auditing == []


# ---------------------------------------------------------------- who is looked at


async def test_only_the_organisation_or_customer_that_was_asked_for_is_looked_at(town) -> None:
    await town.tamper(
        "UPDATE customer SET sequence = sequence + 1 WHERE organisation_id = $1 AND customer_id = $2 AND $3 > 0"
    )
    mine, other = town.brand.organisation_id, town.other.organisation_id

    found = {
        scope: [one.what async for one in audit(town.house.pool, scope=scope, progressed=lambda _: None)]
        for scope in (Scope(mine), Scope(mine, 1), Scope(mine, 2), Scope(other), Scope(other, 1))
    }

    assert found == {
        Scope(mine): ["customer"],
        Scope(mine, 1): ["customer"],
        Scope(mine, 2): [],
        Scope(other): [],
        Scope(other, 1): [],
    }


async def test_since_looks_at_who_changed_at_that_instant_or_later(town) -> None:
    """Customer 1 last bought in March; customer 3 changed last when a streak broke, and the contact never."""
    wrong = "WHERE organisation_id = $1 AND customer_id = $2 AND $3 > 0"
    await town.tamper(f"UPDATE customer SET sequence = sequence + 1 {wrong}")
    await town.tamper(f"UPDATE customer SET sequence = sequence + 1 {wrong}", customer_id=90)
    changed_at = await town.house.pool.fetchval(
        "SELECT changed_at FROM customer WHERE organisation_id = $1 AND customer_id = 1", town.brand.organisation_id
    )
    moment = timedelta(microseconds=1)

    found = {}
    for since in (None, changed_at, changed_at + moment):
        scope = Scope(since=since)
        found[since] = {one.customer_id async for one in audit(town.house.pool, scope=scope, progressed=lambda _: None)}

    assert found == {None: {1, 90}, changed_at: {1}, changed_at + moment: set()}


# ---------------------------------------------------------------- every column

ROW = "WHERE organisation_id = $1 AND customer_id = $2 AND target_id = $3"
OF_CUSTOMER = "WHERE organisation_id = $1 AND customer_id = $2 AND $3 > 0"
STANDING = f"{OF_CUSTOMER} AND target_group_id = ({UNFOLDED} SELECT target_group_id FROM target WHERE target_id = $3)"
PERIOD = "AND period_id % 1024 ="


@dataclass(frozen=True)
class Change:
    """A column's new value as SQL, and the row it is changed in where it is not the table's usual one."""

    value: str
    where: str | None = None
    name: str = "At the end"
    customer_id: int = 1


ANOTHER_TARGET = Change(
    f"({UNFOLDED} SELECT min(target_id) FROM target WHERE organisation_id = $1 AND target_id <> $3)"
)
# Where the customer has no such row yet: a target of the other organisation.
ANOTHER_PLACE = Change(f"({UNFOLDED} SELECT min(target_id) FROM target WHERE organisation_id <> $1)")
KEYS = {
    "bucket": Change("(bucket + 1) % 256"),
    "organisation_id": Change("1000000"),
    "customer_id": Change("customer_id + 1000"),
}
LATER = "interval '1 second'"
LEVEL = f"{ROW} AND level_id <> 0"
JANUARY = f"{OF_CUSTOMER} AND activity_id = 'january'"
REPORT = f"{OF_CUSTOMER} AND outcome = 'reversed'"
FIRST_END = f"{OF_CUSTOMER} AND number = (SELECT min(number) FROM journal {OF_CUSTOMER} AND kind = 'period_end')"

# Of each table the row that is tampered with, and every column that the audit covers.
COVERED: dict[str, tuple[str, dict[str, Change]]] = {
    "customer": (
        f"{OF_CUSTOMER}",
        {
            **KEYS,
            "sequence": Change("sequence + 1"),
            "notification_number": Change("notification_number + 1"),
            "changed_at": Change(f"changed_at - {LATER}"),
            "created_at": Change("created_at + interval '100 years'"),
            "external_id": Change("'A-91'", customer_id=90),
            "mobile": Change("'4917056'", customer_id=90),
            "email": Change("NULL", customer_id=90),
        },
    ),
    "customer_identifier": (
        f"{OF_CUSTOMER} AND type = 'email'",
        {
            "bucket": Change("(bucket + 1) % 256", customer_id=90),
            "organisation_id": Change("1000000", customer_id=90),
            "type": Change("'externalId'", customer_id=90),
            "value": Change("'ten@example.com'", customer_id=90),
            "customer_id": Change("3", customer_id=90),
        },
    ),
    "journal": (
        f"{ROW} AND kind = 'enrol'",
        {
            **KEYS,
            "number": Change("number + 1000"),
            "at": Change(f"at - {LATER}"),
            "occurred_at": Change(f"occurred_at + {LATER}", JANUARY),
            "definitions_version": Change("definitions_version + 100"),
            "entry": Change("2", JANUARY),
            "kind": Change("'un_enrol', reset = NULL", f"{ROW} AND kind = 'enrol' AND period_name IS NULL", "At once"),
            "type": Change("'another'", JANUARY),
            "fingerprint": Change("sha256('x')", JANUARY),
            "verdicts": Change("'[[1,\"NO_NUMBER\",1]]'", JANUARY),
            "facts": Change("'[]'"),
            "target_id": ANOTHER_TARGET,
            "target_group_id": Change("target_group_id + 1", FIRST_END),
            "initial_balance_thousandths": Change("5000"),
            "reset": Change("false", f"{ROW} AND reset", "In a row", 2),
            "period_name": Change("'Cycle_2'"),
            "reward_id": Change("'1-1-P1-1-1'", REPORT),
            "outcome": Change("'failed'", REPORT),
            "attributes": Change("'{\"amount\": 50}'", JANUARY),
            "reason": Change("'somebody'", REPORT),
        },
    ),
    "standing": (
        STANDING,
        {
            **KEYS,
            "target_group_id": Change("1000000"),
            "version": Change("version + 1"),
            "wakes_at": Change(f"wakes_at + {LATER}"),
            "likeness": Change("likeness + 1"),
            "enrolled": Change("NOT enrolled"),
            "left_at": Change(f"left_at + {LATER}", customer_id=2),
            "period_number": Change("4"),
            "run": Change("2"),
            "value_thousandths": Change("value_thousandths + 1"),
            "target_value_thousandths": Change("target_value_thousandths - 1"),
            "achieved_at": Change(f"achieved_at + {LATER}"),
            "achieved_recorded_at": Change(f"achieved_recorded_at + {LATER}"),
            "rewarded": Change("NOT rewarded"),
            "forfeited": Change("NOT forfeited"),
            "settled": Change("NOT settled"),
            "document": Change("'{}'"),
        },
    ),
    "ended_period": (
        f"{ROW} AND period_number = 1",
        {
            **KEYS,
            "target_group_id": Change("1000000"),
            "target_id": ANOTHER_TARGET,
            "period_number": Change("999"),
            "run": Change("2"),
            "value_thousandths": Change("value_thousandths + 1"),
            "target_value_thousandths": Change("target_value_thousandths - 1"),
            "achieved_at": Change(f"achieved_at + {LATER}"),
            "achieved_recorded_at": Change(f"achieved_recorded_at + {LATER}"),
            "days": Change("'{2031-03-01}'"),
            "rewarded": Change("NOT rewarded"),
            "forfeited": Change("NOT forfeited"),
            "settled": Change("NOT settled"),
            "awaits_end": Change("NOT awaits_end, settled = false"),
        },
    ),
    "reward": (
        f"{ROW} {PERIOD} 1",
        {
            **KEYS,
            "target_id": ANOTHER_TARGET,
            "period_id": Change("1000000"),
            "level_id": Change("1000000", LEVEL, "In a row"),
            "run": Change("2", LEVEL, "In a row"),
            "reward_definition_id": Change(
                f"({UNFOLDED} SELECT min(reward_definition_id) FROM reward_definition WHERE target_id <> $3)"
            ),
            "kind": Change("'BADGE'"),
            "points": Change("points + 1"),
            "text": Change("'gold'"),
            "allocation": Change("'IMMEDIATE'"),
            "state": Change("'pending'"),
            "reason": Change("'somebody'"),
            "earned_at": Change(f"earned_at - {LATER}"),
            "sequence": Change("sequence + 1"),
            "handed_over": Change("NOT handed_over"),
        },
    ),
    "notification": (
        f"{ROW} AND name = 'rewardIssued' {PERIOD} 2",
        {
            "bucket": Change("(bucket + 1) % 256", name="At once"),
            "organisation_id": Change("1000000", name="At once"),
            "customer_id": Change("customer_id + 1000", name="At once"),
            "number": Change("number + 1000", name="At once"),
            "generation": Change("1", name="At once"),
            "name": Change("'rewardReversed'", name="At once", customer_id=4),
            "target_id": Change(ANOTHER_TARGET.value, name="At once"),
            "period_id": Change("NULL", name="At once"),
            "reward_id": Change("'1-1-P1-1-1'", name="At once"),
            "at": Change("at + interval '100 years'", name="At once"),
        },
    ),
    "delivery": (
        f"{OF_CUSTOMER} AND number = 1",
        {**KEYS, "number": Change("number + 1000")},
    ),
    "webhook_queue": (OF_CUSTOMER, KEYS),
}

COURIERS = "How a delivery fares is the courier's, and no command's."
LEFT_OUT = {
    "customer": {
        "first_name": "A name is for showing; nothing is decided by it.",
        "last_name": "A name is for showing; nothing is decided by it.",
    },
    "journal": {
        "asked_by": "Who asked is told nowhere else, and nothing is decided by it.",
        "request_id": "Under which request is told nowhere else, and nothing is decided by it.",
        "activity_id": "The caller's own name for it, which is told nowhere else.",
    },
    "notification": {
        "body": "What was wanted, and by whom, is not remembered; its event id is looked at, what else was sent is not.",
        "created_at": "Real time, which no command knows.",
    },
    "delivery": dict.fromkeys(
        [
            "webhook_endpoint_id",
            "state",
            "attempt_count",
            "expires_at",
            "attempted_at",
            "delivered_at",
            "status",
            "error",
        ],
        COURIERS,
    ),
    "webhook_queue": dict.fromkeys(["webhook_endpoint_id", "due_at", "leased_by", "leased_until"], COURIERS),
}
# Where a row may be missing, or one more be there, without a command that says otherwise.
COURIERS_TABLES = {"delivery", "webhook_queue"}


async def test_every_column_of_a_customer_is_covered_or_left_out_for_a_reason(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns AS c WHERE table_schema = 'public' AND EXISTS"
        " (SELECT 1 FROM information_schema.columns AS k WHERE k.table_schema = 'public'"
        "     AND k.table_name = c.table_name AND k.column_name = 'customer_id')"
    )

    listed = [(table, column) for table, (_, columns) in COVERED.items() for column in columns]
    listed += [(table, column) for table, columns in LEFT_OUT.items() for column in columns]

    assert sorted(listed) == sorted((row["table_name"], row["column_name"]) for row in rows)


@pytest.mark.parametrize("table", COVERED)
async def test_a_changed_column_is_found(town, table: str) -> None:
    where, columns = COVERED[table]

    for column, change in columns.items():
        async with town.undone(table):
            await town.tamper(
                f"UPDATE {table} SET {column} = {change.value} {change.where or where}",
                name=change.name,
                customer_id=change.customer_id,
            )
            differences = await town.differences()

        assert differences, column
        assert {one.organisation_id for one in differences} <= {town.brand.organisation_id, 1_000_000}, column
        assert not any(one.what == "recount" for one in differences), differences
    assert await town.differences() == []


@pytest.mark.parametrize("table", sorted(COVERED.keys() - COURIERS_TABLES))
async def test_a_deleted_row_is_found(town, table: str) -> None:
    where, columns = COVERED[table]
    usual = next(iter(columns.values()))

    await town.tamper(f"DELETE FROM {table} {where}", name=usual.name, customer_id=usual.customer_id)

    assert {one.organisation_id for one in await town.differences()} == {town.brand.organisation_id}


# Of each table the part of the key that makes a copied row a new one.
STRAYS = {
    "customer_identifier": '{"value": "stray@example.com"}',
    "journal": '{"number": 1000}',
    "standing": '{"target_group_id": 1000000}',
    "ended_period": '{"run": 9}',
    "reward": '{"period_id": 1000000}',
    "notification": '{"number": 1000}',
    "delivery": '{"number": 1000}',
    "webhook_queue": '{"customer_id": 1000}',
    "customer": '{"bucket": 0, "customer_id": 5000}',
}


@pytest.mark.parametrize("table", COVERED)
async def test_a_stray_row_is_found(town, table: str) -> None:
    where, columns = COVERED[table]
    usual = next(iter(columns.values()))

    await town.tamper(
        f"INSERT INTO {table} SELECT (jsonb_populate_record(original, '{STRAYS[table]}')).*"
        f" FROM {table} AS original {where}",
        name=usual.name,
        customer_id=usual.customer_id,
    )

    assert {one.organisation_id for one in await town.differences()} == {town.brand.organisation_id}


# ---------------------------------------------------------------- what is told


async def test_a_difference_tells_the_columns_that_differ(town) -> None:
    await town.tamper(
        f"UPDATE ended_period SET value_thousandths = 100001, forfeited = true {ROW} AND period_number = 2"
    )

    (difference,) = await town.differences()

    assert difference == Difference(
        organisation_id=town.brand.organisation_id,
        customer_id=1,
        target_id=town.target_id("At the end"),
        target_name="At the end",
        what="progress in period 2 (Cycle_2), run 1",
        expected={"value": Decimal("100.000"), "forfeited": False},
        found={"value": Decimal("100.001"), "forfeited": True},
    )


async def test_what_is_hidden_from_the_closer_is_found_at_once(town) -> None:
    await town.stop_telling_of_completed_periods()
    await town.tamper(f"UPDATE standing SET wakes_at = NULL, likeness = NULL {STANDING}")
    group_id = town.brand.programmes["At the end"].target_group_id
    assert await town.found("At the end") == [f"standing in target group {group_id} (At the end)"]

    await town.house.closer.advance(town.brand.organisation_id, month(4))
    assert "period end not worked" in await town.found("At the end")


async def test_a_streak_that_is_hidden_from_the_closer_is_found_at_once(town) -> None:
    await town.stop_telling_of_completed_periods()
    await town.tamper(f"UPDATE standing SET wakes_at = NULL {STANDING}", name="In a row")
    group_id = town.brand.programmes["In a row"].target_group_id
    assert await town.found("In a row") == [f"standing in target group {group_id} (In a row)"]

    await town.house.closer.advance(town.brand.organisation_id, month(6))
    assert "period end not worked" in await town.found("In a row")


async def test_a_forfeited_reward_that_somebody_issued_is_found(town) -> None:
    await town.tamper(f"UPDATE reward SET state = 'issued', reason = NULL {ROW} {PERIOD} 1", customer_id=2)

    (difference,) = await town.differences()

    assert difference.expected == {"state": "forfeited", "reason": "un-enrolled before period end"}
    assert difference.found == {"state": "issued", "reason": None}


async def test_a_number_that_is_left_out_is_found(town) -> None:
    await town.tamper(f"DELETE FROM journal {ROW} AND kind = 'enrol'")

    assert "number 2 of the customer's order" in [one.what for one in await town.differences()]


async def test_an_activity_altered_where_nothing_counted_it_is_found(town) -> None:
    # Dated when every programme is over.
    await town.house.closer.advance(town.brand.organisation_id, month(20))
    await town.house.writer.submit([town.brand.buy(3, "unheard", month(19))])
    for change in (
        "attributes = attributes || '{\"shop\": 7}'",
        "type = 'another'",
        "occurred_at = occurred_at + interval '1s'",
    ):
        async with town.undone("journal"):
            await town.tamper(f"UPDATE journal SET {change} {OF_CUSTOMER} AND activity_id = 'unheard'", customer_id=3)

            found = {(one.customer_id, one.what.partition(", ")[0]) for one in await town.differences()}
            assert found == {(3, "activity 'unheard'")}, change


async def test_a_reward_of_another_organisations_target_is_found(town) -> None:
    foreign = town.other.programmes["At the end"]
    await town.tamper(
        f"UPDATE reward SET target_id = {foreign.targets[0].target_id}, period_id = {foreign.period_id(1)} {ROW} {PERIOD} 1"
    )

    differences = await town.differences()

    assert {(one.organisation_id, one.customer_id) for one in differences} == {(town.brand.organisation_id, 1)}
    assert {one.target_id for one in differences} == {town.target_id("At the end"), foreign.targets[0].target_id}
    assert {one.target_name for one in differences} == {"At the end", None}


async def test_a_deactivation_at_the_instant_of_a_period_end_is_no_difference(town) -> None:
    """March's end is worked, then the programme stops at that very instant: two orders that end the same way."""
    for name in NAMES:
        await town.house.closer.advance(town.brand.organisation_id, month(4))
        await deactivate(town.house.pool, town.brand, name, at=month(4))
        assert await town.differences() == []
    await town.house.closer.settle(town.brand.organisation_id)
    await town.house.closer.advance(town.brand.organisation_id, month(9))

    assert await town.differences() == []
