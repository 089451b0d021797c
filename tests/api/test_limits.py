"""Limits at the door, over real sockets: length and time of headers and bodies, connections, and what is no HTTP."""

import asyncio

import pytest
import pytest_asyncio
from litestar import Litestar
from tests.api.wire import Line, serving
from tests.api.wire import request as written

from kosminar.api import admission, oauth, request
from kosminar.api.admission import Admission
from kosminar.api.app import build_app
from kosminar.api.framing import LINE_BYTES_MAX
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio

HEALTH = written("GET", "/healthz")
# Answered without the database: nobody has this path.
NOTHING = written("GET", "/v2/nothing")
HEADER_BYTES_MAX = 4096


@pytest_asyncio.fixture
async def app(house: House) -> Litestar:
    return build_app(house)


def of_length(length: int, path: str) -> bytes:
    empty = written("GET", path, "X-Filling: ")
    return written("GET", path, "X-Filling: " + "x" * (length - len(empty)))


@pytest.mark.parametrize(("path", "shape"), [("/v2/nothing", "envelope"), ("/v1/nothing", "problem")])
async def test_headers_of_the_limit_pass_and_one_more_byte_does_not(app, path: str, shape: str) -> None:
    async with serving(app, header_bytes_max=HEADER_BYTES_MAX) as wire:
        longest = await wire.ask(of_length(HEADER_BYTES_MAX, path))
        too_long = await wire.ask(of_length(HEADER_BYTES_MAX + 1, path))

    assert (longest.status, longest.shape, longest.code) == (404, shape, 390011)
    assert (too_long.status, too_long.shape, too_long.code) == (431, shape, 390008)
    assert too_long.headers["connection"] == "close"


async def test_headers_have_the_same_room_in_every_request_and_bodies_take_none_of_it(app) -> None:
    longest = of_length(HEADER_BYTES_MAX, "/v2/nothing")
    body = written("POST", "/v2/nothing", body=b"x" * 3 * HEADER_BYTES_MAX)

    async with serving(app, header_bytes_max=HEADER_BYTES_MAX) as wire:
        line = await wire.open()
        statuses = []
        for said in (longest, body, longest, body + longest, b""):
            await line.say(said)
            statuses.append((await line.hear()).status)
        await line.hang_up()

    assert statuses == [404] * 5


async def test_headers_without_end_are_refused_in_whatever_pieces_they_come(app) -> None:
    endless = written("GET", "/v2/nothing", *(f"X-{n}: {n}" for n in range(1000))).removesuffix(b"\r\n\r\n")

    async with serving(app, header_bytes_max=HEADER_BYTES_MAX) as wire:
        line = await wire.open(*(endless[start : start + 100] for start in range(0, HEADER_BYTES_MAX, 100)))
        heard = await line.hear()
        await line.hang_up()

    assert (heard.status, heard.code) == (431, 390008)


@pytest.mark.parametrize("said", [b"", b"G", b"GET /v2/nothing HTTP/1.1\r\nX-Slow: ", b"\r\n\r\n"], ids=repr)
async def test_headers_have_a_deadline(app, said: bytes) -> None:
    async with serving(app, header_seconds=0.1) as wire:
        line = await wire.open(said)

        assert await line.hear_the_end() == b""
        await line.hang_up()


async def test_a_header_byte_now_and_then_does_not_move_the_deadline(app) -> None:
    async with serving(app, header_seconds=0.3) as wire:
        line = await wire.open(b"GET /v2/nothing HTTP/1.1\r\nX-Slow: ")
        dripping = asyncio.create_task(drip(line))

        assert await line.hear_the_end() == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        await line.hang_up()


async def drip(line: Line) -> None:
    while True:
        await line.say(b"x")
        await asyncio.sleep(0.02)


async def test_the_deadline_holds_for_the_second_request_of_a_connection_too(app) -> None:
    async with serving(app, header_seconds=0.2) as wire:
        line = await wire.open(HEALTH)
        first = await line.hear()
        await line.say(b"GET /healthz HTTP/1.1\r\n")

        assert (first.status, await line.hear_the_end()) == (200, b"")
        await line.hang_up()


