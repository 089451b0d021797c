"""Deliveries and their queue: what the courier leases, sends and marks, and what the API shows and starts again.

Whoever takes several locks takes them in this order: customers, the endpoint, rows of the queue, deliveries. A row of the
queue is there exactly as long as something waits, and whoever removes it has held it since before looking: a batch that
inserts a delivery writes the row too, and either comes first and is seen, or waits and inserts the row anew. What goes
through all of an endpoint's customers does so in steps, each committed, so that no batch waits longer than for one. All
times are real time.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final, NamedTuple

from kosminar.core.endpoint import EndpointKey
from kosminar.core.event import EventName
from kosminar.core.reward import RewardKey, RewardState, parse_reward_id
from kosminar.core.webhook import DELIVERED_WITHIN
from kosminar.store import rewards
from kosminar.store.queries import Connection, load
from kosminar.store.standings import EVERY_BUCKET, CustomerKey, lock, place

QUERIES: Final = load("deliveries")

# As many customers, and as many deliveries, as one transaction of recovering, resuming or parking holds.
STEP: Final = 200


class EndpointRemoved(Exception):
    """Nothing is sent to it any more."""


@dataclass(frozen=True, slots=True)
class EndpointDue:
    """An endpoint for which something is due, with how hard it may be tried."""

    key: EndpointKey
    connection_count_max: int
    failure_count: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One customer's deliveries to one endpoint, as a worker has leased them."""

    customer: CustomerKey
    webhook_endpoint_id: int
    holder: str
    """Names this lease and no other: a worker that comes too late must not take the next one for its own."""

    @property
    def endpoint(self) -> EndpointKey:
        return EndpointKey(self.customer.organisation_id, self.webhook_endpoint_id)

    def key(self) -> dict[str, int]:
        return {**place(self.customer), "webhook_endpoint_id": self.webhook_endpoint_id}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where a delivery goes, as the endpoint was when it was read."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    previous_secret_until: datetime | None
    active: bool
    failure_count: int


@dataclass(frozen=True, slots=True)
class Head:
    """The delivery of a turn that comes next."""

    number: int
    name: str
    reward_id: str | None
    body: str
    attempt_count: int
    expires_at: datetime
    # Whether the endpoint took it before, and it is sent again.
    delivered_before: bool
    recipient: Recipient


class DeliveryPlace(NamedTuple):
    """Where a page of deliveries ends."""

    customer_id: int
    number: int


FROM_THE_START: Final = DeliveryPlace(0, 0)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification on its way to one endpoint, as it is shown; `generation` to `created_at` are the notification's."""

    customer_id: int
    number: int
    generation: int
    name: str
    created_at: datetime
    state: str
    attempt_count: int
    expires_at: datetime
    attempted_at: datetime | None
    status: int | None
    error: str | None


# ---------------------------------------------------------------- the courier's turns


async def list_endpoints_due(connection: Connection, now: datetime) -> list[EndpointDue]:
    """Active ones that do not rest, with something due that nobody has leased."""
    rows = await QUERIES["list_endpoints_due"].rows(connection, buckets=EVERY_BUCKET, now=now)
    return [
        EndpointDue(
            EndpointKey(row["organisation_id"], row["webhook_endpoint_id"]),
            row["connection_count_max"],
            row["failure_count"],
        )
        for row in rows
    ]


async def list_due(connection: Connection, endpoint: EndpointKey, now: datetime, *, limit: int) -> list[CustomerKey]:
    """The customers whose turn it is; others may have taken them when one comes to lease."""
    rows = await QUERIES["list_due"].rows(connection, **endpoint._asdict(), buckets=EVERY_BUCKET, now=now, limit=limit)
    return [CustomerKey.of(endpoint.organisation_id, row["customer_id"]) for row in rows]


async def lease(connection: Connection, turn: Turn, *, now: datetime, until: datetime) -> bool:
    """Whether the turn is ours; not if somebody else was there first, or changes the row just now."""
    leased = await QUERIES["lease_queue"].value(
        connection, **turn.key(), holder=turn.holder, now=now, leased_until=until
    )
    return leased is not None


async def hold(connection: Connection, turn: Turn) -> bool:
    """Whether the lease is still ours; it then stays so until the transaction ends."""
    return await QUERIES["hold_queue"].value(connection, **turn.key(), holder=turn.holder) is not None


