"""A client in a thread of its own with a plain socket, so that its work is no part of the server's turns."""

import asyncio
import socket
from contextlib import suppress

PATIENCE_SECONDS = 30


async def ask(port: int, said: bytes) -> int:
    """The status that a new connection hears for these bytes; 0 if it hears none."""
    return await asyncio.to_thread(_ask, port, said)


def _ask(port: int, said: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as line:
        # An answer may come before everything is said, and the end with it.
        with suppress(ConnectionError):
            line.sendall(said)
        heard = b""
        with suppress(ConnectionError):
            while b"\r\n\r\n" not in heard and (piece := line.recv(65_536)):
                heard += piece
            head, _, body = heard.partition(b"\r\n\r\n")
            missing = _length(head) - len(body)
            while missing > 0 and (piece := line.recv(1 << 20)):
                missing -= len(piece)
        return int(heard.split(b" ", 2)[1]) if heard else 0


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.removeprefix(b"content-length:"))
    return 0


def chunked(body: bytes, piece_bytes: int) -> bytes:
    pieces = (body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
