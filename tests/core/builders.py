"""Pure values for the tests of the core: programmes of daily periods in UTC, and a customer who lives through them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from kosminar.core.activity import Activity
from kosminar.core.decide import Command, Decision, Enrol, Judgement, UnEnrol, decide, settle
from kosminar.core.fact import Fact, FactName
from kosminar.core.kind.catalogue import KINDS
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity
from kosminar.core.period import Period
from kosminar.core.programme import EnrolmentMethod, Level, Programme, Target, TrackingType
from kosminar.core.reward import Allocation, RewardDefinition, RewardKind
from kosminar.core.standing import TargetStanding
from kosminar.core.window.fixed import FixedWindow

START = datetime(2026, 3, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    """The beginning of the period with that number; 1.5 is the first one's noon."""
    return START + timedelta(days=number - 1)


def build_programme(**overrides: object) -> Programme:
    """Five daily periods, 100 to reach, an immediate and a period-end reward; `offset_days` days for late activity."""
    offset_days = overrides.pop("offset_days", 0)
    period_count = overrides.pop("period_count", 5)
    target = overrides.pop("target", None) or build_target(period_count=period_count)
    periods = tuple(
        Period(n, f"Cycle_{n}", day(n), day(n + 1), day(n + 1) + timedelta(days=offset_days))
        for n in range(1, period_count + 1)
    )
    return Programme(
        **{
            "target_group_id": 1,
            "organisation_id": 1,
            "name": "Spring",
            "kind": KINDS[TrackingType.DEFAULT],
            "zone": ZoneInfo("UTC"),
            "track_from_enrolment": False,
            "window": FixedWindow(periods),
            "targets": (target,),
            "levels": (),
            "created_version": 1,
            "deactivated_at": None,
            "deactivated_version": None,
            **overrides,
        }
    )


def build_target(**overrides: object) -> Target:
    period_count = overrides.pop("period_count", 5)
    return Target(
        **{
            "target_id": 7,
            "name": "Spend",
            "description": None,
            "measure": measure_of(Entity.TRANSACTION, "SALES", "transaction", None),
            "enrolment_method": EnrolmentMethod.IMPORT,
            "values": (100_000,) * period_count,
            "rewards": (
                RewardDefinition(1, RewardKind.POINTS, 10_000, Allocation.IMMEDIATE),
                RewardDefinition(2, RewardKind.COUPON, "TEN", Allocation.PERIOD_END),
            ),
            **overrides,
        }
    )


def build_streak(*, levels: tuple[int, ...] = (2, 3), continuous: bool = True, **overrides: object) -> Programme:
    """Ten daily periods that one purchase meets, and a badge for each level."""
    target = build_target(
        period_count=10,
        measure=measure_of(Entity.TRANSACTION, "COUNT", "transaction", None),
        values=(1_000,) * 10,
        rewards=(),
    )
    return build_programme(
        **{
            "period_count": 10,
            "target": target,
            "kind": KINDS[TrackingType.STREAKS if continuous else TrackingType.NON_CONTINUOUS_STREAKS],
            "levels": tuple(
                Level(
                    10 + n,
                    n,
                    f"Level {n}",
                    count,
                    (RewardDefinition(20 + n, RewardKind.BADGE, f"badge-{n}", Allocation.IMMEDIATE),),
                )
                for n, count in enumerate(levels, start=1)
            ),
            **overrides,
        }
    )


class Customer:
    """One customer in one programme; each call is accepted at the instant given and returns its decision."""

    def __init__(self, programme: Programme) -> None:
        self.programme = programme
        self.standing = programme.untouched
        self.facts: list[Fact] = []
        self._bill_count = 0

    @property
    def part(self) -> TargetStanding:
        """The customer's part in the group's first target."""
        return self.standing.targets[0]

    def enrol(self, at: float, **options: object) -> Decision:
        return self._ask(Enrol(self.programme.targets[0].target_id, **options), at)

    def un_enrol(self, at: float) -> Decision:
        return self._ask(UnEnrol(self.programme.targets[0].target_id), at)

    def buy(self, on: float, amount: str = "100", *, at: float | None = None) -> Judgement:
        """Buys on a day; the activity arrives then, or late at another."""
        self._bill_count += 1
        bill = Activity(f"bill-{self._bill_count}", "transaction", day(on), {"amount": Decimal(amount)})
        return self._ask(bill, on if at is None else at).judgements[0]

    def wait(self, until: float) -> list[Fact]:
        self.standing, facts = settle(self.programme, self.standing, day(until))
        self.facts += facts
        return list(facts)

    def _ask(self, command: Command, at: float) -> Decision:
        decision = decide(self.programme, self.standing, command, day(at))
        self.standing = decision.standing
        self.facts += decision.facts
        return decision

    def told(self, *names: FactName) -> list[tuple[str, int | None]]:
        """The facts of these names so far, each with its period's number."""
        return [(fact.name.value, fact.period_number) for fact in self.facts if fact.name in names]
