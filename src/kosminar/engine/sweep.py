"""The sweep: one period's end for many customers whose standings are alike, decided once and saved for all of them.

The core says who is alike (`Kind.likeness`) and decides, of one standing that stands for the others (core/account.py,
`settle`); SQL only writes for each the rows that the writer would have written. Who is not alike, or not surely, is left
to the writer. The order of a page is the order of this file: find, lock, decide, save. Reasons: ADR-0023 and ADR-0044.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import asyncpg
import structlog

from kosminar.core.account import Account, Change, Entry
from kosminar.core.clock import clock_now
from kosminar.core.counter import Counters
from kosminar.core.notice.notice import Trigger
from kosminar.core.notice.wording import notices
from kosminar.core.programme import Programme
from kosminar.core.standing import Progress, Standing
from kosminar.core.webhook import DELIVERED_WITHIN
from kosminar.engine.batch import Wall
from kosminar.engine.catalogue import Catalogue, Catalogues
from kosminar.engine.change import KOSMINAR
from kosminar.engine.meters import Meters
from kosminar.engine.posting import post
from kosminar.engine.retry import INTERRUPTED, UNREACHABLE, in_attempts
from kosminar.store import counters, facts, notifications, period_ends, saving, standings
from kosminar.store.distribution import ONE_GROUP, Groups
from kosminar.store.notifications import Posted
from kosminar.store.period_ends import Alike, WakeUp
from kosminar.store.programmes import definitions_key
from kosminar.store.queries import Connection
from kosminar.store.rows import EndedKey, StandingRow, rows_of
from kosminar.store.standings import EVERY_BUCKET, CustomerKey, LoadedStanding, LockedCustomer, StandingKey
from kosminar.turns import each_in_turns

# Customers of several buckets at once: bucket by bucket, a page has too few of them to be worth its transaction.
PAGE_SIZE: Final = 1_500
# Of a page, as many must be alike at least: decided by themselves, a few take longer than in a batch of the writer.
ALIKE_MIN: Final = 10
# A lane takes so many buckets at a time, and between them gives way to callers.
SLICE_SIZE: Final = 8
_FIRST: Final = (datetime(1, 1, 1, tzinfo=UTC), 0)

LOG = structlog.get_logger()


class Page(NamedTuple):
    """Of customers who were to wake: how many were settled, and who is left to the writer."""

    settled_count: int
    left: list[CustomerKey]


class Sweeper:
    """`sweep` settles who is alike, a page in a transaction; what was committed stays, whatever becomes of the rest.

    `posted` hears that there may be new deliveries. The pool is the sweeper's own, a connection for each lane: who sweeps holds one of the closer's as well, and would
    wait in a circle with others who do.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        wall: Wall,
        lane_count: int,
        meters: Meters,
        catalogues: Catalogues,
        groups: Groups = ONE_GROUP,
        posted: Callable[[], None] = lambda: None,
    ) -> None:
        assert lane_count >= 1
        self.lane_count: Final = lane_count
        self._pool = pool
        self._wall = wall
        self._groups = groups
        self._catalogues = catalogues
        self._meters = meters
        self._posted = posted

    def slices(self) -> list[list[int]]:
        """All buckets, a few at a time, none with buckets of two groups of the database."""
        groups: dict[int, list[int]] = {}
        for bucket in EVERY_BUCKET:
            groups.setdefault(self._groups.group_of(bucket), []).append(bucket)
        return [
            of_group[first : first + SLICE_SIZE]
            for of_group in groups.values()
            for first in range(0, len(of_group), SLICE_SIZE)
        ]

    async def sweep(self, wake_up: WakeUp, buckets: Iterable[int]) -> AsyncIterator[Page]:
        """Page after page in order, so that each is looked at once and a row that stays cannot hold us here.

        Raises NotSaved when the database could not be reached.
        """
        page: list[CustomerKey] = []
        for bucket in buckets:
            async for found in self._awake(wake_up, bucket):
                page.append(found)
                if len(page) == PAGE_SIZE:
                    yield await self._settle(wake_up, page)
                    page = []
        if page:
            yield await self._settle(wake_up, page)

    async def _awake(self, wake_up: WakeUp, bucket: int) -> AsyncIterator[CustomerKey]:
        after = _FIRST
        while True:

            async def look(connection: Connection, after: tuple[datetime, int] = after) -> list[tuple[datetime, int]]:
                return await period_ends.list_awake_page(connection, wake_up, bucket, after=after, limit=PAGE_SIZE)

            found = await in_attempts(self._pool, look, retried_event="sweep_retried", meters=self._meters)
            for _, customer_id in found:
                yield CustomerKey(bucket, wake_up.organisation_id, customer_id)
            if len(found) < PAGE_SIZE:
                return
            after = found[-1]

    async def _settle(self, wake_up: WakeUp, customers: Sequence[CustomerKey]) -> Page:
        """Who cannot be settled with the others is left, never lost."""

        async def work(connection: Connection) -> frozenset[CustomerKey]:
            return await self._settle_once(connection, wake_up, customers)

        settled = await in_attempts(self._pool, work, retried_event="sweep_retried", meters=self._meters)
        self._meters.period_ends.labels(way="together").inc(len(settled))
        self._posted()
        return Page(len(settled), [one for one in customers if one not in settled])

    async def _settle_once(
        self, connection: Connection, wake_up: WakeUp, customers: Sequence[CustomerKey]
    ) -> frozenset[CustomerKey]:
        try:
            return await _settle_alike(connection, wake_up, customers, wall=self._wall, catalogues=self._catalogues)
        except (*INTERRUPTED, *UNREACHABLE):
            raise
        except Exception:
            # One of them is at fault, or we are: the writer finds who, and the others have their due.
            LOG.warning("sweep_left_to_the_writer", organisation_id=wake_up.organisation_id, exc_info=True)
            return frozenset()


