"""Where a request begins and ends, by the rules of RFC 9112 and no laxer ones.

A proxy and this server must read one connection alike, or a request can be hidden inside another. So whatever two
readers could understand differently is refused: a message has one length, one Host and one form. What a chunked body
holds besides its content (sizes, extensions, trailers) is counted, limited and dropped; a trailer is never a header.
Knows no sockets. Field names are in lower case. Reasons: ADR-0030. Tested by tests/api/test_framing.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Longer than any call of ours needs; of a target there are several copies while its request waits.
TARGET_BYTES_MAX: Final = 8 * 1024
# A field takes some hundred bytes of memory however short it is.
FIELD_COUNT_MAX: Final = 100
# Of a chunk's size with its extension, and of a trailer: a line is kept until its end, whatever content came before it.
LINE_BYTES_MAX: Final = 2 * 1024

HEAD_END: Final = b"\r\n\r\n"

Fields = Sequence[tuple[bytes, bytes]]

_TOKEN: Final = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*"
# Empty lines before a request are old clients' way to end the one before (RFC 9112, section 2.2).
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z-]*) ([!-~]+) HTTP/1\.([01])")
# Names, IPv4 and IPv6 addresses. RFC 3986 allows more characters, which no host's name has; a comma among them would
# be two Host headers that a proxy has joined.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LENGTH: Final = re.compile(rb"0*[0-9]{1,18}")
# Nothing stands between size and extension, or between them and the end of the line: where blanks are let in, readers
# differ about what else is. Sixteen digits suffice for what Content-Length can say.
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;" + _TEXT + rb")?\r\n")
_TRAILER: Final = re.compile(_TOKEN + rb":" + _TEXT + rb"\r\n")
_LINE_END: Final = b"\r\n"


class BrokenRequest(Exception):
    """What came is no request, or another reader could take it for a different one. The text is for the client."""


class TooMuchFraming(Exception):
    """A chunked body holds too much that is not content, in sum or in one line."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """The first line of a request; `minor_version` is of HTTP/1."""

    target: bytes
    minor_version: int


def length_of_empty_lines(data: bytes) -> int:
    """How much of the data is whole empty lines before a request."""
    found = _EMPTY_LINES.match(data)
    assert found is not None, "nothing is a match too"
    return found.end()


def read_request_line(head: bytes | bytearray) -> RequestLine | None:
    """The first line of a request, None if its end has not come. Raises BrokenRequest."""
    empty = _EMPTY_LINES.match(head)
    assert empty is not None, "no line is an empty line too"
    line, line_end, _ = head[empty.end() :].partition(_LINE_END)
    if not line_end:
        return None
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise BrokenRequest("The request line must be method, target and HTTP/1.1, with one blank between them")
    method, target, minor = found.groups()
    if method == b"CONNECT":
        raise BrokenRequest("CONNECT is for proxies")
    if b"#" in target:
        raise BrokenRequest("The request's target must have no fragment; send # as %23")
    return RequestLine(bytes(target), int(minor))


def check_host(fields: Fields, *, minor_version: int) -> None:
    """HTTP/1.1 has one Host, HTTP/1.0 at most one (RFC 9112, section 3.2). Raises BrokenRequest."""
    hosts = _values(fields, b"host")
    if len(hosts) > 1 or (not hosts and minor_version > 0):
        raise BrokenRequest("HTTP/1.1 requests have exactly one Host header")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BrokenRequest("The Host header must be a name or an address, and a port if there is one")


def body_of(fields: Fields, *, minor_version: int, framing_bytes_max: int) -> "SizedBody | ChunkedBody":
    """Reads the body that the headers announce, of length 0 if none. Raises BrokenRequest."""
    lengths, encodings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if encodings and lengths:
        raise BrokenRequest("A request has Content-Length or Transfer-Encoding, and not both")
    if encodings:
        if minor_version == 0 or len(encodings) > 1 or encodings[0].lower() != b"chunked":
            raise BrokenRequest("Transfer-Encoding must be chunked, once, and in HTTP/1.1")
        return ChunkedBody(framing_bytes_max=framing_bytes_max)
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise BrokenRequest("Content-Length must be one whole number")
    return SizedBody(int(lengths[0]) if lengths else 0)


class SizedBody:
    """A body whose length was announced."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def ended(self) -> bool:
        return self._left == 0

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """As much of the data as is content of the body, and what follows the body."""
        content = data[: self._left]
        self._left -= len(content)
        return content, data[len(content) :]


class ChunkedBody:
    """A body in chunks, each after its size (RFC 9112, section 7.1).

    What is not content may be `framing_bytes_max` bytes longer than the content: a client that sends a few bytes a chunk
    passes at any length, and one that sends a byte a chunk does not. Content does not pay for a line that is too long.
    """

    def __init__(self, *, framing_bytes_max: int) -> None:
        self.ended = False
        self._framing_bytes_left = framing_bytes_max
        # Of the chunk that is being read.
        self._left = 0
        self._line = b""
        self._read_line = self._read_size

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in the data, and what follows the body. Raises BrokenRequest, TooMuchFraming."""
        parts = []
        place = 0
        while place < len(data) and not self.ended:
            if self._left:
                part = data[place : place + self._left]
                parts.append(part)
                self._left -= len(part)
                self._framing_bytes_left += len(part)
                place += len(part)
                continue
            end = data.find(b"\n", place) + 1 or len(data)
            self._take(data[place:end])
            place = end
        return b"".join(parts), data[place:]

    def _take(self, piece: bytes) -> None:
        """Part of a line, up to its end if that has come."""
        self._framing_bytes_left -= len(piece)
        if self._framing_bytes_left < 0 or len(self._line) + len(piece) > LINE_BYTES_MAX:
            raise TooMuchFraming
        self._line += piece
        if piece.endswith(b"\n"):
            line, self._line = self._line, b""
            self._read_line(line)

    def _read_size(self, line: bytes) -> None:
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise BrokenRequest("A chunk must begin with its size in hexadecimal digits")
        self._left = int(found[1], 16)
        self._read_line = self._read_chunk_end if self._left else self._read_trailer

    def _read_chunk_end(self, line: bytes) -> None:
        if line != _LINE_END:
            raise BrokenRequest("A chunk must be as long as its size says")
        self._read_line = self._read_size

    def _read_trailer(self, line: bytes) -> None:
        """What it says is dropped: proxies check headers, and do not look at trailers."""
        if line == _LINE_END:
            self.ended = True
        elif not _TRAILER.fullmatch(line):
            raise BrokenRequest("A trailer must be a name, a colon and a value")


def _values(fields: Fields, wanted: bytes) -> list[bytes]:
    return [value for name, value in fields if name == wanted]
