"""How much a client may ask: requests a minute, and seconds for what it sends.

A client's allowance is a bucket that holds a minute's requests and fills evenly, so that a client may be idle and then
hurry, and over a minute gets no more than its rate and one bucket. Buckets are the process's own: several servers on
one database allow as much each. The header fields are those of draft-ietf-httpapi-ratelimit-headers-10.
Tested by tests/api/test_rate_limits.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kosminar.api.operation import Refused
from kosminar.core.access import Caller
from kosminar.core.errors import Code, Complaint

# Of a body from its first byte to its last. The longest that we take needs a megabit a second.
BODY_SECONDS: Final = 30.0

WINDOW_SECONDS: Final = 60
# Each is a few hundred bytes. A bucket that is forgotten is a full one, so only full ones are.
BUCKETS_MAX: Final = 10_000


class TooManyRequests(Refused):
    """Nothing is wrong with the request but that it comes too soon."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(
            Complaint.of(Code.TOO_MANY_REQUESTS),
            status=429,
            headers={"Retry-After": str(max(1, math.ceil(retry_after_seconds)))},
        )


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may still send, and the header fields that tell it. Empty where nothing is limited."""

    headers: Mapping[str, str]
    # Of the request at hand; 0 if it may be worked on.
    wait_seconds: float = 0.0

    def check(self) -> None:
        """Raises TooManyRequests if the request was one too many."""
        if self.wait_seconds > 0:
            raise TooManyRequests(self.wait_seconds)


UNLIMITED: Final = Allowance({})


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: datetime


class RateLimit:
    """The buckets of all clients; `per_minute` 0 limits nobody."""

    def __init__(self, per_minute: int) -> None:
        self._quota = per_minute
        self._per_second = per_minute / WINDOW_SECONDS
        self._buckets: dict[tuple[int, str], _Bucket] = {}

    def take(self, caller: Caller, *, now: datetime) -> Allowance:
        """Counts one request of the caller. One that is refused costs nothing."""
        if not self._quota:
            return UNLIMITED
        bucket = self._bucket(caller, now)
        wait_seconds = 0.0
        if bucket.tokens >= 1:
            bucket.tokens -= 1
        else:
            wait_seconds = (1 - bucket.tokens) / self._per_second
        full_in = math.ceil((self._quota - bucket.tokens) / self._per_second)
        return Allowance(
            {
                "RateLimit-Policy": f'"requests";q={self._quota};w={WINDOW_SECONDS}',
                "RateLimit": f'"requests";r={int(bucket.tokens)};t={full_in}',
            },
            wait_seconds,
        )

    def _bucket(self, caller: Caller, now: datetime) -> _Bucket:
        key = caller.organisation_id, caller.name
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                self._forget_full(now)
            bucket = self._buckets[key] = _Bucket(float(self._quota), now)
        self._fill(bucket, now)
        return bucket

    def _fill(self, bucket: _Bucket, now: datetime) -> None:
        # Machines' clocks are set back at times; that must not empty a bucket.
        seconds = max(0.0, (now - bucket.filled_at).total_seconds())
        bucket.tokens = min(float(self._quota), bucket.tokens + seconds * self._per_second)
        bucket.filled_at = now

    def _forget_full(self, now: datetime) -> None:
        for bucket in self._buckets.values():
            self._fill(bucket, now)
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.tokens < self._quota}
