"""Deliveries: at least once, in each customer's order, whoever is killed, however receivers behave.

Receivers are real HTTP servers on this machine; time moves when a test moves it.
"""

import asyncio
import itertools
import json
import signal
import ssl
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from tests.conftest import Wall
from tests.definitions import POINTS, month
from tests.engine.brand import Brand, found, milestone, rewards_of
from tests.engine.post_office import SECRET, Office, open_office
from tests.engine.receiver import Received, Receiver, Reply, Verifier, always

from kosminar.core.customer import NewCustomer
from kosminar.core.endpoint import EndpointKey
from kosminar.core.event import EventName
from kosminar.core.reward import RewardState, parse_reward_id
from kosminar.core.webhook import SLOW_FROM_FAILURE_COUNT, secret_text
from kosminar.engine import courier as courier_module
from kosminar.engine.change import Request, RewardReport
from kosminar.engine.courier import LEASE, TROUBLE_DELAY, Courier
from kosminar.engine.endpoint_runs import Steps, park_removed, recover, resume
from kosminar.engine.house import House
from kosminar.engine.outbound import Sender
from kosminar.engine.use_cases.customers import register
from kosminar.engine.writer import Writer
from kosminar.store import deliveries
from kosminar.store.deliveries import DeliveryPlace, EndpointRemoved, Turn
from kosminar.store.standings import CustomerKey

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)

Make = Callable[..., Any]


@pytest_asyncio.fixture
async def office(pool: asyncpg.Pool) -> Office:
    return await open_office(pool, customer_ids=range(1, 13))


@pytest_asyncio.fixture
async def make(database_url: str, wall: Wall) -> AsyncIterator[Make]:
    """Couriers as of several processes: each with its own writer, and one single connection of its own."""
    async with AsyncExitStack() as stack:

        async def one(name: str = "one", *, seconds: float = 30, seed: int = 1, **options: Any) -> Courier:
            pool = await stack.enter_async_context(asyncpg.create_pool(database_url, min_size=1, max_size=1))
            lanes = await stack.enter_async_context(asyncpg.create_pool(database_url, min_size=0, max_size=1))
            writer = await stack.enter_async_context(Writer(lanes, wall=wall, lane_count=1))
            sender = await stack.enter_async_context(
                Sender(
                    networks=[ip_network("127.0.0.0/8")],
                    user_agent="Kosminar/test",
                    seconds=seconds,
                    ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                )
            )
            return Courier(
                options.get("pool", pool), writer, sender, wall=wall, random=Random(seed).random, worker_name=name
            )

        yield one


@pytest_asyncio.fixture
async def courier(make: Make) -> Courier:
    return await make()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@asynccontextmanager
async def running(courier: Courier) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(courier.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def never(_: Received) -> Reply:
    await asyncio.Event().wait()
    return Reply()


def numbers(received: list[Received]) -> dict[int, list[int]]:
    """What each customer's receiver got, in the order in which it came."""
    by_customer: defaultdict[int, list[int]] = defaultdict(list)
    for one in received:
        customer_id, number = one.name
        by_customer[customer_id].append(number)
    return dict(by_customer)


def of_one_bucket(organisation_id: int) -> list[int]:
    """Three customers who live in the same bucket, by id."""
    bucket = CustomerKey.of(organisation_id, 1).bucket
    found = (each for each in itertools.count(1) if CustomerKey.of(organisation_id, each).bucket == bucket)
    return list(itertools.islice(found, 3))


async def waiting_for_a_lock(pool: asyncpg.Pool) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(30):
        while not await pool.fetchval(waiting):
            pass


# ---------------------------------------------------------------- what is sent


async def test_a_delivery_is_the_body_itself_signed_as_the_standard_says(courier, office, receiver, wall) -> None:
    own = {"X-Brand": "acme", "webhook-id": "forged", "User-Agent": "forged"}
    endpoint = await office.endpoint(receiver.url, headers=own)
    await office.tell(wall(), [1, 2], endpoint, count=2)

    await courier.deliver_due()

    assert await office.deliveries(endpoint) == [(c, n, "delivered") for c in (1, 2) for n in (1, 2)]
    assert await office.queue(endpoint) == []
    stored = {row["body"] for row in await office.pool.fetch("SELECT body FROM notification")}
    assert {one.content.decode() for one in receiver.received} == stored
    for one in receiver.received:
        verified = Verifier(secret_text(SECRET), wall()).verify(one.content, dict(one.headers))
        assert one.headers["webhook-id"] == verified["eventId"]
        assert one.headers["webhook-timestamp"] == str(int(wall().timestamp()))
        assert one.headers["content-type"] == "application/json"
        assert one.headers["user-agent"] == "Kosminar/test"
        assert one.headers["x-brand"] == "acme"


async def test_while_two_secrets_overlap_both_sign_and_afterwards_the_new_one_alone(
    courier, office, receiver, wall
) -> None:
    endpoint = await office.endpoint(receiver.url)
    newest, until = bytes(32), wall() + DAY
    await office.pool.execute(
        "UPDATE webhook_endpoint SET secret = $1, previous_secret = secret, previous_secret_until = $2", newest, until
    )
    for now in (until - timedelta(seconds=1), until):
        wall.now = now
        await office.tell(wall(), [1], endpoint)
        await courier.deliver_due()

    during, after = receiver.received

    assert [len(one.headers["webhook-signature"].split(" ")) for one in (during, after)] == [2, 1]
    for secret in (SECRET, newest):
        Verifier(secret_text(secret), until).verify(during.content, dict(during.headers))
    Verifier(secret_text(newest), until).verify(after.content, dict(after.headers))


async def test_a_test_message_goes_the_same_way_once_and_leaves_no_trace(courier, office, receiver, wall) -> None:
    endpoint = await office.endpoint(receiver.url, headers={"X-Brand": "acme"})
    row = await office.row(endpoint)
    addressee = deliveries.Recipient(
        row["url"], json.loads(row["headers"]), row["secret"], None, None, active=False, failure_count=0
    )

    good = await courier.send_test(addressee, '{"eventId": "test-1"}')
    receiver.answer = always(Reply(404, content=b"no such hook"))
    bad = await courier.send_test(addressee, '{"eventId": "test-2"}')

    assert (good.status, good.error) == (200, None)
    assert (bad.status, bad.error) == (404, "no such hook")
    assert good.milliseconds >= 0
    sent = receiver.received[0]
    Verifier(secret_text(SECRET), wall()).verify(sent.content, dict(sent.headers))
    assert sent.headers["x-brand"] == "acme"
    assert dict(await office.row(endpoint)) == dict(row)
    assert len(receiver.received) == 2


# ---------------------------------------------------------------- order


async def test_a_later_one_waits_until_the_earlier_one_has_arrived(courier, office, receiver, wall) -> None:
    receiver.answer = always(Reply(500))
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1, 2], endpoint, count=3)

    await courier.deliver_due()
    assert sorted(receiver.names) == [(1, 1), (2, 1)]

    receiver.answer = always(Reply())
    wall.advance(hours=1)
    await courier.deliver_due()
    assert numbers(receiver.accepted) == {1: [1, 2, 3], 2: [1, 2, 3]}


