"""The sweep: one period's end for many customers whose standings are alike, decided once and saved for all of them.

The core decides (core/account.py, `settle`), of one standing that stands for the others; SQL only says whose standings
are alike, and writes for each the rows that the writer would have written. Whoever is not alike, or not surely, is left
to the writer. The order of a batch is the order of this file: lock, decide, save. Reasons: ADR-0023.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import structlog
from msgspec.structs import replace

from kosminar.core.account import Account, Entry
from kosminar.core.clock import clock_now
from kosminar.core.counter import Counters
from kosminar.core.kind import milestone
from kosminar.core.ledger import Reward
from kosminar.core.period import Period
from kosminar.core.programme import Target
from kosminar.core.reward import RewardKey
from kosminar.core.standing import MILESTONE_RUN, Method, Progress, Stretch, TargetStanding
from kosminar.engine.batch import Wall
from kosminar.engine.catalogue import Catalogue, Catalogues
from kosminar.engine.meters import Meters
from kosminar.engine.writer import ATTEMPT_COUNT_MAX, BATCH_SIZE_MAX, INTERRUPTED, UNREACHABLE, NotSaved
from kosminar.store import counters, facts, period_ends, saving, standings
from kosminar.store.period_ends import Likeness, PeriodEnd
from kosminar.store.programmes import definitions_key
from kosminar.store.queries import Connection

# No larger than a batch: nobody's request waits longer for a page than for a batch.
PAGE_SIZE: Final = BATCH_SIZE_MAX

LOG = structlog.get_logger()


class Page(NamedTuple):
    """Of those who waited, by id: how many were settled, who is left to the writer, and the last one looked at."""

    settled_count: int
    left: list[int]
    last: int


class Sweeper:
    """`sweep` settles who is alike, a page in a transaction; what was committed stays, whatever becomes of the rest.

    The pool is the sweeper's own, a connection for each lane: who sweeps holds one of the closer's as well, and would
    wait in a circle with others who do.
    """

    def __init__(self, pool: asyncpg.Pool, *, wall: Wall, lane_count: int, meters: Meters) -> None:
        assert lane_count >= 1
        self.lane_count: Final = lane_count
        self._pool = pool
        self._wall = wall
        self._catalogues = Catalogues()
        self._meters = meters

    async def sweep(self, end: PeriodEnd) -> AsyncIterator[Page]:
        """Page after page by id, so that each is looked at once and a row that stays cannot hold us here.

        Raises NotSaved when the database could not be reached.
        """
        after = 0
        while (page := await self._page(end, after=after)) is not None:
            yield page
            after = page.last

    async def _page(self, end: PeriodEnd, *, after: int) -> Page | None:
        """None where nobody waits any more. Who cannot be settled with the others is left, never lost."""
        for attempt in range(1, ATTEMPT_COUNT_MAX + 1):
            try:
                async with self._pool.acquire() as connection:
                    waiting = await period_ends.list_waiting_page(connection, end, after=after, limit=PAGE_SIZE)
                    if not waiting:
                        return None
                    settled = await self._settle(connection, end, waiting)
            except INTERRUPTED as error:
                LOG.info("sweep_retried", attempt=attempt, error=type(error).__name__)
                self._meters.batch_retries.inc()
            except UNREACHABLE as error:
                raise NotSaved("the database could not be reached") from error
            else:
                self._meters.period_ends.labels(way="together").inc(len(settled))
                return Page(len(settled), [one for one in waiting if one not in settled], waiting[-1])
        raise NotSaved("the database kept reporting deadlocks")

    async def _settle(self, connection: Connection, end: PeriodEnd, waiting: Sequence[int]) -> frozenset[int]:
        try:
            return await _settle_alike(connection, end, waiting, wall=self._wall, catalogues=self._catalogues)
        except (*INTERRUPTED, *UNREACHABLE):
            raise
        except Exception:
            # One of them is at fault, or we are: the writer finds who, and the others have their due.
            LOG.warning("sweep_left_to_the_writer", organisation_id=end.organisation_id, exc_info=True)
            return frozenset()


async def _settle_alike(
    connection: Connection, end: PeriodEnd, waiting: Sequence[int], *, wall: Wall, catalogues: Catalogues
) -> frozenset[int]:
    """Who of those waiting was settled, in one transaction."""
    async with connection.transaction():
        catalogue, clock = await _hold(connection, end, catalogues)
        if catalogue.subscribers:
            # Who is told is told one by one.
            return frozenset()
        await period_ends.lock_page(connection, end, waiting)
        # Only now is it known what time it is; and what was read before the lock may be old.
        now = clock_now(test_clock=clock.test_clock, clock_at=clock.clock_at, wall=wall())
        verdict = _decide(catalogue, end, now)
        if verdict is None:
            return frozenset()
        return await _save(connection, end, waiting, verdict)


# ---------------------------------------------------------------- lock


async def _hold(connection: Connection, end: PeriodEnd, catalogues: Catalogues) -> tuple[Catalogue, standings.Clock]:
    """Hold the definitions and the clock still, as every batch does, and read them."""
    await standings.hold(connection, [definitions_key(end.organisation_id)])
    _, clocks = await standings.lock(connection, (), clocks_of=[end.organisation_id])
    clock = clocks[end.organisation_id]
    return await catalogues.get(connection, end.organisation_id, clock.edition), clock


# ---------------------------------------------------------------- decide


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Who is alike, and what becomes of each of them; the sequence numbers in it are yet to be filled in."""

    likeness: Likeness
    entry: Entry
    target_group_id: int
    definitions_version: int
    rewards: tuple[Reward, ...]
    progress: Progress
    awaits_end: bool