async def _settle_alike(
    connection: Connection, wake_up: WakeUp, customers: Sequence[CustomerKey], *, wall: Wall, catalogues: Catalogues
) -> frozenset[CustomerKey]:
    """Who of these was settled, in one transaction."""
    async with connection.transaction():
        held = await _hold(connection, wake_up, customers, wall=wall, catalogues=catalogues)
        programme = held.catalogue.by_group.get(wake_up.target_group_id)
        if programme is None:
            return frozenset()
        settled: set[CustomerKey] = set()
        moved = Counters()
        for customers_alike in await _groups_of_alike(connection, wake_up, held):
            verdict = await _decide(connection, programme, customers_alike[0], held)
            if verdict is None:
                continue
            settled.update(customers_alike)
            alike = _alike(wake_up, held, customers_alike)
            values = await period_ends.mark(connection, alike, verdict.row, verdict.ended, latest=verdict.latest)
            if verdict.entry is not None:
                await _save(connection, held, verdict.entry, alike, values)
                moved.add(verdict.entry, times=len(customers_alike))
        if settled:
            await saving.save(connection, [counters.changes_part(moved, bucket=min(settled).bucket)], joined=False)
    return frozenset(settled)


# ---------------------------------------------------------------- lock


@dataclass(frozen=True, slots=True)
class _Held:
    """The definitions that are held still, the customers that are locked, and what time it is."""

    catalogue: Catalogue
    generation: int
    locked: dict[CustomerKey, LockedCustomer]
    now: datetime
    wall: datetime


async def _hold(
    connection: Connection, wake_up: WakeUp, customers: Sequence[CustomerKey], *, wall: Wall, catalogues: Catalogues
) -> _Held:
    """As every batch does. Only then is it known what time it is; and what was read before may be old."""
    organisation_id = wake_up.organisation_id
    await standings.hold(connection, [definitions_key(organisation_id)])
    locked, clocks = await standings.lock(connection, customers, clocks_of=[organisation_id])
    clock = clocks[organisation_id]
    catalogue = await catalogues.get(connection, organisation_id, clock.edition)
    instant = wall()
    now = clock_now(test_clock=clock.test_clock, clock_at=clock.clock_at, wall=instant)
    return _Held(catalogue, clock.generation, locked, now, instant)


async def _groups_of_alike(connection: Connection, wake_up: WakeUp, held: _Held) -> list[list[CustomerKey]]:
    """Those who have much in common with others. Who was changed at a later instant than now is like no one."""
    present = [customer for customer, locked in held.locked.items() if locked.changed_at <= held.now]
    groups: dict[period_ends.Likeness, list[CustomerKey]] = {}
    for customer, likeness in await period_ends.list_likenesses(connection, wake_up, present):
        groups.setdefault(likeness, []).append(customer)
    return [alike for alike in groups.values() if len(alike) >= ALIKE_MIN]


