"""The document of a definition: one tree of a group, its window, targets, levels and rewards, and the way to core values.

What was asked is kept as it is shown again, every id is in its place, and values are whole thousandths. A document is
checked when it is written and whenever it is read: what unique indexes and CHECKs say of rows, `decode` says of the tree
(docs/decisions/0042 lists them). Knows no SQL; store/programmes.py keeps the documents. Both sides of each bound:
tests/store/test_definitions.py.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from kosminar.core.amount import AMOUNT_LIMIT, ID_MAX
from kosminar.core.definition import (
    DESCRIPTION_LENGTH_MAX,
    LEVEL_COUNT_MAX,
    MEASURED_NAME_LENGTH_MAX,
    NAME_LENGTH_MAX,
    REWARD_COUNT_MAX,
    REWARD_TEXT_LENGTH_MAX,
    DefinedLevel,
    DefinedPeriod,
    DefinedTarget,
    Definition,
    PromisedReward,
    name_key,
)
from kosminar.core.kind.catalogue import KINDS
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity
from kosminar.core.measure.measure import Measure as CoreMeasure
from kosminar.core.period import Frequency, Span
from kosminar.core.period import Period as CorePeriod
from kosminar.core.programme import EnrolmentMethod, Programme, TrackingType
from kosminar.core.programme import Level as CoreLevel
from kosminar.core.programme import Target as CoreTarget
from kosminar.core.reward import Allocation, RewardDefinition, RewardKind
from kosminar.core.window.fixed import GENERATED_COUNT_MAX, FixedWindow
from kosminar.core.zone import OFFSET_DAYS_MAX, due_at, zone_named

ID_LIMIT: Final = 1 << 43
"""Ids of definitions are below it, so that with the number of a period they stay below 2^53."""

_INTEGER_MAX: Final = 2**31 - 1

Id = Annotated[int, Meta(ge=1, lt=ID_LIMIT)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
MeasuredName = Annotated[str, Meta(min_length=1, max_length=MEASURED_NAME_LENGTH_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_LENGTH_MAX)] | None
Amount = Annotated[int, Meta(gt=0, lt=AMOUNT_LIMIT)]
Instant = Annotated[datetime, Meta(tz=True)]


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a document: each field is there, and no other."""


class Reward(_Part, frozen=True):
    reward_definition_id: Id
    kind: RewardKind
    points_thousandths: Amount | None
    text: Annotated[str, Meta(min_length=1, max_length=REWARD_TEXT_LENGTH_MAX)] | None
    allocation: Allocation


Rewards = Annotated[tuple[Reward, ...], Meta(max_length=REWARD_COUNT_MAX)]


class Measure(_Part, frozen=True):
    entity: Entity
    type: str
    event_name: MeasuredName
    attribute: MeasuredName | None


class Target(_Part, frozen=True):
    """`values_thousandths[n - 1]` is what must be reached in the period numbered n."""

    target_id: Id
    name: Name
    description: Description
    measure: Measure
    enrolment_method: EnrolmentMethod
    expression_json: str
    values_thousandths: tuple[Amount, ...]
    rewards: Rewards


class Period(_Part, frozen=True):
    """The number of a period is its place, from 1."""

    name: Name
    description: Description
    starts_at: Instant
    ends_at: Instant
    due_at: Instant


class Window(_Part, frozen=True):
    type: Literal["FIXED_CALENDAR_WINDOW"]
    starts_at: Instant
    ends_at: Instant
    frequency_type: Frequency
    frequency: Annotated[int, Meta(ge=1, le=_INTEGER_MAX)]
    recurring_cycles: Annotated[int, Meta(ge=-_INTEGER_MAX, le=_INTEGER_MAX)]
    offset_days: Annotated[int, Meta(ge=0, le=OFFSET_DAYS_MAX)]
    periods: Annotated[tuple[Period, ...], Meta(min_length=1, max_length=GENERATED_COUNT_MAX)]


class Level(_Part, frozen=True):
    """The number of a level is its place, from 1."""

    level_id: Id
    name: Name
    count: Annotated[int, Meta(ge=1, le=_INTEGER_MAX)]
    rewards: Rewards


class Document(_Part, frozen=True):
    """A target group as it is stored. The group's own id is the key of its row."""

    name: Name
    description: Description
    tracking_type: TrackingType
    zone: str
    track_from_enrolment: bool
    preferred_till_id: Annotated[int, Meta(ge=-ID_MAX, le=ID_MAX)] | None
    window: Window
    targets: Annotated[tuple[Target, ...], Meta(min_length=1, max_length=1)]
    levels: Annotated[tuple[Level, ...], Meta(max_length=LEVEL_COUNT_MAX)]

    def ids(self) -> Iterator[int]:
        """The ids that it gives, in the order in which they were taken."""
        for target in self.targets:
            yield target.target_id
            yield from (reward.reward_definition_id for reward in target.rewards)
        for level in self.levels:
            yield level.level_id
            yield from (reward.reward_definition_id for reward in level.rewards)