async def test_one_customers_deliveries_are_never_under_way_together_and_different_customers_are(
    courier, office, receiver, wall
) -> None:
    under_way: list[int] = []
    together: set[tuple[int, ...]] = set()

    async def slowly(one: Received) -> Reply:
        under_way.append(one.name[0])
        together.add(tuple(sorted(under_way)))
        await asyncio.sleep(0)
        under_way.remove(one.name[0])
        return Reply()

    receiver.answer = slowly
    endpoint = await office.endpoint(receiver.url, connection_count_max=3)
    await office.tell(wall(), range(1, 13), endpoint, count=15)

    await courier.deliver_due()

    assert numbers(receiver.received) == {customer: list(range(1, 16)) for customer in range(1, 13)}
    assert [group for group in together if len(set(group)) < len(group)] == []
    assert max(len(group) for group in together) <= 3


async def test_an_endpoint_gets_as_many_connections_as_it_allows_and_no_more(courier, office, receiver, wall) -> None:
    released = asyncio.Event()

    async def held(_: Received) -> Reply:
        await released.wait()
        return Reply()

    receiver.answer = held
    endpoint = await office.endpoint(receiver.url, connection_count_max=5)
    await office.tell(wall(), range(1, 13), endpoint)

    async with running(courier):
        await receiver.got(5)
        # Every look at what is due has its chance to start a sixth.
        for _ in range(20):
            courier.nudge()
            await office.pool.fetchval("SELECT 1")
        assert len(receiver.received) == 5
        released.set()
        await receiver.got(12)


async def test_a_customer_with_very_many_does_not_keep_the_others_waiting(courier, office, receiver, wall) -> None:
    endpoint = await office.endpoint(receiver.url, connection_count_max=1)
    await office.tell(wall(), [1], endpoint, count=100)
    await office.tell(wall() + TICK, [2], endpoint)
    wall.advance(seconds=1)

    await courier.deliver_due()

    assert receiver.names.index((2, 1)) <= 2 * courier_module.TURN_LENGTH_MAX
    assert numbers(receiver.received) == {1: list(range(1, 101)), 2: [1]}


# ---------------------------------------------------------------- failures


async def test_thirty_percent_failures_over_days_end_with_each_once_and_in_order(make, office, wall) -> None:
    """Two couriers share the queue; after the receiver has dropped repeats, nothing is missing, double or out of order."""
    chance = Random(29)
    in_vain = [Reply(500), Reply(503, {"Retry-After": "90"}), Reply(429), Reply(404), Reply(301), Reply(None)]

    async def moody(_: Received) -> Reply:
        return chance.choice(in_vain) if chance.random() < 0.3 else Reply()

    couriers = [await make("one", seed=1), await make("two", seed=2)]
    customers = range(1, 13)
    async with Receiver(moody) as first, Receiver(moody) as second:
        endpoints = [await office.endpoint(each.url, connection_count_max=3) for each in (first, second)]
        told = 0
        while told < 20 or await office.pool.fetchval("SELECT EXISTS (SELECT 1 FROM webhook_queue)"):
            if told < 20:
                await office.tell(wall(), customers, *endpoints)
                told += 1
            await asyncio.gather(*(each.deliver_due() for each in couriers))
            wall.advance(minutes=chance.randrange(1, 300))
            assert wall() < datetime(2026, 4, 2, tzinfo=wall().tzinfo), "it should all have arrived"

        for receiver, endpoint in zip((first, second), endpoints, strict=True):
            assert len(receiver.received) > 1.2 * len(receiver.accepted)
            # In order: number n+1 was first tried only after number n was accepted, for each customer.
            assert numbers(receiver.accepted) == {customer: list(range(1, 21)) for customer in customers}
            accepted = {one.name for one in receiver.accepted}
            assert len({one.headers["webhook-id"] for one in receiver.accepted}) == len(accepted) == 240
            for customer, tried in numbers(receiver.received).items():
                assert tried == sorted(tried), customer
            assert {state for *_, state in await office.deliveries(endpoint)} == {"delivered"}


@pytest.mark.parametrize("status", [400, 402, 405, 409, 411, 413, 422, 451])
async def test_a_final_no_is_kept_and_the_next_one_has_its_turn(status, courier, office, receiver, wall) -> None:
    async def picky(one: Received) -> Reply:
        return Reply(status, content=b"unknown customer") if one.body["sequence"] == 1 else Reply()

    receiver.answer = picky
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint, count=2)

    await courier.deliver_due()

    assert await office.deliveries(endpoint) == [(1, 1, "refused"), (1, 2, "delivered")]
    refused = await office.delivery(endpoint, 1, 1)
    assert (refused["status"], refused["error"], refused["attempt_count"]) == (status, "unknown customer", 1)


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504])
async def test_what_speaks_of_the_receivers_state_is_tried_again(status, courier, office, receiver, wall) -> None:
    receiver.answer = always(Reply(status, {"location": "/elsewhere"}))
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    await courier.deliver_due()
    receiver.answer = always(Reply())

    (queued,) = await office.queue(endpoint)
    assert wall() + timedelta(seconds=1) <= queued["due_at"] <= wall() + timedelta(seconds=5)
    wall.now = queued["due_at"] - TICK
    await courier.deliver_due()
    assert len(receiver.received) == 1
    wall.now = queued["due_at"]
    await courier.deliver_due()

    assert [one.path for one in receiver.received] == ["/hook", "/hook"]
    assert await office.deliveries(endpoint) == [(1, 1, "delivered")]


