"""A programme: the periods of a target group, its targets, what they give, and which kind of group it is.

Values only: how a programme came to be (created, deactivated) is told by versions, because two instants can be equal
while an order cannot. What a kind of group does is in core/kind/; `Kind` is what it owes. Values are whole numbers of
thousandths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from msgspec import Struct

from kosminar.core.errors import Code
from kosminar.core.fact import Fact
from kosminar.core.measure.measure import Measure
from kosminar.core.period import NUMBERS_PER_ID, Period, numbered_id
from kosminar.core.reward import Allocation, RewardDefinition
from kosminar.core.standing import Progress, Run, Standing, TargetStanding
from kosminar.core.window.fixed import FixedWindow


class TrackingType(StrEnum):
    """The published names of the kinds of groups: a milestone, and two kinds of streak."""

    DEFAULT = "DEFAULT"
    STREAKS = "STREAKS"
    NON_CONTINUOUS_STREAKS = "NON_CONTINUOUS_STREAKS"


class EnrolmentMethod(StrEnum):
    """TRANSACTION: the first activity that counts enrols. IMPORT: only a call enrols."""

    TRANSACTION = "TRANSACTION"
    IMPORT = "IMPORT"


# Target and Programme are asked the same for every activity, and a batch's are made once for each version of the
# definitions: what follows from their fields is kept.
@dataclass(frozen=True)
class Target:
    """`values[n - 1]` is what must be reached in the period numbered n."""

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


class EnrolmentTerms(NamedTuple):
    """What an enrol call asks for, and the first period that it would cover."""

    period: Period
    initial_balance: int | None
    reset: bool


class RunCount(Struct, frozen=True):
    """A run of a streak, and the count that it has come to."""

    run: Run
    count: int


class Kind(Protocol):
    """What a kind of group makes of counting, of coming and leaving, and of time.

    Each answers with the facts of one target, oldest first, and changes nothing; `fold` does.
    """

    @property
    def tracking_type(self) -> TrackingType:
        """The published name."""

    @property
    def has_levels(self) -> bool:
        """Whether its definition has levels, which give at once, as its targets do (rules 19, 28)."""

    @property
    def may_break(self) -> bool:
        """Whether the end of an unmet period can break something (rule 19)."""

    def untouched(self) -> TargetStanding:
        """The part of a customer of which nothing is remembered."""

    def ignored(self, *, period_named: bool, balance_given: bool) -> tuple[Code, ...]:
        """The warnings for what an enrol call gives and this kind does not read (rules 13, 14)."""

    def may_name_period(self) -> bool:
        """Whether an enrol call may say from which period on (rule 13)."""

    def entered(self, target: Target, standing: TargetStanding, terms: EnrolmentTerms, at: datetime) -> list[Fact]:
        """What an enrolment brings besides itself: a balance, or a new run (rules 14, 16)."""

    def left(self, programme: "Programme", target: Target, standing: TargetStanding, at: datetime) -> list[Fact]:
        """What an un-enrolment loses (rule 9)."""

    def run_at(self, standing: TargetStanding, at: datetime) -> int:
        """The number of the run to which an activity of that instant belongs; 1 where there are no runs (rule 16)."""

    def met(
        self, programme: "Programme", target: Target, standing: TargetStanding, run_number: int, at: datetime
    ) -> list[Fact]:
        """What follows from an achieved period of a run besides its own rewards (rule 19); `standing` has it already."""

    def due(self, programme: "Programme", target: Target, standing: TargetStanding, at: datetime) -> list[Fact]:
        """What fell due up to that instant and is not yet in the standing."""

    def wakes_at(self, programme: "Programme", target: Target, standing: TargetStanding) -> datetime | None:
        """When time alone next brings a fact; None where it brings none as things stand."""

    def likeness(self, standing: TargetStanding, latest: Progress, earlier: Sequence[Progress]) -> int | None:
        """Two customers with the same likeness, who wake at the same instant, get the same facts; None: decide this one alone.

        A hash of everything but values and instants, of the latest progress and of what is to be decided before it.
        """

    def run_at_end_of(self, programme: "Programme", standing: TargetStanding, period: Period) -> int:
        """The number of the run that was going when the period ended; 1 where there are no runs."""

    def count_now(self, programme: "Programme", standing: TargetStanding, at: datetime) -> RunCount | None:
        """The latest run and its count at that instant; None where there are no runs."""


@dataclass(frozen=True)
class Level:
    """Reached when a run's count comes to `count`."""

    level_id: int
    number: int
    name: str
    count: int
    rewards: tuple[RewardDefinition, ...]


