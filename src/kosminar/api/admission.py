"""Who is worked on and who waits: so many requests at a time, the others in a fair queue, the rest turned away.

Only so much work helps; more at once makes everything slower until nobody is answered in time. Whoever waits does so in
a queue of their own, and the queues take turns, so that one busy caller cannot keep the others out. Callers are told
apart by what they sign in with, which is not verified yet here, else by their address. A request that waits for its
own client, because the body comes slowly, gives its place up meanwhile. Probes never wait.
Tested by tests/api/test_admission.py; under load by benchmarks/overload.py.
"""

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from kosminar.api.authentication import AUTHORIZATION, TOKEN_HEADER
from kosminar.api.operation import Refused
from kosminar.api.places import CURRENT, unless_gone
from kosminar.api.request import PROBES, ClientGone, body_has_come, client_gone, in_shape, peer_of, unread
from kosminar.api.sending import send_answer
from kosminar.core.errors import Code, Complaint

# Together with those worked on fewer than connections may be open by default: then it is the queue that turns away.
WAITING_MAX: Final = 512
# Of one stay in the queue. Callers' own patience is commonly 30 seconds or more, and the work comes after the wait.
WAIT_SECONDS: Final = 10.0
# How long a request may wait for its body with a place that others could use.
BODY_PATIENCE_SECONDS: Final = 1.0
RETRY_AFTER_SECONDS: Final = 2
# Who is turned away hears so after this time and not at once: clients that come again without a pause would otherwise
# keep the house busy with turning them away.
REFUSAL_SECONDS: Final = 1.0

_CREDENTIALS: Final = (AUTHORIZATION.encode(), TOKEN_HEADER.encode())


class Busy(Refused):
    """Too much is going on; the request was not looked at."""

    def __init__(self, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            Complaint.of(Code.TRY_AGAIN_LATER),
            status=503,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS), **(headers or {})},
        )


class Admission:
    """Places for requests that are worked on, and the queues before them."""

    def __init__(
        self,
        working_max: int,
        *,
        waiting_max: int = WAITING_MAX,
        wait_seconds: float = WAIT_SECONDS,
        refusal_seconds: float = REFUSAL_SECONDS,
    ) -> None:
        self._working_max = working_max
        self._waiting_max = waiting_max
        self._wait_seconds = wait_seconds
        self.refusal_seconds = refusal_seconds
        self.working = 0
        self.waiting = 0
        self.refused = 0
        # The caller whose turn is next stands first. A queue that is empty is not kept.
        self._queues: OrderedDict[bytes, deque[asyncio.Future[None]]] = OrderedDict()

    async def enter(self, caller: Callable[[], bytes], client_gone: asyncio.Event | None = None) -> None:
        """Returns with a place, which `leave` gives back; raises Busy. `caller` is only asked if there is a queue.

        Raises ClientGone as soon as a client that waits has hung up.
        """
        if self.working < self._working_max:
            self.working += 1
            return
        async with unless_gone(client_gone):
            await self._wait(caller())

    def leave(self) -> None:
        """Give the place back, to who waits if somebody does."""
        successor = self._next()
        if successor is None:
            self.working -= 1
        else:
            successor.set_result(None)

    async def _wait(self, caller: bytes) -> None:
        if self.waiting >= self._waiting_max:
            self._make_room(caller)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(place)
        self.waiting += 1
        giving_up = asyncio.get_running_loop().call_later(self._wait_seconds, self._give_up, caller, place)
        try:
            await place
        except asyncio.CancelledError:
            # Nobody waits any more. A place that was handed over in this very moment goes on to the next.
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()
            else:
                self._drop(caller, place)
            raise
        finally:
            giving_up.cancel()

    def _make_room(self, caller: bytes) -> None:
        """The last of the longest queue has to go, which may be who comes now: so a flood drowns only itself."""
        longest = max(self._queues, key=lambda one: len(self._queues[one]), default=caller)
        if len(self._queues.get(longest, ())) <= len(self._queues.get(caller, ())) + 1:
            self.refused += 1
            raise Busy
        self._give_up(longest, self._queues[longest][-1])

    def _next(self) -> asyncio.Future[None] | None:
        """Takes the oldest of the caller whose turn it is out of the queue; that caller is then the last in turn."""
        while self._queues:
            caller, queue = next(iter(self._queues.items()))
            place = queue[0]
            self._drop(caller, place)
            if caller in self._queues:
                self._queues.move_to_end(caller)
            # A wait that was cancelled stands in the queue until its task has run.
            if place.done():
                continue
            return place
        return None

    def _give_up(self, caller: bytes, place: asyncio.Future[None]) -> None:
        if not place.done():
            self._drop(caller, place)
            self.refused += 1
            place.set_exception(Busy())

    def _drop(self, caller: bytes, place: asyncio.Future[None]) -> None:
        queue = self._queues.get(caller)
        if queue is None or place not in queue:
            return
        queue.remove(place)
        self.waiting -= 1
        if not queue:
            del self._queues[caller]


def admit(app: ASGIApp, admission: Admission) -> ASGIApp:
    """The app behind the admission. Knows a request's id, and none of its operations."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        place = _Place(admission, lambda: caller_of(scope), client_gone(scope))
        try:
            await place.take()
        except Busy as busy:
            await asyncio.sleep(admission.refusal_seconds)
            await send_answer(in_shape(scope["path"], busy), scope, send)
            return
        except ClientGone:
            await send_answer(unread(scope["path"]), scope, send)
            return
        entered = CURRENT.set(place)
        try:
            await app(scope, receive if body_has_come(scope) else _Reader(receive, place), send)
        finally:
            CURRENT.reset(entered)
            place.give_back()

    return enter


class _Place:
    """One request's place, which it may give up and take again."""

    def __init__(self, admission: Admission, caller: Callable[[], bytes], client_gone: asyncio.Event) -> None:
        self.client_gone = client_gone
        self._admission = admission
        self._caller = caller
        self._held = False

    async def take(self) -> None:
        if not self._held:
            await self._admission.enter(self._caller, self.client_gone)
            self._held = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._admission.leave()


class _Reader:
    """Reads a request's body; once that takes too long, from outside, and back in when the body is whole."""

    def __init__(self, receive: Receive, place: _Place) -> None:
        self._receive = receive
        self._place = place
        self._patience_seconds = BODY_PATIENCE_SECONDS

    async def __call__(self) -> Any:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        going_out = loop.call_later(max(0.0, self._patience_seconds), self._place.give_back)
        try:
            message = await self._receive()
        finally:
            going_out.cancel()
        # Of all waits together: a client that sends a byte now and then must not win anew with each.
        self._patience_seconds -= loop.time() - began_at
        if message["type"] == "http.request" and not message.get("more_body", False):
            await self._place.take()
        return message


def caller_of(scope: Scope) -> bytes:
    """Who seems to send the request: the hash of what it signs in with, else its address."""
    credentials = [value for name, value in scope["headers"] if name.lower() in _CREDENTIALS]
    return hashlib.sha256(b"\n".join(credentials)).digest() if credentials else peer_of(scope).encode()
