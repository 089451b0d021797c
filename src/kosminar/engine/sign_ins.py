"""Failed sign-ins of this process: wrong secrets hear of a wait that grows, and right ones pass.

Failures are counted for a name at an address, and for an address over all names, the latter with more patience because
many clients share one address. After too many, a wrong secret is answered like one that was not looked at. A right one
passes all the same, since behind a proxy everybody has the address of the guesser: so each secret is looked at, in
turn, and no more a second of one address than secrets of 256 random bits can bear (ADR-0031). A secret that was right
there lately does not wait for its turn. Nothing is written down: a restart forgets, and several processes count each
for itself. Tested by tests/api/test_sign_in_slow_down.py and tests/api/test_sign_in_turns.py.
"""

import hashlib
import heapq
import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

Value = TypeVar("Value")

# A typing error or two, and an old password that somebody tries first.
NAME_FREE_COUNT: Final = 5
# A shop's tills behind one address, each with its own trouble.
ADDRESS_FREE_COUNT: Final = 50
# Within so many seconds an address is forgiven one failure: a till that fails on and on must not shut the others out.
ADDRESS_FORGIVEN_SECONDS: Final = 10
WAIT_SECONDS_MAX: Final = 300
# Counting on beyond the longest wait would only delay forgiveness.
COUNTED_BEYOND_MAX: Final = 10
FORGOTTEN_AFTER: Final = timedelta(hours=1)
# Of each kind; the oldest is dropped. Each takes some hundred bytes.
REMEMBERED_MAX: Final = 10_000
# Of one address, over all names, and at once if none came before. More than requests are worked on at a time by
# default, so that clients which all start together with right secrets do not wait for each other.
LOOKS_PER_SECOND: Final = 100
LOOKS_AT_ONCE: Final = 500
_LOOK_SECONDS: Final = 1 / LOOKS_PER_SECOND
# Every connection that the server has by default may wait for its turn at the same address.
TURN_SECONDS_MAX: Final = 10.0
# Whoever has one IPv6 address has all of its network.
IPV6_NETWORK_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that has begun. What its secret is, is looked at after `turn_seconds`, and not at all where that is None.

    `turn_at` is that instant, None for what does not stand in line. With `wait_seconds` above 0 it came too early: if its secret is wrong, the answer must not say so.
    """

    wait_seconds: float
    turn_seconds: float | None
    turn_at: datetime | None = None


class SignIns:
    """Time is an argument, real time (decision 34). A peer is a network address, a name a username or client key."""

    def __init__(self) -> None:
        self._names = _Tally(NAME_FREE_COUNT)
        self._addresses = _Tally(ADDRESS_FREE_COUNT, forgiven_seconds=ADDRESS_FORGIVEN_SECONDS)
        self._welcome: OrderedDict[Hashable, datetime] = OrderedDict()
        # Secrets that were right at an address, as hashes.
        self._right: OrderedDict[Hashable, datetime] = OrderedDict()
        self._turns = _Turns()

    def begin(self, peer: str, name: str, secret: str, *, now: datetime) -> Attempt:
        """An attempt, right or wrong; the caller then says by `failed` or `succeeded` what came of it."""
        wait_seconds = self.wait_seconds(peer, name, now=now)
        if self._is_lately(self._right, _secret_key(peer, name, secret), now):
            return Attempt(wait_seconds, 0.0)
        turn_at = self._turns.take(address_of(peer), now)
        return Attempt(wait_seconds, None if turn_at is None else _seconds(now, turn_at), turn_at)

    def wait_seconds(self, peer: str, name: str, *, now: datetime) -> float:
        """How long this attempt comes too early; 0 if a wrong secret may be called wrong.

        Beyond the free attempts that is one at a time: the wait begins again with each, whatever comes of it.
        """
        address, key = _keys(peer, name)
        wait = self._names.wait_seconds(key, now)
        if wait == 0 and not self._is_lately(self._welcome, key, now):
            wait = self._addresses.wait_seconds(address, now)
        if wait == 0:
            self._names.begin(key, now)
        return wait

    def failed(self, peer: str, name: str, *, now: datetime) -> None:
        """Counts an attempt whose secret was wrong, or whose name is unknown, and which did not come too early."""
        address, key = _keys(peer, name)
        self._names.count(key, now)
        self._addresses.count(address, now)

    def gave_up(self, peer: str, attempt: Attempt) -> None:
        """The attempt ended before its turn, and its secret was not looked at."""
        assert attempt.turn_at is not None, "only who waits for a turn gives up"
        self._turns.free(address_of(peer), attempt.turn_at)

    def succeeded(self, peer: str, name: str, secret: str, *, now: datetime) -> None:
        """Forgets the name's failures there. The address's stay: one good secret must not pay for guesses at others."""
        address, key = _keys(peer, name)
        self._names.forget(key)
        _remember(self._welcome, key, now)
        secret_key = _secret_key(peer, name, secret)
        if not self._is_lately(self._right, secret_key, now):
            self._turns.give_back(address)
        _remember(self._right, secret_key, now)

    def _is_lately(self, kept: "OrderedDict[Hashable, datetime]", key: Hashable, now: datetime) -> bool:
        since = kept.get(key)
        return since is not None and now - since < FORGOTTEN_AFTER


@dataclass(slots=True)
class _Failures:
    count: float
    # Of the last attempt that was let in.
    at: datetime


class _Tally:
    """Failures by key. The first one beyond the free count costs a second, each further one twice as much."""

    def __init__(self, free_count: int, *, forgiven_seconds: float | None = None) -> None:
        self._free_count = free_count
        self._forgiven_seconds = forgiven_seconds
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()

    def wait_seconds(self, key: Hashable, now: datetime) -> float:
        failures = self._failures.get(key)
        if failures is None or self._counted(failures, now) <= self._free_count:
            return 0.0
        seconds = min(float(WAIT_SECONDS_MAX), math.pow(2, failures.count - self._free_count - 1))
        return max(0.0, seconds - _seconds(failures.at, now))

    def begin(self, key: Hashable, now: datetime) -> None:
        failures = self._failures.get(key)
        if failures is not None and failures.count > self._free_count:
            failures.at = now

    def count(self, key: Hashable, now: datetime) -> None:
        before = self._failures.get(key)
        count = 0.0 if before is None else self._counted(before, now)
        count = min(count + 1, float(self._free_count + COUNTED_BEYOND_MAX))
        _remember(self._failures, key, _Failures(count, now))

    def forget(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def _counted(self, failures: _Failures, now: datetime) -> float:
        """The failures that still count."""
        if now - failures.at >= FORGOTTEN_AFTER:
            return 0.0
        forgiven = _seconds(failures.at, now) / self._forgiven_seconds if self._forgiven_seconds else 0.0
        return max(0.0, failures.count - forgiven)


@dataclass(slots=True)
class _Line:
    """Turns follow each other up to `empty_at`, which is later than the last one by as many as may be had at once."""

    empty_at: datetime
    # Turns before that which were given up, the earliest first.
    free: list[datetime] = field(default_factory=list)


class _Turns:
    """The line at each address. Each turn has an instant of its own, so that no more are had in a second than may be.

    A turn that is given up goes to the next that comes, unless its instant has passed.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()

    def take(self, address: str, now: datetime) -> datetime | None:
        """The turn of one who joins the line now, which may have passed; None if it is too long to join."""
        line = self._lines.get(address)
        if line is None or _seconds(now, line.empty_at) > TURN_SECONDS_MAX + LOOKS_AT_ONCE * _LOOK_SECONDS:
            # None is as long: then the machine's clock was set back.
            line = _Line(now)
        if (turn_at := _earliest_free(line, now)) is None:
            empty_at = max(line.empty_at, now) + timedelta(seconds=_LOOK_SECONDS)
            turn_at = empty_at - timedelta(seconds=LOOKS_AT_ONCE * _LOOK_SECONDS)
            if _seconds(now, turn_at) > TURN_SECONDS_MAX:
                return None
            line.empty_at = empty_at
        _remember(self._lines, address, line)
        return turn_at

    def free(self, address: str, turn_at: datetime) -> None:
        if address in self._lines:
            heapq.heappush(self._lines[address].free, turn_at)

    def give_back(self, address: str) -> None:
        """A right secret was no guess, so that many clients which start at once do not wait for each other."""
        if address in self._lines:
            self._lines[address].empty_at -= timedelta(seconds=_LOOK_SECONDS)


