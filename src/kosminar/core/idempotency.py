"""What names a request that may come twice: a caller's key, and the places where its answers are kept (decision 6)."""

from typing import NamedTuple

WHOLE, BEGUN = 0, 1
"""The places of a request's whole answer, and of what a request of several transactions has begun.

A request of many items keeps those from 1 on.
"""


class IdempotencyKey(NamedTuple):
    """An organisation's key, in the bucket of its hash."""

    bucket: int
    organisation_id: int
    key_hash: bytes
