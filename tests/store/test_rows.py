"""A standing's rows: what is written is read again, what cannot be a standing is refused, and a document stays small."""

import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.definitions import POINTS_AT_PERIOD_END, month
from tests.engine.brand import BEFORE, found, milestone, streak

from kosminar.core import number_set
from kosminar.core.programme import Programme
from kosminar.core.standing import Method, Progress, Run, Standing, Stretch, TargetStanding
from kosminar.store.rows import (
    EndedKey,
    StandingDamaged,
    StandingRow,
    read_set,
    rows_of,
    standing_of,
    written_set,
)

IN = Stretch(Method.EXPLICIT, BEFORE, None, 1)


async def programme_of(house, definition) -> Programme:
    brand = await found(house.pool, "acme", [definition])
    (programme,) = brand.programmes.values()
    return programme


def standing(programme: Programme, part: TargetStanding) -> Standing:
    return programme.standing_of((part,))


# ---------------------------------------------------------------- sets of numbers


@given(st.sets(st.integers(min_value=0, max_value=1_000)))
def test_a_set_of_numbers_is_read_as_it_was_written(numbers: set[int]) -> None:
    assert set(number_set.numbers_in(read_set(written_set(number_set.of(numbers))))) == numbers


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([1], "1"), ([1, 2, 3], "1-3"), ([2, 4, 5], "2 4-5"), (range(1, 1_001), "1-1000")],
)
def test_few_ranges_are_written_so_that_a_person_can_read_them(numbers, text) -> None:
    assert written_set(number_set.of(numbers)) == text


@given(st.sets(st.integers(min_value=1, max_value=1_000)))
def test_a_thousand_numbers_in_any_pattern_take_less_than_two_hundred_characters(numbers: set[int]) -> None:
    assert len(written_set(number_set.of(numbers))) < 200


@pytest.mark.parametrize("text", ["1-", "a", "3-1", "1  2", "1 1", "=", "=AB", "2 1", "-1", "01"])
def test_other_text_is_no_set_of_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_set(text)


# ---------------------------------------------------------------- where progress lies


@pytest.mark.asyncio
@pytest.mark.parametrize(("at", "leaves"), [(month(2) - timedelta(microseconds=1), False), (month(2), True)])
async def test_a_period_leaves_when_it_has_ended_and_a_later_one_has_progress(house, at, leaves) -> None:
    programme = await programme_of(house, milestone("Lone", POINTS_AT_PERIOD_END))
    first, second = Progress(1, 1, 5_000), Progress(2, 1, 7_000)

    alone, none = rows_of(programme, standing(programme, TargetStanding((IN,), (first,))), month(3))
    row, ended = rows_of(programme, standing(programme, TargetStanding((IN,), (first, second))), at)

    assert none == []
    assert (alone.period_number, alone.value_thousandths) == (1, 5_000)
    assert (row.period_number, row.value_thousandths) == (2, 7_000)
    assert [one.period_number for one in ended] == ([1] if leaves else [])
    assert standing_of(programme, row, ended).targets[0].progress == (first, second)


@pytest.mark.asyncio
async def test_what_lies_in_a_row_of_its_own_stays_there_whatever_the_instant(house) -> None:
    programme = await programme_of(house, milestone("Lone"))
    part = TargetStanding((IN,), (Progress(1, 1, 5_000), Progress(2, 1, 7_000)))

    row, ended = rows_of(programme, standing(programme, part), BEFORE, {EndedKey(programme.targets[0].target_id, 1, 1)})

    assert [one.value_thousandths for one in ended] == [5_000]
    assert "progress" not in row.document


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("part", "enrolled", "left_at"),
    [
        (TargetStanding((IN,)), True, None),
        (TargetStanding((Stretch(Method.EXPLICIT, BEFORE, month(2), 1),)), False, month(2)),
        (TargetStanding((Stretch(Method.EXPLICIT, BEFORE, month(2), 1), IN)), True, None),
        (TargetStanding((Stretch(Method.OPT_OUT, BEFORE, BEFORE, 1),)), False, BEFORE),
    ],
)
async def test_a_row_says_who_is_in_and_when_the_others_left(house, part, enrolled, left_at) -> None:
    programme = await programme_of(house, milestone("Lone"))

    row, _ = rows_of(programme, standing(programme, part), month(3))

    assert (row.enrolled, row.left_at) == (enrolled, left_at)