async def test_a_connection_that_sends_slowly_holds_no_place(house) -> None:
    app = build_app(house, admission=Admission(1, wait_seconds=0.01, refusal_seconds=0))

    async with serving(app) as wire:
        slow = [await wire.open(b"GET /v2/nothing HTTP/1.1\r\nX-Slow: ") for _ in range(5)]

        assert (await wire.ask(NOTHING)).status == 404
        for line in slow:
            await line.hang_up()


async def test_a_slow_body_gives_its_place_up_and_is_worked_on_when_it_is_whole(house, monkeypatch) -> None:
    monkeypatch.setattr(admission, "BODY_PATIENCE_SECONDS", 0)
    place = Admission(1, wait_seconds=0.01, refusal_seconds=0)
    sent = b'{"key": "nobody", "secret": "x"}'
    head = written("POST", "/v3/oauth/token/generate", "Content-Type: application/json", f"Content-Length: {len(sent)}")

    async with serving(build_app(house, admission=place)) as wire:
        slow = await wire.open(head, sent[:5])
        await until(lambda: place.working == 0)
        other = await wire.ask(NOTHING)
        await slow.say(sent[5:])
        heard = await slow.hear()
        await slow.hang_up()

    assert other.status == 404
    assert (heard.status, heard.code) == (401, 390010)
    assert (place.working, place.waiting) == (0, 0)


async def until(true) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("path", "shape"), [("/v3/oauth/token/generate", "envelope"), ("/oauth/token", "envelope")])
async def test_a_body_that_does_not_come_in_time_is_a_408(house, path: str, shape: str) -> None:
    async with serving(build_app(house, body_seconds=0.2)) as wire:
        line = await wire.open(written("POST", path, "Content-Length: 8000"))
        dripping = asyncio.create_task(drip(line))
        heard = await line.hear()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        await line.hang_up()

    assert (heard.status, heard.shape, heard.code) == (408, shape, 390015)
    assert heard.headers["connection"] == "close"


async def test_the_rest_of_a_body_that_was_answered_has_a_deadline(app) -> None:
    async with serving(app, header_seconds=0.2) as wire:
        line = await wire.open(written("POST", "/v2/nothing", "Content-Length: 1000"))
        heard = await line.hear()
        dripping = asyncio.create_task(drip(line))

        assert (heard.status, await line.hear_the_end()) == (404, b"")
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        await line.hang_up()


@pytest.mark.parametrize("form", ["Content-Length: 4000000", "Transfer-Encoding: chunked"])
async def test_a_long_body_that_is_refused_early_is_read_to_its_end_and_the_next_request_is_answered(
    app, form: str
) -> None:
    """As an honest client sends it, which reads no answer before it has sent everything."""
    body = b"x" * 4_000_000
    said = body if "Length" in form else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    async with serving(app) as wire:
        line = await wire.open(written("POST", "/v1/activities", form))
        async with asyncio.timeout(5):
            await line.say(said)
            await line.say(HEALTH)
        answers = [(await line.hear()).status for _ in range(2)]
        (connection,) = wire.connections
        kept = len(connection.cycle.body)
        await line.hang_up()

    assert (answers, kept) == ([401, 200], 0)


async def test_a_body_that_is_sent_on_without_end_after_its_answer_has_a_deadline(app) -> None:
    async with serving(app, header_seconds=0.3) as wire:
        line = await wire.open(written("POST", "/v2/nothing", f"Content-Length: {10**15}"))
        sending = asyncio.create_task(send_on(line))

        assert (await line.hear()).status == 404
        assert await line.hear_the_end() == b""
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await line.hang_up()


