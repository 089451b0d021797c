"""How much one activity may hold: it is fingerprinted and stored in one go."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kosminar.engine.intake import ATTRIBUTE_COUNT_MAX, ATTRIBUTE_VALUE_COUNT_MAX, read_activity

TOO_MANY = "activities[0].attributes must hold at most 5000 values, those within lists and objects too"


def faults(attributes: dict[str, Any]) -> list[str]:
    item = {"id": "a", "customerId": 1, "type": "visit", "occurredAt": "2031-01-01", "attributes": attributes}
    read = read_activity(item, "activities[0]", ZoneInfo("UTC"))
    return [str(fault) for fault in read] if isinstance(read, list) else []


# The object of attributes is one value, and a list within it another.
@pytest.mark.parametrize(
    "most",
    [
        {"x": [0] * (ATTRIBUTE_VALUE_COUNT_MAX - 2)},
        {"x": [{"y": None}] * ((ATTRIBUTE_VALUE_COUNT_MAX - 2) // 2)},
        {"x": {str(number): "text" for number in range(ATTRIBUTE_VALUE_COUNT_MAX - 2)}},
    ],
)
def test_attributes_hold_as_many_values_as_the_limit_and_no_more(most: dict[str, Any]) -> None:
    assert faults(most) == []
    assert faults({**most, "one": 1, "more": 1}) == [TOO_MANY]


def test_a_long_number_counts_for_several_values() -> None:
    assert faults({"x": [10**18] * 4_000}) == []
    assert faults({"x": [10**900] * 4_000}) == [TOO_MANY]


def test_attributes_have_as_many_names_as_the_limit_and_no_more() -> None:
    most = {str(number): number for number in range(ATTRIBUTE_COUNT_MAX)}

    assert faults(most) == []
    assert faults({**most, "more": 1}) == ["activities[0].attributes must be an object of at most 100 attributes"]
