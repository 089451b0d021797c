"""What of an activity a target counts.

A target of entity TRANSACTION listens to transactions, one of entity EVENT to the event it names. GROSS_SALES and SALES
add `grossAmount` and `amount`, EVENT_ATTRIBUTE adds the attribute it names, COUNT adds one, VISIT adds one for each day
of the programme's zone. An activity without the measured number is recorded and not counted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kosminar.core.activity import TRANSACTION, Activity
from kosminar.core.amount import ONE, thousandths_of


class Entity(StrEnum):
    """What kind of activity a target listens to."""

    TRANSACTION = "TRANSACTION"
    EVENT = "EVENT"


class MeasureType(StrEnum):
    """How an activity becomes a number."""

    GROSS_SALES = "GROSS_SALES"
    SALES = "SALES"
    COUNT = "COUNT"
    VISIT = "VISIT"
    EVENT_ATTRIBUTE = "EVENT_ATTRIBUTE"


FITTING: Final = {
    Entity.TRANSACTION: (MeasureType.GROSS_SALES, MeasureType.SALES, MeasureType.COUNT, MeasureType.VISIT),
    Entity.EVENT: (MeasureType.COUNT, MeasureType.VISIT, MeasureType.EVENT_ATTRIBUTE),
}
# What can only be a whole number; a target value of 2.5 purchases is a mistake.
WHOLE: Final = frozenset({MeasureType.COUNT, MeasureType.VISIT})

ATTRIBUTE_OF: Final = {MeasureType.GROSS_SALES: "grossAmount", MeasureType.SALES: "amount"}


@dataclass(frozen=True, slots=True)
class Measure:
    """`event_name` is the activity type listened to; `attribute` is None unless the measure is EVENT_ATTRIBUTE."""

    entity: Entity
    type: MeasureType
    event_name: str
    attribute: str | None

    @property
    def listens_to(self) -> str:
        """The activity type that this measure hears; programmes are found by it."""
        return TRANSACTION if self.entity is Entity.TRANSACTION else self.event_name

    def of(self, activity: Activity) -> int | None:
        """What this activity adds, in thousandths, never negative; None when it does not count.

        A visit is worth one here; that a day is counted once is progress's business.
        """
        if activity.type != self.listens_to:
            return None
        if self.type in WHOLE:
            return ONE
        name = ATTRIBUTE_OF.get(self.type, self.attribute)
        assert name is not None, "a sum always names its attribute"
        try:
            amount = thousandths_of(activity.attributes.get(name))
        except ValueError:
            return None
        return amount if amount >= 0 else None
