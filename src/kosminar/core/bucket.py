"""Where a customer's rows live: a stable number from 0 to 255, fixed for ever.

Every customer-keyed table starts its keys with it, so that a distributed database can be cut along it. Changing the
hash would orphan every row; tests/core/test_bucket.py pins a few values.
"""

from hashlib import blake2b
from typing import Final

BUCKET_COUNT: Final = 256


def bucket_of_customer(organisation_id: int, customer_id: int) -> int:
    return _bucket(f"{organisation_id}/{customer_id}")


def bucket_of_identifier(organisation_id: int, identifier_type: str, value: str) -> int:
    """An identifier has a place of its own, so that it is unique and found without knowing whose it is."""
    return _bucket(f"{organisation_id}/{identifier_type}/{value}")


def bucket_of_key(organisation_id: int, key_hash: bytes) -> int:
    """An Idempotency-Key has a place of its own too: whose the request is must not matter to find it."""
    return _bucket(f"{organisation_id}/{key_hash.hex()}")


def bucket_of_group(organisation_id: int, target_group_id: int) -> int:
    """Where the totals of a group's counters live."""
    return _bucket(f"{organisation_id}/group/{target_group_id}")


def _bucket(key: str) -> int:
    return blake2b(key.encode(), digest_size=1).digest()[0]
