"""The document of a definition: it comes back as it was, and whatever is none is refused with its place."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count, pairwise
from typing import Any

import msgspec
import pytest
from tests.definitions import month
from tests.store.test_programmes import MILESTONE, STREAK

from kosminar.core.definition import DefinedPeriod, Definition
from kosminar.core.period import Span
from kosminar.store.definitions import ID_LIMIT, Document, decode, definition_of, document_of, encode, id_count

Edit = Callable[[dict[str, Any]], None]


def tree_of(definition: Definition) -> dict[str, Any]:
    return json.loads(encode(document_of(definition, count(1))))


def text_of(tree: dict[str, Any]) -> str:
    return json.dumps(tree)


def put(path: str, value: object) -> Edit:
    """Sets one field of the tree; `path` is as in `targets.0.name`."""

    def edit(tree: Any) -> None:
        *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
        for step in way:
            tree = tree[step]
        tree[last] = value

    return edit


@pytest.mark.parametrize("definition", [MILESTONE, STREAK], ids=["milestone", "streak"])
def test_what_is_written_is_read_again(definition: Definition) -> None:
    document = document_of(definition, count(1))

    assert decode(encode(document)) == document
    assert document_of(definition_of(document), count(1)) == document


def test_a_definition_of_a_thousand_periods_stays_below_150_kilobytes() -> None:
    days = [month(1) + timedelta(days=n) for n in range(1_001)]
    periods = tuple(
        DefinedPeriod(Span(f"Cycle_{n}", *bounds), None) for n, bounds in enumerate(pairwise(days), start=1)
    )
    target = replace(STREAK.target, values=(1_000,))
    definition = replace(STREAK, periods=periods, starts_at=days[0], ends_at=days[-1], target=target)

    assert len(encode(document_of(definition, count(1)))) < 150_000


@pytest.mark.parametrize("definition", [MILESTONE, STREAK], ids=["milestone", "streak"])
def test_it_takes_as_many_ids_as_are_counted_and_each_once(definition: Definition) -> None:
    ids = list(document_of(definition, count(2)).ids())

    assert ids == list(range(2, id_count(definition) + 1))


POINTS = {
    "reward_definition_id": 99,
    "kind": "POINTS",
    "points_thousandths": 1,
    "text": None,
    "allocation": "IMMEDIATE",
}
BADGE = {**POINTS, "kind": "BADGE", "points_thousandths": None, "text": "x"}

# The last that is taken, the first that is not, and what is said. The first column of docs/decisions/0042 names them.
BOUNDS: list[tuple[str, object, object, str]] = [
    ("name", "n" * 200, "n" * 201, "$.name"),
    ("name", "n", "", "$.name"),
    ("description", "d" * 255, "d" * 256, "$.description"),
    ("tracking_type", "NON_CONTINUOUS_STREAKS", "CAPPING", "$.tracking_type"),
    ("zone", "Europe/Berlin", "Europe/Atlantis", "$.zone"),
    ("preferred_till_id", 2**63 - 1, 2**63, "$.preferred_till_id"),
    ("window.type", "FIXED_CALENDAR_WINDOW", "CYCLIC_WINDOW", "$.window.type"),
    ("window.frequency_type", "HALF_YEARLY", "HOURLY", "$.window.frequency_type"),
    ("window.frequency", 1, 0, "$.window.frequency"),
    ("window.recurring_cycles", -1, "1", "$.window.recurring_cycles"),
    ("window.offset_days", 366, 367, "$.window.offset_days"),
    ("window.offset_days", 0, -1, "$.window.offset_days"),
    ("window.starts_at", "2031-01-01T00:00:00Z", "2031-01-01T00:00:00.000001Z", "$.window.periods"),
    ("window.ends_at", "2032-01-01T00:00:00Z", "2031-12-31T23:59:59Z", "$.window.periods"),
    ("window.ends_at", "2032-01-01T00:00:00Z", "2031-01-01T00:00:00Z", "$.window.ends_at"),
    ("window.periods.0.name", "n" * 200, "n" * 201, "$.window.periods[0].name"),
    ("window.periods.0.name", "cycle_13", "cycle_2", "$.window.periods"),
    ("window.periods.0.description", "d" * 255, "d" * 256, "$.window.periods[0].description"),
    ("window.periods.0.ends_at", "2031-01-01T00:00:00.000001Z", "2031-01-01T00:00:00Z", "$.window.periods[0].ends_at"),
    ("window.periods.0.due_at", "2031-02-01T00:00:00Z", "2031-01-31T23:59:59Z", "$.window.periods[0].due_at"),
    ("window.periods.1.starts_at", "2031-02-01T00:00:00Z", "2031-01-31T23:59:59Z", "$.window.periods[1].starts_at"),
    ("window.periods.1.starts_at", "2031-02-01T00:00:00Z", "2031-02-01T00:00:00", "$.window.periods[1].starts_at"),
    ("targets.0.target_id", ID_LIMIT - 1, ID_LIMIT, "$.targets[0].target_id"),
    ("targets.0.target_id", 77, 0, "$.targets[0].target_id"),
    ("targets.0.target_id", 77, 3, "$.targets"),
    ("targets.0.name", "n" * 200, "n" * 201, "$.targets[0].name"),
    ("targets.0.description", "d" * 255, "d" * 256, "$.targets[0].description"),
    ("targets.0.measure.entity", "EVENT", "WEATHER", "$.targets[0].measure.entity"),
    ("targets.0.measure.entity", "EVENT", "TRANSACTION", "$.targets[0].measure.entity"),
    ("targets.0.measure.type", "EVENT_ATTRIBUTE", "COUNT", "$.targets[0].measure.attribute"),
    ("targets.0.measure.type", "EVENT_ATTRIBUTE", "MOOD", "$.targets[0].measure.type"),
    ("targets.0.measure.event_name", "e" * 100, "e" * 101, "$.targets[0].measure.event_name"),
    ("targets.0.measure.attribute", "a" * 100, "a" * 101, "$.targets[0].measure.attribute"),
    ("targets.0.measure.attribute", "a", None, "$.targets[0].measure.attribute"),
    ("targets.0.enrolment_method", "IMPORT", "EXPORT", "$.targets[0].enrolment_method"),
    ("targets.0.values_thousandths", [1] * 12, [1] * 11, "$.targets[0].values_thousandths"),
    ("targets.0.values_thousandths", [10**15 - 1] * 12, [10**15] * 12, "$.targets[0].values_thousandths[0]"),
    ("targets.0.values_thousandths", [1] * 12, [0] * 12, "$.targets[0].values_thousandths[0]"),
    ("targets.0.rewards", [POINTS], [{**POINTS, "kind": "MONEY"}], "$.targets[0].rewards[0].kind"),
    ("targets.0.rewards", [POINTS], [{**POINTS, "kind": "BADGE"}], "$.targets[0].rewards[0]"),
    ("targets.0.rewards", [BADGE], [{**BADGE, "kind": "POINTS"}], "$.targets[0].rewards[0]"),
    ("targets.0.rewards", [POINTS], [{**POINTS, "text": "x"}], "$.targets[0].rewards[0]"),
    ("targets.0.rewards", [BADGE], [{**BADGE, "text": "t" * 201}], "$.targets[0].rewards[0].text"),
    ("targets.0.rewards", [POINTS], [{**POINTS, "points_thousandths": 0}], "$.targets[0].rewards[0]"),
    ("targets.0.rewards", [POINTS], [{**POINTS, "allocation": "LATER"}], "$.targets[0].rewards[0].allocation"),
    ("levels.0.name", "n" * 200, "n" * 201, "$.levels[0].name"),
    ("levels.0.name", "other", "SECOND", "$.levels"),
    ("levels.0.count", 1, 0, "$.levels[0].count"),
    ("levels.1.count", 5, 4, "$.levels[1].count"),
    ("levels.0.rewards", [POINTS], [{**POINTS, "allocation": "PERIOD_END"}], "$.levels[0].rewards"),
    ("targets", None, [], "$.targets"),
    ("levels", [], [None] * 11, "$.levels"),
    ("window.periods", None, [], "$.window.periods"),
]


@pytest.mark.parametrize(("path", "within", "beyond", "place"), BOUNDS, ids=lambda value: str(value)[:30])
def test_a_document_is_taken_up_to_its_bounds_and_not_beyond(
    path: str, within: object, beyond: object, place: str
) -> None:
    tree = tree_of(STREAK)
    if within is not None:
        put(path, within)(tree)
        decode(text_of(tree))
    put(path, beyond)(tree)

    with pytest.raises(ValueError) as refused:
        decode(text_of(tree))

    assert f"at `{place}" in str(refused.value)


def test_a_milestone_has_no_levels() -> None:
    tree = tree_of(STREAK)
    tree["tracking_type"] = "DEFAULT"

    with pytest.raises(ValueError, match=r"absent from a milestone - at `\$\.levels`"):
        decode(text_of(tree))


def places(tree: Any, path: str = "") -> Iterator[str]:
    """Every field of the tree, by its path."""
    fields = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, value in fields:
        if isinstance(tree, dict):
            yield f"{path}{name}"
        yield from places(value, f"{path}{name}.")


def test_no_field_may_be_missing_and_none_may_be_added_anywhere() -> None:
    paths = list(places(tree_of(STREAK)))
    assert {path.split(".")[-1] for path in paths} == set(every_field())

    for path in paths:
        for spoil in (lambda part, name: part.pop(name), lambda part, name: part.update({f"{name}_too": 1})):
            tree = part = tree_of(STREAK)
            *way, last = path.split(".")
            for step in way:
                part = part[int(step) if step.isdigit() else step]
            spoil(part, last)
            with pytest.raises(ValueError, match="field"):
                decode(text_of(tree))


def every_field(of: type[msgspec.Struct] = Document) -> Iterator[str]:
    """The names of all fields, found by walking the declared types."""
    for field in msgspec.structs.fields(of):
        yield field.name
        part = struct_within(msgspec.inspect.type_info(field.type))
        if part is not None:
            yield from every_field(part)


def struct_within(info: msgspec.inspect.Type) -> type[msgspec.Struct] | None:
    match info:
        case msgspec.inspect.StructType():
            return info.cls
        case msgspec.inspect.VarTupleType():
            return struct_within(info.item_type)
        case msgspec.inspect.Metadata():
            return struct_within(info.type)
        case _:
            return None


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"name": 1}', "\ufeff{}"])
def test_rubbish_is_refused_as_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)
