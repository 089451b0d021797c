from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from kosminar.core.amount import ID_MAX
from kosminar.core.customer import Customer, Identifier, IdentifierType, NewCustomer
from kosminar.store import customers, organisations

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANA = NewCustomer(external_id="A", mobile="+44 20", email="Ana@X.org", first_name="Ana", last_name="Ek")
ANA_BY_MAIL = Identifier(IdentifierType.EMAIL, "ana@x.org")


@pytest_asyncio.fixture
async def acme(connection: asyncpg.Connection) -> int:
    return await insert_organisation(connection, "acme")


@pytest_asyncio.fixture
async def globex(connection: asyncpg.Connection) -> int:
    return await insert_organisation(connection, "globex")


async def insert_organisation(connection: asyncpg.Connection, name: str) -> int:
    return await organisations.insert(
        connection, name=name, zone="Europe/London", parent_id=None, test_clock_at=None, now=NOW
    )


async def test_a_customer_is_found_as_written_and_by_every_identifier(connection, acme) -> None:
    assert await customers.insert(connection, acme, {7: ANA}, now=NOW)

    assert await customers.find(connection, acme, 7) == Customer(
        customer_id=7,
        external_id="A",
        mobile="+44 20",
        email="Ana@X.org",
        first_name="Ana",
        last_name="Ek",
        created_at=NOW,
    )
    assert await customers.list_owners(connection, acme, ANA.identifiers()) == dict.fromkeys(ANA.identifiers(), 7)
    assert await customers.list_known_ids(connection, acme, [6, 7, ID_MAX]) == {7}


async def test_nobody_is_found_in_another_organisation(connection, acme, globex) -> None:
    await customers.insert(connection, acme, {7: ANA}, now=NOW)

    assert await customers.find(connection, globex, 7) is None
    assert await customers.list_owners(connection, globex, ANA.identifiers()) == {}
    assert await customers.list_known_ids(connection, globex, [7]) == set()


async def test_the_same_ids_and_identifiers_in_two_organisations_never_meet(connection, acme, globex) -> None:
    assert await customers.insert(connection, acme, {7: ANA}, now=NOW)
    assert await customers.insert(connection, globex, {7: NewCustomer(), 8: ANA}, now=NOW)

    assert await customers.list_owners(connection, acme, [ANA_BY_MAIL]) == {ANA_BY_MAIL: 7}
    assert await customers.list_owners(connection, globex, [ANA_BY_MAIL]) == {ANA_BY_MAIL: 8}


@pytest.mark.parametrize(
    "second",
    [
        pytest.param({7: NewCustomer()}, id="the id"),
        pytest.param({8: NewCustomer(email="ANA@x.org", external_id="new")}, id="an identifier"),
    ],
)
async def test_an_insert_says_that_something_is_taken(connection, acme, second) -> None:
    await customers.insert(connection, acme, {7: ANA}, now=NOW)

    assert not await customers.insert(connection, acme, second, now=NOW)
    assert (await customers.find(connection, acme, 7)).first_name == "Ana"


async def test_nothing_asked_is_nothing_found(connection, acme) -> None:
    assert await customers.list_owners(connection, acme, []) == {}
    assert await customers.list_known_ids(connection, acme, []) == set()


async def test_generated_ids_start_at_a_thousand_million_and_skip_what_was_given(connection, acme, globex) -> None:
    await customers.insert(connection, acme, {10**9 + 1: NewCustomer()}, now=NOW)

    assert await customers.take_generated_ids(connection, acme, count=3) == [10**9, 10**9 + 2]
    assert await customers.take_generated_ids(connection, globex, count=1) == [10**9 + 3]


async def test_what_the_rules_let_through_at_its_longest_fits_the_schema(connection, acme) -> None:
    longest = NewCustomer(
        external_id="\U0001f600" * 255,
        mobile="0" * 255,
        email="ä@" + "x" * 253,
        first_name="名" * 200,
        last_name="x" * 200,
    )

    assert await customers.insert(connection, acme, {ID_MAX: longest}, now=NOW)
    assert await customers.list_owners(connection, acme, longest.identifiers()) == dict.fromkeys(
        longest.identifiers(), ID_MAX
    )