# ---------------------------------------------------------------- likeness


@pytest.mark.asyncio
async def test_values_and_instants_make_no_one_unlike_and_everything_else_does(house) -> None:
    programme = await programme_of(house, milestone("Lone", POINTS_AT_PERIOD_END))

    def likeness(*progress: Progress, stretches: tuple[Stretch, ...] = (IN,)) -> int | None:
        return rows_of(programme, standing(programme, TargetStanding(stretches, progress)), month(2))[0].likeness

    achieved = {"achieved_at": month(1), "achieved_recorded_at": month(1)}
    usual = likeness(Progress(1, 1, 100_000, **achieved))
    later = {"achieved_at": month(1) + timedelta(days=9), "achieved_recorded_at": month(1) + timedelta(days=9)}

    assert usual is not None
    assert likeness(Progress(1, 1, 250_000, **later)) == usual
    assert (
        likeness(Progress(1, 1, 250_000, **later), stretches=(Stretch(Method.AUTOMATIC, month(1), None, 1),)) == usual
    )
    others = [
        likeness(Progress(2, 1, 100_000, **achieved)),
        likeness(Progress(1, 1, 100_000, **achieved, rewarded=True)),
        likeness(Progress(1, 1, 100_000, **achieved, forfeited=True)),
        likeness(Progress(1, 1, 100_000, **achieved), stretches=(Stretch(Method.EXPLICIT, BEFORE, None, 2),)),
        likeness(Progress(1, 1, 100_000, **achieved), Progress(2, 1, 1)),
        likeness(Progress(1, 1, 100_000, **achieved), Progress(2, 1, 100_000, **achieved)),
    ]
    assert None not in others
    assert len({usual, *others}) == 1 + len(others)


@pytest.mark.asyncio
async def test_who_is_out_or_came_back_or_has_something_in_the_document_is_like_no_one(house) -> None:
    programme = await programme_of(house, milestone("Lone", POINTS_AT_PERIOD_END))
    progress = Progress(1, 1, 100_000, month(1), month(1))
    out = Stretch(Method.EXPLICIT, BEFORE, month(1), 1)

    for part, at in (
        (TargetStanding((out,), (progress,)), month(1)),
        (TargetStanding((out, IN), (progress,)), month(1)),
        (TargetStanding((IN,), (progress, Progress(3, 1, 0))), month(1)),
    ):
        assert rows_of(programme, standing(programme, part), at)[0].likeness is None


# ---------------------------------------------------------------- limits


@pytest.mark.asyncio
@pytest.mark.parametrize("pattern", [1, 2, 3, 7])
async def test_a_streak_of_a_thousand_periods_and_ten_levels_is_below_a_thousand_characters(house, pattern) -> None:
    programme = await programme_of(house, streak("Chain", *range(2, 12)))
    met = number_set.of(range(1, 1_001, pattern))
    reached = tuple(8_796_093_022_207 - number for number in range(10, 0, -1))
    run = Run(1, None, None, met, reached, 999)

    row, _ = rows_of(programme, Standing((TargetStanding((IN,), (), (run,)),), 1), month(1))

    assert len(row.document) < 1_000
    assert standing_of(programme, row).targets[0].runs == (run,)


@pytest.mark.asyncio
async def test_days_of_a_year_in_any_pattern_are_short(house) -> None:
    programme = await programme_of(house, milestone("Lone"))
    days = tuple((month(1) + timedelta(days=2 * number)).date() for number in range(183))
    part = TargetStanding((IN,), (Progress(1, 1, 183_000, month(1), month(1), days),))

    row, _ = rows_of(programme, standing(programme, part), month(1))

    assert len(row.document) < 250
    assert standing_of(programme, row).targets[0] == part


# ---------------------------------------------------------------- what is no standing


def damaged(programme: Programme, part: dict[str, Any], **columns: Any) -> StandingRow:
    row, _ = rows_of(programme, standing(programme, TargetStanding((IN,), (Progress(2, 1, 1_000),))), month(2))
    document = {str(programme.targets[0].target_id): part}
    return row._replace(document=json.dumps(document), **columns)


