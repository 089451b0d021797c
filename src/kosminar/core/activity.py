"""What a customer did: a transaction or an event, with its own instant and its attributes.

Attributes are parsed values (text, bool, None, int, Decimal, lists and objects of these), numbers exact. The
fingerprint decides whether an id that comes twice brings the same content (decision 21): it is made from what was
parsed, so that 1.0 equals 1.00.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final

TRANSACTION: Final = "transaction"

# Wide enough for every number that the decoder lets in, so that no two are rounded into one.
_EXACT: Final = Context(prec=5_000)

# Marks a bill that named no date and was dated when it was processed: its repeat is dated later and is the same bill,
# so the instant is no part of its content.
UNDATED: Final = "undated"

# Clocks of shops run ahead a little; more than this is a mistake or a trick (decision 20).
FUTURE_TOLERANCE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Activity:
    """`type` is "transaction" or the name of an event; `occurred_at` is its own instant, UTC."""

    activity_id: str
    type: str
    occurred_at: datetime
    attributes: Mapping[str, Any]

    def in_the_future(self, at: datetime) -> bool:
        """More than five minutes ahead of the clock; exactly five minutes is not."""
        return self.occurred_at - at > FUTURE_TOLERANCE

    def fingerprint(self) -> bytes:
        """SHA-256 of type, instant and attributes as parsed; of an undated bill without the instant."""
        undated = self.type == TRANSACTION and self.attributes.get(UNDATED) is True
        instant = None if undated else self.occurred_at.astimezone(UTC).isoformat()
        content = [self.type, instant, _canonical(self.attributes)]
        text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


def _canonical(value: Any) -> Any:
    """The value with every number written in its one shortest form, tagged so that 1 and "1" stay apart."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        return {"number": "0" if number == 0 else format(number.normalize(_EXACT), "E")}
    if isinstance(value, str):
        return "text:" + value
    return value
