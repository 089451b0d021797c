"""Reads the published create call into a definition.

Owns what the request can say: field names, the published words, defaults, and which of the published words we do not
support yet. The rules about the values themselves are core/definition.py's. Every fault is one complaint with the
field's path (decision 4).
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from kosminar.core.decoder import UNREAD_AT, Fields, Json, decode
from kosminar.core.definition import (
    FREQUENCY_MAX,
    NAME_LENGTH_MAX,
    TRANSACTION_EVENT_NAME,
    DefinedLevel,
    DefinedPeriod,
    DefinedTarget,
    Definition,
    PromisedReward,
    check,
    default_level_name,
)
from kosminar.core.errors import Code, Complaint, invalid
from kosminar.core.measure.catalogue import MEASURES, measure_of
from kosminar.core.measure.measure import Entity, Measure
from kosminar.core.measure.sales import Sales
from kosminar.core.period import Frequency, Span
from kosminar.core.programme import EnrolmentMethod, TrackingType
from kosminar.core.reward import Allocation, RewardKind
from kosminar.core.window.fixed import EXPLICIT_COUNT_MAX, GENERATED_COUNT_MAX, generate
from kosminar.core.zone import OFFSET_DAYS_MAX, local_day, local_midnight, zone_named

Choice = TypeVar("Choice", bound=StrEnum)

# Of target values: one for each period, however the periods come.
VALUE_COUNT_MAX: Final = 1_000
# Of targets, levels, or rewards of one of these. Their own limits are smaller and have words of their own; of more than
# this nothing is looked at, because each level may have as many rewards.
ITEM_COUNT_MAX: Final = 50
# Of an expression that says no more than "true".
EXPRESSION_LENGTH_MAX: Final = 10_000
# Published: the repetitions of other windows; -1 is what a fixed window made by hand shows.
RECURRING_CYCLES_MIN, RECURRING_CYCLES_MAX = -1, 100
# Echoed only; what the columns hold.
INTEGER_MAX: Final = 2**31 - 1
BIGINT_MAX: Final = 2**63 - 1

ALWAYS_TRUE: Final = '{"arity":"literal","value":"true","type":"boolean:primitive"}'

# Published words that are none of ours yet. Each is told apart from a misspelt one.
UNSUPPORTED_TRACKING_TYPES: Final = frozenset({"UNIFIED", "CAPPING"})
UNSUPPORTED_WINDOWS: Final = frozenset({"CYCLIC_WINDOW", "PERIOD_AGNOSTIC_WINDOW", "ROLLING_WINDOW"})
UNSUPPORTED_ENROLMENT_METHODS: Final = frozenset({"AUDIENCE_FILTER"})

_POINTS: Final = frozenset({"REGULAR_POINTS", "PROMOTIONAL_POINTS", "ALL_POINTS"})
# The published combinations; any other one has a code of its own, whether we support its words or not.
PUBLISHED_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "TRANSACTION": frozenset({"GROSS_SALES", "SALES", "COUNT", "VISIT", "EXTENDED_FIELD"}),
    "LINEITEM": frozenset({"GROSS_SALES", "SALES", "QUANTITY", "EXTENDED_FIELD"}),
    "EVENT": frozenset({"COUNT", "VISIT", "EVENT_ATTRIBUTE"}),
    "REWARDS": _POINTS,
    "POINTS": _POINTS,
    "ALTERNATE_CURRENCIES": frozenset({"REGULAR", "PROMOTION", "PROMOTIONAL", "ALL"}),
}
ALL_TYPES: Final = frozenset(MEASURES).union(*PUBLISHED_TYPES.values())
OUR_ENTITIES = frozenset(Entity)

# Stands in for a measure that was refused, so that the other rules can still be checked; breaks none of them.
UNREAD_MEASURE: Final[Measure] = Sales(Entity.TRANSACTION, TRANSACTION_EVENT_NAME, None)


class Window(StrEnum):
    """The one evaluation type that is supported."""

    FIXED_CALENDAR_WINDOW = "FIXED_CALENDAR_WINDOW"


def read_definition(body: Fields, organisation_zone: ZoneInfo) -> tuple[Definition, list[Complaint]]:
    """The definition and everything wrong with it, ascending by code; with complaints the definition means nothing.

    Rules about values are looked at only where every field could be read, or a stand-in would bring complaints of its
    own. What is readable but not supported hides nothing.
    """
    complaints: list[Complaint] = []
    definition = _definition(body, organisation_zone, complaints)
    if body.faults:
        complaints += [invalid(fault.path, fault.message) for fault in body.faults]
    else:
        complaints += check(definition)
    return definition, sorted(complaints, key=lambda complaint: complaint.code)


def _definition(body: Fields, organisation_zone: ZoneInfo, complaints: list[Complaint]) -> Definition:
    zone = body.optional("timeZoneName", lambda value: zone_named(_text(value))) or organisation_zone
    _refuse_unsupported(body, complaints)
    name = body.required("name", _text, "")
    # Levels without a name are named after the group, and a name may be as long as a body.
    level_prefix = name[: NAME_LENGTH_MAX + 1]
    frequency_type, frequency = _frequency(body)
    from_on, to_on = _day(body, "fromDate", zone), _day(body, "toDate", zone)
    if _explicit(body):
        periods = _written_periods(body, zone, complaints)
    else:
        periods = _generated_periods(
            body, zone, complaints, from_on=from_on, frequency_type=frequency_type, frequency=frequency
        )
    first_at = min((defined.span.starts_at for defined in periods), default=UNREAD_AT)
    last_at = max((defined.span.ends_at for defined in periods), default=UNREAD_AT)
    return Definition(
        name=name,
        description=body.optional("description", _text),
        tracking_type=body.required(
            "trackingType", lambda value: _word(value, TrackingType, UNSUPPORTED_TRACKING_TYPES), TrackingType.DEFAULT
        ),
        frequency_type=frequency_type,
        frequency=frequency,
        recurring_cycles=body.optional_whole_number(
            "recurringCycles", minimum=RECURRING_CYCLES_MIN, maximum=RECURRING_CYCLES_MAX
        )
        or 0,
        preferred_till_id=body.optional_whole_number("preferredTillId", minimum=-1, maximum=BIGINT_MAX),
        zone=zone,
        offset_days=body.optional_whole_number("offsetDays", minimum=0, maximum=OFFSET_DAYS_MAX) or 0,
        track_from_enrolment=body.boolean("trackFromEnrolment", default=False),
        starts_at=first_at if from_on is None else local_midnight(from_on, zone),
        ends_at=last_at if to_on is None else _day_end(to_on, zone),
        periods=tuple(periods),
        target=_target(_only_target(body), complaints),
        levels=tuple(
            DefinedLevel(
                name=level.optional("name", _text) or default_level_name(level_prefix, number),
                count=level.whole_number("targetCountOfSequence", minimum=1, maximum=INTEGER_MAX),
                rewards=_rewards(level),
            )
            for number, level in enumerate(body.items("streaks", max_count=ITEM_COUNT_MAX), start=1)
        ),
    )


def _refuse_unsupported(body: Fields, complaints: list[Complaint]) -> None:
    body.optional("targetEvaluationType", lambda value: _word(value, Window, UNSUPPORTED_WINDOWS))
    _refuse_unless(body, "active", complaints, wanted=True)
    _refuse_unless(body, "userCreated", complaints, wanted=False)
    if body.boolean("leaderboardEnabled", default=False):
        complaints.append(Complaint.of(Code.LEADERBOARD_NOT_ENABLED))
    _refuse_items(body, "targetAudienceFilter", complaints)


def _explicit(body: Fields) -> bool:
    return body.value("periods") not in (None, [])


def _frequency(body: Fields) -> tuple[Frequency, int]:
    """What periods are generated by; where they are written out it is shown and no more, so it may be absent."""
    if not _explicit(body):
        frequency_type = body.required_choice("frequencyType", Frequency)
        return frequency_type, body.whole_number("frequency", minimum=1, maximum=FREQUENCY_MAX)
    frequency = body.optional_whole_number("frequency", minimum=1, maximum=FREQUENCY_MAX)
    return body.choice("frequencyType", Frequency, default=Frequency.CUSTOM), frequency or 1


def _written_periods(body: Fields, zone: ZoneInfo, complaints: list[Complaint]) -> list[DefinedPeriod]:
    # Not compared with the number of periods: published samples declare one and send two.
    body.optional_whole_number("totalPeriods", minimum=0, maximum=INTEGER_MAX)
    starts_on, ends_on = _day(body, "targetCycleStartDate", zone), _day(body, "targetCycleEndDate", zone)
    if starts_on is not None and ends_on is not None and ends_on < starts_on:
        complaints.append(invalid("targetCycleEndDate", "must not be before targetCycleStartDate"))
    periods = []
    for item in body.items("periods", max_count=EXPLICIT_COUNT_MAX):
        _refuse_unless(item, "active", complaints, wanted=True)
        name = item.required("refCode", _text, "")
        span = Span(name, item.instant("startDate", zone), item.end_after("endDate", zone))
        periods.append(DefinedPeriod(span, item.optional("description", _text)))
    return periods


def _generated_periods(
    body: Fields,
    zone: ZoneInfo,
    complaints: list[Complaint],
    *,
    from_on: date | None,
    frequency_type: Frequency,
    frequency: int,
) -> list[DefinedPeriod]:
    count = body.whole_number("totalPeriods", minimum=1, maximum=GENERATED_COUNT_MAX)
    first_on = _day(body, "targetCycleStartDate", zone) or from_on
    last_on = _day(body, "targetCycleEndDate", zone)
    if first_on is None and body.value("targetCycleStartDate") is None and body.value("fromDate") is None:
        body.fault("targetCycleStartDate", "is required where neither periods nor fromDate are given")
    if first_on is None or body.faults:
        return []
    try:
        spans = generate(first_on, frequency_type, frequency, count, zone)
    except ValueError as error:
        body.fault("totalPeriods", f"must be less: the last period's end {error}")
        return []
    if last_on is not None and spans and spans[-1].ends_at > _day_end(last_on, zone):
        complaints.append(invalid("targetCycleEndDate", "must not be before the last period's end"))
    return [DefinedPeriod(span, None) for span in spans]


def _day(body: Fields, name: str, zone: ZoneInfo) -> date | None:
    """The day that a date-time lies in; these fields are days in every answer."""
    at = body.optional_instant(name, zone)
    return None if at is None else local_day(at, zone)


def _day_end(on: date, zone: ZoneInfo) -> datetime:
    return local_midnight(on + timedelta(days=1), zone)


def _only_target(body: Fields) -> Fields:
    targets = body.items("targets", min_count=1, max_count=ITEM_COUNT_MAX)
    if len(targets) == 1:
        return targets[0]
    # What UNIFIED would bring several of is told at trackingType already.
    if len(targets) > 1 and body.value("trackingType") not in UNSUPPORTED_TRACKING_TYPES:
        body.fault("targets", "must be exactly one")
    return Fields({}, "targets[0]")


def _target(target: Fields, complaints: list[Complaint]) -> DefinedTarget:
    _refuse_unless(target, "active", complaints, wanted=True)
    _refuse_items(target, "filters", complaints)
    _refuse_items(target, "targetMilestoneTriggers", complaints)
    expression = target.value("expression")
    if not (expression is None or expression is True or expression == "true"):
        complaints.append(invalid(target.path("expression"), 'must be "true": other rules are not supported yet'))
    method = target.optional(
        "enrolmentMethod", lambda value: _word(value, EnrolmentMethod, UNSUPPORTED_ENROLMENT_METHODS)
    )
    return DefinedTarget(
        name=target.required("name", _text, ""),
        description=target.optional("description", _text),
        measure=_measure(target, complaints),
        enrolment_method=method or EnrolmentMethod.IMPORT,
        expression_json=_expression_json(target, complaints),
        values=tuple(
            item.thousandths("defaultValue")
            for item in target.items("defaultValues", min_count=1, max_count=VALUE_COUNT_MAX)
        ),
        rewards=_rewards(target),
    )


def _measure(target: Fields, complaints: list[Complaint]) -> Measure:
    entity = target.required("targetEntity", lambda value: _one_of(value, PUBLISHED_TYPES), "")
    type_ = target.required("targetType", lambda value: _one_of(value, ALL_TYPES), "")
    if not entity or not type_:
        return UNREAD_MEASURE
    if entity in OUR_ENTITIES and type_ in MEASURES:
        return _supported_measure(target, Entity(entity), type_, complaints)
    if type_ not in PUBLISHED_TYPES[entity]:
        complaints.append(Complaint.of(Code.ENTITY_AND_TYPE_DO_NOT_FIT))
        return UNREAD_MEASURE
    name, word = ("targetType", type_) if entity in OUR_ENTITIES else ("targetEntity", entity)
    complaints.append(invalid(target.path(name), f"{word} is not supported yet"))
    if (type_ == "EXTENDED_FIELD" or entity == "ALTERNATE_CURRENCIES") and target.value("extendedFieldInfo") is None:
        complaints.append(Complaint.of(Code.MEASURED_FIELD_MISSING))
    return UNREAD_MEASURE


def _supported_measure(target: Fields, entity: Entity, type_: str, complaints: list[Complaint]) -> Measure:
    event_name = target.optional("eventName", _text) or ""
    if entity is Entity.TRANSACTION:
        if event_name not in ("", TRANSACTION_EVENT_NAME):
            rule = f"must be {TRANSACTION_EVENT_NAME} or absent for targetEntity {entity}"
            complaints.append(invalid(target.path("eventName"), rule))
        event_name = TRANSACTION_EVENT_NAME
    attribute = _attribute(target, complaints) if MEASURES[type_].names_attribute else None
    return measure_of(entity, type_, event_name, attribute)


def _attribute(target: Fields, complaints: list[Complaint]) -> str | None:
    """The attribute to add up; None if it was not named."""
    info = target.inner("extendedFieldInfo")
    if info.value("aggregateFunction") not in (None, "SUM"):
        complaints.append(invalid(info.path("aggregateFunction"), "must be SUM: others are not supported yet"))
    if info.value("aggregateWindow") not in (None, {}):
        complaints.append(invalid(info.path("aggregateWindow"), "must be absent: windows are not supported yet"))
    name = info.value("name")
    if name is None or isinstance(name, str):
        return name or None
    # An empty name breaks the definition's rule about attributes' names, which has the published code.
    return ""


def _expression_json(target: Fields, complaints: list[Complaint]) -> str:
    """As it was sent, if it says what "true" says."""
    text = target.value("expressionJson")
    if text is None or text == "":
        return ALWAYS_TRUE
    if isinstance(text, str) and len(text) <= EXPRESSION_LENGTH_MAX and _always_true(text):
        return text
    complaints.append(
        invalid(target.path("expressionJson"), f"must be {ALWAYS_TRUE} as text: other rules are not supported yet")
    )
    return ALWAYS_TRUE


def _always_true(text: str) -> bool:
    try:
        node = decode(text.encode())
    except ValueError:
        return False
    return isinstance(node, dict) and node.get("arity") == "literal" and node.get("value") in ("true", True)


def _rewards(giver: Fields) -> tuple[PromisedReward, ...]:
    return tuple(_reward(item) for item in giver.items("rewards", max_count=ITEM_COUNT_MAX))


def _reward(item: Fields) -> PromisedReward:
    kind = item.required("kind", lambda value: _word(value, RewardKind), None)
    allocation = item.choice("allocation", Allocation, default=Allocation.IMMEDIATE)
    if kind is None:
        # What its value should have been, nobody knows.
        return PromisedReward(RewardKind.CUSTOM, "", allocation)
    value = item.thousandths("value") if kind is RewardKind.POINTS else item.required("value", _text, "")
    return PromisedReward(kind, value, allocation)


def _refuse_unless(fields: Fields, name: str, complaints: list[Complaint], *, wanted: bool) -> None:
    if fields.boolean(name, default=wanted) is not wanted:
        complaints.append(invalid(fields.path(name), f"must be {str(wanted).lower()}: other is not supported yet"))


def _refuse_items(fields: Fields, name: str, complaints: list[Complaint]) -> None:
    if fields.value(name) not in (None, []):
        complaints.append(invalid(fields.path(name), "must be empty: this is not supported yet"))


def _text(value: Json) -> str:
    """Any text; how long it may be is the definition's business."""
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 -- a fault of the request.
    return value


def _word(value: Json, choices: type[Choice], unsupported: frozenset[str] = frozenset()) -> Choice:
    if isinstance(value, str) and value in unsupported:
        raise ValueError(f"{value} is not supported yet")
    return choices(_one_of(value, [choice.value for choice in choices]))


def _one_of(value: Json, words: Collection[str]) -> str:
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"must be one of {', '.join(sorted(words))}")
    return value
