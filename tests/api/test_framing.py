"""Where a request begins and ends: read by the letter of RFC 9112, whatever other servers let in."""

import pytest

from kosminar.api.framing import (
    LINE_BYTES_MAX,
    BrokenRequest,
    ChunkedBody,
    SizedBody,
    TooMuchFraming,
    body_of,
    check_host,
    read_request_line,
)

MOST = 1000


def read(said: bytes, *, piece_bytes: int | None = None, framing_bytes_max: int = MOST) -> tuple[bytes, bytes, bool]:
    """Content, what follows the body, and whether it ended, whatever pieces the body comes in."""
    body = ChunkedBody(framing_bytes_max=framing_bytes_max)
    content, rest = b"", b""
    step = piece_bytes or len(said)
    for start in range(0, len(said), step):
        if body.ended:
            rest += said[start : start + step]
            continue
        part, rest = body.read(said[start : start + step])
        content += part
    return content, rest, body.ended


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 1000])
def test_a_chunked_body_is_its_content_in_whatever_pieces_it_comes(piece_bytes: int) -> None:
    said = b'5\r\nhello\r\n009;name="value"\r\n, 1\r\n2\r\n3\r\n0;last\r\nX-Sum: 1\r\nAuthorization: x\r\n\r\nGET /'

    assert read(said, piece_bytes=piece_bytes) == (b"hello, 1\r\n2\r\n3", b"GET /", True)


@pytest.mark.parametrize(
    "said",
    [
        *(b"\r\n", b"x\r\n", b"-1\r\n", b"+5\r\n", b"0x5\r\n", b" 5\r\n", b"5 \r\n", b"5\t;a\r\n", b"5\n", b"5\r;a\n"),
        *(b"5;a\x00\r\n", b"5;a\rb\r\n", b"11112222333344445\r\n", b"_5\r\n", b"\xd9\xa5\r\n", b"5\r\r\n"),
        *(b"2\r\nabc\r\n", b"2\r\nab\n", b"2\r\nab0\r\n\r\n", b"2\r\nab\r\r\n", b"2\r\nab \r\n"),
        *(b"0\r\n\n", b"0\r\nX\r\n", b"0\r\nX : y\r\n", b"0\r\n x: y\r\n", b"0\r\nX: y\n", b"0\r\nX: \x00\r\n"),
        *(b"0\r\n: y\r\n", b"0\r\nX: y\rZ: 1\r\n", b"0\r\nX: y\r\n z\r\n"),
    ],
)
def test_a_chunked_body_that_others_may_read_differently_is_broken(said: bytes) -> None:
    for piece_bytes in (1, len(said)):
        with pytest.raises(BrokenRequest):
            read(said, piece_bytes=piece_bytes)


@pytest.mark.parametrize(
    ("said", "framing_bytes"),
    [
        (b"0\r\n" + b"X: yz\r\n" * 10 + b"\r\n", 75),
        (b"0;" + b"e" * 100 + b"\r\n\r\n", 106),
        # The content counts in favour of what comes with it.
        (b"1\r\nx\r\n" * 10 + b"0\r\n\r\n", 55 - 10),
        (b"64\r\n" + b"x" * 100 + b"\r\n0;" + b"e" * 200 + b"\r\n\r\n", 6 + 206 - 100),
    ],
)
def test_what_is_not_content_has_a_limit(said: bytes, framing_bytes: int) -> None:
    for piece_bytes in (1, len(said)):
        assert read(said, piece_bytes=piece_bytes, framing_bytes_max=framing_bytes)[2]
        with pytest.raises(TooMuchFraming):
            read(said, piece_bytes=piece_bytes, framing_bytes_max=framing_bytes - 1)


@pytest.mark.parametrize("beginning", [b"", b"5;", b"0\r\n", b"0\r\nX: "])
def test_a_line_without_end_is_not_kept(beginning: bytes) -> None:
    with pytest.raises(TooMuchFraming):
        read(beginning + b"1" * 2 * MOST, piece_bytes=10)


@pytest.mark.parametrize(("beginning", "end"), [(b"0;", b"\r\n\r\n"), (b"0\r\nX:", b"\r\n\r\n")])
def test_a_line_has_its_length_whatever_content_came_before(beginning: bytes, end: bytes) -> None:
    content = b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)
    filling = b"y" * (LINE_BYTES_MAX - 4)

    for piece_bytes in (1, 1000, 200_000):
        assert read(content + beginning + filling + end, piece_bytes=piece_bytes)[2]
        with pytest.raises(TooMuchFraming):
            read(content + beginning + filling + b"y" + end, piece_bytes=piece_bytes)


