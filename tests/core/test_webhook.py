"""Headers, what answers mean, and delays: both sides of every boundary, without a socket."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from kosminar.core.webhook import (
    DELAY_MAX,
    DELAY_MIN,
    ERROR_CHARACTERS_MAX,
    SLOW_FROM_FAILURE_COUNT,
    Verdict,
    back_off,
    cleaned,
    delivery_headers,
    reserved,
    retry_after,
    secret_text,
    signing_secrets,
    slow,
    slowed_for,
    verdict_of,
)

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECRET = bytes(range(32))
OLDER = bytes(32)
SHARE = st.floats(0, 1, exclude_max=True)


def headers(own: dict[str, str] | None = None, secrets: tuple[bytes, ...] = (SECRET,), body: bytes = b"{}"):
    return delivery_headers(own or {}, secrets=secrets, event_id="1-7-3", body=body, user_agent="Kosminar/0", now=NOW)


@given(st.binary(), st.binary(min_size=32, max_size=32))
def test_the_signature_is_what_the_standards_own_library_computes(body: bytes, secret: bytes) -> None:
    text = body.decode("latin-1")

    signature = headers(secrets=(secret,), body=text.encode())["webhook-signature"]

    assert signature == Webhook(secret_text(secret)).sign("1-7-3", NOW, text)


def test_the_headers_are_those_of_the_standard() -> None:
    sent = headers()

    assert sent["webhook-id"] == "1-7-3"
    assert sent["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert sent["content-type"] == "application/json"
    assert sent["user-agent"] == "Kosminar/0"


def test_two_secrets_sign_twice_separated_by_a_blank() -> None:
    newest, older = headers(secrets=(SECRET, OLDER))["webhook-signature"].split(" ")

    assert newest == headers(secrets=(SECRET,))["webhook-signature"]
    assert older == headers(secrets=(OLDER,))["webhook-signature"]


def test_the_previous_secret_signs_until_its_last_instant_and_no_longer() -> None:
    until = NOW + timedelta(hours=1)

    assert signing_secrets(SECRET, OLDER, until, until - timedelta(microseconds=1)) == (SECRET, OLDER)
    assert signing_secrets(SECRET, OLDER, until, until) == (SECRET,)
    assert signing_secrets(SECRET, None, None, NOW) == (SECRET,)


def test_a_brands_own_headers_are_sent_and_replace_none_of_ours() -> None:
    own = {"X-Tenant": "acme", "Webhook-Id": "forged", "USER-AGENT": "x", "Host": "internal", "Content-Length": "1"}

    sent = headers(own)

    assert sent["X-Tenant"] == "acme"
    assert sent == headers() | {"X-Tenant": "acme"}


def test_a_secret_is_shown_as_the_libraries_take_it() -> None:
    assert secret_text(SECRET) == "whsec_" + b64encode(SECRET).decode()


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (Verdict.DELIVERED, [200, 201, 202, 204, 299]),
        (Verdict.FAILED, [None, 100, 101, 199, 300, 301, 302, 307, 308, 399, 401, 403, 404, 408, 425, 429]),
        (Verdict.FAILED, [500, 502, 503, 504, 599, 600, 999]),
        (Verdict.REFUSED, [400, 402, 405, 406, 409, 411, 413, 415, 418, 422, 424, 426, 428, 431, 451, 499]),
        (Verdict.GONE, [410]),
    ],
)
def test_what_a_status_means(verdict: Verdict, statuses: list[int | None]) -> None:
    assert {status: verdict_of(status) for status in statuses} == dict.fromkeys(statuses, verdict)


@given(st.integers(1, 10**9), SHARE)
def test_a_delay_is_never_less_than_a_second_nor_more_than_an_hour(attempt_count: int, share: float) -> None:
    assert DELAY_MIN <= back_off(attempt_count, share) <= DELAY_MAX


@given(st.integers(1, 10**6), SHARE, SHARE)
def test_a_delay_grows_with_the_attempts_and_with_its_share(attempt_count: int, low: float, high: float) -> None:
    low, high = sorted((low, high))

    assert back_off(attempt_count, low) <= back_off(attempt_count, high)
    assert back_off(attempt_count, low) <= back_off(attempt_count + 1, low)


def test_the_ceiling_doubles_from_five_seconds_to_an_hour() -> None:
    almost_all = 1 - 1e-12

    ceilings = [round(back_off(n, almost_all).total_seconds()) for n in range(1, 13)]

    assert ceilings == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


def test_an_endpoint_is_slowed_from_the_tenth_failure_on_and_its_rests_begin_short() -> None:
    below = SLOW_FROM_FAILURE_COUNT - 1

    assert (slow(below), slowed_for(below, 0.5)) == (False, None)
    assert (slow(below + 1), slowed_for(below + 1, 0.5)) == (True, back_off(1, 0.5))
    assert slowed_for(below + 3, 0.5) == back_off(3, 0.5)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(seconds=120)),
        (" 7 ", timedelta(seconds=7)),
        ("86400", timedelta(days=1)),
        ("86401", timedelta(days=1)),
        ("9" * 400, timedelta(days=1)),
        ("Mon, 02 Mar 2026 09:31:00 GMT", timedelta(minutes=1)),
        ("Mon, 02 Mar 2026 09:29:00 GMT", timedelta(0)),
        ("Mon, 09 Mar 2026 09:30:00 GMT", timedelta(days=1)),
        ("Monday, 02-Mar-26 09:31:00 GMT", timedelta(minutes=1)),
        ("Mon Mar  2 09:31:00 2026", timedelta(minutes=1)),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_a_day_at_most(header: str, span: timedelta) -> None:
    assert retry_after(header, NOW) == span


@pytest.mark.parametrize("header", [None, "", "-5", "1.5", "soon", "12 minutes", "٣", "Mon, 99 Mar 2026 09:31:00 GMT"])
def test_a_retry_after_that_cannot_be_read_asks_for_nothing(header: str | None) -> None:
    assert retry_after(header, NOW) is None


@given(st.text())
def test_no_retry_after_can_break_or_stop_a_delivery(header: str) -> None:
    asked = retry_after(header, NOW)

    assert asked is None or timedelta(0) <= asked <= timedelta(days=1)


@given(st.text())
def test_what_a_stranger_said_is_kept_short_printable_and_on_one_line(text: str) -> None:
    kept = cleaned(text)

    assert len(kept) <= ERROR_CHARACTERS_MAX
    assert kept.isprintable()
    assert cleaned(kept) == kept.strip()


@pytest.mark.parametrize("name", ["webhook-id", "Webhook-Anything", "HOST", "Transfer-Encoding", "content-type"])
def test_names_of_ours_and_of_http_are_reserved(name: str) -> None:
    assert reserved(name)
    assert not reserved("x-" + name)