@dataclass(frozen=True)
class Programme:
    """A target group with its targets, by id. Periods are numbered from 1, as `window` lays them out."""

    target_group_id: int
    organisation_id: int
    name: str
    kind: Kind
    zone: ZoneInfo
    track_from_enrolment: bool
    window: FixedWindow
    targets: tuple[Target, ...]
    levels: tuple[Level, ...]
    created_version: int
    deactivated_at: datetime | None
    deactivated_version: int | None

    def as_of(self, version: int) -> "Programme | None":
        """The programme as a command saw it that was decided under this version of the definitions; None before it."""
        if version < self.created_version:
            return None
        if self.deactivated_version is not None and version < self.deactivated_version:
            return self._while_active
        return self

    @cached_property
    def _while_active(self) -> "Programme":
        return replace(self, deactivated_at=None, deactivated_version=None)

    @property
    def version(self) -> int:
        """The version of the definitions that changed this programme last."""
        return self.created_version if self.deactivated_version is None else self.deactivated_version

    # ---------------------------------------------------------------- targets and rewards

    def index_of(self, target_id: int) -> int:
        """The place of a target among the group's targets; raises KeyError for another group's."""
        return self._indices[target_id]

    @cached_property
    def _indices(self) -> dict[int, int]:
        return {target.target_id: index for index, target in enumerate(self.targets)}

    def has_target(self, target_id: int) -> bool:
        return target_id in self._indices

    def target(self, target_id: int) -> Target:
        return self.targets[self.index_of(target_id)]

    def hearing(self, activity_type: str) -> Sequence[tuple[int, Target]]:
        """The targets that hear this type of activity, each with its place."""
        return self._hearing.get(activity_type, ())

    @cached_property
    def _hearing(self) -> dict[str, list[tuple[int, Target]]]:
        hearing: dict[str, list[tuple[int, Target]]] = {}
        for index, target in enumerate(self.targets):
            hearing.setdefault(target.measure.hears, []).append((index, target))
        return hearing

    def reward(self, reward_definition_id: int) -> RewardDefinition:
        """A target's or a level's reward definition of that id."""
        return self._rewards[reward_definition_id]

    @cached_property
    def _rewards(self) -> dict[int, RewardDefinition]:
        givers: tuple[Any, ...] = (*self.targets, *self.levels)
        return {reward.reward_definition_id: reward for giver in givers for reward in giver.rewards}

    # ---------------------------------------------------------------- standings

    @cached_property
    def untouched(self) -> Standing:
        """The standing of a customer before anything happened to it."""
        return self.standing_of(tuple(self.kind.untouched() for _ in self.targets))

    def standing_of(self, targets: tuple[TargetStanding, ...]) -> Standing:
        """A standing of these parts, with the instant at which time next changes one of them."""
        parts = zip(self.targets, targets, strict=True)
        wakes = [at for target, part in parts if (at := self.kind.wakes_at(self, target, part)) is not None]
        return Standing(targets, self.version, min(wakes, default=None))

    # ---------------------------------------------------------------- periods

    @property
    def periods(self) -> tuple[Period, ...]:
        """In order, numbered from 1."""
        return self.window.periods

    def period(self, number: int) -> Period:
        return self.window.period(number, None)

    def period_id(self, number: int) -> int:
        """The id by which the wire and the store know a period."""
        return numbered_id(self.target_group_id, number)

    def period_number(self, period_id: int) -> int | None:
        """The number of the period with that id; None where it is not one of this programme's."""
        number = period_id - self.target_group_id * NUMBERS_PER_ID
        return number if 1 <= number <= len(self.window.periods) else None

    def deactivated(self, at: datetime) -> bool:
        return self.deactivated_at is not None and at >= self.deactivated_at

    def cut_short(self, period: Period) -> bool:
        """The programme was deactivated before this period ended: it pays no more and never turns short (rule 28)."""
        return self.deactivated_at is not None and period.ends_at > self.deactivated_at

    def settles_at(self, period: Period) -> datetime:
        """When the period's end is settled: at its due instant, or when deactivation cut it short."""
        if self.deactivated_at is not None and self.cut_short(period):
            return self.deactivated_at
        return period.due_at
