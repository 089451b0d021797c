"""The secrets of machines: made from 256 random bits, kept as SHA-256, compared in constant time.

Randomness comes in as an argument. So much of it needs no slow hash; passwords that people choose do, and are not
kept here. MD5 is no protection: it is what existing clients send in place of the password (decision 30).
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable

SECRET_BYTES = 32


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """256 random bits as 43 characters that need no quoting anywhere."""
    return urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")


def hash_of_secret(secret: str) -> bytes:
    """What is kept of an OAuth client's secret."""
    return hashlib.sha256(secret.encode()).digest()


def hash_of_password(password: str) -> bytes:
    """What is kept of an API user's password: SHA-256 of its hexadecimal MD5."""
    return hash_of_secret(md5_hex(password))


def secret_matches(given: str, kept: bytes) -> bool:
    """Whether an OAuth client sent its secret."""
    return hmac.compare_digest(hash_of_secret(given), kept)


def password_matches(given: str, kept: bytes) -> bool:
    """Whether an API user sent its password, as it is or as its hexadecimal MD5.

    >>> all(password_matches(given, hash_of_password("123")) for given in ("123", "202cb962ac59075b964b07152d234b70"))
    True
    """
    as_md5 = hmac.compare_digest(hash_of_secret(given), kept)
    as_is = hmac.compare_digest(hash_of_password(given), kept)
    return as_md5 or as_is


def md5_hex(password: str) -> str:
    """The hexadecimal MD5 that clients of the compatible surface send.

    >>> md5_hex("123")
    '202cb962ac59075b964b07152d234b70'
    """
    return hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
