"""What differs between an organisation's counters and a recount: row by row, number by number."""

from collections.abc import Iterator, Mapping
from operator import add

from kosminar.core.counter import CounterKey, Counters, Counts, Slot
from kosminar.engine.difference import Difference


def counter_differences(recounted: Counters, found: Mapping[CounterKey, Counts]) -> Iterator[Difference]:
    """Of each day, and of all days, which are the sums of the days. A row of zeros is as good as none."""
    expected: dict[CounterKey, Counts] = {}
    for key, counts in recounted.rows():
        expected[key] = counts
        total = key._replace(day=None)
        expected[total] = Counts(map(add, expected.get(total, _NOTHING), counts))
    for key in sorted(expected.keys() | found.keys(), key=_place):
        wanted, there = expected.get(key, _NOTHING), found.get(key, _NOTHING)
        slots = [slot for slot in Slot if wanted[slot] != there[slot]]
        if slots:
            yield Difference(
                organisation_id=key.organisation_id,
                customer_id=None,
                target_id=None,
                target_name=None,
                what=_told(key),
                expected={slot.name.lower(): wanted[slot] for slot in slots},
                found={slot.name.lower(): there[slot] for slot in slots},
            )


_NOTHING = Counts([0] * len(Slot))


def _place(key: CounterKey) -> tuple[int, int, str]:
    return key.target_group_id, key.period_number, _day(key)


def _told(key: CounterKey) -> str:
    period = f"period {key.period_number}" if key.period_number else "no period"
    return f"counters of target group {key.target_group_id}, {period}, {_day(key)}"


def _day(key: CounterKey) -> str:
    return "all days" if key.day is None else key.day.isoformat()
