import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import asyncpg
import pytest
import pytest_asyncio

from kosminar.core.bucket import bucket_of_customer
from kosminar.core.customer import IdentifierType, NewCustomer, Registration, Status
from kosminar.core.errors import Code
from kosminar.engine.use_cases import clock
from kosminar.engine.use_cases import customers as registration
from kosminar.engine.use_cases.customers import register
from kosminar.store import customers, organisations

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLIENT_COUNT = 20


@pytest_asyncio.fixture
async def pool(database_url):
    # A connection for each client, so that they really race.
    async with asyncpg.create_pool(database_url, min_size=CLIENT_COUNT, max_size=CLIENT_COUNT) as pool:
        yield pool


@pytest_asyncio.fixture
async def acme(pool) -> int:
    return await insert_organisation(pool, "acme")


@pytest_asyncio.fixture
async def globex(pool) -> int:
    return await insert_organisation(pool, "globex")


async def insert_organisation(pool, name: str, *, test_clock_at: datetime | None = None) -> int:
    async with pool.acquire() as connection:
        return await organisations.insert(
            connection, name=name, zone="Europe/London", parent_id=None, test_clock_at=test_clock_at, now=NOW
        )


async def ids_in(pool, organisation_id: int) -> list[int]:
    rows = await pool.fetch("SELECT customer_id FROM customer WHERE organisation_id = $1", organisation_id)
    return sorted(row["customer_id"] for row in rows)


async def claims_in(pool, organisation_id: int) -> dict[tuple[str, str], int]:
    rows = await pool.fetch("SELECT * FROM customer_identifier WHERE organisation_id = $1", organisation_id)
    return {(row["type"], row["value"]): row["customer_id"] for row in rows}


async def assert_each_customer_owns_exactly_their_identifiers(pool, organisation_id: int) -> None:
    rows = await pool.fetch(
        "SELECT customer_id, external_id, mobile, email FROM customer WHERE organisation_id = $1", organisation_id
    )
    owned = {
        (identifier.type, identifier.value): row["customer_id"]
        for row in rows
        for identifier in NewCustomer(
            external_id=row["external_id"], mobile=row["mobile"], email=row["email"]
        ).identifiers()
    }

    assert await claims_in(pool, organisation_id) == owned


async def test_a_customer_is_created_once_and_exists_from_then_on(pool, acme) -> None:
    ana = NewCustomer(customer_id=7, email="ana@x.org", first_name="Ana")
    renamed = NewCustomer(customer_id=7, email="ana@x.org", mobile="44", first_name="Anna")

    assert await register(pool, acme, [ana], NOW) == [Registration(7, Status.CREATED)]
    assert await register(pool, acme, [renamed], NOW + timedelta(days=1)) == [Registration(7, Status.EXISTS)]

    async with pool.acquire() as connection:
        shown = await customers.find(connection, acme, 7)
    assert (shown.first_name, shown.mobile, shown.created_at) == ("Ana", None, NOW)
    assert await registration.exists(pool, acme, 7)
    assert not await registration.exists(pool, acme, 8)


async def test_a_rejected_customer_leaves_nothing_behind(pool, acme) -> None:
    await register(pool, acme, [NewCustomer(customer_id=7, email="ana@x.org")], NOW)

    results = await register(
        pool, acme, [NewCustomer(customer_id=8, email="Ana@x.org", mobile="45"), NewCustomer(customer_id=9)], NOW
    )

    assert [result.code for result in results] == [Code.IDENTIFIER_TAKEN, None]
    assert await ids_in(pool, acme) == [7, 9]
    assert await claims_in(pool, acme) == {("email", "ana@x.org"): 7}


async def test_a_thousand_customers_are_registered_in_order(pool, acme) -> None:
    batch = [
        NewCustomer(external_id=f"E{number}", mobile=f"{number}", email=f"{number}@x.org") for number in range(1000)
    ]

    results = await register(pool, acme, batch, NOW)

    assert {result.status for result in results} == {Status.CREATED}
    claims = await claims_in(pool, acme)
    assert [claims["externalId", f"E{number}"] for number in range(1000)] == [result.customer_id for result in results]
    assert len(claims) == 3000


