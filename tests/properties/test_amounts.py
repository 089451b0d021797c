"""Money at the edge: rounded half away from zero as fractions say, and unchanged by a way through JSON."""

from decimal import Decimal
from fractions import Fraction
from math import floor

from hypothesis import example, given
from hypothesis import strategies as st
from tests.properties.effort import effort

from kosminar.core.amount import amount_of, round_amount
from kosminar.core.decoder import decode, encode

# Every second of them lies exactly between two amounts.
TIES = st.integers(-(10**14), 10**14).map(lambda halves: Decimal(halves) / 2000)
DECIMALS = st.decimals(-(10**11), 10**11, allow_nan=False, allow_infinity=False)


@effort(300)
@given(TIES | DECIMALS)
@example(Decimal("2.0025"))
@example(Decimal("-2.0025"))
def test_an_amount_is_rounded_half_away_from_zero(value: Decimal) -> None:
    size = floor(abs(Fraction(value)) * 1000 + Fraction(1, 2))

    rounded = round_amount(value)

    assert Fraction(rounded) == Fraction(size if value > 0 else -size, 1000)
    assert rounded.as_tuple().exponent == -3
    assert not (rounded.is_zero() and rounded.is_signed())


@effort(200)
@given(TIES | DECIMALS)
def test_an_amount_is_the_same_after_a_way_through_json(value: Decimal) -> None:
    amount = round_amount(value)

    decoded = decode(encode({"amount": amount, "text": str(amount)}))

    assert decoded == {"amount": amount, "text": str(amount)}
    assert str(decoded["amount"]) == str(amount)
    assert amount_of(decoded["amount"]) == amount_of(decoded["text"]) == amount
