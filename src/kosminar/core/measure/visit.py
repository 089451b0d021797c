"""VISIT: one for each day with an activity."""

from typing import Final

from kosminar.core.activity import Activity
from kosminar.core.amount import ONE
from kosminar.core.measure.measure import Entity, Measure


class Visit(Measure):
    """One for each day of the programme's zone on which there is an activity."""

    type = "VISIT"
    entities = (Entity.TRANSACTION, Entity.EVENT)
    whole = True
    daily = True

    def _number(self, activity: Activity) -> int | None:  # noqa: ARG002
        return ONE


OFFERED: Final = (Visit,)
