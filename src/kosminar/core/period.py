"""Periods: a period covers [start, end') in the programme's zone.

Where the periods of a programme lie is its window's business (core/window/).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


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
