"""EVENT_ATTRIBUTE: the sum of an attribute that the definition names."""

from typing import Final

from kosminar.core.activity import Activity
from kosminar.core.measure.measure import Entity, Measure, amount_in


class EventAttribute(Measure):
    """What an event carries in the named attribute."""

    type = "EVENT_ATTRIBUTE"
    entities = (Entity.EVENT,)
    names_attribute = True

    def _number(self, activity: Activity) -> int | None:
        assert self.attribute is not None, "a definition without it is refused"
        return amount_in(activity, self.attribute)


OFFERED: Final = (EventAttribute,)
