"""The one strict JSON decoder, and the readers that take fields out of what it decoded.

Owns the way from a request's bytes to checked values, and from values to an answer's bytes. Numbers stay exact: an
integer is an int, everything else a Decimal, never a float. What PostgreSQL cannot store or two parsers would read
differently is refused here, so that nothing behind has to think of it. Knows no operation and no error code: a body
that is no JSON raises, faults in its fields are collected. A long body is decoded in steps, none of which takes long
(ADR-0032). Hostile bodies: tests/core/test_decoder.py; what a step takes: tests/security/test_hostile_clients.py.
"""

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import accumulate
from typing import Final, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from kosminar.core import amount, written
from kosminar.core.errors import Fault
from kosminar.core.zone import YEAR_MIN

Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"
T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)
Steps: TypeAlias = Generator[None, None, T]
"""Work that yields wherever it may be left for a while, and returns what it came to."""

# Deeper than any request of ours by far, and shallower than any parser's stack.
NESTING_MAX = 32
# Of a decimal, as written and as its exponent moves it. Far more than any amount has, and little enough that ten
# characters such as 1e-99999999 can neither slow a later step down nor overflow PostgreSQL's numeric.
DIGITS_MAX = 1_000
# Of an integer: Python reads no longer one, because that takes as long as the square of its length.
INTEGER_DIGITS_MAX = 4_300
# Texts, numbers, lists and so on. A thousand activities with a hundred attributes each are 106,002; every one costs a
# microsecond or more before anybody knows what it is for, and 4 MiB have room for two million.
VALUE_COUNT_MAX = 120_000
# Of a body that is parsed in one step; of a longer one its members and items are parsed one by one.
PIECE_BYTES_MAX = 64 * 1024
# What finding and keeping a part takes, in bytes that could be parsed meanwhile.
PART_BYTES = 32

# What a reader answers beside a fault, so that the other fields can still be read. Never used for anything.
UNREAD_AT: Final = datetime(YEAR_MIN, 1, 1, tzinfo=UTC)


class MalformedBody(ValueError):
    """The request's body is not JSON as we take it. The message completes "the body" to a sentence."""


def decode(body: bytes) -> Json:
    """The JSON value in a request's bytes, read strictly and exactly; raises MalformedBody for anything else."""
    return finished(decoding(body))


def decoding(body: bytes) -> Steps[Json]:
    """`decode` in steps of a few milliseconds: between two of them a server can do something else."""
    if not body.strip():
        raise MalformedBody("must not be empty")
    structure = yield from _structure(body)
    # Before parsing: the parser recurses, and stops for nothing.
    if structure.count(b",") + structure.count(b"[") + structure.count(b"{") >= VALUE_COUNT_MAX:
        raise MalformedBody(_TOO_MANY)
    if _nesting(structure) > NESTING_MAX:
        raise MalformedBody(f"must not be nested deeper than {NESTING_MAX} levels")
    yield
    if _LONGER_NUMBER in structure.translate(_NUMBERS_AS_ZEROS):
        raise MalformedBody(_TOO_LONG)
    yield
    counts = _Counts()
    short = len(body) <= PIECE_BYTES_MAX
    value = yield from _parsed(body if short else body.lstrip(_BLANKS), counts, nul=b"\\u0000" in body)
    # A colon outside strings belongs to one member each. Names given twice are one member after parsing.
    if counts.members < structure.count(b":"):
        raise MalformedBody("must not name a field twice in one object")
    # A raw NUL is no JSON; an escaped one is, but PostgreSQL's text cannot hold it.
    if counts.nul:
        raise MalformedBody("must not contain the character NUL")
    return value


