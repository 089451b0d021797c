"""Definitions as large as a body: what they would make of it is bounded before it is made."""

import json
from typing import Any
from zoneinfo import ZoneInfo

from tests.bodies import STREAK, streak

from kosminar.api.compat.definitions import ALWAYS_TRUE, EXPRESSION_LENGTH_MAX, ITEM_COUNT_MAX, read_definition
from kosminar.core.decoder import Fields, decode
from kosminar.core.definition import Definition
from kosminar.core.errors import Complaint

UTC = ZoneInfo("UTC")
LEVEL = {"targetCountOfSequence": 1}


def read(body: dict[str, Any]) -> tuple[Definition, list[Complaint]]:
    return read_definition(Fields.of(decode(json.dumps(body).encode())), UTC)


def messages(body: dict[str, Any]) -> list[str]:
    _, complaints = read(body)
    return [complaint.message for complaint in complaints]


def test_levels_without_a_name_do_not_each_repeat_a_name_of_megabytes() -> None:
    body = streak(name="x" * 4_000_000, streaks=[LEVEL] * ITEM_COUNT_MAX)

    definition, complaints = read(body)

    assert complaints[0].message == "name: must be text of 1 to 200 characters"
    assert sum(len(level.name) for level in definition.levels) < 300 * ITEM_COUNT_MAX


def test_far_too_many_levels_or_rewards_are_refused_unread() -> None:
    reward = {"kind": "BADGE", "value": "b"}

    assert "streaks: must be 1 to 10 levels" in messages(streak(streaks=[LEVEL] * ITEM_COUNT_MAX))
    assert messages(streak(streaks=[LEVEL] * (ITEM_COUNT_MAX + 1))) == ["streaks: must be an array of 0 to 50 objects"]
    for count, message in (
        (ITEM_COUNT_MAX, "must be at most 20 rewards"),
        (ITEM_COUNT_MAX + 1, "must be an array of 0 to 50 objects"),
    ):
        level = {**LEVEL, "rewards": [reward] * count}
        assert messages(streak(streaks=[level])) == [f"streaks[0].rewards: {message}"]


def test_an_expression_that_says_no_more_than_true_has_a_length() -> None:
    longest = ALWAYS_TRUE.ljust(EXPRESSION_LENGTH_MAX)

    assert messages(with_expression(longest)) == []
    assert messages(with_expression(longest + " ")) == [
        f"targets[0].expressionJson: must be {ALWAYS_TRUE} as text: other rules are not supported yet"
    ]


def with_expression(text: str) -> dict[str, Any]:
    return streak(targets=[{**STREAK["targets"][0], "expressionJson": text}])
