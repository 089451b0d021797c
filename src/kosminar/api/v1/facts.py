"""A customer's audit trail, oldest first; and the one shape in which a fact is shown everywhere."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from kosminar.api.answer import Answer, native
from kosminar.api.known import require_customer
from kosminar.api.operation import Call, Operation, Schema
from kosminar.api.v1.page import (
    BIGINT_MAX,
    CURSOR,
    LIMIT,
    SMALLINT_MAX,
    page_limit,
    page_schema,
    read_cursor,
    write_cursor,
)
from kosminar.core.access import Level, Resource
from kosminar.engine.catalogue import Catalogue
from kosminar.engine.house import House
from kosminar.store import facts, journal
from kosminar.store.facts import RecordedFact
from kosminar.store.journal import StoredFacts
from kosminar.store.standings import CustomerKey

# Sequence and ordinal.
KEY_MAXIMA: Final = (BIGINT_MAX, SMALLINT_MAX)

FACT: Final[Schema] = {
    "type": "object",
    "required": ["name", "at", "targetGroupId", "targetId", "periodId", "levelId", "value", "reason"],
    "properties": {
        "name": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "targetGroupId": {"type": "integer"},
        "targetId": {"type": "integer"},
        "periodId": {"type": ["integer", "null"]},
        "levelId": {"type": ["integer", "null"]},
        "value": {"type": ["number", "null"]},
        "reason": {"type": ["string", "null"]},
    },
}


def shown(fact: RecordedFact) -> dict[str, Any]:
    return {
        "name": fact.name,
        "at": fact.at,
        "targetGroupId": fact.target_group_id,
        "targetId": fact.target_id,
        "periodId": fact.period_id,
        "levelId": fact.level_id,
        "value": fact.value,
        "reason": fact.reason,
    }


async def list_facts(house: House, call: Call) -> Answer:
    """What happened to a customer, in the order in which it happened."""
    limit = page_limit(call)
    after = read_cursor(call, KEY_MAXIMA) or (0, 0)
    key = CustomerKey.of(call.organisation_id, call.ids["customerId"])
    async with house.pool.acquire() as connection:
        # The facts of the first number may all have been shown.
        stored = await journal.list_facts(connection, key, first=after[0], limit=limit + 2)
        if not stored:
            # Whoever has facts is a customer.
            await require_customer(connection, call, key.organisation_id, key.customer_id)
        # Read after the facts, so that it knows every target that they name.
        catalogue = await house.catalogues.now(connection, call.organisation_id)
    found = list(islice(_after(catalogue, stored, after), limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    cursor = None if last is None else write_cursor(last.sequence, last.ordinal)
    return native({"data": [shown(fact) for fact in found[:limit]], "next": cursor})


def _after(catalogue: Catalogue, stored: Iterable[StoredFacts], after: tuple[int, ...]) -> Iterator[RecordedFact]:
    """The facts that come after (sequence, ordinal). What is not asked for is not read."""
    for number, text, reason in stored:
        of_number = ((catalogue.by_target[fact.target_id], fact) for fact in facts.read(text, reason=reason))
        for fact in facts.recorded(of_number, sequence=number):
            if (fact.sequence, fact.ordinal) > after:
                yield fact


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/customers/{customerId}/facts",
        function=list_facts,
        summary="A customer's audit trail, oldest first",
        resource=Resource.ENROLMENTS,
        level=Level.READ,
        response=page_schema(FACT),
        statuses=(200, 404),
        query=(CURSOR, LIMIT),
    ),
)
