"""SALES and GROSS_SALES: what was paid, net or gross; two measures that differ in the attribute they add up."""

from typing import Final

from kosminar.core.activity import Activity
from kosminar.core.measure.measure import Entity, Measure, amount_in


class Sales(Measure):
    """The transaction's `amount`, which is net."""

    type = "SALES"
    entities = (Entity.TRANSACTION,)

    def _number(self, activity: Activity) -> int | None:
        return amount_in(activity, "amount")


class GrossSales(Measure):
    """The transaction's `grossAmount`."""

    type = "GROSS_SALES"
    entities = (Entity.TRANSACTION,)

    def _number(self, activity: Activity) -> int | None:
        return amount_in(activity, "grossAmount")


OFFERED: Final = (Sales, GrossSales)
