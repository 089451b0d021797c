"""Sets of period numbers, compared with Python's own sets."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from kosminar.core import number_set

NUMBERS = st.sets(st.integers(1, 1_000), max_size=60) | st.sets(st.integers(1, 12))
BOUNDS = st.integers(0, 1_001)


@given(NUMBERS)
def test_a_set_gives_its_numbers_back_ascending(numbers: set[int]) -> None:
    assert list(number_set.numbers_in(number_set.of(numbers))) == sorted(numbers)


@given(NUMBERS, BOUNDS, BOUNDS)
def test_parts_of_a_set_are_those_within_the_bounds(numbers: set[int], first: int, last: int) -> None:
    made = number_set.of(numbers)

    assert number_set.between(made, first, last) == number_set.of(n for n in numbers if first <= n <= last)
    assert number_set.above(made, first) == number_set.of(n for n in numbers if n > first)
    assert number_set.span(first, last) == number_set.of(range(first, last + 1))


@given(NUMBERS)
def test_smallest_and_largest_are_those_of_the_numbers(numbers: set[int]) -> None:
    made = number_set.of(numbers)

    assert number_set.largest(made) == max(numbers, default=0)
    if numbers:
        assert number_set.smallest(made) == min(numbers)


@given(NUMBERS, NUMBERS)
def test_the_longest_row_without_a_break_is_found(numbers: set[int], breaks: set[int]) -> None:
    breaks = breaks - numbers
    marks = [number in breaks for number in sorted(numbers | breaks)]
    longest = max((len(list(row)) for broken, row in groupby(marks) if not broken), default=0)

    assert number_set.longest_without(number_set.of(numbers), number_set.of(breaks)) == longest
