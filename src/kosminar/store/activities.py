"""Accepted activities: kept for ever, because the same id is counted once and the audit recounts from them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from kosminar.core.activity import Activity
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, CustomerRange, places

QUERIES: Final = load("activities")

# Numbers keep all their digits on the way into jsonb, which keeps them too.
ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class AcceptedActivity:
    """An activity with its place in the customer's order, the definitions it met and the clock it was accepted at."""

    customer: CustomerKey
    sequence: int
    activity: Activity
    fingerprint: bytes
    definitions_version: int
    at: datetime


async def list_known(
    connection: Connection, activities: Iterable[tuple[CustomerKey, str]]
) -> dict[tuple[CustomerKey, str], bytes]:
    """The fingerprints of those that were accepted before, by customer and activity id."""
    keys = list(activities)
    rows = await QUERIES["list_known_activities"].rows(
        connection, **places([customer for customer, _ in keys]), activity_ids=[activity_id for _, activity_id in keys]
    )
    return {
        (CustomerKey(row["bucket"], row["organisation_id"], row["customer_id"]), row["activity_id"]): row["fingerprint"]
        for row in rows
    }


def row(accepted: AcceptedActivity) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    activity = accepted.activity
    return (
        *accepted.customer,
        activity.activity_id,
        accepted.sequence,
        activity.type,
        activity.occurred_at,
        ENCODER.encode(activity.attributes).decode(),
        accepted.fingerprint,
        accepted.definitions_version,
        accepted.at,
    )


async def list_accepted(connection: Connection, within: CustomerRange) -> list[AcceptedActivity]:
    """A range of customers' activities, each customer's in the order of acceptance."""
    rows = await QUERIES["list_activities_of_customers"].rows(connection, **within.bounds())
    return [
        AcceptedActivity(
            customer=CustomerKey(within.bucket, within.organisation_id, row["customer_id"]),
            sequence=row["sequence"],
            activity=Activity(
                row["activity_id"],
                row["type"],
                row["occurred_at"],
                json.loads(row["attributes"], parse_float=Decimal),
            ),
            fingerprint=row["fingerprint"],
            definitions_version=row["definitions_version"],
            at=row["at"],
        )
        for row in rows
    ]