async def test_the_longer_it_fails_the_longer_the_pauses_and_an_hour_is_the_longest(
    courier, office, receiver, wall
) -> None:
    receiver.answer = always(Reply(500))
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    pauses = []
    for _ in range(40):
        await courier.deliver_due()
        (queued,) = await office.queue(endpoint)
        not_before = (await office.row(endpoint))["not_before"] or queued["due_at"]
        pauses.append((max(queued["due_at"], not_before) - wall()).total_seconds())
        wall.now = max(queued["due_at"], not_before)

    assert (await office.delivery(endpoint, 1, 1))["attempt_count"] == 40
    assert max(pauses[:3]) <= 20
    assert 600 < max(pauses[20:]) <= 3600


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("600", 600), ("Mon, 02 Mar 2026 09:45:00 GMT", 900), ("604800", 86_400), ("Sun, 01 Mar 2026 09:45:00 GMT", 1)],
)
async def test_a_receiver_that_says_when_is_not_asked_before(asked, seconds, courier, office, receiver, wall) -> None:
    receiver.answer = always(Reply(429, {"Retry-After": asked}))
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    asked_at = wall()
    await courier.deliver_due()
    # A new notification does not bring the next attempt forward.
    await office.tell(wall(), [1], endpoint)

    wall.now = asked_at + timedelta(seconds=seconds) - TICK
    await courier.deliver_due()
    assert len(receiver.received) == 1

    receiver.answer = always(Reply())
    wall.now = asked_at + timedelta(seconds=seconds + 5)
    await courier.deliver_due()
    assert numbers(receiver.received) == {1: [1, 1, 2]}


async def test_gone_disables_the_endpoint_and_what_waits_waits(courier, office, receiver, wall) -> None:
    receiver.answer = always(Reply(410))
    endpoint = await office.endpoint(receiver.url, connection_count_max=1)
    await office.tell(wall(), [1, 2, 3], endpoint, count=2)

    await courier.deliver_due()
    wall.advance(days=30)
    await courier.deliver_due()

    row = await office.row(endpoint)
    assert (row["state"], row["reason"]) == ("disabled", "the receiver answered 410: it is gone")
    assert len(receiver.received) == 1
    assert {state for *_, state in await office.deliveries(endpoint)} == {"waiting"}
    assert len(await office.queue(endpoint)) == 3


# ---------------------------------------------------------------- giving up and starting again


async def test_the_last_failure_is_the_first_one_after_seven_days_and_the_next_one_has_its_turn(
    courier, office, receiver, wall
) -> None:
    receiver.answer = always(Reply(500, content=b"sorry"))
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    expires_at = wall() + 7 * DAY
    wall.advance(days=1)
    await office.tell(wall(), [1], endpoint)

    wall.now = expires_at - TICK
    await courier.deliver_due()
    assert await office.deliveries(endpoint) == [(1, 1, "waiting"), (1, 2, "waiting")]

    wall.now = expires_at + timedelta(seconds=5)
    await courier.deliver_due()
    assert await office.deliveries(endpoint) == [(1, 1, "parked"), (1, 2, "waiting")]
    parked = await office.delivery(endpoint, 1, 1)
    assert (parked["status"], parked["error"], parked["attempt_count"]) == (500, "sorry", 2)
    assert receiver.names == [(1, 1), (1, 1), (1, 2)]


async def test_what_was_parked_refused_or_delivered_can_be_sent_again_and_has_seven_days(
    courier, office, receiver, wall, connection
) -> None:
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint, count=4)
    states = {1: "parked", 2: "refused", 3: "delivered"}
    for number, state in states.items():
        await office.pool.execute("UPDATE delivery SET state = $2, error = 'x' WHERE number = $1", number, state)
    wall.advance(days=30)

    for number in states:
        assert await deliveries.resend(connection, office.organisation_id, endpoint, 1, number, wall())
    assert not await deliveries.resend(connection, office.organisation_id, endpoint, 1, 5, wall())
    assert not await deliveries.resend(connection, office.organisation_id, endpoint, 99, 1, wall())
    again = await office.delivery(endpoint, 1, 1)
    assert (again["attempt_count"], again["expires_at"]) == (0, wall() + 7 * DAY)
    await courier.deliver_due()

    # The oldest first, though it was asked for last or waited longest.
    assert receiver.names == [(1, 1), (1, 2), (1, 3), (1, 4)]


async def test_a_resent_one_does_not_wait_for_the_pause_of_a_later_one(courier, office, receiver, wall, connection):
    receiver.answer = always(Reply(500, {"Retry-After": "3600"}))
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint, count=2)
    await office.pool.execute("UPDATE delivery SET state = 'parked', error = 'x' WHERE number = 1")
    await courier.deliver_due()
    receiver.answer = always(Reply())

    await deliveries.resend(connection, office.organisation_id, endpoint, 1, 1, wall())
    await courier.deliver_due()

    assert receiver.names == [(1, 2), (1, 1), (1, 2)]


async def test_recover_sends_all_that_was_missed_since_then_also_what_was_never_meant_to_be_sent(
    courier, office, receiver, wall, pool
) -> None:
    wanted, other = EventName.STREAK_START, EventName.STREAK_END
    endpoint = await office.endpoint(receiver.url, event_names=[wanted])
    await office.tell(wall(), [1], endpoint, name=wanted)
    wall.advance(days=1)
    since = wall()
    # Delivered; refused; parked; never for this endpoint; and one of a kind that it does not want.
    await office.tell(since, [1], endpoint, name=wanted, count=3)
    await office.tell(wall(), [1, 2], name=wanted)
    await office.tell(wall(), [3], name=other)
    for number, state in {1: "parked", 2: "delivered", 3: "refused", 4: "parked"}.items():
        await office.pool.execute("UPDATE delivery SET state = $2, error = 'x' WHERE number = $1", number, state)
    wall.advance(days=30)

    count = await recover(pool, Steps(), office.key(endpoint), since, now=wall())
    await courier.deliver_due()

    assert count == 4
    assert numbers(receiver.received) == {1: [3, 4, 5], 2: [1]}
    assert await office.deliveries(endpoint) == [
        (1, 1, "parked"),
        *((1, number, "delivered") for number in (2, 3, 4, 5)),
        (2, 1, "delivered"),
    ]


