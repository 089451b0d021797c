"""Rubbish over a socket: what no HTTP client would send, each answered in shape or not at all, and never a 5xx.

Beside test_bad_input.py, where bodies are bad, and test_limits.py, where they are long or slow.
"""

import gzip
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand, snapshot
from tests.api.wire import Heard, Wire, request, serving

from kosminar.api.app import build_app

pytestmark = pytest.mark.asyncio

GOOD = json.dumps({"customers": [{"customerId": 9}]}).encode()
PATH = "/v1/customers"


@dataclass(frozen=True)
class Caller:
    """Someone with credentials and a socket."""

    wire: Wire
    brand: Brand

    @property
    def credentials(self) -> str:
        return f"Authorization: {self.brand.headers['Authorization']}"

    def post(self, body: bytes, *headers: str, path: str = PATH) -> bytes:
        return request("POST", path, self.credentials, "Content-Type: application/json", *headers, body=body)

    async def ask(self, said: bytes) -> Heard:
        return await self.wire.ask(said)

    async def hear_all(self, said: bytes) -> bytes:
        """All that is said back to somebody who says this and no more."""
        line = await self.wire.open(said)
        try:
            line.writer.write_eof()
            return await line.hear_the_end()
        finally:
            await line.hang_up()

    async def is_served(self) -> bool:
        """Whether an honest request on another connection is answered."""
        heard = await self.ask(request("GET", "/healthz"))
        return heard.status == 200


@pytest_asyncio.fixture
async def caller(house, http) -> AsyncIterator[Caller]:
    acme = await open_brand(house, http, "Acme")
    async with serving(build_app(house)) as wire:
        yield Caller(wire, acme)


async def test_random_bytes_are_a_400_or_an_end(caller: Caller) -> None:
    random = Random(3)
    before = await snapshot(caller.brand.house)

    for _ in range(60):
        heard = await caller.hear_all(random.randbytes(random.randint(1, 400)) + b"\r\n\r\n")
        assert heard == b"" or heard.startswith(b"HTTP/1.1 400 "), heard[:200]

    assert await caller.is_served()
    assert await snapshot(caller.brand.house) == before


async def test_a_request_with_one_byte_spoiled_is_answered_in_shape(caller: Caller) -> None:
    random = Random(4)
    whole = caller.post(GOOD, "Connection: close")
    assert (await caller.ask(whole)).status == 200

    for at in sorted(random.sample(range(len(whole)), 80)):
        spoiled = bytearray(whole)
        spoiled[at] = random.choice([0, 10, 13, 32, 127, 255, random.randint(0, 255)])
        heard = await caller.hear_all(bytes(spoiled))
        assert heard == b"" or re.match(rb"HTTP/1.1 [24]", heard), (at, spoiled[at], heard[:300])

    assert await caller.is_served()


async def test_a_request_cut_off_at_any_byte_changes_nothing(caller: Caller) -> None:
    whole = caller.post(GOOD)
    before = await snapshot(caller.brand.house)

    for at in range(1, len(whole), 7):
        line = await caller.wire.open(whole[:at])
        await line.hang_up()

    assert await caller.is_served()
    assert await snapshot(caller.brand.house) == before


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (gzip.compress(GOOD), ["Content-Encoding: gzip"], 415, 390013),
        (gzip.compress(GOOD), [], 400, 300004),
        (b"\xef\xbb\xbf" + GOOD, [], 400, 300004),
        (GOOD.decode().encode("utf-16"), [], 400, 300004),
        (GOOD.decode().encode("utf-32-le"), [], 400, 300004),
        (b'{"customers": [{"customerId": 9, "customerId": 10}]}', [], 400, 300004),
        (b'{"customers": [{"externalId": "\\ud800"}]}', [], 400, 300004),
        (b'{"customers": [{"externalId": "a\\u0000"}]}', [], 400, 300004),
        (b'{"customers": [{"customerId": 1' + b"0" * 4_000 + b"}]}", [], None, 300004),
        (b'{"customers": ' + b"[" * 31 + b"]" * 31 + b"}", [], None, 300004),
        (b'{"customers": ' + b"[" * 32 + b"]" * 32 + b"}", [], 400, 300004),
    ],
    ids=range(11),
)
async def test_a_body_that_is_no_json_of_ours_is_refused(caller: Caller, body, headers, status, code) -> None:
    heard = await caller.ask(caller.post(body, *headers))

    if status is None:
        # JSON of ours, a number however long and 32 levels too: each item is judged.
        assert heard.status == 200
        assert json.loads(heard.body)["results"][0]["code"] == code
    else:
        assert (heard.status, heard.code, heard.shape) == (status, code, "problem")


@pytest.mark.parametrize("charset", ["utf-16", "latin-1", "utf-8; charset=utf-7", '"', "\xff"])
async def test_a_charset_does_not_make_another_text_of_the_body(caller: Caller, charset: str) -> None:
    said = request("POST", PATH, caller.credentials, f"Content-Type: application/json; charset={charset}", body=GOOD)

    heard = await caller.ask(said)

    # JSON has no charset (RFC 8259): it is UTF-8 whatever is said of it, or not taken.
    assert heard.status in (200, 400, 415)


