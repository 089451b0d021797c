"""Periods: a period covers [start, end') in the programme's zone.

Where the periods of a programme lie is its window's business (core/window/).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

NUMBERS_PER_ID: Final = 1_024
"""Numbers below it make ids of one owner's id; what has numbers has at most 1,000 of them."""


def numbered_id(owner_id: int, number: int) -> int:
    """The id of a group's period, or of a target's value for it: the owner's id and the number in one.

    Of owners below 2^43 it is below 2^53, so that JavaScript reads it exactly.

    >>> numbered_id(3, 12)
    3084
    """
    assert 0 < number < NUMBERS_PER_ID
    return owner_id * NUMBERS_PER_ID + number


class Frequency(StrEnum):
    """The calendar step from one generated period to the next."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    YEARLY = "YEARLY"
    CUSTOM = "CUSTOM"


class Span(NamedTuple):
    """A period before it has its place among others."""

    name: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """One cycle of a programme, known by its number, which counts from 1. Its end is excluded; `due_at` is when late
    activity stops counting and the end runs.

    An id it has on the wire, in the store and in definitions only: `Programme.period_id`.
    """

    number: int
    name: str
    starts_at: datetime
    ends_at: datetime
    due_at: datetime

    def covers(self, at: datetime) -> bool:
        return self.starts_at <= at < self.ends_at
