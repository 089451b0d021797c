"""A seed becomes a plan: who lives, what is asked when and of whom, and what goes wrong meanwhile.

Everything random of a simulation is drawn here and in faults.py, from the seed alone. Worlds crowd on boundaries, as those of
tests/model/histories.py do, from which the single commands are drawn. Ids of programmes, periods and rewards in a plan
are placeholders: what the database gave takes their place when the world is built.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.model import histories
from tests.model import slow_model as model
from tests.simulation.outages import Outage, outages_of

SERVER_COUNT = 2
ROUNDS = range(5, 9)
ORGANISATIONS = (2, 2, 3)
PROGRAMMES = (2, 3, 3, 4)
CUSTOMERS = (2, 2, 3)
COMMANDS = range(5, 11)
FAULT_COUNTS = (1, 3, 6, 12)
WALL_SECONDS = (0.0, 3.0, 70.0, 3600.0, 5 * 3600.0)
"""A lease is a minute, a retry waits an hour at most."""

# Who subscribes to what; only one endpoint of an organisation gives rewards, so that it is known who gave them.
OTHERS_THAN_REWARDS = (
    "targetCustomerEnrolment",
    "milestoneCustomerUnEnrolment",
    "targetPeriodStarted",
    "targetAchievedValueUpdated",
    "targetValueAchieved",
    "targetValueUpdated",
    "targetPeriodCompleted",
    "streakCustomerEnrolment",
    "streakCustomerUnEnrolment",
    "streakLevelAchieved",
    "streakStart",
    "streakEnd",
)
ENDPOINTS: tuple[tuple[tuple[str, ...] | None, ...], ...] = (
    (),
    (None,),
    (None,),
    (None, ("targetValueAchieved", "streakLevelAchieved")),
    (OTHERS_THAN_REWARDS, ("rewardIssued", "rewardReversed")),
    (OTHERS_THAN_REWARDS,),
    (("rewardIssued",),),
)
# What there is to lose by leaving early, and to be given twice.
BOTH_REWARDS = (
    model.ModelReward(1, "POINTS", Decimal("50.5"), "IMMEDIATE"),
    model.ModelReward(2, "COUPON", "TEN-OFF", "PERIOD_END"),
)
SPREAD_SECONDS = 0.06
"""Over how long the requests of a round are spread."""


# ---------------------------------------------------------------- what a plan consists of


@dataclass(frozen=True)
class PlannedProgramme:
    """The body of the create call, and the same for the model with placeholders for ids."""

    definition: dict[str, Any]
    programme: model.ModelProgramme


@dataclass(frozen=True)
class PlannedOrganisation:
    zone: str
    # The day before the first periods.
    eve: date
    clock_at: datetime
    programmes: tuple[PlannedProgramme, ...]
    customer_ids: tuple[int, ...]
    # Of each endpoint the events that it subscribes to; None: all there are.
    endpoints: tuple[tuple[str, ...] | None, ...] = ()


@dataclass(frozen=True)
class Advance:
    to: datetime


@dataclass(frozen=True)
class Enrolment:
    """Enrol or un-enrol a customer in the programme of that index."""

    customer_id: int
    programme_index: int
    command: model.Enrol | model.UnEnrol


@dataclass(frozen=True)
class Activities:
    """One call with activities, each of a customer; `keyed` calls carry an Idempotency-Key."""

    items: tuple[tuple[int, model.Act], ...]
    keyed: bool


@dataclass(frozen=True)
class Deactivation:
    programme_index: int


Asked = Advance | Enrolment | Activities | Deactivation


def keyed(asked: Asked) -> bool:
    """Whether the request carries an Idempotency-Key."""
    return isinstance(asked, Advance | Enrolment) or (isinstance(asked, Activities) and asked.keyed)


@dataclass(frozen=True)
class Step:
    """One request: when in its round, for which organisation, to which server first, and how long that one is waited for."""

    after_seconds: float
    organisation_index: int
    server: int
    asked: Asked
    patience_seconds: float | None = None
    # The same request under the same key goes to the other server at the same time.
    twice: bool = False


@dataclass(frozen=True)
class Disaster:
    """What befalls a server (`kill`, `stop`, `freeze`) or PostgreSQL (`postgres`, `backend`, `connections`)."""

    after_seconds: float
    what: str
    server: int
    lasts_seconds: float
    # Not at that time, but right after the next answer: what was answered must stay.
    after_answer: bool


@dataclass(frozen=True)
class Round:
    steps: tuple[Step, ...]
    disasters: tuple[Disaster, ...]
    # How many faults each server meets at most, so that the round ends.
    fault_count_max: int = 0
    # How far the servers' wall is moved afterwards: retries of deliveries go by it.
    wall_seconds: float = 0.0
    outages: tuple[Outage, ...] = ()


@dataclass(frozen=True)
class Plan:
    """`fault_rate` scales how often the driver's statements fail; 0 is fair weather."""

    seed: int
    organisations: tuple[PlannedOrganisation, ...]
    rounds: tuple[Round, ...]
    fault_rate: float


