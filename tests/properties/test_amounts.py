"""Money at the edge: rounded half away from zero as fractions say, and unchanged by a way through JSON.

Products and parts, which are made of whole thousandths, come to what decimals come to.
"""

from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from math import floor

from hypothesis import example, given
from hypothesis import strategies as st
from tests.properties.effort import effort

from kosminar.core.amount import decimal_of, part, product, rounded, text_of, thousandths_of
from kosminar.core.decoder import decode, encode

# Every second of them lies exactly between two amounts.
TIES = st.integers(-(10**14), 10**14).map(lambda halves: Decimal(halves) / 2000)
DECIMALS = st.decimals(-(10**11), 10**11, allow_nan=False, allow_infinity=False)

# Near zero, where ties are frequent; as large as values are; and of any size.
NUMBERS = st.integers(-5_000, 5_000) | st.integers(-(10**18), 10**18) | st.integers()
POSITIVES = st.integers(1, 40) | st.integers(min_value=1)


@effort(300)
@given(TIES | DECIMALS)
@example(Decimal("2.0025"))
@example(Decimal("-2.0025"))
def test_an_amount_is_rounded_half_away_from_zero(value: Decimal) -> None:
    size = floor(abs(Fraction(value)) * 1000 + Fraction(1, 2))

    assert thousandths_of(value) == (size if value > 0 else -size)


@effort(200)
@given(TIES | DECIMALS)
def test_an_amount_is_the_same_after_a_way_through_json(value: Decimal) -> None:
    thousandths = thousandths_of(value)
    amount, text = decimal_of(thousandths), text_of(thousandths)

    decoded = decode(encode({"amount": amount, "text": text}))

    assert decoded == {"amount": amount, "text": text}
    assert str(decoded["amount"]) == str(amount) == text
    assert thousandths_of(decoded["amount"]) == thousandths_of(decoded["text"]) == thousandths


@effort(500)
@given(NUMBERS, NUMBERS)
@example(1, 500)
@example(-1, 500)
@example(-1, 499)
def test_a_product_is_what_decimals_say(left: int, right: int) -> None:
    with localcontext(prec=_digits(left) + _digits(right) + 10):
        exact = Decimal(left).scaleb(-3) * Decimal(right).scaleb(-3)

        assert product(left, right) == _rounded_by_decimals(exact)


@effort(500)
@given(NUMBERS, NUMBERS, POSITIVES)
@example(-10_000, 2, 3)
@example(-5, 1, 2)
@example(5, 1, 2)
def test_a_part_is_what_decimals_say(value: int, numerator: int, denominator: int) -> None:
    # The quotient as a decimal may not end: rounded to many places more than a tie is away from its neighbours.
    with localcontext(prec=_digits(value) + _digits(numerator) + 2 * _digits(denominator) + 10):
        exact = Decimal(value).scaleb(-3) * Decimal(numerator) / Decimal(denominator)

        assert part(value, numerator, denominator) == _rounded_by_decimals(exact)


@effort(500)
@given(NUMBERS, POSITIVES)
@example(-1, 2)
@example(-3, 2)
def test_a_quotient_is_off_by_at_most_a_half_which_goes_away_from_zero(numerator: int, denominator: int) -> None:
    off = Fraction(rounded(numerator, denominator)) - Fraction(numerator, denominator)

    assert abs(off) <= Fraction(1, 2)
    assert abs(off) < Fraction(1, 2) or (off > 0) is (numerator > 0)
    assert rounded(-numerator, denominator) == -rounded(numerator, denominator)


def _digits(number: int) -> int:
    return len(str(abs(number)))


def _rounded_by_decimals(exact: Decimal) -> int:
    return int(exact.quantize(Decimal("0.001"), rounding=ROUND_HALF_UP).scaleb(3))
