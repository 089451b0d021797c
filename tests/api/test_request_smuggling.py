"""Over real sockets: no trailer is a header, and nothing that a proxy may read differently is answered."""

import asyncio
import itertools
import json

import pytest
import pytest_asyncio
from litestar import Litestar
from tests.api.brand import Brand, open_brand
from tests.api.test_limits import until
from tests.api.wire import Heard, request, serving

from kosminar.api.admission import Admission
from kosminar.api.app import build_app
from kosminar.api.framing import FIELD_COUNT_MAX, LINE_BYTES_MAX, TARGET_BYTES_MAX
from kosminar.api.protocol import READ_BYTES_MAX
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio

HEADER_BYTES_MAX = 4096
HEALTH = request("GET", "/healthz")
NOTHING = request("GET", "/v2/nothing")


@pytest_asyncio.fixture
async def app(house: House) -> Litestar:
    return build_app(house)


@pytest_asyncio.fixture
async def acme(house: House, http) -> Brand:
    return await open_brand(house, http, "Acme")


def chunked(path: str, *headers: str, body: bytes, trailers: str = "", method: str = "POST") -> bytes:
    head = request(method, path, "Transfer-Encoding: chunked", *headers)
    return head + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers.encode())


# ---------------------------------------------------------------- trailers


def customers(*customer_ids: int) -> bytes:
    return json.dumps({"customers": [{"customerId": each} for each in customer_ids]}).encode()


async def test_a_trailer_signs_nobody_in(app: Litestar, acme: Brand) -> None:
    signed_in = f"Authorization: {acme.headers['Authorization']}\r\n"

    async with serving(app) as wire:
        as_header = await wire.ask(chunked("/v1/customers", signed_in.strip(), body=customers(1)))
        as_trailer = await wire.ask(chunked("/v1/customers", body=customers(2), trailers=signed_in))
        as_token = await wire.ask(
            chunked("/v1/customers", body=customers(2), trailers="X-CAP-API-OAUTH-TOKEN: a.b.c\r\n")
        )

    assert as_header.status == 200
    assert (as_trailer.status, as_trailer.code) == (as_token.status, as_token.code) == (401, 390010)


TRAILERS = (
    *("Idempotency-Key: the-same", "DATA-SCOPE: OTHER", "CONNECTED-ORGS: 77", "Content-Type: text/plain"),
    *("Content-Encoding: gzip", "X-Request-ID: chosen", "Authorization: Basic eDp5", "Content-Length: 7"),
    *("Transfer-Encoding: gzip", "Connection: close", "Host: evil.test", "X-Forwarded-For: 1.2.3.4"),
)


async def test_a_request_is_answered_as_if_it_had_no_trailer(app: Litestar, acme: Brand) -> None:
    signed_in = f"Authorization: {acme.headers['Authorization']}"

    async def ask(body: bytes, trailers: str) -> Heard:
        said = chunked("/v3.1/targetGroups", signed_in, "X-Request-ID: mine", body=body, trailers=trailers)
        return await wire.ask(said)

    async with serving(app) as wire:
        without = [await ask(body, "") for body in (b"{}", b'{"name": 1}')]
        with_one = {
            trailer: [await ask(body, trailer + "\r\n") for body in (b"{}", b'{"name": 1}')] for trailer in TRAILERS
        }

    assert {trailer: heard for trailer, heard in with_one.items() if heard != without} == {}


