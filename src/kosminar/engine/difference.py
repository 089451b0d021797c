"""What the audit reports: differences of one customer's rows, in the words of a reader who knows the programmes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kosminar.core.decoder import encode
from kosminar.core.period import NUMBERS_PER_ID
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardKey, reward_id
from kosminar.store.recount import CustomerRow, Place


@dataclass(frozen=True, slots=True)
class Difference:
    """Something stored that the recount does not give, or the other way round.

    `expected` and `found` hold the columns that differ, or all columns where only one side has the row; None is
    "nothing there". `customer_id` is None for what is the organisation's own, `target_id` for what concerns no one target,
    `target_name` where there is no such target.
    """

    organisation_id: int
    customer_id: int | None
    target_id: int | None
    target_name: str | None
    what: str
    expected: Mapping[str, Any] | None
    found: Mapping[str, Any] | None

    def __str__(self) -> str:
        """One line, as in "organisation 1, customer 7, target 3 (Spend): enrolment 1: expected ...; found nothing"."""
        place = f"organisation {self.organisation_id}"
        if self.customer_id is not None:
            place += f", customer {self.customer_id}"
        if self.target_id is not None:
            place += f", target {self.target_id} ({self.target_name or 'unknown'})"
        return f"{place}: {self.what}: expected {_columns(self.expected)}; found {_columns(self.found)}"

    def document(self) -> dict[str, Any]:
        """The same as the JSON object that the command line writes."""
        return {
            "organisationId": self.organisation_id,
            "customerId": self.customer_id,
            "targetId": self.target_id,
            "targetName": self.target_name,
            "what": self.what,
            "expected": self.expected,
            "found": self.found,
        }


def _columns(columns: Mapping[str, Any] | None) -> str:
    if columns is None:
        return "nothing"
    return ", ".join(f"{name} {_value(value)}" for name, value in columns.items())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode().strip('"')


@dataclass(frozen=True, slots=True)
class Telling:
    """Makes differences of one customer."""

    # The organisation's programmes by target id, in their newest version.
    programmes: Mapping[int, Programme]
    customer: CustomerRow

    def of(
        self,
        what: str,
        expected: Mapping[str, Any] | None,
        found: Mapping[str, Any] | None,
        *,
        target_id: int | None = None,
    ) -> Difference:
        programme = None if target_id is None else self.programmes.get(target_id)
        return Difference(
            organisation_id=self.customer.organisation_id,
            customer_id=self.customer.customer_id,
            target_id=target_id,
            target_name=None if programme is None or target_id is None else programme.target(target_id).name,
            what=what,
            expected=expected,
            found=found,
        )

    def of_row(self, what: str, expected: Any, found: Any, *, target_id: int) -> Difference:
        """Of two rows the columns that differ; of one row alone all of it."""
        if expected is None or found is None:
            sides = [None if row is None else row._asdict() for row in (expected, found)]
        else:
            names = [name for name in expected._fields if getattr(expected, name) != getattr(found, name)]
            sides = [{name: getattr(row, name) for name in names} for row in (expected, found)]
        return self.of(what, sides[0], sides[1], target_id=target_id)

    def named(self, place: Place) -> str:
        """What a row is, in the words of a reader who knows the programme."""
        programme = self.programmes.get(place.target_id)
        foreign = "" if programme is not None else ", of a target that the organisation does not have"
        match place.what:
            case "progress":
                period_id, run = place.numbers
                return f"progress in {_period(programme, period_id)}, run {run}{foreign}"
            case "streak":
                return f"streak, run {place.numbers[0]}{foreign}"
            case "reward":
                key = RewardKey(place.target_id, *place.numbers)
                return f"reward {reward_id(self.customer.customer_id, key)}{foreign}"
            case what:
                return f"{what} {place.numbers[0]}{foreign}"


def _period(programme: Programme | None, period_id: int) -> str:
    number = None if programme is None else programme.period_number(period_id)
    if programme is None or number is None:
        group_id, number = divmod(period_id, NUMBERS_PER_ID)
        return f"period {number} of target group {group_id}, which is not the target's"
    return f"period {number} ({programme.period(number).name})"
