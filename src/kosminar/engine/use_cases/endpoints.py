"""Webhook endpoints as their owner changes them: each change is one of the definitions, so that batches see it whole.

Whoever subscribes to the hand-over of rewards decides what a reward is worth that is earned in the same moment; so an
endpoint comes, goes and changes its events only while no batch is under way (decision 27, store/programmes.py).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from kosminar.core.endpoint import ENDPOINT_COUNT_MAX, Endpoint, EndpointKey, EndpointState
from kosminar.core.errors import Code, invalid
from kosminar.core.event import sealed
from kosminar.core.idempotency import BEGUN, IdempotencyKey
from kosminar.engine import endpoint_runs
from kosminar.engine.change import KeptOutcome
from kosminar.engine.courier import TestOutcome
from kosminar.engine.endpoint_runs import REMOVED
from kosminar.engine.house import House
from kosminar.engine.use_cases import customers
from kosminar.engine.use_cases.once import AnswerSlot, change_once
from kosminar.engine.use_cases.refusal import Refusal
from kosminar.store import deliveries, idempotency, notifications, programmes, webhook_endpoints
from kosminar.store.deliveries import FROM_THE_START, Delivery, DeliveryPlace, EndpointRemoved
from kosminar.store.notifications import Notification
from kosminar.store.queries import Connection
from kosminar.store.standings import CustomerKey

SECRET_BYTES: Final = 32
TEST_EVENT: Final = "webhookTest"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """What its owner says of an endpoint; `event_names` None is every event."""

    url: str
    description: str | None
    event_names: frozenset[str] | None
    headers: Mapping[str, str] = field(repr=False)
    connection_count_max: int


class DeliveryPage(NamedTuple):
    """`last` is the customer and the number after which the next page begins, None on the last page."""

    deliveries: list[Delivery]
    last: tuple[int, int] | None


class NotificationPage(NamedTuple):
    """`last` is the number after which the next page begins, None on the last page."""

    notifications: list[Notification]
    last: int | None


class TestUnderWay(Exception):
    """Another call tests the same endpoint just now."""


# ---------------------------------------------------------------- one endpoint


async def create(
    house: House, organisation_id: int, new: NewEndpoint, *, secret: bytes, slot: AnswerSlot | None
) -> Endpoint | KeptOutcome:
    """Active from the next change on. Raises Refusal."""
    reachable = await house.courier.may_reach(new.url)

    async def work(connection: Connection) -> Endpoint:
        _refuse_unless(reachable=reachable)
        return await create_in(connection, organisation_id, new, secret=secret, wall=house.wall())

    return await change_once(house.pool, slot, work)


async def list_all(house: House, organisation_id: int) -> tuple[Endpoint, ...]:
    """Every endpoint of the organisation, by id."""
    async with house.pool.acquire() as connection:
        return await webhook_endpoints.list_of(connection, organisation_id)


async def read(house: House, endpoint: EndpointKey) -> Endpoint:
    """Raises Refusal of UNKNOWN_ENDPOINT."""
    async with house.pool.acquire() as connection:
        return await _require(connection, endpoint)


async def change(
    house: House,
    endpoint: EndpointKey,
    changes: Mapping[str, Any],
    state: EndpointState | None,
    *,
    slot: AnswerSlot | None,
) -> Endpoint | KeptOutcome:
    """What is given and nothing else. Set active, everything that waits is due, and has its days. Raises Refusal."""
    # Looked up before the transaction and judged within: the name may have other addresses when the call is repeated.
    reachable = "url" not in changes or await house.courier.may_reach(changes["url"])
    now = house.wall()

    def changed(was: Endpoint) -> Endpoint:
        then = replace(was, **changes)
        if state is EndpointState.ACTIVE:
            # Also if it is: an earlier call may have been cut off.
            return activated(then, now=now)
        return then if state is None else replace(then, state=state, reason=None)

    async def work(connection: Connection) -> Endpoint:
        _refuse_unless(reachable=reachable)
        return await change_in(connection, *endpoint, changed, wall=now)

    outcome = await change_once(house.pool, slot, work, number=BEGUN)
    if state is EndpointState.ACTIVE:
        await endpoint_runs.resume(house.pool, house.endpoint_steps, endpoint, now=now)
        house.courier.nudge()
    return outcome


async def remove(house: House, endpoint: EndpointKey, *, slot: AnswerSlot | None) -> EndpointState | KeptOutcome:
    """Gone for good; what waited for it is parked. Raises Refusal of UNKNOWN_ENDPOINT."""

    async def work(connection: Connection) -> EndpointState:
        await remove_in(connection, endpoint, wall=house.wall())
        return EndpointState.REMOVED

    outcome = await change_once(house.pool, slot, work, number=BEGUN)
    await endpoint_runs.park_removed(house.pool, house.endpoint_steps, endpoint)
    return outcome


async def rotate_secret(
    house: House, endpoint: EndpointKey, secret: bytes, *, overlap: timedelta, slot: AnswerSlot | None
) -> Endpoint | KeptOutcome:
    """The old secret signs as well until the overlap ends. Raises Refusal of UNKNOWN_ENDPOINT."""
    now = house.wall()

    async def work(connection: Connection) -> Endpoint:
        return await change_in(
            connection, *endpoint, lambda was: with_new_secret(was, secret, now=now, overlap=overlap), wall=now
        )

    return await change_once(house.pool, slot, work)


async def test(house: House, endpoint: EndpointKey, *, request_id: str) -> TestOutcome:
    """Send a signed test event now, whatever the state; nothing of it is recorded.

    Raises TestUnderWay, and Refusal of UNKNOWN_ENDPOINT.
    """
    found = await read(house, endpoint)
    async with house.endpoint_tests.alone(found.webhook_endpoint_id) as alone:
        if not alone:
            raise TestUnderWay
        body = sealed(
            TEST_EVENT,
            endpoint.organisation_id,
            event_id=f"{endpoint.organisation_id}-test-{request_id}",
            request_id=request_id,
            at=house.wall(),
            sequence=0,
            data={},
        )
        return await house.courier.send_test(found, body)


# ---------------------------------------------------------------- its deliveries


async def list_deliveries(
    house: House,
    endpoint: EndpointKey,
    *,
    state: str | None,
    customer_id: int | None,
    after: tuple[int, int] | None,
    limit: int,
) -> DeliveryPage:
    """By customer and number. Raises Refusal of UNKNOWN_ENDPOINT."""
    async with house.pool.acquire() as connection:
        await _require(connection, endpoint)
        found = await deliveries.list_page(
            connection,
            *endpoint,
            state=state,
            customer_id=customer_id,
            after=FROM_THE_START if after is None else DeliveryPlace(*after),
            limit=limit + 1,
        )
    last = found[limit - 1] if len(found) > limit else None
    return DeliveryPage(list(found[:limit]), None if last is None else (last.customer_id, last.number))


async def resend(
    house: House, endpoint: EndpointKey, customer_id: int, number: int, *, slot: AnswerSlot | None
) -> bool | KeptOutcome:
    """One notification once more, whatever came of it before; it takes its turn by its number.

    Raises Refusal of UNKNOWN_ENDPOINT or UNKNOWN_NOTIFICATION.
    """

    async def work(connection: Connection) -> bool:
        await _require(connection, endpoint)
        with _removed_is_unknown():
            found = await deliveries.resend(connection, *endpoint, customer_id, number, house.wall())
        if not found:
            raise Refusal.of(Code.UNKNOWN_NOTIFICATION)
        return True

    outcome = await change_once(house.pool, slot, work)
    house.courier.nudge()
    return outcome


async def recover(house: House, endpoint: EndpointKey, since: datetime, *, key: IdempotencyKey | None) -> int:
    """Send everything since an instant, by real time, that the endpoint wants and did not get; how many those are.

    Raises Refusal of UNKNOWN_ENDPOINT.
    """
    async with house.pool.acquire() as connection:
        if key is None or await idempotency.find_result(connection, key, BEGUN) is None:
            await _require(connection, endpoint)
    with _removed_is_unknown():
        count = await endpoint_runs.recover(
            house.pool, house.endpoint_steps, endpoint, since, now=house.wall(), key=key
        )
    house.courier.nudge()
    return count


async def list_notifications(
    house: House, organisation_id: int, customer_id: int, *, after: int, limit: int
) -> NotificationPage:
    """Everything that was written to be sent of a customer, oldest first. Raises Refusal of UNKNOWN_CUSTOMER."""
    key = CustomerKey.of(organisation_id, customer_id)
    async with house.pool.acquire() as connection:
        await customers.require(connection, organisation_id, customer_id)
        found = await notifications.list_page(connection, key, after=after, limit=limit + 1)
    return NotificationPage(list(found[:limit]), found[limit - 1].number if len(found) > limit else None)


# ---------------------------------------------------------------- in the caller's transaction


async def create_in(
    connection: Connection, organisation_id: int, new: NewEndpoint, *, secret: bytes, wall: datetime
) -> Endpoint:
    """In the caller's transaction. Raises Refusal of too many endpoints."""
    await programmes.lock_definitions(connection, organisation_id)
    if len(await webhook_endpoints.list_of(connection, organisation_id)) >= ENDPOINT_COUNT_MAX:
        raise Refusal(invalid("", f"An organisation has at most {ENDPOINT_COUNT_MAX} webhook endpoints"))
    await programmes.begin_change(connection, organisation_id, wall=wall)
    webhook_endpoint_id = await webhook_endpoints.insert(
        connection,
        organisation_id,
        url=new.url,
        description=new.description,
        event_names=new.event_names,
        headers=new.headers,
        connection_count_max=new.connection_count_max,
        secret=secret,
        now=wall,
    )
    made = await webhook_endpoints.find(connection, organisation_id, webhook_endpoint_id)
    assert made is not None, "inserted in this transaction"
    return made