AT = month(1).isoformat()
LATER = month(2).isoformat()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "part",
    [
        {"stretches": [["bought", AT, None, 1]]},
        {"stretches": [["explicit", AT, None, 0]]},
        {"stretches": [["explicit", LATER, AT, 1]]},
        {"stretches": [["opt_out", AT, LATER, 1]]},
        {"stretches": [["explicit", AT, None, 1], ["explicit", LATER, None, 1]]},
        {"progress": [[2, 1, 5]]},
        {"progress": [[3, 1, 5]]},
        {"progress": [[1, 1, "5"]]},
        {"progress": [[1, 1, 5.5]]},
        {"runs": [[1, AT, None, "", [], 0]]},
        {"runs": [[2, None, None, "", [], 0]]},
        {"runs": [[1, None, None, "3-1", [], 0]]},
        {"days": ["2031-01-01", "a"]},
        {"period": 1},
    ],
)
async def test_a_document_that_is_no_standing_is_refused(house, part) -> None:
    programme = await programme_of(house, streak("Chain", 2) if "runs" in part else milestone("Lone"))

    with pytest.raises(StandingDamaged):
        standing_of(programme, damaged(programme, part))


@pytest.mark.asyncio
async def test_a_document_of_another_groups_target_or_of_no_json_is_refused(house) -> None:
    programme = await programme_of(house, milestone("Lone"))
    row = damaged(programme, {})

    for document in ('{"999": {}}', "{}{", "[]", '{"a": {}}'):
        with pytest.raises(StandingDamaged):
            standing_of(programme, row._replace(document=document))
    with pytest.raises(StandingDamaged):
        standing_of(programme, row._replace(document="{}", run=None))
    nothing = {"period_number": None, "run": None, "value_thousandths": None}
    dayless = damaged(programme, {"days": ["2031-01-01", "0"]}, **nothing)
    with pytest.raises(StandingDamaged):
        standing_of(programme, dayless)


CHECKS = [
    ("standing", "value_thousandths = -1"),
    ("standing", "value_thousandths = 1000000000000000"),
    ("standing", "target_value_thousandths = 0"),
    ("standing", "value_thousandths = target_value_thousandths - 1"),
    ("standing", "achieved_recorded_at = NULL"),
    ("standing", "run = NULL"),
    ("standing", "period_number = 0"),
    ("standing", "left_at = now()"),
    ("standing", "version = 0"),
    ("standing", "wakes_at = NULL"),
    ("standing", "period_number = NULL, run = NULL, value_thousandths = NULL, target_value_thousandths = NULL"),
    ("ended_period", "value_thousandths = -1"),
    ("ended_period", "value_thousandths = 1000000000000000"),
    ("ended_period", "target_value_thousandths = 0"),
    ("ended_period", "value_thousandths = target_value_thousandths - 1"),
    ("ended_period", "achieved_at = NULL"),
    ("ended_period", "settled = true, awaits_end = true"),
    ("ended_period", "period_number = 0"),
    ("ended_period", "run = 0"),
]


@pytest.mark.asyncio
async def test_the_database_refuses_what_its_columns_cannot_say(house) -> None:
    brand = await found(
        house.pool, "acme", [milestone("Lone", POINTS_AT_PERIOD_END, offset_days=40)], customer_ids=(1,)
    )
    for at, request in (
        (month(1), brand.enrol(1, "Lone")),
        (month(1) + timedelta(days=1), brand.buy(1, "january", month(1))),
        (month(2) + timedelta(days=1), brand.buy(1, "february", month(2))),
    ):
        await house.closer.advance(brand.organisation_id, at)
        await house.writer.submit_one(request)

    for table, change in CHECKS:
        with pytest.raises(asyncpg.CheckViolationError):
            await house.pool.execute(f"UPDATE {table} SET {change}")
        # The row is there: what is allowed goes through.
        assert await house.pool.execute(f"UPDATE {table} SET rewarded = rewarded") == "UPDATE 1"
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await house.pool.execute("UPDATE standing SET document = '{'")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await house.pool.execute("DELETE FROM standing")
    with pytest.raises(asyncpg.UniqueViolationError):
        await house.pool.execute("INSERT INTO standing SELECT * FROM standing")
    with pytest.raises(asyncpg.UniqueViolationError):
        await house.pool.execute("INSERT INTO ended_period SELECT * FROM ended_period")
