"""Walks through all customers for the audit, a page of one bucket and organisation at a time."""

from datetime import datetime
from itertools import groupby
from typing import Final

from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerRange

QUERIES: Final = load("recount")


async def list_page(
    connection: Connection, bucket: int, *, after: tuple[int, int], limit: int
) -> list[tuple[CustomerRange, dict[int, datetime]]]:
    """The next customers of the bucket after (organisation id, customer id): ranges, and when each in them changed."""
    rows = await QUERIES["list_customer_page"].rows(
        connection, bucket=bucket, after_organisation=after[0], after_customer=after[1], limit=limit
    )
    page = []
    for organisation_id, group in groupby(rows, key=lambda row: row["organisation_id"]):
        changed = {row["customer_id"]: row["changed_at"] for row in group}
        page.append((CustomerRange(bucket, organisation_id, min(changed), max(changed)), changed))
    return page


async def count_customers(connection: Connection) -> int:
    return int(await QUERIES["count_customers"].value(connection))
