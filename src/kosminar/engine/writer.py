"""The Writer: the one way in for every change of a customer.

It gathers the requests that arrive while the previous batch is being saved and works them off together, so that one
request alone waits for nobody and under load the cost of a commit is shared. Customers are divided among lanes by
bucket: one customer is always in one lane, so two batches of this process never wait for each other's locks; between
processes the customer row decides. On a distributed database a batch holds customers of one shard only (ADR-0041). A
batch that fails as a whole is retried in halves, so that one poisonous request cannot take its neighbours down. What
one batch does is told in batch.py.
"""

import asyncio
import itertools
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self

import asyncpg
import structlog

from kosminar.core.activity import Activity
from kosminar.core.bucket import BUCKET_COUNT
from kosminar.core.errors import Code
from kosminar.engine import batch
from kosminar.engine.catalogue import Catalogues
from kosminar.engine.change import (
    ActivityOutcome,
    EnrolmentOutcome,
    KeptOutcome,
    Outcome,
    ReportOutcome,
    Request,
    Settlement,
    SettlementOutcome,
    Status,
)
from kosminar.engine.meters import Meters
from kosminar.engine.retry import NotSaved, in_attempts
from kosminar.store.distribution import ONE_GROUP, Groups
from kosminar.store.queries import Connection

# Beyond 100 to 500 a larger batch brings no speed, only longer waits for those in it.
BATCH_SIZE_MAX: Final = 500
# More than this wait only when the database has stopped; then it is better to say so than to fill the memory.
QUEUE_LENGTH_MAX: Final = 50_000

LOG = structlog.get_logger()


