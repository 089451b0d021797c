"""Facts as text: what is written is read again, field by field, and nothing else is taken for facts."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args, get_type_hints

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields
from tests.unfolded import UNFOLDED

from kosminar.core.decide import Judgement, Reason
from kosminar.core.fact import (
    Achieved,
    Enrolled,
    Fact,
    FactName,
    PeriodEnded,
    Progressed,
    RewardFailed,
    RewardIssued,
    RewardReversed,
)
from kosminar.store import facts

REPORTED = (RewardIssued, RewardFailed, RewardReversed)
SAID = 'given by \x01 mistake, "twice"\n\\'
AT = datetime(2031, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

INTEGERS = st.integers(0, 2**53)
INSTANTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
OF_HINT: dict[Any, st.SearchStrategy[Any]] = {
    int: INTEGERS,
    bool: st.booleans(),
    datetime: INSTANTS,
    int | None: st.none() | INTEGERS,
    date | None: st.none() | st.dates(),
    str | None: st.none() | TEXTS,
}


def facts_of(type_: type[Fact]) -> st.SearchStrategy[Fact]:
    """Any value in every field that the type declares; of a report the reason that is kept apart."""
    hints = get_type_hints(type_)
    values = {field.name: OF_HINT[hints[field.name]] for field in fields(type_)}
    if type_ in REPORTED:
        values["reason"] = st.just(SAID)
    return st.builds(type_, **values)


ANY_FACT: st.SearchStrategy[Fact] = st.one_of([facts_of(type_) for type_ in get_args(Fact)])


@given(st.lists(ANY_FACT, max_size=6))
def test_what_is_written_is_read_again(happened: list[Fact]) -> None:
    assert list(facts.read(facts.write(happened), reason=SAID)) == happened


def test_there_is_a_shape_for_every_published_name_and_no_other() -> None:
    assert {type_.name for type_ in get_args(Fact)} == set(FactName)
    assert len(get_args(Fact)) == len(FactName)


def test_an_instant_stands_once_before_the_facts_that_happened_at_it() -> None:
    happened = [
        Enrolled(AT, 7, 1, AT, automatic=True),
        Progressed(AT, 7, 1, 1, 250_000, 250_000),
        PeriodEnded(AT + timedelta(days=1), 7, 1, 250_000),
        Achieved(AT, 7, 2, 1, 100_000, AT),
    ]

    assert json.loads(facts.write(happened)) == [
        "2031-01-02T03:04:05.000006Z",
        ["enrolled", 7, 1, "2031-01-02T03:04:05.000006Z", True],
        ["progressed", 7, 1, 1, 250_000, 250_000, None],
        "2031-01-03T03:04:05.000006Z",
        ["period_ended", 7, 1, 250_000],
        "2031-01-02T03:04:05.000006Z",
        ["achieved", 7, 2, 1, 100_000, "2031-01-02T03:04:05.000006Z"],
    ]


@pytest.mark.parametrize("type_", REPORTED)
def test_what_a_person_said_of_a_reward_is_not_in_the_text(type_: type[RewardFailed]) -> None:
    fact = type_(AT, 7, 1, 3, 1, None, 5_000, "given by mistake")

    text = facts.write([fact])

    assert "mistake" not in text
    assert list(facts.read(text, reason="given by mistake")) == [fact]


def test_the_value_of_a_period_that_ended_is_left_open_for_each_of_many() -> None:
    ended = PeriodEnded(AT, 7, 1, 0)

    text = facts.write_for_many([ended])

    assert list(facts.read(text.replace(facts.OWN_VALUE, "123456"), reason=None)) == [PeriodEnded(AT, 7, 1, 123_456)]


INSTANT = '"2031-01-02T03:04:05Z"'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "null",
        "[1]",
        "[[]]",
        f"[{INSTANT},[]]",
        f"[{INSTANT},[[],7]]",
        f'[{INSTANT},["unheard_of",7]]',
        # Without an instant, or one that has no zone or is none.
        '[["opted_out",7]]',
        '["2031-01-02T03:04:05",["opted_out",7]]',
        '["2031-01-02",["opted_out",7]]',
        # A field too few, one too many, and each of another type.
        f'[{INSTANT},["progressed",7,1,1,5,5]]',
        f'[{INSTANT},["progressed",7,1,1,5,5,null,null]]',
        f'[{INSTANT},["progressed","7",1,1,5,5,null]]',
        f'[{INSTANT},["progressed",true,1,1,5,5,null]]',
        f'[{INSTANT},["progressed",7,1,1,5,5.5,null]]',
        f'[{INSTANT},["progressed",7,1,1,5,NaN,null]]',
        f'[{INSTANT},["progressed",7,1,1,5,null,null]]',
        f'[{INSTANT},["progressed",7,1,1,5,5,"2031-02-30"]]',
        f'[{INSTANT},["enrolled",7,1,"2031-01-02T03:04:05",true]]',
        f'[{INSTANT},["enrolled",7,1,{INSTANT},1]]',
    ],
)
def test_what_was_not_written_here_is_no_text_of_facts(text: str) -> None:
    with pytest.raises(facts.FactsDamaged):
        list(facts.read(text, reason=None))


def test_verdicts_say_why_a_target_did_not_simply_count_and_facts_say_the_rest() -> None:
    judgements = [
        Judgement(7, Reason.COUNTED, 1, 5_000, 5_000),
        Judgement(8, Reason.DAY_COUNTED, 1, 0, 5_000),
        Judgement(9, Reason.OUTSIDE_PERIODS),
    ]

    assert facts.write_verdicts(judgements[:1]) == "[]"
    assert json.loads(facts.write_verdicts(judgements)) == [[8, "DAY_COUNTED", 1], [9, "OUTSIDE_PERIODS", None]]


@pytest.mark.asyncio
async def test_the_tests_own_reading_of_facts_knows_every_name(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(f"{UNFOLDED} SELECT name FROM layout")

    assert {row["name"] for row in rows} == {name.value for name in FactName}
