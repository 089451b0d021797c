"""Period ends in the database: which customers wake, and what it comes to for many who are alike.

Decides nothing. What time has to work on is found by `wakes_at` of the standings alone, whatever it is that falls due.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from kosminar.core.ledger import Reward
from kosminar.core.standing import Progress
from kosminar.store.facts import OWN_VALUE
from kosminar.store.queries import Connection, load
from kosminar.store.rewards import points_and_text
from kosminar.store.rows import EndedKey, StandingRow
from kosminar.store.standings import EVERY_BUCKET, CustomerKey

QUERIES: Final = load("period_ends")


class WakeUp(NamedTuple):
    """The customers of a group who are to wake up to an instant `at`.

    Also those who wake up to the later instant `until` by what an earlier version of the group says.
    """

    organisation_id: int
    target_group_id: int
    at: datetime
    until: datetime
    version: int


class Likeness(NamedTuple):
    """What standings have in common of which time makes the same."""

    version: int
    wakes_at: datetime
    likeness: int


@dataclass(frozen=True, slots=True)
class Alike:
    """Customers who are alike, with the next number of each and the number of the last notification of each."""

    group: WakeUp
    customers: Sequence[CustomerKey]
    sequences: Sequence[int]
    notification_numbers: Sequence[int]

    def places(self) -> dict[str, Any]:
        """Their rows, as the queries name them."""
        return {
            "organisation_id": self.group.organisation_id,
            "buckets": [customer.bucket for customer in self.customers],
            "customer_ids": [customer.customer_id for customer in self.customers],
        }


async def list_some_awake(connection: Connection, wake_up: WakeUp, *, limit: int) -> list[CustomerKey]:
    """The first few of all buckets; no one else is to wake where they are fewer than the limit."""
    rows = await QUERIES["list_some_awake"].rows(connection, **wake_up._asdict(), buckets=EVERY_BUCKET, limit=limit)
    return [CustomerKey(row["bucket"], wake_up.organisation_id, row["customer_id"]) for row in rows]


async def list_awake_page(
    connection: Connection, wake_up: WakeUp, bucket: int, *, after: tuple[datetime, int], limit: int
) -> list[tuple[datetime, int]]:
    """Of one bucket (instant, customer id), in order, what comes after one."""
    rows = await QUERIES["list_awake_page"].rows(
        connection, **wake_up._asdict(), bucket=bucket, after_instant=after[0], after_customer=after[1], limit=limit
    )
    return [(row["wakes_at"], row["customer_id"]) for row in rows]


async def list_likenesses(
    connection: Connection, wake_up: WakeUp, customers: Sequence[CustomerKey]
) -> list[tuple[CustomerKey, Likeness]]:
    """Of locked customers, those who may be decided together with others who have the same."""
    rows = await QUERIES["list_likenesses"].rows(
        connection,
        organisation_id=wake_up.organisation_id,
        target_group_id=wake_up.target_group_id,
        buckets=[customer.bucket for customer in customers],
        customer_ids=[customer.customer_id for customer in customers],
    )
    return [(customers[place - 1], Likeness(*columns)) for place, *columns in rows]


async def mark(
    connection: Connection,
    alike: Alike,
    after: StandingRow,
    ended: tuple[EndedKey, Progress, bool] | None,
    *,
    latest: bool,
) -> dict[CustomerKey, int]:
    """Leave a period's marks on the standings of these customers; each one's own value of the period, if one was marked.

    Marked is the latest progress, or an ended period with whether it still waits, or nothing; when the standing wakes
    next is written with it.
    """
    wakes = {
        "target_group_id": alike.group.target_group_id,
        "version": after.version,
        "wakes_at": after.wakes_at,
        "likeness": after.likeness,
    }
    if latest:
        marks = {"rewarded": after.rewarded, "forfeited": after.forfeited, "settled": after.settled}
        return _values(alike, await QUERIES["mark_latest"].rows(connection, **alike.places(), **wakes, **marks))
    await QUERIES["wake_next"].run(connection, **alike.places(), **wakes)
    if ended is None:
        return {}
    key, progress, awaits_end = ended
    rows = await QUERIES["mark_ended"].rows(
        connection,
        **alike.places(),
        **key._asdict(),
        target_group_id=alike.group.target_group_id,
        rewarded=progress.rewarded,
        forfeited=progress.forfeited,
        settled=progress.settled,
        awaits_end=awaits_end,
    )
    return _values(alike, rows)


def _values(alike: Alike, rows: Sequence[Any]) -> dict[CustomerKey, int]:
    organisation_id = alike.group.organisation_id
    return {CustomerKey(bucket, organisation_id, customer_id): value for bucket, customer_id, value in rows}


async def insert_entries(
    connection: Connection,
    alike: Alike,
    values: Sequence[int],
    *,
    definitions_version: int,
    facts: str,
    now: datetime,
) -> None:
    """The same for each of them, under each one's own number; each one's own value stands where the text says so."""
    await QUERIES["insert_entries_of_all"].run(
        connection,
        **alike.places(),
        numbers=alike.sequences,
        values_thousandths=values,
        target_group_id=alike.group.target_group_id,
        definitions_version=definitions_version,
        facts=facts,
        own_value=OWN_VALUE,
        now=now,
    )


async def insert_rewards(connection: Connection, alike: Alike, rewards: Sequence[Reward]) -> None:
    """The same for each of them; a reward that was given before fails the transaction."""
    await QUERIES["insert_rewards_of_all"].run(
        connection,
        **alike.places(),
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


async def save_customers(
    connection: Connection, alike: Alike, notification_numbers: Sequence[int], *, now: datetime
) -> None:
    """Each one's number is taken, at that instant."""
    await QUERIES["save_customers_of_all"].run(
        connection,
        **alike.places(),
        sequences=alike.sequences,
        notification_numbers=notification_numbers,
        now=now,
    )
