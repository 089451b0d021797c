"""The closer: works period ends when they fall due, for every organisation by its own clock.

A period end is no event of its own: every change of a customer settles first what fell due before it (core/decide.py).
The closer only looks for those in whose standing something due still waits, and asks the writer to settle them. So it
may be killed, run twice, and be late: the outcome is the same, and what it did not finish it finds again.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from kosminar.core.clock import clock_now
from kosminar.core.event import EventName
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.engine.batch import Wall
from kosminar.engine.change import Request, Settlement, SettlementOutcome
from kosminar.engine.writer import BATCH_SIZE_MAX, Writer
from kosminar.store import clocks, programmes, standings, webhook_endpoints
from kosminar.store.queries import Connection

TICK_SECONDS: Final = 1.0
# Before the first customer and the first target.
FROM_THE_START: Final = (0, 0)

LOG = structlog.get_logger()


class NoTestClock(Exception):
    """The organisation has a real clock, or the instant lies before the one its test clock shows."""


class PeriodEndsFailed(Exception):
    """Some period ends could not be worked, by our own fault; they are found again, and the log says why."""


class Closer:
    """`settle` and `advance` answer when everything due is done; `run` watches all organisations for ever.

    The pool is the closer's own: its connections may wait long for somebody else's period ends.
    """

    def __init__(self, pool: asyncpg.Pool, writer: Writer, *, wall: Wall) -> None:
        self._pool = pool
        self._writer = writer
        self._meters = writer.meters
        self._wall = wall
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

    async def advance(self, organisation_id: int, to: datetime) -> datetime:
        """Move a test clock forward, due instant by due instant, each committed (decision 34).

        To the instant it shows, there is nothing to do but what a call that was cut off has left. Raises NoTestClock,
        and PeriodEndsFailed when all others are done.
        """
        async with self._alone(organisation_id, wait=True) as connection:
            assert connection is not None, "who waits gets it"
            state = await clocks.fetch(connection, organisation_id)
            if not state.test_clock or to < state.clock_at:
                raise NoTestClock
            await self._work_through(connection, organisation_id, to)
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
        except Exception:
            LOG.exception("period_ends_not_looked_for")
            self._meters.period_end_errors.inc()
            return
        for organisation_id in due:
            try:
                await self.settle(organisation_id, wait=False)
            except Exception:
                # The next tick tries again, and the other organisations have theirs now: what is due stays due.
                LOG.exception("period_ends_not_worked", organisation_id=organisation_id)
                self._meters.period_end_errors.inc()

    async def _now(self, connection: Connection, organisation_id: int) -> datetime:
        state = await clocks.fetch(connection, organisation_id)
        return clock_now(test_clock=state.test_clock, clock_at=state.clock_at, wall=self._wall())

    async def _work_through(self, connection: Connection, organisation_id: int, until: datetime) -> None:
        """The due instants that were not worked yet, one after another, and then `until` itself.

        A period end that fails keeps nobody else from theirs; but from there on nothing is marked as worked, so that
        it is found again.
        """
        began = time.monotonic()
        failed_count = instant_count = 0
        after = (await clocks.fetch(connection, organisation_id)).settled_at
        while due := await clocks.next_due(connection, organisation_id, after=after, until=until):
            failed_count += await self._work(connection, organisation_id, due, after=after, mark=failed_count == 0)
            instant_count += 1
            after = due
        failed_count += await self._work(connection, organisation_id, until, after=after, mark=failed_count == 0)
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
        self, connection: Connection, organisation_id: int, at: datetime, *, after: datetime, mark: bool
    ) -> int:
        """One instant: bring the clock there, so that nobody is dated before it any more; then settle who waits.

        Of the periods that fell due after the instant before, whoever was in them is told.
        """
        await clocks.move(connection, organisation_id, at)
        state = await clocks.fetch(connection, organisation_id)
        found = await programmes.fetch_all(connection, organisation_id)
        failed_count = 0
        for pages in (
            self._waiting(connection, organisation_id, found, at),
            self._completed(connection, organisation_id, found, after, at),
        ):
            async for requests in pages:
                outcomes = await self._writer.submit(requests)
                failed_count += sum(isinstance(outcome, SettlementOutcome) and outcome.failed for outcome in outcomes)
        if mark and not failed_count:
            await clocks.mark_settled(connection, organisation_id, at, version=state.definitions_version)
        return failed_count

    async def _waiting(
        self, connection: Connection, organisation_id: int, found: Sequence[Programme], at: datetime
    ) -> AsyncIterator[list[Request]]:
        ended = [
            (programme.target.target_id, period.period_id)
            for programme in found
            if programme.target.period_end_rewards
            for period in programme.periods
            if programme.settles_at(period) <= at
        ]
        if ended:
            find = standings.list_customers_awaiting_end
            async for page in _pages(lambda after: find(connection, organisation_id, ended, after=after, limit=PAGE)):
                yield _settlements(organisation_id, page)
        broken = [
            (programme.target.target_id, max(period.number for period in programme.periods if period.due_at <= at))
            for programme in found
            if programme.continuous and programme.periods[0].due_at <= at
        ]
        if broken:
            look = standings.list_customers_with_broken_streaks
            async for page in _pages(lambda after: look(connection, organisation_id, broken, after=after, limit=PAGE)):
                yield _settlements(organisation_id, page)

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
            for period in programme.periods:
                if after < period.due_at <= at and not programme.cut_short(period):
                    async for requests in self._in_at_end(connection, organisation_id, programme, period):
                        yield requests

    async def _in_at_end(
        self, connection: Connection, organisation_id: int, programme: Programme, period: Period
    ) -> AsyncIterator[list[Request]]:
        """Bucket by bucket, gathered to pages that keep all lanes at work."""
        target_id = programme.target.target_id
        told = Settlement(target_id, completed_number=period.number)
        page: list[Request] = []
        for bucket in standings.EVERY_BUCKET:
            after = 0
            while found := await standings.list_customers_to_tell_of_end(
                connection, organisation_id, target_id, period, bucket=bucket, after=after, limit=PAGE
            ):
                after = found[-1]
                page += [Request(organisation_id, customer_id, told) for customer_id in found]
                if len(page) >= PAGE:
                    yield page
                    page = []
        if page:
            yield page


# As many as one batch of each lane is likely to take.
PAGE: Final = 4 * BATCH_SIZE_MAX


async def _pages(
    find: Callable[[tuple[int, int]], Awaitable[list[tuple[int, int]]]],
) -> AsyncIterator[list[tuple[int, int]]]:
    """Page after page by key, so that each customer is looked at once and a row that stays cannot hold us here."""
    after = FROM_THE_START
    while page := await find(after):
        yield page
        after = page[-1]


def _settlements(organisation_id: int, page: Sequence[tuple[int, int]]) -> list[Request]:
    return [Request(organisation_id, customer_id, Settlement(target_id)) for customer_id, target_id in page]
