"""Every rule about a definition: both sides of its limit, the code, and the path that the complaint names."""

from dataclasses import replace

import pytest
from tests.definitions import (
    POINTS,
    POINTS_AT_PERIOD_END,
    build_definition,
    build_levels,
    build_measure,
    build_periods,
    build_streak,
    build_target,
    month,
)

from kosminar.core.amount import thousandths_of
from kosminar.core.definition import (
    DefinedLevel,
    DefinedPeriod,
    Definition,
    PromisedReward,
    check,
    default_level_name,
    name_key,
    name_taken,
)
from kosminar.core.errors import Code, Complaint
from kosminar.core.measure.measure import Entity
from kosminar.core.period import Span
from kosminar.core.programme import TrackingType
from kosminar.core.reward import Allocation, RewardKind
from kosminar.core.window.fixed import EXPLICIT_COUNT_MAX


def values(*written: str) -> tuple[int, ...]:
    return tuple(map(thousandths_of, written))


def with_target(**overrides: object) -> Definition:
    return build_definition(target=build_target(**overrides))


def with_measure(**overrides: object) -> Definition:
    return with_target(measure=build_measure(**overrides))


def with_period(index: int, **overrides: object) -> Definition:
    periods = list(build_periods(3))
    periods[index] = DefinedPeriod(periods[index].span._replace(**overrides), None)
    return build_definition(periods=tuple(periods))


def custom(value: str) -> PromisedReward:
    return PromisedReward(RewardKind.CUSTOM, value, Allocation.IMMEDIATE)


def points(value: str) -> PromisedReward:
    return PromisedReward(RewardKind.POINTS, thousandths_of(value), Allocation.IMMEDIATE)


EVENT = {"entity": Entity.EVENT, "type": "COUNT", "event_name": "lapDone"}
ATTRIBUTE = {**EVENT, "type": "EVENT_ATTRIBUTE", "attribute": "minutes"}


@pytest.mark.parametrize(
    "definition",
    [
        build_definition(),
        build_definition(name="n" * 200, description="d" * 255),
        build_definition(name="x"),
        build_definition(starts_at=month(0), ends_at=month(9)),
        build_definition(periods=build_periods(1)),
        build_definition(periods=build_periods(EXPLICIT_COUNT_MAX)),
        build_definition(periods=(build_periods(3)[0], build_periods(3)[2])),
        with_period(1, name="p" * 200),
        with_target(name="n" * 200, description="d" * 255),
        with_target(values=values("1", "2.5", "0.001")),
        with_target(values=values("999999999999.999")),
        with_target(rewards=(POINTS_AT_PERIOD_END, points("0.001"), custom("v"), custom("v" * 200))),
        with_target(rewards=(POINTS,) * 20),
        *(with_measure(type=type_) for type_ in ("GROSS_SALES", "SALES", "COUNT")),
        with_target(measure=build_measure(type="VISIT"), values=values("3.000")),
        with_measure(**EVENT),
        with_measure(**{**EVENT, "type": "VISIT", "event_name": "e" * 100}),
        with_measure(**{**ATTRIBUTE, "attribute": "a" * 100}),
        build_streak(),
        build_streak(tracking_type=TrackingType.NON_CONTINUOUS_STREAKS),
        build_streak(levels=build_levels(*range(1, 11))),
        build_streak(levels=build_levels(12)),
        build_streak(levels=(DefinedLevel("l" * 200, 1, (POINTS,)),), target=build_target(rewards=(POINTS,))),
    ],
)
def test_a_good_definition_brings_no_complaint(definition: Definition) -> None:
    assert check(definition) == []


INVALID = Code.INVALID_INPUT

