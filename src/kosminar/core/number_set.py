"""Sets of period numbers, as the bits of one whole number: bit n is set where the period numbered n is in the set.

A streak's course is made of such sets (core/kind/streak.py). A thousand periods are a number of 125 bytes, so that
what a loop over them would take is a few operations. Compared with sets of numbers: tests/core/test_number_set.py.
"""

from collections.abc import Iterable, Iterator

EMPTY = 0


def of(numbers: Iterable[int]) -> int:
    """The set of these numbers.

    >>> list(numbers_in(of([3, 1])))
    [1, 3]
    """
    found = EMPTY
    for number in numbers:
        found |= 1 << number
    return found


def span(first: int, last: int) -> int:
    """Every number from the first to the last, both included; empty where the last is smaller."""
    return (1 << last + 1) - (1 << first) if first <= last else EMPTY


def numbers_in(numbers: int) -> Iterator[int]:
    """The numbers, ascending."""
    while numbers:
        lowest = numbers & -numbers
        yield lowest.bit_length() - 1
        numbers ^= lowest


def smallest(numbers: int) -> int:
    """The smallest number of a set that is not empty."""
    assert numbers, "an empty set has no smallest number"
    return (numbers & -numbers).bit_length() - 1


def largest(numbers: int) -> int:
    """The largest number; 0 of the empty set, because periods are numbered from 1."""
    return max(0, numbers.bit_length() - 1)


def between(numbers: int, first: int, last: int) -> int:
    """Those of the numbers that lie from the first to the last, both included."""
    return numbers & span(first, last)


def above(numbers: int, number: int) -> int:
    """Those of the numbers that are larger than one."""
    return numbers >> number + 1 << number + 1


def longest_without(numbers: int, breaks: int) -> int:
    """The most of the numbers that follow one another with no break between them, whatever else lies between.

    >>> longest_without(of([1, 2, 4, 5, 6, 9]), breaks=of([3, 8]))
    3
    """
    if not breaks:
        return numbers.bit_count()
    # One hexadecimal digit for each number, 1 where it is in the set and 2 where a break is: the loop is C's.
    digits = f"{int(f'{numbers:b}', 16) + 2 * int(f'{breaks:b}', 16):x}"
    return max(map(len, digits.replace("0", "").split("2")))
