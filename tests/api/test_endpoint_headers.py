"""An endpoint's headers are sent as they were given or refused when they are given, and never shown."""

import asyncio
import json
import string
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand, problem, purchase, sign_in_with
from tests.bodies import with_target
from tests.engine.receiver import Received, Receiver, Reply
from tests.engine.test_outbound import Names, sender

from kosminar.core.access import Level, Resource
from kosminar.core.endpoint import read_headers
from kosminar.core.webhook import RESERVED_HEADERS, cleaned, without_header_values
from kosminar.engine import outbound
from kosminar.engine.outbound import Answer

pytestmark = pytest.mark.asyncio

PATH = "/v1/webhook-endpoints"
SECRET = 'Bearer s3cr3t/"<token>"=='


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    brand = await open_brand(house, http, "Acme", clock=datetime(2031, 2, 12, 12, tzinfo=UTC))
    await brand.register(501)
    everything = dict.fromkeys(Resource, Level.WRITE)
    yield Brand(house, http, brand.organisation_id, await sign_in_with(house, brand.organisation_id, everything))


async def deliveries(brand: Brand, endpoint: Mapping[str, Any]) -> str:
    shown = await brand.ask("GET", f"{PATH}/{endpoint['endpointId']}/deliveries?customerId=501")
    assert shown["data"], "something was to be delivered"
    return json.dumps(shown)


UNSENDABLE = [
    *({"X": " y"}, {"X": "y "}, {"X": " "}, {"X": "\ty"}, {"X": "y\t"}, {"X": "a\tb"}, {"X": "a\nb"}, {"X": "a\r\n b"}),
    *({"X": "a\x7fb"}, {"X": "ü"}, {"X": "\u00a0y"}, {"": "y"}, {"X ": "y"}, {" X": "y"}, {"X:": "y"}),
    *({"X\n": "y"}, {"Ü": "y"}, {"X(1)": "y"}, {"X/Y": "y"}, {"Webhook-Id": "y"}, {"WEBHOOK-anything": "y"}),
    *({name: "y"} for name in sorted(RESERVED_HEADERS)),
]


async def test_a_header_that_cannot_be_sent_is_refused_without_its_value(acme: Brand) -> None:
    made = await acme.ask("POST", PATH, {"url": "https://brand.example/"})
    for headers in [{"Authorization": "Bearer s3cr3t "}, *UNSENDABLE]:
        created = await acme.call("POST", PATH, {"url": "https://brand.example/", "headers": headers})
        changed = await acme.call("PATCH", f"{PATH}/{made['endpointId']}", {"headers": headers})

        for refused in (created, changed):
            assert problem(refused) == (400, 300004), headers
            assert refused.json()["detail"].startswith("headers: "), headers
            assert "s3cr3t" not in refused.text

    assert (await acme.ask("GET", f"{PATH}/{made['endpointId']}"))["headerNames"] == []


async def test_whatever_header_is_taken_arrives_as_it_is() -> None:
    """So the rule of what is taken is no wider than what the HTTP client sends."""
    every = "".join(chr(code) for code in range(0x21, 0x7F))
    headers = read_headers(
        {
            "Authorization": "Bearer s3cr3t",
            "X-Every": every + " " + every[::-1],
            "X-Blanks": "a  b",
            "X-Empty": "",
            "X-One": "~",
            "!#$%&'*+.^_`|~-" + string.ascii_letters + string.digits: "name",
        }
    )

    async with Receiver() as receiver:
        answer = await send(receiver, headers)

    assert answer.status == 200
    (received,) = receiver.received
    assert {name.lower(): value for name, value in headers.items()}.items() <= received.headers.items()


async def send(receiver: Receiver, headers: Mapping[str, str]) -> Answer:
    async with sender() as sending:
        return await sending.post(receiver.url, headers=headers, body=b"{}", hidden=headers)


# What an earlier version took, or a library will refuse one day.
@pytest.mark.parametrize(
    "value", ["Bearer s3cr3t ", " Bearer s3cr3t", "Bearer\x00s3cr3t", "Bearer s3cr3t\n", "s3cr3tü"]
)
async def test_what_the_http_client_says_of_a_header_that_it_refuses_is_not_kept(value: str) -> None:
    async with Receiver() as receiver:
        answer = await send(receiver, {"Authorization": value})

    assert answer.status is None
    assert answer.error == "the URL or a header of the endpoint cannot be sent; set them again"


async def test_a_delivery_that_cannot_be_sent_does_not_show_the_header(acme: Brand, pool) -> None:
    async with Receiver() as receiver:
        made = await acme.ask("POST", PATH, {"url": receiver.url, "headers": {"Authorization": "Bearer s3cr3t"}})
        await pool.execute("UPDATE webhook_endpoint SET headers = $1", json.dumps({"Authorization": "Bearer s3cr3t "}))
        await acme.define(with_target())
        await acme.record(purchase("a", 501, "2031-02-12T09:00:00Z", 250))
        await acme.house.courier.deliver_due()
        tested = await acme.ask("POST", f"{PATH}/{made['endpointId']}/test")

    assert receiver.received == []
    assert "cannot be sent" in await deliveries(acme, made)
    assert "s3cr3t" not in await deliveries(acme, made) + json.dumps(tested)