# ---------------------------------------------------------------- writing


def id_count(definition: Definition) -> int:
    """How many ids a definition takes, its group's included."""
    return 2 + len(definition.target.rewards) + sum(1 + len(level.rewards) for level in definition.levels)


def document_of(definition: Definition, ids: Iterator[int]) -> Document:
    """What is stored of a definition without faults; one target value for all periods becomes one for each."""
    return Document(
        name=definition.name,
        description=definition.description,
        tracking_type=definition.tracking_type,
        zone=definition.zone.key,
        track_from_enrolment=definition.track_from_enrolment,
        preferred_till_id=definition.preferred_till_id,
        window=Window(
            type="FIXED_CALENDAR_WINDOW",
            starts_at=definition.starts_at,
            ends_at=definition.ends_at,
            frequency_type=definition.frequency_type,
            frequency=definition.frequency,
            recurring_cycles=definition.recurring_cycles,
            offset_days=definition.offset_days,
            periods=tuple(_written_period(definition, each) for each in definition.periods),
        ),
        targets=(_written_target(definition, ids),),
        levels=tuple(
            Level(next(ids), level.name, level.count, _written_rewards(level.rewards, ids))
            for level in definition.levels
        ),
    )


def encode(document: Document) -> str:
    """As JSON, and such that `decode` takes it; raises ValueError otherwise."""
    text = msgspec.json.encode(document).decode()
    decode(text)
    return text


def _written_period(definition: Definition, defined: DefinedPeriod) -> Period:
    span = defined.span
    due = due_at(span.ends_at, definition.offset_days, definition.zone)
    return Period(span.name, defined.description, span.starts_at, span.ends_at, due)


def _written_target(definition: Definition, ids: Iterator[int]) -> Target:
    target = definition.target
    return Target(
        target_id=next(ids),
        name=target.name,
        description=target.description,
        measure=Measure(
            target.measure.entity, target.measure.type, target.measure.event_name, target.measure.attribute
        ),
        enrolment_method=target.enrolment_method,
        expression_json=target.expression_json,
        values_thousandths=tuple(target.value_of(number) for number in range(1, len(definition.periods) + 1)),
        rewards=_written_rewards(target.rewards, ids),
    )


def _written_rewards(promised: Sequence[PromisedReward], ids: Iterator[int]) -> tuple[Reward, ...]:
    return tuple(
        Reward(
            reward_definition_id=next(ids),
            kind=reward.kind,
            points_thousandths=reward.value if isinstance(reward.value, int) else None,
            text=reward.value if isinstance(reward.value, str) else None,
            allocation=reward.allocation,
        )
        for reward in promised
    )


# ---------------------------------------------------------------- reading


def decode(text: str) -> Document:
    """The document; raises ValueError that names the place where the text is no definition."""
    document = _DECODER.decode(text)
    for path, fault in _faults(document):
        raise ValueError(f"{fault} - at `$.{path}`")
    return document


_DECODER: Final = msgspec.json.Decoder(Document)


def programme_of(
    document: Document,
    *,
    organisation_id: int,
    target_group_id: int,
    created_version: int,
    deactivated_at: datetime | None,
    deactivated_version: int | None,
) -> Programme:
    """What the rules need of a group whose newest document this is."""
    return Programme(
        target_group_id=target_group_id,
        organisation_id=organisation_id,
        name=document.name,
        kind=KINDS[document.tracking_type],
        zone=zone_named(document.zone),
        track_from_enrolment=document.track_from_enrolment,
        window=FixedWindow(
            tuple(
                CorePeriod(number, period.name, period.starts_at, period.ends_at, period.due_at)
                for number, period in enumerate(document.window.periods, start=1)
            )
        ),
        targets=tuple(_read_target(target) for target in document.targets),
        levels=tuple(
            CoreLevel(level.level_id, number, level.name, level.count, _read_rewards(level.rewards))
            for number, level in enumerate(document.levels, start=1)
        ),
        created_version=created_version,
        deactivated_at=deactivated_at,
        deactivated_version=deactivated_version,
    )


def definition_of(document: Document) -> Definition:
    """What was asked; one value for all periods comes back as one for each."""
    window, (target,) = document.window, document.targets
    return Definition(
        name=document.name,
        description=document.description,
        tracking_type=document.tracking_type,
        frequency_type=window.frequency_type,
        frequency=window.frequency,
        recurring_cycles=window.recurring_cycles,
        preferred_till_id=document.preferred_till_id,
        zone=zone_named(document.zone),
        offset_days=window.offset_days,
        track_from_enrolment=document.track_from_enrolment,
        starts_at=window.starts_at,
        ends_at=window.ends_at,
        periods=tuple(
            DefinedPeriod(Span(period.name, period.starts_at, period.ends_at), period.description)
            for period in window.periods
        ),
        target=DefinedTarget(
            name=target.name,
            description=target.description,
            measure=_read_measure(target.measure),
            enrolment_method=target.enrolment_method,
            expression_json=target.expression_json,
            values=target.values_thousandths,
            rewards=_promised(target.rewards),
        ),
        levels=tuple(DefinedLevel(level.name, level.count, _promised(level.rewards)) for level in document.levels),
    )


