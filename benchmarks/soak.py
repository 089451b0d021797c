"""Mixed load on one server for an hour: is its memory flat, is every answer one that callers can live with?

Several client programs at once: wrk enrolling and un-enrolling, sending activities and reading, each at an even rate;
and a program of ours that sends activities in batches, and moves the organisation's test clock a day further now and
then, so that period ends are worked all the time. The server's resident memory is looked at every ten seconds. At the
end `kosminar audit` recounts everybody. Exits 1 if the server died, if anything was answered with 5xx or not at all, if
the audit finds something, or if memory grew by more than a few megabytes an hour.

    make soak        (or: .venv/bin/python -m benchmarks.soak --minutes 60)
"""

import argparse
import itertools
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from benchmarks.pairs import Figure
from benchmarks.seed import PROGRAMME
from benchmarks.stage import CLOCK, Served, Stage, ask, open_stage
from benchmarks.traffic import Load, Report, sending

MEGABYTE = 1_000_000
CUSTOMER_COUNT = 20_000
SAMPLE_SECONDS = 10.0
# Of a run, before memory is expected to be flat: caches fill, and Python's heap finds its size.
SETTLING_PART = 0.2
SLOPE_MB_AN_HOUR = 10.0
BATCH = 100
BATCH_PAUSE_SECONDS = 0.25
SECONDS_A_DAY = 20.0

# An activity's own instant is the clock's as it was at the beginning; in these periods of years it always counts.
YEARS: dict[str, Any] = {**PROGRAMME, "name": "Years", "frequencyType": "YEARLY", "totalPeriods": 5}
DAYS: dict[str, Any] = {
    **PROGRAMME,
    "name": "Days",
    "targetCycleStartDate": "2031-01-15",
    "frequencyType": "DAILY",
    "totalPeriods": 366,
    "targets": [{**PROGRAMME["targets"][0], "name": "One visit a day"}],
}


@dataclass(frozen=True)
class _Cast:
    authorization: str
    path: str
    customers: Path


@dataclass
class _Brand:
    """The client program of ours: batches of activities dated now, and days that go by."""

    url: str
    authorization: str
    statuses: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    days: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def live(self) -> None:
        now = datetime.fromisoformat(CLOCK).astimezone(UTC)
        began = time.monotonic()
        customer_ids = itertools.cycle(range(1, CUSTOMER_COUNT + 1))
        with httpx2.Client(base_url=self.url, headers={"Authorization": self.authorization}, timeout=60) as client:
            for number in itertools.count():
                if self.over.wait(BATCH_PAUSE_SECONDS):
                    return
                if time.monotonic() - began > (self.days + 1) * SECONDS_A_DAY:
                    self.days += 1
                    now += timedelta(days=1)
                    self._ask(client, "/v1/clock/advance", {"to": now.isoformat()})
                activities = [
                    {
                        "id": f"batch {number}",
                        "customerId": next(customer_ids),
                        "type": "transaction",
                        "occurredAt": now.isoformat(),
                    }
                    for _ in range(BATCH)
                ]
                self._ask(client, "/v1/activities", {"activities": activities})

    def _ask(self, client: httpx2.Client, path: str, body: Any) -> None:
        try:
            self.statuses[client.post(path, json=body).status_code] += 1
        except httpx2.HTTPError as error:
            self.errors.append(f"{path}: {error!r}")


def run(stage: Stage, *, minutes: float) -> tuple[list[Figure], list[str]]:
    """What was measured, and what must not be."""
    cast = _prepare(stage)
    # Connections, and milliseconds between an answer and the next request: some 400 requests a second in all.
    loads = {
        "enrol and un-enrol": (Load("enrolment", cast.customers, cast.path, cast.authorization, delay_ms=80), 8),
        "activities": (Load("activity", cast.customers, cast.path, cast.authorization, delay_ms=80), 8),
        "target groups": (Load("target_groups", cast.customers, cast.path, cast.authorization, delay_ms=80), 8),
        "facts": (Load("facts", cast.customers, cast.path, cast.authorization, delay_ms=80), 8),
    }
    with stage.served("kosminar") as server:
        brand = _Brand(server.url, cast.authorization)
        living = threading.Thread(target=brand.live)
        living.start()
        with ExitStack() as stack:
            under_way = {
                name: stack.enter_context(sending(server.url, load, connections=connections))
                for name, (load, connections) in loads.items()
            }
            samples = _watch(server, minutes * 60)
            brand.over.set()
            living.join()
    reports = {name: one.report for name, one in under_way.items() if one.report is not None}
    return _judge(stage, samples, brand, reports, minutes)