def make_plan(seed: int) -> Plan:
    """The same seed, the same plan."""
    random = Random(f"plan {seed}")
    organisations = tuple(_organisation(random, index) for index in range(random.choice(ORGANISATIONS)))
    writers = [_Writer(random, index, organisation) for index, organisation in enumerate(organisations)]
    round_count = random.choice(ROUNDS)
    storm = random.choice((0.2, 0.5, 1.0))
    # Some lives consist of power cuts right after answers, and of nothing else that could flush what was answered.
    power_cuts = random.random() < 0.1
    rounds = []
    for number in range(round_count):
        if number > 1 and random.random() < 0.12:
            rounds += random.choice(writers).deactivation()
        steps = [step for writer in writers for step in writer.round(last=number == round_count - 1)]
        rounds.append(
            Round(
                tuple(steps),
                _power_cut(random) if power_cuts else _disasters(random, storm),
                random.choice(FAULT_COUNTS),
                random.choice(WALL_SECONDS),
            )
        )
    if not power_cuts:
        rounds = [replace(one, outages=outages_of(seed, number)) for number, one in enumerate(rounds)]
    fault_rate = random.choice((0.0, 0.5, 1.0, 2.0))
    return Plan(seed, organisations, tuple(rounds), fault_rate=0.0 if power_cuts else fault_rate)


# ---------------------------------------------------------------- organisations


def _organisation(random: Random, index: int) -> PlannedOrganisation:
    """All programmes begin on the same eve of something, mostly in the organisation's own zone."""
    zone, eve = random.choice(histories.EVES)
    programmes = tuple(
        draw_programme(random, f"Programme {number}", zone if random.random() < 0.7 else _another_zone(random), eve)
        for number in range(random.choice(PROGRAMMES))
    )
    first_at = min(programme.programme.periods[0].starts_at for programme in programmes)
    customer_ids = tuple(100 * (index + 1) + number for number in range(1, random.choice(CUSTOMERS) + 1))
    return PlannedOrganisation(
        zone, eve, first_at - timedelta(hours=6), programmes, customer_ids, endpoints=random.choice(ENDPOINTS)
    )


def _another_zone(random: Random) -> str:
    # Apia's skipped day belongs to its own eve.
    return random.choice([zone for zone, _ in histories.EVES if zone != "Pacific/Apia"])


def draw_programme(random: Random, name: str, zone: str, eve: date) -> PlannedProgramme:
    """Of any kind, with periods from that eve on."""
    kind = random.choice(["DEFAULT", "DEFAULT", "STREAKS", "NON_CONTINUOUS_STREAKS"])
    entity = random.choice(["TRANSACTION", "TRANSACTION", "EVENT"])
    measure = random.choice(histories.MEASURES[entity])
    shape = _Shape.drawn(random, zone, eve, measure)
    streak = kind != "DEFAULT"
    programme = model.ModelProgramme(
        kind=kind,  # type: ignore[arg-type]
        automatic=random.random() < 0.4,
        zone=zone,
        track_from_enrolment=random.random() < 0.4,
        periods=shape.periods,
        rewards=BOTH_REWARDS
        if not streak and random.random() < 0.5
        else histories.random_rewards(random, streak=streak),
        levels=histories.random_levels(random, len(shape.periods)) if streak else (),
        entity=entity,  # type: ignore[arg-type]
        measure=measure,  # type: ignore[arg-type]
        event_name=histories.EVENT_NAME if entity == "EVENT" else None,
        attribute=histories.ATTRIBUTE if measure == "EVENT_ATTRIBUTE" else None,
    )
    return PlannedProgramme(_definition(name, programme, shape), programme)


