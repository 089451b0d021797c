"""The way out: only to addresses that may be reached, to exactly the one that was checked, and never for ever."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.engine.receiver import Received, Receiver, Reply, always

from kosminar.engine.outbound import ANSWER_BYTES_MAX, Answer, Sender, allowed, reachable

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
# Two of this machine's own. Everything else that runs here listens on 127.0.0.1, and may do so on the very port that is
# to be dead, or to be one's own on both.
ONE, OTHER = "127.0.0.2", "127.0.0.3"
NO_ADDRESS = "the name has no address that may be reached"


def sender(networks: Sequence = LOOPBACK, **options) -> Sender:
    return Sender(
        networks=networks,
        user_agent="Kosminar/test",
        ssl_context=options.pop("ssl_context", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
        **options,
    )


async def post(url: str, networks: Sequence = LOOPBACK, **options) -> Answer:
    async with sender(networks, **options) as sending:
        return await sending.post(url, headers={"x-one": "1"}, body=b"{}")


class Names:
    """A name server that answers each question with the next of its answers, and counts."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


# ---------------------------------------------------------------- which addresses


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),  # noqa: S104
        *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
        *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::1"),
        *("2002:c0a8:101::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1"),
        *("ff02::1", "ff0e::1"),
    ],
)
def test_what_is_not_the_public_internet_is_not_reached(address: str) -> None:
    assert not reachable(ip_address(address), [])


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "192.167.255.255", "223.255.255.255"),
        *("2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_what_is_public_is_reached_and_needs_tls(address: str) -> None:
    assert reachable(ip_address(address), [])
    assert not allowed(ip_address(address), [])


def test_an_allowed_network_is_reached_however_its_address_is_wrapped_and_its_neighbours_are_not() -> None:
    networks = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]

    assert reachable(ip_address("10.1.255.255"), networks)
    assert reachable(ip_address("::ffff:10.1.0.1"), networks)
    assert reachable(ip_address("fd00:1::1"), networks)
    assert not reachable(ip_address("10.2.0.0"), networks)
    assert not reachable(ip_address("::ffff:10.2.0.0"), networks)
    assert not reachable(ip_address("fd00:2::1"), networks)
    # What is embedded for a relay to unwrap does not stay in the operator's network.
    assert not reachable(ip_address("2002:a01:1::1"), networks)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"),  # noqa: S104
        *("127.0.0.1.", "localhost", "LOCALHOST", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
        *("[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "①②⑦.0.0.1", "127。0。0。1", "user:secret@127.0.0.1"),
    ],
)
async def test_a_private_address_in_any_spelling_is_not_connected_to(host: str) -> None:
    async with Receiver() as receiver:
        for scheme in ("http", "https"):
            answer = await post(f"{scheme}://{host}:{receiver.port}/", networks=[])

            # Some spellings are an address to one system and nothing to another; none is a way in.
            assert answer.status is None
            assert answer.error is not None

    assert receiver.connection_count == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("found", [["10.0.0.1"], ["fd00::1"], ["10.0.0.1", "fd00::1", "169.254.169.254"], []])
async def test_a_name_with_private_addresses_of_either_family_is_refused_and_they_are_not_told(
    found: list[str],
) -> None:
    answer = await post("https://brand.example/", networks=[], resolve=Names(found))

    assert (answer.status, answer.error) == (None, NO_ADDRESS)


@pytest.mark.asyncio
async def test_of_several_addresses_only_those_that_may_be_reached_are_tried() -> None:
    async with Receiver(host=ONE) as private, Receiver(host=OTHER, port=private.port) as open_one:
        names = Names([ONE, "fd00::1", OTHER])

        answer = await post(f"http://brand.example:{private.port}/", networks=[ip_network(OTHER)], resolve=names)

    assert answer.status == 200
    assert (private.connection_count, open_one.connection_count) == (0, 1)


@pytest.mark.asyncio
async def test_when_the_first_address_is_dead_the_next_one_is_tried() -> None:
    async with Receiver(host=OTHER) as receiver:
        names = Names([ONE, OTHER])

        answer = await post(f"http://brand.example:{receiver.port}/", resolve=names)

    assert answer.status == 200


@pytest.mark.asyncio
async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to() -> None:
    """Rebinding: the name server tells the checker one address and would tell the connector another."""
    async with Receiver(host=ONE) as checked, Receiver(host=OTHER, port=checked.port) as other:
        names = Names([ONE], [OTHER])

        answer = await post(f"http://brand.example:{checked.port}/hook", networks=[ip_network(ONE)], resolve=names)

    assert answer.status == 200
    assert names.asked == [("brand.example", checked.port)]
    assert (len(checked.received), other.connection_count) == (1, 0)
    assert checked.received[0].headers["host"] == f"brand.example:{checked.port}"


