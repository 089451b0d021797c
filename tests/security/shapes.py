"""Hostile bodies: each shape of JSON that costs a reader most, filled up to any size."""

from collections.abc import Callable, Mapping

Shape = Callable[[int], bytes]


def repeated(piece: bytes, opening: bytes = b"[", closing: bytes = b"]") -> Shape:
    """The piece again and again between brackets, with commas."""

    def fill(size: int) -> bytes:
        count = (size - len(opening) - len(closing) + 1) // (len(piece) + 1)
        return opening + b",".join([piece] * count) + closing

    return fill


def numbered(piece: bytes, opening: bytes = b"{", closing: bytes = b"}") -> Shape:
    """The same, with a number in each piece, so that no two are alike."""

    def fill(size: int) -> bytes:
        longest = len(piece % size) + 1
        count = (size - len(opening) - len(closing)) // longest
        return opening + b",".join(piece % number for number in range(count)) + closing

    return fill


def text(piece: bytes) -> Shape:
    return lambda size: b'"' + piece * ((size - 2) // len(piece)) + b'"'


def raw(piece: bytes) -> Shape:
    return lambda size: piece * (size // len(piece))


# 32 levels with the outermost.
LISTS = b"[" * 31 + b"]" * 31
OBJECTS = b'{"a":' * 31 + b"1e9" + b"}" * 31
DEEP = b"[" * 30 + b"1e9,1e9,1e9,1e9" + b"]" * 30

JSON: Mapping[str, Shape] = {
    "zeros": repeated(b"0"),
    "decimals 1e9": repeated(b"1e9"),
    "decimals 0.1": repeated(b"0.1"),
    "numbers of 999 digits": repeated(b"9" * 999),
    "numbers of 4,000 digits": repeated(b"9" * 4_000),
    "decimals of 999 digits": repeated(b"0." + b"9" * 997),
    "integers of 20 digits": repeated(b"9" * 20),
    "nulls": repeated(b"null"),
    "empty lists": repeated(b"[]"),
    "empty objects": repeated(b"{}"),
    "empty texts": repeated(b'""'),
    "short texts": repeated(b'"ab"'),
    "members": numbered(b'"%d":0'),
    "members with decimals": numbered(b'"%d":1.5'),
    "one name again and again": repeated(b'"a":0', b"{", b"}"),
    "small objects": repeated(b'{"a":0}'),
    "lists nested to the limit": repeated(LISTS),
    "objects nested to the limit": repeated(OBJECTS),
    "deep and wide": repeated(DEEP),
    "decimals at the deepest level": repeated(b"1e9", b"[" * 31, b"]" * 31),
    "members at the deepest level": numbered(b'"%d":1.5', b"[" * 31 + b"{", b"}" + b"]" * 31),
    "one long text": text(b"a"),
    "one long text, two bytes each": text("é".encode()),
    "one long text, four bytes each": text("\U0001f600".encode()),
    "escapes \\u": text(b"\\u00e9"),
    "escaped surrogates": text(b"\\ud83d\\ude00"),
    "escaped line feeds": text(b"\\n"),
    "escaped quotes": text(b'\\"'),
    "escaped backslashes": text(b"\\\\"),
    "what looks like NUL": text(b"\\\\u0000"),
    "brackets in a text": text(b"[]"),
    "blanks": lambda size: b" " * (size - 1) + b"0",
    "blanks in a list": lambda size: b"[" + b" " * (size - 2) + b"]",
    "blanks at the deepest level": lambda size: b"[" * 32 + b" " * (size - 64) + b"]" * 32,
    "quotes": raw(b'"'),
    "opening brackets": raw(b"["),
    "closing brackets": raw(b"]"),
    "pairs of brackets": raw(b"{}"),
    "colons": raw(b":"),
    "commas": raw(b","),
    "NULs": raw(b"\0"),
    "letters": raw(b"x"),
    "digits": raw(b"9"),
    "a text without end": lambda size: b'"' + b"a" * (size - 1),
    "a text that is no UTF-8 at its end": lambda size: b'"' + b"a" * (size - 3) + b"\xff" + b'"',
}

FORMS: Mapping[str, Shape] = {
    "%41": raw(b"%41"),
    "%C3%A9": raw(b"%C3%A9"),
    "%": raw(b"%"),
    "plus signs": raw(b"+"),
    "separators": raw(b"&"),
    "fields": raw(b"a=1&"),
    "a long value": lambda size: b"grant_type=" + b"%41" * ((size - 11) // 3),
    "no ASCII": raw(b"\xff"),
}
