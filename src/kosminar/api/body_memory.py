"""How many bytes of bodies one process holds at a time, and how many of them may be one client's.

A body is held from its first byte to its request's answer. Where there is no room a request waits, without a place that
others could use and without its body being read; after a while it is turned away. Short bodies need no room, because
connections are counted: clients that send megabytes keep no other client from a token or an enrolment. The share of a client
keeps room for the others, and so does the order: who waits for room of its own share is passed over, who waits for any
room at all is not. Reasons: ADR-0033. Tested by tests/api/test_body_memory.py.
"""

import asyncio
from collections import Counter, deque
from typing import Final, NamedTuple

from kosminar.api.admission import Busy
from kosminar.api.places import aside
from kosminar.api.request import FREE_BODY_BYTES

# Of all clients together, unless the operator allows longer bodies: each share must have room for one of them.
BYTES_MAX: Final = 64 * 1024 * 1024
SHARE_COUNT: Final = 4
# As long as for a place in the queue.
WAIT_SECONDS: Final = 10.0
# Of one client. More come back later than they would be served.
WAITING_MAX: Final = 64

Client = tuple[int, str]


class _Waiting(NamedTuple):
    client: Client
    length: int
    granted: "asyncio.Future[None]"


class BodyMemory:
    """Room for bodies of up to `body_bytes_max` each."""

    def __init__(self, body_bytes_max: int, *, bytes_max: int = BYTES_MAX, wait_seconds: float = WAIT_SECONDS) -> None:
        self._bytes_max = max(bytes_max, SHARE_COUNT * body_bytes_max)
        self._share = self._bytes_max // SHARE_COUNT
        self._wait_seconds = wait_seconds
        self._held: Counter[Client] = Counter()
        self._waiting: deque[_Waiting] = deque()

    @property
    def held(self) -> int:
        """Bytes of bodies that are held or may come."""
        return self._held.total()

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    async def take(self, client: Client, length: int) -> None:
        """Returns with room for so many bytes, which `give_back` frees; raises Busy."""
        assert length <= self._share, "a share has room for the longest body"
        if not self._waiting and self._fits(client, length):
            self._held[client] += length
            return
        if sum(one.client == client for one in self._waiting) >= WAITING_MAX:
            raise Busy
        one = _Waiting(client, length, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._grant()
        if one.granted.done():
            return
        try:
            async with aside():
                await self._granted(one)
        except BaseException:
            if one.granted.done() and not one.granted.cancelled():
                self.give_back(client, length)
            raise

    def give_back(self, client: Client, length: int) -> None:
        self._held[client] -= length
        if not self._held[client]:
            del self._held[client]
        self._grant()

    async def _granted(self, one: _Waiting) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await one.granted
        except TimeoutError:
            raise Busy from None
        finally:
            if one in self._waiting:
                self._waiting.remove(one)
                # It may have been the one that stood before the others.
                self._grant()

    def _grant(self) -> None:
        """In the order in which they came, to those whose share has room, until there is no room at all."""
        left: deque[_Waiting] = deque()
        while self._waiting:
            one = self._waiting.popleft()
            if one.granted.done():
                continue
            if self._held[one.client] + one.length > self._share:
                left.append(one)
            elif not self._fits(one.client, one.length):
                left.append(one)
                break
            else:
                self._held[one.client] += one.length
                one.granted.set_result(None)
        self._waiting.extendleft(reversed(left))

    def _fits(self, client: Client, length: int) -> bool:
        return self._held[client] + length <= self._share and self.held + length <= self._bytes_max


class Room:
    """What one request's body takes of the memory, from before it is read until the request is answered."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._taken: tuple[Client, int] | None = None

    async def take(self, client: Client, length: int) -> None:
        """Room for a body of this length, or of the longest that may come; taken once. Raises Busy."""
        if length > FREE_BODY_BYTES and self._taken is None:
            await self._memory.take(client, length)
            self._taken = client, length

    def give_back(self) -> None:
        if self._taken is not None:
            self._memory.give_back(*self._taken)
            self._taken = None
