"""Enrol and un-enrol over HTTP against pgbench sending the same transaction, at 1, 8, 32 and 128 connections.

Ours is asked by wrk, a process of its own, with real credentials; every answer is checked to have done something. The
yardstick is sql/enrol_and_un_enrol.sql on as many connections: the same reads, the same rows written, the same locks,
one transaction for each call. Both begin with the same rows, and commit to disk before they answer.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pairs import Comparison, Measured, alternate, percentile
from benchmarks.programmes import POINTS, visits
from benchmarks.stage import CLOCK, Served, Stage, ask
from benchmarks.traffic import Load, enrol_again, send

from kosminar.store.programmes import definitions_key
from kosminar.store.standings import CustomerKey

HERE = Path(__file__).parent
CUSTOMER_COUNT = 20_000
CONNECTION_COUNTS, QUICK_CONNECTION_COUNTS = (1, 8, 32, 128), (32,)
# What each call writes, in rows; the number of enrolments grows by every second one.
WRITTEN = ("command", "fact")
BATCH = 1_000
PAIR_COUNT, QUICK_PAIR_COUNT = 5, 2
SECONDS, QUICK_SECONDS, WARM_UP_SECONDS = 3, 2, 1


@dataclass(frozen=True)
class Cast:
    """Who takes part: an organisation with one programme and so many enrolled customers."""

    organisation_id: int
    target_group_id: int
    target_id: int
    period_id: int
    authorization: str
    customers: Path

    @property
    def path(self) -> str:
        return f"/v3/targetGroups/{self.target_group_id}/targets/{self.target_id}"


def prepare(stage: Stage) -> Cast:
    """Customers, each enrolled by a first activity, through the API; and their places, for pgbench."""
    organisation_id = stage.create_organisation()
    authorization = stage.sign_up(organisation_id)
    with stage.served("kosminar") as server:
        made = ask(server.url, authorization, "/v3/targetGroups", visits(20, POINTS))["data"]
        for first in range(1, CUSTOMER_COUNT + 1, BATCH):
            numbers = range(first, first + BATCH)
            ask(server.url, authorization, "/v1/customers", {"customers": [{"customerId": n} for n in numbers]})
            activities = [{"id": "first", "customerId": n, "type": "transaction", "occurredAt": CLOCK} for n in numbers]
            ask(server.url, authorization, "/v1/activities", {"activities": activities})
    _make_places(stage, organisation_id)
    customers = stage.directory / "customers.txt"
    customers.write_text("\n".join(map(str, range(1, CUSTOMER_COUNT + 1))), encoding="ascii")
    return Cast(
        organisation_id=organisation_id,
        target_group_id=made["id"],
        target_id=made["targets"][0]["id"],
        period_id=made["periods"][0]["id"],
        authorization=authorization,
        customers=customers,
    )


def _make_places(stage: Stage, organisation_id: int) -> None:
    keys = [CustomerKey.of(organisation_id, number) for number in range(1, CUSTOMER_COUNT + 1)]
    rows = ", ".join(f"({number}, {key.bucket}, {key.customer_id})" for number, key in enumerate(keys))
    stage.execute(
        "kosminar",
        "CREATE TABLE bench_customer (number integer PRIMARY KEY, bucket smallint NOT NULL, customer_id bigint NOT NULL)",
        f"INSERT INTO bench_customer VALUES {rows}",
        "ANALYZE",
    )


@dataclass
class _Side:
    """A database of one side, and what was counted on it."""

    stage: Stage
    cast: Cast
    database: str
    worked: int = 0
    first: int = 0

    def check(self, *, in_flight_max: int) -> None:
        """Every call that was counted wrote its rows, and nothing was written but for calls that the end cut off."""
        counts = self.stage.counts(self.database, WRITTEN)
        for table in WRITTEN:
            written = counts[table] - self._before[table]
            if not self.worked <= written <= self.worked + in_flight_max:
                raise RuntimeError(f"{self.database}: {self.worked} calls and {written} rows in {table}")

    def begin(self) -> None:
        self._before = self.stage.counts(self.database, WRITTEN)
        self.worked = 0


class Ours(_Side):
    def measure(self, server: Served, connections: int, seconds: float) -> Measured:
        self.begin()
        load = Load("enrolment", self.cast.customers, self.cast.path, self.cast.authorization, first=self.first)
        report = send(server.url, load, connections=connections, seconds=seconds)
        self.worked = report.requests
        self.check(in_flight_max=connections)
        enrol_again(server.url, load, report.requests, connections=connections)
        self.first = load.after(report.requests, connections)
        return report.measured


class Yardstick(_Side):
    def measure(self, clients: int, seconds: float) -> Measured:
        self.begin()
        latencies = self.stage.pgbench(
            self.database,
            HERE / "sql" / "enrol_and_un_enrol.sql",
            clients=clients,
            seconds=seconds,
            defines={
                "step": 0,
                "slice": CUSTOMER_COUNT // clients,
                "organisation": self.cast.organisation_id,
                "group": self.cast.target_group_id,
                "target": self.cast.target_id,
                "period": self.cast.period_id,
                "definitions_key": definitions_key(self.cast.organisation_id),
            },
        )
        self.worked = len(latencies)
        self.check(in_flight_max=0)
        return Measured(len(latencies) / seconds, p50_ms=percentile(latencies, 50), p99_ms=percentile(latencies, 99))


def run(stage: Stage, *, quick: bool) -> list[Comparison]:
    """Throughput and tail at each number of connections; then our own code with a transaction for each request."""
    cast = prepare(stage)
    compared = []
    with stage.cloned("ours") as left, stage.cloned("yardstick") as right:
        ours, bench = Ours(stage, cast, left), Yardstick(stage, cast, right)
        with stage.served(left) as server:
            for connections in QUICK_CONNECTION_COUNTS if quick else CONNECTION_COUNTS:
                compared += _compare(ours, bench, server, connections, quick=quick)
        with ThreadPoolExecutor() as sides:
            for database, clean in zip((left, right), sides.map(stage.audited, (left, right)), strict=True):
                if not clean:
                    raise RuntimeError(f"the audit found differences in {database}")
        if not quick:
            with stage.served(left, command=(sys.executable, "-m", "benchmarks.one_by_one"), lanes=32) as server:
                compared.append(_one_by_one(ours, bench, server))
    return compared


def _compare(ours: Ours, bench: Yardstick, server: Served, connections: int, *, quick: bool) -> list[Comparison]:
    seconds, pair_count = (QUICK_SECONDS, QUICK_PAIR_COUNT) if quick else (SECONDS, PAIR_COUNT)
    ours.measure(server, connections, WARM_UP_SECONDS)
    bench.measure(connections, WARM_UP_SECONDS)
    left, right = alternate(
        pair_count, lambda _: ours.measure(server, connections, seconds), lambda _: bench.measure(connections, seconds)
    )
    title = f"enrol, un-enrol, {connections} connection{'s' * (connections > 1)}"
    found = [
        Comparison(title, "requests/s", aim=1.0 if connections == 32 else None, ours=left, yardstick=right),
        Comparison(
            f"{title}: median", "ms", 3.0 if connections == 1 else None, at_most=True, of="p50_ms",
            ours=left, yardstick=right,
        ),
        Comparison(
            f"{title}: p99", "ms", 5.0 if connections == 32 else None, at_most=True, of="p99_ms",
            ours=left, yardstick=right,
        ),
    ]  # fmt: skip
    for comparison in found:
        print(comparison.line(), flush=True)
    return found


def _one_by_one(ours: Ours, bench: Yardstick, server: Served) -> Comparison:
    ours.measure(server, 32, WARM_UP_SECONDS)
    left, right = alternate(
        PAIR_COUNT, lambda _: ours.measure(server, 32, SECONDS), lambda _: bench.measure(32, SECONDS)
    )
    comparison = Comparison(
        "the same, a transaction for each request, 32 connections", "requests/s", ours=left, yardstick=right
    )
    print(comparison.line(), flush=True)
    return comparison