@pytest.mark.asyncio
async def test_http_without_tls_goes_only_to_allowed_networks() -> None:
    answer = await post("http://brand.example/", networks=LOOPBACK, resolve=Names(["8.8.8.8", "2606:4700::1111"]))

    assert (answer.status, answer.error) == (None, NO_ADDRESS)


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server at brand.example shows, and what a client that trusts it needs."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "brand.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("brand.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, private)
    return server, ssl.create_default_context(cafile=str(chain))


@pytest.mark.asyncio
async def test_tls_is_checked_against_the_name_and_not_the_address(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, client = contexts
    async with Receiver(tls=server) as receiver:
        port = receiver.port
        right, wrong, stranger = [
            await post(f"https://{host}:{port}/", resolve=Names(["127.0.0.1"]), ssl_context=trusting)
            for host, trusting in (
                ("brand.example", client),
                ("other.example", client),
                ("brand.example", ssl.create_default_context()),
            )
        ]

    assert right.status == 200
    for refused in (wrong, stranger):
        assert refused.status is None
        assert "CERTIFICATE_VERIFY_FAILED" in (refused.error or "")
    assert len(receiver.received) == 1


# ---------------------------------------------------------------- what comes back


@pytest.mark.asyncio
async def test_what_is_sent_arrives_as_it_is_with_the_path_and_query() -> None:
    async with Receiver() as receiver:
        answer = await post(receiver.url + "/%C3%BC?a=b%20c&d")

    sent = receiver.received[0]
    assert (sent.path, sent.content) == ("/hook/%C3%BC?a=b%20c&d", b"{}")
    assert sent.headers["x-one"] == "1"
    assert sent.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert "accept-encoding" not in sent.headers
    assert answer.status == 200


@pytest.mark.asyncio
async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with Receiver() as elsewhere, Receiver(always(Reply(307, {"location": elsewhere.url}))) as receiver:
        answer = await post(receiver.url)

    assert answer.status == 307
    assert elsewhere.connection_count == 0


@pytest.mark.asyncio
async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        answer = await post(receiver.url)

    assert answer.status == 200
    assert proxy.connection_count == 0


@pytest.mark.asyncio
async def test_of_an_answer_without_end_only_the_beginning_is_read() -> None:
    async with Receiver(always(Reply(500, endless=True))) as receiver:
        answer = await post(receiver.url)

        assert answer.status == 500
        assert answer.error == "x" * 300

    # As much again fits into the sockets between us.
    assert receiver.bytes_sent < ANSWER_BYTES_MAX + 16 * 1024 * 1024


@pytest.mark.asyncio
async def test_who_does_not_answer_in_time_has_not_answered() -> None:
    async def never(_: Received) -> Reply:
        await asyncio.Event().wait()
        return Reply()

    async with Receiver(never) as receiver:
        answer = await post(receiver.url, seconds=0.05)

    assert (answer.status, answer.error) == (None, "no answer within 0.05 s")


@pytest.mark.asyncio
async def test_a_name_server_that_does_not_answer_takes_no_longer_than_that_either() -> None:
    async def never(_: str, __: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    answer = await post("https://brand.example/", seconds=0.05, resolve=never)

    assert (answer.status, answer.error) == (None, "no answer within 0.05 s")


@pytest.mark.asyncio
async def test_a_connection_that_breaks_without_a_word_is_a_failure() -> None:
    async with Receiver(always(Reply(None))) as receiver:
        answer = await post(receiver.url)

    assert answer.status is None
    assert answer.error is not None
    assert answer.error.startswith("no proper HTTP answer")


@pytest.mark.asyncio
async def test_a_port_where_nobody_listens_is_a_failure() -> None:
    async with Receiver() as receiver:
        pass

    answer = await post(receiver.url)

    assert answer.status is None
    assert answer.error is not None
    assert answer.error.startswith("could not connect")


@pytest.mark.asyncio
async def test_what_a_failure_said_is_kept_short_and_clean() -> None:
    said = b"no\r\n\x1b[31m such \x00customer\xff " + b"y" * 1000

    async with Receiver(always(Reply(500, {"Retry-After": "7"}, said))) as receiver:
        answer = await post(receiver.url)

    assert answer.error is not None
    assert answer.error.startswith("no [31m such customer\ufffd yyy")
    assert len(answer.error) == 300
    assert answer.retry_after == "7"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "ftp://brand.example/", "file:///etc/passwd", "http://", "http://[::1", "http://a:99999/"),
        *("http://" + "a" * 64 + ".example/", "http://exa mple/", "http://" + "ü" * 300 + ".example/"),
    ],
)
async def test_a_url_that_cannot_be_sent_to_is_a_failure_and_no_exception(url: str) -> None:
    answer = await post(url)

    assert answer.status is None
    assert answer.error


@pytest.mark.asyncio
@pytest.mark.parametrize("headers", [{"x-one": "a\r\nx-two: b"}, {"x\nsplit": "1"}, {"x-one": "ü"}, {"": "1"}])
async def test_a_header_that_cannot_be_sent_is_a_failure_and_no_exception(headers: dict[str, str]) -> None:
    async with Receiver() as receiver, sender() as sending:
        answer = await sending.post(receiver.url, headers=headers, body=b"{}")

    assert answer.status is None
    assert answer.error
    assert receiver.received == []


@pytest.mark.asyncio
async def test_a_connection_is_used_again_and_is_not_when_its_answer_was_left_unread() -> None:
    async with Receiver() as receiver, sender() as sending:
        for _ in range(3):
            await sending.post(receiver.url, headers={}, body=b"{}")
        used_again = receiver.connection_count

        receiver.answer = always(Reply(200, endless=True))
        for _ in range(3):
            assert (await sending.post(receiver.url, headers={}, body=b"{}")).status == 200

    assert (used_again, receiver.connection_count) == (1, 3)
