"""Enrol and un-enrol over HTTP against pgbench sending the same transaction, at 1, 8, 32 and 128 connections.

Ours is asked by wrk, a process of its own, with real credentials; every answer is checked to have done something. The
yardstick is yardsticks/enrol_and_un_enrol.sql on as many connections: the same reads, the same rows written, the same
locks, one transaction for each call. Its tables are its own (yardsticks/schema.sql), so that it stays what it is when
ours change. Both begin with the same customers, and commit to disk before they answer.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from benchmarks import kept
from benchmarks.pairs import Comparison, Measured, alternate, percentile
from benchmarks.programmes import POINTS, visits
from benchmarks.stage import CLOCK, Served, Stage, ask
from benchmarks.traffic import Load, enrol_again, send
from benchmarks.yardsticks import tables

CUSTOMER_COUNT = 20_000
CONNECTION_COUNTS, QUICK_CONNECTION_COUNTS = (1, 8, 32, 128), (32,)
# By connections: the least ratio that is wanted, and a better one.
BOUNDS = {8: (0.55, 0.7), 32: (1.2, 1.4)}
BATCH = 1_000
PAIR_COUNT, QUICK_PAIR_COUNT = 5, 2
SECONDS, QUICK_SECONDS, WARM_UP_SECONDS = 3, 2, 1


@dataclass(frozen=True)
class Cast:
    """Who takes part: an organisation with one programme and so many enrolled customers."""

    authorization: str
    path: str
    customers: Path


def prepare(stage: Stage) -> Cast:
    """Customers, each enrolled by a first activity, through the API."""
    organisation_id = stage.create_organisation()
    authorization = stage.sign_up(organisation_id)
    with stage.served("kosminar") as server:
        made = ask(server.url, authorization, "/v3/targetGroups", visits(20, POINTS))["data"]
        for first in range(1, CUSTOMER_COUNT + 1, BATCH):
            numbers = range(first, first + BATCH)
            ask(server.url, authorization, "/v1/customers", {"customers": [{"customerId": n} for n in numbers]})
            activities = [{"id": "first", "customerId": n, "type": "transaction", "occurredAt": CLOCK} for n in numbers]
            ask(server.url, authorization, "/v1/activities", {"activities": activities})
    stage.execute("kosminar", "ANALYZE")
    customers = stage.directory / "customers.txt"
    customers.write_text("\n".join(map(str, range(1, CUSTOMER_COUNT + 1))), encoding="ascii")
    return Cast(authorization, f"/v3/targetGroups/{made['id']}/targets/{made['targets'][0]['id']}", customers)


@dataclass
class _Side:
    """A database of one side, and what was counted on it."""

    stage: Stage
    database: str
    worked: int = 0
    first: int = 0
    # Of each, what each call writes one row more of.
    written: ClassVar[tuple[str, ...]]

    def check(self, *, in_flight_max: int) -> None:
        """Every call that was counted wrote its rows, and nothing was written but for calls that the end cut off."""
        for query, before in self._before.items():
            written = self.stage.value(self.database, query) - before
            if not self.worked <= written <= self.worked + in_flight_max:
                raise RuntimeError(f"{self.database}: {self.worked} calls, and {written} of {query}")

    def begin(self) -> None:
        self._before = {query: self.stage.value(self.database, query) for query in self.written}
        self.worked = 0


@dataclass(kw_only=True)
class Ours(_Side):
    cast: Cast
    written: ClassVar[tuple[str, ...]] = (kept.CALLS,)

    def measure(self, server: Served, connections: int, seconds: float) -> Measured:
        self.begin()
        load = Load("enrolment", self.cast.customers, self.cast.path, self.cast.authorization, first=self.first)
        with self.stage.watched(server) as cpu:
            report = send(server.url, load, connections=connections, seconds=seconds)
        self.worked = report.requests
        self.check(in_flight_max=connections)
        enrol_again(server.url, load, report.requests, connections=connections)
        self.first = load.after(report.requests, connections)
        return replace(
            report.measured,
            server_us=cpu.server_us(report.requests),
            database_us=cpu.database_us(report.requests),
        )


class Yardstick(_Side):
    written: ClassVar[tuple[str, ...]] = ("SELECT count(*) FROM command", "SELECT count(*) FROM fact")

    def measure(self, clients: int, seconds: float) -> Measured:
        self.begin()
        with self.stage.watched() as cpu:
            latencies = self.stage.pgbench(
                self.database,
                tables.HERE / "enrol_and_un_enrol.sql",
                clients=clients,
                seconds=seconds,
                defines={
                    "step": 0,
                    "slice": CUSTOMER_COUNT // clients,
                    "organisation": tables.ORGANISATION_ID,
                    "group": tables.TARGET_GROUP_ID,
                    "target": tables.TARGET_ID,
                    "period": tables.PERIOD_ID,
                    "definitions_key": tables.DEFINITIONS_KEY,
                },
            )
        self.worked = len(latencies)
        self.check(in_flight_max=0)
        return Measured(
            len(latencies) / seconds,
            p50_ms=percentile(latencies, 50),
            p99_ms=percentile(latencies, 99),
            database_us=cpu.database_us(len(latencies)),
        )

    def check_customers(self) -> None:
        """What the audit is to ours: nothing was written that does not fit together."""
        count = self.stage.with_connection(
            self.database, lambda one: one.fetchval(tables.statement("count_wrong_customers"))
        )
        if count:
            raise RuntimeError(f"{count} customers of the yardstick do not fit together")


def run(stage: Stage, *, quick: bool) -> list[Comparison]:
    """Throughput and tail at each number of connections; then our own code with a transaction for each request."""
    cast = prepare(stage)
    compared = []
    with (
        stage.cloned("ours") as left,
        tables.filled(stage, "yardstick", "fill_visitors", customer_count=CUSTOMER_COUNT) as right,
    ):
        ours, bench = Ours(stage, left, cast=cast), Yardstick(stage, right)
        with stage.served(left) as server:
            for connections in QUICK_CONNECTION_COUNTS if quick else CONNECTION_COUNTS:
                compared += _compare(ours, bench, server, connections, quick=quick)
        if not stage.audited(left):
            raise RuntimeError(f"the audit found differences in {left}")
        bench.check_customers()
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
        Comparison(title, "requests/s", *BOUNDS.get(connections, (None, None)), ours=left, yardstick=right),
        Comparison(
            f"{title}: median", "ms", aim=3.0 if connections == 1 else None, at_most=True, of="p50_ms",
            ours=left, yardstick=right,
        ),
        Comparison(
            f"{title}: p99", "ms", aim=5.0 if connections == 32 else None, at_most=True, of="p99_ms",
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
