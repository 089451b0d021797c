"""HTTP on one connection: what is no request of ours is answered here, before any app.

Uvicorn's protocol bounds neither the length of headers nor the time they take, answers broken HTTP in plain text, and
waits for ever for a client that does not read. Here the request line and headers have a length and a deadline, an
answer must be fetched in time, connections are counted, and whatever is refused leaves in our shapes (decision 4). It
leans on uvicorn's internals, whose version is pinned. Tested over sockets by tests/api/test_limits.py.
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
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from kosminar.api.admission import Busy
from kosminar.api.operation import Refused
from kosminar.api.request import BODY_HAS_COME, PROBES, in_shape, new_request_id
from kosminar.api.sending import head_of, send_answer
from kosminar.core.errors import Code, Complaint, invalid

# What says how long a body is.
FRAMING: Final = (b"content-length", b"transfer-encoding")

LOG: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one process grants its connections."""

    connections_max: int
    # Beyond those: they hear 503, or have a probe answered, and end. Further ones are closed without a word.
    surplus_max: int = 64
    # Request line, headers and the empty line after them. Tokens have up to 4 KiB, and proxies add their own.
    header_bytes_max: int = 32 * 1024
    # From the first byte, or from the connection's beginning, to the empty line.
    header_seconds: float = 10.0
    # For a client that does not read: from when no more can be sent, or from when the connection is to end.
    unread_seconds: float = 60.0


def protocol_of(limits: ConnectionLimits) -> type["Connection"]:
    """The class that uvicorn is configured with, as `http`."""
    return type("LimitedConnection", (Connection,), {"limits": limits})


class Connection(HttpToolsProtocol):
    """One client's connection. At most one of its requests is worked on at a time."""

    limits: ConnectionLimits

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.url = b""
        self._working: RequestResponseCycle | None = None
        # Between the end of one message and the empty line after the next one's headers.
        self._heading = True
        self._header_bytes = 0
        self._message_ended = False
        # A request that was begun by one parser is read on by another.
        self._resuming = False
        # What comes is no longer read, because what came was no HTTP.
        self._deaf = False
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn has it.
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]  # It has what is used.
        surplus = len(self.connections) - self.limits.connections_max
        if surplus > self.limits.surplus_max:
            transport.abort()
            return
        if surplus > 0:
            self.app = _for_probes(self.app)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._stop_unread()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data and not self._deaf and not self.transport.is_closing():
            data = self._feed(data)
        # Headers that have begun, or what is left of a body that was answered already: neither may take for ever.
        if self._deadline is None and not self._is_working():
            self._start_deadline()

    def _feed(self, data: bytes) -> bytes:
        """Parses some of the data and returns the rest. Headers are given no more than they may have."""
        room = self.limits.header_bytes_max - self._header_bytes
        piece, rest = (data[:room], data[room:]) if self._heading else (data, b"")
        self._message_ended = False
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            return self._pass_over_upgrade() + piece[upgrade.args[0] :] + rest
        except httptools.HttpParserError as error:
            LOG.debug("broken_http", error=str(error))
            self._refuse(Refused(invalid("", "This is no HTTP/1.1 request")), self.url or _target(piece))
            return b""
        if self._heading and not self._message_ended:
            self._header_bytes += len(piece)
        if self._heading and self._header_bytes >= self.limits.header_bytes_max:
            too_long = f"The request line and headers must not be longer than {self.limits.header_bytes_max} bytes."
            self._refuse(
                Refused(Complaint.of(Code.REQUEST_TOO_LARGE, too_long), status=431), self.url or _target(piece)
            )
        return rest

    def _pass_over_upgrade(self) -> bytes:
        """Speak HTTP/1.1 on, whatever was offered: the HTTP client of Java offers HTTP/2 with each first request.

        The parser takes all that follows for another protocol, the body too. A new one is told, by what this returns,
        no more of the request than how long its body is.
        """
        framing = [b"%s: %s\r\n" % field for field in self.headers if field[0] in FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self._resuming = True
        return b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n"

    def on_message_begin(self) -> None:
        if not self._resuming:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._resuming:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._resuming:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        self._heading = False
        self._header_bytes = 0
        self._stop_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._heading = True
            self._message_ended = True
            self.scope["state"][BODY_HAS_COME] = True
            super().on_message_complete()

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

    def _refuse(self, refused: Refused, target: bytes) -> None:
        """Answers what is no request, as the last thing said on this connection."""
        self._deaf = True
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


def _target(beginning: bytes) -> bytes:
    """The target of a request whose first line could not be read to its end."""
    found = re.match(rb"[A-Z]+ ([^ ]*)", beginning)
    return found[1] if found else b""


def _for_probes(app: ASGI3Application) -> ASGI3Application:
    """For connections beyond the limit: whoever watches the process is answered, everybody else is turned away."""

    async def enter(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        here = cast("LitestarScope", scope)
        if here["path"] in PROBES:
            await app(scope, receive, send)
            return
        answer = in_shape(here["path"], Busy(headers={"Connection": "close"}))
        await send_answer(answer, here, cast("LitestarSend", send))

    return enter
