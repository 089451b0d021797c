"""Counters of customers who are copies: what their model moved, as often as there are copies."""

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import sub

from benchmarks.stage import Stage

from kosminar.core.counter import SLOT_COUNT, CounterKey, Counters, Counts
from kosminar.store import counters

_NOTHING = Counts([0] * SLOT_COUNT)


class Moved:
    """What a model moved, by group, period and day."""

    def __init__(self, counts: Mapping[CounterKey, Counts]) -> None:
        self._counts = counts

    def times(self, count: int) -> Counter[tuple[CounterKey, int]]:
        """The same as often, number by number."""
        return Counter(
            {(key, slot): count * number for key, row in self._counts.items() for slot, number in enumerate(row)}
        )


class Counting:
    """Finds what each model moves: `moved` is asked after each has come to the organisation."""

    def __init__(self, stage: Stage, database: str, organisation_id: int) -> None:
        self._stage, self._database, self._organisation_id = stage, database, organisation_id
        self._before: Mapping[CounterKey, Counts] = {}

    def moved(self) -> Moved:
        """What moved since it was asked last."""
        now = self._stage.with_connection(self._database, lambda one: counters.list_all(one, self._organisation_id))
        before, self._before = self._before, now
        # Those of all days follow from those of days.
        return Moved({key: Counts(map(sub, now[key], before.get(key, _NOTHING))) for key in now if key.day is not None})


class Added(Counters):
    """What so many copies of each model would have moved."""

    def __init__(self, copies: Mapping[Moved, int]) -> None:
        super().__init__()
        self._sums: Counter[tuple[CounterKey, int]] = Counter()
        for moved, count in copies.items():
            self._sums.update(moved.times(count))

    def rows(self) -> Iterator[tuple[CounterKey, Counts]]:
        for key in sorted({key for key, _ in self._sums}):
            counts = Counts(self._sums[key, slot] for slot in range(SLOT_COUNT))
            if any(counts):
                yield key, counts