async def test_nothing_to_register_is_nothing_done(pool, acme) -> None:
    assert await register(pool, acme, [], NOW) == []


async def test_a_generated_id_is_none_that_was_given_before_or_is_given_in_the_same_batch(pool, acme) -> None:
    await register(pool, acme, [NewCustomer(customer_id=10**9 + number) for number in range(1000)], NOW)

    results = await register(
        pool,
        acme,
        [NewCustomer(email="ana@x.org"), NewCustomer(email="ben@x.org"), NewCustomer(customer_id=10**9 + 1000)],
        NOW,
    )

    assert [result.status for result in results] == [Status.CREATED] * 3
    assert len({result.customer_id for result in results}) == 3


async def test_two_organisations_never_meet(pool, acme, globex) -> None:
    ana = NewCustomer(customer_id=7, email="ana@x.org")

    assert await register(pool, acme, [ana], NOW) == [Registration(7, Status.CREATED)]
    assert await registration.lookup(pool, globex, IdentifierType.EMAIL, "ana@x.org") is None
    assert not await registration.exists(pool, globex, 7)
    assert await register(pool, globex, [ana], NOW) == [Registration(7, Status.CREATED)]


async def test_a_customer_is_looked_up_however_the_identifier_is_written(pool, acme) -> None:
    await register(pool, acme, [NewCustomer(customer_id=7, email="ana@x.org", mobile="+44 20 1")], NOW)

    assert await registration.lookup(pool, acme, IdentifierType.EMAIL, " ANA@x.org") == 7
    assert await registration.lookup(pool, acme, IdentifierType.MOBILE, "+44-201") == 7
    assert await registration.lookup(pool, acme, IdentifierType.EXTERNAL_ID, "7") is None
    with pytest.raises(ValueError, match="NUL"):
        await registration.lookup(pool, acme, IdentifierType.MOBILE, "\0")


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(NewCustomer(customer_id=7), id="the same id"),
        pytest.param(NewCustomer(email="ana@x.org"), id="the same identifier"),
        pytest.param(NewCustomer(customer_id=7, external_id="A", mobile="44", email="ana@x.org"), id="everything"),
    ],
)
async def test_parallel_first_use_creates_one_customer(pool, acme, new) -> None:
    answers = await asyncio.gather(*(register(pool, acme, [new], NOW) for _ in range(CLIENT_COUNT)))

    results = [result for (result,) in answers]
    assert Counter(result.status for result in results) == {Status.CREATED: 1, Status.EXISTS: CLIENT_COUNT - 1}
    assert len({result.customer_id for result in results}) == 1
    assert await ids_in(pool, acme) == [results[0].customer_id]
    await assert_each_customer_owns_exactly_their_identifiers(pool, acme)


async def test_parallel_customers_who_share_one_identifier_are_one_created_and_the_rest_rejected(pool, acme) -> None:
    batches = [[NewCustomer(customer_id=number, email="ana@x.org", mobile=f"{number}")] for number in range(1, 21)]

    answers = await asyncio.gather(*(register(pool, acme, batch, NOW) for batch in batches))

    statuses = Counter(result.status for (result,) in answers)
    assert statuses == {Status.CREATED: 1, Status.REJECTED: CLIENT_COUNT - 1}
    assert len(await claims_in(pool, acme)) == 2
    await assert_each_customer_owns_exactly_their_identifiers(pool, acme)


