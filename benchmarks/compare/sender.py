"""The load generator: the same bytes to both sides, a fixed number of requests over a fixed number of connections.

Each connection sends its next request as soon as the last one is answered. Every answer is looked at: a load of which
anything was refused is no measurement. wrk, which the benchmarks of rates use, can only send for so long, and then the
faster side would get more to do.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.compare.trees import NotComparable

STALLED_SECONDS = 120
END_OF_HEAD = b"\r\n\r\n"
SHOWN = 300


@dataclass(frozen=True)
class Messages:
    """Requests as they go out, and what the body of each good answer holds."""

    requests: Sequence[bytes]
    answer_holds: bytes
    connections: int


def message(method: str, path: str, authorization: str, body: bytes = b"") -> bytes:
    """One HTTP request."""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n{content}\r\n"
    return head.encode() + body


def send(port: int, messages: Messages) -> None:
    """Send all, and return once the last one is answered. Raises NotComparable if an answer is not as it should be."""
    # Not uvloop, which turns an interrupt that comes in a callback into an error of the connection.
    asyncio.run(_send(port, messages))


async def _send(port: int, messages: Messages) -> None:
    loop = asyncio.get_running_loop()
    waiting, over = iter(messages.requests), [loop.create_future() for _ in range(messages.connections)]
    clients = [
        (await loop.create_connection(lambda end=end: _Client(waiting, messages.answer_holds, end), "127.0.0.1", port))[
            1
        ]
        for end in over
    ]
    try:
        for client in clients:
            client.send_next()
        async with asyncio.timeout(STALLED_SECONDS):
            await asyncio.gather(*over)
    except TimeoutError:
        raise NotComparable(f"its server did not answer everything within {STALLED_SECONDS} seconds") from None
    finally:
        for client in clients:
            client.transport.close()


class _Client(asyncio.Protocol):
    """A connection with one request under way; `end` is done when there are no more."""

    transport: asyncio.Transport

    def __init__(self, waiting: Iterator[bytes], answer_holds: bytes, end: asyncio.Future[None]) -> None:
        self._waiting, self._answer_holds, self._end = waiting, answer_holds, end
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send_next(self) -> None:
        request = next(self._waiting, None)
        if request is not None:
            self.transport.write(request)
        elif not self._end.done():
            self._end.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(END_OF_HEAD)
        if not separator or len(body) < _length(head):
            return
        self._received = b""
        good = (
            head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 201 "))
            and self._answer_holds in body
            and b'"status":"rejected"' not in body
        )
        if good:
            self.send_next()
        else:
            said = (head.partition(b"\r")[0] + b" " + body)[:SHOWN]
            self._fail(f"a request was not answered as it should be: {said.decode(errors='replace')}")

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"its server closed a connection ({error})")

    def _fail(self, message: str) -> None:
        if not self._end.done():
            self._end.set_exception(NotComparable(message))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
