"""Long bodies are decoded part by part, to the same values and the same refusals as short ones."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosminar.core.decoder import (
    DIGITS_MAX,
    INTEGER_DIGITS_MAX,
    PIECE_BYTES_MAX,
    VALUE_COUNT_MAX,
    MalformedBody,
    decode,
    decoding,
    encode,
)

LONG = "x" * PIECE_BYTES_MAX
SMALL = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
# A value with a long text in it, so that everything around it is taken apart.
VALUES = st.recursive(
    st.just(LONG) | SMALL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab\\"é', max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.sampled_from(["", " ", "\n" * 70_000]))
def test_a_long_body_decodes_to_what_was_encoded(value: Any, blanks: str) -> None:
    body = blanks.encode() + json.dumps([LONG, value]).encode() + blanks.encode()
    if "\\u0000" in json.dumps(value):
        with pytest.raises(MalformedBody, match="NUL"):
            decode(body)
        return

    assert decode(body) == [LONG, value]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":1,"\\u0061":2}', "twice"),
        (b'{"a":"\\u0000"}', "NUL"),
        (b'{"\\u0000":1}', "NUL"),
        (b"[1,]", "JSON: "),
        (b"[1] x", "JSON: "),
        (b"{'a':1}", "JSON: "),
        (b"01", "JSON: "),
        (b'"\\ud800"', "JSON: "),
        (b'"\xff"', "UTF-8"),
        (b"1e1000", "digits"),
        (b"9" * (INTEGER_DIGITS_MAX + 1), "digits"),
        (b"0." + b"9" * (DIGITS_MAX - 1), "digits"),
        (b"[" * 32 + b"]" * 32, "nested deeper than 32"),
    ],
)
@pytest.mark.parametrize(
    ("before", "after"),
    [(b'["' + LONG.encode() + b'",', b"]"), (b'{"long":"' + LONG.encode() + b'","part":', b"}")],
    ids=["in a list", "in an object"],
)
def test_what_is_wrong_with_a_part_is_wrong_with_the_body(
    before: bytes, after: bytes, part: bytes, message: str
) -> None:
    with pytest.raises(MalformedBody, match=f"must .*{message}") as refused:
        decode(before + part + after)

    assert "(byte" not in str(refused.value)


def test_a_name_given_twice_beside_a_long_value_is_refused() -> None:
    long = LONG.encode()

    with pytest.raises(MalformedBody, match="twice"):
        decode(b'{"a":"' + long + b'","a":1}')


def test_a_body_has_as_many_values_as_the_limit_and_no_more() -> None:
    # The list is one of them.
    most = [0] * (VALUE_COUNT_MAX - 1)

    assert decode(encode(most)) == most
    assert decode(encode({str(number): "" for number in most}) + b" ") == {"0": ""}
    for one_more in ([*most, 0], [[number] for number in most[: VALUE_COUNT_MAX // 2]], {"a": most}):
        with pytest.raises(MalformedBody, match=f"must not hold more than {VALUE_COUNT_MAX} values"):
            decode(encode(one_more))


def test_commas_and_brackets_in_texts_are_no_values() -> None:
    text = ",[{" * VALUE_COUNT_MAX

    assert decode(encode([text, '"'])) == [text, '"']


@pytest.mark.parametrize(
    "longest", ["9" * INTEGER_DIGITS_MAX, "-" + "9" * (INTEGER_DIGITS_MAX - 1), "0." + "1" * (DIGITS_MAX - 2)]
)
def test_a_number_is_written_with_as_many_characters_as_the_limit_and_no_more(longest: str) -> None:
    for around in ("{}", "[{},1]", '{{"a":{}}}'):
        assert decode(around.format(longest).encode()) is not None
        with pytest.raises(MalformedBody, match="more than 1000 digits, or an integer of more than 4300"):
            decode(around.format(longest + "1").encode())
    assert isinstance(decode(b"0.1"), Decimal)


def test_a_long_body_is_decoded_in_many_steps_and_a_short_one_in_few() -> None:
    item = {"text": "x" * 1_000}

    assert len(list(decoding(encode([item] * 1_000)))) > 10
    assert len(list(decoding(encode([item])))) < 10
