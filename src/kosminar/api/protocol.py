"""HTTP on one connection: what is no request of ours is answered here, before any app.

Uvicorn's protocol bounds neither the length of headers nor the time they take, answers broken HTTP in plain text, and
waits for ever for a client that does not read. Here the request line and headers have a length and a deadline, an
answer must be fetched in time, connections are counted, and whatever is refused leaves in our shapes (decision 4). The
parser reads heads only: where a request ends is decided by framing.py, and each request has a parser of its own, so
that nothing of one is left for the next. It leans on uvicorn's internals, whose version is pinned. Tested over sockets
by tests/api/test_limits.py and tests/api/test_request_smuggling.py.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final, cast

import httptools
import structlog
from litestar.types import Scope as LitestarScope
from litestar.types import Send as LitestarSend
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from kosminar.api.admission import Busy
from kosminar.api.framing import (
    FIELD_COUNT_MAX,
    HEAD_END,
    LINE_BYTES_MAX,
    TARGET_BYTES_MAX,
    BrokenRequest,
    ChunkedBody,
    RequestLine,
    SizedBody,
    TooMuchFraming,
    body_of,
    check_host,
    length_of_empty_lines,
    read_request_line,
)
from kosminar.api.hang_ups import HangUps
from kosminar.api.operation import Refused
from kosminar.api.paths import path_as_sent
from kosminar.api.request import BODY_HAS_COME, CLIENT_GONE, PROBES, in_shape, new_request_id
from kosminar.api.sending import head_of, send_answer
from kosminar.core.errors import Code, Complaint, invalid

# Of a socket at once. What a connection holds unread is no more than its headers and one read.
READ_BYTES_MAX: Final = 16 * 1024
# Written and not fetched; beyond it the application waits (sending.py).
WRITTEN_BYTES_MAX: Final = 16 * 1024

LOG: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one process grants its connections."""

    connections_max: int
    # Beyond those: they hear 503, or have a probe answered, and end. Further ones are closed without a word.
    surplus_max: int = 64
    # Request line, headers and the empty line after them. Tokens have up to 4 KiB, and proxies add their own. As much
    # again is what a chunked body may hold beyond its content (framing.py).
    header_bytes_max: int = 16 * 1024
    # From the first byte, or from the connection's beginning, to the empty line.
    header_seconds: float = 10.0
    # For a client that does not read: from when no more can be sent, or from when the connection is to end.
    unread_seconds: float = 60.0


