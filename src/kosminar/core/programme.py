"""A programme: periods, one target or a streak's levels, and what they give.

Values only: how a programme came to be (created, deactivated) is told by versions, because two instants can be equal
while an order cannot. Its rules live in milestone.py and streak.py.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from zoneinfo import ZoneInfo

from kosminar.core import period as periods
from kosminar.core.measure import Measure
from kosminar.core.period import Period
from kosminar.core.reward import Allocation, RewardDefinition


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
    """A target group with the one target that a milestone or a streak has. Periods are in order, numbered from 1."""

    target_group_id: int
    organisation_id: int
    name: str
    tracking_type: TrackingType
    zone: ZoneInfo
    track_from_enrolment: bool
    periods: tuple[Period, ...]
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

    def period(self, number: int) -> Period:
        return self.periods[number - 1]

    def number_of(self, period_id: int) -> int:
        """The number of the period with that id."""
        return self._numbers[period_id]

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {period.period_id: period.number for period in self.periods}

    @cached_property
    def _starts(self) -> tuple[datetime, ...]:
        return tuple(period.starts_at for period in self.periods)

    def period_at(self, at: datetime) -> Period | None:
        """The period that covers the instant, if any: [start, end)."""
        return periods.period_at(self.periods, self._starts, at)

    def running_or_next(self, at: datetime) -> Period | None:
        """The running period, else the nearest to come, else None (decision 13)."""
        return periods.running_or_next(self.periods, at)

    def period_named(self, name: str) -> Period | None:
        """Case is ignored, as it is where names must differ (decision 4)."""
        wanted = name.casefold()
        return next((p for p in self.periods if p.name.casefold() == wanted), None)

    def over(self, at: datetime) -> bool:
        """All periods have ended."""
        return at >= self.periods[-1].ends_at

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
