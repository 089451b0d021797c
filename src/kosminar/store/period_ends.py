"""Period ends in the database: for whom one has something to decide, and what it comes to for many who are alike.

Decides nothing: who is alike is told here, what becomes of them is told by the caller. Every statement is about one
bucket; only the first look asks all of them, each by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from kosminar.core.ledger import Reward
from kosminar.core.standing import Progress
from kosminar.store.facts import OWN_VALUE
from kosminar.store.queries import Connection, load
from kosminar.store.rewards import points_and_text
from kosminar.store.standings import EVERY_BUCKET

QUERIES: Final = load("period_ends")


class PeriodEnd(NamedTuple):
    """The end of one period of a target, for the customers of one bucket."""

    organisation_id: int
    bucket: int
    target_id: int
    period_id: int


class BrokenStreaks(NamedTuple):
    """The streaks of a target that the end of a period up to that number may have broken, in one bucket."""

    organisation_id: int
    bucket: int
    target_id: int
    due_number: int


@dataclass(frozen=True, slots=True)
class Likeness:
    """What makes standings alike at a period's end. The other periods have ended too, and nothing of them waits."""

    number: int
    ended_at: datetime
    rewarded: bool
    other_period_ids: tuple[int, ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class Alike:
    """Customers whose standings are alike: their ids, the next number of each, and the value that each has reached."""

    customer_ids: list[int]
    sequences: list[int]
    values_thousandths: list[int]


async def list_waiting(
    connection: Connection, organisation_id: int, periods: Sequence[tuple[int, int]], *, limit: int
) -> dict[PeriodEnd, list[int]]:
    """The first few whom one of these (target id, period id) ends awaits; nobody else waits where they are fewer."""
    rows = await QUERIES["list_waiting_customers"].rows(
        connection,
        organisation_id=organisation_id,
        buckets=EVERY_BUCKET,
        target_ids=[target_id for target_id, _ in periods],
        period_ids=[period_id for _, period_id in periods],
        limit=limit,
    )
    waiting: dict[PeriodEnd, list[int]] = {}
    for row in rows:
        end = PeriodEnd(organisation_id, row["bucket"], row["target_id"], row["period_id"])
        waiting.setdefault(end, []).append(row["customer_id"])
    return waiting


async def list_waiting_page(connection: Connection, end: PeriodEnd, *, after: int, limit: int) -> list[int]:
    """Who waits for it, by id, what comes after one."""
    rows = await QUERIES["list_waiting_page"].rows(connection, **end._asdict(), after=after, limit=limit)
    return [row["customer_id"] for row in rows]


async def lock_page(connection: Connection, end: PeriodEnd, customer_ids: Sequence[int]) -> None:
    """Lock these customers of the bucket. What was read of them before may be old once the lock is there."""
    await QUERIES["lock_page"].run(
        connection, bucket=end.bucket, organisation_id=end.organisation_id, customer_ids=customer_ids
    )


async def settle_alike(
    connection: Connection,
    end: PeriodEnd,
    customer_ids: Sequence[int],
    like: Likeness,
    *,
    progress: Progress,
    awaits_end: bool,
) -> Alike:
    """Leave the period's marks on the progress of those of the locked customers whose standings are alike."""
    rows = await QUERIES["settle_alike"].rows(
        connection,
        **end._asdict(),
        customer_ids=customer_ids,
        number=like.number,
        ended_at=like.ended_at,
        rewarded_before=like.rewarded,
        other_period_ids=like.other_period_ids,
        now=like.now,
        rewarded=progress.rewarded,
        forfeited=progress.forfeited,
        settled=progress.settled,
        awaits_end=awaits_end,
    )
    return Alike(
        [row["customer_id"] for row in rows],
        [row["sequence"] for row in rows],
        [row["value_thousandths"] for row in rows],
    )


async def insert_entries(
    connection: Connection,
    end: PeriodEnd,
    alike: Alike,
    *,
    target_group_id: int,
    definitions_version: int,
    facts: str,
    now: datetime,
) -> None:
    """The same for each of them, under each one's own number; each one's own value stands where the text says so."""
    await QUERIES["insert_entries_of_all"].run(
        connection,
        bucket=end.bucket,
        organisation_id=end.organisation_id,
        customer_ids=alike.customer_ids,
        numbers=alike.sequences,
        values_thousandths=alike.values_thousandths,
        target_group_id=target_group_id,
        definitions_version=definitions_version,
        facts=facts,
        own_value=OWN_VALUE,
        now=now,
    )


async def insert_rewards(connection: Connection, end: PeriodEnd, alike: Alike, rewards: Sequence[Reward]) -> None:
    """The same for each of them; a reward that was given before fails the transaction."""
    await QUERIES["insert_rewards_of_all"].run(
        connection,
        bucket=end.bucket,
        organisation_id=end.organisation_id,
        customer_ids=alike.customer_ids,
        sequences=alike.sequences,
        target_ids=[reward.key.target_id for reward in rewards],
        period_ids=[reward.key.period_id for reward in rewards],
        level_ids=[reward.key.level_id for reward in rewards],
        runs=[reward.key.run for reward in rewards],
        reward_definition_ids=[reward.key.reward_definition_id for reward in rewards],
        kinds=[reward.kind.value for reward in rewards],
        points=[points_and_text(reward.value)[0] for reward in rewards],
        texts=[points_and_text(reward.value)[1] for reward in rewards],
        allocations=[reward.allocation.value for reward in rewards],
        states=[reward.state.value for reward in rewards],
        reasons=[reward.reason for reward in rewards],
        earned_ats=[reward.earned_at for reward in rewards],
        handed_overs=[reward.handed_over for reward in rewards],
    )


async def save_customers(connection: Connection, end: PeriodEnd, alike: Alike, *, now: datetime) -> None:
    """Each one's number is taken, at that instant."""
    await QUERIES["save_customers_of_all"].run(
        connection,
        bucket=end.bucket,
        organisation_id=end.organisation_id,
        customer_ids=alike.customer_ids,
        now=now,
    )


async def list_broken_streaks(
    connection: Connection, organisation_id: int, due_numbers: Sequence[tuple[int, int]], *, limit: int
) -> dict[BrokenStreaks, list[int]]:
    """The first few whose streak the periods due up to these (target id, number) may have broken."""
    rows = await QUERIES["list_customers_with_broken_streaks"].rows(
        connection,
        organisation_id=organisation_id,
        buckets=EVERY_BUCKET,
        target_ids=[target_id for target_id, _ in due_numbers],
        due_numbers=[number for _, number in due_numbers],
        limit=limit,
    )
    numbers = dict(due_numbers)
    broken: dict[BrokenStreaks, list[int]] = {}
    for row in rows:
        place = BrokenStreaks(organisation_id, row["bucket"], row["target_id"], numbers[row["target_id"]])
        broken.setdefault(place, []).append(row["customer_id"])
    return broken


async def list_broken_streaks_page(
    connection: Connection, broken: BrokenStreaks, *, after: int, limit: int
) -> list[int]:
    """Whose they are, by id, what comes after one."""
    rows = await QUERIES["list_broken_streaks_page"].rows(connection, **broken._asdict(), after=after, limit=limit)
    return [row["customer_id"] for row in rows]
