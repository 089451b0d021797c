"""The courier: takes notifications to the endpoints that subscribe to them, at least once and in each customer's order.

A worker leases the turn of one customer at one endpoint, sends what waits there by number, and gives the turn back. A
later delivery is not sent before the earlier one is delivered, refused or parked. A worker that dies leaves a lease that
ends by itself; nothing is lost, and what it had sent may be sent again. Every endpoint has workers of its own, so that
none waits for another. Times are real time, never an organisation's clock. Rules: decision 29, told in docs/webhooks.md;
locks: store/deliveries.py.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

import asyncpg
import msgspec
import structlog

from kosminar.core.endpoint import EndpointKey
from kosminar.core.event import EventName
from kosminar.core.reward import RewardState, parse_reward_id
from kosminar.core.webhook import (
    Verdict,
    back_off,
    delivery_headers,
    retry_after,
    signing_secrets,
    slow,
    slowed_for,
    verdict_of,
)
from kosminar.engine.batch import Wall
from kosminar.engine.change import ReportOutcome, Request, RewardReport
from kosminar.engine.outbound import Answer, Sender
from kosminar.engine.trouble import Trouble
from kosminar.engine.writer import Writer
from kosminar.store import deliveries
from kosminar.store.deliveries import EndpointDue, Head, Turn
from kosminar.store.link import within
from kosminar.store.queries import Connection
from kosminar.store.standings import CustomerKey

TICK_SECONDS: Final = 1.0

LEASE: Final = timedelta(seconds=60)
"""Four times as long as an attempt may take, because a lease that ends too early lets two workers send."""

# Why the hand-over of a reward is parked that was taken back before anybody could take it.
TAKEN_BACK: Final = "the reward was reversed"

TURN_LENGTH_MAX: Final = 10
"""Deliveries that a customer with many gets in a row, before those who have waited longer have their turn."""

# Of one endpoint's due customers, as many are looked up at once as keep its workers busy until the next look.
PAGE_PER_WORKER: Final = 8

WORKER_COUNT_MAX: Final = 512
"""Each has a socket, and processes commonly have 1,024 of them."""

SHARED_WORKER_COUNT_MAX: Final = 256
"""Beyond it an endpoint gets no second worker, so that the slowest ones cannot take all of them."""

# After a fault of our own, such as a database that went away: long, because an attempt may have been made.
TROUBLE_DELAY: Final = timedelta(minutes=1)
# For giving leases back when we are stopped; if it does not suffice they end by themselves.
GIVE_BACK_SECONDS: Final = 2.0

LOG = structlog.get_logger()


class Addressee(Protocol):
    """What of an endpoint a message needs; both the courier's and the API's endpoints have it."""

    @property
    def url(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def secret(self) -> bytes: ...
    @property
    def previous_secret(self) -> bytes | None: ...
    @property
    def previous_secret_until(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What came of a message that only tries an endpoint; it was received if there is no error."""

    status: int | None
    error: str | None
    milliseconds: int


class _Message(msgspec.Struct):
    """Of a body, what is sent as `webhook-id` too: read from it, so that the two can never differ."""

    event_id: str = msgspec.field(name="eventId")


@dataclass(slots=True)
class _Lane:
    """One endpoint's workers, and the customers they take one after another."""

    key: EndpointKey
    due: deque[CustomerKey] = field(default_factory=deque)
    workers: set["asyncio.Task[None]"] = field(default_factory=set)


