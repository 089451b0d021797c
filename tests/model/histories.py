"""Small adversarial worlds for the engine and the slow model to agree on.

`random_history(random.Random(seed))` gives a programme, the commands of one customer in the order of acceptance, and the
instant up to which period ends have been worked. Worlds are small and instants crowd on the boundaries (period ends, due
instants, enrolments, midnights of odd zones, five minutes ahead), for that is where engines err. Equal seeds, equal worlds.
It avoids what the rules leave to the edge: text for numbers, negative amounts, two names that differ by case only.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

from tests.model.slow_model import (
    Act,
    Command,
    Enrol,
    ModelLevel,
    ModelPeriod,
    ModelProgramme,
    ModelReward,
    UnEnrol,
)

UTC = ZoneInfo("UTC")
# Each zone starts its world on the eve of something: a night of 23, 25, 23.5 or 24.5 hours, a skipped day, a leap day.
EVES = [
    ("UTC", date(2028, 2, 27)),
    ("Asia/Kolkata", date(2026, 1, 5)),
    ("America/New_York", date(2026, 3, 6)),
    ("America/New_York", date(2026, 10, 30)),
    ("Australia/Lord_Howe", date(2026, 4, 3)),
    ("Australia/Lord_Howe", date(2026, 10, 2)),
    ("Pacific/Apia", date(2011, 12, 27)),
]
BESIDE = [
    timedelta(0),
    timedelta(0),
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(microseconds=-1),
    timedelta(milliseconds=1),
    timedelta(milliseconds=-1),
    timedelta(minutes=5),
    timedelta(minutes=-5),
    timedelta(minutes=-5, microseconds=-1),
    timedelta(minutes=-3),
]
MEASURES = {"TRANSACTION": ["GROSS_SALES", "SALES", "COUNT", "VISIT"], "EVENT": ["COUNT", "VISIT", "EVENT_ATTRIBUTE"]}
EVENT_NAME = "workout"
ATTRIBUTE = "minutes"


def random_history(random: Random) -> tuple[ModelProgramme, list[Command], datetime]:
    """One world; the same generator state gives the same world."""
    programme = random_programme(random)
    ats = random_instants(random, programme)
    restlessness = random.choice([0.05, 0.15, 0.3])
    commands: list[Command] = []
    for at in ats:
        commands.append(random_command(random, programme, commands, at=at, restlessness=restlessness))
    last_at = ats[-1]
    world_ends_at = max(period.due_at for period in programme.periods) + timedelta(days=2)
    later = [at for at in [*boundaries(programme), world_ends_at] if at > last_at]
    now = random.choice([last_at, world_ends_at, *later])
    return programme, commands, max(now, last_at)


def random_programme(random: Random) -> ModelProgramme:
    zone, eve = random.choice(EVES)
    kind = random.choice(["DEFAULT", "DEFAULT", "STREAKS", "NON_CONTINUOUS_STREAKS"])
    entity = random.choice(["TRANSACTION", "EVENT"])
    measure = random.choice(MEASURES[entity])
    periods = random_periods(random, zone, eve, measure)
    streak = kind != "DEFAULT"
    programme = ModelProgramme(
        kind=kind,
        automatic=random.random() < 0.4,
        zone=zone,
        track_from_enrolment=random.random() < 0.4,
        periods=periods,
        rewards=random_rewards(random, streak=streak),
        levels=random_levels(random, len(periods)) if streak else (),
        entity=entity,
        measure=measure,
        event_name=EVENT_NAME if entity == "EVENT" else None,
        attribute=ATTRIBUTE if measure == "EVENT_ATTRIBUTE" else None,
    )
    if random.random() < 0.8:
        return programme
    inner = [at for at in boundaries(programme) if at > periods[0].starts_at]
    return ModelProgramme(**{**vars(programme), "deactivated_at": beside(random, random.choice(inner))})


def random_periods(random: Random, zone: str, eve: date, measure: str) -> tuple[ModelPeriod, ...]:
    offset_days = random.choice([0, 0, 1, 2, 5])
    gaps = random.random() < 0.25
    hour = random.choice([0, 0, 0, 12])
    day_count = random.choice([1, 1, 2, 3])
    values = ["1", "2", "3"] if measure in {"COUNT", "VISIT"} else ["1", "10", "100.5", "0.001"]
    same_value = random.choice(values)
    periods = []
    day = eve
    for _ in range(random.randint(1, 6)):
        end = day + timedelta(days=day_count)
        starts_at, ends_at = local(day, hour, zone), local(end, hour, zone)
        if starts_at < ends_at:
            value = same_value if random.random() < 0.7 else random.choice(values)
            periods.append((starts_at, ends_at, local(end + timedelta(days=offset_days), hour, zone), value))
        day = end + timedelta(days=random.choice([0, 1, 2]) if gaps else 0)
    return tuple(
        ModelPeriod(100 + number, number, f"Cycle_{number}", starts_at, ends_at, due_at, Decimal(value))
        for number, (starts_at, ends_at, due_at, value) in enumerate(periods, start=1)
    )


def local(day: date, hour: int, zone: str) -> datetime:
    """The UTC instant of that hour of the local day."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def random_rewards(random: Random, *, streak: bool) -> tuple[ModelReward, ...]:
    if streak:
        return random.choice([(), (), (), (ModelReward(1, "POINTS", Decimal(50), "IMMEDIATE"),)])
    immediate = ModelReward(1, "POINTS", Decimal("50.5"), "IMMEDIATE")
    period_end = ModelReward(2, "COUPON", "TEN-OFF", "PERIOD_END")
    another = ModelReward(3, "BADGE", "gold", "PERIOD_END")
    return random.choice([(immediate,), (period_end,), (immediate, period_end), (period_end, another), ()])