async def test_recover_goes_through_more_than_a_step_at_a_time_holds(office, receiver, wall, pool) -> None:
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1, 2], count=deliveries.STEP + 1)

    count = await recover(pool, Steps(), office.key(endpoint), wall(), now=wall())

    assert count == 2 * (deliveries.STEP + 1)
    assert len(await office.deliveries(endpoint)) == count


async def test_nothing_is_tried_while_paused_and_resumed_it_is_due_at_once_for_seven_days(
    courier, office, receiver, wall, pool
) -> None:
    receiver.answer = always(Reply(500))
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    for _ in range(SLOW_FROM_FAILURE_COUNT):
        await courier.deliver_due()
        wall.advance(hours=1)
    await office.set_state(endpoint, "paused")
    tried = len(receiver.received)
    wall.advance(days=30)
    await office.tell(wall(), [1], endpoint)
    await courier.deliver_due()
    assert len(receiver.received) == tried

    await office.pool.execute("UPDATE webhook_queue SET due_at = $1", wall() + DAY)
    await office.pool.execute("UPDATE webhook_endpoint SET not_before = $1", wall() + DAY)
    await office.activate(endpoint, wall())
    await resume(pool, Steps(), office.key(endpoint), now=wall())
    await courier.deliver_due()

    assert receiver.names[tried:] == [(1, 1)]
    assert await office.deliveries(endpoint) == [(1, 1, "waiting"), (1, 2, "waiting")]
    assert {one.expires_at for one in await office.shown(endpoint)} == {wall() + 7 * DAY}


async def test_an_endpoint_paused_in_the_middle_of_a_turn_gets_no_more(courier, office, receiver, wall) -> None:
    async def pause(_: Received) -> Reply:
        await office.set_state(endpoint, "paused")
        return Reply()

    receiver.answer = pause
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint, count=2)

    await courier.deliver_due()

    assert await office.deliveries(endpoint) == [(1, 1, "delivered"), (1, 2, "waiting")]
    (queued,) = await office.queue(endpoint)
    assert queued["leased_by"] is None


async def test_what_waits_for_a_removed_endpoint_is_parked_with_the_reason_and_no_other(
    courier, office, receiver, wall, pool
) -> None:
    gone, stays = await office.endpoint(receiver.url), await office.endpoint(receiver.url)
    await office.tell(wall(), range(1, 13), gone, stays)

    await park_removed(pool, Steps(), office.key(gone))
    await courier.deliver_due()

    assert {state for *_, state in await office.deliveries(gone)} == {"parked"}
    assert (await office.delivery(gone, 1, 1))["error"] == "the endpoint was removed"
    assert await office.queue(gone) == []
    assert {state for *_, state in await office.deliveries(stays)} == {"delivered"}


async def test_a_batch_waits_no_longer_than_for_one_step_of_resuming(office, receiver, wall, pool, monkeypatch) -> None:
    """Another batch has one row: it is waited for by itself, with no other row held, and is due in the end all the same."""
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall() + DAY, range(1, 13), endpoint)
    monkeypatch.setattr(deliveries, "STEP", 1)

    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await office.post(connection, wall() + DAY, [7], endpoint)
        resuming = asyncio.create_task(resume(pool, Steps(), office.key(endpoint), now=wall()))
        await waiting_for_a_lock(pool)
        async with asyncio.timeout(30):
            await office.tell(wall() + DAY, [customer for customer in range(1, 13) if customer != 7], endpoint)
        await transaction.commit()
        await resuming

    assert {row["due_at"] for row in await office.queue(endpoint)} == {wall()}


async def test_one_that_is_busy_is_waited_for_last_and_alone(office, receiver, wall, pool, connection) -> None:
    endpoint = await office.endpoint(receiver.url)
    together = of_one_bucket(office.organisation_id)
    await register(pool, office.organisation_id, [NewCustomer(customer_id=each) for each in together[1:]], wall())
    await office.tell(wall() + DAY, together, endpoint)
    bucket = CustomerKey.of(office.organisation_id, together[0]).bucket

    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await office.post(other, wall() + DAY, together[:1], endpoint)
        step = deliveries.make_some_due(connection, office.key(endpoint), bucket, after=0, now=wall())
        stepping = asyncio.create_task(step)
        await waiting_for_a_lock(pool)
        meanwhile = [(row["customer_id"], row["due_at"]) for row in await office.queue(endpoint)]
        await transaction.commit()
        last = await stepping

    assert meanwhile == [(together[0], wall() + DAY), *((each, wall()) for each in together[1:])]
    assert {row["due_at"] for row in await office.queue(endpoint)} == {wall()}
    assert last == together[-1]


async def test_what_waits_for_a_removed_endpoint_is_parked_few_at_a_time(
    office, receiver, wall, pool, connection, monkeypatch
) -> None:
    monkeypatch.setattr(deliveries, "STEP", 2)
    gone = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], gone, count=5)
    bucket = CustomerKey.of(office.organisation_id, 1).bucket

    steps = []
    while await deliveries.park_some(connection, office.key(gone), bucket, "gone"):
        steps.append(sum(state == "parked" for *_, state in await office.deliveries(gone)))

    assert steps == [2, 4, 5]
    assert await office.queue(gone) == []


async def test_a_run_through_all_customers_holds_one_connection_and_between_its_steps_none(
    office, receiver, wall, database_url
) -> None:
    """Three runs at once, and still one of two connections is free for everybody else at any time."""
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), range(1, 13), count=3)
    busiest = 0
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:

        class Watched:
            @asynccontextmanager
            async def acquire(self) -> AsyncIterator[Any]:
                nonlocal busiest
                async with pool.acquire() as connection:
                    busiest = max(busiest, pool.get_size() - pool.get_idle_size())
                    yield connection

        watched: Any = Watched()
        steps, key = Steps(), office.key(endpoint)
        counts = await asyncio.gather(
            *(recover(watched, steps, key, wall(), now=wall()) for _ in range(2)),
            resume(watched, steps, key, now=wall()),
        )

    assert busiest == 1
    assert counts == [36, 36, None]


