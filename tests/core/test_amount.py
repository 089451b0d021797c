"""What a number may be: both sides of each limit, and the properties of rounding."""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosminar.core.amount import AMOUNT_LIMIT, ID_MAX, amount_of, digits, round_amount, whole_number

DECIMALS = st.decimals(min_value=-(10**11), max_value=10**11, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("0.0005", "0.001"),
        ("0.00049999", "0.000"),
        ("-0.0005", "-0.001"),
        ("-0.0004", "0.000"),
        ("2.0015", "2.002"),
        ("2.0025", "2.003"),
        ("1E+2", "100.000"),
        ("7", "7.000"),
    ],
)
def test_an_amount_has_three_places_rounded_half_away_from_zero(written: str, amount: str) -> None:
    assert str(round_amount(Decimal(written))) == amount


@given(DECIMALS)
def test_rounding_moves_an_amount_by_at_most_half_its_last_place(value: Decimal) -> None:
    rounded = round_amount(value)

    assert rounded.as_tuple().exponent == -3
    assert abs(Fraction(rounded) - Fraction(value)) <= Fraction(1, 2000)
    assert round_amount(rounded) == rounded
    assert round_amount(-value) == -rounded


@given(DECIMALS)
def test_an_amount_written_as_text_reads_back_the_same(value: Decimal) -> None:
    assert amount_of(str(round_amount(value))) == round_amount(value)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0, "0.000"),
        (-7, "-7.000"),
        (Decimal("12.5"), "12.500"),
        (Decimal("1E+2"), "100.000"),
        (Decimal("-0.0"), "0.000"),
        (Decimal("0E+400"), "0.000"),
        (Decimal("1E-999999999"), "0.000"),
        ("12.50", "12.500"),
        ("-0.001", "-0.001"),
        ("007", "7.000"),
        ("0." + "1" * 100_000, "0.111"),
        (10**12 - 1, "999999999999.000"),
        ("999999999999.9994", "999999999999.999"),
        ("-999999999999.9994", "-999999999999.999"),
    ],
)
def test_numbers_and_plain_decimal_texts_are_amounts(value: object, amount: str) -> None:
    assert str(amount_of(value)) == amount


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 1.0, float("nan"), [], {}, b"1"),
        *("", " ", " 1", "1 ", "1\n", "+1", "--1", ".5", "5.", "1e2", "1_000", "1,000", "0x1"),
        *("NaN", "sNaN", "Infinity", "-Infinity", "inf", "\u0661\u0662", "\uff11", "1\u00a0", "\u22121"),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")),
    ],
)
def test_nothing_else_is_an_amount(value: object) -> None:
    with pytest.raises(ValueError, match="must be a decimal number"):
        amount_of(value)


@pytest.mark.parametrize(
    "value",
    [
        *(10**12, -(10**12), 10**4000, AMOUNT_LIMIT, "1000000000000", "-1000000000000.0", "9" * 100_000),
        *("999999999999.9995", Decimal("-999999999999.9995"), Decimal("999999999999." + "9" * 50)),
        *(Decimal("1E+400"), Decimal("-1E+400"), Decimal("1E+999999999")),
    ],
)
def test_an_amount_is_below_the_limit_before_and_after_rounding(value: object) -> None:
    with pytest.raises(ValueError, match="both excluded"):
        amount_of(value)


def test_the_context_of_the_thread_does_not_change_amounts() -> None:
    with localcontext(Context(prec=3, traps=[])):
        amounts = [amount_of("123456.7895"), round_amount(Decimal("123456.7895"))]

    assert [str(amount) for amount in amounts] == ["123456.790", "123456.790"]


def test_a_whole_number_lies_within_its_bounds() -> None:
    assert [whole_number(value, minimum=1, maximum=10) for value in (1, 10)] == [1, 10]
    for value in (0, 11, -(10**40), True, False, None, "1", 1.0, Decimal(1), Decimal("1.0"), [1]):
        with pytest.raises(ValueError, match="must be a whole number from 1 to 10"):
            whole_number(value, minimum=1, maximum=10)


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1), (ID_MAX, ID_MAX), ("1", 1), ("42", 42), ("0042", 42), (str(ID_MAX), ID_MAX)],
)
def test_an_id_is_an_integer_or_a_string_of_digits(value: object, number: int) -> None:
    assert digits(value) == number


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, ID_MAX + 1, 10**40, True, False, None, 1.0, Decimal(1), [1]),
        *("", "0", "000", "-1", "+1", " 1", "1 ", "1\n", "1.0", "1e2", "1_0", "\u0661", "\u00b2"),
        *(str(ID_MAX + 1), "9" * 5_000),
    ],
)
def test_nothing_else_is_an_id(value: object) -> None:
    with pytest.raises(ValueError, match=r"1 to 2\^63-1"):
        digits(value)
