"""Without credentials, nobody holds the event loop for 50 ms of its thread's CPU time, whatever bytes they send.

A real server on a socket in this process; the client has a thread of its own. `make hostile` shows the numbers.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
import pytest_asyncio
from tests.api.wire import Wire, request, serving
from tests.security.plain_client import ask, chunked
from tests.security.shapes import FORMS, JSON
from tests.security.turns import TURN_SECONDS_MAX, Turns, watched_turns

from kosminar.api.app import build_app
from kosminar.api.operation import FORM, STRANGER_BODY_BYTES_MAX
from kosminar.api.protocol import ConnectionLimits
from kosminar.settings import Settings

pytestmark = pytest.mark.asyncio

OPERATOR_BYTES_MAX = Settings.read({}).body_bytes_max
HEADER_BYTES_MAX = ConnectionLimits(connections_max=1).header_bytes_max
TOKEN = "/v3/oauth/token/generate"
GRANT = "/oauth/token"
BODIES = {TOKEN: ("application/json", JSON), GRANT: (FORM, FORMS)}


@pytest.fixture
def turns() -> Iterator[Turns]:
    with watched_turns() as turns:
        yield turns


@pytest_asyncio.fixture
async def wire(house) -> AsyncIterator[Wire]:
    async with serving(build_app(house)) as wire:
        # What is made with the first request is not made again.
        for path in BODIES:
            await ask(wire.port, request("POST", path, body=b"{}"))
        yield wire


def posts(path: str, size: int) -> Iterator[tuple[str, bytes]]:
    media_type, shapes = BODIES[path]
    for name, shape in shapes.items():
        body = shape(size)
        yield name, request("POST", path, f"Content-Type: {media_type}", body=body)
        yield (
            f"{name}, chunked",
            request("POST", path, f"Content-Type: {media_type}", "Transfer-Encoding: chunked") + chunked(body, 65_536),
        )


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_of_megabytes_is_refused_and_not_read(wire: Wire, turns: Turns, path: str) -> None:
    for name, said in posts(path, OPERATOR_BYTES_MAX):
        await turns.begin()
        status = await ask(wire.port, said)
        show(f"stranger: {name} to {path}", turns)

        assert turns.longest_seconds < TURN_SECONDS_MAX, (name, turns.longest)
        assert status == 413, name


@pytest.mark.parametrize("path", BODIES)
async def test_the_longest_body_that_is_read_costs_little_in_every_shape(wire: Wire, turns: Turns, path: str) -> None:
    for name, said in posts(path, STRANGER_BODY_BYTES_MAX):
        await turns.begin()
        status = await ask(wire.port, said)
        show(f"stranger: {name} to {path}", turns)

        assert status in {400, 401}, name
        assert turns.longest_seconds < TURN_SECONDS_MAX, (name, turns.longest)


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_has_a_few_kilobytes_for_an_operation_without_a_caller_and_no_byte_more(
    wire: Wire, path: str
) -> None:
    for piece_bytes in (0, 1_000):
        for size, refused in ((STRANGER_BODY_BYTES_MAX, False), (STRANGER_BODY_BYTES_MAX + 1, True)):
            body = b" " * size
            framing = ("Transfer-Encoding: chunked",) if piece_bytes else (f"Content-Length: {size}",)
            said = request("POST", path, *framing) + (chunked(body, piece_bytes) if piece_bytes else body)

            assert (await ask(wire.port, said) == 413) is refused, (piece_bytes, size)


async def test_a_body_that_is_announced_too_long_is_refused_before_a_byte_of_it_came(wire: Wire) -> None:
    for path in BODIES:
        said = request("POST", path, f"Content-Length: {STRANGER_BODY_BYTES_MAX + 1}")

        assert await ask(wire.port, said) == 413


async def test_a_client_that_sends_all_of_a_refused_body_before_it_listens_is_answered(house) -> None:
    """The rest is read and dropped, also where a part of it had come before the answer; the deadline is far away."""
    body = request("POST", TOKEN, body=b" " * OPERATOR_BYTES_MAX)

    async with serving(build_app(house), header_seconds=600) as wire, asyncio.timeout(20):
        line = await wire.open(body + request("GET", "/healthz"))
        heard = [(await line.hear()).status for _ in range(2)]
        await line.hang_up()

    assert heard == [413, 200]


def heads(size: int) -> Mapping[str, bytes]:
    """Requests whose line and headers are as long as they may be."""
    room = size - 200
    basic = base64.b64encode(b"a:" + b"b" * (room * 3 // 4 - 10)).decode()
    # The longest token that is looked at.
    token = ".".join([base64.urlsafe_b64encode(b"[" * 2_900).decode(), "e30", "c2ln"])
    many = [f"{number}:" for number in range(room // 8)]
    return {
        "a query of %41": request("GET", "/v3/targetGroups?a=" + "%41" * (room // 3)),
        "a query of parameters": request("GET", "/healthz?" + "a=1&" * (room // 4)),
        "a query of separators": request("GET", "/healthz?" + "&" * room),
        "a path of %41": request("GET", "/v3/" + "%41" * (room // 3)),
        "a path of slashes": request("GET", "/" * room),
        "a path of parameters": request("GET", "/v3/targetGroups/1" + "/targets/1" * (room // 10)),
        "one long header": request("GET", "/v3/targetGroups", "X-Long: " + "x" * room),
        "many headers": request("GET", "/v3/targetGroups", *many),
        "one header again and again": request("GET", "/v3/targetGroups", *["a: b"] * (room // 6)),
        "Basic": request("GET", "/v3/targetGroups", "Authorization: Basic " + basic),
        "Basic without end": request("GET", "/v3/targetGroups", "Authorization: Basic " + "=" * room),
        "Bearer": request("GET", "/v3/targetGroups", "Authorization: Bearer " + "a." * (room // 2)),
        "Bearer with a nested header": request("GET", "/v3/targetGroups", "Authorization: Bearer " + token),
        "Basic for a token": request(
            "POST",
            GRANT,
            "Authorization: Basic " + base64.b64encode(b"a:" + b"%41" * (room // 4)).decode(),
            body=b"grant_type=client_credentials",
        ),
        "no HTTP": b"\x16\x03" * (size // 2),
        "blank lines": b"\r\n" * (size // 2) + request("GET", "/healthz"),
        "a body in chunks of a byte": request("POST", TOKEN, "Transfer-Encoding: chunked")
        + chunked(b" " * (STRANGER_BODY_BYTES_MAX + 1), 1),
        "megabytes to a path that takes none": request("GET", "/healthz", body=b"x" * OPERATOR_BYTES_MAX),
        "megabytes in chunks of a byte": request("POST", TOKEN, "Transfer-Encoding: chunked")
        + chunked(b"x" * 400_000, 1),
    }


async def test_no_request_line_header_or_framing_costs_much(wire: Wire, turns: Turns) -> None:
    for name, said in heads(HEADER_BYTES_MAX).items():
        await turns.begin()
        status = await ask(wire.port, said)
        show(f"stranger: {name}", turns)

        assert 200 <= status < 500, name
        assert turns.longest_seconds < TURN_SECONDS_MAX, (name, turns.longest)


def show(what: str, turns: Turns) -> None:
    print(f"{turns.longest_seconds * 1000:7.1f} ms  {what}")