async def test_what_was_removed_meanwhile_gets_nothing_again(office, receiver, wall, pool, connection) -> None:
    """The removal comes while recovering waits for a customer; then it finds the endpoint gone, and makes no rows."""
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1])
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT 1 FROM customer WHERE customer_id = 1 FOR UPDATE")
        recovering = asyncio.create_task(recover(pool, Steps(), office.key(endpoint), wall(), now=wall()))
        await waiting_for_a_lock(pool)
        await office.remove(endpoint, wall())
        await transaction.commit()
        with pytest.raises(EndpointRemoved):
            await recovering

    with pytest.raises(EndpointRemoved):
        await deliveries.resend(connection, office.organisation_id, endpoint, 1, 1, wall())
    assert await office.deliveries(endpoint) == []
    assert await office.queue(endpoint) == []


async def test_a_removal_waits_for_what_is_being_started_again_and_parks_that_too(office, receiver, wall, pool) -> None:
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await deliveries.resend(other, office.organisation_id, endpoint, 1, 1, wall())
        removing = asyncio.create_task(office.remove(endpoint, wall()))
        await waiting_for_a_lock(pool)
        await transaction.commit()
        await removing

    assert await office.deliveries(endpoint) == [(1, 1, "parked")]
    assert await office.queue(endpoint) == []


@pytest.mark.parametrize("failure_count", [0, SLOW_FROM_FAILURE_COUNT])
async def test_a_backlog_has_its_days_from_the_moment_in_which_its_endpoint_is_active_again(
    failure_count, courier, office, receiver, wall
) -> None:
    """A courier of any process may come before anything else is done for it; also as the first probe of a slow one."""
    receiver.answer = always(Reply(503))
    endpoint = await office.endpoint(receiver.url)
    await office.set_state(endpoint, "paused")
    await office.tell(wall(), [1, 2], endpoint, count=2)
    wall.advance(days=30)

    await office.activate(endpoint, wall())
    await office.pool.execute("UPDATE webhook_endpoint SET failure_count = $1", failure_count)
    await courier.deliver_due()
    wall.now += 7 * DAY - TICK
    await courier.deliver_due()
    kept = {state for *_, state in await office.deliveries(endpoint)}
    wall.now += 2 * DAY
    await courier.deliver_due()

    assert kept == {"waiting"}
    assert (await office.deliveries(endpoint))[0] == (1, 1, "parked")


@pytest.mark.parametrize("back", [False, True])
async def test_an_endpoint_paused_during_the_last_attempt_loses_nothing(back, courier, office, receiver, wall) -> None:
    async def pause(_: Received) -> Reply:
        await office.set_state(endpoint, "paused")
        if back:
            await office.activate(endpoint, wall())
        return Reply(500)

    receiver.answer = pause
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    wall.advance(days=7)

    await courier.deliver_due()

    assert await office.deliveries(endpoint) == [(1, 1, "waiting")]


async def test_what_is_tried_by_nobody_because_its_endpoint_is_paused_is_not_parked_by_a_probe_before_it(
    office, receiver, wall, connection
) -> None:
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1, 2], endpoint)
    await office.set_state(endpoint, "paused")

    await deliveries.park_expired(connection, office.key(endpoint), error="x", now=wall() + 30 * DAY)

    assert {state for *_, state in await office.deliveries(endpoint)} == {"waiting"}


# ---------------------------------------------------------------- one endpoint and the others


async def test_dead_endpoints_delay_nobody_elses(courier, office, receiver, wall) -> None:
    """One refuses connections, one hangs for longer than the test takes; there is one connection to the database."""
    async with Receiver() as closed:
        pass
    async with Receiver(never) as hanging:
        endpoints = [await office.endpoint(each.url, connection_count_max=8) for each in (closed, hanging, receiver)]
        await office.tell(wall(), range(1, 13), *endpoints, count=5)

        async with running(courier), asyncio.timeout(30):
            await hanging.got(8)
            await receiver.got(60)

        assert len(hanging.received) == 8
    assert numbers(receiver.accepted) == {customer: [1, 2, 3, 4, 5] for customer in range(1, 13)}


async def test_who_hangs_until_the_time_is_up_has_failed(make, office, wall) -> None:
    courier = await make(seconds=0.05)
    async with Receiver(never) as hanging:
        endpoint = await office.endpoint(hanging.url)
        await office.tell(wall(), [1], endpoint)

        await courier.deliver_due()

    failed = await office.delivery(endpoint, 1, 1)
    assert (failed["state"], failed["status"], failed["error"]) == ("waiting", None, "no answer within 0.05 s")


async def test_an_endpoint_that_keeps_failing_is_tried_by_one_at_a_time_until_it_is_back(
    make, office, receiver, wall
) -> None:
    couriers = [await make("one", seed=1), await make("two", seed=2)]
    receiver.answer = always(Reply(503))
    endpoint = await office.endpoint(receiver.url, connection_count_max=8)
    await office.tell(wall(), range(1, 13), endpoint)
    while (await office.row(endpoint))["failure_count"] < SLOW_FROM_FAILURE_COUNT:
        await couriers[0].deliver_due()
        wall.advance(hours=1)

    tried = len(receiver.received)
    for round_number in range(1, 6):
        await asyncio.gather(*(each.deliver_due() for each in couriers))
        assert len(receiver.received) == tried + round_number
        wall.advance(hours=1)
    receiver.answer = always(Reply())
    await couriers[1].deliver_due()

    row = await office.row(endpoint)
    assert (row["failure_count"], row["not_before"]) == (0, None)
    wall.advance(hours=1)
    await couriers[0].deliver_due()
    assert {state for *_, state in await office.deliveries(endpoint)} == {"delivered"}


async def test_many_that_fail_side_by_side_are_one_failure(courier, office, receiver, wall) -> None:
    together = asyncio.Event()

    async def at_once(_: Received) -> Reply:
        if len(receiver.received) == 12:
            together.set()
        await together.wait()
        return Reply(500)

    receiver.answer = at_once
    endpoint = await office.endpoint(receiver.url, connection_count_max=12)
    await office.tell(wall(), range(1, 13), endpoint)

    await courier.deliver_due()

    row = await office.row(endpoint)
    assert (row["failure_count"], row["not_before"]) == (1, None)


