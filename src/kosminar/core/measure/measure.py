"""What a measure is: which activities it hears, and what number each of them gives.

A target of entity TRANSACTION hears transactions, one of entity EVENT the event it names. A measure is a class in a file
of this room that its module offers (core/measure/catalogue.py); nothing else has to name it. Tests:
tests/core/test_measure.py.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from kosminar.core.activity import TRANSACTION, Activity
from kosminar.core.amount import thousandths_of


class Entity(StrEnum):
    """What kind of activity a target listens to."""

    TRANSACTION = "TRANSACTION"
    EVENT = "EVENT"


@dataclass(frozen=True, slots=True)
class Measure(ABC):
    """What one target counts.

    `event_name` is the event heard where `entity` is EVENT; `attribute` is None unless the measure `names_attribute`.
    """

    type: ClassVar[str]
    """The word by which it is published."""
    entities: ClassVar[tuple[Entity, ...]]
    """Those that it fits; of another one a definition is refused."""
    whole: ClassVar[bool] = False
    """It gives whole numbers only: a target value of 2.5 purchases is a mistake."""
    daily: ClassVar[bool] = False
    """A day of the programme's zone counts once, however many of its activities are heard."""
    names_attribute: ClassVar[bool] = False
    """The definition names the attribute that is measured."""

    entity: Entity
    event_name: str
    attribute: str | None

    @property
    def hears(self) -> str:
        """The activity type that is measured; programmes are found by it."""
        return TRANSACTION if self.entity is Entity.TRANSACTION else self.event_name

    def number(self, activity: Activity) -> int | None:
        """What the activity adds, in thousandths, never negative; None where it does not count.

        An activity without the measured number is recorded and does not count. Of a `daily` measure this is what the
        day's first one adds; which days were counted the standing knows.
        """
        return self._number(activity) if activity.type == self.hears else None

    @abstractmethod
    def _number(self, activity: Activity) -> int | None:
        """As `number`, of an activity that is heard."""


def amount_in(activity: Activity, name: str) -> int | None:
    """The attribute of that name in thousandths; None where it is absent, negative or no amount (decision 24)."""
    try:
        amount = thousandths_of(activity.attributes.get(name))
    except ValueError:
        return None
    return amount if amount >= 0 else None
