"""The auditor: goes through customers, recounts each from the journal, and reports what differs.

What must be stored, and what differs, is decided by engine/recount.py; this module walks. It reads a few customers at a
time in one snapshot, read-only, takes no lock that a writer waits for, and recounts after it has given the snapshot
back: so it holds none for long and needs little memory however large the house is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final, TypeAlias

import asyncpg

from kosminar.core.amount import ID_MAX
from kosminar.core.bucket import BUCKET_COUNT, bucket_of_customer, bucket_of_identifier
from kosminar.core.counter import Counters
from kosminar.core.customer import Identifier, IdentifierType
from kosminar.engine import audit_definitions
from kosminar.engine.catalogue import Catalogues, Definitions
from kosminar.engine.difference import Difference
from kosminar.engine.recount import Stored, count, differences
from kosminar.engine.recount_counters import counter_differences
from kosminar.store import clocks, counters, customers, journal, programmes, recount
from kosminar.store.queries import Connection
from kosminar.store.recount import Bounds, CustomerRow, IdentifierRow, OrganisationState, Stray
from kosminar.store.standings import CustomerRange

# Customers in one page, and the changes that they may have together unless it is one customer alone. A change is a few
# rows; so much is read in a tenth of a second and fits into a few megabytes.
PAGE_SIZE: Final = 200
CHANGE_COUNT_MAX: Final = 2_000
IDENTIFIER_PAGE_SIZE: Final = 1_000
# Of the definitions that are kept between pages; each bucket goes through organisations in the same order.
PART_COUNT_MAX: Final = 25_000


# An identifier's key within its bucket: organisation id, type, value.
Name: TypeAlias = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom the audit looks at: everybody, one organisation, or one customer of it.

    With `since`, only whoever changed at that instant or later, by their organisation's clock.
    """

    organisation_id: int | None = None
    customer_id: int | None = None
    since: datetime | None = None

    def bounds(self) -> Bounds:
        if self.organisation_id is None:
            return Bounds((0, 0), (ID_MAX, ID_MAX))
        if self.customer_id is None:
            return Bounds((self.organisation_id, 0), (self.organisation_id, ID_MAX))
        return Bounds((self.organisation_id, self.customer_id - 1), (self.organisation_id, self.customer_id))

    def names(self) -> Name | None:
        """After which identifier to begin; None where none is looked at, because what names nobody has no instant."""
        if self.customer_id is not None or self.since is not None:
            return None
        return (self.bounds().after[0], "", "")

    def buckets(self) -> Sequence[int]:
        """One customer is looked for where that customer's rows must be."""
        if self.organisation_id is None or self.customer_id is None:
            return range(BUCKET_COUNT)
        return (bucket_of_customer(self.organisation_id, self.customer_id),)

    def counted(self) -> bool:
        """Counters are of all customers of an organisation, or of none."""
        return self.customer_id is None and self.since is None

    def wants(self, customer: CustomerRow) -> bool:
        return self.since is None or customer.changed_at >= self.since


EVERYBODY: Final = Scope()


async def audit(
    pool: asyncpg.Pool, *, progressed: Callable[[int], None], scope: Scope = EVERYBODY
) -> AsyncIterator[Difference]:
    """Every difference, first of definitions and then customer by customer; `progressed` hears how many customers were gone through."""
    if scope.customer_id is None and scope.since is None:
        for difference in await _audit_definitions(pool, scope):
            yield difference
    # A cache of its own, and not the process's: what is recounted is what is stored now, damaged or not.
    known = Catalogues(part_count_max=PART_COUNT_MAX)
    for bucket in scope.buckets():
        async for difference in _audit_bucket(pool, bucket, scope, known, progressed):
            yield difference
    if scope.counted():
        async for difference in _audit_counters(pool, scope, known):
            yield difference
    if scope.organisation_id is not None and scope.customer_id is not None:
        for difference in await _audit_identifiers_of(pool, scope.organisation_id, scope.customer_id):
            yield difference


async def count_customers(pool: asyncpg.Pool, scope: Scope = EVERYBODY) -> int:
    """How many the audit will go through; with `since`, the unchanged ones are passed over but counted."""
    async with pool.acquire() as connection:
        return await recount.count_customers(connection, scope.bounds())


# ---------------------------------------------------------------- customers


@dataclass(slots=True)
class _Range:
    """Customers of one organisation and bucket, read in one snapshot."""

    definitions: Definitions
    state: OrganisationState
    bucket: int
    stored: list[Stored]
    owners: dict[Identifier, int]


async def _audit_counters(pool: asyncpg.Pool, scope: Scope, known: Catalogues) -> AsyncIterator[Difference]:
    """Organisation by organisation, against a recount of all its customers, in one snapshot: counts move all the time."""
    async with pool.acquire() as connection:
        organisation_ids = await clocks.list_all(connection)
    for organisation_id in organisation_ids:
        if scope.organisation_id not in (None, organisation_id):
            continue
        try:
            differences_found = await _recount_counters(pool, organisation_id, known)
        except programmes.DefinitionDamaged:
            # Its customers were reported one by one; what they add up to cannot be known.
            continue
        for difference in differences_found:
            yield difference


