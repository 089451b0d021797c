"""What a window is: where the periods of a programme lie in time, and in which of them an amount counts.

Of a cyclic or period-agnostic window each customer has periods of their own, which count from the customer's clock: the
instant that the standing keeps, None as long as it does not run. Where the window is the same for everybody, `clock` is
None always. All instants are UTC; a period covers [start, end').
"""

from datetime import datetime
from typing import NamedTuple, Protocol

from kosminar.core.period import Period


class Share(NamedTuple):
    """What of an amount counts in one period, in thousandths."""

    period_number: int
    amount: int


class Window(Protocol):
    """Asked with an instant and a customer's clock; it never changes, and knows no present."""

    def period_at(self, at: datetime, clock: datetime | None) -> Period | None:
        """The period that covers the instant; None in a gap, before the first and after the last."""

    def running_or_next(self, at: datetime, clock: datetime | None) -> Period | None:
        """The period that covers the instant, else the nearest to come, else None (decision 13)."""

    def period(self, number: int, clock: datetime | None) -> Period:
        """The period of that number with its bounds; there must be one."""

    def next_boundary(self, at: datetime, clock: datetime | None) -> datetime | None:
        """The first instant after this one at which a period begins or ends; None where none is left."""

    def over(self, at: datetime, clock: datetime | None) -> bool:
        """All periods have ended."""

    def spread(self, period: Period, value: int, amount: int, target_value: int) -> tuple[Share, ...]:
        """In which periods an amount counts that is accepted in this one, in order; together they are the amount.

        `value` is what the period has so far, `target_value` what it asks for, all in thousandths. Only a
        period-agnostic window carries what is too much into the next period, as many as it fills (decision 23).
        """