BAD = {
    "group name blank": (build_definition(name=" "), "name"),
    "group name too long": (build_definition(name="n" * 201), "name"),
    "group description too long": (build_definition(description="d" * 256), "description"),
    "no period": (build_definition(periods=()), "periods"),
    "too many periods": (build_definition(periods=build_periods(EXPLICIT_COUNT_MAX + 1)), "periods"),
    "period name blank": (with_period(1, name=""), "periods[1].refCode"),
    "period name too long": (with_period(1, name="p" * 201), "periods[1].refCode"),
    "period names equal but for case": (with_period(2, name="CYCLE_1"), "periods[2].refCode"),
    "period without length": (with_period(1, ends_at=month(2)), "periods[1].endDate"),
    "period ends before it starts": (with_period(1, ends_at=month(1)), "periods[1].endDate"),
    "periods overlap": (with_period(0, ends_at=month(3)), "periods[1].startDate"),
    "period description too long": (
        build_definition(periods=(DefinedPeriod(Span("P", month(1), month(2)), "d" * 256),)),
        "periods[0].description",
    ),
    "group starts after first period": (build_definition(starts_at=month(2)), "fromDate"),
    "group ends before last period": (build_definition(ends_at=month(3)), "toDate"),
    "target name blank": (with_target(name=""), "targets[0].name"),
    "target description too long": (with_target(description="d" * 256), "targets[0].description"),
    "event without name": (with_measure(**{**EVENT, "event_name": ""}), "targets[0].eventName"),
    "event name blank": (with_measure(**{**EVENT, "event_name": " "}), "targets[0].eventName"),
    "event name too long": (with_measure(**{**EVENT, "event_name": "e" * 101}), "targets[0].eventName"),
    "event named transaction": (with_measure(**{**EVENT, "event_name": "transaction"}), "targets[0].eventName"),
    "no value": (with_target(values=()), "targets[0].defaultValues"),
    "values for some periods": (with_target(values=values("1", "2")), "targets[0].defaultValues"),
    "more values than periods": (with_target(values=values("1", "2", "3", "4")), "targets[0].defaultValues"),
    "value zero": (with_target(values=values("1", "0.000", "3")), "targets[0].defaultValues[1].defaultValue"),
    "value negative": (with_target(values=values("-0.001")), "targets[0].defaultValues[0].defaultValue"),
    "half a purchase": (
        with_target(measure=build_measure(type="COUNT"), values=values("2.5")),
        "targets[0].defaultValues[0].defaultValue",
    ),
    "half a visit": (
        with_target(measure=build_measure(type="VISIT"), values=values("2.001")),
        "targets[0].defaultValues[0].defaultValue",
    ),
    "levels on a milestone": (build_definition(levels=build_levels(1)), "streaks"),
    "no level": (build_streak(levels=()), "streaks"),
    "eleven levels": (build_streak(levels=build_levels(*range(1, 12))), "streaks"),
    "level above the number of periods": (
        build_streak(levels=build_levels(4, 13)),
        "streaks[1].targetCountOfSequence",
    ),
    "level of nothing": (build_streak(levels=build_levels(0, 1)), "streaks[0].targetCountOfSequence"),
    "levels descend": (build_streak(levels=build_levels(8, 4)), "streaks[1].targetCountOfSequence"),
    "levels equal": (build_streak(levels=build_levels(4, 4)), "streaks[1].targetCountOfSequence"),
    "level names equal but for case": (
        build_streak(levels=(DefinedLevel("Straße", 1, ()), DefinedLevel("STRASSE", 2, ()))),
        "streaks[1].name",
    ),
    "level name blank": (build_streak(levels=(DefinedLevel("", 1, ()),)), "streaks[0].name"),
    "level name too long": (build_streak(levels=(DefinedLevel("l" * 201, 1, ()),)), "streaks[0].name"),
    "too many rewards": (with_target(rewards=(POINTS,) * 21), "targets[0].rewards"),
    "no points": (with_target(rewards=(points("0.000"),)), "targets[0].rewards[0].value"),
    "reward text empty": (with_target(rewards=(POINTS, custom(""))), "targets[0].rewards[1].value"),
    "reward text too long": (with_target(rewards=(custom("v" * 201),)), "targets[0].rewards[0].value"),
    "period end on a streak's target": (
        build_streak(target=build_target(rewards=(POINTS_AT_PERIOD_END,))),
        "targets[0].rewards[0].allocation",
    ),
    "period end on a level": (
        build_streak(levels=(DefinedLevel("L", 1, (POINTS, POINTS_AT_PERIOD_END)),)),
        "streaks[0].rewards[1].allocation",
    ),
}


