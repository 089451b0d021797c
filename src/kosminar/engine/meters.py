"""What is counted, by everyone who holds it, and shown by `GET /metrics`.

One object for a house, made with it, with a registry of its own: two applications in one process do not clash, and a
test reads what its own house did. No label is unbounded: never an organisation, a customer, or text that a caller
chose. Numbers that only the database knows are no part of it; they are read when somebody asks (readings.py).
The table with what to alert on is in docs/operations.md, which a test compares with what is here.
"""

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Final

import asyncpg
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.metrics_core import Metric

# From a read of one row to a call that waited for a long batch.
REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Up to writer.BATCH_SIZE_MAX, which is its last.
BATCH_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
BATCH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Meters:
    """Plain counters, gauges and histograms; `collect` makes it something that can be exposed."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._tell_process()
        self.requests: Final = Counter(
            "kosminar_requests",
            "Requests answered, by operation and class of status; none is one that was cut off.",
            ("operation", "status"),
            registry=self.registry,
        )
        self.request_seconds: Final = Histogram(
            "kosminar_request_duration_seconds",
            "From the first line of a request to the end of its answer.",
            ("operation",),
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self._counting: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self.requests_under_way: Final = Gauge(
            "kosminar_requests_under_way", "Requests that are being worked on.", registry=self.registry
        )
        self.refusals: Final = Counter(
            "kosminar_refusals", "Complaints in refused requests, by code.", ("code",), registry=self.registry
        )
        self.changes: Final = Counter(
            "kosminar_changes",
            "What came of changes asked of the writer, line by line of an import too.",
            ("change", "outcome"),
            registry=self.registry,
        )
        self.queue_length: Final = Gauge(
            "kosminar_writer_queue_length", "Changes that wait for a batch.", ("lane",), registry=self.registry
        )
        self.batch_size: Final = Histogram(
            "kosminar_writer_batch_size", "Changes in a batch.", buckets=BATCH_SIZES, registry=self.registry
        )
        self.batch_seconds: Final = Histogram(
            "kosminar_writer_batch_duration_seconds",
            "From taking a batch to its commit, with retries and halves.",
            buckets=BATCH_SECONDS,
            registry=self.registry,
        )
        self.batch_retries: Final = Counter(
            "kosminar_writer_batch_retries",
            "Batches tried again because another transaction was faster, registrations of customers too.",
            registry=self.registry,
        )
        self.batch_halvings: Final = Counter(
            "kosminar_writer_batch_halvings",
            "Batches cut in halves because they failed as a whole.",
            registry=self.registry,
        )
        self.period_ends: Final = Counter(
            "kosminar_period_ends",
            "Customers whose period's end was worked, by the way: together with who is alike, or singly by the writer.",
            ("way",),
            registry=self.registry,
        )
        self.period_end_errors: Final = Counter(
            "kosminar_period_end_errors",
            "Looks at what is due, or period ends of an organisation, that failed and are tried again.",
            registry=self.registry,
        )
        self.delivery_attempts: Final = Counter(
            "kosminar_delivery_attempts",
            "Attempts to deliver a notification, by what came of them.",
            ("outcome",),
            registry=self.registry,
        )
        self.pool_connections: Final = Gauge(
            "kosminar_database_connections",
            "Connections to the database, in use and idle.",
            ("pool", "state"),
            registry=self.registry,
        )
        self.pool_connections_max: Final = Gauge(
            "kosminar_database_connections_max",
            "As many connections as a pool may open.",
            ("pool",),
            registry=self.registry,
        )
        self.scrape_errors: Final = Counter(
            "kosminar_scrape_errors",
            "Numbers left out of an answer here because the database did not give them in time.",
            registry=self.registry,
        )

    def count_request(self, operation: str, status: str, *, seconds: float) -> None:
        """One more request of that kind. What counts a kind is kept, because finding it takes longer than counting."""
        kind = operation, status
        if kind not in self._counting:
            self._counting[kind] = self.requests.labels(*kind), self.request_seconds.labels(operation)
        requests, request_seconds = self._counting[kind]
        requests.inc()
        request_seconds.observe(seconds)

    def watch_pool(self, name: str, pool: asyncpg.Pool) -> None:
        """From now on tell how many connections the pool has; a pool that was opened under the same name is forgotten."""
        self.pool_connections.labels(pool=name, state="used").set_function(
            lambda: pool.get_size() - pool.get_idle_size()
        )
        self.pool_connections.labels(pool=name, state="idle").set_function(pool.get_idle_size)
        self.pool_connections_max.labels(pool=name).set(pool.get_max_size())

    def watch_lane(self, lane_index: int, length: Callable[[], int]) -> None:
        self.queue_length.labels(lane=str(lane_index)).set_function(length)

    def collect(self) -> Iterator[Metric]:
        """Everything, without the times at which each counter was made: a line each that nobody asks for."""
        for family in self.registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family

    def _tell_process(self) -> None:
        # Its names begin with process_ as everywhere, so that what others draw of processes finds them.
        ProcessCollector(registry=self.registry)
        build = Info("kosminar_build", "Which Kosminar this is, and on which Python.", registry=self.registry)
        build.info({"version": version("kosminar"), "python": platform.python_version()})
