"""Two processes on one database against one: batches of 500 at five targets, by turns.

Both ways the same number of requests is sent over the same number of connections; two processes get half of each. They
are servers as `kosminar serve` starts them, as in the simulation. What is counted are batches a second, until the last one
is answered. It also shows the CPU time of one activity, for all servers together and for PostgreSQL.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks import kept
from benchmarks.compare.sender import send
from benchmarks.fixed_load import BATCH_CONNECTIONS, BATCH_SIZE, messages, purchases
from benchmarks.pairs import Comparison, Measured, alternate
from benchmarks.stage import Served, Stage

PAIRS, QUICK_PAIRS = 5, 2
BATCHES, QUICK_BATCHES, WARM_UP_BATCHES = 24, 8, 4


def run(stage: Stage, template: str, authorization: str, customer_count: int, *, quick: bool) -> Comparison:
    """Of a database with so many customers who have a standing at each of five targets."""
    batches = QUICK_BATCHES if quick else BATCHES
    with (
        stage.cloned("one_process", template) as alone,
        stage.cloned("two_processes", template) as shared,
        ExitStack() as stack,
    ):
        sides = {
            alone: [stack.enter_context(stage.served(alone))],
            shared: [stack.enter_context(stage.served(shared)) for _ in range(2)],
        }

        def measure(database: str, run_name: str, count: int = batches) -> Measured:
            return _measure(stage, database, sides[database], authorization, customer_count, count, run_name)

        for database in sides:
            measure(database, "warm up", WARM_UP_BATCHES)
        two, one = alternate(
            QUICK_PAIRS if quick else PAIRS,
            lambda number: measure(shared, f"{number}"),
            lambda number: measure(alone, f"{number}"),
        )
        title = f"two processes to one, batches of {BATCH_SIZE}, 5 targets"
        return Comparison(title, "batches/s", aim=0.9, ours=two, yardstick=one)


def _measure(
    stage: Stage,
    database: str,
    servers: list[Served],
    authorization: str,
    customer_count: int,
    batch_count: int,
    run_name: str,
) -> Measured:
    count = batch_count * BATCH_SIZE
    activities = list(purchases(count, customer_count, run_name))
    share = len(activities) // len(servers)
    loads = [
        messages(
            authorization,
            activities[place * share : (place + 1) * share],
            connections=BATCH_CONNECTIONS // len(servers),
        )
        for place in range(len(servers))
    ]
    before = stage.value(database, kept.ACTIVITIES)
    began = time.perf_counter()
    with stage.watched(*servers) as cpu, ThreadPoolExecutor(len(servers)) as threads:
        list(threads.map(send, [server.port for server in servers], loads))
    took = time.perf_counter() - began
    written = stage.value(database, kept.ACTIVITIES) - before
    if written != count:
        raise RuntimeError(f"{database}: {count} activities were sent and {written} are there")
    return Measured(batch_count / took, server_us=cpu.server_us(count), database_us=cpu.database_us(count))