def random_levels(random: Random, period_count: int) -> tuple[ModelLevel, ...]:
    counts = sorted(random.sample(range(1, period_count + 1), random.randint(1, min(3, period_count))))
    return tuple(
        ModelLevel(200 + n, f"Level_{n}", count, (ModelReward(10 + n, "BADGE", f"level {n}", "IMMEDIATE"),))
        for n, count in enumerate(counts, start=1)
    )


def random_instants(random: Random, programme: ModelProgramme) -> list[datetime]:
    """When the commands are accepted, in order; often several at one instant, often in one or two periods only."""
    edges = boundaries(programme)
    first_at, last_at = edges[0] - timedelta(hours=6), edges[-1] + timedelta(hours=1)
    if random.random() < 0.4:
        period = random.choice(programme.periods)
        first_at = period.starts_at - timedelta(minutes=10)
        last_at = random.choice([period.ends_at, period.due_at]) + timedelta(hours=2)
    near = [at for at in edges if first_at <= at <= last_at] or [first_at]
    instants: list[datetime] = []
    if random.random() < 0.5:
        for period in programme.periods:
            instants += [
                at for at in (beside(random, period.starts_at), inside(random, period)) if random.random() < 0.8
            ]
    for _ in range(random.randint(2, 20)):
        roll = random.random()
        if roll < 0.45:
            instants.append(beside(random, random.choice(near)))
        elif roll < 0.6 and instants:
            instants.append(beside(random, random.choice(instants)))
        else:
            instants.append(first_at + (last_at - first_at) * random.random())
    return sorted(instants)


def inside(random: Random, period: ModelPeriod) -> datetime:
    return period.starts_at + (period.ends_at - period.starts_at) * random.random()


def random_command(
    random: Random, programme: ModelProgramme, earlier: list[Command], *, at: datetime, restlessness: float
) -> Command:
    """Mostly activity; who has just left mostly comes back; the restless leave and call enrol more often."""
    moves = [command for command in earlier if not isinstance(command, Act)]
    out = not programme.automatic if not moves else isinstance(moves[-1], UnEnrol)
    roll = random.random()
    if roll < (0.5 if out else restlessness / 3):
        return random_enrol(random, programme, at)
    if roll > 1 - (restlessness / 3 if out else restlessness):
        return UnEnrol(at)
    return random_activity(random, programme, earlier, at)


