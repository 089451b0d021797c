"""The sweep: one period's end for many customers whose standings are alike, decided once and saved for all of them.

The core decides (core/decide.py, `settle`), of one standing that stands for the others; SQL only says whose standings
are alike, and writes for each the rows that the writer would have written. Whoever is not alike, or not surely, is left
to the writer. The order of a batch is the order of this file: lock, decide, save. Reasons: ADR-0023.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

import asyncpg
import structlog

from kosminar.core import milestone
from kosminar.core.clock import clock_now
from kosminar.core.decide import settle
from kosminar.core.fact import FactName
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.standing import MILESTONE_RUN, Method, Progress, Standing, Stretch
from kosminar.engine.batch import LEDGER_FACTS, Wall, reward_of
from kosminar.engine.catalogue import Catalogue, Catalogues
from kosminar.engine.meters import Meters
from kosminar.engine.writer import ATTEMPT_COUNT_MAX, BATCH_SIZE_MAX, INTERRUPTED, UNREACHABLE, NotSaved
from kosminar.store import period_ends, standings
from kosminar.store.facts import RecordedFact
from kosminar.store.period_ends import Likeness, PeriodEnd
from kosminar.store.programmes import definitions_key
from kosminar.store.queries import Connection
from kosminar.store.rewards import Reward

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
    facts: tuple[RecordedFact, ...]
    # Whether the fact of the same place tells each one's own value.
    tells_progress: tuple[bool, ...]
    rewards: tuple[Reward, ...]
    progress: Progress
    awaits_end: bool


def _decide(catalogue: Catalogue, end: PeriodEnd, now: datetime) -> _Verdict | None:
    """What the core says of one who stands for all who are alike; None if it has nothing to say of the period yet."""
    programme = catalogue.by_target.get(end.target_id)
    if programme is None or programme.streak:
        return None
    ended = [period for period in programme.periods if programme.settles_at(period) <= now]
    period = next((period for period in ended if programme.period_id(period.number) == end.period_id), None)
    if period is None:
        return None
    before = _one_of_the_alike(programme, period)
    facts = settle(programme, before, now)
    if not facts:
        return None
    after = before.after(facts)
    was, progress = before.progress_in(period), after.progress_in(period)
    # The statements that save it write these marks and nothing else of a standing.
    marked = was._replace(rewarded=progress.rewarded, forfeited=progress.forfeited, settled=progress.settled)
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
        facts=tuple(
            RecordedFact.of(fact, programme, sequence=0, ordinal=ordinal) for ordinal, fact in enumerate(facts)
        ),
        tells_progress=tuple(fact.name is FactName.PERIOD_ENDED for fact in facts),
        rewards=tuple(
            reward_of(fact, programme, sequence=0, hands_over=False) for fact in facts if fact.name in LEDGER_FACTS
        ),
        progress=progress,
        awaits_end=milestone.awaits_end(programme, progress),
    )


def _one_of_the_alike(programme: Programme, period: Period) -> Standing:
    """Enrolled once, in time for the period, and still so; achieved, nothing forfeited, nothing else waits.

    The query `settle_alike` says the same. Value and instants differ from one to another; a period's end looks at none
    of them, and tells only the value.
    """
    stretch = Stretch(Method.EXPLICIT, period.starts_at, None, period.number)
    progress = Progress(
        value=programme.target.values[period.number - 1],
        achieved_at=period.starts_at,
        achieved_recorded_at=period.starts_at,
        # Whoever achieved it was given what is given at once.
        rewarded=bool(programme.target.immediate_rewards),
    )
    return Standing(stretches=(stretch,), progress=MappingProxyType({(period.number, MILESTONE_RUN): progress}))


# ---------------------------------------------------------------- save


async def _save(connection: Connection, end: PeriodEnd, waiting: Sequence[int], verdict: _Verdict) -> frozenset[int]:
    """Everything that the writer would have written of those who are alike, and who they are."""
    alike = await period_ends.settle_alike(
        connection, end, waiting, verdict.likeness, progress=verdict.progress, awaits_end=verdict.awaits_end
    )
    if alike.customer_ids:
        await period_ends.insert_facts(connection, end, alike, verdict.facts, tells_progress=verdict.tells_progress)
        if verdict.rewards:
            await period_ends.insert_rewards(connection, end, alike, verdict.rewards)
        await period_ends.save_customers(connection, end, alike, now=verdict.likeness.now)
    return frozenset(alike.customer_ids)