async def change_in(
    connection: Connection,
    organisation_id: int,
    webhook_endpoint_id: int,
    changed: Callable[[Endpoint], Endpoint],
    *,
    wall: datetime,
) -> Endpoint:
    """In the caller's transaction. Raises Refusal of UNKNOWN_ENDPOINT."""
    await programmes.lock_definitions(connection, organisation_id)
    endpoint = await webhook_endpoints.lock(connection, organisation_id, webhook_endpoint_id)
    if endpoint is None:
        raise Refusal.of(Code.UNKNOWN_ENDPOINT)
    await programmes.begin_change(connection, organisation_id, wall=wall)
    endpoint = changed(endpoint)
    await webhook_endpoints.save(connection, endpoint, now=wall)
    return endpoint


def activated(endpoint: Endpoint, *, now: datetime) -> Endpoint:
    """Back from a pause or from being disabled, with a clean record, and all its days for what waits."""
    return replace(
        endpoint, state=EndpointState.ACTIVE, reason=None, failure_count=0, not_before=None, activated_at=now
    )


def with_new_secret(endpoint: Endpoint, secret: bytes, *, now: datetime, overlap: timedelta) -> Endpoint:
    """The new secret signs at once; the one before signs beside it until the overlap ends."""
    return replace(
        endpoint,
        secret=secret,
        previous_secret=endpoint.secret if overlap else None,
        previous_secret_until=now + overlap if overlap else None,
    )