def _alike(wake_up: WakeUp, held: _Held, customers: Sequence[CustomerKey]) -> Alike:
    locked = [held.locked[customer] for customer in customers]
    return Alike(
        wake_up,
        customers,
        sequences=[one.sequence + 1 for one in locked],
        notification_numbers=[one.notification_number for one in locked],
    )


# ---------------------------------------------------------------- decide


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of one who stands for all who are alike: only marks, and when the standing wakes next.

    Without an entry nothing was due, and it wakes at another instant under the newest version of the group.
    """

    entry: Entry | None
    row: StandingRow
    # The progress that was marked: the latest one, or one that has left the standing, and whether it still waits.
    latest: bool
    ended: tuple[EndedKey, Progress, bool] | None


async def _decide(connection: Connection, programme: Programme, one: CustomerKey, held: _Held) -> _Verdict | None:
    """None where it is as it must be already, or comes to more than marks on one progress."""
    key = StandingKey(one, programme.target_group_id)
    loaded = (await standings.load_standings(connection, {key: (programme, ())}))[key]
    account = Account(0, held.now, handed_over=held.catalogue.hands_over_reward)
    account.standings[programme.target_group_id] = loaded.standing
    entry = account.settle(programme)
    now = account.standing(programme)
    return None if now is loaded.standing else _marks_only(programme, loaded, entry, now, held.now)


def _marks_only(
    programme: Programme, loaded: LoadedStanding, entry: Entry | None, now: Standing, at: datetime
) -> _Verdict | None:
    before, ended_before = rows_of(programme, loaded.standing, at, loaded.apart)
    after, ended_after = rows_of(programme, now, at, loaded.apart)
    marked = after._replace(
        version=before.version,
        wakes_at=before.wakes_at,
        likeness=before.likeness,
        rewarded=before.rewarded,
        forfeited=before.forfeited,
        settled=before.settled,
    )
    moved = [row for was, row in zip(ended_before, ended_after, strict=True) if was != row]
    marks = (after.rewarded, after.forfeited, after.settled)
    latest = marks != (before.rewarded, before.forfeited, before.settled)
    if marked != before or len(moved) + latest != (0 if entry is None else 1):
        return None
    if not moved:
        return _Verdict(entry, after, latest=latest, ended=None)
    (row,) = moved
    ended = EndedKey(row.target_id, row.period_number, row.run)
    progress = now.targets[0].find_progress(row.period_number, row.run)
    assert progress is not None, "its row was made of it"
    return (
        _Verdict(entry, after, latest=False, ended=(ended, progress, row.awaits_end)) if ended in loaded.apart else None
    )


# ---------------------------------------------------------------- save


async def _save(
    connection: Connection, held: _Held, entry: Entry, alike: Alike, values: Mapping[CustomerKey, int]
) -> None:
    """Everything that the writer would have written of those who are alike, besides their standings."""
    own = [values[customer] for customer in alike.customers]
    await period_ends.insert_entries(
        connection,
        alike,
        own,
        definitions_version=held.catalogue.version,
        facts=facts.write_for_many(fact for _, fact in entry.facts()),
        now=held.now,
    )
    rewards = [moved.reward for moved in entry.rewards]
    if rewards:
        await period_ends.insert_rewards(connection, alike, rewards)
    (change,) = entry.changes
    posted = await _posted(held, change, alike)
    parts = notifications.parts(posted, due_at=held.wall, expires_at=held.wall + DELIVERED_WITHIN)
    await saving.save(connection, parts, joined=False)
    numbers = dict(zip(alike.customers, alike.notification_numbers, strict=True))
    numbers |= {one.customer: one.notification.number for one in posted}
    await period_ends.save_customers(connection, alike, list(numbers.values()), now=held.now)


async def _posted(held: _Held, change: Change, alike: Alike) -> list[Posted]:
    """What each of them is notified of: rewards and their state, which are the same for all, and nothing of values."""
    subscribers = held.catalogue.subscribers
    if not subscribers:
        return []

    def of_one(place: int) -> list[Posted]:
        customer = alike.customers[place]
        trigger = Trigger(customer.organisation_id, customer.customer_id)
        return post(
            notices(change.programme, change.before, change.facts, trigger, wanted=subscribers.keys()),
            customer,
            subscribers=subscribers,
            after_number=alike.notification_numbers[place],
            generation=held.generation,
            request_id=KOSMINAR,
            at=held.now,
            wall=held.wall,
        )

    found = await each_in_turns(of_one, range(len(alike.customers)))
    return [posted for of_customer in found for posted in of_customer]
