"""What a number may be: both sides of each limit, and the properties of rounding."""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosminar.core.amount import (
    AMOUNT_LIMIT,
    ID_MAX,
    ONE,
    VALUE_LIMIT,
    decimal_of,
    digits,
    exact_thousandths,
    part,
    product,
    rounded,
    text_of,
    thousandths_of,
    whole_number,
)

DECIMALS = st.decimals(min_value=-(10**11), max_value=10**11, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("written", "thousandths"),
    [
        ("0.0005", 1),
        ("0.00049999", 0),
        ("-0.0005", -1),
        ("-0.0004", 0),
        ("2.0015", 2_002),
        ("2.0025", 2_003),
        ("1E+2", 100_000),
        ("7", 7_000),
    ],
)
def test_an_amount_has_three_places_rounded_half_away_from_zero(written: str, thousandths: int) -> None:
    assert thousandths_of(Decimal(written)) == thousandths


@given(DECIMALS)
def test_rounding_moves_an_amount_by_at_most_half_its_last_place(value: Decimal) -> None:
    thousandths = thousandths_of(value)

    assert abs(Fraction(thousandths, ONE) - Fraction(value)) <= Fraction(1, 2000)
    assert thousandths_of(decimal_of(thousandths)) == thousandths
    assert thousandths_of(-value) == -thousandths


@given(st.integers(-AMOUNT_LIMIT + 1, AMOUNT_LIMIT - 1))
def test_an_amount_written_as_text_or_as_decimal_reads_back_the_same(thousandths: int) -> None:
    assert thousandths_of(text_of(thousandths)) == thousandths
    assert exact_thousandths(decimal_of(thousandths)) == thousandths
    assert str(decimal_of(thousandths)) == text_of(thousandths)


@pytest.mark.parametrize(
    ("thousandths", "text"),
    [
        (0, "0.000"),
        (1, "0.001"),
        (-1, "-0.001"),
        (-500, "-0.500"),
        (999, "0.999"),
        (1_000, "1.000"),
        (-12_345, "-12.345"),
        (VALUE_LIMIT - 1, "999999999999999.999"),
        (-VALUE_LIMIT, "-1000000000000000.000"),
    ],
)
def test_a_value_is_shown_with_three_places_always(thousandths: int, text: str) -> None:
    assert text_of(thousandths) == text
    assert str(decimal_of(thousandths)) == text


@pytest.mark.parametrize(
    ("column", "thousandths"),
    [("0", 0), ("-0.000", 0), ("12.5", 12_500), ("-0.001", -1), ("1E+2", 100_000), ("999999999999999.999", 10**18 - 1)],
)
def test_a_column_of_three_places_is_taken_exactly(column: str, thousandths: int) -> None:
    assert exact_thousandths(Decimal(column)) == thousandths


@pytest.mark.parametrize("column", ["0.0001", "-12.3455", "NaN"])
def test_a_column_of_more_places_is_our_own_mistake(column: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        exact_thousandths(Decimal(column))


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [
        (0, 7, 0),
        (1, 3, 0),
        (1, 2, 1),
        (2, 3, 1),
        (4, 2, 2),
        (5, 2, 3),
        (-1, 3, 0),
        (-1, 2, -1),
        (-4, 3, -1),
        (-5, 2, -3),
    ],
)
def test_a_quotient_is_rounded_half_away_from_zero(numerator: int, denominator: int, quotient: int) -> None:
    assert rounded(numerator, denominator) == quotient


@pytest.mark.parametrize("denominator", [0, -1])
def test_a_quotient_is_taken_by_what_is_above_zero(denominator: int) -> None:
    with pytest.raises(AssertionError):
        rounded(1, denominator)


def test_products_and_parts_are_rounded_once() -> None:
    assert product(2_500, 1_001) == 2_503
    assert product(-2_500, 1_001) == -2_503
    assert part(10_000, 2, 3) == 6_667
    assert part(-10_000, 1, 3) == -3_333
    assert part(-1, 1, 2) == -1


@pytest.mark.parametrize(
    ("value", "thousandths"),
    [
        (0, 0),
        (-7, -7_000),
        (Decimal("12.5"), 12_500),
        (Decimal("1E+2"), 100_000),
        (Decimal("-0.0"), 0),
        (Decimal("0E+400"), 0),
        (Decimal("1E-999999999"), 0),
        ("12.50", 12_500),
        ("-0.001", -1),
        ("007", 7_000),
        ("0." + "1" * 100_000, 111),
        (10**12 - 1, 999_999_999_999_000),
        ("999999999999.9994", AMOUNT_LIMIT - 1),
        ("-999999999999.9994", 1 - AMOUNT_LIMIT),
    ],
)
def test_numbers_and_plain_decimal_texts_are_amounts(value: object, thousandths: int) -> None:
    assert thousandths_of(value) == thousandths


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
        thousandths_of(value)


@pytest.mark.parametrize(
    "value",
    [
        *(10**12, -(10**12), 10**4000, decimal_of(AMOUNT_LIMIT), "1000000000000", "-1000000000000.0", "9" * 100_000),
        *("999999999999.9995", Decimal("-999999999999.9995"), Decimal("999999999999." + "9" * 50)),
        *(Decimal("1E+400"), Decimal("-1E+400"), Decimal("1E+999999999")),
    ],
)
def test_an_amount_is_below_the_limit_before_and_after_rounding(value: object) -> None:
    with pytest.raises(ValueError, match="both excluded"):
        thousandths_of(value)


def test_the_context_of_the_thread_does_not_change_amounts() -> None:
    with localcontext(Context(prec=3, traps=[])):
        read = [thousandths_of("123456.7895"), thousandths_of(Decimal("123456.7895"))]
        shown = [str(decimal_of(123_456_790)), text_of(123_456_790)]
        column = exact_thousandths(Decimal("123456.790"))

    assert [*read, column] == [123_456_790] * 3
    assert shown == ["123456.790"] * 2


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
