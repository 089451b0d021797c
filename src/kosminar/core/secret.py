"""The secrets of machines: made from 256 random bits, kept as SHA-256, compared in constant time.

Nothing else in the house compares a secret. Who does not exist has None kept, and takes as long as a wrong secret.
Randomness comes in as an argument. So much of it needs no slow hash; passwords that people choose do, and are not
kept here. MD5 is no protection: it is what existing clients send in place of the password (decision 30).
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

SECRET_BYTES = 32
# What is compared where nobody's hash is kept; it is as long as one, and never matches.
NOBODYS: Final = bytes(32)


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """256 random bits as 43 characters that need no quoting anywhere."""
    return urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")


def hash_of_secret(secret: str) -> bytes:
    """What is kept of an OAuth client's secret."""
    return hashlib.sha256(secret.encode()).digest()


def hash_of_password(password: str) -> bytes:
    """What is kept of an API user's password: SHA-256 of its hexadecimal MD5."""
    return hash_of_secret(md5_hex(password))


def secret_matches(given: str, kept: bytes | None) -> bool:
    """Whether an OAuth client sent its secret; None is kept of a client that does not exist."""
    return _same(hash_of_secret(given), kept)


def password_matches(given: str, kept: bytes | None) -> bool:
    """Whether an API user sent its password, as it is or as its hexadecimal MD5; None is kept of an unknown user.

    >>> all(password_matches(given, hash_of_password("123")) for given in ("123", "202cb962ac59075b964b07152d234b70"))
    True
    """
    as_md5 = _same(hash_of_secret(given), kept)
    as_is = _same(hash_of_password(given), kept)
    return as_md5 or as_is


def _same(given: bytes, kept: bytes | None) -> bool:
    # Compared first, whoever it is: an early answer would tell which names exist.
    same = hmac.compare_digest(given, NOBODYS if kept is None else kept)
    return same and kept is not None


def md5_hex(password: str) -> str:
    """The hexadecimal MD5 that clients of the compatible surface send.

    >>> md5_hex("123")
    '202cb962ac59075b964b07152d234b70'
    """
    return hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