async def _recount_counters(pool: asyncpg.Pool, organisation_id: int, known: Catalogues) -> list[Difference]:
    recounted = Counters()
    async with _snapshot(pool) as connection:
        found = await counters.list_all(connection, organisation_id)
        for bucket in range(BUCKET_COUNT):
            async for read in _pages_of(connection, bucket, Scope(organisation_id), known):
                for stored in read.stored:
                    count(read.definitions, stored, recounted)
                    await asyncio.sleep(0)
    return list(counter_differences(recounted, found))


async def _pages_of(connection: Connection, bucket: int, scope: Scope, known: Catalogues) -> AsyncIterator[_Range]:
    bounds = scope.bounds()
    while page := await recount.list_page(connection, bucket, bounds, limit=PAGE_SIZE):
        passed = list(_few(page, scope))
        read = await _read(connection, bucket, passed, known)
        if isinstance(read, _Range):
            yield read
        bounds = bounds._replace(after=(passed[-1].organisation_id, passed[-1].customer_id))


@asynccontextmanager
async def _snapshot(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """All that is read inside is of one moment, and nobody waits for it."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection


async def _audit_bucket(
    pool: asyncpg.Pool, bucket: int, scope: Scope, known: Catalogues, progressed: Callable[[int], None]
) -> AsyncIterator[Difference]:
    bounds = scope.bounds()
    after: Name | None = scope.names()
    while True:
        async with _snapshot(pool) as connection:
            # With the first page, so that a house with few customers is gone through in few transactions.
            of_nobody, after = await _of_nobody(connection, bucket, scope, after)
            page = await recount.list_page(connection, bucket, bounds, limit=PAGE_SIZE)
            passed = list(_few(page, scope))
            wanted = [customer for customer in passed if scope.wants(customer)]
            ranges = [await _read_whole(connection, bucket, of_one, known) for of_one in _by_organisation(wanted)]
        for difference in of_nobody:
            yield difference
        for read in ranges:
            for difference in read if isinstance(read, list) else _compare(read):
                yield difference
            # The recount computes without a pause; whoever shares the loop has a turn.
            await asyncio.sleep(0)
        progressed(len(passed))
        if passed:
            bounds = bounds._replace(after=(passed[-1].organisation_id, passed[-1].customer_id))
        if len(passed) == len(page) < PAGE_SIZE and after is None:
            return


def _few(page: Sequence[CustomerRow], scope: Scope) -> Iterator[CustomerRow]:
    """As many as have not too many changes together, and one at least."""
    change_count = 0
    for number, customer in enumerate(page):
        change_count += customer.sequence if scope.wants(customer) else 0
        if number and change_count > CHANGE_COUNT_MAX:
            return
        yield customer


def _by_organisation(page: Sequence[CustomerRow]) -> Iterator[list[CustomerRow]]:
    for _, of_one in groupby(page, key=lambda customer: customer.organisation_id):
        yield list(of_one)


async def _audit_definitions(pool: asyncpg.Pool, scope: Scope) -> list[Difference]:
    """Organisation by organisation, each in a snapshot of its own."""
    found: list[Difference] = []
    given: audit_definitions.GivenIds = {}
    async with pool.acquire() as connection:
        everyone = await clocks.list_all(connection)
    for organisation_id in everyone:
        if scope.organisation_id in (None, organisation_id):
            async with _snapshot(pool) as connection:
                found += await audit_definitions.differences(connection, organisation_id, given)
    return found


async def _read_whole(
    connection: Connection, bucket: int, of_one: Sequence[CustomerRow], known: Catalogues
) -> _Range | list[Difference]:
    """Where definitions are damaged nothing can be recounted, and each customer is reported."""
    try:
        return await _read(connection, bucket, of_one, known)
    except programmes.DefinitionDamaged as error:
        return [_of_customer(one, "recount", {"error": "none"}, {"error": str(error)}) for one in of_one]


async def _read(
    connection: Connection, bucket: int, of_one: Sequence[CustomerRow], known: Catalogues
) -> _Range | list[Difference]:
    organisation_id = of_one[0].organisation_id
    within = CustomerRange(bucket, organisation_id, of_one[0].customer_id, of_one[-1].customer_id)
    state = await recount.find_organisation(connection, organisation_id)
    if state is None:
        return [
            _of_customer(one, "customer of an organisation that does not exist", None, one._asdict()) for one in of_one
        ]
    stored = {customer.customer_id: Stored(customer) for customer in of_one}
    for entry in await journal.list_entries(connection, within):
        if entry.customer_id in stored:
            stored[entry.customer_id].journal.append(entry)
    for (customer_id, group_id), rows in (await recount.list_standings(connection, within)).items():
        if customer_id in stored:
            stored[customer_id].standings[group_id] = rows
    for customer_id, place, row in await recount.list_rewards(connection, within):
        if customer_id in stored:
            stored[customer_id].rewards[place] = row
    for customer_id, notification in await recount.list_notifications(connection, within):
        if customer_id in stored:
            stored[customer_id].notifications.append(notification)
    identifiers = [
        identifier
        for customer in of_one
        for type_, written in _written(customer.external_id, customer.mobile, customer.email)
        if (identifier := _identifier(type_, written)) is not None
    ]
    return _Range(
        definitions=await known.definitions(connection, organisation_id, state.edition),
        state=state,
        bucket=bucket,
        stored=list(stored.values()),
        owners=await customers.list_owners(connection, organisation_id, identifiers),
    )


def _compare(read: _Range) -> Iterator[Difference]:
    for stored in read.stored:
        yield from differences(read.definitions, read.state, stored)
        yield from _of_place(read, stored)


def _of_place(read: _Range, stored: Stored) -> Iterator[Difference]:
    """A customer lives in the bucket of the id, and each identifier of a customer names that customer."""
    customer = stored.customer
    bucket = bucket_of_customer(customer.organisation_id, customer.customer_id)
    if bucket != read.bucket:
        yield _of_customer(customer, "customer", {"bucket": bucket}, {"bucket": read.bucket})
    for type_, written in _written(customer.external_id, customer.mobile, customer.email):
        identifier = _identifier(type_, written)
        if identifier is None:
            yield _of_customer(customer, "customer", {type_.value: "something that can be one"}, {type_.value: written})
            continue
        owner = read.owners.get(identifier)
        if owner != customer.customer_id:
            yield _of_customer(
                customer,
                _named(identifier),
                {"customer_id": customer.customer_id},
                None if owner is None else {"customer_id": owner},
            )


Columns = Mapping[str, Any]


def _of_customer(
    customer: CustomerRow | IdentifierRow | Stray, what: str, expected: Columns | None, found: Columns | None
) -> Difference:
    """A difference that concerns no one target."""
    return Difference(customer.organisation_id, customer.customer_id, None, None, what, expected, found)


def _written(*texts: str | None) -> Iterator[tuple[IdentifierType, str]]:
    """Of a customer's external id, mobile and e-mail those that are there."""
    for type_, written in zip(IdentifierType, texts, strict=True):
        if written is not None:
            yield type_, written


def _identifier(type_: IdentifierType, written: str) -> Identifier | None:
    """In its normal form; None where the text cannot be one."""
    try:
        return Identifier.of(type_, written)
    except ValueError:
        return None


def _named(identifier: Identifier | IdentifierRow) -> str:
    return f"identifier {identifier.type} {identifier.value!r}"


# ---------------------------------------------------------------- what belongs to nobody


async def _of_nobody(
    connection: Connection, bucket: int, scope: Scope, after: Name | None
) -> tuple[list[Difference], Name | None]:
    """What hangs on nothing, and identifiers that are not their customer's; and where to go on, None at the end."""
    if after is None:
        return [], None
    last_organisation = scope.bounds().last[0]
    strays = await _list_strays(connection, bucket, scope) if after == scope.names() else []
    page = await recount.list_identifiers(
        connection, bucket, after=after, last_organisation=last_organisation, limit=IDENTIFIER_PAGE_SIZE
    )
    found = await _of_identifiers(connection, [(bucket, one) for one in page]) if page else []
    more = len(page) == IDENTIFIER_PAGE_SIZE
    return [*strays, *found], (page[-1].organisation_id, page[-1].type, page[-1].value) if more else None


async def _audit_identifiers_of(pool: asyncpg.Pool, organisation_id: int, customer_id: int) -> list[Difference]:
    async with _snapshot(pool) as connection:
        found = await recount.list_identifiers_of(connection, organisation_id, customer_id)
        return await _of_identifiers(connection, found)


async def _of_identifiers(connection: Connection, found: Sequence[tuple[int, IdentifierRow]]) -> list[Difference]:
    named = sorted({(one.organisation_id, one.customer_id) for _, one in found})
    said = await recount.list_customers_named(connection, named)
    reported: list[Difference] = []
    for bucket, one in found:
        own_bucket = bucket_of_identifier(one.organisation_id, one.type, one.value)
        texts = said.get((one.organisation_id, one.customer_id))
        if bucket != own_bucket:
            reported.append(_of_customer(one, _named(one), {"bucket": own_bucket}, {"bucket": bucket}))
        if texts is None:
            reported.append(_of_customer(one, _named(one), None, {"customer_id": "nobody's"}))
        elif (one.type, one.value) not in {_identifier(type_, written) for type_, written in _written(*texts)}:
            reported.append(_of_customer(one, _named(one), None, {"value": one.value}))
    return reported


async def _list_strays(connection: Connection, bucket: int, scope: Scope) -> list[Difference]:
    first = 0 if scope.organisation_id is None else scope.organisation_id
    strays = await recount.list_strays(
        connection, bucket, first_organisation=first, last_organisation=scope.bounds().last[0]
    )
    return [
        _of_customer(
            stray, f"rows of {stray.table} in bucket {bucket} that hang on nothing", None, {"rows": stray.row_count}
        )
        for stray in strays
    ]
