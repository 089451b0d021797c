"""A definition: what a brand asks a programme to be, before anything of it has an id.

Owns the rules about a definition's values, whoever wrote it: names, periods, what is measured, target values, levels,
rewards. Each broken rule is one complaint that names the field's path in the published request and the rule
(decision 4). Knows no JSON: what cannot be said in these types is refused where the request is read
(api/compat/definitions.py), and names that are taken are found by the store. Both sides of each limit:
tests/core/test_definition.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from kosminar.core.activity import TRANSACTION
from kosminar.core.amount import ONE
from kosminar.core.errors import Code, Complaint, invalid
from kosminar.core.kind.catalogue import KINDS
from kosminar.core.measure.measure import Entity, Measure
from kosminar.core.period import Frequency, Span
from kosminar.core.programme import EnrolmentMethod, Kind, Programme, TrackingType
from kosminar.core.reward import Allocation, RewardKind
from kosminar.core.window import fixed

# Published limits of names and descriptions.
NAME_LENGTH_MAX: Final = 200
DESCRIPTION_LENGTH_MAX: Final = 255
# An event's and an attribute's name; longer ones are mistakes, and names are in every activity.
MEASURED_NAME_LENGTH_MAX: Final = 100
# Days of 27 years: more than anybody plans, and a number that every column holds.
FREQUENCY_MAX: Final = 10_000
# Published: up to 10 levels.
LEVEL_COUNT_MAX: Final = 10
# Of one target or level. Each is a row for every customer who earns it, so there is an end.
REWARD_COUNT_MAX: Final = 20
REWARD_TEXT_LENGTH_MAX: Final = 200

# What the published API calls a transaction where it names events.
TRANSACTION_EVENT_NAME: Final = "TransactionAdd"


@dataclass(frozen=True, slots=True)
class PromisedReward:
    """A reward before it has an id: thousandths of points for POINTS, text otherwise."""

    kind: RewardKind
    value: int | str
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class DefinedPeriod:
    span: Span
    description: str | None


@dataclass(frozen=True, slots=True)
class DefinedLevel:
    name: str
    count: int
    rewards: tuple[PromisedReward, ...]


@dataclass(frozen=True, slots=True)
class DefinedTarget:
    """`values` are one for each period in order, or a single one for all, in thousandths."""

    name: str
    description: str | None
    measure: Measure
    enrolment_method: EnrolmentMethod
    expression_json: str
    values: tuple[int, ...]
    rewards: tuple[PromisedReward, ...]

    def value_of(self, period_number: int) -> int:
        return self.values[0] if len(self.values) == 1 else self.values[period_number - 1]


@dataclass(frozen=True, slots=True)
class Definition:
    """A target group with its periods, its one target and, for a streak, its levels.

    It starts and ends at instants between which all periods lie; between those and the periods nothing is tracked.
    """

    name: str
    description: str | None
    tracking_type: TrackingType
    frequency_type: Frequency
    frequency: int
    recurring_cycles: int
    preferred_till_id: int | None
    zone: ZoneInfo
    offset_days: int
    track_from_enrolment: bool
    starts_at: datetime
    ends_at: datetime
    periods: tuple[DefinedPeriod, ...]
    target: DefinedTarget
    levels: tuple[DefinedLevel, ...]

    @property
    def kind(self) -> Kind:
        return KINDS[self.tracking_type]


@dataclass(frozen=True, slots=True)
class DefinedProgramme:
    """A stored programme together with what it was asked to be."""

    programme: Programme
    definition: Definition
    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime

    @property
    def active(self) -> bool:
        return self.programme.deactivated_version is None


def name_key(name: str) -> str:
    """What two names must differ in: case is ignored (decision 4), as Unicode folds it.

    Made here and stored beside the name, because PostgreSQL's lower() depends on the database's locale.

    >>> name_key("STRASSE") == name_key("straße")
    True
    """
    return name.casefold()


def default_level_name(group_name: str, number: int) -> str:
    """The name of a level that was given none; rules name levels by it."""
    return f"{group_name}_{number}"


def name_taken(path: str) -> Complaint:
    """A group's or a target's name that another one of the organisation has, active or not."""
    if path == "name":
        return Complaint.of(Code.NAME_TAKEN)
    return Complaint(Code.NAME_TAKEN, f"{path}: Target rule name already exists")


def check(definition: Definition) -> list[Complaint]:
    """Every rule that the definition breaks, ascending by code; none means that it can be stored."""
    found = [
        *_check_group(definition),
        *_check_periods(definition),
        *_check_target(definition.target),
        *_check_values(definition),
        *_check_levels(definition),
        *_check_all_rewards(definition),
    ]
    return sorted(found, key=lambda complaint: complaint.code)


def _check_group(definition: Definition) -> Iterator[Complaint]:
    yield from _check_name("name", definition.name)
    yield from _check_description("description", definition.description)


def _check_periods(definition: Definition) -> Iterator[Complaint]:
    spans = [defined.span for defined in definition.periods]
    if not spans:
        yield invalid("periods", "must be at least one")
        return
    for index, defined in enumerate(definition.periods):
        yield from _check_name(f"periods[{index}].refCode", defined.span.name)
        yield from _check_description(f"periods[{index}].description", defined.description)
    yield from (invalid(fault.path, fault.message) for fault in fixed.faults(spans))
    # The earliest and the latest, wherever they stand: their order is a fault of its own.
    if definition.starts_at > min(span.starts_at for span in spans):
        yield invalid("fromDate", "must not be after the first period's start")
    if definition.ends_at < max(span.ends_at for span in spans):
        yield invalid("toDate", "must not be before the last period's end")


def _check_target(target: DefinedTarget) -> Iterator[Complaint]:
    here = "targets[0]"
    if len(target.name) > NAME_LENGTH_MAX:
        yield Complaint.of(Code.TARGET_NAME_TOO_LONG)
    else:
        yield from _check_name(f"{here}.name", target.name)
    yield from _check_description(f"{here}.description", target.description)
    yield from _check_measure(here, target.measure)


def _check_measure(here: str, measure: Measure) -> Iterator[Complaint]:
    if measure.entity not in measure.entities:
        yield Complaint.of(Code.ENTITY_AND_TYPE_DO_NOT_FIT)
    elif measure.names_attribute and measure.attribute is None:
        yield Complaint.of(Code.MEASURED_FIELD_MISSING)
    if measure.attribute is not None and not _fits(measure.attribute, MEASURED_NAME_LENGTH_MAX):
        yield Complaint.of(Code.UNKNOWN_EXTENDED_FIELD)
    if not _fits(measure.event_name, MEASURED_NAME_LENGTH_MAX):
        yield invalid(f"{here}.eventName", f"must be text of 1 to {MEASURED_NAME_LENGTH_MAX} characters")
    if measure.entity is Entity.EVENT and measure.event_name == TRANSACTION:
        yield invalid(f"{here}.eventName", f"must not be {TRANSACTION}: targetEntity TRANSACTION measures those")


def _check_values(definition: Definition) -> Iterator[Complaint]:
    here = "targets[0].defaultValues"
    values, period_count = definition.target.values, len(definition.periods)
    if len(values) not in (1, period_count):
        yield invalid(here, f"must be one for all periods or one for each of the {period_count}")
    measure = definition.target.measure
    for index, value in enumerate(values):
        if value <= 0:
            yield invalid(f"{here}[{index}].defaultValue", "must be greater than 0")
        elif measure.whole and value % ONE != 0:
            yield invalid(f"{here}[{index}].defaultValue", f"must be whole for {measure.type}")


def _check_levels(definition: Definition) -> Iterator[Complaint]:
    levels, period_count = definition.levels, len(definition.periods)
    if not definition.kind.has_levels:
        if levels:
            yield invalid("streaks", f"must be absent for trackingType {definition.tracking_type}")
        return
    if not 1 <= len(levels) <= LEVEL_COUNT_MAX:
        yield invalid("streaks", f"must be 1 to {LEVEL_COUNT_MAX} levels")
    index_of_name: dict[str, int] = {}
    for index, level in enumerate(levels):
        here = f"streaks[{index}]"
        yield from _check_name(f"{here}.name", level.name)
        namesake = index_of_name.setdefault(name_key(level.name), index)
        if namesake != index:
            yield invalid(f"{here}.name", f"must differ from streaks[{namesake}].name, case ignored")
        if level.count < 1:
            yield invalid(f"{here}.targetCountOfSequence", "must be at least 1")
        if index > 0 and level.count <= levels[index - 1].count:
            yield invalid(
                f"{here}.targetCountOfSequence", f"must be greater than streaks[{index - 1}].targetCountOfSequence"
            )
        if level.count > period_count:
            yield invalid(f"{here}.targetCountOfSequence", f"must be at most the number of periods, {period_count}")


def _check_all_rewards(definition: Definition) -> Iterator[Complaint]:
    yield from _check_rewards("targets[0].rewards", definition.target.rewards, at_once=definition.kind.has_levels)
    for index, level in enumerate(definition.levels):
        yield from _check_rewards(f"streaks[{index}].rewards", level.rewards, at_once=True)


def _check_rewards(here: str, rewards: Sequence[PromisedReward], *, at_once: bool) -> Iterator[Complaint]:
    if len(rewards) > REWARD_COUNT_MAX:
        yield invalid(here, f"must be at most {REWARD_COUNT_MAX} rewards")
    for index, reward in enumerate(rewards):
        if isinstance(reward.value, int):
            if reward.value <= 0:
                yield invalid(f"{here}[{index}].value", "must be greater than 0")
        elif not _fits(reward.value, REWARD_TEXT_LENGTH_MAX):
            yield invalid(f"{here}[{index}].value", f"must be text of 1 to {REWARD_TEXT_LENGTH_MAX} characters")
        if at_once and reward.allocation is Allocation.PERIOD_END:
            yield invalid(f"{here}[{index}].allocation", "must be IMMEDIATE on a streak")


def _check_name(path: str, name: str) -> Iterator[Complaint]:
    if not _fits(name, NAME_LENGTH_MAX):
        yield invalid(path, f"must be text of 1 to {NAME_LENGTH_MAX} characters")


def _check_description(path: str, description: str | None) -> Iterator[Complaint]:
    if description is not None and len(description) > DESCRIPTION_LENGTH_MAX:
        yield invalid(path, f"must be at most {DESCRIPTION_LENGTH_MAX} characters")


def _fits(text: str, length_max: int) -> bool:
    """Blank text is no text."""
    return bool(text.strip()) and len(text) <= length_max
