"""A receiver of webhooks on this machine: a real HTTP server that answers what a test tells it to, or does not."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from standardwebhooks import Webhook


@dataclass(frozen=True)
class Received:
    """A request as it came in."""

    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def name(self) -> tuple[int, int]:
        """The customer and the number."""
        return self.body["data"]["customerId"], self.body["sequence"]


@dataclass(frozen=True)
class Reply:
    """`endless` goes on with the body for ever; no status closes the connection without a word."""

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    endless: bool = False


Answer = Callable[[Received], Awaitable[Reply]]


def always(reply: Reply) -> Answer:
    async def answer(_: Received) -> Reply:
        return reply

    return answer


class Receiver:
    """Use with `async with`; keeps all that it received, and what it accepted, in order."""

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer or always(Reply())
        self.received: list[Received] = []
        self.accepted: list[Received] = []
        self.came = asyncio.Event()
        self.connection_count = 0
        self.bytes_sent = 0
        self._host = host
        self._port = port
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/hook"

    @property
    def names(self) -> list[tuple[int, int]]:
        return [one.name for one in self.received]

    async def got(self, count: int) -> None:
        """Wait until so many came."""
        while len(self.received) < count:
            self.came.clear()
            await self.came.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connection_count += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        received = Received(head[0].split()[1], headers, content)
        self.received.append(received)
        self.came.set()
        reply = await self.answer(received)
        if reply.status is None:
            return False
        if 200 <= reply.status <= 299:
            self.accepted.append(received)
        lines = [f"HTTP/1.1 {reply.status} Said", *(f"{name}: {value}" for name, value in reply.headers.items())]
        lines.append("transfer-encoding: chunked" if reply.endless else f"content-length: {len(reply.content)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + reply.content)
        await writer.drain()
        while reply.endless:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()
            self.bytes_sent += 4096
        return True


class Verifier(Webhook):
    """The independent library, at the instant that a test says it is; it asks the machine for nothing but that."""

    def __init__(self, secret: str, now: datetime) -> None:
        super().__init__(secret)
        self._now = now

    def _Webhook__verify_timestamp(self, header: str) -> datetime:  # noqa: N802 -- Its name there.
        at = datetime.fromtimestamp(float(header), tz=UTC)
        assert abs((at - self._now).total_seconds()) < 300
        return at