async def remove_in(connection: Connection, endpoint: EndpointKey, *, wall: datetime) -> None:
    """In the caller's transaction; `park_removed` afterwards. Cut off before, the housekeeper parks what waits.

    Raises Refusal of UNKNOWN_ENDPOINT.
    """
    await change_in(
        connection,
        endpoint.organisation_id,
        endpoint.webhook_endpoint_id,
        lambda was: replace(was, state=EndpointState.REMOVED, reason=REMOVED),
        wall=wall,
    )


async def _require(connection: Connection, endpoint: EndpointKey) -> Endpoint:
    found = await webhook_endpoints.find(connection, *endpoint)
    if found is None:
        raise Refusal.of(Code.UNKNOWN_ENDPOINT)
    return found


@contextmanager
def _removed_is_unknown() -> Iterator[None]:
    """An endpoint that is removed meanwhile is as unknown as one that never was (decision 31)."""
    try:
        yield
    except EndpointRemoved:
        raise Refusal.of(Code.UNKNOWN_ENDPOINT) from None


def _refuse_unless(*, reachable: bool) -> None:
    """Says nothing of the addresses that the name has: they may be our neighbours'."""
    if not reachable:
        raise Refusal(
            invalid(
                "url",
                "names no address that may be reached: https goes to public addresses, and anything else to the "
                "networks that the operator names in KOSMINAR_WEBHOOK_NETWORKS",
            )
        )
