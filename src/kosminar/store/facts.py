"""Facts as they are kept and shown: the one codec between the core's facts and the journal's text of them.

The text is a JSON array that a person can read. An instant stands before the facts that happened at it, and each fact is
an array of its name, its target and the other fields of its struct in core/fact.py, in their order; values are whole
numbers of thousandths. A group's id and a period's id are not kept: they follow from the target and the period's number.
The reason of a report is what a person said and has a column of its own. Reading is strict: what this module did not
write raises FactsDamaged. Tests: tests/store/test_facts.py, tests/engine/test_audit_journal.py.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import Meta, Raw
from msgspec.structs import astuple, fields

from kosminar.core.amount import decimal_of
from kosminar.core.decide import Judgement, Reason
from kosminar.core.fact import (
    Achieved,
    AchievementWithdrawn,
    BalanceSet,
    Fact,
    LevelReached,
    PeriodEnded,
    Progressed,
    RewardEarned,
    RewardFailed,
    RewardForfeited,
    RewardIssued,
    RewardReversed,
    StreakBroken,
)
from kosminar.core.programme import Programme
from kosminar.core.standing import MILESTONE_RUN


class FactsDamaged(Exception):
    """A text of facts or verdicts that this module did not write."""


# ---------------------------------------------------------------- writing

OWN_VALUE: Final = "$value"
"""Stands in a text that is written for many customers where each one's own value belongs."""

_REPORTED: Final = (RewardIssued, RewardFailed, RewardReversed)
_ENCODER: Final = msgspec.json.Encoder()


def write(facts: Iterable[Fact]) -> str:
    """The text of one number's facts.

    >>> write([])
    '[]'
    """
    return _write((fact, astuple(fact)) for fact in facts)


def write_for_many(facts: Iterable[Fact]) -> str:
    """The text for customers who are alike but for the value with which their period ended."""
    return _write(
        (fact, (*astuple(fact)[:-1], Raw(OWN_VALUE.encode())) if isinstance(fact, PeriodEnded) else astuple(fact))
        for fact in facts
    )


def _write(facts: Iterable[tuple[Fact, tuple[Any, ...]]]) -> str:
    written: list[Any] = []
    since: datetime | None = None
    for fact, (at, *others) in facts:
        if at is not since and at != since:
            written.append(at)
            since = at
        if isinstance(fact, _REPORTED):
            others.pop()
        written.append((fact.name, *others))
    return _ENCODER.encode(written).decode()


def write_verdicts(judgements: Iterable[Judgement]) -> str:
    """Of each target that did not simply count the activity: its id, the reason and the period's number (rule 89).

    Of a target that did, the fact of its progress says period, amount and value.
    """
    kept = [(j.target_id, j.reason, j.period_number) for j in judgements if j.reason is not Reason.COUNTED]
    return _ENCODER.encode(kept).decode() if kept else "[]"


# ---------------------------------------------------------------- reading

_Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]


def _shape(type_: type[Fact]) -> Any:
    """What an array of this fact holds after its name."""
    hints = get_type_hints(type_)
    names = [field.name for field in fields(type_) if field.name != "at"]
    if issubclass(type_, _REPORTED):
        names.remove("reason")
    return tuple.__class_getitem__(tuple(_Instant if hints[name] is datetime else hints[name] for name in names))


_TYPES: Final[Mapping[str, type[Fact]]] = {type_.name.value: type_ for type_ in get_args(Fact)}
_SHAPES: Final = {name: _shape(type_) for name, type_ in _TYPES.items()}
_TEXT: Final = msgspec.json.Decoder(list[str | list[Any]])


def read(text: str, *, reason: str | None) -> Iterator[Fact]:
    """The facts of a text, one by one; `reason` is that of the report that brought them. Raises FactsDamaged."""
    at: datetime | None = None
    try:
        for each in _TEXT.decode(text):
            if isinstance(each, str):
                at = msgspec.convert(each, _Instant)
            elif at is None:
                raise FactsDamaged("a fact without an instant")
            else:
                name, *others = each
                type_ = _TYPES[name]
                said = (reason,) if issubclass(type_, _REPORTED) else ()
                yield type_(at, *msgspec.convert(others, _SHAPES[name]), *said)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise FactsDamaged(f"{type(error).__name__}: {error}") from error


# ---------------------------------------------------------------- showing


class RecordedFact(NamedTuple):
    """A fact as it is shown: (sequence, ordinal) is its place in the customer's trail."""

    sequence: int
    ordinal: int
    name: str
    at: datetime
    target_group_id: int
    target_id: int
    period_id: int | None
    run: int | None
    level_id: int | None
    reward_definition_id: int | None
    value: Decimal | None
    reason: str | None


def recorded(facts: Iterable[tuple[Programme, Fact]], *, sequence: int) -> tuple[RecordedFact, ...]:
    """Facts of one number of a customer's order, as they are shown."""
    return tuple(
        [
            # Made for every fact there is: by place, which takes half as long as by name.
            RecordedFact(
                sequence,
                ordinal,
                fact.name.value,
                fact.at,
                programme.target_group_id,
                fact.target_id,
                None if (number := getattr(fact, "period_number", None)) is None else programme.period_id(number),
                getattr(fact, "run", _RUNS.get(type(fact))),
                getattr(fact, "level_id", None),
                getattr(fact, "reward_definition_id", None),
                _value(fact),
                getattr(fact, "reason", None),
            )
            for ordinal, (programme, fact) in enumerate(facts)
        ]
    )


# Of a milestone's period the run is shown with it, though there is only one.
_RUNS: Final = dict.fromkeys((BalanceSet, AchievementWithdrawn, PeriodEnded), MILESTONE_RUN)


def _value(fact: Fact) -> Decimal | None:
    """What a fact shows as its value: the value of progress, the count of a streak, the points of a reward."""
    match fact:
        case LevelReached() | StreakBroken():
            return Decimal(fact.count)
        case RewardEarned() | RewardForfeited() | RewardIssued() | RewardFailed() | RewardReversed():
            return None if fact.points is None else decimal_of(fact.points)
        case Progressed() | Achieved() | BalanceSet() | AchievementWithdrawn() | PeriodEnded():
            return decimal_of(fact.value)
        case _:
            return None