async def find_head(connection: Connection, turn: Turn) -> Head | None:
    """What is to be sent next, if anything waits."""
    row = await QUERIES["find_head"].row(connection, **turn.key())
    if row is None:
        return None
    return Head(
        number=row["number"],
        name=row["name"],
        reward_id=row["reward_id"],
        body=row["body"],
        attempt_count=row["attempt_count"],
        expires_at=_expires_at(row),
        delivered_before=row["delivered_at"] is not None,
        recipient=Recipient(
            url=row["url"],
            headers=json.loads(row["headers"]),
            secret=row["secret"],
            previous_secret=row["previous_secret"],
            previous_secret_until=row["previous_secret_until"],
            active=row["state"] == "active",
            failure_count=row["failure_count"],
        ),
    )


async def mark(
    connection: Connection, turn: Turn, number: int, *, state: str, status: int | None, error: str | None, now: datetime
) -> None:
    """What came of an attempt; under `hold`."""
    await QUERIES["mark_delivery"].run(
        connection, **turn.key(), number=number, state=state, status=status, error=error, now=now
    )


async def has_expired(connection: Connection, turn: Turn, number: int, now: datetime) -> bool:
    """Whether a failure now is the last one, by what is known at this moment; under `hold`."""
    expired: bool = await QUERIES["has_expired"].value(
        connection, **turn.key(), number=number, now=now, activated_before=now - DELIVERED_WITHIN
    )
    return expired


async def is_taken_back(connection: Connection, turn: Turn, head: Head) -> bool:
    """Whether it would hand over, for the first time, a reward that was reversed meanwhile."""
    if head.name != EventName.REWARD_ISSUED or head.delivered_before:
        return False
    return bool(await _reversed(connection, {(turn.customer, _reward_key(head.reward_id))}))


async def park(connection: Connection, turn: Turn, number: int, error: str) -> None:
    """What is not to be sent any more; under `hold`."""
    await QUERIES["park_delivery"].run(connection, **turn.key(), number=number, error=error)


async def renew(connection: Connection, turn: Turn, *, until: datetime) -> None:
    """Go on with the same lease; under `hold`."""
    await QUERIES["renew_lease"].run(connection, **turn.key(), leased_until=until)


async def give_back(connection: Connection, turn: Turn, *, due_at: datetime | None) -> None:
    """End the lease, if it is still ours; without a time the turn is as due as it was."""
    await QUERIES["give_back_lease"].run(connection, **turn.key(), holder=turn.holder, due_at=due_at)


async def remove(connection: Connection, turn: Turn) -> None:
    """Nothing waits; under `hold`, and after `find_head` said so."""
    await QUERIES["remove_from_queue"].run(connection, **turn.key())


# ---------------------------------------------------------------- what the courier learns of endpoints


async def clear_failures(connection: Connection, endpoint: EndpointKey) -> None:
    await QUERIES["clear_failures"].run(connection, **endpoint._asdict())


async def count_failure(
    connection: Connection, endpoint: EndpointKey, *, seen: int, not_before: datetime | None
) -> None:
    """One more than `seen`, the count when the attempt began, unless another attempt has counted or cleared since."""
    await QUERIES["count_failure"].run(connection, **endpoint._asdict(), failure_count=seen, not_before=not_before)


async def take_probe(
    connection: Connection, endpoint: EndpointKey, *, seen: int, now: datetime, until: datetime
) -> bool:
    """Whether we are the one to try a slowed endpoint; if we die over it, somebody else may after `until`."""
    taken = await QUERIES["take_probe"].value(
        connection, **endpoint._asdict(), failure_count=seen, now=now, until=until
    )
    return taken is not None


async def disable(connection: Connection, endpoint: EndpointKey, *, url: str, reason: str, now: datetime) -> None:
    await QUERIES["disable_endpoint"].run(connection, **endpoint._asdict(), url=url, reason=reason, now=now)


async def park_expired(connection: Connection, endpoint: EndpointKey, *, error: str, now: datetime) -> None:
    """Park what waited its days for an endpoint that answers nobody, tried or not; what is being sent is left out."""
    old = {"now": now, "activated_before": now - DELIVERED_WITHIN, "limit": STEP}
    after_bucket, after_customer = -1, 0
    while rows := await QUERIES["list_expired"].rows(
        connection,
        **endpoint._asdict(),
        **old,
        buckets=EVERY_BUCKET,
        after_bucket=after_bucket,
        after_customer=after_customer,
    ):
        for bucket, found in groupby(rows, key=lambda row: row["bucket"]):
            within = {**endpoint._asdict(), "bucket": bucket}
            customer_ids = [row["customer_id"] for row in found]
            while await _park_some_expired(connection, within, customer_ids, old, error) == STEP:
                pass
        after_bucket, after_customer = rows[-1]["bucket"], rows[-1]["customer_id"]


