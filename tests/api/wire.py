"""A real server on a socket of its own, in the loop of the test, and a client that says exactly the bytes it is given."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from litestar import Litestar

from kosminar.api.protocol import ConnectionLimits, protocol_of

PATIENCE_SECONDS = 20


class Server(uvicorn.Server):
    """The signals belong to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Wire:
    """Where the server listens; `connections` are those it has open."""

    port: int
    connections: set[Any]

    async def open(self, *said: bytes) -> "Line":
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port))
        for each in said:
            await line.say(each)
        return line

    async def ask(self, said: bytes) -> "Heard":
        """What one connection hears that says this and nothing more."""
        line = await self.open(said)
        heard = await line.hear()
        await line.hang_up()
        return heard


@dataclass(frozen=True)
class Heard:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> int:
        """The number in either shape, after checking that the shape is whole."""
        content = json.loads(self.body)
        assert self.headers["x-request-id"]
        if self.headers["content-type"] == "application/problem+json":
            assert content["status"] == self.status
            return content["code"]
        assert content.keys() == {"data", "errors", "warnings"}
        return content["errors"][0]["code"]

    @property
    def shape(self) -> str:
        return "problem" if "problem" in self.headers["content-type"] else "envelope"


@dataclass(frozen=True)
class Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, said: bytes) -> None:
        self.writer.write(said)
        await self.writer.drain()

    async def hear(self) -> Heard:
        """The next answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Heard(int(first.split(" ")[1]), headers, body)

    async def hear_the_end(self) -> bytes:
        """What still came before the server closed the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def hang_up(self) -> None:
        self.writer.close()
        with suppress(ConnectionResetError):
            await self.writer.wait_closed()


@asynccontextmanager
async def serving(app: Litestar, *, keep_alive_seconds: float = 5, **limits: Any) -> AsyncIterator[Wire]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=protocol_of(ConnectionLimits(**({"connections_max": 100} | limits))),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=keep_alive_seconds,  # type: ignore[arg-type]  # Whole seconds would be long here.
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield Wire(listener.getsockname()[1], server.server_state.connections)
    finally:
        server.should_exit = True
        await task
        listener.close()


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: kosminar.test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
