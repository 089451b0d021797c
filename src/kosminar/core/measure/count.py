"""COUNT: one for each activity."""

from typing import Final

from kosminar.core.activity import Activity
from kosminar.core.amount import ONE
from kosminar.core.measure.measure import Entity, Measure


class Count(Measure):
    """One for each transaction or event, whatever it carries."""

    type = "COUNT"
    entities = (Entity.TRANSACTION, Entity.EVENT)
    whole = True

    def _number(self, activity: Activity) -> int | None:  # noqa: ARG002
        return ONE


OFFERED: Final = (Count,)