def test_a_body_of_few_bytes_a_chunk_may_be_long_and_one_of_a_byte_a_chunk_may_not() -> None:
    assert read(b"5\r\nhello\r\n" * 10_000 + b"0\r\n\r\n")[2]
    with pytest.raises(TooMuchFraming):
        read(b"1\r\nx\r\n" * 10_000)


def test_a_sized_body_ends_where_its_length_says() -> None:
    body = SizedBody(5)

    assert (body.read(b"hel"), body.ended) == ((b"hel", b""), False)
    assert (body.read(b"loGET"), body.ended) == ((b"lo", b"GET"), True)
    assert SizedBody(0).ended


@pytest.mark.parametrize(
    ("fields", "minor_version"),
    [
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], 1),
        ([(b"content-length", b"5"), (b"content-length", b"5")], 1),
        *([([(b"content-length", value)], 1) for value in (b"", b"+5", b"-5", b"5,5", b"0x5", b"1_0", b"9" * 19)]),
        *([([(b"content-length", value)], 1) for value in (b"5 5", b"5.0", b"\xd9\xa5")]),
        ([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], 1),
        ([(b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], 1),
        *([([(b"transfer-encoding", value)], 1) for value in (b"", b"identity", b"gzip", b"gzip, chunked")]),
        *(
            [
                ([(b"transfer-encoding", value)], 1)
                for value in (b",chunked", b"chunked;q=1", b"xchunked", b"\x0bchunked")
            ]
        ),
        ([(b"transfer-encoding", b"chunked")], 0),
    ],
)
def test_a_request_whose_length_is_not_said_once_and_plainly_is_broken(fields, minor_version: int) -> None:
    with pytest.raises(BrokenRequest):
        body_of(fields, minor_version=minor_version, framing_bytes_max=MOST)


def test_a_request_without_a_length_has_no_body_and_other_headers_say_nothing_of_it() -> None:
    for fields in ([], [(b"content_length", b"5"), (b"x-transfer-encoding", b"chunked")], [(b"content-length", b"00")]):
        assert body_of(fields, minor_version=1, framing_bytes_max=MOST).ended
    for value in (b"chunked", b"Chunked"):
        assert isinstance(
            body_of([(b"transfer-encoding", value)], minor_version=1, framing_bytes_max=MOST), ChunkedBody
        )


@pytest.mark.parametrize(
    "host",
    [b"kosminar.test", b"kosminar.test:8080", b"127.0.0.1", b"[::1]:80", b"a_b-c.d", b"kosminar.test.", b"x:"],
)
def test_one_host_is_enough_for_http_1_1(host: bytes) -> None:
    check_host([(b"host", host)], minor_version=1)


@pytest.mark.parametrize(
    "hosts",
    [
        *([], [b"a", b"a"], [b""], [b"a, b"], [b"a b"], [b"a/b"], [b"http://a"], [b"user@a"], [b"a:80:80"], [b"a:x"]),
        *([b"a:123456"], [b"[::1"], [b"[g::1]"], [b"\xff"], [b"a?b"], [b"a#b"], [b"a\\b"], [b"a%2fb"], [b":80"]),
    ],
)
def test_no_host_two_or_what_no_host_can_be_is_broken(hosts: list[bytes]) -> None:
    with pytest.raises(BrokenRequest):
        check_host([(b"host", host) for host in hosts], minor_version=1)


def test_http_1_0_needs_no_host_and_has_at_most_one() -> None:
    check_host([], minor_version=0)
    check_host([(b"host", b"a")], minor_version=0)
    for hosts in ([b"a", b"a"], [b"a b"]):
        with pytest.raises(BrokenRequest):
            check_host([(b"host", host) for host in hosts], minor_version=0)


def test_a_request_line_is_read_once_it_is_whole() -> None:
    assert read_request_line(b"GET /v1/clock HTTP/1.1\r") is None
    line = read_request_line(b"\r\n\r\nGET /v1/clock?x=1 HTTP/1.0\r\nHost")
    assert line is not None
    assert (line.target, line.minor_version) == (b"/v1/clock?x=1", 0)


@pytest.mark.parametrize(
    "line",
    [
        *(b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1"),
        *(b"GET /", b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/1.2", b"GET / http/1.1", b"GET / RTSP/1.0"),
        *(b"SOURCE / ICE/1.0", b"GET /a#b HTTP/1.1", b"GET /a?b#c HTTP/1.1", b"get / HTTP/1.1", b"\nGET / HTTP/1.1"),
        *(
            b"\rGET / HTTP/1.1",
            b"CONNECT kosminar.test:443 HTTP/1.1",
            b"GET /\xc3\xa4 HTTP/1.1",
            b"GET / HTTP/1.1\rX: y",
        ),
    ],
)
def test_any_other_request_line_is_broken(line: bytes) -> None:
    with pytest.raises(BrokenRequest):
        read_request_line(line + b"\r\n")
