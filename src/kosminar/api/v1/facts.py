"""A customer's audit trail, oldest first; and the one shape in which a fact is shown everywhere."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from kosminar.api.answer import Answer, native
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
from kosminar.engine.house import House
from kosminar.engine.use_cases import facts

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


class Fact(Protocol):
    """What of a fact is shown; of what does not concern it None."""

    @property
    def name(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def target_group_id(self) -> int: ...
    @property
    def target_id(self) -> int: ...
    @property
    def period_id(self) -> int | None: ...
    @property
    def level_id(self) -> int | None: ...
    @property
    def value(self) -> Decimal | None: ...
    @property
    def reason(self) -> str | None: ...


def shown(fact: Fact) -> dict[str, Any]:
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
    page = await facts.list_page(
        house, call.organisation_id, call.ids["customerId"], after=(after[0], after[1]), limit=limit
    )
    return native(
        {
            "data": [shown(fact) for fact in page.facts],
            "next": None if page.last is None else write_cursor(*page.last),
        }
    )


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