def random_enrol(random: Random, programme: ModelProgramme, at: datetime) -> Enrol:
    names = [period.name for period in programme.periods]
    balances = [
        None,
        None,
        Decimal(0),
        programme.periods[0].target_value,
        Decimal("0.5"),
        Decimal("1.0005"),
        Decimal(1),
    ]
    return Enrol(
        at,
        period_name=random.choice([*names, "Cycle_unknown"]) if random.random() < 0.2 else None,
        initial_balance=random.choice(balances) if random.random() < 0.8 else None,
        reset=random.random() < 0.4,
    )


def random_activity(random: Random, programme: ModelProgramme, earlier: list[Command], at: datetime) -> Act:
    acts = [command for command in earlier if isinstance(command, Act)]
    if acts and random.random() < 0.12:
        return random_repetition(random, random.choice(acts), at)
    good = "transaction" if programme.entity == "TRANSACTION" else EVENT_NAME
    other = EVENT_NAME if programme.entity == "TRANSACTION" else "transaction"
    return Act(
        at,
        activity_id=f"a{len(earlier)}",
        type=good if random.random() < 0.95 else other,
        occurred_at=random_occurrence(random, programme, earlier, at),
        attributes=random_attributes(random, programme),
    )


def random_repetition(random: Random, act: Act, at: datetime) -> Act:
    """The same id again: the same content (1.0 for 1.00 too), or other content, or an instant beside."""
    same = {name: padded(value) for name, value in act.attributes.items()}
    roll = random.random()
    if roll < 0.6:
        return Act(at, act.activity_id, act.type, act.occurred_at, same)
    if roll < 0.8:
        return Act(at, act.activity_id, act.type, act.occurred_at, {**same, "note": "other"})
    return Act(at, act.activity_id, act.type, beside(random, act.occurred_at), same)


def padded(value: object) -> object:
    return Decimal(f"{value}0") if isinstance(value, Decimal) and "." in str(value) else value


def random_occurrence(random: Random, programme: ModelProgramme, earlier: list[Command], at: datetime) -> datetime:
    roll = random.random()
    if roll < 0.5:
        return at
    if roll < 0.57:
        return beside(random, at)
    if roll < 0.6:
        return at + timedelta(minutes=5, microseconds=1)
    if roll < 0.7 and earlier:
        return beside(random, random.choice(earlier).at)
    past = [edge for edge in boundaries(programme) if edge <= at] or [at]
    if roll < 0.85:
        return beside(random, random.choice(past))
    return past[-1] - (past[-1] - past[0]) * random.random() ** 2


def random_attributes(random: Random, programme: ModelProgramme) -> dict[str, object]:
    target = random.choice(programme.periods).target_value
    amounts = [target, target, target / 2, target - Decimal("0.001"), target * 2, Decimal(0)]
    amounts += [Decimal("0.0005"), Decimal("0.0004"), Decimal("0.5"), Decimal("1.000"), Decimal("12345678901.125")]
    attributes: dict[str, object] = {"billNumber": f"b{random.randint(1, 999)}"}
    for name in ("grossAmount", "amount", ATTRIBUTE):
        if random.random() < 0.93:
            attributes[name] = max(random.choice(amounts), Decimal(0))
    return attributes


def boundaries(programme: ModelProgramme) -> list[datetime]:
    """Every instant at which something of the programme begins, ends or falls due, in order."""
    found = {at for period in programme.periods for at in (period.starts_at, period.ends_at, period.due_at)}
    if programme.deactivated_at is not None:
        found.add(programme.deactivated_at)
    return sorted(found)


def beside(random: Random, at: datetime) -> datetime:
    return at + random.choice(BESIDE)