def _earliest_free(line: _Line, now: datetime) -> datetime | None:
    """Taken from the line; those that have passed are dropped."""
    while line.free:
        turn_at = heapq.heappop(line.free)
        if turn_at > now:
            return turn_at
    return None


def address_of(peer: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network.

    >>> address_of("203.0.113.9")
    '203.0.113.9'
    >>> address_of("2001:db8::1") == address_of("2001:db8::ffff")
    True
    """
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), IPV6_NETWORK_BITS), strict=False))


def _keys(peer: str, name: str) -> tuple[str, tuple[str, bytes]]:
    address = address_of(peer)
    # Names come from whoever guesses, and may be long.
    return address, (address, hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())


def _secret_key(peer: str, name: str, secret: str) -> tuple[str, bytes]:
    # NUL ends the name: no name has one that anybody can have.
    content = f"{name}\0{secret}".encode("utf-8", "surrogatepass")
    return address_of(peer), hashlib.sha256(content).digest()


def _seconds(since: datetime, now: datetime) -> float:
    # A machine's clock is set back at times; then no time has passed.
    return max(0.0, (now - since).total_seconds())


def _remember(kept: "OrderedDict[Hashable, Value]", key: Hashable, value: Value) -> None:
    if key not in kept and len(kept) >= REMEMBERED_MAX:
        kept.popitem(last=False)
    kept[key] = value
    kept.move_to_end(key)
