"""Keyset pages of the native surface: `?cursor=` takes what the page before gave as `next`, null on the last one."""

import re
from collections.abc import Sequence
from typing import Final

from kosminar.api.operation import Call, Parameter, Refused, Schema
from kosminar.core.amount import ID_MAX
from kosminar.core.errors import invalid

# What the parts of a key can be: PostgreSQL refuses to compare a column with more than its type holds.
SMALLINT_MAX: Final = 2**15 - 1
INTEGER_MAX: Final = 2**31 - 1
BIGINT_MAX: Final = ID_MAX

LIMIT_DEFAULT: Final = 100
# As much as one activities request may hold; a page of more is better asked for in two.
LIMIT_MAX: Final = 1_000

CURSOR: Final = Parameter(
    name="cursor",
    schema={"type": "string", "pattern": r"^[0-9]{1,19}(\.[0-9]{1,19}){0,4}$"},
    about="What the page before gave as `next`.",
)
LIMIT: Final = Parameter(
    name="limit",
    schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    about="How many at the most.",
)


def page_limit(call: Call) -> int:
    text = call.query.get("limit")
    if text is None:
        return LIMIT_DEFAULT
    if not re.fullmatch("[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= LIMIT_MAX:
        raise Refused(invalid("limit", f"must be a whole number from 1 to {LIMIT_MAX}"))
    return int(text)


def write_cursor(*key: int) -> str:
    """A key as callers hand it back."""
    return ".".join(str(part) for part in key)


def read_cursor(call: Call, maxima: Sequence[int]) -> tuple[int, ...] | None:
    """The key in `?cursor=`, of as many parts as there are maxima; None without one."""
    text = call.query.get("cursor")
    if text is None:
        return None
    parts = text.split(".")
    if len(parts) == len(maxima) and all(re.fullmatch("[0-9]{1,19}", part, re.ASCII) for part in parts):
        key = tuple(map(int, parts))
        if all(part <= maximum for part, maximum in zip(key, maxima, strict=True)):
            return key
    raise Refused(invalid("cursor", "must be the `next` of an earlier page"))


def page_schema(item: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["data", "next"],
        "properties": {"data": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}},
    }
