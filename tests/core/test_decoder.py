"""Hostile and honest bodies, and the readers that collect what is wrong with a request."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from time import perf_counter
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosminar.core.decoder import DIGITS_MAX, NESTING_MAX, Fields, Json, MalformedBody, decode, encode

PARIS = ZoneInfo("Europe/Paris")

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NUMBERS = st.integers(-(10**40), 10**40) | st.decimals(-(10**15), 10**15, allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.sampled_from(['"', "\\", '\\"', "[{", ":", "\\u0000"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_was_encoded_decodes_to_the_same(value: Json) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=40) | st.text(st.sampled_from('[]{}",:\\u019e+-.tn '), max_size=40).map(str.encode))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    with suppress(MalformedBody):
        decode(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"12.500", Decimal("12.500")),
        (b"0.1", Decimal("0.1")),
        (b"1e2", Decimal(100)),
        (b"1.0", Decimal("1.0")),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"12345678901234567890.123456789", Decimal("12345678901234567890.123456789")),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b' [null, true, {"": ""}] ', [None, True, {"": ""}]),
    ],
)
def test_numbers_stay_exact_and_keep_their_kind(body: bytes, value: Json) -> None:
    decoded = decode(body)

    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "JSON"),
        (b'{"a":1', "JSON"),
        (b"[1,]", "JSON"),
        (b"[1] x", "JSON"),
        (b"{'a':1}", "JSON"),
        (b"{1:2}", "JSON"),
        (b"\xef\xbb\xbf{}", "JSON"),
        (b"// no\n{}", "JSON"),
        (b"NaN", "JSON"),
        (b"[-Infinity]", "JSON"),
        (b"1_000", "JSON"),
        (b"+1", "JSON"),
        (b"01", "JSON"),
        (b".5", "JSON"),
        (b"5.", "JSON"),
        (b"\xd9\xa1", "JSON"),
        (b'"a\tb"', "JSON"),
        (b'"a\0b"', "JSON"),
        (b"\0", "JSON"),
        (b'"\\x41"', "JSON"),
        (b'"\\ud800"', "JSON"),
        (b'"\\ud800 and more"', "JSON"),
        (b'"\\udc00\\ud800"', "JSON"),
        (b'{"\\ud800\\u0041":1}', "JSON"),
        (b'"\xff"', "UTF-8"),
        (b'"\xc0\x80"', "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'{"\xff":1}', "UTF-8"),
        (b'"\\u0000"', "NUL"),
        (b'{"a\\u0000":1}', "NUL"),
        (b'[{"a":["\\\\\\u0000"]}]', "NUL"),
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":1,"\\u0061":2}', "twice"),
        (b'[{"b":{"a:":":","a:":"\\":"}}]', "twice"),
        (b"1e99999999999999999999", "digits"),
        (b"1e-99999999999999999999", "digits"),
        (b"[1e999999999]", "digits"),
        (b"[1e-999999999]", "digits"),
        (b"0e999999999", "digits"),
        (b"9" * 5_000, "digits"),
    ],
)
def test_a_malformed_body_is_refused_with_its_reason(body: bytes, message: str) -> None:
    with pytest.raises(MalformedBody, match=f"must .*{message}"):
        decode(body)


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert decode(b'"\\\\u0000"') == "\\u0000"


def test_a_decimal_has_as_many_digits_as_the_limit_and_no_more() -> None:
    longest = "0." + "1" * (DIGITS_MAX - 2)

    assert decode(longest.encode()) == Decimal(longest)
    assert decode(b"1e400") == Decimal("1e400")
    assert decode(b"1e999") == Decimal("1e999")
    for body in (longest + "1", "1e1000", "1e-1000"):
        with pytest.raises(MalformedBody, match="digits"):
            decode(body.encode())


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"[":', b"}]")])
def test_nesting_goes_to_the_limit_and_no_deeper(opening: bytes, closing: bytes) -> None:
    levels_each = len(closing)
    fits = NESTING_MAX // levels_each

    assert decode(opening * fits + b"1" + closing * fits) is not None
    with pytest.raises(MalformedBody, match="nested deeper than 32"):
        decode(opening * (fits + 1) + b"1" + closing * (fits + 1))


def test_brackets_in_strings_and_beside_each_other_are_no_nesting() -> None:
    assert decode(b'["' + b"[{" * 1_000 + b'\\"[[\\\\"]') == ["[{" * 1_000 + '"[[\\']
    assert decode(b"[" + b"[],{}," * 1_000 + b"1]") == [[], {}] * 1_000 + [1]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'[{"a":' * 100_000,
        b"]" * 100_000 + b"[" * 100_000,
        b'"' * 300_000,
        b'\\"' * 150_000,
        b'"' + b'\\"' * 150_000,
        b"[" + b"\\" * 300_000,
        b"[" + b"1e-99," * 50_000,
        b'{"a":"\\u0000' * 30_000,
    ],
)
def test_a_hostile_body_is_refused_at_once(body: bytes) -> None:
    began = perf_counter()
    with pytest.raises(MalformedBody):
        decode(body)

    # What would be quadratic takes minutes.
    assert perf_counter() - began < 5


def test_answers_carry_exact_numbers_and_instants_in_utc() -> None:
    answer = {"value": Decimal("12.500"), "count": 3, "at": datetime(2031, 9, 7, 22, 0, 0, 5000, tzinfo=UTC)}

    assert encode(answer) == b'{"value":12.500,"count":3,"at":"2031-09-07T22:00:00.005000Z"}'


class Kind(StrEnum):
    POINTS = "POINTS"
    BADGE = "BADGE"


def test_fields_read_what_was_sent() -> None:
    body = Fields.of(
        decode(b"""{
            "name": "Autumn laps", "kind": "BADGE", "active": false, "count": 3, "customerId": "42", "value": 12.5,
            "startDate": "2031-09-01", "endDate": "2031-09-07", "periods": [{"refCode": "W1"}], "attributes": {"n": "1.5"},
            "nothing": null, "unknown": [[]]
        }""")
    )

    assert body.text("name", max_length=11) == "Autumn laps"
    assert body.required_choice("kind", Kind) is Kind.BADGE
    assert body.choice("nothing", Kind, default=Kind.POINTS) is Kind.POINTS
    assert body.boolean("active", default=True) is False
    assert body.boolean("nothing", default=True) is True
    assert body.whole_number("count", minimum=3, maximum=3) == 3
    assert body.digits("customerId") == 42
    assert body.thousandths("value") == 12_500
    assert body.instant("startDate", PARIS) == datetime(2031, 8, 31, 22, tzinfo=UTC)
    assert body.end_after("endDate", PARIS) == datetime(2031, 9, 7, 22, tzinfo=UTC)
    assert [each.text("refCode", max_length=9) for each in body.items("periods", max_count=1, min_count=1)] == ["W1"]
    assert body.inner("attributes").optional_thousandths("n") == 1_500
    assert body.faults == []


def test_what_is_absent_or_null_is_none() -> None:
    body = Fields({"nothing": None})

    for name in ("nothing", "absent"):
        assert body.optional_text(name, max_length=9) is None
        assert body.optional_whole_number(name, minimum=0, maximum=9) is None
        assert body.optional_digits(name) is None
        assert body.optional_thousandths(name) is None
        assert body.optional_instant(name, PARIS) is None
        assert body.optional_end_after(name, PARIS) is None
        assert body.items(name, max_count=9) == []
        assert body.inner(name).value("anything") is None
    assert body.faults == []


def test_every_fault_names_its_path_and_rule() -> None:
    body = Fields(
        {
            "name": " ",
            "description": "four",
            "kind": "badge",
            "active": "true",
            "count": Decimal("1.0"),
            "customerId": -1,
            "value": "1_000",
            "periods": [{"startDate": "soon", "endDate": 7}, 7, {"reward": {"value": True}}],
            "targets": {},
            "attributes": [],
        }
    )

    body.text("name", max_length=200)
    body.optional_text("description", max_length=3)
    body.required_choice("kind", Kind)
    body.boolean("active", default=True)
    body.whole_number("count", minimum=1, maximum=9)
    body.digits("customerId")
    body.thousandths("value")
    first, third = body.items("periods", max_count=3)
    first.instant("startDate", PARIS)
    first.end_after("endDate", PARIS)
    third.inner("reward").thousandths("value")
    third.fault("refCode", "must differ from periods[0].refCode")
    body.items("targets", max_count=1)
    body.items("streaks", min_count=1, max_count=10)
    body.inner("attributes")
    body.instant("absent", PARIS)

    assert [str(fault) for fault in body.faults] == [
        "name must be text of 1 to 200 characters",
        "description must be text of 1 to 3 characters",
        "kind must be one of POINTS, BADGE",
        "active must be true or false",
        "count must be a whole number from 1 to 9",
        "customerId must be an integer or a string of digits, 1 to 2^63-1",
        "value must be a decimal number",
        "periods[1] must be an object",
        "periods[0].startDate must be a date or date-time such as 2031-09-07, 2031-09-07T23:59:59.999 or ...T21:00:00Z",
        "periods[0].endDate must be a text with a date or date-time",
        "periods[2].reward.value must be a decimal number",
        "periods[2].refCode must differ from periods[0].refCode",
        "targets must be an array of 0 to 1 objects",
        "streaks is required",
        "attributes must be an object",
        "absent is required",
    ]


def test_a_text_and_an_array_reach_their_limit_and_no_further() -> None:
    body = Fields({"text": "\U0001f600" * 5, "array": [{}] * 5})

    assert (body.text("text", max_length=5), len(body.items("array", max_count=5)), body.faults) == (
        "\U0001f600" * 5,
        5,
        [],
    )

    assert (body.text("text", max_length=4), body.items("array", max_count=4), len(body.faults)) == ("", [], 2)


@pytest.mark.parametrize("value", [None, 1, "text", [], [{}], True, Decimal(1)])
def test_a_body_that_is_no_object_is_malformed(value: Json) -> None:
    with pytest.raises(MalformedBody, match="must be a JSON object"):
        Fields.of(value)