def finished(steps: Steps[T]) -> T:
    """What the steps come to, for callers that nothing else waits for."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def encode(value: object) -> bytes:
    """The value as JSON: Decimals as numbers with all their digits, instants after RFC 3339, UTC with Z."""
    return _ENCODER.encode(value)


class Fields:
    """One JSON object of a request, read field by field.

    A reader answers the field's value, or notes a fault and answers a stand-in; whoever reads looks at `faults` before
    using any value. Null is absent. Unknown fields are ignored. Objects within share the list of faults, so that one
    answer names everything that is wrong.

    >>> body = Fields({"name": "Autumn laps", "periods": [{"refCode": 7}]})
    >>> body.text("name", max_length=200)
    'Autumn laps'
    >>> [each.text("refCode", max_length=50) for each in body.items("periods", max_count=100)]
    ['']
    >>> [str(fault) for fault in body.faults]
    ['periods[0].refCode must be text of 1 to 50 characters']
    """

    __slots__ = ("_members", "_path", "faults")

    def __init__(self, members: dict[str, Json], path: str = "", faults: list[Fault] | None = None) -> None:
        self._members = members
        self._path = path
        self.faults: list[Fault] = [] if faults is None else faults

    @classmethod
    def of(cls, value: Json) -> "Fields":
        """The fields of a whole body, which raises MalformedBody if it is no object."""
        if not isinstance(value, dict):
            raise MalformedBody("must be a JSON object")
        return cls(value)

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def fault(self, name: str, message: str) -> None:
        """Note a fault that an operation found itself."""
        self.faults.append(Fault(self.path(name), message))

    def value(self, name: str) -> Json:
        """The field as it was sent; None if it was not."""
        return self._members.get(name)

    def given(self, name: str) -> bool:
        """Whether the field was sent at all, if only as null."""
        return name in self._members

    def required(self, name: str, read: Callable[[Json], T], unread: T) -> T:
        """The field read by any function that raises ValueError with a message to complete the field's name."""
        if self.value(name) is None:
            self.fault(name, "is required")
            return unread
        result = self.optional(name, read)
        return unread if result is None else result

    def optional(self, name: str, read: Callable[[Json], T]) -> T | None:
        value = self.value(name)
        if value is None:
            return None
        try:
            return read(value)
        except ValueError as error:
            self.fault(name, str(error))
            return None

    def text(self, name: str, *, max_length: int) -> str:
        return self.required(name, lambda value: _text(value, max_length), "")

    def optional_text(self, name: str, *, max_length: int) -> str | None:
        return self.optional(name, lambda value: _text(value, max_length))

    def choice(self, name: str, choices: type[Choice], *, default: Choice) -> Choice:
        """One of an enum's values, in its own spelling. `default` is for an absent field, see `required_choice`."""
        result = self.optional(name, lambda value: _choice(value, choices))
        return default if result is None else result

    def required_choice(self, name: str, choices: type[Choice]) -> Choice:
        return self.required(name, lambda value: _choice(value, choices), next(iter(choices)))

    def boolean(self, name: str, *, default: bool) -> bool:
        result = self.optional(name, _boolean)
        return default if result is None else result

    def whole_number(self, name: str, *, minimum: int, maximum: int) -> int:
        return self.required(name, lambda value: amount.whole_number(value, minimum=minimum, maximum=maximum), minimum)

    def optional_whole_number(self, name: str, *, minimum: int, maximum: int) -> int | None:
        return self.optional(name, lambda value: amount.whole_number(value, minimum=minimum, maximum=maximum))

    def digits(self, name: str) -> int:
        """An id: an integer or a string of digits."""
        return self.required(name, amount.digits, 1)

    def optional_digits(self, name: str) -> int | None:
        return self.optional(name, amount.digits)

    def thousandths(self, name: str) -> int:
        return self.required(name, amount.thousandths_of, amount.ZERO)

    def optional_thousandths(self, name: str) -> int | None:
        return self.optional(name, amount.thousandths_of)

    def instant(self, name: str, zone: ZoneInfo) -> datetime:
        return self.required(name, lambda value: written.instant(_written(value), zone), UNREAD_AT)

    def optional_instant(self, name: str, zone: ZoneInfo) -> datetime | None:
        return self.optional(name, lambda value: written.instant(_written(value), zone))

    def end_after(self, name: str, zone: ZoneInfo) -> datetime:
        """The first instant after a written end, see written.end_after."""
        return self.required(name, lambda value: written.end_after(_written(value), zone), UNREAD_AT)

    def optional_end_after(self, name: str, zone: ZoneInfo) -> datetime | None:
        return self.optional(name, lambda value: written.end_after(_written(value), zone))

    def inner(self, name: str) -> "Fields":
        """The fields of an object within; of an empty one if it is absent."""
        members = self.optional(name, _object)
        return Fields(members or {}, self.path(name), self.faults)

    def items(self, name: str, *, max_count: int, min_count: int = 0) -> "list[Fields]":
        """The objects of an array within. What is no object is a fault and left out."""
        if min_count > 0 and self.value(name) is None:
            self.fault(name, "is required")
            return []
        found: list[Fields] = []
        for index, value in enumerate(self.optional(name, lambda value: _array(value, min_count, max_count)) or []):
            here = f"{name}[{index}]"
            if isinstance(value, dict):
                found.append(Fields(value, self.path(here), self.faults))
            else:
                self.fault(here, "must be an object")
        return found