async def send_on(line: Line) -> None:
    while True:
        await line.say(b"x" * 65536)


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        (b"BREWCOFFEE /v2/nothing HTTP/1.1\r\n\r\n", "envelope"),
        (b"get /v2/nothing HTTP/1.1\r\n\r\n", "envelope"),
        (b"GET /v2/\xff HTTP/1.1\r\n\r\n", "envelope"),
        (b"GET /v1/\xff HTTP/1.1\r\n\r\n", "problem"),
        (b"GET /v1/clock HTTP/1.1\r\nNo colon\r\n\r\n", "problem"),
        (b"GET /v1/clock HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "problem"),
        (b"GET /v2/nothing HTTP/7.7\r\n\r\n", "envelope"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "envelope"),
        (b"CONNECT kosminar.test:443 HTTP/1.1\r\n\r\n", "envelope"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "envelope"),
        (b"POST /v2/nothing HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "envelope"),
        (b"\x00", "envelope"),
    ],
)
async def test_what_is_no_http_is_a_400_in_shape(app, said: bytes, shape: str) -> None:
    async with serving(app) as wire:
        line = await wire.open(said)
        heard = await line.hear()

        assert (heard.status, heard.shape, heard.code) == (400, shape, 300004)
        assert (heard.headers["connection"], await line.hear_the_end()) == ("close", b"")
        await line.hang_up()


async def test_the_shape_of_a_refusal_is_not_that_of_the_request_before(app) -> None:
    async with serving(app) as wire:
        line = await wire.open(written("GET", "/v1/nothing"))
        first = await line.hear()
        await line.say(b"GET  /v3/nothing HTTP/1.1\r\n\r\n")
        second = await line.hear()
        await line.hang_up()

    assert (first.shape, second.status, second.shape) == ("problem", 400, "envelope")


async def test_the_shape_of_a_refusal_is_that_of_the_whole_target_in_whatever_pieces_it_comes(app) -> None:
    async with serving(app) as wire:
        line = await wire.open(b"GET ")
        await until(lambda: [len(each._head) for each in wire.connections] == [len(b"GET ")])
        await line.say(b"/v1/nothing HTTP/7.7\r\n\r\n")
        heard = await line.hear()
        await line.hang_up()

    assert (heard.status, heard.shape) == (400, "problem")


@pytest.mark.parametrize("rest", [b"zz\r\n", b"5;" + b"e" * LINE_BYTES_MAX])
async def test_a_request_that_was_answered_before_its_body_broke_off_hears_no_second_answer(app, rest: bytes) -> None:
    async with serving(app) as wire:
        line = await wire.open(written("POST", "/v1/activities", "Transfer-Encoding: chunked"))
        heard = await line.hear()
        await line.say(rest)

        assert (heard.status, await line.hear_the_end()) == (401, b"")
        await line.hang_up()


async def test_a_body_that_breaks_off_in_garbage_is_a_400(app) -> None:
    head = written("POST", "/v3/oauth/token/generate", "Transfer-Encoding: chunked")

    async with serving(app) as wire:
        heard = await wire.ask(head + b"zz\r\n")

    assert (heard.status, heard.code) == (400, 300004)


async def test_garbage_behind_a_request_is_not_answered_in_its_place(house, wire_of_a_busy_house) -> None:
    wire, place = wire_of_a_busy_house
    await place.enter(lambda: b"")
    line = await wire.open(NOTHING, b"garbage\r\n\r\n")
    await until(lambda: place.waiting == 1)

    place.leave()

    assert (await line.hear()).status == 404
    assert await line.hear_the_end() == b""
    await line.hang_up()


@pytest_asyncio.fixture
async def wire_of_a_busy_house(house):
    place = Admission(1)
    async with serving(build_app(house, admission=place)) as wire:
        yield wire, place


async def test_requests_behind_one_another_are_answered_in_order(app) -> None:
    async with serving(app) as wire:
        line = await wire.open(HEALTH + NOTHING + HEALTH + written("GET", "/v1/nothing"))

        assert [(await line.hear()).status for _ in range(4)] == [200, 404, 200, 404]
        await line.hang_up()


