"""Values in whole numbers of thousandths, whole numbers and ids, read strictly.

Owns what a number may be. Inside the core and the engine a value is an int, so many thousandths; never a binary float,
and a decimal only at the edges: as it is read, as it is shown, and in rows of the store. Every reader takes what the
JSON decoder or a CSV cell gives and raises ValueError with a message that completes the field's name to a sentence.
Decision 24. Both sides of each limit: tests/core/test_amount.py; rounding against decimals:
tests/properties/test_amounts.py.
"""

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

# Of one thing.
ONE: Final = 1_000
ZERO: Final = 0

# In thousandths. An amount that is read stays below 10^12, so that many of them can be added up; a value, which is such
# a sum, stays below 10^15, so that its thousandths fit 64 bits.
AMOUNT_LIMIT: Final = 10**12 * ONE
VALUE_LIMIT: Final = 10**15 * ONE

ID_MAX = 2**63 - 1

# Our own context: another library's precision or traps in the thread's context must not change money. ROUND_HALF_UP is
# Python's name for half away from zero.
_EXACT = Context(prec=40, rounding=ROUND_HALF_UP)

_THREE_PLACES = Decimal("0.001")
_WHOLE_LIMIT = AMOUNT_LIMIT // ONE
_OUT_OF_BOUNDS = "must be between -10^12 and 10^12, both excluded"
_PLAIN_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_PLAIN_ID = re.compile(r"0*[1-9][0-9]{0,18}")


def thousandths_of(value: object) -> int:
    """A number or a plain decimal text in thousandths, rounded half away from zero (decision 24).

    Both as written and rounded it is below 10^12 in size. A number may have an exponent, as JSON writes decimals so; in
    a text it is refused like every other adornment.

    >>> thousandths_of("-2.0005")
    -2001
    """
    if isinstance(value, str):
        exact = Decimal(value) if _PLAIN_DECIMAL.fullmatch(value) else None
    else:
        if isinstance(value, int) and abs(value) >= _WHOLE_LIMIT:
            # Said at once: to make a decimal of thousands of digits takes as their square.
            raise ValueError(_OUT_OF_BOUNDS)
        exact = Decimal(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else None
    if exact is None or not exact.is_finite():
        raise ValueError("must be a decimal number")
    # copy_abs, because abs() rounds to the thread's context and fails on 1e999999999.
    if exact.copy_abs() >= _WHOLE_LIMIT:
        raise ValueError(_OUT_OF_BOUNDS)
    thousandths = _thousandths(exact.quantize(_THREE_PLACES, context=_EXACT))
    if abs(thousandths) >= AMOUNT_LIMIT:
        raise ValueError(_OUT_OF_BOUNDS)
    return thousandths


def exact_thousandths(value: Decimal) -> int:
    """A decimal that has at most three places, as a column of the store does, in thousandths; of any size.

    >>> exact_thousandths(Decimal("12.5"))
    12500
    """
    thousandths = _thousandths(value)
    assert decimal_of(thousandths) == value, "columns have three places"
    return thousandths


def decimal_of(thousandths: int) -> Decimal:
    """The decimal with exactly three places; zero has no sign.

    >>> decimal_of(-12_500)
    Decimal('-12.500')
    """
    return Decimal(thousandths).scaleb(-3, _EXACT)


def text_of(thousandths: int) -> str:
    """The value as text, with three places always.

    >>> text_of(12_345), text_of(-500)
    ('12.345', '-0.500')
    """
    whole, places = divmod(abs(thousandths), ONE)
    return f"{'-' if thousandths < 0 else ''}{whole}.{places:03}"


def product(left: int, right: int) -> int:
    """Of two values in thousandths: the thousandths of their product.

    >>> product(2_500, 1_001)
    2503
    """
    return rounded(left * right, ONE)


def part(value: int, numerator: int, denominator: int) -> int:
    """So many of so many parts of a value in thousandths.

    >>> part(10_000, 2, 3)
    6667
    """
    return rounded(value * numerator, denominator)


def rounded(numerator: int, denominator: int) -> int:
    """The quotient, half away from zero (decision 24): the one place where products and parts are rounded.

    `denominator` is above zero. Python's `//` rounds down instead, which below zero is away from it.

    >>> rounded(-5, 2), rounded(5, 2), rounded(-4, 3)
    (-3, 3, -1)
    """
    assert denominator > 0
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size


def _thousandths(value: Decimal) -> int:
    return int(value.scaleb(3, _EXACT))


def whole_number(value: object, *, minimum: int, maximum: int) -> int:
    """A JSON integer within bounds, both included; 1.0, "1" and true are none."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise ValueError(f"must be a whole number from {minimum} to {maximum}")
    return value


def digits(value: object) -> int:
    """An id: an integer or a text of ASCII digits, 1 to 2^63-1."""
    number = int(value) if isinstance(value, str) and _PLAIN_ID.fullmatch(value) else value
    try:
        return whole_number(number, minimum=1, maximum=ID_MAX)
    except ValueError:
        raise ValueError("must be an integer or a string of digits, 1 to 2^63-1") from None
