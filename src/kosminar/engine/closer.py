"""The closer: works period ends when they fall due, for every organisation by its own clock.

A period end is no event of its own: every change of a customer settles first what fell due before it (core/decide.py).
The closer only asks whose standing was to wake by now, whatever for, and has it settled: where many wake, the sweep
settles those who are alike together (sweep.py), and everybody else is a request to the writer. So it may be killed, run
twice, and be late: the outcome is the same, and what it did not finish it finds again.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog

from kosminar.core.clock import clock_now
from kosminar.core.event import EventName
from kosminar.core.idempotency import BEGUN, IdempotencyKey
from kosminar.core.period import Period
from kosminar.core.programme import Programme, Target
from kosminar.engine.batch import Wall
from kosminar.engine.catalogue import Catalogues
from kosminar.engine.change import Request, Settlement, SettlementOutcome
from kosminar.engine.sweep import Sweeper
from kosminar.engine.trouble import Trouble
from kosminar.engine.writer import BATCH_SIZE_MAX, Writer
from kosminar.store import clocks, idempotency, period_ends, programmes, standings, webhook_endpoints
from kosminar.store.period_ends import WakeUp
from kosminar.store.queries import Connection
from kosminar.store.standings import CustomerKey
from kosminar.turns import in_parts

TICK_SECONDS: Final = 1.0
# As many as one batch of each lane is likely to take.
PAGE: Final = 4 * BATCH_SIZE_MAX
# Where fewer than these wake in a group, a few batches of the writer take as long as a way through all buckets.
MANY: Final = 2 * BATCH_SIZE_MAX
FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)
# Long period ends say this often how far they have come.
PROGRESS_SECONDS: Final = 10.0
# Somebody who asked this lately will ask again; how soon it is looked whether they still do.
QUIET_SECONDS: Final = 1.0
GIVING_WAY_SECONDS: Final = 0.05

LOG = structlog.get_logger()


class NoTestClock(Exception):
    """The organisation has a real clock, or the instant lies before the one its test clock shows."""


class PeriodEndsFailed(Exception):
    """Some period ends could not be worked, by our own fault; they are found again, and the log says why."""


class Closer:
    """`settle` and `advance` answer when everything due is done; `run` watches all organisations for ever.

    The pool is the closer's own: its connections may wait long for somebody else's period ends.
    """

    def __init__(
        self, pool: asyncpg.Pool, writer: Writer, sweeper: Sweeper, *, wall: Wall, catalogues: Catalogues
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._sweeper = sweeper
        self._meters = writer.meters
        self._wall = wall
        self._catalogues = catalogues
        self._trouble = Trouble("closer_waits_for_database", "closer_goes_on")
        # In this process, callers queue here rather than each holding a connection that waits in the database.
        self._queues: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self) -> None:
        """Look round once, for what an earlier process left, then follow the clocks until cancelled."""
        for round_number in itertools.count():
            # On every line that is logged while looking round: what this process's closer did at one time.
            structlog.contextvars.bind_contextvars(closer_round=round_number)
            await self._look_round(everywhere=round_number == 0)
            await asyncio.sleep(TICK_SECONDS)

    async def settle(self, organisation_id: int, *, wait: bool = True) -> None:
        """Work everything due at the organisation's present instant, whatever was worked before.

        Without `wait`, nothing is done while somebody else works this organisation's period ends. Raises
        PeriodEndsFailed when all others are done.
        """
        async with self._alone(organisation_id, wait=wait) as connection:
            if connection is None:
                return
            now = await self._now(connection, organisation_id)
            await self._work_through(connection, organisation_id, now)

    async def advance(self, organisation_id: int, to: datetime, *, key: IdempotencyKey | None = None) -> datetime:
        """Move a test clock forward, due instant by due instant, each committed (decision 34).

        To the instant it shows, there is nothing to do but what a call that was cut off has left. Under a key it is
        judged once: a repeat goes on, also when another call has moved the clock past that instant since (ADR-0038).
        Raises NoTestClock, and PeriodEndsFailed when all others are done.
        """
        async with self._alone(organisation_id, wait=True) as connection:
            assert connection is not None, "who waits gets it"
            state = await clocks.fetch(connection, organisation_id)
            begun = key is not None and await idempotency.find_result(connection, key, BEGUN) is not None
            if not begun and (not state.test_clock or to < state.clock_at):
                raise NoTestClock
            if key is not None and not begun:
                await idempotency.insert_results(connection, [(key, BEGUN, to.isoformat())])
            await self._work_through(connection, organisation_id, max(to, state.clock_at))
            return to

    @asynccontextmanager
    async def _alone(self, organisation_id: int, *, wait: bool) -> AsyncIterator[Connection | None]:
        """The one who works this organisation's period ends, in any process; None who did not want to wait."""
        if not wait and self._queues[organisation_id].locked():
            yield None
            return
        async with (
            self._queues[organisation_id],
            self._pool.acquire() as connection,
            clocks.settling(connection, organisation_id, wait=wait) as alone,
        ):
            yield connection if alone else None

    async def _look_round(self, *, everywhere: bool) -> None:
        try:
            async with self._pool.acquire() as connection:
                due = await (clocks.list_all(connection) if everywhere else clocks.list_due(connection, self._wall()))
        except Exception as error:  # noqa: BLE001  # The next tick looks again.
            self._trouble.log("period_ends_not_looked_for", error)
            self._meters.period_end_errors.inc()
            return
        failed = False
        for organisation_id in due:
            try:
                await self.settle(organisation_id, wait=False)
            except Exception as error:  # noqa: BLE001
                # The next tick tries again, and the other organisations have theirs now: what is due stays due.
                self._trouble.log("period_ends_not_worked", error, organisation_id=organisation_id)
                self._meters.period_end_errors.inc()
                failed = True
        if not failed:
            self._trouble.log_end()

    async def _now(self, connection: Connection, organisation_id: int) -> datetime:
        state = await clocks.fetch(connection, organisation_id)
        return clock_now(test_clock=state.test_clock, clock_at=state.clock_at, wall=self._wall())

    async def _work_through(self, connection: Connection, organisation_id: int, until: datetime) -> None:
        """The due instants that were not worked yet, one after another, and then `until` itself.

        At each it is looked for who waits for the ends since the one before; at last for who waits for any, so that
        whatever was left is found.
        A period end that fails keeps nobody else from theirs; but from there on nothing is marked as worked, so that
        it is found again.
        """
        began = time.monotonic()
        failed_count = instant_count = 0
        after = (await clocks.fetch(connection, organisation_id)).settled_at
        while due := await clocks.next_due(connection, organisation_id, after=after, until=until):
            failed_count += await self._work(
                connection, organisation_id, due, after=after, since=after, mark=failed_count == 0
            )
            instant_count += 1
            after = due
        failed_count += await self._work(
            connection, organisation_id, until, after=after, since=None, mark=failed_count == 0
        )
        if instant_count:
            LOG.info(
                "period_ends_worked",
                organisation_id=organisation_id,
                instants=instant_count,
                failed=failed_count,
                duration_ms=round((time.monotonic() - began) * 1000, 1),
            )
        if failed_count:
            raise PeriodEndsFailed(f"{failed_count} period ends of organisation {organisation_id} failed")

    async def _work(
        self,
        connection: Connection,
        organisation_id: int,
        at: datetime,
        *,
        after: datetime,
        since: datetime | None,
        mark: bool,
    ) -> int:
        """One instant: bring the clock there, so that nobody is dated before it any more; then settle who waits.

        Of the periods that fell due after the instant before, whoever was in them is told.
        """
        await clocks.move(connection, organisation_id, at)
        state = await clocks.fetch(connection, organisation_id)
        edition = await programmes.fetch_edition(connection, organisation_id)
        definitions = await self._catalogues.definitions(connection, organisation_id, edition)
        found = tuple(definitions.by_group.values())
        failed_count = 0
        for programme in found:
            # Under another version each standing may wake at another instant: all who wait are looked at once.
            changed = programme.version > state.settled_version
            if changed or since is None or _may_wake(programme, since, at):
                failed_count += await self._wake(connection, programme, at, until=FOR_EVER if changed else at)
        async for requests in self._completed(connection, organisation_id, found, after, at):
            failed_count += await self._submit(requests)
        if mark and not failed_count:
            await clocks.mark_settled(connection, organisation_id, at, version=edition.version)
        return failed_count

    async def _submit(self, requests: Sequence[Request]) -> int:
        """One by one, through the writer; how many failed."""
        outcomes = await self._writer.submit(requests)
        settled = [outcome for outcome in outcomes if isinstance(outcome, SettlementOutcome)]
        failed_count = sum(outcome.failed for outcome in settled)
        self._meters.period_ends.labels(way="singly").inc(sum(bool(outcome.facts) for outcome in settled))
        return failed_count

    async def _wake(self, connection: Connection, programme: Programme, at: datetime, *, until: datetime) -> int:
        """The customers of a group who wake up to that instant, or were left behind; how many failed.

        Few are gathered for the writer. Many are swept, and who is left then goes to the writer.
        """
        wake_up = WakeUp(programme.organisation_id, programme.target_group_id, at, until, programme.version)
        awake = await period_ends.list_some_awake(connection, wake_up, limit=MANY)
        if len(awake) < MANY:
            return await self._settle_singly(programme, awake)
        course = _Course(programme, self._sweeper.slices())
        lanes = [
            asyncio.create_task(self._sweep_lane(wake_up, course, gives_way=number > 0))
            for number in range(self._sweeper.lane_count)
        ]
        try:
            return sum(await asyncio.gather(*lanes))
        finally:
            # When one could not go on, nobody works on who has not the right to it any more.
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _sweep_lane(self, wake_up: WakeUp, course: "_Course", *, gives_way: bool) -> int:
        """Who is left over is gathered until there are enough for the writer.

        All lanes but one give way to who asks for something meanwhile.
        """
        failed_count = 0
        left: list[CustomerKey] = []
        while not course.over:
            if gives_way and not self._writer.quiet_for(QUIET_SECONDS):
                await asyncio.sleep(GIVING_WAY_SECONDS)
                continue
            async for page in self._sweeper.sweep(wake_up, course.next_slice()):
                left += page.left
                course.note(page.settled_count)
                if len(left) >= PAGE:
                    failed_count += await self._settle_singly(course.programme, left)
                    course.note(len(left))
                    left = []
        failed_count += await self._settle_singly(course.programme, left)
        course.note(len(left))
        return failed_count

    async def _settle_singly(self, programme: Programme, customers: Sequence[CustomerKey]) -> int:
        """Through the writer, a page at a time; how many failed."""
        change = Settlement(programme.targets[0].target_id)
        failed_count = 0
        for page in in_parts(customers, PAGE):
            requests = [Request(one.organisation_id, one.customer_id, change) for one in page]
            failed_count += await self._submit(requests)
        return failed_count

    async def _completed(
        self,
        connection: Connection,
        organisation_id: int,
        found: Sequence[Programme],
        after: datetime,
        at: datetime,
    ) -> AsyncIterator[list[Request]]:
        """Who is to be told that a period ended; nobody is looked for unless somebody listens.

        Rewards do not depend on it. Who was told is passed over, so that this too may be repeated.
        """
        endpoints = await webhook_endpoints.list_of(connection, organisation_id)
        if not any(endpoint.subscribes_to(EventName.TARGET_PERIOD_COMPLETED) for endpoint in endpoints):
            return
        for programme in found:
            for target, period in itertools.product(programme.targets, programme.periods):
                if after < period.due_at <= at and not programme.cut_short(period):
                    async for requests in self._in_at_end(connection, programme, target, period):
                        yield requests

    async def _in_at_end(
        self, connection: Connection, programme: Programme, target: Target, period: Period
    ) -> AsyncIterator[list[Request]]:
        """Bucket by bucket, gathered to pages that keep all lanes at work."""
        told = Settlement(target.target_id, completed_number=period.number)
        page: list[Request] = []
        for bucket in standings.EVERY_BUCKET:
            after = 0
            while found := await standings.list_customers_to_tell_of_end(
                connection, programme, target, period, bucket=bucket, after=after, limit=PAGE
            ):
                after = found[-1]
                page += [Request(programme.organisation_id, customer_id, told) for customer_id in found]
                if len(page) >= PAGE:
                    yield page
                    page = []
        if page:
            yield page


class _Course:
    """The way through the customers of one group who wake: which buckets are next, and how far one has come."""

    def __init__(self, programme: Programme, slices: Sequence[Sequence[int]]) -> None:
        self.programme = programme
        self._slices = slices
        self._begun_count = self._worked_count = 0
        self._said_at = time.monotonic()

    @property
    def over(self) -> bool:
        """Every bucket has been begun."""
        return self._begun_count == len(self._slices)

    def next_slice(self) -> Sequence[int]:
        """What nobody has begun yet; several lanes share the course."""
        self._begun_count += 1
        return self._slices[self._begun_count - 1]

    def note(self, worked_count: int) -> None:
        self._worked_count += worked_count
        if time.monotonic() - self._said_at < PROGRESS_SECONDS:
            return
        self._said_at = time.monotonic()
        LOG.info(
            "period_ends_progress",
            organisation_id=self.programme.organisation_id,
            target_group_id=self.programme.target_group_id,
            worked=self._worked_count,
            slice_number=self._begun_count,
            slices=len(self._slices),
        )


def _may_wake(programme: Programme, since: datetime, at: datetime) -> bool:
    """Something falls due to the group between two instants, both included."""
    return any(since <= programme.settles_at(period) <= at for period in programme.periods)
