"""The same activity is recognised by its content as parsed; measures read numbers strictly."""

from datetime import timedelta
from decimal import Decimal

import pytest
from tests.core.builders import day

from kosminar.core.activity import FUTURE_TOLERANCE, Activity
from kosminar.core.amount import ONE
from kosminar.core.measure import Entity, Measure, MeasureType


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


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (Decimal("12.3455"), 12_346),
        ("12.5", 12_500),
        (0, 0),
        (Decimal(-1), None),
        ("1_000", None),
        (True, None),
        (None, None),
        (Decimal("1E+12"), None),
    ],
)
def test_a_sum_takes_amounts_and_nothing_else(value: object, amount: int | None) -> None:
    measure = Measure(Entity.EVENT, MeasureType.EVENT_ATTRIBUTE, "run", "minutes")

    assert measure.of(build(attributes={"minutes": value})) == amount


def test_a_measure_hears_its_own_type_only() -> None:
    assert Measure(Entity.EVENT, MeasureType.COUNT, "run", None).of(build()) == ONE
    assert Measure(Entity.EVENT, MeasureType.COUNT, "walk", None).of(build()) is None
    assert Measure(Entity.TRANSACTION, MeasureType.COUNT, "x", None).of(build(type="transaction")) == ONE