def _decide(catalogue: Catalogue, end: PeriodEnd, now: datetime) -> _Verdict | None:
    """What the core says of one who stands for all who are alike; None if it has nothing to say of the period yet."""
    programme = catalogue.by_target.get(end.target_id)
    if programme is None or not programme.target(end.target_id).period_end_rewards:
        return None
    target = programme.target(end.target_id)
    ended = [period for period in programme.periods if programme.settles_at(period) <= now]
    period = next((period for period in ended if programme.period_id(period.number) == end.period_id), None)
    if period is None:
        return None
    before = _one_of_the_alike(target, period)
    index = programme.index_of(end.target_id)
    parts = [*programme.untouched.targets[:index], before, *programme.untouched.targets[index + 1 :]]
    account = Account(0, now, handed_over=_nobody)
    account.standings[programme.target_group_id] = programme.standing_of(tuple(parts))
    entry = account.settle(programme)
    if entry is None:
        return None
    after = account.standing(programme).targets[index]
    was, progress = before.progress_in(period), after.progress_in(period)
    # The statements that save it write these marks and nothing else of a standing.
    marked = replace(was, rewarded=progress.rewarded, forfeited=progress.forfeited, settled=progress.settled)
    assert progress == marked, "a period's end leaves marks only"
    assert after.stretches == before.stretches, "a period's end changes no enrolment"
    return _Verdict(
        likeness=Likeness(
            number=period.number,
            ended_at=period.ends_at,
            rewarded=was.rewarded,
            other_period_ids=tuple(programme.period_id(other.number) for other in ended if other is not period),
            now=now,
        ),
        entry=entry,
        target_group_id=programme.target_group_id,
        definitions_version=catalogue.version,
        rewards=tuple(moved.reward for moved in entry.rewards),
        progress=progress,
        awaits_end=milestone.awaits_end(target, progress),
    )


def _nobody(_: RewardKey) -> bool:
    """Where somebody hands rewards over, nothing is swept."""
    return False


def _one_of_the_alike(target: Target, period: Period) -> TargetStanding:
    """Enrolled once, in time for the period, and still so; achieved, nothing forfeited, nothing else waits.

    The query `settle_alike` says the same. Value and instants differ from one to another; a period's end looks at none
    of them, and tells only the value.
    """
    stretch = Stretch(Method.EXPLICIT, period.starts_at, None, period.number)
    progress = Progress(
        period.number,
        MILESTONE_RUN,
        value=target.values[period.number - 1],
        achieved_at=period.starts_at,
        achieved_recorded_at=period.starts_at,
        # Whoever achieved it was given what is given at once.
        rewarded=bool(target.immediate_rewards),
    )
    return TargetStanding(stretches=(stretch,), progress=(progress,))


# ---------------------------------------------------------------- save


async def _save(connection: Connection, end: PeriodEnd, waiting: Sequence[int], verdict: _Verdict) -> frozenset[int]:
    """Everything that the writer would have written of those who are alike, and who they are."""
    alike = await period_ends.settle_alike(
        connection, end, waiting, verdict.likeness, progress=verdict.progress, awaits_end=verdict.awaits_end
    )
    if alike.customer_ids:
        await period_ends.insert_entries(
            connection,
            end,
            alike,
            target_group_id=verdict.target_group_id,
            definitions_version=verdict.definitions_version,
            facts=facts.write_for_many(fact for _, fact in verdict.entry.facts()),
            now=verdict.likeness.now,
        )
        if verdict.rewards:
            await period_ends.insert_rewards(connection, end, alike, verdict.rewards)
        moved = Counters()
        moved.add(verdict.entry, times=len(alike.customer_ids))
        await saving.save(connection, [counters.changes_part(moved, bucket=end.bucket)], joined=False)
        await period_ends.save_customers(connection, end, alike, now=verdict.likeness.now)
    return frozenset(alike.customer_ids)
