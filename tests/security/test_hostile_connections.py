"""Strangers keep no connection longer than its limits, whatever they send, hold back and do not fetch.

Over real sockets, all at once and with short limits: each connection has to have ended by itself, seen from the server,
soon after the longest chain of limits that it can go through. Beside them, an honest client is answered all the time.
"""

import asyncio

import pytest
from tests.api.wire import Line, request, serving

from kosminar.api.app import build_app
from kosminar.api.operation import STRANGER_BODY_BYTES_MAX

pytestmark = pytest.mark.asyncio

TOKEN = "/v3/oauth/token/generate"
HEAD_SECONDS = BODY_SECONDS = UNREAD_SECONDS = KEEP_ALIVE_SECONDS = 0.5
# A body that comes too slowly, its answer, and an end that is not fetched.
CHAIN_SECONDS = HEAD_SECONDS + BODY_SECONDS + UNREAD_SECONDS + KEEP_ALIVE_SECONDS
# For a busy machine. What has no limit stays for ever.
MARGIN_SECONDS = 20

HEAD = request("GET", "/healthz")[:-2]
BODY = request("POST", TOKEN, f"Content-Length: {STRANGER_BODY_BYTES_MAX}")
CHUNKED = request("POST", TOKEN, "Transfer-Encoding: chunked")
# What is said at once, and what then comes again and again.
SHAPES = {
    "nothing": (b"", b""),
    "nothing, again and again": (b"", b"\r\n"),
    "a request line that does not end": (b"GET /", b"x"),
    "headers that do not end": (HEAD, b""),
    "a header now and then": (HEAD, b"a: b\r\n"),
    "a body that does not come": (BODY, b""),
    "a byte of a body now and then": (BODY, b" "),
    "a chunk now and then": (CHUNKED, b"1\r\n \r\n"),
    "a chunk that does not end": (CHUNKED + b"ff\r\n", b" "),
    "a trailer now and then": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "a body that is refused": (request("POST", TOKEN, "Content-Length: 4194304"), b" "),
    "a body that nobody reads": (request("POST", "/v2/nothing", "Content-Length: 4194304"), b" "),
    "a body where a client is needed": (request("POST", "/v1/activities", "Content-Length: 4194304"), b" "),
    "a request, and then nothing": (request("GET", "/healthz"), b""),
    "a request, and then the beginning of another": (request("GET", "/healthz") + b"GET /", b""),
    "answers that are not fetched": (request("GET", "/openapi.json") * 100, b""),
    "no HTTP": (b"\x16\x03\x01\x02\x00", b"\x16"),
    "an offer to speak something else": (request("GET", "/healthz", "Connection: Upgrade", "Upgrade: h2c"), b""),
}


async def test_no_shape_keeps_a_connection_longer_than_its_limits(house) -> None:
    app = build_app(house, body_seconds=BODY_SECONDS)
    limits = {"header_seconds": HEAD_SECONDS, "unread_seconds": UNREAD_SECONDS}
    async with serving(app, keep_alive_seconds=KEEP_ALIVE_SECONDS, connections_max=50, **limits) as wire:
        began = asyncio.get_running_loop().time()
        lines = {name: await wire.open(said) for name, (said, _) in SHAPES.items()}
        dripping = [asyncio.create_task(drip(lines[name], again)) for name, (_, again) in SHAPES.items() if again]
        statuses = set()
        async with asyncio.timeout(CHAIN_SECONDS + MARGIN_SECONDS):
            while open_ports(wire.connections) & {port_of(line) for line in lines.values()}:
                statuses.add((await wire.ask(request("GET", "/v2/nothing"))).status)
                await asyncio.sleep(0.05)
        took = asyncio.get_running_loop().time() - began
        for task in dripping:
            task.cancel()
        await asyncio.gather(*dripping, return_exceptions=True)
        await asyncio.gather(*(line.hang_up() for line in lines.values()), return_exceptions=True)

    print(f"{took:7.1f} s    strangers: all connections ended, by limits of {CHAIN_SECONDS} s in all")
    assert statuses == {404}


async def drip(line: Line, said: bytes) -> None:
    while True:
        await line.say(said)
        await asyncio.sleep(0.02)


def port_of(line: Line) -> int:
    port: int = line.writer.get_extra_info("sockname")[1]
    return port


def open_ports(connections) -> set[int]:
    return {connection.client[1] for connection in connections}