@dataclass(frozen=True)
class _Shape:
    """The periods, and how the create call writes them."""

    periods: tuple[model.ModelPeriod, ...]
    written: dict[str, Any]

    @classmethod
    def drawn(cls, random: Random, zone: str, eve: date, measure: str) -> "_Shape":
        periods = histories.random_periods(random, zone, eve, measure)
        written = [
            {"refCode": period.name, "startDate": _instant(period.starts_at), "endDate": _last_millisecond(period)}
            for period in periods
        ]
        offset_days = _calendar_days(periods[0], zone)
        return cls(periods, {"periods": written, "offsetDays": offset_days})


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _last_millisecond(period: model.ModelPeriod) -> str:
    """An end is written with its last moment and read with its grain (decision 7)."""
    at = period.ends_at - timedelta(milliseconds=1)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _calendar_days(period: model.ModelPeriod, zone: str) -> int:
    ended, due = (at.astimezone(ZoneInfo(zone)).date() for at in (period.ends_at, period.due_at))
    return (due - ended).days


def _definition(name: str, programme: model.ModelProgramme, shape: _Shape) -> dict[str, Any]:
    target: dict[str, Any] = {
        "name": name,
        "targetEntity": programme.entity,
        "targetType": programme.measure,
        "expression": "true",
        "enrolmentMethod": "TRANSACTION" if programme.automatic else "IMPORT",
        "defaultValues": [{"defaultValue": period.target_value} for period in programme.periods],
        "rewards": [_reward(reward) for reward in programme.rewards],
    }
    if programme.event_name is not None:
        target["eventName"] = programme.event_name
    if programme.attribute is not None:
        target["extendedFieldInfo"] = {"name": programme.attribute, "aggregateFunction": "SUM"}
    return {
        "name": name,
        "trackingType": programme.kind,
        "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
        "timeZoneName": programme.zone,
        "trackFromEnrolment": programme.track_from_enrolment,
        "targets": [target],
        "streaks": [
            {"name": level.name, "targetCountOfSequence": level.count, "rewards": [_reward(r) for r in level.rewards]}
            for level in programme.levels
        ],
        **shape.written,
    }


def _reward(reward: model.ModelReward) -> dict[str, Any]:
    return {"kind": reward.kind, "value": reward.value, "allocation": reward.allocation}


# ---------------------------------------------------------------- rounds