class Writer:
    """Start with `async with`; then `submit` as many requests as you like, at once.

    The pool is the writer's own, a connection for each lane: what waits for a lane must not hold what the lane needs.
    Customers whose buckets are of different `groups` are never in one batch.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        wall: batch.Wall,
        lane_count: int,
        groups: Groups = ONE_GROUP,
        meters: Meters | None = None,
        catalogues: Catalogues | None = None,
    ) -> None:
        assert lane_count >= 1
        self.groups = groups
        # What divides customers among lanes: the group, so that batches are large; the bucket if there is one group.
        self._places = range(BUCKET_COUNT) if groups.count == 1 else groups.numbers
        # Whom nobody watches counts for itself.
        self.meters = meters or Meters()
        self._pool = pool
        self._wall = wall
        self.catalogues = catalogues or Catalogues()
        self._posted: Callable[[], None] = _nobody
        self._asked_at = -math.inf
        self._lanes = [_Lane(self, index) for index in range(lane_count)]

    async def __aenter__(self) -> Self:
        for lane in self._lanes:
            lane.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.finish()

    async def finish(self) -> None:
        """Accept nothing more, and return when everything that was accepted is saved or given up."""
        await asyncio.gather(*(lane.finish() for lane in self._lanes))

    def give_up(self) -> None:
        """Fail what is not saved yet, as if the database were lost: nobody was told that it was saved."""
        self._pool.terminate()

    def when_posted(self, listener: Callable[[], None]) -> None:
        """Whom to tell that there is something to deliver, once it is committed."""
        self._posted = listener

    def quiet_for(self, seconds: float) -> bool:
        """Whether nobody has asked for anything so long; what period ends need of us does not count."""
        return time.monotonic() - self._asked_at >= seconds

    async def submit(self, requests: Iterable[Request]) -> list[Outcome]:
        """The outcomes in the order of the requests; what is answered is durable.

        Requests of one customer are worked in the order given. Raises NotSaved when the database could not take one;
        the others of the call may be saved all the same.
        """
        futures = [self._put(request) for request in requests]
        done = await asyncio.gather(*futures, return_exceptions=True)
        outcomes: list[Outcome] = []
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    async def submit_one(self, request: Request) -> Outcome:
        return await self._put(request)

    def _put(self, request: Request) -> "asyncio.Future[Outcome]":
        if not isinstance(request.change, Settlement):
            self._asked_at = time.monotonic()
        return self._lane_of(request).put(request)

    def _lane_of(self, request: Request) -> "_Lane":
        place = self._places[request.customer.bucket]
        return self._lanes[place % len(self._lanes)]

    async def work(self, requests: Sequence[Request]) -> list[Outcome | BaseException]:
        """One batch; if it fails as a whole, its halves, down to the single request that is at fault."""
        try:
            return list(await self._attempt(requests))
        except NotSaved as error:
            return [error] * len(requests)
        except Exception as error:
            if len(requests) == 1:
                LOG.exception("request_failed", organisation_id=requests[0].organisation_id)
                return [_failure(requests[0], error)]
            LOG.warning("batch_halved", size=len(requests), error=type(error).__name__)
            self.meters.batch_halvings.inc()
            middle = len(requests) // 2
            return [*await self.work(requests[:middle]), *await self.work(requests[middle:])]

    async def _attempt(self, requests: Sequence[Request]) -> list[Outcome]:
        async def work(connection: Connection) -> list[Outcome]:
            return await batch.work(
                connection,
                requests,
                wall=self._wall,
                catalogues=self.catalogues,
                posted=self._posted,
                joined=self.groups.joined,
            )

        return await in_attempts(self._pool, work, retried_event="batch_retried", meters=self.meters)


def _nobody() -> None:
    """Deliveries are found by whoever looks for them."""


class _Lane:
    """A queue for each group of buckets, and the task that empties them, one batch of one group after another."""

    def __init__(self, writer: Writer, index: int) -> None:
        self._writer = writer
        self._index = index
        # The groups for which something waits, in the order of their turns.
        self._waiting: defaultdict[int, deque[tuple[Request, asyncio.Future[Outcome]]]] = defaultdict(deque)
        self._waiting_count = 0
        self._filled = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        writer.meters.watch_lane(index, lambda: self._waiting_count)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def finish(self) -> None:
        self._stopping = True
        self._filled.set()
        if self._task is not None:
            await self._task

    def put(self, request: Request) -> "asyncio.Future[Outcome]":
        if self._stopping:
            raise NotSaved("the server is shutting down")
        if self._waiting_count >= QUEUE_LENGTH_MAX:
            raise NotSaved("too many requests are waiting")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[self._writer.groups.group_of(request.customer.bucket)].append((request, future))
        self._waiting_count += 1
        self._filled.set()
        return future

    async def _run(self) -> None:
        meters = self._writer.meters
        for batch_number in itertools.count(1):
            await self._filled.wait()
            if not self._waiting:
                if self._stopping:
                    return
                self._filled.clear()
                continue
            taken = self._take()
            # Beside the other lanes' and processes' lines, one can tell which are of one batch.
            structlog.contextvars.bind_contextvars(batch=f"{self._index}-{batch_number}")
            with meters.batch_seconds.time():
                outcomes = await self._writer.work([request for request, _ in taken])
            meters.batch_size.observe(len(taken))
            _count(meters, taken, outcomes)
            for (_, future), outcome in zip(taken, outcomes, strict=True):
                _answer(future, outcome)

    def _take(self) -> list[tuple[Request, asyncio.Future[Outcome]]]:
        """What the next batch holds: of the group whose turn it is, which then has its next turn after the others."""
        group = next(iter(self._waiting))
        waiting = self._waiting.pop(group)
        taken = [waiting.popleft() for _ in range(min(BATCH_SIZE_MAX, len(waiting)))]
        if waiting:
            self._waiting[group] = waiting
        self._waiting_count -= len(taken)
        return taken


def _failure(request: Request, error: Exception) -> Outcome | Exception:
    """What a request comes to that fails by itself and saved nothing: its own outcome where it has company."""
    match request.change:
        case Activity():
            return ActivityOutcome(Status.REJECTED, Code.INTERNAL_ERROR)
        case Settlement():
            return SettlementOutcome(failed=True)
        case _:
            return error


def _count(
    meters: Meters,
    taken: Sequence[tuple[Request, asyncio.Future[Outcome]]],
    outcomes: Sequence[Outcome | BaseException],
) -> None:
    """How many of a batch came to what; activities are refused one by one, so their codes are counted here."""
    counts: Counter[tuple[str, str]] = Counter()
    codes: Counter[Code] = Counter()
    for (request, _), outcome in zip(taken, outcomes, strict=True):
        counts[type(request.change).__name__, _told(outcome)] += 1
        if isinstance(outcome, ActivityOutcome) and outcome.status is Status.REJECTED and outcome.code is not None:
            codes[outcome.code] += 1
    for (change, told), count in counts.items():
        meters.changes.labels(change=change, outcome=told).inc(count)
    for code, count in codes.items():
        meters.refusals.labels(code=str(int(code))).inc(count)


def _told(outcome: Outcome | BaseException) -> str:
    match outcome:
        case BaseException() | SettlementOutcome(failed=True):
            return "failed"
        case ActivityOutcome():
            return outcome.status.value
        case EnrolmentOutcome() | ReportOutcome() if outcome.errors:
            return Status.REJECTED.value
        case KeptOutcome():
            return Status.DUPLICATE.value
        case _:
            return Status.ACCEPTED.value


def _answer(future: "asyncio.Future[Outcome]", outcome: Outcome | BaseException) -> None:
    # A caller that went away has cancelled its future; what it asked for is done all the same.
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
