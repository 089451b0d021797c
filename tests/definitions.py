"""Definitions for tests: the smallest that nothing is wrong with, and what a test wants otherwise."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from kosminar.core.definition import (
    TRANSACTION_EVENT_NAME,
    DefinedLevel,
    DefinedPeriod,
    DefinedTarget,
    Definition,
    PromisedReward,
)
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity, Measure
from kosminar.core.period import Frequency, Span
from kosminar.core.programme import EnrolmentMethod, TrackingType
from kosminar.core.reward import Allocation, RewardKind

POINTS = PromisedReward(RewardKind.POINTS, 100_000, Allocation.IMMEDIATE)
POINTS_AT_PERIOD_END = PromisedReward(RewardKind.POINTS, 100_000, Allocation.PERIOD_END)


def month(number: int) -> datetime:
    """When a month of 2031 and later begins; 13 is the next January."""
    years, index = divmod(number - 1, 12)
    return datetime(2031 + years, index + 1, 1, tzinfo=UTC)


def build_periods(count: int) -> tuple[DefinedPeriod, ...]:
    return tuple(DefinedPeriod(Span(f"Cycle_{n}", month(n), month(n + 1)), None) for n in range(1, count + 1))


def build_measure(**overrides: Any) -> Measure:
    fields = {
        "entity": Entity.TRANSACTION,
        "type": "SALES",
        "event_name": TRANSACTION_EVENT_NAME,
        "attribute": None,
    }
    chosen = {**fields, **overrides}
    return measure_of(chosen["entity"], chosen["type"], chosen["event_name"], chosen["attribute"])


def build_target(**overrides: Any) -> DefinedTarget:
    fields = {
        "name": "Monthly spend",
        "description": None,
        "measure": build_measure(),
        "enrolment_method": EnrolmentMethod.IMPORT,
        "expression_json": '{"arity":"literal","value":"true","type":"boolean:primitive"}',
        "values": (250_000,),
        "rewards": (),
    }
    return DefinedTarget(**{**fields, **overrides})


def build_definition(**overrides: Any) -> Definition:
    """A milestone of three months; the group spans its periods unless it is told otherwise."""
    periods = overrides.get("periods", build_periods(3))
    fields = {
        "name": "Spring",
        "description": None,
        "tracking_type": TrackingType.DEFAULT,
        "frequency_type": Frequency.MONTHLY,
        "frequency": 1,
        "recurring_cycles": 0,
        "preferred_till_id": None,
        "zone": ZoneInfo("UTC"),
        "offset_days": 0,
        "track_from_enrolment": False,
        "starts_at": min((p.span.starts_at for p in periods), default=month(1)),
        "ends_at": max((p.span.ends_at for p in periods), default=month(2)),
        "periods": periods,
        "target": build_target(),
        "levels": (),
    }
    return Definition(**{**fields, **overrides})


def build_levels(*counts: int) -> tuple[DefinedLevel, ...]:
    return tuple(DefinedLevel(f"Laps_{n}", count, ()) for n, count in enumerate(counts, start=1))


def build_streak(**overrides: Any) -> Definition:
    fields = {"tracking_type": TrackingType.STREAKS, "periods": build_periods(12), "levels": build_levels(4, 8, 12)}
    return build_definition(**{**fields, **overrides})