async def test_what_waited_seven_days_for_a_dead_endpoint_is_parked_with_the_probe_that_failed(
    courier, office, receiver, wall
) -> None:
    receiver.answer = always(Reply(503, content=b"down"))
    endpoint = await office.endpoint(receiver.url)
    await office.pool.execute("UPDATE webhook_endpoint SET failure_count = $1", SLOW_FROM_FAILURE_COUNT)
    await office.tell(wall(), range(1, 13), endpoint, count=3)
    wall.advance(days=6)
    await office.tell(wall(), [1], endpoint)
    wall.advance(days=1)

    await courier.deliver_due()

    assert len(receiver.received) == 1
    by_state = defaultdict(list)
    for customer_id, number, state in await office.deliveries(endpoint):
        by_state[state].append((customer_id, number))
    assert by_state["waiting"] == [(1, 4)]
    assert len(by_state["parked"]) == 36
    assert (await office.delivery(endpoint, 9, 3))["error"] == "down"
    assert [row["customer_id"] for row in await office.queue(endpoint)] == [1]


# ---------------------------------------------------------------- workers that die


async def test_a_worker_that_is_cancelled_in_the_middle_gives_its_lease_back(make, office, receiver, wall) -> None:
    first, second = await make("one"), await make("two")
    receiver.answer = never
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1, 2], endpoint, count=2)
    async with running(first):
        await receiver.got(2)
    receiver.answer = always(Reply())

    await second.deliver_due()

    assert numbers(receiver.accepted) == {1: [1, 2], 2: [1, 2]}
    assert await office.queue(endpoint) == []


async def test_a_worker_that_is_killed_loses_nothing(make, office, receiver, wall, database_url) -> None:
    """Before its lease ends nobody takes its turn; afterwards somebody does."""
    receiver.answer = never
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1, 2], endpoint, count=2)
    script = Path(__file__).with_name("lone_courier.py")
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), database_url, wall().isoformat())
    await receiver.got(2)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    receiver.answer = always(Reply())
    heir = await make("heir")

    wall.now += LEASE - TICK
    await heir.deliver_due()
    assert receiver.accepted == []

    wall.now += TICK
    await heir.deliver_due()
    assert numbers(receiver.accepted) == {1: [1, 2], 2: [1, 2]}
    assert await office.queue(endpoint) == []


async def test_a_worker_that_was_too_slow_records_nothing(make, office, receiver, wall) -> None:
    """Its lease ended while it sent; another worker sent, has the turn now, and its word counts."""
    late, heir = await make("late"), await make("heir")
    too_late, at_last = asyncio.Event(), asyncio.Event()

    async def slowly(_: Received) -> Reply:
        match len(receiver.received):
            case 1:
                await too_late.wait()
                return Reply(400)
            case 3:
                await at_last.wait()
        return Reply()

    receiver.answer = slowly
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint, count=2)
    sending = asyncio.create_task(late.deliver_due())
    await receiver.got(1)
    wall.now += LEASE
    inheriting = asyncio.create_task(heir.deliver_due())
    await receiver.got(3)

    too_late.set()
    await sending
    assert await office.deliveries(endpoint) == [(1, 1, "delivered"), (1, 2, "waiting")]
    assert len(await office.queue(endpoint)) == 1
    at_last.set()
    await inheriting

    assert receiver.names == [(1, 1), (1, 1), (1, 2)]
    assert await office.deliveries(endpoint) == [(1, 1, "delivered"), (1, 2, "delivered")]
    assert (await office.delivery(endpoint, 1, 1))["attempt_count"] == 1


async def test_of_two_who_would_lease_a_turn_one_does(office, receiver, wall, pool) -> None:
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    key = CustomerKey.of(office.organisation_id, 1)

    async def take(name: str) -> bool:
        async with pool.acquire() as connection:
            return await deliveries.lease(connection, Turn(key, endpoint, name), now=wall(), until=wall() + LEASE)

    assert sum(await asyncio.gather(*(take(str(number)) for number in range(8)))) == 1


async def test_a_fault_of_our_own_costs_a_pause_and_no_delivery(courier, office, receiver, wall) -> None:
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1, 2], endpoint)
    await office.pool.execute("UPDATE notification SET body = 'no JSON' WHERE customer_id = 1")
    await courier.deliver_due()
    assert receiver.names == [(2, 1)]
    (queued,) = await office.queue(endpoint)
    assert (queued["leased_by"], queued["due_at"]) == (None, wall() + TROUBLE_DELAY)


# ---------------------------------------------------------------- new ones meanwhile


async def test_a_batch_that_commits_while_the_queue_is_emptied_is_not_overlooked(
    courier, office, receiver, wall, pool
) -> None:
    """The batch has written when the receiver answers, and commits when the courier wants to remove the queue's row."""
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    async with pool.acquire() as connection:
        transaction = connection.transaction()

        async def write_meanwhile(_: Received) -> Reply:
            receiver.answer = always(Reply())
            await transaction.start()
            await office.post(connection, wall(), [1], endpoint)
            return Reply()

        receiver.answer = write_meanwhile
        sending = asyncio.create_task(courier.deliver_due())
        await waiting_for_a_lock(pool)
        await transaction.commit()
        await sending

    assert await office.deliveries(endpoint) == [(1, 1, "delivered"), (1, 2, "delivered")]
    assert await office.queue(endpoint) == []


async def test_a_batch_that_writes_while_the_row_is_being_removed_makes_a_new_one(
    courier, office, receiver, wall, pool
) -> None:
    """The courier has removed the row and not committed; the batch waits, and its delivery is not without a turn."""
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)
    key = CustomerKey.of(office.organisation_id, 1)
    turn = Turn(key, endpoint, "test")
    async with pool.acquire() as connection:
        assert await deliveries.lease(connection, turn, now=wall(), until=wall() + LEASE)
        async with connection.transaction():
            assert await deliveries.hold(connection, turn)
            await deliveries.mark(connection, turn, 1, state="delivered", status=200, error=None, now=wall())
            assert await deliveries.find_head(connection, turn) is None
            await deliveries.remove(connection, turn)
            writing = asyncio.create_task(office.tell(wall(), [1], endpoint))
            await waiting_for_a_lock(pool)
    await writing

    await courier.deliver_due()

    assert await office.deliveries(endpoint) == [(1, 1, "delivered"), (1, 2, "delivered")]


