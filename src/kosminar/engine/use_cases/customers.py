"""Registering customers, up to a thousand in one transaction, and finding one by an identifier.

core.customer decides from what is known; this module makes the decision true while others register the same customers
at the same time. It is optimistic: read, decide, insert in key order. Whoever finds one row already taken by somebody
else rolls the whole batch back, so that nothing is half-claimed, and decides again with what it now sees.
Races: tests/engine/test_registration.py.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Final, TypeVar

import asyncpg

from kosminar.core import customer
from kosminar.core.customer import Identifier, IdentifierType, NewCustomer, Registration, Status
from kosminar.core.errors import Code
from kosminar.engine.change import KeptOutcome
from kosminar.engine.house import House
from kosminar.engine.meters import Meters
from kosminar.engine.retry import Overtaken, in_attempts
from kosminar.engine.use_cases import clock
from kosminar.engine.use_cases.once import AnswerSlot, KeptRefusal, change_once_in
from kosminar.engine.use_cases.refusal import Refusal
from kosminar.store import customers as customers_store
from kosminar.store.queries import Connection

BATCH_COUNT_MAX: Final = 1_000
"""Of one request. A thousand new customers take a quarter of a second, and whoever registers the same ones waits."""

GENERATED_ID_COUNT_MAX: Final = 10_000
"""Of one draw. A brand that moved in with a million ids in the generated range is passed in a hundred draws."""


T = TypeVar("T")


async def register(
    pool: asyncpg.Pool,
    organisation_id: int,
    customers: Sequence[NewCustomer],
    now: datetime,
    *,
    meters: Meters | None = None,
) -> list[Registration]:
    """Registers customers and answers one by one, in order; see core.customer.register for what is decided.

    Safe to repeat: what was created then exists. Raises NotSaved.
    """
    return await in_one_transaction(
        pool, lambda connection: register_in(connection, organisation_id, customers, now), meters=meters
    )


async def register_once(
    house: House, organisation_id: int, customers: Sequence[NewCustomer], *, slot: AnswerSlot | None
) -> list[Registration] | KeptOutcome:
    """As `register`, dated by the organisation's clock, and under a key once. Raises NotSaved."""
    now = await clock.instant(house.pool, organisation_id, wall=house.wall())

    async def work(connection: Connection) -> list[Registration] | KeptOutcome | Refusal | KeptRefusal:
        return await change_once_in(
            connection, slot, lambda connection: register_in(connection, organisation_id, customers, now)
        )

    outcome = await in_one_transaction(house.pool, work, meters=house.meters)
    if isinstance(outcome, Refusal | KeptRefusal):
        raise outcome
    return outcome


async def in_one_transaction(
    pool: asyncpg.Pool, work: Callable[[Connection], Awaitable[T]], *, meters: Meters | None = None
) -> T:
    """Work that registers customers, done again when another registration was faster. Raises NotSaved."""

    async def in_transaction(connection: Connection) -> T:
        async with connection.transaction():
            return await work(connection)

    return await in_attempts(pool, in_transaction, retried_event="registration_retried", meters=meters or Meters())


async def lookup(pool: asyncpg.Pool, organisation_id: int, identifier_type: IdentifierType, value: str) -> int | None:
    """The customer whom an identifier names; raises ValueError if the text can be none of that type."""
    identifier = Identifier.of(identifier_type, value)
    async with pool.acquire() as connection:
        owners = await customers_store.list_owners(connection, organisation_id, [identifier])
    return owners.get(identifier)


async def require(connection: Connection, organisation_id: int, customer_id: int) -> None:
    """Raises Refusal of UNKNOWN_CUSTOMER, also for another organisation's customer (decision 31)."""
    if not await customers_store.list_known_ids(connection, organisation_id, [customer_id]):
        raise Refusal.of(Code.UNKNOWN_CUSTOMER)


async def exists(pool: asyncpg.Pool, organisation_id: int, customer_id: int) -> bool:
    """Whether the id is a customer of this organisation."""
    async with pool.acquire() as connection:
        return bool(await customers_store.list_known_ids(connection, organisation_id, [customer_id]))


async def register_in(
    connection: Connection, organisation_id: int, customers: Sequence[NewCustomer], now: datetime
) -> list[Registration]:
    """Register in the caller's transaction, which `in_one_transaction` has begun."""
    assert len(customers) <= BATCH_COUNT_MAX, "the caller cuts batches"
    given_ids = {new.customer_id for new in customers if new.customer_id is not None}
    identifiers = {identifier for new in customers for identifier in new.identifiers()}
    known_ids = await customers_store.list_known_ids(connection, organisation_id, given_ids)
    owners = await customers_store.list_owners(connection, organisation_id, identifiers)
    unnamed = [new for new in customers if new.customer_id is None and owners.keys().isdisjoint(new.identifiers())]
    free_ids = await _free_ids(connection, organisation_id, len(unnamed), given_ids)

    results = customer.register(customers, known_ids=known_ids, owners=owners, free_ids=iter(free_ids))

    created = {
        result.customer_id: new
        for result, new in zip(results, customers, strict=True)
        if result.status is Status.CREATED and result.customer_id is not None
    }
    if created and not await customers_store.insert(connection, organisation_id, created, now=now):
        # Another registration took an id or an identifier between our look and our insert, and keeps it; or it passed
        # one generated id.
        raise Overtaken
    return results


async def _free_ids(connection: Connection, organisation_id: int, count: int, given_ids: Collection[int]) -> list[int]:
    """Generated ids that no customer has and no request of this batch gives."""
    free: list[int] = []
    draw_count = count
    while len(free) < count:
        drawn = await customers_store.take_generated_ids(connection, organisation_id, count=draw_count)
        free += [customer_id for customer_id in drawn if customer_id not in given_ids]
        # Each further draw doubles, because taken ids come in long rows.
        draw_count = min(draw_count * 2, GENERATED_ID_COUNT_MAX)
    return free
