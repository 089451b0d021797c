"""Generations and event ids as the audit sees them; the rest of notifications is in test_auditor.py."""

from datetime import UTC, datetime, timedelta

import pytest

from kosminar.core.event import event_id
from kosminar.engine.difference import Telling
from kosminar.engine.recount_notifications import of_notifications
from kosminar.store.recount import CustomerRow, NotificationRow, OrganisationState

AT = datetime(2031, 2, 1, tzinfo=UTC)
SECOND, THIRD, UNKNOWN = 28_000_000_000_000, 29_000_000_000_000, 28_500_000_000_000
STATE = OrganisationState(
    test_clock=True,
    clock_at=AT,
    settled_at=AT,
    settled_version=0,
    definitions_version=1,
    generations=[0, THIRD, SECOND],
)


def notifications(*generations: int, **overrides: object) -> list[NotificationRow]:
    """One of each generation; what differs is said of the last one."""
    rows = [
        NotificationRow(number, one, event_id(1, 501, one, number), "targetValueAchieved", 3, None, None, AT)
        for number, one in enumerate(generations, start=1)
    ]
    return [*rows[:-1], rows[-1]._replace(**overrides)]


def found(rows: list[NotificationRow]) -> list[tuple[str, object, object]]:
    customer = CustomerRow(1, 501, 0, len(rows), AT, AT - timedelta(days=1), None, None, None)
    differences = of_notifications(Telling({}, customer), STATE, rows, {})
    return [(one.what, one.expected, one.found) for one in differences]


def test_generations_that_follow_each_other_are_right() -> None:
    assert found(notifications(0, 0, SECOND, THIRD, THIRD)) == []


@pytest.mark.parametrize("generation", [UNKNOWN, THIRD + 1, 1])
def test_a_generation_that_never_began_is_found(generation: int) -> None:
    assert found(notifications(0, generation)) == [
        (
            "notification 2 (targetValueAchieved)",
            {"generation": f"one of [0, {SECOND}, {THIRD}]"},
            {"generation": generation},
        )
    ]


def test_a_generation_that_goes_back_is_found() -> None:
    assert found(notifications(0, THIRD, SECOND)) == [
        ("notification 3 (targetValueAchieved)", {"generation": f"one of [{THIRD}]"}, {"generation": SECOND})
    ]


@pytest.mark.parametrize("sent", ["1-501-2", f"1-501-{SECOND}-3", f"1-502-{SECOND}-2", None])
def test_an_event_id_that_is_not_the_rows_own_is_found(sent: str | None) -> None:
    rows = notifications(0, SECOND, event_id=sent)

    assert found(rows) == [
        ("notification 2 (targetValueAchieved)", {"event_id": f"1-501-{SECOND}-2"}, {"event_id": sent})
    ]