async def test_nothing_is_left_or_out_of_order_however_batches_and_couriers_meet(make, office, receiver, wall) -> None:
    couriers = [await make("one"), await make("two")]
    customers, rounds = range(1, 5), 80
    endpoint = await office.endpoint(receiver.url, connection_count_max=4)

    async def write(customer_id: int) -> None:
        for _ in range(rounds):
            await office.tell(wall(), [customer_id], endpoint)

    writing = asyncio.gather(*(write(customer_id) for customer_id in customers))
    while not writing.done():
        await asyncio.gather(*(each.deliver_due() for each in couriers))
    await writing
    await asyncio.gather(*(each.deliver_due() for each in couriers))

    assert numbers(receiver.received) == {customer: list(range(1, rounds + 1)) for customer in customers}
    assert {state for *_, state in await office.deliveries(endpoint)} == {"delivered"}
    assert await office.queue(endpoint) == []


# ---------------------------------------------------------------- waking


async def test_a_nudge_is_enough_to_wake_it(courier, office, receiver, wall, monkeypatch) -> None:
    monkeypatch.setattr(courier_module, "TICK_SECONDS", 10_000)
    endpoint = await office.endpoint(receiver.url)

    async with running(courier), asyncio.timeout(30):
        for count in range(1, 51):
            await office.tell(wall(), [count % 12 + 1], endpoint)
            courier.nudge()
            await receiver.got(count)


async def test_a_nudge_during_a_look_is_not_lost(make, office, receiver, wall, pool, monkeypatch) -> None:
    """What is committed after the courier has looked, and before it sleeps, is looked for at once."""
    monkeypatch.setattr(courier_module, "TICK_SECONDS", 10_000)
    endpoint = await office.endpoint(receiver.url)

    class AfterTheFirstLook:
        """The courier's connections; once it has given back the first one, something is written and it is nudged."""

        looked = False

        @asynccontextmanager
        async def acquire(self) -> AsyncIterator[Any]:
            async with pool.acquire() as connection:
                yield connection
            if not self.looked:
                self.looked = True
                await office.tell(wall(), [1], endpoint)
                courier.nudge()

    courier = await make(pool=AfterTheFirstLook())
    async with running(courier), asyncio.timeout(30):
        await receiver.got(1)


async def test_without_a_nudge_it_looks_by_itself(courier, office, receiver, wall, monkeypatch) -> None:
    monkeypatch.setattr(courier_module, "TICK_SECONDS", 0.01)
    endpoint = await office.endpoint(receiver.url)

    async with running(courier), asyncio.timeout(30):
        await office.tell(wall() + DAY, [1], endpoint)
        wall.advance(days=1)
        await receiver.got(1)


async def test_a_database_that_goes_away_is_waited_for(courier, office, receiver, wall, pool, monkeypatch) -> None:
    monkeypatch.setattr(courier_module, "TICK_SECONDS", 0.01)
    endpoint = await office.endpoint(receiver.url)

    async with running(courier), asyncio.timeout(30):
        await office.tell(wall(), [1], endpoint)
        await receiver.got(1)
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await office.tell(wall() + LEASE, [2], endpoint)
        wall.now += LEASE
        while (2, 1) not in receiver.names:
            receiver.came.clear()
            await receiver.came.wait()


# ---------------------------------------------------------------- rewards


@dataclass(frozen=True)
class Handing:
    """A customer who has earned a reward, which is on its way to a receiver."""

    house: House
    brand: Brand
    office: Office
    endpoint: int

    async def reward(self) -> tuple[str, str | None]:
        ((_, _, _, state, reason, _),) = await rewards_of(self.house.pool, self.brand)
        return state, reason


@pytest_asyncio.fixture
async def handing(house: House, receiver: Receiver) -> Handing:
    brand = await found(house.pool, "acme", [milestone("Spend", POINTS)])
    office = Office(house.pool, brand.organisation_id, brand.programmes["Spend"].targets[0].target_id)
    endpoint = await office.endpoint(receiver.url, event_names=[EventName.REWARD_ISSUED])
    await house.closer.advance(brand.organisation_id, month(1))
    for request in (brand.enrol(1, "Spend"), brand.buy(1, "a", month(1))):
        await house.writer.submit_one(request)
    return Handing(house, brand, office, endpoint)


async def test_a_reward_is_issued_when_its_receiver_says_yes(handing, courier, receiver) -> None:
    assert await handing.reward() == ("pending", None)

    await courier.deliver_due()

    assert await handing.reward() == ("issued", None)
    assert [one.body["eventName"] for one in receiver.received] == ["rewardIssued"]
    reports = await handing.house.pool.fetch("SELECT outcome, asked_by FROM journal WHERE kind = 'report'")
    assert [tuple(row) for row in reports] == [("issued", f"webhook endpoint {handing.endpoint}")]


async def test_a_reward_has_failed_when_its_receiver_says_a_final_no(handing, courier, receiver) -> None:
    receiver.answer = always(Reply(422))

    await courier.deliver_due()

    assert await handing.reward() == ("failed", "refused by the receiver: 422")


@pytest.mark.parametrize("status", [500, 429, 404, 410, 302])
async def test_a_reward_stays_pending_as_long_as_nobody_knows_also_when_its_delivery_is_parked(
    status, handing, courier, receiver, wall
) -> None:
    receiver.answer = always(Reply(status))
    await courier.deliver_due()
    wall.advance(days=8)

    await courier.deliver_due()

    assert await handing.reward() == ("pending", None)


async def test_a_hand_over_is_reported_before_it_is_marked(handing, make, receiver, wall, pool) -> None:
    """Stopped in between, the worker that comes next repeats both, and the reward is still one."""
    first, second = await make("one"), await make("two")
    key = CustomerKey.of(handing.brand.organisation_id, 1)
    async with pool.acquire() as connection, connection.transaction():
        sending = asyncio.create_task(first.deliver_due())
        await receiver.got(1)
        await connection.execute("SELECT 1 FROM delivery WHERE customer_id = 1 FOR UPDATE")
        while await handing.reward() == ("pending", None):
            pass
        await waiting_for_a_lock(pool)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    assert await handing.office.deliveries(handing.endpoint) == [(key.customer_id, 1, "waiting")]

    await second.deliver_due()

    assert [one.headers["webhook-id"] for one in receiver.received] == [receiver.received[0].body["eventId"]] * 2
    assert await handing.reward() == ("issued", None)
    assert await handing.office.deliveries(handing.endpoint) == [(1, 1, "delivered")]