async def echo(received: Received) -> Reply:
    """As a framework does that shows a request which it could not handle."""
    return Reply(500, content=(json.dumps(dict(received.headers)) + str(received.headers)).encode())


async def test_a_receiver_that_repeats_a_header_does_not_bring_it_into_an_error(acme: Brand) -> None:
    async with Receiver(echo) as receiver:
        made = await acme.ask("POST", PATH, {"url": receiver.url, "headers": {"X-Token": SECRET}})
        await acme.define(with_target())
        await acme.record(purchase("a", 501, "2031-02-12T09:00:00Z", 250))
        await acme.house.courier.deliver_due()
        tested = await acme.ask("POST", f"{PATH}/{made['endpointId']}/test")

    assert receiver.received[0].headers["x-token"] == SECRET
    assert tested["status"] == 500
    assert "s3cr3t" not in await deliveries(acme, made) + json.dumps(tested)


@pytest.mark.parametrize(
    "said",
    [
        *(SECRET, SECRET.removeprefix("Bearer "), json.dumps(SECRET), repr(SECRET), f"x{SECRET}y", SECRET * 2),
        *('Bearer s3cr3t\\/\\"<token>\\"==', "Bearer s3cr3t/&quot;&lt;token&gt;&quot;=="),
        *("Bearer%20s3cr3t%2F%22%3Ctoken%3E%22%3D%3D", "s3cr3t%2F%22%3Ctoken%3E%22%3D%3D", "z" * 298 + SECRET),
    ],
)
async def test_a_value_is_hidden_however_it_is_escaped(said: str) -> None:
    hidden = cleaned(without_header_values(said, {"Authorization": SECRET, "X-Part": "s3cr3t"}))

    assert "s3cr3t" not in hidden
    assert "token" not in hidden
    assert "***" in hidden + "***" * ("z" in said)


async def test_an_answer_that_is_no_http_is_not_kept() -> None:
    async def repeating(reader, writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(head + head)
        writer.close()

    server = await asyncio.start_server(repeating, "127.0.0.1", 0)
    async with server, sender() as sending:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        answer = await sending.post(url, headers={"Authorization": SECRET}, body=b"{}")

    assert (answer.status, answer.error) == (None, "no proper HTTP answer")


async def test_of_a_short_value_nothing_is_hidden() -> None:
    assert without_header_values("1 of 100", {"X-Version": "1"}) == "1 of 100"
    assert without_header_values("abcd abc", {"X": "abcd", "Y": "abc"}) == "*** abc"


# ---------------------------------------------------------------- where it goes


NOWHERE = [
    *("https://10.0.0.1/", "https://192.168.1.1:8443/x", "https://169.254.169.254/", "https://[::1]/", "https://0/"),
    *("https://[fd00::1]/", "https://[::ffff:10.0.0.1]/", "http://10.0.0.1/", "http://8.8.8.8/", "https://224.0.0.1/"),
    "https://0x0a000001/",
]


async def test_a_url_that_names_only_what_may_not_be_reached_is_refused_and_says_who_may_allow_it(acme: Brand) -> None:
    made = await acme.ask("POST", PATH, {"url": "https://8.8.8.8/"})
    for url in NOWHERE:
        created = await acme.call("POST", PATH, {"url": url})
        changed = await acme.call("PATCH", f"{PATH}/{made['endpointId']}", {"url": url})

        for refused in (created, changed):
            assert problem(refused) == (400, 300004), url
            assert refused.json()["detail"].startswith("url: names no address that may be reached"), url
            assert "KOSMINAR_WEBHOOK_NETWORKS" in refused.text

    assert (await acme.ask("GET", f"{PATH}/{made['endpointId']}"))["url"] == "https://8.8.8.8/"


async def test_a_url_with_an_address_that_may_be_reached_or_none_that_is_known_is_taken(acme: Brand) -> None:
    for url in ("https://8.8.8.8/", "https://[2606:4700::1111]/", "http://127.0.0.1:1/", "https://127.0.0.1/"):
        assert (await acme.call("POST", PATH, {"url": url})).status_code == 201, url
    for url in ("https://nobody.invalid/", "http://nobody.invalid/", "https://" + "a" * 64 + ".example/"):
        assert (await acme.call("POST", PATH, {"url": url})).status_code == 201, url


@pytest.mark.parametrize(
    ("addresses", "may"),
    [([], True), (["10.0.0.1", "::1"], False), (["10.0.0.1", "8.8.8.8"], True), (["8.8.8.8"], True)],
)
async def test_one_address_that_may_be_reached_is_enough(addresses: list[str], may: bool) -> None:
    async with sender([], resolve=Names(addresses)) as sending:
        assert await sending.may_be_reached("https://brand.example/") is may


async def test_a_name_server_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError((host, port))

    monkeypatch.setattr(outbound, "LOOK_UP_SECONDS_MAX", 0.05)
    async with sender([], resolve=silent) as sending:
        assert await sending.may_be_reached("https://brand.example/")
