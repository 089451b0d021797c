"""Numbers for clients that expect one where we keep a key: stable, positive, below 2^63.

The compatible surface answers a numeric id for a transaction and for a customer's row in a target. Ours are made from
the key itself, so that a repeated request gets the same number and no counter has to be shared between nodes.
"""

from hashlib import blake2b


def stable_number(*key: int | str) -> int:
    """The same number for the same key, for ever; two keys share one about once in 2^62."""
    digest = blake2b("/".join(str(part) for part in key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (2**63 - 1) + 1
