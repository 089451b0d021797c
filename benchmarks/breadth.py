"""What breadth and length cost: CPU us of server and PostgreSQL for an activity, in batches of 500 over HTTP.

A group of 50 targets that all hear it; 100 groups that hear it; and a daily streak of 1,000 days with `offsetDays` 30, met
every day and every other day, after 500 days and near its end, after 980: what it costs may come to twice the first of these. Two
customers live through the days over HTTP, and all others are copies of them (seed.py).

    .venv/bin/python -m benchmarks.breadth [--quick]
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.counted import Moved
from benchmarks.cpu import Cpu
from benchmarks.fixed_load import Activity, post, purchases
from benchmarks.many_targets import TARGET_COUNT
from benchmarks.pairs import Figure
from benchmarks.programmes import POINTS, programme
from benchmarks.seed import ACHIEVER, MEMBER, multiply
from benchmarks.stage import CLOCK, KOSMINAR, Served, Stage, ask, open_stage

MODELS = (MEMBER, ACHIEVER)
GROUP_COUNT = 100
BROAD_CUSTOMERS, QUICK_BROAD_CUSTOMERS = 5_000, 500
BROAD_ACTIVITIES, QUICK_BROAD_ACTIVITIES = 5_000, 500
# Days lived before it is measured, and customers who then come on each of some more days.
DAYS, QUICK_DAYS = (500, 980), (40,)
STREAK_CUSTOMERS, QUICK_STREAK_CUSTOMERS = 3_000, 500
MEASURED_DAYS, WARM_UP_DAYS = 4, 2
# Ways in which the days are met, by how many days go by from one to the next.
PATTERNS = {"every day": 1, "every other day": 2}
# Days between which the clock stands still while the models live; fewer than `offsetDays`.
DAYS_AT_ONCE = 20
MANY_TARGETS = (sys.executable, "-m", "benchmarks.many_targets")
# The most that a streak may cost, to what one does that is met every day and is half as old.
STREAK_COST_MAX = 2.0


def run(stage: Stage, *, quick: bool) -> list[Figure]:
    stage.kosminar("migrate")
    return [_many_targets(stage, quick=quick), _many_groups(stage, quick=quick), *_streaks(stage, quick=quick)]


# ---------------------------------------------------------------- broad


def _many_targets(stage: Stage, *, quick: bool) -> Figure:
    with stage.cloned("many_targets") as database:
        brand = _found(stage, database, [programme(0)])
        return _broad(brand, f"A group of {TARGET_COUNT} targets", quick=quick, command=MANY_TARGETS)


def _many_groups(stage: Stage, *, quick: bool) -> Figure:
    with stage.cloned("many_groups") as database:
        brand = _found(stage, database, [programme(number) for number in range(GROUP_COUNT)])
        return _broad(brand, f"{GROUP_COUNT} groups that hear it", quick=quick)


def _broad(brand: "_Brand", title: str, *, quick: bool, command: tuple[object, ...] = (KOSMINAR,)) -> Figure:
    customer_count = QUICK_BROAD_CUSTOMERS if quick else BROAD_CUSTOMERS
    with brand.served(command=command) as server:
        post(server, brand.authorization, [brand.visit(model, "first", CLOCK) for model in MODELS])
    brand.multiply(customer_count)
    with brand.served(command=command) as server:
        count = QUICK_BROAD_ACTIVITIES if quick else BROAD_ACTIVITIES
        post(server, brand.authorization, list(purchases(count // 4, customer_count, "warm up")))
        with brand.stage.watched(server) as cpu:
            post(server, brand.authorization, list(purchases(count, customer_count, "measured")))
    return _figure(f"{title}: CPU of an activity", cpu, count)


# ---------------------------------------------------------------- long


def _streaks(stage: Stage, *, quick: bool) -> list[Figure]:
    figures = []
    first_us = None
    for pattern, step in PATTERNS.items():
        with stage.cloned("streak") as database:
            brand = _found(stage, database, [_daily_streak()])
            lived = 0
            for days in QUICK_DAYS if quick else DAYS:
                with brand.served() as server:
                    _live(brand, server, range(lived, days), step)
                lived = days
                cpu, count = _measured_streak(brand, days, step, quick=quick)
                title = f"A daily streak met {pattern}, after {days:,} days: CPU of an activity"
                aim = None if first_us is None else STREAK_COST_MAX * first_us
                figures.append(_figure(title, cpu, count, aim=aim))
                first_us = first_us or figures[-1].value
    return figures


def _daily_streak() -> dict[str, Any]:
    made = programme(4)
    (target,) = made["targets"]
    return {
        **made,
        "targetCycleStartDate": CLOCK[:10],
        "totalPeriods": 1_000,
        "frequencyType": "DAILY",
        "offsetDays": 30,
        "targets": [{**target, "targetType": "COUNT", "defaultValues": [{"defaultValue": 1}]}],
        "streaks": [{"targetCountOfSequence": count, "rewards": [POINTS]} for count in (7, 30)],
    }


def _live(brand: "_Brand", server: Served, days: range, step: int) -> None:
    """Both models, over so many days, in batches of as many days as can be sent late."""
    for first in days[::DAYS_AT_ONCE]:
        some = range(first, min(first + DAYS_AT_ONCE, days.stop))
        brand.advance(server, some[-1])
        for model in MODELS:
            met = [day for day in some if day % step == 0]
            post(server, brand.authorization, [brand.visit(model, f"day {day}", _at(day)) for day in met])


def _measured_streak(brand: "_Brand", days: int, step: int, *, quick: bool) -> tuple[Cpu, int]:
    """Everybody meets some days more, each on the day itself; what the days' ends cost is not counted."""
    customer_count = QUICK_STREAK_CUSTOMERS if quick else STREAK_CUSTOMERS
    whole, count = Cpu(), 0
    with brand.stage.cloned("streak_measured", brand.database) as database:
        grown = brand.of(database)
        grown.multiply(customer_count)
        with grown.served() as server:
            first = days + -days % step
            for number, day in enumerate(range(first, first + (WARM_UP_DAYS + MEASURED_DAYS) * step, step)):
                grown.advance(server, day)
                activities = [grown.visit(one, f"day {day}", _at(day)) for one in range(1, customer_count + 1)]
                with grown.stage.watched(server) as cpu:
                    post(server, grown.authorization, activities)
                if number >= WARM_UP_DAYS:
                    whole, count = whole + cpu, count + len(activities)
    return whole, count