async def _park_some_expired(
    connection: Connection, within: dict[str, Any], customer_ids: list[int], old: dict[str, Any], error: str
) -> int:
    async with connection.transaction():
        held = await QUERIES["lock_queue"].rows(connection, **within, customer_ids=customer_ids, now=old["now"])
        theirs = {**within, "customer_ids": [row["customer_id"] for row in held]}
        parked = await QUERIES["park_expired"].rows(connection, **theirs, **old, error=error)
        await QUERIES["remove_empty_from_queue"].run(connection, **theirs)
    return len(parked)


# ---------------------------------------------------------------- what the brand asks for


async def list_page(
    connection: Connection,
    organisation_id: int,
    webhook_endpoint_id: int,
    *,
    state: str | None = None,
    customer_id: int | None = None,
    after: DeliveryPlace = FROM_THE_START,
    limit: int,
) -> list[Delivery]:
    """By customer and number, what comes after a place: of a customer all, of everybody what was not delivered."""
    if customer_id is not None:
        rows = await QUERIES["list_deliveries_of_customer"].rows(
            connection,
            **place(CustomerKey.of(organisation_id, customer_id)),
            webhook_endpoint_id=webhook_endpoint_id,
            state=state,
            after_number=after.number,
            limit=limit,
        )
    else:
        rows = await QUERIES["list_unfinished_deliveries"].rows(
            connection,
            organisation_id=organisation_id,
            webhook_endpoint_id=webhook_endpoint_id,
            buckets=EVERY_BUCKET,
            state=state,
            after_customer=after.customer_id,
            after_number=after.number,
            limit=limit,
        )
    return [_delivery(row) for row in rows]


async def resend(
    connection: Connection,
    organisation_id: int,
    webhook_endpoint_id: int,
    customer_id: int,
    number: int,
    now: datetime,
) -> bool:
    """Send one notification to one endpoint once more, whatever came of it; False if there is no such notification.

    It takes its turn by its number, so what is older than everything that waits goes first. Raises EndpointRemoved.
    """
    customer = CustomerKey.of(organisation_id, customer_id)
    if await QUERIES["find_notification"].value(connection, **place(customer), number=number) is None:
        return False
    endpoint = EndpointKey(organisation_id, webhook_endpoint_id)
    found = [DeliveryPlace(customer_id, number)]
    await _start_again(connection, endpoint, customer.bucket, found, again=True, now=now)
    return True


# ---------------------------------------------------------------- steps through all of an endpoint's customers


async def list_buckets(connection: Connection, endpoint: EndpointKey) -> list[int]:
    """Those in which something waits for it."""
    rows = await QUERIES["list_buckets"].rows(connection, **endpoint._asdict(), buckets=EVERY_BUCKET)
    return [row["bucket"] for row in rows]


async def make_some_due(
    connection: Connection, endpoint: EndpointKey, bucket: int, *, after: int, now: datetime
) -> int | None:
    """Of one bucket, whose turn is later than now has it now; the customer after whom to go on, or None at the end."""
    within = {**endpoint._asdict(), "bucket": bucket}
    later = await QUERIES["list_later"].rows(connection, **within, after_customer=after, now=now, limit=STEP)
    if not later:
        return None
    customer_ids: list[int] = [row["customer_id"] for row in later]
    done = await QUERIES["make_turns_due"].rows(connection, **within, customer_ids=customer_ids, now=now)
    # Each by itself: whoever changes one now is waited for, and nobody waits for us meanwhile.
    for customer_id in sorted(set(customer_ids) - {row["customer_id"] for row in done}):
        await QUERIES["make_turn_due"].run(connection, **within, customer_id=customer_id, now=now)
    return customer_ids[-1]