def _read_target(target: Target) -> CoreTarget:
    return CoreTarget(
        target_id=target.target_id,
        name=target.name,
        description=target.description,
        measure=_read_measure(target.measure),
        enrolment_method=target.enrolment_method,
        values=target.values_thousandths,
        rewards=_read_rewards(target.rewards),
    )


def _read_measure(measure: Measure) -> CoreMeasure:
    return measure_of(measure.entity, measure.type, measure.event_name, measure.attribute)


def _read_rewards(rewards: Sequence[Reward]) -> tuple[RewardDefinition, ...]:
    return tuple(
        RewardDefinition(reward.reward_definition_id, reward.kind, _value(reward), reward.allocation)
        for reward in rewards
    )


def _promised(rewards: Sequence[Reward]) -> tuple[PromisedReward, ...]:
    return tuple(PromisedReward(reward.kind, _value(reward), reward.allocation) for reward in rewards)


def _value(reward: Reward) -> int | str:
    value = reward.text if reward.points_thousandths is None else reward.points_thousandths
    assert value is not None, "decode has seen to it"
    return value


# ---------------------------------------------------------------- what one field cannot say

_Faults = Iterator[tuple[str, str]]
"""Path and fault."""


def _faults(document: Document) -> _Faults:
    try:
        zone_named(document.zone)
    except ValueError as error:
        yield "zone", str(error)
    yield from _faults_of_window(document.window)
    for index, target in enumerate(document.targets):
        yield from _faults_of_target(f"targets[{index}]", target, len(document.window.periods))
    yield from _faults_of_levels(document)
    ids = list(document.ids())
    if len(ids) != len(set(ids)):
        yield "targets", "an id is given to two things"


def _faults_of_window(window: Window) -> _Faults:
    periods = window.periods
    if window.starts_at >= window.ends_at:
        yield "window.ends_at", "must be after starts_at"
    if window.starts_at > periods[0].starts_at or window.ends_at < periods[-1].ends_at:
        yield "window.periods", "must lie between the window's starts_at and ends_at"
    for index, period in enumerate(periods):
        if period.starts_at >= period.ends_at:
            yield f"window.periods[{index}].ends_at", "must be after starts_at"
        if period.due_at < period.ends_at:
            yield f"window.periods[{index}].due_at", "must not be before ends_at"
    for index, (before, after) in enumerate(pairwise(periods), start=1):
        if after.starts_at < before.ends_at:
            yield f"window.periods[{index}].starts_at", "must not be before the end of the period before"
    yield from _faults_of_names("window.periods", [period.name for period in periods])


def _faults_of_target(here: str, target: Target, period_count: int) -> _Faults:
    if len(target.values_thousandths) != period_count:
        yield f"{here}.values_thousandths", "must be one for each period"
    try:
        measure = _read_measure(target.measure)
    except KeyError:
        yield f"{here}.measure.type", "there is no such measure"
        return
    if measure.entity not in measure.entities:
        yield f"{here}.measure.entity", "does not fit the measure"
    if measure.names_attribute != (measure.attribute is not None):
        yield f"{here}.measure.attribute", "must be there for a measure that names one, and only then"
    yield from _faults_of_rewards(f"{here}.rewards", target.rewards)


def _faults_of_levels(document: Document) -> _Faults:
    levels = document.levels
    if levels and document.tracking_type is TrackingType.DEFAULT:
        yield "levels", "must be absent from a milestone"
    for index, (before, after) in enumerate(pairwise(levels), start=1):
        if after.count <= before.count:
            yield f"levels[{index}].count", "must be greater than that of the level before"
    yield from _faults_of_names("levels", [level.name for level in levels])
    for index, level in enumerate(levels):
        here = f"levels[{index}].rewards"
        yield from _faults_of_rewards(here, level.rewards)
        if any(reward.allocation is not Allocation.IMMEDIATE for reward in level.rewards):
            yield here, "must be IMMEDIATE"


def _faults_of_rewards(here: str, rewards: Sequence[Reward]) -> _Faults:
    for index, reward in enumerate(rewards):
        points = reward.kind is RewardKind.POINTS
        if points != (reward.points_thousandths is not None) or points != (reward.text is None):
            yield f"{here}[{index}]", "must have points for POINTS, and else text"


def _faults_of_names(here: str, names: Sequence[str]) -> _Faults:
    keys = [name_key(name) for name in names]
    if len(keys) != len(set(keys)):
        yield here, "two have the same name, case ignored"