def _at(day: int) -> str:
    """Half an hour before the clock's noon of that day."""
    at = datetime.fromisoformat(CLOCK) + timedelta(days=day, minutes=-30)
    return at.astimezone(UTC).isoformat()


# ---------------------------------------------------------------- both


@dataclass(frozen=True)
class _Brand:
    """An organisation in a database of its own, with its programmes and the two models."""

    stage: Stage
    database: str
    organisation_id: int
    authorization: str

    def of(self, database: str) -> "_Brand":
        return _Brand(self.stage, database, self.organisation_id, self.authorization)

    @contextmanager
    def served(self, *, command: tuple[object, ...] = (KOSMINAR,)) -> Iterator[Served]:
        with self.stage.served(self.database, command=command) as server:
            yield server

    def visit(self, customer_id: int, activity_id: str, occurred_at: str) -> Activity:
        return {
            "id": activity_id,
            "customerId": customer_id,
            "type": "transaction",
            "occurredAt": occurred_at,
            "attributes": {"amount": 1},
        }

    def advance(self, server: Served, day: int) -> None:
        to = datetime.fromisoformat(CLOCK) + timedelta(days=day)
        ask(server.url, self.authorization, "/v1/clock/advance", {"to": to.isoformat()})

    def multiply(self, customer_count: int) -> None:
        # Counters are not looked at here.
        member, achiever = Moved({}), Moved({})
        multiply(self.stage, self.database, self.organisation_id, customer_count, member=member, achiever=achiever)


def _found(stage: Stage, database: str, definitions: list[dict[str, Any]]) -> _Brand:
    organisation_id = stage.create_organisation(database)
    authorization = stage.sign_up(organisation_id, database)
    with stage.served(database) as server:
        for one in definitions:
            ask(server.url, authorization, "/v3/targetGroups", one)
        ask(server.url, authorization, "/v1/customers", {"customers": [{"customerId": model} for model in MODELS]})
    return _Brand(stage, database, organisation_id, authorization)


def _figure(title: str, cpu: Cpu, count: int, *, aim: float | None = None) -> Figure:
    server, database = cpu.server_us(count), cpu.database_us(count)
    note = f"{server:.0f} us server and {database:.0f} us database, of {count:,} activities"
    return Figure(title, server + database, "us", aim=aim, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer customers and days")
    options = parser.parse_args()
    with open_stage() as stage:
        for figure in run(stage, quick=options.quick):
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