async def park_some(connection: Connection, endpoint: EndpointKey, bucket: int, error: str) -> bool:
    """Park some of what waits in one bucket; False when nothing did. For an endpoint for which nobody writes."""
    within = {**endpoint._asdict(), "bucket": bucket}
    async with connection.transaction():
        held = await QUERIES["lock_some_queue"].rows(connection, **within, limit=STEP)
        theirs = {**within, "customer_ids": [row["customer_id"] for row in held]}
        await QUERIES["park_some"].run(connection, **theirs, error=error, limit=STEP)
        await QUERIES["remove_empty_from_queue"].run(connection, **theirs)
    return bool(held)


async def recover_some(
    connection: Connection,
    endpoint: EndpointKey,
    bucket: int,
    since: datetime,
    *,
    after: DeliveryPlace,
    now: datetime,
) -> tuple[int, DeliveryPlace | None]:
    """Of one bucket, send what was created since then and what the endpoint wants and did not get.

    How many those are, and where to go on, or None at the end. A reward that was reversed is not handed over any more.
    Raises EndpointRemoved.
    """
    rows = await QUERIES["list_undelivered"].rows(
        connection,
        **endpoint._asdict(),
        bucket=bucket,
        since=since,
        after_customer=after.customer_id,
        after_number=after.number,
        limit=STEP,
    )
    if not rows:
        return 0, None
    found = await _without_taken_back(connection, endpoint, rows)
    if found:
        await _start_again(connection, endpoint, bucket, found, again=False, now=now)
    return len(found), DeliveryPlace(rows[-1]["customer_id"], rows[-1]["number"])


async def list_removed_endpoints(connection: Connection) -> list[EndpointKey]:
    """For which something waits all the same."""
    rows = await QUERIES["list_removed_endpoints"].rows(connection, buckets=EVERY_BUCKET)
    return [EndpointKey(**row) for row in rows]


async def _start_again(
    connection: Connection,
    endpoint: EndpointKey,
    bucket: int,
    found: Sequence[DeliveryPlace],
    *,
    again: bool,
    now: datetime,
) -> None:
    """Put deliveries of one bucket in the queue; the customers are held first, because the batches hold them too."""
    where: dict[str, Any] = {**endpoint._asdict(), "bucket": bucket, "customer_ids": [one.customer_id for one in found]}
    async with connection.transaction():
        await lock(connection, {CustomerKey(bucket, endpoint.organisation_id, o.customer_id) for o in found})
        if await QUERIES["hold_endpoint"].value(connection, **endpoint._asdict()) is None:
            raise EndpointRemoved
        await QUERIES["put_in_queue"].run(connection, **where, now=now)
        await QUERIES["make_waiting"].run(
            connection,
            **where,
            numbers=[one.number for one in found],
            expires_at=now + DELIVERED_WITHIN,
            again=again,
        )


# ---------------------------------------------------------------- parts


async def _without_taken_back(
    connection: Connection, endpoint: EndpointKey, rows: Sequence[Any]
) -> list[DeliveryPlace]:
    """The places of these notifications, but for those that `is_taken_back` would park."""
    handed = {
        DeliveryPlace(row["customer_id"], row["number"]): (
            CustomerKey.of(endpoint.organisation_id, row["customer_id"]),
            _reward_key(row["reward_id"]),
        )
        for row in rows
        if row["name"] == EventName.REWARD_ISSUED and row["delivered_at"] is None
    }
    taken_back = await _reversed(connection, handed.values()) if handed else set()
    places = (DeliveryPlace(row["customer_id"], row["number"]) for row in rows)
    return [each for each in places if handed.get(each) not in taken_back]


async def _reversed(
    connection: Connection, wanted: Iterable[tuple[CustomerKey, RewardKey]]
) -> set[tuple[CustomerKey, RewardKey]]:
    found = await rewards.list_by_key(connection, wanted)
    return {key for key, reward in found.items() if reward.state is RewardState.REVERSED}


def _reward_key(reward_id: str | None) -> RewardKey:
    assert reward_id is not None, "the schema has it so"
    named = parse_reward_id(reward_id)
    assert named is not None, "it is one of ours"
    return named[1]


def _expires_at(row: Any) -> datetime:
    """An endpoint that comes back has all its days, whatever its deliveries say."""
    expires_at: datetime = max(row["expires_at"], row["activated_at"] + DELIVERED_WITHIN)
    return expires_at


def _delivery(row: Any) -> Delivery:
    columns = dict(row)
    expires_at = _expires_at(columns)
    del columns["activated_at"]
    return Delivery(**columns | {"expires_at": expires_at})
