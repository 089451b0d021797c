"""What a webhook endpoint is, and what it may be: its address, its headers, the events it wants.

Readers raise ValueError with a message that completes the field's name to a sentence, as the strict decoder takes them.
Whether an address is public is found out when it is connected to (engine/outbound.py): a name says nothing lasting.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from kosminar.core.event import EventName
from kosminar.core.webhook import reserved

URL_LENGTH_MAX: Final = 2_000
DESCRIPTION_LENGTH_MAX: Final = 255
HEADER_COUNT_MAX: Final = 10
HEADER_VALUE_LENGTH_MAX: Final = 1_000
CONNECTION_COUNT_MAX: Final = 32
CONNECTION_COUNT_DEFAULT: Final = 4
ENDPOINT_COUNT_MAX: Final = 50
"""Of an organisation: each notification is written once for each of them that wants it."""

OVERLAP_HOURS_MAX: Final = 168

_URL: Final = re.compile(r"[\x21-\x7e]+")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# HTTP takes blanks at the ends for none of the value, and our HTTP client sends none that has them.
HEADER_VALUE_PATTERN: Final = r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?"
_HEADER_VALUE: Final = re.compile(HEADER_VALUE_PATTERN)


class EndpointState(StrEnum):
    """Deliveries leave for an active one; for a paused or a disabled one they wait; a removed one gets none."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`event_names` None is every event. Instants are real time. What is secret has no place in a log."""

    webhook_endpoint_id: int
    organisation_id: int
    url: str
    description: str | None
    event_names: frozenset[str] | None
    headers: Mapping[str, str]
    connection_count_max: int
    state: EndpointState
    reason: str | None
    secret: bytes
    previous_secret: bytes | None
    previous_secret_until: datetime | None
    failure_count: int
    not_before: datetime | None
    created_at: datetime
    updated_at: datetime
    # When it was last set active: what waits has all its days from then.
    activated_at: datetime

    def __repr__(self) -> str:
        return f"Endpoint({self.organisation_id}/{self.webhook_endpoint_id}, {self.state})"

    def subscribes_to(self, name: EventName) -> bool:
        return self.event_names is None or name.value in self.event_names


class EndpointKey(NamedTuple):
    """An endpoint and whose it is."""

    organisation_id: int
    webhook_endpoint_id: int


def read_url(value: Any) -> str:
    """An absolute http or https address without user and fragment."""
    if not isinstance(value, str) or not 1 <= len(value) <= URL_LENGTH_MAX or not _URL.fullmatch(value):
        raise ValueError(f"must be a URL of up to {URL_LENGTH_MAX} ASCII characters")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL with a host, and a port from 1 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("must begin with https:// or http:// and name a host, and a port from 1 to 65535")
    if parts.username is not None or parts.password is not None or "#" in value:
        raise ValueError("must have no user, password or fragment; put a secret into a header")
    return value


def read_headers(value: Any) -> dict[str, str]:
    """Names and values that are sent with every delivery, next to ours and never instead of them.

    No message of this holds a value.
    """
    if not isinstance(value, dict) or len(value) > HEADER_COUNT_MAX:
        raise ValueError(f"must be an object of at most {HEADER_COUNT_MAX} headers")
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("must not name a header twice")
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name) or reserved(name):
            raise ValueError(f"must not have the header {name[:100]!r}: its name is no token, or is reserved")
        if not isinstance(text, str) or len(text) > HEADER_VALUE_LENGTH_MAX or not _HEADER_VALUE.fullmatch(text):
            raise ValueError(
                f"must have values of up to {HEADER_VALUE_LENGTH_MAX} printable ASCII characters, without blanks at "
                f"the ends, which the value of {name!r} is not"
            )
    return dict(value)


def read_event_names(value: Any) -> frozenset[str]:
    """Some of the published names, each once."""
    known = {name.value for name in EventName}
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError("must be an array of event names; leave it out for every event")
    unknown = min(set(value) - known, default=None)
    if unknown is not None:
        raise ValueError(f"must not name {unknown[:100]!r}; the events are {', '.join(sorted(known))}")
    if len(set(value)) < len(value):
        raise ValueError("must not name an event twice")
    return frozenset(value)
