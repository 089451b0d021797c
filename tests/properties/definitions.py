"""Any programme that a definition can make: periods of every kind in zones with odd nights, up to every limit."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from tests.core.builders import build_programme, build_target
from tests.definitions import build_definition, build_measure
from tests.definitions import build_target as build_defined_target

from kosminar.core.amount import AMOUNT_LIMIT, ONE
from kosminar.core.definition import (
    LEVEL_COUNT_MAX,
    TRANSACTION_EVENT_NAME,
    DefinedLevel,
    DefinedPeriod,
    Definition,
    PromisedReward,
)
from kosminar.core.kind.catalogue import KINDS
from kosminar.core.measure.catalogue import MEASURES
from kosminar.core.measure.measure import Entity, Measure
from kosminar.core.period import Frequency, Span
from kosminar.core.programme import EnrolmentMethod, Level, Programme, TrackingType
from kosminar.core.reward import Allocation, RewardDefinition, RewardKind
from kosminar.core.window.fixed import FixedWindow, generate, lay_out
from kosminar.core.zone import OFFSET_DAYS_MAX

# Each with a day near which something happens to its clocks: 23, 24.5 or 47 hours, no midnight, a day left out.
NIGHTS = [
    ("UTC", date(2028, 2, 28)),
    ("Europe/Berlin", date(2026, 3, 28)),
    ("America/New_York", date(2026, 10, 31)),
    ("Australia/Lord_Howe", date(2026, 4, 4)),
    ("Pacific/Apia", date(2011, 12, 29)),
    ("America/Sao_Paulo", date(2018, 11, 3)),
    ("Africa/Casablanca", date(2026, 2, 14)),
    ("Asia/Kathmandu", date(1985, 12, 31)),
    ("Antarctica/Troll", date(2026, 3, 28)),
    ("America/Scoresbysund", date(2024, 3, 30)),
]
EVENT_NAME = "lapDone"
LARGEST = AMOUNT_LIMIT - 1


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    zone_name, eve = draw(st.sampled_from(NIGHTS))
    zone = ZoneInfo(zone_name)
    first_on = draw(st.one_of(st.just(eve), st.dates(date(1970, 1, 2), date(2150, 1, 1))))
    tracking_type = draw(st.sampled_from(TrackingType))
    streak = tracking_type is not TrackingType.DEFAULT
    spans = draw(st.one_of(_generated(first_on, zone), _written(first_on, zone)))
    measure = draw(_measures())
    return build_definition(
        tracking_type=tracking_type,
        zone=zone,
        offset_days=draw(st.sampled_from([0, 0, 1, 3, 40, OFFSET_DAYS_MAX])),
        track_from_enrolment=draw(st.booleans()),
        periods=tuple(DefinedPeriod(span, None) for span in spans),
        target=build_defined_target(
            measure=measure,
            enrolment_method=draw(st.sampled_from(EnrolmentMethod)),
            values=tuple(draw(st.lists(_values(measure), min_size=len(spans), max_size=len(spans)))),
            rewards=draw(_rewards(streak=streak)),
        ),
        levels=draw(_levels(len(spans))) if streak else (),
    )


def _generated(first_on: date, zone: ZoneInfo) -> st.SearchStrategy[list[Span]]:
    return st.builds(
        lambda frequency, every, period_count: generate(first_on, frequency, every, period_count, zone),
        st.sampled_from(Frequency),
        st.integers(1, 3),
        st.integers(1, 12),
    ).filter(bool)


@st.composite
def _written(draw: st.DrawFn, first_on: date, zone: ZoneInfo) -> list[Span]:
    """Periods written out by hand: from a microsecond to years, one after the other or with gaps."""
    at = datetime(first_on.year, first_on.month, first_on.day, tzinfo=zone).astimezone(UTC)
    lengths = st.sampled_from([timedelta(days=1), timedelta(days=800), timedelta(minutes=4), timedelta(microseconds=1)])
    gaps = st.sampled_from([timedelta(0), timedelta(days=2), timedelta(microseconds=1)])
    spans = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        starts_at = at + draw(gaps)
        at = starts_at + draw(lengths)
        spans.append(Span(f"P{number}", starts_at, at))
    return spans


def _measures() -> st.SearchStrategy[Measure]:
    fitting = [(entity, measure) for measure in MEASURES.values() for entity in measure.entities]
    return st.sampled_from(fitting).map(
        lambda pair: build_measure(
            entity=pair[0],
            type=pair[1].type,
            event_name=TRANSACTION_EVENT_NAME if pair[0] is Entity.TRANSACTION else EVENT_NAME,
            attribute="minutes" if pair[1].names_attribute else None,
        )
    )


def _values(measure: Measure) -> st.SearchStrategy[int]:
    if measure.whole:
        return st.integers(1, 3).map(lambda value: value * ONE)
    return st.sampled_from([1, ONE, 10 * ONE, LARGEST])


def _rewards(*, streak: bool) -> st.SearchStrategy[tuple[PromisedReward, ...]]:
    allocations = st.just(Allocation.IMMEDIATE) if streak else st.sampled_from(Allocation)
    points = st.builds(PromisedReward, st.just(RewardKind.POINTS), st.just(LARGEST), allocations)
    badge = st.builds(PromisedReward, st.just(RewardKind.BADGE), st.just("gold"), allocations)
    return st.lists(points | badge, max_size=3).map(tuple)


@st.composite
def _levels(draw: st.DrawFn, period_count: int) -> tuple[DefinedLevel, ...]:
    counts = draw(st.sets(st.integers(1, period_count), min_size=1, max_size=LEVEL_COUNT_MAX))
    return tuple(DefinedLevel(f"L{count}", count, draw(_rewards(streak=True))) for count in sorted(counts))


def programme_of(definition: Definition, deactivated_at: datetime | None) -> Programme:
    """The programme that the definition makes, with the ids that the store would give."""
    numbers = count(1)
    spans = [defined.span for defined in definition.periods]
    target = definition.target
    return build_programme(
        kind=KINDS[definition.tracking_type],
        zone=definition.zone,
        track_from_enrolment=definition.track_from_enrolment,
        window=FixedWindow(lay_out(spans, offset_days=definition.offset_days, zone=definition.zone)),
        target=build_target(
            measure=target.measure,
            enrolment_method=target.enrolment_method,
            values=tuple(target.value_of(number) for number in range(1, len(spans) + 1)),
            rewards=_given_ids(target.rewards, numbers),
        ),
        levels=tuple(
            Level(number, number, level.name, level.count, _given_ids(level.rewards, numbers))
            for number, level in enumerate(definition.levels, start=1)
        ),
        deactivated_at=deactivated_at,
        deactivated_version=None if deactivated_at is None else 2,
    )


def _given_ids(promised: Sequence[PromisedReward], numbers: "count[int]") -> tuple[RewardDefinition, ...]:
    return tuple(RewardDefinition(next(numbers), r.kind, r.value, r.allocation) for r in promised)
