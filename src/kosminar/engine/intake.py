"""Reads one activity as callers and files write it; whatever is wrong is a fault of a field, never an exception.

One reader for the API and for the import, so that a line of a file and an item of a request mean the same. Amounts of
a transaction become exact decimals with three places here, at the edge (decision 24).
"""

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from kosminar.core.activity import TRANSACTION, Activity
from kosminar.core.amount import ID_MAX, decimal_of, thousandths_of
from kosminar.core.decoder import Fields, Json
from kosminar.core.errors import Fault

ACTIVITY_ID_LENGTH_MAX: Final = 100
TYPE_LENGTH_MAX: Final = 100
# Wide enough for any shop's receipt; a row of thousands is a mistake and would slow every recount.
ATTRIBUTE_COUNT_MAX: Final = 100
# With those in lists and objects within, their lists and objects counted too. A bill of hundreds of lines has fewer.
ATTRIBUTE_VALUE_COUNT_MAX: Final = 5_000
# Of a number, one value's worth: one of a thousand digits takes as long as dozens of others.
NUMBER_BITS: Final = 64
# What a transaction may carry as money; a return is no purchase with a negative amount.
TRANSACTION_AMOUNTS: Final = ("grossAmount", "amount", "discount")


def read_activity(item: Json, path: str, zone: ZoneInfo) -> tuple[int, Activity] | list[Fault]:
    """The customer's id and the activity, or everything that is wrong with the item.

    `occurredAt` without zone is in the organisation's.
    """
    if not isinstance(item, dict):
        return [Fault(path, "must be an object")]
    fields = Fields(item, path)
    activity_type = fields.text("type", max_length=TYPE_LENGTH_MAX)
    activity = Activity(
        activity_id=fields.text("id", max_length=ACTIVITY_ID_LENGTH_MAX),
        type=activity_type,
        occurred_at=fields.instant("occurredAt", zone),
        attributes=_attributes(fields, activity_type),
    )
    customer_id = fields.whole_number("customerId", minimum=1, maximum=ID_MAX)
    return fields.faults or (customer_id, activity)


def _attributes(fields: Fields, activity_type: str) -> Mapping[str, Any]:
    given = fields.value("attributes")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > ATTRIBUTE_COUNT_MAX:
        fields.fault("attributes", f"must be an object of at most {ATTRIBUTE_COUNT_MAX} attributes")
        return {}
    if not _within(given, ATTRIBUTE_VALUE_COUNT_MAX):
        rule = f"must hold at most {ATTRIBUTE_VALUE_COUNT_MAX} values, those within lists and objects too"
        fields.fault("attributes", rule)
        return {}
    if activity_type != TRANSACTION:
        return given
    read: dict[str, Any] = dict(given)
    for name in TRANSACTION_AMOUNTS:
        if read.get(name) is None:
            continue
        try:
            amount = thousandths_of(read[name])
        except ValueError as error:
            fields.fault(f"attributes.{name}", str(error))
            continue
        if amount < 0:
            fields.fault(f"attributes.{name}", "must not be negative: a return is not a transaction")
        read[name] = decimal_of(amount)
    return read


def _within(value: Json, count_max: int) -> bool:
    """Whether a value and those within it are no more than so many; each is fingerprinted and stored in one go."""
    count = 0
    left = [value]
    while left and count <= count_max:
        one = left.pop()
        count += 1
        if isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
        elif isinstance(one, int):
            count += one.bit_length() // NUMBER_BITS
    return count <= count_max
