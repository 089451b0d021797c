"""The same activity is recognised by its content as parsed."""

from datetime import timedelta
from decimal import Decimal

import pytest
from tests.core.builders import day

from kosminar.core.activity import FUTURE_TOLERANCE, Activity


def build(**overrides: object) -> Activity:
    return Activity(**{"activity_id": "a", "type": "run", "occurred_at": day(1), "attributes": {}, **overrides})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"x": Decimal("1.0")}, {"x": Decimal("1.00")}, True),
        ({"x": 1}, {"x": Decimal("1.0")}, True),
        ({"x": 100}, {"x": Decimal("1E+2")}, True),
        ({"x": 1}, {"x": "1"}, False),
        ({"x": 1}, {"x": True}, False),
        ({"x": None}, {}, False),
        ({"x": 10**30}, {"x": 10**30 + 1}, False),
        ({"x": [1, {"y": Decimal("2.50")}]}, {"x": [Decimal("1.0"), {"y": Decimal("2.5")}]}, True),
        ({"x": "number"}, {"x": {"number": "1E+0"}}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ],
)
def test_content_is_compared_as_parsed(one: dict, other: dict, same: bool) -> None:
    assert (build(attributes=one).fingerprint() == build(attributes=other).fingerprint()) is same


def test_another_type_or_instant_is_other_content() -> None:
    assert build().fingerprint() != build(type="walk").fingerprint()
    assert build().fingerprint() != build(occurred_at=day(2)).fingerprint()


def test_exactly_five_minutes_ahead_is_not_the_future() -> None:
    ahead = build(occurred_at=day(1) + FUTURE_TOLERANCE)

    assert not ahead.in_the_future(day(1))
    assert ahead.in_the_future(day(1) - timedelta(microseconds=1))