@dataclass
class _Writer:
    """Writes one organisation's part of every round; remembers what it asked, as if everything had been accepted."""

    random: Random
    index: int
    organisation: PlannedOrganisation
    clock_at: datetime = field(init=False)
    restlessness: float = field(init=False)
    # Of every customer: all activities, and the moves in each programme.
    acts: dict[int, list[model.Act]] = field(init=False)
    moves: dict[tuple[int, int], list[model.Enrol | model.UnEnrol]] = field(init=False)
    deactivated: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.clock_at = self.organisation.clock_at
        self.restlessness = self.random.choice((0.2, 0.4, 0.6))
        self.acts = {customer_id: [] for customer_id in self.organisation.customer_ids}
        self.moves = {
            (customer_id, number): []
            for customer_id in self.organisation.customer_ids
            for number in range(len(self.organisation.programmes))
        }

    def round(self, *, last: bool) -> list[Step]:
        """What is asked at about the same time; the clock is often moved in the middle of it."""
        steps = []
        before = self.clock_at
        if last or self.random.random() < 0.75:
            to = self._world_ends_at() if last and self.random.random() < 0.7 else self._next_instant()
            self.clock_at = to
            steps += [self._step(Advance(to)) for _ in range(self.random.choice((1, 1, 1, 2)))]
        calls: list[Asked] = []
        for _ in range(self.random.choice(COMMANDS)):
            at = self.random.choice((before, self.clock_at))
            calls.append(self._call(at))
        steps += [self._step(call) for call in calls]
        for call in calls:
            if isinstance(call, Activities) and self.random.random() < 0.35:
                steps.append(self._step(self._again(call)))
        return steps

    def deactivation(self) -> list[Round]:
        """A programme ends for good: alone, at an instant of its own, so that the model can tell before from after."""
        left = [n for n in range(len(self.organisation.programmes)) if n not in self.deactivated]
        if len(left) < 2:
            return []
        number = self.random.choice(left)
        self.deactivated.add(number)
        rounds = []
        for asked in (Advance(self._move(milliseconds=1)), Deactivation(number), Advance(self._move(milliseconds=1))):
            step = replace(self._step(asked), after_seconds=0.0)
            rounds.append(Round((step,), (), self.random.choice(FAULT_COUNTS)))
        return rounds

    def _move(self, **span: float) -> datetime:
        self.clock_at += timedelta(**span)
        return self.clock_at

    def _step(self, asked: Asked) -> Step:
        return Step(
            after_seconds=self.random.random() * SPREAD_SECONDS,
            organisation_index=self.index,
            server=self.random.randrange(SERVER_COUNT),
            asked=asked,
            patience_seconds=self.random.random() * 0.03 if self.random.random() < 0.06 else None,
            twice=keyed(asked) and self.random.random() < 0.15,
        )

    def _boundaries(self) -> list[datetime]:
        return sorted({at for one in self.organisation.programmes for at in histories.boundaries(one.programme)})

    def _world_ends_at(self) -> datetime:
        return max(self._boundaries()[-1], self.clock_at) + timedelta(days=2)

    def _next_instant(self) -> datetime:
        """Mostly beside one of the next boundaries."""
        ahead = [at for at in self._boundaries() if at > self.clock_at]
        if not ahead:
            return self.clock_at + timedelta(hours=self.random.random() * 24)
        near = self.random.choice(ahead[: self.random.choice((1, 3, 6))])
        if self.random.random() < 0.75:
            return max(histories.beside(self.random, near), self.clock_at)
        return self.clock_at + (near - self.clock_at) * self.random.random()

    def _call(self, at: datetime) -> Asked:
        customer_id = self.random.choice(self.organisation.customer_ids)
        number = self.random.randrange(len(self.organisation.programmes))
        programme = self.organisation.programmes[number].programme
        moves = self.moves[customer_id, number]
        out = not programme.automatic if not moves else isinstance(moves[-1], model.UnEnrol)
        roll = self.random.random()
        if roll < (0.5 if out else self.restlessness / 3):
            return self._enrolment(customer_id, number, histories.random_enrol(self.random, programme, at))
        if roll > 1 - (self.restlessness / 3 if out else self.restlessness):
            return self._enrolment(customer_id, number, model.UnEnrol(at))
        return Activities(
            tuple(self._activity(at) for _ in range(self.random.choice((1, 1, 2, 4)))),
            keyed=self.random.random() < 0.5,
        )

    def _enrolment(self, customer_id: int, number: int, command: model.Enrol | model.UnEnrol) -> Enrolment:
        self.moves[customer_id, number].append(command)
        return Enrolment(customer_id, number, command)

    def _activity(self, at: datetime) -> tuple[int, model.Act]:
        customer_id = self.random.choice(self.organisation.customer_ids)
        number = self.random.randrange(len(self.organisation.programmes))
        programme = self.organisation.programmes[number].programme
        acts = self.acts[customer_id]
        if acts and self.random.random() < 0.12:
            return customer_id, histories.random_repetition(self.random, self.random.choice(acts), at)
        good = "transaction" if programme.entity == "TRANSACTION" else histories.EVENT_NAME
        other = histories.EVENT_NAME if programme.entity == "TRANSACTION" else "transaction"
        earlier: list[model.Command] = [*acts, *self.moves[customer_id, number]]
        act = model.Act(
            at,
            activity_id=f"a{len(acts)}",
            type=good if self.random.random() < 0.95 else other,
            occurred_at=histories.random_occurrence(self.random, programme, earlier, at),
            attributes=histories.random_attributes(self.random, programme),
        )
        acts.append(act)
        return customer_id, act

    def _again(self, call: Activities) -> Activities:
        """The same activities once more, in another order, mostly with another key or none."""
        items = list(call.items)
        self.random.shuffle(items)
        return Activities(tuple(items), keyed=self.random.random() < 0.5)


# ---------------------------------------------------------------- what goes wrong


def _power_cut(random: Random) -> tuple[Disaster, ...]:
    after_seconds = random.random() * SPREAD_SECONDS
    return (Disaster(after_seconds, "postgres", server=0, lasts_seconds=0.0, after_answer=True),)


def _disasters(random: Random, storm: float) -> tuple[Disaster, ...]:
    found = []
    chances = (
        ("kill", 0.3),
        ("stop", 0.1),
        ("freeze", 0.25),
        ("postgres", 0.06),
        ("backend", 0.06),
        ("connections", 0.2),
    )
    for what, chance in chances:
        if random.random() < chance * storm:
            found.append(
                Disaster(
                    after_seconds=random.random() * SPREAD_SECONDS * 1.5,
                    what=what,
                    server=random.randrange(SERVER_COUNT),
                    lasts_seconds=random.random() * 0.15,
                    after_answer=what in ("kill", "postgres") and random.random() < 0.6,
                )
            )
    return tuple(found)
