"""As much of an HTTP client as the simulation needs: one request, one connection, one answer or none.

A general client spends more on a request than the server does, and a thousand seeds send half a million of them.
"""

import asyncio
import base64
from collections.abc import Mapping
from typing import NamedTuple

LOST = (OSError, EOFError, TimeoutError, ValueError)
"""What comes instead of an answer; a ValueError of one that was cut in its head."""


class Answer(NamedTuple):
    status: int
    content: bytes


async def send(
    port: int,
    method: str,
    path: str,
    *,
    auth: tuple[str, str],
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float,
) -> Answer:
    """The answer; raises one of LOST."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            lines = [
                f"{method} {path} HTTP/1.1",
                f"Host: 127.0.0.1:{port}",
                f"Authorization: Basic {base64.b64encode(':'.join(auth).encode()).decode()}",
                f"Content-Length: {len(content)}",
                "Content-Type: application/json",
                "Connection: close",
                *(f"{name}: {value}" for name, value in (headers or {}).items()),
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode() + content)
            head = await reader.readuntil(b"\r\n\r\n")
            status_line, *fields = head.decode("latin-1").rstrip().split("\r\n")
            told = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            return Answer(int(status_line.split()[1]), await reader.readexactly(int(told["content-length"])))
        finally:
            writer.transport.abort()
