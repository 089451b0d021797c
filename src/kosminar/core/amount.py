"""Amounts, whole numbers and ids, read strictly.

Owns what a number may be: an amount is an exact decimal with three places, rounded half away from zero, never a binary
float. Every reader takes what the JSON decoder or a CSV cell gives and raises ValueError with a message that completes
the field's name to a sentence. Both sides of each limit: tests/core/test_amount.py.
"""

import re
from decimal import ROUND_HALF_UP, Context, Decimal

# Three places and twelve digits before them fit numeric(18,3) with room for sums.
AMOUNT_LIMIT = Decimal(10) ** 12
THREE_PLACES = Decimal("0.001")
ID_MAX = 2**63 - 1

# Our own context: another library's precision or traps in the thread's context must not change money. Its precision
# also covers sums, numeric(24,3). ROUND_HALF_UP is Python's name for half away from zero.
_EXACT = Context(prec=40, rounding=ROUND_HALF_UP)

_WHOLE_LIMIT = int(AMOUNT_LIMIT)
_OUT_OF_BOUNDS = "must be between -10^12 and 10^12, both excluded"
_PLAIN_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_PLAIN_ID = re.compile(r"0*[1-9][0-9]{0,18}")


def round_amount(value: Decimal) -> Decimal:
    """The amount with exactly three places, half away from zero; zero has no sign.

    >>> round_amount(Decimal("-2.0005"))
    Decimal('-2.001')
    """
    rounded = value.quantize(THREE_PLACES, context=_EXACT)
    return rounded.copy_abs() if rounded.is_zero() else rounded


def amount_of(value: object) -> Decimal:
    """A number or a plain decimal text as an amount; both as written and rounded it is below 10^12 in size.

    A number may have an exponent, as JSON writes decimals so; in a text it is refused like every other adornment.
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
    if exact.copy_abs() >= AMOUNT_LIMIT or (rounded := round_amount(exact)).copy_abs() >= AMOUNT_LIMIT:
        raise ValueError(_OUT_OF_BOUNDS)
    return rounded


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