async def test_an_offer_to_speak_something_else_is_passed_over(app) -> None:
    """As the HTTP client of Java makes it with each first request."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    asked = written("POST", "/v3/oauth/token/generate", *offer, body=b'{"key": "nobody", "secret": "x"}')

    async with serving(app) as wire:
        line = await wire.open(asked)
        first = await line.hear()
        await line.say(HEALTH)
        second = await line.hear()
        await line.say(asked + HEALTH)
        third, fourth = await line.hear(), await line.hear()
        await line.hang_up()

    assert (first.status, first.code) == (401, 390010)
    assert [second.status, third.status, fourth.status] == [200, 401, 200]


async def test_a_body_that_comes_after_an_offer_is_read(house, wire_of_a_busy_house) -> None:
    wire, place = wire_of_a_busy_house
    body = b'{"key": "nobody", "secret": "x"}'
    offer = ("Connection: Upgrade", "Upgrade: h2c", f"Content-Length: {len(body)}")

    line = await wire.open(written("POST", "/v3/oauth/token/generate", *offer))
    await until(lambda: place.working == 1)
    await line.say(body)

    assert (await line.hear()).code == 390010
    await line.hang_up()


async def test_an_offer_does_not_hide_a_broken_body(app) -> None:
    offer = ("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: gzip")

    async with serving(app) as wire:
        heard = await wire.ask(written("POST", "/v3/oauth/token/generate", *offer))

    assert (heard.status, heard.code) == (400, 300004)


async def test_beyond_so_many_connections_only_probes_are_answered(app) -> None:
    async with serving(app, connections_max=2, surplus_max=2) as wire:
        held = [await wire.open(HEALTH) for _ in range(2)]
        for line in held:
            await line.hear()

        compatible, native, probe = await wire.ask(NOTHING), await wire.ask(written("GET", "/v1/x")), await wire.open()
        await probe.say(HEALTH)

        assert (compatible.status, compatible.shape, compatible.code) == (503, "envelope", 390015)
        assert (native.status, native.shape, native.code) == (503, "problem", 390015)
        assert int(native.headers["retry-after"]) >= 1
        assert native.headers["connection"] == "close"
        assert (await probe.hear()).status == 200
        for line in [*held, probe]:
            await line.hang_up()
        await until(lambda: not wire.connections)
        assert (await wire.ask(NOTHING)).status == 404


async def test_far_beyond_so_many_connections_further_ones_are_closed_at_once(app) -> None:
    async with serving(app, connections_max=1, surplus_max=1) as wire:
        held = [await wire.open() for _ in range(2)]
        await until(lambda: len(wire.connections) == 2)
        line = await wire.open()

        assert await line.hear_the_end() == b""
        for each in [*held, line]:
            await each.hang_up()


async def test_a_client_that_does_not_read_is_cut_off(app) -> None:
    document = written("GET", "/openapi.json")

    async with serving(app, unread_seconds=0.2) as wire:
        line = await wire.open(document * 100)

        await until(lambda: not wire.connections)
        await line.hang_up()


async def test_a_client_that_reads_late_gets_everything(app) -> None:
    document = written("GET", "/openapi.json")

    async with serving(app) as wire:
        line = await wire.open(document * 20)
        bodies = {(await line.hear()).body for _ in range(20)}
        await line.hang_up()

    assert len(bodies) == 1


async def test_a_query_has_up_to_its_count_of_parameters(http) -> None:
    most = "&".join(f"a{n}=1" for n in range(request.QUERY_FIELDS_MAX))

    assert (await http.get(f"/healthz?{most}")).status_code == 200
    assert (await http.get(f"/healthz?{most}&b=1")).status_code == 400


async def test_a_form_has_up_to_its_count_of_fields(http) -> None:
    most = {"grant_type": "client_credentials", **{f"a{n}": "1" for n in range(oauth.FORM_FIELDS_MAX - 1)}}

    assert (await http.post("/oauth/token", data=most)).json()["error"] == "invalid_client"
    assert (await http.post("/oauth/token", data=most | {"b": "1"})).json()["error"] == "invalid_request"


async def test_a_key_and_a_secret_have_up_to_their_length(http) -> None:
    longest = {"key": "k" * oauth.KEY_LENGTH_MAX, "secret": "s" * oauth.SECRET_LENGTH_MAX}

    assert (await http.post("/v3/oauth/token/generate", json=longest)).status_code == 401
    for name, text in longest.items():
        longer = longest | {name: text + "x"}
        assert (await http.post("/v3/oauth/token/generate", json=longer)).status_code == 400