async def reverse(handing: Handing) -> None:
    text = await handing.house.pool.fetchval("SELECT reward_id FROM notification WHERE name = 'rewardIssued'")
    named = parse_reward_id(text)
    assert named is not None
    report = RewardReport(named[1], RewardState.REVERSED, "returned")
    outcome = await handing.house.writer.submit_one(Request(handing.brand.organisation_id, 1, report))
    assert outcome.errors == ()


async def test_a_reward_that_was_reversed_before_it_was_taken_is_not_handed_over(
    handing, courier, receiver, wall
) -> None:
    receiver.answer = always(Reply(500))
    await courier.deliver_due()
    await reverse(handing)
    receiver.answer = always(Reply())
    wall.advance(hours=1)

    await courier.deliver_due()

    assert receiver.accepted == []
    parked = await handing.office.delivery(handing.endpoint, 1, 1)
    assert (parked["state"], parked["error"], parked["attempt_count"]) == ("parked", "the reward was reversed", 1)
    assert await handing.office.queue(handing.endpoint) == []
    assert (await handing.reward())[0] == "reversed"


async def test_what_comes_after_a_hand_over_that_was_taken_back_comes_at_once(handing, courier, receiver, wall) -> None:
    await reverse(handing)
    await handing.office.tell(wall(), [1], handing.endpoint)

    await courier.deliver_due()

    (told,) = receiver.received
    assert told.body["eventName"] == EventName.TARGET_CUSTOMER_ENROLMENT


async def test_a_reward_reversed_while_its_hand_over_failed_is_not_tried_again(handing, courier, receiver) -> None:
    async def meanwhile(_: Received) -> Reply:
        await reverse(handing)
        return Reply(500)

    receiver.answer = meanwhile

    await courier.deliver_due()

    parked = await handing.office.delivery(handing.endpoint, 1, 1)
    assert (parked["state"], parked["error"], parked["attempt_count"]) == ("parked", "the reward was reversed", 1)
    assert await handing.office.queue(handing.endpoint) == []


async def test_the_hand_over_of_a_reversed_reward_is_not_recovered_and_asked_for_again_it_parks(
    handing, courier, receiver, wall, connection
) -> None:
    await handing.office.pool.execute("UPDATE delivery SET state = 'parked', error = 'x'")
    await reverse(handing)
    organisation_id, endpoint = handing.brand.organisation_id, handing.endpoint

    recovered = await recover(handing.house.pool, Steps(), EndpointKey(organisation_id, endpoint), wall(), now=wall())
    resent = await deliveries.resend(connection, organisation_id, endpoint, 1, 1, wall())
    await courier.deliver_due()

    assert (recovered, resent) == (0, True)
    assert receiver.received == []
    assert (await handing.office.delivery(endpoint, 1, 1))["error"] == "the reward was reversed"


async def test_a_hand_over_that_was_taken_may_go_out_again_whatever_became_of_the_reward(
    handing, courier, receiver, wall, connection
) -> None:
    """Receivers drop repeats by the reward's id; that a repeat failed in between changes nothing."""
    organisation_id, endpoint = handing.brand.organisation_id, handing.endpoint
    await courier.deliver_due()
    await reverse(handing)

    for status in (422, 200):
        receiver.answer = always(Reply(status))
        await deliveries.resend(connection, organisation_id, endpoint, 1, 1, wall())
        await courier.deliver_due()

    assert [one.body["eventName"] for one in receiver.received] == ["rewardIssued"] * 3
    assert await handing.office.deliveries(endpoint) == [(1, 1, "delivered")]
    assert (await handing.reward())[0] == "reversed"


# ---------------------------------------------------------------- what is shown


async def test_deliveries_are_shown_page_by_page_of_one_endpoint_by_state_and_customer(
    courier, office, receiver, wall, connection
) -> None:
    endpoint, other = await office.endpoint(receiver.url), await office.endpoint(receiver.url)
    await office.tell(wall(), range(1, 13), endpoint, other, count=2)
    await office.pool.execute("UPDATE delivery SET state = 'parked', error = 'x' WHERE number = 1 AND customer_id < 4")

    async def pages(limit: int, **options: Any) -> list[tuple[int, int]]:
        found, after = [], DeliveryPlace(0, 0)
        while page := await deliveries.list_page(
            connection, office.organisation_id, endpoint, after=after, limit=limit, **options
        ):
            assert len(page) <= limit
            found += [(one.customer_id, one.number) for one in page]
            after = DeliveryPlace(*found[-1])
        return found

    everything = [(customer, number) for customer in range(1, 13) for number in (1, 2)]
    for limit in (1, 5, 24, 100):
        assert await pages(limit) == everything
    assert await pages(2, state="parked") == [(1, 1), (2, 1), (3, 1)]
    assert await pages(2, customer_id=7) == [(7, 1), (7, 2)]
    assert await pages(2, customer_id=1, state="waiting") == [(1, 2)]
    assert await deliveries.list_page(connection, office.organisation_id + 1, endpoint, limit=10) == []
    (shown,) = await deliveries.list_page(connection, office.organisation_id, endpoint, customer_id=1, limit=1)
    assert (shown.state, shown.error, shown.name) == ("parked", "x", EventName.TARGET_CUSTOMER_ENROLMENT)


async def test_another_organisations_endpoint_cannot_be_moved(office, receiver, wall, pool, connection) -> None:
    stranger = await open_office(pool, "globex")
    endpoint = await office.endpoint(receiver.url)
    await office.tell(wall(), [1], endpoint)

    theirs = stranger.key(endpoint)
    await park_removed(pool, Steps(), theirs)
    await resume(pool, Steps(), theirs, now=wall() - DAY)
    recovered = await recover(pool, Steps(), theirs, wall(), now=wall())

    assert recovered == 0
    assert not await deliveries.resend(connection, stranger.organisation_id, endpoint, 1, 1, wall())
    untouched = await office.delivery(endpoint, 1, 1)
    assert (untouched["state"], untouched["expires_at"]) == ("waiting", wall() + 7 * DAY)
