"""The audit trail: facts in the order in which they happened to a customer."""

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kosminar.core.amount import decimal_of
from kosminar.core.fact import Fact
from kosminar.core.programme import Programme
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, CustomerRange, place

QUERIES: Final = load("facts")


class RecordedFact(NamedTuple):
    """A fact as it is kept and shown: (sequence, ordinal) is its place in the customer's trail.

    After the customer's key, in the order of the table's columns.
    """

    sequence: int
    ordinal: int
    name: str
    at: datetime
    target_group_id: int
    target_id: int
    period_id: int | None
    run: int | None
    level_id: int | None
    reward_definition_id: int | None
    value: Decimal | None
    reason: str | None

    @classmethod
    def of(cls, fact: Fact, programme: Programme, *, sequence: int, ordinal: int) -> "RecordedFact":
        number = fact.period_number
        # Made for every fact there is: by place, which takes half as long as by name.
        return cls(
            sequence,
            ordinal,
            fact.name.value,
            fact.at,
            programme.target_group_id,
            programme.target.target_id,
            None if number is None else programme.period_id(number),
            fact.run,
            fact.level_id,
            fact.reward_definition_id,
            None if fact.value is None else decimal_of(fact.value),
            fact.reason,
        )


async def list_page(
    connection: Connection, customer: CustomerKey, *, after: tuple[int, int], limit: int
) -> list[RecordedFact]:
    """Oldest first, what comes after (sequence, ordinal)."""
    rows = await QUERIES["list_facts"].rows(
        connection, **place(customer), after_sequence=after[0], after_ordinal=after[1], limit=limit
    )
    return [RecordedFact(**row) for row in rows]


async def list_of_range(connection: Connection, within: CustomerRange) -> dict[int, list[RecordedFact]]:
    """A range of customers' trails, by customer id, oldest first."""
    trails: dict[int, list[RecordedFact]] = {}
    for row in await QUERIES["list_facts_of_customers"].rows(connection, **within.bounds()):
        columns = dict(row)
        trails.setdefault(columns.pop("customer_id"), []).append(RecordedFact(**columns))
    return trails
