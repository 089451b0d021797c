"""Walks through all customers for the audit, a page of one bucket and organisation at a time."""

from itertools import groupby
from typing import Final

from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerRange

QUERIES: Final = load("recount")


async def list_page(
    connection: Connection, bucket: int, *, after: tuple[int, int], limit: int
) -> list[tuple[CustomerRange, list[int]]]:
    """The next customers of the bucket after (organisation id, customer id), as ranges with the ids in them."""
    rows = await QUERIES["list_customer_page"].rows(
        connection, bucket=bucket, after_organisation=after[0], after_customer=after[1], limit=limit
    )
    page = []
    for organisation_id, group in groupby(rows, key=lambda row: row["organisation_id"]):
        customer_ids = [row["customer_id"] for row in group]
        page.append((CustomerRange(bucket, organisation_id, customer_ids[0], customer_ids[-1]), customer_ids))
    return page


async def count_customers(connection: Connection) -> int:
    return int(await QUERIES["count_customers"].value(connection))