@pytest.mark.parametrize(("definition", "path"), BAD.values(), ids=BAD.keys())
def test_a_broken_rule_is_one_complaint_that_names_the_field(definition: Definition, path: str) -> None:
    complaints = check(definition)

    assert [(c.code, c.message.partition(": ")[0]) for c in complaints] == [(INVALID, path)]


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        (with_target(name="n" * 201), Code.TARGET_NAME_TOO_LONG),
        (with_measure(type="EVENT_ATTRIBUTE", attribute="minutes"), Code.ENTITY_AND_TYPE_DO_NOT_FIT),
        (with_measure(**{**EVENT, "type": "SALES"}), Code.ENTITY_AND_TYPE_DO_NOT_FIT),
        (with_measure(**{**ATTRIBUTE, "attribute": None}), Code.MEASURED_FIELD_MISSING),
        (with_measure(**{**ATTRIBUTE, "attribute": ""}), Code.UNKNOWN_EXTENDED_FIELD),
        (with_measure(**{**ATTRIBUTE, "attribute": "a" * 101}), Code.UNKNOWN_EXTENDED_FIELD),
    ],
)
def test_what_has_a_published_code_is_told_by_it(definition: Definition, code: Code) -> None:
    assert check(definition) == [Complaint.of(code)]


def test_everything_wrong_is_told_at_once_ascending_by_code() -> None:
    definition = build_streak(
        name="",
        starts_at=month(2),
        target=build_target(name="n" * 201, values=values("0"), rewards=(POINTS_AT_PERIOD_END,)),
        levels=build_levels(*range(4, 15)),
    )

    codes_and_paths = [(int(c.code), c.message.partition(": ")[0]) for c in check(definition)]

    assert codes_and_paths == [
        (300004, "name"),
        (300004, "fromDate"),
        (300004, "targets[0].defaultValues[0].defaultValue"),
        (300004, "streaks"),
        (300004, "streaks[9].targetCountOfSequence"),
        (300004, "streaks[10].targetCountOfSequence"),
        (300004, "targets[0].rewards[0].allocation"),
        (310008, "Length of Target rule name cannot exceed 200"),
    ]


def test_disordered_periods_are_told_and_the_group_still_compared_with_the_earliest() -> None:
    first, second, third = build_periods(3)
    definition = build_definition(periods=(second, first, third))

    assert [c.message.partition(": ")[0] for c in check(definition)] == ["periods[1].startDate"]
    assert len(check(replace(definition, starts_at=month(2)))) == 2


def test_one_value_serves_all_periods() -> None:
    assert build_target(values=values("5")).value_of(3) == 5_000
    assert build_target(values=values("5", "6", "7")).value_of(3) == 7_000


def test_names_that_differ_in_case_only_are_one_name() -> None:
    assert name_key("Straße") == name_key("STRASSE")
    assert name_key("ΣΊΣΥΦΟΣ") == name_key("σίσυφος")
    assert name_key("Spring") != name_key("Spring ")


def test_an_unnamed_level_is_named_after_its_streak() -> None:
    assert default_level_name("Autumn laps", 2) == "Autumn laps_2"


def test_a_taken_name_has_one_code_whether_group_or_target() -> None:
    assert name_taken("name") == Complaint.of(Code.NAME_TAKEN)
    assert name_taken("targets[0].name").code == Code.NAME_TAKEN
    assert name_taken("targets[0].name").message != name_taken("name").message