@pytest.mark.parametrize("seed", range(5))
async def test_twenty_clients_with_overlapping_batches_double_and_half_claim_nobody(pool, acme, globex, seed) -> None:
    random = Random(seed)
    generated_first = 10**9

    def some_customer() -> NewCustomer:
        # Few enough values that batches meet on ids, on identifiers, and on ids that are about to be generated.
        return NewCustomer(
            customer_id=random.choice([None, None, random.randrange(1, 60), generated_first + random.randrange(60)]),
            external_id=f"E{random.randrange(120)}",
            mobile=random.choice([None, f"{random.randrange(120)}"]),
            email=random.choice([None, f"{random.randrange(120)}@x.org"]),
        )

    batches = [[some_customer() for _ in range(30)] for _ in range(CLIENT_COUNT)]
    places = [random.choice([acme, globex]) for _ in batches]

    answers = await asyncio.wait_for(
        asyncio.gather(*(register(pool, place, batch, NOW) for place, batch in zip(places, batches, strict=True))),
        timeout=60,
    )

    for organisation_id in (acme, globex):
        mine = [
            (new, result)
            for place, batch, results in zip(places, batches, answers, strict=True)
            if place == organisation_id
            for new, result in zip(batch, results, strict=True)
        ]
        created = [result.customer_id for _, result in mine if result.status is Status.CREATED]
        assert sorted(created) == await ids_in(pool, organisation_id)
        await assert_each_customer_owns_exactly_their_identifiers(pool, organisation_id)
        claims = await claims_in(pool, organisation_id)
        for new, result in mine:
            owners = {claims.get(identifier) for identifier in new.identifiers()} - {None}
            if result.status is Status.EXISTS:
                # Identifiers that were new may have become somebody else's since.
                assert {result.customer_id} & (owners | {new.customer_id})
                assert new.customer_id in (None, result.customer_id)
            if result.status is Status.REJECTED:
                assert len(owners | ({new.customer_id} - {None})) > 1


async def test_a_race_that_is_lost_leaves_no_half_of_a_batch(pool, acme) -> None:
    """Another client holds an identifier of the batch, uncommitted, while the batch arrives; then commits."""
    ana = NewCustomer(customer_id=7, email="ana@x.org")
    async with pool.acquire() as other:
        quicker = other.transaction()
        await quicker.start()
        assert await customers.insert(other, acme, {7: ana}, now=NOW)
        batch = [NewCustomer(customer_id=8, external_id="B"), NewCustomer(customer_id=9, email="ana@x.org", mobile="9")]
        waiting = asyncio.create_task(register(pool, acme, batch, NOW))
        await until_somebody_waits_for_a_lock(pool)
        await quicker.commit()

    results = await waiting

    assert [result.status for result in results] == [Status.CREATED, Status.REJECTED]
    assert await ids_in(pool, acme) == [7, 8]
    assert await claims_in(pool, acme) == {("email", "ana@x.org"): 7, ("externalId", "B"): 8}


async def test_a_race_against_one_who_gives_up_is_won(pool, acme) -> None:
    ana = NewCustomer(customer_id=7, email="ana@x.org")
    async with pool.acquire() as other:
        quicker = other.transaction()
        await quicker.start()
        assert await customers.insert(other, acme, {7: ana}, now=NOW)
        waiting = asyncio.create_task(register(pool, acme, [ana], NOW))
        await until_somebody_waits_for_a_lock(pool)
        await quicker.rollback()

    assert await waiting == [Registration(7, Status.CREATED)]


async def until_somebody_waits_for_a_lock(pool) -> None:
    async with asyncio.timeout(10):
        while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)


async def test_a_deadlock_is_tried_again(pool, acme) -> None:
    """Somebody takes rows against the key order, as only a distributed database or a person at psql does."""
    low, high = sorted((1, 2), key=lambda customer_id: bucket_of_customer(acme, customer_id))
    batch = [NewCustomer(customer_id=1), NewCustomer(customer_id=2)]
    async with pool.acquire() as other:
        against = other.transaction()
        await against.start()
        # The other one must not be the victim.
        await other.execute("SET LOCAL deadlock_timeout = '1min'")
        assert await customers.insert(other, acme, {high: NewCustomer()}, now=NOW)
        waiting = asyncio.create_task(register(pool, acme, batch, NOW))
        await until_somebody_waits_for_a_lock(pool)
        assert await customers.insert(other, acme, {low: NewCustomer()}, now=NOW)
        await against.commit()

    assert [result.status for result in await waiting] == [Status.EXISTS, Status.EXISTS]


async def test_what_is_registered_is_dated_by_the_organisations_clock(pool, acme) -> None:
    past = NOW - timedelta(days=400)
    walked = await insert_organisation(pool, "walked", test_clock_at=past)

    assert await clock.instant(pool, walked, wall=NOW) == past
    assert await clock.instant(pool, acme, wall=NOW + timedelta(days=1)) == NOW + timedelta(days=1)
    # The wall was set back.
    assert await clock.instant(pool, acme, wall=past) == NOW