_TOO_LONG: Final = (
    f"must not contain a decimal of more than {DIGITS_MAX} digits, or an integer of more than {INTEGER_DIGITS_MAX}"
)
_TOO_MANY: Final = f"must not hold more than {VALUE_COUNT_MAX} values"
_BLANKS: Final = b" \t\r\n"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NUMBERS_AS_ZEROS: Final = bytes.maketrans(b"123456789.eE+-", b"0" * 14)
_LONGER_NUMBER: Final = b"0" * (INTEGER_DIGITS_MAX + 1)


def _structure(body: bytes) -> Steps[bytes]:
    """What stands outside strings."""
    # Once escaped backslashes and then escaped quotes are gone, every second part between quotes is a string. A few
    # passes in C: a regular expression took longer than the parser. A string without end reaches to the body's end.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    yield
    # Names are strings too, and each has two quotes.
    if unescaped.count(b'"') > 4 * VALUE_COUNT_MAX:
        raise MalformedBody(_TOO_MANY)
    structure = b"".join(unescaped.split(b'"')[::2])
    yield
    return structure


def _nesting(structure: bytes) -> int:
    brackets = structure.translate(None, _NO_BRACKETS)
    # More of them close than open.
    if len(brackets) > 2 * VALUE_COUNT_MAX:
        raise MalformedBody(_TOO_MANY)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise MalformedBody(_TOO_LONG) from None
    if len(text) > DIGITS_MAX or not -DIGITS_MAX < number.adjusted() < DIGITS_MAX:
        raise MalformedBody(_TOO_LONG)
    return number


_DECODER: Final = msgspec.json.Decoder(float_hook=_number)
_OBJECT_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY_DECODER: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class _Counts:
    """What was found in the pieces of a body."""

    __slots__ = ("bytes_since_yield", "members", "nul")

    def __init__(self) -> None:
        self.members = 0
        self.nul = False
        self.bytes_since_yield = 0


def _parsed(body: bytes | msgspec.Raw, counts: _Counts, *, nul: bool) -> Steps[Json]:
    """The value of a body or of a part of it; of a long object or list part by part."""
    text = memoryview(body)
    length, first = len(text), bytes(text[:1])
    value: Json
    if length > PIECE_BYTES_MAX and first == b"{":
        named = _decoded(_OBJECT_DECODER, body, whole=False)
        yield
        value = {}
        for name, part in named.items():
            _look_through(name, counts, nul=nul)
            value[name] = yield from _parsed(part, counts, nul=nul)
        counts.members += len(value)
    elif length > PIECE_BYTES_MAX and first == b"[":
        parts = _decoded(_ARRAY_DECODER, body, whole=False)
        yield
        value = []
        for part in parts:
            value.append((yield from _parsed(part, counts, nul=nul)))
    else:
        value = _decoded(_DECODER, body, whole=length <= PIECE_BYTES_MAX)
        _look_through(value, counts, nul=nul)
        counts.bytes_since_yield += length + PART_BYTES
        if counts.bytes_since_yield > PIECE_BYTES_MAX:
            counts.bytes_since_yield = 0
            yield
    return value


def _decoded(decoder: "msgspec.json.Decoder[T]", body: bytes | msgspec.Raw, *, whole: bool) -> T:
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:
        raise MalformedBody("must be UTF-8") from None
    except msgspec.ValidationError:
        # What `_number` raises comes out as this.
        raise MalformedBody(_TOO_LONG) from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        # Of a part, the place is not the one in the body.
        raise MalformedBody(f"must be JSON: {reason if whole else reason.partition(' (byte')[0]}") from None


def _look_through(value: Json, counts: _Counts, *, nul: bool) -> None:
    """Counts the members of all objects within; with `nul`, looks into all texts too."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            counts.members += len(value)
            left.extend(value.values())
            if nul:
                left.extend(value)
        elif isinstance(value, list):
            left.extend(value)
        elif nul and isinstance(value, str) and "\0" in value:
            counts.nul = True


def _text(value: Json, max_length: int) -> str:
    if not isinstance(value, str) or len(value) > max_length or not value.strip():
        raise ValueError(f"must be text of 1 to {max_length} characters")
    return value


def _written(value: Json) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text with a date or date-time")  # noqa: TRY004 -- a fault of the request.
    return value


def _choice(value: Json, choices: type[Choice]) -> Choice:
    for choice in choices:
        if value == choice.value:
            return choice
    raise ValueError(f"must be one of {', '.join(choices)}")


def _boolean(value: Json) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 -- a fault of the request.
    return value


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ValueError("must be an object")  # noqa: TRY004 -- a fault of the request.
    return value


def _array(value: Json, min_count: int, max_count: int) -> list[Json]:
    if not isinstance(value, list) or not min_count <= len(value) <= max_count:
        raise ValueError(f"must be an array of {min_count} to {max_count} objects")
    return value