def _prepare(stage: Stage) -> _Cast:
    organisation_id = stage.create_organisation()
    authorization = stage.sign_up(organisation_id)
    with stage.served("kosminar") as server:
        made = ask(server.url, authorization, "/v3/targetGroups", YEARS)["data"]
        ask(server.url, authorization, "/v3/targetGroups", DAYS)
        for first in range(1, CUSTOMER_COUNT + 1, 1_000):
            numbers = range(first, first + 1_000)
            ask(server.url, authorization, "/v1/customers", {"customers": [{"customerId": n} for n in numbers]})
            activities = [{"id": "first", "customerId": n, "type": "transaction", "occurredAt": CLOCK} for n in numbers]
            ask(server.url, authorization, "/v1/activities", {"activities": activities})
    customers = stage.directory / "customers.txt"
    customers.write_text("\n".join(map(str, range(1, CUSTOMER_COUNT + 1))), encoding="ascii")
    path = f"/v3/targetGroups/{made['id']}/targets/{made['targets'][0]['id']}"
    return _Cast(authorization, path, customers)


def _watch(server: Served, seconds: float) -> list[tuple[float, float]]:
    """Seconds since the beginning, and megabytes; ends early if the server does."""
    began = time.monotonic()
    samples = [(0.0, server.resident_bytes() / MEGABYTE)]
    while (passed := time.monotonic() - began) < seconds:
        print(f"{passed / 60:6.1f} min  {samples[-1][1]:7.1f} MB", file=sys.stderr, flush=True)
        time.sleep(min(SAMPLE_SECONDS, seconds - passed))
        try:
            samples.append((time.monotonic() - began, server.resident_bytes() / MEGABYTE))
        except (OSError, RuntimeError):
            break
    return samples


def _judge(
    stage: Stage,
    samples: list[tuple[float, float]],
    brand: _Brand,
    reports: dict[str, Report],
    minutes: float,
) -> tuple[list[Figure], list[str]]:
    settled = [sample for sample in samples if sample[0] >= SETTLING_PART * minutes * 60]
    slope = _slope(settled) * 3600 if len(settled) > 1 else 0.0
    requests = sum(report.requests for report in reports.values()) + sum(brand.statuses.values())
    figures = [
        Figure("Soak: memory at first", samples[0][1], "MB"),
        Figure("Soak: memory when caches were filled", settled[0][1] if settled else samples[-1][1], "MB"),
        Figure(
            "Soak: memory at the end", samples[-1][1], "MB", note=f"after {minutes:g} minutes, {requests:,} requests"
        ),
        Figure(
            "Soak: growth",
            slope,
            "MB/hour",
            # A short trial says nothing of hours.
            aim=SLOPE_MB_AN_HOUR if minutes >= 30 else None,
            note=f"least squares after the first {SETTLING_PART:.0%}; {brand.days} days went by",
        ),
        *(
            Figure(f"Soak: {name}, p99", report.p99_ms, "ms", note=f"{report.requests / report.seconds:.0f} requests/s")
            for name, report in reports.items()
        ),
    ]
    wrong = [f"{name}: {report}" for name, report in reports.items() if report.failed]
    wrong += [f"{count} answers with {status}" for status, count in brand.statuses.items() if status >= 500]
    wrong += brand.errors[:10]
    wrong += [figure.line() for figure in figures if figure.met is False]
    if samples[-1][0] < minutes * 60:
        wrong.append(
            f"the server died {samples[-1][0]:.0f} to {samples[-1][0] + SAMPLE_SECONDS:.0f} s after the beginning"
        )
    if not stage.audited("kosminar"):
        wrong.append("the audit finds something wrong")
    return figures, wrong


def _slope(samples: list[tuple[float, float]]) -> float:
    """Megabytes a second, by least squares."""
    middle_x = sum(x for x, _ in samples) / len(samples)
    middle_y = sum(y for _, y in samples) / len(samples)
    return sum((x - middle_x) * (y - middle_y) for x, y in samples) / sum((x - middle_x) ** 2 for x, _ in samples)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    with open_stage() as stage:
        figures, wrong = run(stage, minutes=options.minutes)
    print("\n".join(figure.line() for figure in figures))
    print("\n".join(f"WRONG: {one}" for one in wrong) or "The audit is clean, nothing was answered with 5xx.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