async def test_ten_thousand_parameters_and_a_megabyte_of_header_are_refused(caller: Caller) -> None:
    # 10,000 parameters of two bytes fit into no request line of ours.
    many = "&".join(f"a{n}" for n in range(10_000))
    long_query = await caller.ask(request("GET", f"/v1/clock?{many}", caller.credentials))
    long_header = await caller.ask(request("GET", "/v1/clock", caller.credentials, "X-Long: " + "a" * 2**20))

    assert (long_query.status, long_query.code) == (431, 390008)
    assert (long_header.status, long_header.code) == (431, 390008)
    assert await caller.is_served()


async def test_a_body_in_chunks_is_one_body(caller: Caller) -> None:
    pieces = [GOOD[at : at + 5] for at in range(0, len(GOOD), 5)]
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)

    heard = await caller.ask(caller.post(b"", "Transfer-Encoding: chunked") + chunks + b"0\r\nX-Trailer: 1\r\n\r\n")

    assert heard.status == 200
    assert json.loads(heard.body)["results"][0]["status"] == "created"


@pytest.mark.parametrize(
    "framing",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}}}}\r\n0\r\n\r\n",
    ],
)
async def test_chunks_that_are_none_are_a_400(caller: Caller, framing: bytes) -> None:
    heard = await caller.hear_all(caller.post(b"", "Transfer-Encoding: chunked") + framing)

    assert heard.startswith(b"HTTP/1.1 400 "), heard[:200]


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 30", "Transfer-Encoding: chunked"],
        ["Content-Length: 30", "Content-Length: 31"],
        ["Content-Length: -1"],
        ["Content-Length: +5"],
        ["Content-Length: 0x10"],
        ["Content-Length : 5"],
        ["Transfer-Encoding: gzip, chunked, identity"],
        [" Folded: 1"],
        ["No colon"],
        ["Sp ace: 1"],
        ["X-Nul: a\0b"],
    ],
    ids=repr,
)
async def test_a_request_whose_end_is_in_doubt_is_refused_and_the_connection_ends(caller: Caller, headers) -> None:
    before = await snapshot(caller.brand.house)

    heard = await caller.hear_all(caller.post(b"", *headers) + GOOD + request("GET", "/healthz"))

    # Nothing that follows is taken for a request: that is how one is smuggled past a proxy.
    assert heard == b"" or heard.startswith(b"HTTP/1.1 400 "), heard[:300]
    assert len(re.findall(rb"HTTP/1.1 [0-9]", heard)) <= 1
    assert await snapshot(caller.brand.house) == before


@pytest.mark.parametrize(("version", "status"), [("1.0", 200), ("1.1", 200), ("1.2", 400), ("9.9", 400), ("x", 400)])
async def test_http_1_is_spoken(caller: Caller, version: str, status: int) -> None:
    heard = await caller.hear_all(f"GET /healthz HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())

    assert heard.startswith(f"HTTP/1.1 {status} ".encode()), heard[:200]


async def test_who_expects_100_continue_hears_it_before_the_body_is_sent(caller: Caller) -> None:
    whole = caller.post(GOOD, "Expect: 100-continue")
    head, _, body = whole.partition(b"\r\n\r\n")

    line = await caller.wire.open(head + b"\r\n\r\n")
    first = await line.hear()
    await line.say(body)
    second = await line.hear()

    assert (first.status, second.status) == (100, 200)
    await line.hang_up()


async def test_a_hundred_requests_in_one_breath_are_answered_in_order(caller: Caller) -> None:
    bodies = [json.dumps({"customers": [{"customerId": n}]}).encode() for n in range(1, 101)]

    line = await caller.wire.open(b"".join(caller.post(body) for body in bodies))
    heard = [await line.hear() for _ in bodies]

    assert [one.status for one in heard] == [200] * 100
    assert [json.loads(one.body)["results"][0]["customerId"] for one in heard] == list(range(1, 101))
    await line.hang_up()


@pytest.mark.parametrize(
    "target",
    [
        "/v1/customers/%00/rewards",
        "/v1/customers/%ff%fe/rewards",
        "/v1/customers/..%2f..%2fetc/rewards",
        "/v1/customers/\uff11/rewards",
        "//v1/clock",
        "/v1/../v1/clock",
        "/v1/clock/",
        "/v1/clock?%",
        "/v1/clock?a=%zz&a=1",
        "*",
        "http://elsewhere.test/v1/clock",
        "/" + "a/" * 2_000,
    ],
)
async def test_a_strange_target_is_refused_in_shape_or_taken_as_it_is_meant(caller: Caller, target: str) -> None:
    said = f"GET {target} HTTP/1.1\r\nHost: a\r\n{caller.credentials}\r\nConnection: close\r\n\r\n".encode()

    heard = await caller.ask(said)

    assert heard.status in (200, 400, 404), heard
    assert heard.status == 200 or heard.code in (300004, 390011)
