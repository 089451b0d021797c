"""A programme: its window, one target or a streak's levels, and what they give.

Values only: how a programme came to be (created, deactivated) is told by versions, because two instants can be equal
while an order cannot. Its rules live in milestone.py and streak.py.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from zoneinfo import ZoneInfo

from kosminar.core.measure.measure import Measure
from kosminar.core.period import Period
from kosminar.core.reward import Allocation, RewardDefinition
from kosminar.core.window.fixed import FixedWindow


class TrackingType(StrEnum):
    """A milestone (DEFAULT) or one of the two kinds of streak."""

    DEFAULT = "DEFAULT"
    STREAKS = "STREAKS"
    NON_CONTINUOUS_STREAKS = "NON_CONTINUOUS_STREAKS"


class EnrolmentMethod(StrEnum):
    """TRANSACTION: the first activity that counts enrols. IMPORT: only a call enrols."""

    TRANSACTION = "TRANSACTION"
    IMPORT = "IMPORT"


@dataclass(frozen=True, slots=True)
class Level:
    """Reached when a run's count comes to `count`."""

    level_id: int
    number: int
    name: str
    count: int
    rewards: tuple[RewardDefinition, ...]


# Target and Programme are asked the same for every activity, and a batch's are made once for each version of the
# definitions: what follows from their fields is kept.
@dataclass(frozen=True)
class Target:
    """`values[n - 1]` is what must be reached in the period numbered n, in thousandths."""

    target_id: int
    name: str
    description: str | None
    measure: Measure
    enrolment_method: EnrolmentMethod
    values: tuple[int, ...]
    rewards: tuple[RewardDefinition, ...]

    @cached_property
    def automatic(self) -> bool:
        return self.enrolment_method is EnrolmentMethod.TRANSACTION

    @cached_property
    def immediate_rewards(self) -> tuple[RewardDefinition, ...]:
        return tuple(r for r in self.rewards if r.allocation is Allocation.IMMEDIATE)

    @cached_property
    def period_end_rewards(self) -> tuple[RewardDefinition, ...]:
        return tuple(r for r in self.rewards if r.allocation is Allocation.PERIOD_END)


@dataclass(frozen=True)
class Programme:
    """A target group with the one target that a milestone or a streak has; `period_ids[n - 1]` is of period n."""

    target_group_id: int
    organisation_id: int
    name: str
    tracking_type: TrackingType
    zone: ZoneInfo
    track_from_enrolment: bool
    window: FixedWindow
    period_ids: tuple[int, ...]
    target: Target
    levels: tuple[Level, ...]
    created_version: int
    deactivated_at: datetime | None
    deactivated_version: int | None

    def as_of(self, version: int) -> "Programme | None":
        """The programme as a command saw it that was decided under this version of the definitions; None before it."""
        if version < self.created_version:
            return None
        if self.deactivated_version is not None and version < self.deactivated_version:
            return replace(self, deactivated_at=None, deactivated_version=None)
        return self

    @cached_property
    def streak(self) -> bool:
        return self.tracking_type is not TrackingType.DEFAULT

    @cached_property
    def continuous(self) -> bool:
        return self.tracking_type is TrackingType.STREAKS

    def reward(self, reward_definition_id: int) -> RewardDefinition:
        """The target's or a level's reward definition of that id."""
        return self._rewards[reward_definition_id]

    @cached_property
    def _rewards(self) -> dict[int, RewardDefinition]:
        defined = (*self.target.rewards, *(reward for level in self.levels for reward in level.rewards))
        return {reward.reward_definition_id: reward for reward in defined}

    @property
    def periods(self) -> tuple[Period, ...]:
        """In order, numbered from 1."""
        return self.window.periods

    def period(self, number: int) -> Period:
        return self.window.period(number, None)

    def period_id(self, number: int) -> int:
        """The id by which the wire, the store and definitions know the period of that number."""
        return self.period_ids[number - 1]

    def period_number(self, period_id: int) -> int | None:
        """The number of the period with that id; None where it is not one of the programme's."""
        return self._numbers.get(period_id)

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {period_id: number for number, period_id in enumerate(self.period_ids, start=1)}

    def period_named(self, name: str) -> Period | None:
        """Case is ignored, as it is where names must differ (decision 4)."""
        wanted = name.casefold()
        return next((p for p in self.periods if p.name.casefold() == wanted), None)

    def deactivated(self, at: datetime) -> bool:
        return self.deactivated_at is not None and at >= self.deactivated_at

    def cut_short(self, period: Period) -> bool:
        """The programme was deactivated before this period ended: it pays no more and never turns short (decision 28)."""
        return self.deactivated_at is not None and period.ends_at > self.deactivated_at

    def settles_at(self, period: Period) -> datetime:
        """When the period's end is worked: at its due instant, or when deactivation cut it short."""
        if self.deactivated_at is not None and self.cut_short(period):
            return self.deactivated_at
        return period.due_at
