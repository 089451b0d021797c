"""What a delivery says of itself, what an answer to it means, and when to try again.

Headers and signatures are those of Standard Webhooks, so that any of its libraries verifies them. Everything goes by
real time, which is an argument, as is chance. Rules: decision 29. Tested by tests/core/test_webhook.py.
"""

import hashlib
import hmac
import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 -- What every secret of the standard begins with.

DELIVERED_WITHIN: Final = timedelta(days=7)
"""The first failure later than this is the last one; then a delivery is parked, and may be sent again by hand."""

FIRST_DELAY_MAX: Final = timedelta(seconds=5)
DELAY_MAX: Final = timedelta(hours=1)
# Without it, chance might ask for the next attempt at the instant of the last one.
DELAY_MIN: Final = timedelta(seconds=1)

RETRY_AFTER_MAX: Final = timedelta(days=1)
"""A receiver that asks for more is asked again tomorrow: nobody may stop a delivery for ever by one header."""

SLOW_FROM_FAILURE_COUNT: Final = 10
"""An endpoint that failed so often in a row is tried by one delivery at a time, until one gets through."""

ERROR_CHARACTERS_MAX: Final = 300

HIDDEN: Final = "***"
"""Stands for a header's value where a receiver repeats it."""

HIDDEN_LENGTH_MIN: Final = 4
"""Hiding every "1" would leave nothing to read; what is shorter than this is no secret."""

# Theirs in the signature's sense, or HTTP's own; a brand's header of such a name is not sent.
RESERVED_HEADERS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
RESERVED_HEADER_PREFIX: Final = "webhook-"


class Verdict(StrEnum):
    """What an answer, or none, means for a delivery."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    GONE = "gone"
    FAILED = "failed"


# These speak of the receiver's set-up or load, not of what was sent; it may say yes when somebody has repaired it.
TRIED_AGAIN: Final = frozenset({401, 403, 404, 408, 425, 429})
GONE_STATUS: Final = 410


def verdict_of(status: int | None) -> Verdict:
    """Delivered, refused for good, the receiver is gone for good, or failed and to be tried again.

    A redirect is a failure: what was checked is the endpoint's own address.

    >>> [str(verdict_of(status)) for status in (204, 302, 400, 404, 410, 500, None)]
    ['delivered', 'failed', 'refused', 'failed', 'gone', 'failed', 'failed']
    """
    if status is None:
        return Verdict.FAILED
    if 200 <= status <= 299:
        return Verdict.DELIVERED
    if status == GONE_STATUS:
        return Verdict.GONE
    if 400 <= status <= 499 and status not in TRIED_AGAIN:
        return Verdict.REFUSED
    return Verdict.FAILED


def back_off(attempt_count: int, share: float) -> timedelta:
    """How long to wait after that many failures: a share, in [0, 1), of a ceiling that doubles from 5 s to an hour.

    All of it is left to chance, so that those who failed together do not come back together; but a second it is.

    >>> back_off(1, 0.0), back_off(1, 0.5), back_off(100, 0.5)
    (datetime.timedelta(seconds=1), datetime.timedelta(seconds=3), datetime.timedelta(seconds=1800, microseconds=500000))
    """
    assert attempt_count >= 1
    assert 0 <= share < 1
    # More doublings change nothing and would overflow.
    doublings = min(attempt_count - 1, 16)
    ceiling = min(FIRST_DELAY_MAX * (1 << doublings), DELAY_MAX)
    return DELAY_MIN + (ceiling - DELAY_MIN) * share


def slow(failure_count: int) -> bool:
    """Whether an endpoint failed so often that only one delivery at a time tries it."""
    return failure_count >= SLOW_FROM_FAILURE_COUNT


def slowed_for(failure_count: int, share: float) -> timedelta | None:
    """How long an endpoint is left alone after that many failures in a row, if at all."""
    return back_off(failure_count - SLOW_FROM_FAILURE_COUNT + 1, share) if slow(failure_count) else None


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """What a `Retry-After` asks for, in seconds or as a date, a day at most; nothing if it cannot be read.

    >>> retry_after("120", datetime(2026, 3, 2, tzinfo=UTC))
    datetime.timedelta(seconds=120)
    >>> retry_after("Mon, 02 Mar 2026 00:00:30 GMT", datetime(2026, 3, 2, tzinfo=UTC))
    datetime.timedelta(seconds=30)
    """
    if header is None:
        return None
    given = header.strip()
    if re.fullmatch("[0-9]+", given):
        # Longer numbers would not fit a timedelta; they are above the most allowed either way.
        return min(timedelta(seconds=int(given[:9])), RETRY_AFTER_MAX)
    try:
        at = parsedate_to_datetime(given)
        # A date without a zone is in UTC, as all of HTTP's are.
        span = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return None
    return min(max(span, timedelta(0)), RETRY_AFTER_MAX)


def signing_secrets(
    secret: bytes, previous_secret: bytes | None, previous_secret_until: datetime | None, now: datetime
) -> tuple[bytes, ...]:
    """The secrets that sign now: the newest, and the one before as long as both are accepted."""
    if previous_secret is None or previous_secret_until is None or now >= previous_secret_until:
        return (secret,)
    return (secret, previous_secret)


def secret_text(secret: bytes) -> str:
    """A secret as its owner gets to see it and as the libraries take it.

    >>> secret_text(bytes(3))
    'whsec_AAAA'
    """
    return SECRET_PREFIX + b64encode(secret).decode("ascii")


def delivery_headers(
    own: Mapping[str, str], *, secrets: Sequence[bytes], event_id: str, body: bytes, user_agent: str, now: datetime
) -> dict[str, str]:
    """The headers of one attempt: the brand's own, and ours, which those cannot replace."""
    timestamp = str(int(now.timestamp()))
    return {name: value for name, value in own.items() if not reserved(name)} | {
        "content-type": "application/json",
        "user-agent": user_agent,
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, event_id, timestamp, body) for secret in secrets),
    }


def reserved(name: str) -> bool:
    """Whether a header's name is ours or HTTP's, and not for a brand to set."""
    return name.lower() in RESERVED_HEADERS or name.lower().startswith(RESERVED_HEADER_PREFIX)


def without_header_values(text: str, headers: Mapping[str, str]) -> str:
    """What a receiver said, without the values of the brand's own headers, however they are escaped.

    >>> without_header_values("unknown token s3cr3t", {"Authorization": "Bearer s3cr3t"})
    'unknown token ***'
    """
    values = set(headers.values())
    # A receiver names the credentials alone, without the word before them.
    values |= {value.partition(" ")[2].strip() for value in values}
    spellings = {
        spelling
        for value in values
        if len(value) >= HIDDEN_LENGTH_MIN
        for escaped in (value, json.dumps(value)[1:-1], html.escape(value), quote(value), quote(value, safe=""))
        for spelling in (escaped, escaped.replace("/", r"\/"))
    }
    # The longest first: one value may be part of another.
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text


def cleaned(text: str) -> str:
    r"""What a stranger said, short and on one line, without anything that a terminal or a log would obey.

    >>> cleaned("not\n today\x1b[31m")
    'not today [31m'
    """
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:ERROR_CHARACTERS_MAX]


def _signature(secret: bytes, event_id: str, timestamp: str, body: bytes) -> str:
    signed = hmac.digest(secret, b".".join((event_id.encode(), timestamp.encode(), body)), hashlib.sha256)
    return "v1," + b64encode(signed).decode("ascii")