def protocol_of(limits: ConnectionLimits) -> type["Connection"]:
    """The class that uvicorn is configured with, as `http`."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "hang_ups": HangUps()})


class Connection(HttpToolsProtocol):
    """One client's connection. At most one of its requests is worked on at a time, and the next one is read."""

    limits: ConnectionLimits
    hang_ups: HangUps
    flow: "_Flow"

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self._working: RequestResponseCycle | None = None
        # Of the request whose headers are read: how much has come, and the request line.
        self._head_bytes = 0
        self._line: RequestLine | None = None
        # As much of the headers as is looked at again: the request line, then the last bytes.
        self._head = bytearray()
        # Of the request whose headers were read; None from its end to the end of the next one's headers.
        self._body: SizedBody | ChunkedBody | None = None
        # What came behind two requests that are not answered yet.
        self._held = b""
        # What comes is no longer read, because what came was no HTTP.
        self._deaf = False
        self._gone = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn has it.
        transport.set_write_buffer_limits(high=WRITTEN_BYTES_MAX)
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]  # It has what is used.
        transport.set_protocol(_InPieces(self))
        self.flow = _Flow(self.transport, self.hang_ups, self._gone)
        surplus = len(self.connections) - self.limits.connections_max
        if surplus > self.limits.surplus_max:
            transport.abort()
            return
        if surplus > 0:
            self.app = _for_probes(self.app)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self.flow.end()
        self._stop_deadline()
        self._stop_unread()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        data, self._held = self._held + data, b""
        self.flow.holding = False
        while data and not self._deaf and not self.transport.is_closing():
            if self._body is None and self.pipeline:
                self._hold(data)
                break
            data = self._read_head(data) if self._body is None else self._read_body(self._body, data)
        # Headers that have begun, or what is left of a body that was answered already: neither may take for ever.
        if self._deadline is None and not self._is_working():
            self._start_deadline()

    def _hold(self, data: bytes) -> None:
        """Keeps what comes behind two requests until the first is answered; a client that sends on is not read."""
        self._held = data
        self.flow.pause_reading()
        self.flow.holding = True

    def on_response_complete(self) -> None:
        # What is held is read before anything that comes, and may have to be held again.
        self.flow.holding = False
        super().on_response_complete()
        if self._held and not self.transport.is_closing():
            self.data_received(b"")

    def _read_head(self, data: bytes) -> bytes:
        """Reads request line and headers, no more than they may have, and returns what follows them."""
        if self._line is None and not self._head:
            # One by one, each would be looked for an end of headers together with all before it.
            data = data[length_of_empty_lines(data) :]
        piece = self._head_piece(data)
        try:
            if self._line is None:
                self._line = read_request_line(self._head)
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # Speak HTTP/1.1 on, whatever was offered: the HTTP client of Java offers HTTP/2 with each first request.
            pass
        except BrokenRequest as error:
            self._refuse_broken(error)
            return b""
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Refused):
                self._refuse(error.__context__, self.url)
            else:
                self._refuse_broken(error.__context__ or error)
            return b""
        if self._line is not None:
            del self._head[: 1 - len(HEAD_END)]
        if self._body is not None:
            self._end_head()
        elif self._head_bytes >= self.limits.header_bytes_max:
            most = f"The request line and headers must not be longer than {self.limits.header_bytes_max} bytes."
            self._refuse(_too_long(most, status=431), self.url or _target(self._head))
        return data[len(piece) :]

    def _head_piece(self, data: bytes) -> bytes:
        """What of the data belongs to the headers, up to the empty line after them; it is counted."""
        before = len(self._head)
        self._head += data[: self.limits.header_bytes_max - self._head_bytes]
        end = self._head.find(HEAD_END, max(0, before + 1 - len(HEAD_END)))
        if end >= 0:
            del self._head[end + len(HEAD_END) :]
        piece = data[: len(self._head) - before]
        self._head_bytes += len(piece)
        return piece

    def _end_head(self) -> None:
        self._head_bytes = 0
        self._line = None
        self._head.clear()
        self._stop_deadline()
        assert self._body is not None, "the headers said how long it is"
        if self._body.ended:
            self._end_request()

    def _read_body(self, body: SizedBody | ChunkedBody, data: bytes) -> bytes:
        """Reads on in a body, and returns what follows it."""
        try:
            content, rest = body.read(data)
        except BrokenRequest as error:
            self._refuse_broken(error)
            return b""
        except TooMuchFraming:
            too_much = (
                "What a chunked body holds besides its content (sizes, extensions and trailers) must not be more than "
                f"{self.limits.header_bytes_max} bytes longer than the content, nor have a line of more than "
                f"{LINE_BYTES_MAX} bytes."
            )
            self._refuse(_too_long(too_much, status=413), self.url)
            return b""
        if content:
            self.on_body(content)
        if body.ended:
            self._end_request()
        elif self.cycle.body and not self.cycle.response_complete:
            # What came before is not read yet; the application resumes when it reads it. After the answer it reads no more,
            # and what still comes is dropped until the deadline.
            self.flow.pause_reading()
        return rest

    def _end_request(self) -> None:
        self._body, self.url = None, b""
        self.parser = httptools.HttpRequestParser(self)
        self.scope["state"][BODY_HAS_COME] = True
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > TARGET_BYTES_MAX:
            raise _too_long(f"The request's target must not be longer than {TARGET_BYTES_MAX} bytes.", status=431)

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser leaves the blanks behind a value, which are none of it.
        super().on_header(name, value.rstrip(b" \t"))
        if len(self.headers) > FIELD_COUNT_MAX:
            raise _too_long(f"A request must not have more than {FIELD_COUNT_MAX} header fields.", status=431)

    def on_headers_complete(self) -> None:
        """What this raises comes out of the parser as the context of an error of its own."""
        assert self._line is not None, "it comes before the headers"
        check_host(self.headers, minor_version=self._line.minor_version)
        body = body_of(
            self.headers,
            minor_version=self._line.minor_version,
            framing_bytes_max=self.limits.header_bytes_max,
        )
        if not self._line.target.startswith(b"/"):
            # No path of ours, and nothing that uvicorn can read: see paths.py.
            self.url = b"/"
        super().on_headers_complete()
        self.scope["raw_path"] = self._line.target.partition(b"?")[0]
        self.scope["state"][CLIENT_GONE] = self._gone
        self._body = body

    def on_message_complete(self) -> None:
        """The parser's, which ends with the headers."""

    def _should_upgrade(self) -> bool:
        return False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._working = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_unread()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # Closing waits until everything is sent.
        self._start_unread()

    def _is_working(self) -> bool:
        return self._working is not None and not self._working.response_complete

    def _refuse_broken(self, error: BaseException) -> None:
        LOG.debug("broken_http", error=str(error))
        message = str(error) if isinstance(error, BrokenRequest) else "This is no HTTP/1.1 request"
        self._refuse(Refused(invalid("", message)), self.url or _target(self._head))

    def _refuse(self, refused: Refused, target: bytes) -> None:
        """Answers what is no request, as the last thing said on this connection."""
        self._deaf = True
        if self._body is not None and self.cycle.response_complete:
            # Of a body whose request was answered: another answer would be taken for the one to the next request.
            self._end()
            return
        working = self._working
        if working is not None and self._is_working() and (working is not self.cycle or not working.more_body):
            # A request before this one still has an answer to come, which this must not be taken for.
            working.keep_alive = False
            self.pipeline.clear()
            return
        if working is not None and self._is_working():
            # The broken part is the body of the very request that is read.
            working.disconnected = True
            working.message_event.set()
            if working.response_started:
                self.transport.close()
                return
        answer = in_shape(target.decode("latin-1").partition("?")[0], refused)
        fields = [*head_of(answer, request_id=new_request_id()), (b"connection", b"close")]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[answer.status] + head + b"\r\n" + answer.body)
        self.transport.close()
        self._start_unread()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.limits.header_seconds, self._end)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self) -> None:
        self.transport.close()
        self._start_unread()

    def _start_unread(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class _InPieces(asyncio.BufferedProtocol):
    """What a transport calls instead of the connection, so that no read is longer than READ_BYTES_MAX.

    All connections are read into one buffer; what came is copied before another one is read.
    """

    _buffer: Final = bytearray(READ_BYTES_MAX)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.connection_lost = connection.connection_lost  # type: ignore[method-assign]
        self.pause_writing = connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = connection.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  # The transport's wish.
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self._connection.eof_received()


class _Flow(FlowControl):
    """Reads nothing while something is held, though the application asks for more of the request that it works on.

    While nothing is read, `gone` is set if the client hangs up.
    """

    holding = False

    def __init__(self, transport: asyncio.Transport, hang_ups: HangUps, gone: asyncio.Event) -> None:
        super().__init__(transport)
        self._hang_ups = hang_ups
        self._gone = gone
        self._descriptor: int = transport.get_extra_info("socket").fileno()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self._hang_ups.watch(self._descriptor, self._gone.set)
        super().pause_reading()

    def resume_reading(self) -> None:
        if not self.holding:
            self.end()
            super().resume_reading()

    def end(self) -> None:
        self._hang_ups.leave(self._descriptor)


class _Gathering:
    """A transport that sends what is written in one turn of the loop in one piece.

    An answer's head and its body are two writes, and would be two calls of the system and two packets.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._send)
        self._pieces.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and not self._transport.is_closing():
            self._transport.write(b"".join(pieces))


def _too_long(message: str, *, status: int) -> Refused:
    return Refused(Complaint.of(Code.REQUEST_TOO_LARGE, message), status=status)


def _target(beginning: bytes | bytearray) -> bytes:
    """The target of a request whose first line could not be read to its end."""
    found = re.match(rb"[A-Z]+ ([^ ]*)", beginning)
    return bytes(found[1]) if found else b""


def _for_probes(app: ASGI3Application) -> ASGI3Application:
    """For connections beyond the limit: whoever watches the process is answered, everybody else is turned away."""

    async def enter(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        here = cast("LitestarScope", scope)
        path = path_as_sent(here)
        if path in PROBES:
            await app(scope, receive, send)
            return
        answer = in_shape(path, Busy(headers={"Connection": "close"}))
        await send_answer(answer, here, cast("LitestarSend", send))

    return enter