@pytest.mark.parametrize("filling", [b"X-Filling: 12345\r\n", b"X: y\r\n"])
async def test_trailers_without_end_are_refused(app: Litestar, filling: bytes) -> None:
    begun = request("POST", "/v3/oauth/token/generate", "Transfer-Encoding: chunked") + b"0\r\n"
    whole = filling * (HEADER_BYTES_MAX // len(filling) - 1)

    async with serving(app, header_bytes_max=HEADER_BYTES_MAX) as wire:
        passed = await wire.ask(begun + whole + b"\r\n")
        refused = await wire.ask(begun + whole + filling * 2)

    assert (passed.status, passed.code) == (400, 300004)
    assert (refused.status, refused.code, refused.headers["connection"]) == (413, 390008, "close")


@pytest.mark.parametrize("begun", [b"", b"5;", b"5\r\nhello\r\n", b"0\r\n", b"0\r\nX: "])
async def test_a_chunked_body_has_its_deadline_until_its_last_byte(house: House, begun: bytes) -> None:
    async with serving(build_app(house, body_seconds=0.2)) as wire:
        line = await wire.open(request("POST", "/oauth/token", "Transfer-Encoding: chunked") + begun)
        heard = await line.hear()
        await line.hang_up()

    assert (heard.status, heard.code) == (408, 390015)


async def test_the_rest_of_a_chunked_body_that_was_answered_has_a_deadline(app: Litestar) -> None:
    async with serving(app, header_seconds=0.2) as wire:
        line = await wire.open(request("GET", "/healthz", "Transfer-Encoding: chunked"))
        heard = await line.hear()
        await line.say(b"0\r\nX: ")

        assert (heard.status, await line.hear_the_end()) == (200, b"")
        await line.hang_up()


# ---------------------------------------------------------------- one reading


HOST = b"Host: kosminar.test\r\n"
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: kosminar.test\r\n\r\n"
POST = b"POST /v2/nothing HTTP/1.1\r\n" + HOST
GET = b"GET /healthz HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


AMBIGUOUS = (
    # Who is meant.
    *(GET + b"\r\n", GET + HOST + HOST + b"\r\n", GET + HOST + b"Host: other.test\r\n\r\n", GET + b"Host:\r\n\r\n"),
    *(GET + b"Host: a, b\r\n\r\n", GET + b"Host: a b\r\n\r\n", GET + b"Host: a/metrics\r\n\r\n"),
    *(GET.replace(b"1.1", b"1.0") + HOST + HOST + b"\r\n", GET + b"Host: user@a\r\n\r\n"),
    # How long it is.
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + SMUGGLED,
    POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + SMUGGLED,
    POST + b"Content-Length: 5, 5\r\n\r\nhello" + SMUGGLED,
    POST + b"Content-Length: +5\r\n\r\nhello" + SMUGGLED,
    POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding: identity\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    POST + CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    POST + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n" + SMUGGLED,
    POST + CHUNKED + b"\r\n5;a\nb\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    POST + CHUNKED + b"\r\n5\r\nhello0\r\n\r\n" + SMUGGLED,
    POST + CHUNKED + b"\r\n0\r\nno colon\r\n\r\n" + SMUGGLED,
    # Where a line ends, and what it says.
    GET + b"Host: a\nX: b\r\n\r\n" + SMUGGLED,
    GET + b"Host: a\rX: b\r\n\r\n" + SMUGGLED,
    GET + HOST + b"X: a\r\n b\r\n\r\n",
    GET + HOST + b"X: a\r\n\tb\r\n\r\n",
    POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    POST + b"Content-Length\t: 5\r\n\r\nhello" + SMUGGLED,
    GET + b" " + HOST + b"\r\n",
    GET + HOST + b"X: a\x00b\r\n\r\n",
    GET + HOST + b'X"y: a\r\n\r\n',
    b"\nGET /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\rGET /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /healthz  HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/0.9\r\n\r\n",
    b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n",
    b"GET /healthz RTSP/1.0\r\n" + HOST + b"\r\n",
    b"GET /healthz#x HTTP/1.1\r\n" + HOST + b"\r\n",
    b"CONNECT kosminar.test:443 HTTP/1.1\r\n" + HOST + b"\r\n",
)


async def test_what_two_readers_may_read_differently_is_a_400_and_the_last_of_its_connection(app: Litestar) -> None:
    answered_otherwise = {}

    async with serving(app) as wire:
        for said in AMBIGUOUS:
            line = await wire.open(said)
            heard = await line.hear()
            found = heard.status, heard.code, heard.headers.get("connection"), await line.hear_the_end()
            if found != (400, 300004, "close", b""):
                answered_otherwise[said] = found
            await line.hang_up()

    assert answered_otherwise == {}


async def test_http_1_0_needs_no_host(app: Litestar) -> None:
    async with serving(app) as wire:
        heard = await wire.ask(b"GET /healthz HTTP/1.0\r\n\r\n")

    assert (heard.status, heard.headers["connection"]) == (200, "close")


async def test_blanks_at_the_ends_of_a_value_are_none_of_it(app: Litestar) -> None:
    async with serving(app) as wire:
        heard = await wire.ask(request("GET", "/v2/nothing", "X-Request-ID: \t mine \t "))

    assert heard.headers["x-request-id"] == "mine"


# ---------------------------------------------------------------- one connection


OFFER = ("Connection: Upgrade", "Upgrade: h2c")
KINDS = {
    "plain": (HEALTH, 200),
    "unknown": (NOTHING, 404),
    "sized": (request("POST", "/oauth/token", body=b"grant_type=x" * 10), 400),
    "chunked": (chunked("/oauth/token", body=b"x" * 100, trailers="Host: evil.test\r\nX-Request-ID: evil\r\n"), 400),
    "chunked and not read": (chunked("/healthz", body=b"x" * 100, trailers="X: y\r\n", method="GET"), 200),
    "offering": (request("GET", "/healthz", *OFFER), 200),
    "offering, sized": (request("POST", "/oauth/token", *OFFER, body=b"x"), 400),
    "offering, chunked": (chunked("/oauth/token", *OFFER, body=b"x", trailers="Upgrade: x\r\n"), 400),
    "behind empty lines": (b"\r\n\r\n" + HEALTH, 200),
}


@pytest.mark.parametrize("piece_bytes", [1_000_000, 53])
async def test_nothing_of_one_request_is_left_for_the_next(app: Litestar, piece_bytes: int) -> None:
    order = [pair for first, second in itertools.product(KINDS.values(), repeat=2) for pair in (first, second)]
    said = b"".join(request for request, _ in order)

    async with serving(app) as wire:
        line = await wire.open(*(said[start : start + piece_bytes] for start in range(0, len(said), piece_bytes)))
        heard = [await line.hear() for _ in order]
        await line.hang_up()

    assert [each.status for each in heard] == [status for _, status in order]
    assert "evil" not in {each.headers["x-request-id"] for each in heard}


async def test_what_follows_the_last_request_of_a_connection_is_not_answered(app: Litestar) -> None:
    async with serving(app) as wire:
        line = await wire.open(request("GET", "/healthz", "Connection: close") + NOTHING)
        heard = await line.hear()

        assert (heard.status, await line.hear_the_end()) == (200, b"")
        await line.hang_up()


async def test_of_many_requests_behind_one_another_two_are_kept_and_the_rest_is_not_read(house: House) -> None:
    place = Admission(1)
    await place.enter(lambda: b"")
    count = 16 * READ_BYTES_MAX // len(NOTHING)

    async with serving(build_app(house, admission=place)) as wire:
        line = await wire.open()
        saying = asyncio.create_task(line.say(NOTHING * count))
        await until(lambda: place.waiting == 1)
        (connection,) = wire.connections
        kept = len(connection.pipeline), len(connection._held)
        place.leave()
        statuses = [(await line.hear()).status for _ in range(count)]
        await saying
        await line.hang_up()

    assert kept[0] == 1
    assert kept[1] <= READ_BYTES_MAX
    assert statuses == [404] * count


async def test_requests_with_bodies_behind_one_another_are_all_answered(app: Litestar, acme: Brand) -> None:
    """The application asks for more of the request that it works on, while what is held belongs to later ones."""
    signed_in = f"Authorization: {acme.headers['Authorization']}"
    said = request("POST", "/v1/customers", signed_in, body=customers(1) + b" " * 2000)
    count = 16 * READ_BYTES_MAX // len(said)

    async with serving(app) as wire:
        line = await wire.open()
        saying = asyncio.create_task(line.say(said * count))
        statuses, held = [(await line.hear()).status], 0
        (connection,) = wire.connections
        while len(statuses) < count:
            statuses.append((await line.hear()).status)
            held = max(held, len(connection._held))
        await saying
        await line.hang_up()

    assert statuses == [200] * count
    assert 0 < held <= READ_BYTES_MAX


# ---------------------------------------------------------------- how much


async def test_a_line_of_a_chunked_body_has_up_to_its_length(app: Litestar) -> None:
    begun = request("POST", "/oauth/token", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0;"
    longest = b"e" * (LINE_BYTES_MAX - len(b"0;\r\n"))

    async with serving(app) as wire:
        passed = await wire.ask(begun + longest + b"\r\n\r\n")
        refused = await wire.ask(begun + longest + b"e\r\n\r\n")

    assert (passed.status, refused.status) == (400, 413)
    assert (refused.code, refused.headers["connection"]) == (390008, "close")


async def test_a_request_has_up_to_its_count_of_header_fields(app: Litestar) -> None:
    most = [f"X-{number}: y" for number in range(FIELD_COUNT_MAX - 1)]

    async with serving(app) as wire:
        passed = await wire.ask(request("GET", "/v2/nothing", *most))
        refused = await wire.ask(request("GET", "/v1/nothing", *most, "X: y"))

    assert (passed.status, passed.code) == (404, 390011)
    assert (refused.status, refused.code, refused.shape) == (431, 390008, "problem")


async def test_a_target_has_up_to_its_length(app: Litestar) -> None:
    path = "/v1/nothing?x="
    longest = path + "y" * (TARGET_BYTES_MAX - len(path))

    async with serving(app) as wire:
        passed = await wire.ask(request("GET", longest))
        refused = await wire.ask(request("GET", longest + "y"))

    assert (passed.status, passed.code) == (404, 390011)
    assert (refused.status, refused.code, refused.shape) == (431, 390008, "problem")
