"""Customers and the identifiers that name them, in the database.

Everything takes the organisation first and is set-based: a batch of a thousand is as many statements as one customer.
An identifier lives in the bucket of its own value, so it is found and unique without knowing whose it is. The inserts
leave out what somebody else was quicker to take and say how much went in; engine/use_cases/customers.py decides what then.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from kosminar.core.bucket import bucket_of_customer, bucket_of_identifier
from kosminar.core.customer import Customer, Identifier, IdentifierType, NewCustomer
from kosminar.store.queries import Connection, load

QUERIES: Final = load("customers")


async def list_owners(
    connection: Connection, organisation_id: int, identifiers: Collection[Identifier]
) -> dict[Identifier, int]:
    """The customers of those identifiers that are known."""
    if not identifiers:
        return {}
    rows = await QUERIES["list_identifier_owners"].rows(
        connection, organisation_id=organisation_id, **_identifier_columns(organisation_id, identifiers)
    )
    return {Identifier(IdentifierType(row["type"]), row["value"]): row["customer_id"] for row in rows}


async def list_known_ids(connection: Connection, organisation_id: int, customer_ids: Collection[int]) -> set[int]:
    """Those of the ids that are customers."""
    if not customer_ids:
        return set()
    rows = await QUERIES["list_known_customer_ids"].rows(
        connection,
        organisation_id=organisation_id,
        buckets=[bucket_of_customer(organisation_id, customer_id) for customer_id in customer_ids],
        customer_ids=list(customer_ids),
    )
    return {row["customer_id"] for row in rows}


async def take_generated_ids(connection: Connection, organisation_id: int, *, count: int) -> list[int]:
    """The next generated ids that are no customer's; fewer than `count` where some were given to customers before."""
    rows = await QUERIES["take_generated_customer_ids"].rows(connection, count=count)
    generated = [row["customer_id"] for row in rows]
    taken = await list_known_ids(connection, organisation_id, generated)
    return [customer_id for customer_id in generated if customer_id not in taken]


async def insert(
    connection: Connection, organisation_id: int, customers: Mapping[int, NewCustomer], *, now: datetime
) -> bool:
    """Inserts customers by id, with their identifiers; false if somebody else has taken an id or an identifier.

    After false the caller rolls back: part of it went in. Rows go in by key, customers before identifiers, so that two
    batches wait for each other in one direction only.
    """
    places = sorted((bucket_of_customer(organisation_id, customer_id), customer_id) for customer_id in customers)
    in_order = [customers[customer_id] for _, customer_id in places]
    inserted = await QUERIES["insert_customers"].rows(
        connection,
        organisation_id=organisation_id,
        buckets=[bucket for bucket, _ in places],
        customer_ids=[customer_id for _, customer_id in places],
        external_ids=[new.external_id for new in in_order],
        mobiles=[new.mobile for new in in_order],
        emails=[new.email for new in in_order],
        first_names=[new.first_name for new in in_order],
        last_names=[new.last_name for new in in_order],
        now=now,
    )
    if len(inserted) < len(customers):
        return False
    return await _claim(
        connection,
        organisation_id,
        {identifier: customer_id for customer_id, new in customers.items() for identifier in new.identifiers()},
    )


async def _claim(connection: Connection, organisation_id: int, owners: Mapping[Identifier, int]) -> bool:
    if not owners:
        return True
    in_order = sorted(owners, key=lambda identifier: (_bucket(organisation_id, identifier), identifier))
    claimed = await QUERIES["claim_identifiers"].rows(
        connection,
        organisation_id=organisation_id,
        customer_ids=[owners[identifier] for identifier in in_order],
        **_identifier_columns(organisation_id, in_order),
    )
    return len(claimed) == len(owners)


async def find(connection: Connection, organisation_id: int, customer_id: int) -> Customer | None:
    """One customer as shown."""
    row = await QUERIES["find_customer"].row(
        connection,
        organisation_id=organisation_id,
        bucket=bucket_of_customer(organisation_id, customer_id),
        customer_id=customer_id,
    )
    return Customer(**row) if row is not None else None


def _identifier_columns(organisation_id: int, identifiers: Collection[Identifier]) -> dict[str, Sequence[object]]:
    return {
        "buckets": [_bucket(organisation_id, identifier) for identifier in identifiers],
        "types": [str(identifier.type) for identifier in identifiers],
        "values": [identifier.value for identifier in identifiers],
    }


def _bucket(organisation_id: int, identifier: Identifier) -> int:
    return bucket_of_identifier(organisation_id, identifier.type, identifier.value)
