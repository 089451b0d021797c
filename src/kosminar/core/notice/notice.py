"""A notice: one notification before it has its number, and what it is worded from.

A notice is the `data` of a notification without its envelope, which needs the number that only the customer's lock
gives. Payloads are those of [reference 2.17]; where a field has no meaning here it is null or empty, never left out.
Values are text with three places. Rules: rule 29; each event with a sample: docs/webhooks.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from kosminar.core.activity import Activity
from kosminar.core.event import EventName
from kosminar.core.fact import Fact
from kosminar.core.period import Period
from kosminar.core.programme import Programme, Target
from kosminar.core.standing import MILESTONE_RUN, Run, TargetStanding

Data: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trigger:
    """The customer that the facts are about, and what caused them: an activity, a caller's request, or time alone."""

    organisation_id: int
    customer_id: int
    activity: Activity | None = None
    asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification before it has its number; `reward_id` only where a reward is handed over or taken back."""

    name: EventName
    target_id: int
    period_id: int | None
    data: Data
    reward_id: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One fact where it happened: the target's part before and after it, and after all that happened with it."""

    programme: Programme
    target: Target
    before: TargetStanding
    after: TargetStanding
    outcome: TargetStanding
    fact: Any  # Each wording reads the fields of its own fact.
    trigger: Trigger

    @property
    def period(self) -> Period | None:
        number = getattr(self.fact, "period_number", None)
        return None if number is None else self.programme.period(number)

    @property
    def run_number(self) -> int:
        return getattr(self.fact, "run", MILESTONE_RUN)

    @property
    def run(self) -> Run:
        return self.after.run_numbered(self.run_number)

    def run_before(self) -> Run:
        return self.before.run_numbered(self.run_number)


Wording: TypeAlias = Callable[[Moment], Data | None]
Wordings: TypeAlias = dict[type[Fact], tuple[tuple[EventName, Wording], ...]]