class Courier:
    """`run` delivers for ever; `deliver_due` delivers what is due and returns.

    The pool is the courier's own, and no connection of it is held while a request is under way. `random` gives numbers
    in [0, 1). `worker_name` must be nobody else's, in any process, ever.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        writer: Writer,
        sender: Sender,
        *,
        wall: Wall,
        random: Callable[[], float],
        worker_name: str,
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._sender = sender
        self._wall = wall
        self._random = random
        self._worker_name = worker_name
        self._lease_numbers = itertools.count(1)
        self._lanes: dict[int, _Lane] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._nudged = asyncio.Event()
        self._attempt_count = 0
        self._trouble = Trouble("courier_waits_for_database", "courier_goes_on")

    def nudge(self) -> None:
        """Something may be due: look now rather than at the next tick. Called after a commit; costs nothing."""
        self._nudged.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is being sent then is given back, and sent again by whoever comes next."""
        try:
            while True:
                # Before looking, not after: what is committed while we look is looked for once more.
                self._nudged.clear()
                await self._look_round_safely()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), TICK_SECONDS)
        finally:
            await self._stop()

    async def deliver_due(self) -> None:
        """Deliver what is due, and what falls due by that, until nothing is that nobody else has leased."""
        try:
            while True:
                before = self._attempt_count
                await self._look_round()
                while self._workers:
                    await asyncio.wait(self._workers, return_when=asyncio.FIRST_COMPLETED)
                    await self._look_round_if_moved_since(before)
                if self._attempt_count == before:
                    return
        except asyncio.CancelledError:
            await self._stop()
            raise

    async def may_reach(self, url: str) -> bool:
        """Whether anything would be sent to the URL, as far as its name is known now."""
        return await self._sender.may_be_reached(url)

    async def send_test(self, endpoint: Addressee, body: str) -> TestOutcome:
        """Send a message to an endpoint as a delivery would be sent, once, whatever its state; nothing is recorded."""
        answer = await self._post(endpoint, body)
        delivered = verdict_of(answer.status) is Verdict.DELIVERED
        error = None if delivered else answer.error or f"answered {answer.status}"
        return TestOutcome(answer.status, error, answer.milliseconds)

    # ------------------------------------------------------------ who works

    async def _look_round_safely(self) -> None:
        try:
            await self._look_round()
        except Exception as error:  # noqa: BLE001  # The next tick looks again, and what is due stays due.
            self._trouble.log("deliveries_not_looked_for", error)
        else:
            self._trouble.log_end()

    async def _look_round(self) -> None:
        """Give each endpoint with something due the workers it may have."""
        async with self._pool.acquire() as connection:
            for endpoint in await deliveries.list_endpoints_due(connection, self._wall()):
                if self._room(endpoint) > 0:
                    limit = endpoint.connection_count_max * PAGE_PER_WORKER
                    due = await deliveries.list_due(connection, endpoint.key, self._wall(), limit=limit)
                    self._staff(endpoint, due)

    def _room(self, endpoint: EndpointDue) -> int:
        lane = self._lanes.get(endpoint.key.webhook_endpoint_id)
        busy = 0 if lane is None else len(lane.workers)
        count_max = 1 if slow(endpoint.failure_count) else endpoint.connection_count_max
        ours = count_max - busy
        free = WORKER_COUNT_MAX - len(self._workers)
        shared = SHARED_WORKER_COUNT_MAX - len(self._workers)
        return min(ours, free, max(shared, 0 if busy else 1))

    def _staff(self, endpoint: EndpointDue, due: Sequence[CustomerKey]) -> None:
        """Without a pause between counting and starting, so that two who look round at once start no more than one."""
        room = min(self._room(endpoint), len(due))
        if room <= 0:
            return
        lane = self._lanes.setdefault(endpoint.key.webhook_endpoint_id, _Lane(endpoint.key))
        lane.due = deque(due)
        for _ in range(room):
            worker = asyncio.create_task(self._work(lane, endpoint))
            lane.workers.add(worker)
            self._workers.add(worker)
            worker.add_done_callback(lambda done: self._dismiss(lane, done))

    def _dismiss(self, lane: _Lane, worker: "asyncio.Task[None]") -> None:
        lane.workers.discard(worker)
        self._workers.discard(worker)
        if not lane.workers:
            self._lanes.pop(lane.key.webhook_endpoint_id, None)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            LOG.error("courier_failed", exc_info=error)

    async def _work(self, lane: _Lane, endpoint: EndpointDue) -> None:
        """One worker: turn after turn of its endpoint, until nobody is left of those who were due."""
        before = self._attempt_count
        if slow(endpoint.failure_count):
            await self._probe(lane, endpoint)
        else:
            while lane.due:
                await self._take_turn(lane.due.popleft(), lane.key, length_max=TURN_LENGTH_MAX)
        if self._attempt_count > before:
            # Others may be due by now, or there is room for them.
            self.nudge()

    async def _probe(self, lane: _Lane, endpoint: EndpointDue) -> None:
        """One attempt at an endpoint that is slowed, by one worker in any process."""
        now = self._wall()
        async with self._pool.acquire() as connection:
            if not await deliveries.take_probe(
                connection, lane.key, seen=endpoint.failure_count, now=now, until=now + LEASE
            ):
                return
        while lane.due and not await self._take_turn(lane.due.popleft(), lane.key, length_max=1):
            pass

    async def _stop(self) -> None:
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)

    async def _look_round_if_moved_since(self, count: int) -> None:
        if self._attempt_count > count:
            await self._look_round()

    # ------------------------------------------------------------ a turn

    async def _take_turn(self, customer: CustomerKey, endpoint: EndpointKey, *, length_max: int) -> bool:
        """Send what waits for one customer, `length_max` at most; whether anything was attempted."""
        turn = Turn(customer, endpoint.webhook_endpoint_id, f"{self._worker_name}/{next(self._lease_numbers)}")
        attempted = False
        try:
            head = await self._begin(turn)
            for length in range(1, length_max + 1):
                if head is None:
                    break
                self._attempt_count += 1
                attempted = True
                answer = await self._post(head.recipient, head.body)
                head = await self._conclude(turn, head, answer, go_on=length < length_max)
        except asyncio.CancelledError:
            await self._let_go(turn, due_at=None)
            raise
        except Exception as error:  # noqa: BLE001  # Another turn sends it.
            self._trouble.log("delivery_failed", error, organisation_id=endpoint.organisation_id)
            await self._let_go(turn, due_at=self._wall() + TROUBLE_DELAY)
        return attempted

    async def _begin(self, turn: Turn) -> Head | None:
        """Lease the turn, and find what to send; a turn in which nothing is to be sent ends here."""
        now = self._wall()
        async with self._pool.acquire() as connection:
            if not await deliveries.lease(connection, turn, now=now, until=now + LEASE):
                return None
            head = await deliveries.find_head(connection, turn)
            if (
                head is not None
                and head.recipient.active
                and not await deliveries.is_taken_back(connection, turn, head)
            ):
                return head
            async with connection.transaction():
                if not await deliveries.hold(connection, turn):
                    return None
                head = await self._find_next(connection, turn)
                if head is not None and head.recipient.active:
                    return head
                await self._end(connection, turn, head, due_at=None)
        return None

    async def _find_next(self, connection: Connection, turn: Turn) -> Head | None:
        """What waits first, once what is not to be sent any more has been parked; under `hold`."""
        while (head := await deliveries.find_head(connection, turn)) is not None and head.recipient.active:
            if not await deliveries.is_taken_back(connection, turn, head):
                break
            await deliveries.park(connection, turn, head.number, TAKEN_BACK)
        return head

    async def _post(self, addressee: Addressee, body: str) -> Answer:
        now = self._wall()
        content = body.encode()
        headers = delivery_headers(
            addressee.headers,
            secrets=signing_secrets(addressee.secret, addressee.previous_secret, addressee.previous_secret_until, now),
            event_id=msgspec.json.decode(content, type=_Message).event_id,
            body=content,
            user_agent=self._sender.user_agent,
            now=now,
        )
        return await self._sender.post(addressee.url, headers=headers, body=content, hidden=addressee.headers)

    async def _conclude(self, turn: Turn, head: Head, answer: Answer, *, go_on: bool) -> Head | None:
        """Record what came of an attempt, in the house first and then here; what to send next, if the turn goes on."""
        verdict = verdict_of(answer.status)
        self._writer.meters.delivery_attempts.labels(outcome=verdict.value).inc()
        await self._report(turn, head, answer, verdict)
        now = self._wall()
        asked = retry_after(answer.retry_after, now)
        async with self._pool.acquire() as connection:
            await self._learn(connection, turn, head, answer, verdict, asked, now)
            async with connection.transaction():
                # Nothing is recorded by a worker that was too slow: whoever has the lease now sends it again.
                if not await deliveries.hold(connection, turn):
                    LOG.warning("lease_lost", organisation_id=turn.endpoint.organisation_id)
                    return None
                await deliveries.mark(
                    connection,
                    turn,
                    head.number,
                    state=await _state_after(connection, turn, head, verdict, now),
                    status=answer.status,
                    error=None if verdict is Verdict.DELIVERED else answer.error,
                    now=now,
                )
                following = await self._find_next(connection, turn)
                if following is not None and following.number != head.number and following.recipient.active and go_on:
                    await deliveries.renew(connection, turn, until=now + LEASE)
                    return following
                again = following is not None and following.number == head.number and verdict is Verdict.FAILED
                due_at = now + self._delay(head.attempt_count + 1, asked) if again else now
                await self._end(connection, turn, following, due_at=due_at)
            if verdict is Verdict.FAILED and slow(head.recipient.failure_count):
                error = answer.error or f"answered {answer.status}"
                await deliveries.park_expired(connection, turn.endpoint, error=error, now=now)
        return None

    async def _report(self, turn: Turn, head: Head, answer: Answer, verdict: Verdict) -> None:
        """A reward's receiver confirms or refuses it by its status (decision 27).

        Told before the delivery is marked, so that a crash in between repeats both, harmlessly, and loses neither.
        What is tried again, or parked, leaves the reward pending: nobody knows what the receiver did.
        """
        if head.name != EventName.REWARD_ISSUED or verdict not in (Verdict.DELIVERED, Verdict.REFUSED):
            return
        assert head.reward_id is not None, "the schema has it so"
        named = parse_reward_id(head.reward_id)
        assert named is not None, "the body's id is one of ours"
        delivered = verdict is Verdict.DELIVERED
        report = RewardReport(
            key=named[1],
            outcome=RewardState.ISSUED if delivered else RewardState.FAILED,
            reason=None if delivered else f"refused by the receiver: {answer.status}",
            automatic=True,
        )
        _, organisation_id, customer_id = turn.customer
        reporter = f"webhook endpoint {turn.webhook_endpoint_id}"
        outcome = await self._writer.submit_one(Request(organisation_id, customer_id, report, asked_by=reporter))
        if isinstance(outcome, ReportOutcome) and outcome.errors:
            # Such as one that was reversed meanwhile. What the receiver got, it got.
            LOG.info("hand_over_not_reported", organisation_id=turn.endpoint.organisation_id, errors=outcome.errors)

    async def _learn(
        self,
        connection: Connection,
        turn: Turn,
        head: Head,
        answer: Answer,
        verdict: Verdict,
        asked: timedelta | None,
        now: datetime,
    ) -> None:
        """What the attempt says of the endpoint as a whole; outside the transaction, which holds the queue."""
        if verdict is Verdict.FAILED:
            seen = head.recipient.failure_count
            rest = slowed_for(seen + 1, self._random())
            not_before = None if rest is None else now + max(rest, asked or rest)
            await deliveries.count_failure(connection, turn.endpoint, seen=seen, not_before=not_before)
            return
        await deliveries.clear_failures(connection, turn.endpoint)
        if verdict is Verdict.GONE:
            reason = f"the receiver answered {answer.status}: it is gone"
            await deliveries.disable(connection, turn.endpoint, url=head.recipient.url, reason=reason, now=now)
            LOG.warning("endpoint_disabled", organisation_id=turn.endpoint.organisation_id)

    async def _end(self, connection: Connection, turn: Turn, head: Head | None, *, due_at: datetime | None) -> None:
        if head is None:
            await deliveries.remove(connection, turn)
        else:
            await deliveries.give_back(connection, turn, due_at=due_at)

    def _delay(self, attempt_count: int, asked: timedelta | None) -> timedelta:
        """Never sooner than the receiver asks for."""
        delay = back_off(attempt_count, self._random())
        return max(delay, asked or delay)

    async def _let_go(self, turn: Turn, *, due_at: datetime | None) -> None:
        """Give a lease back on the way out; where that fails it ends by itself."""
        try:
            async with within(self._pool, GIVE_BACK_SECONDS) as connection:
                await deliveries.give_back(connection, turn, due_at=due_at)
        except Exception as error:  # noqa: BLE001  # The lease ends by itself.
            self._trouble.log("lease_not_given_back", error, organisation_id=turn.endpoint.organisation_id)


async def _state_after(connection: Connection, turn: Turn, head: Head, verdict: Verdict, now: datetime) -> str:
    """Where an attempt leaves a delivery; a failure after its last day parks it, and the next one has its turn."""
    match verdict:
        case Verdict.DELIVERED:
            return "delivered"
        case Verdict.REFUSED:
            return "refused"
        case Verdict.GONE:
            return "waiting"
        case Verdict.FAILED:
            # Looked up anew: the endpoint may have been paused, or brought back, while we sent.
            over = now >= head.expires_at and await deliveries.has_expired(connection, turn, head.number, now)
            return "parked" if over else "waiting"
