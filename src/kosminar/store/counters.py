"""Counters in the database: batches insert changes, one job adds them to totals, and readers take both.

Nothing is updated by batches: each batch would wait for the one before to commit. Reasons: ADR-0043.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from operator import add
from typing import Any, Final, NamedTuple

from kosminar.core.bucket import bucket_of_group
from kosminar.core.counter import SLOT_COUNT, CounterKey, Counters, Counts
from kosminar.store.queries import Connection, array, load
from kosminar.store.saving import Part
from kosminar.store.standings import EVERY_BUCKET

QUERIES: Final = load("counters")

# Beside the key of migration.py, below those of organisations.
LOCK_KEY: Final = 7_238_410_563


def changes_part(counters: Counters, *, bucket: int) -> Part:
    """What a transaction moved, under a bucket of its own."""
    return Part(QUERIES["insert_counter_changes"], list(counters.rows()), lambda rows: _changes(rows, bucket))


def _changes(rows: Sequence[tuple[CounterKey, Counts]], bucket: int) -> dict[str, Any]:
    return {
        "bucket": bucket,
        "organisation_ids": array([key.organisation_id for key, _ in rows]),
        "target_group_ids": array([key.target_group_id for key, _ in rows]),
        "period_numbers": array([key.period_number for key, _ in rows]),
        "days": array([key.day for key, _ in rows]),
        "total_buckets": array([bucket_of_group(key.organisation_id, key.target_group_id) for key, _ in rows]),
        "counts": array([_moved(counts) for _, counts in rows]),
    }


async def add_changes(connection: Connection) -> int:
    """Add the changes that are there to their totals and remove them, in the caller's transaction; how many they were.

    0 also while another process adds them.
    """
    assert connection.is_in_transaction(), "outside a transaction changes could be removed and not added"
    if not await QUERIES["try_lock_totals"].value(connection, key=LOCK_KEY):
        return 0
    await QUERIES["plan_sums_by_hash"].run(connection)
    taken = await QUERIES["take_counter_changes"].rows(connection, buckets=EVERY_BUCKET)
    if not taken:
        return 0
    keys = {
        "buckets": [row["total_bucket"] for row in taken],
        "organisation_ids": [row["organisation_id"] for row in taken],
        "target_group_ids": [row["target_group_id"] for row in taken],
        "period_numbers": [row["period_number"] for row in taken],
        "days": [row["day"] for row in taken],
    }
    totals = {row["place"] - 1: row["counts"] for row in await QUERIES["list_totals"].rows(connection, **keys)}
    sums = [_sum(_whole(row["counts"]), totals.get(place, ())) for place, row in enumerate(taken)]
    await QUERIES["save_totals"].run(connection, **keys, counts=[array(counts) for counts in sums])
    return sum(row["change_count"] for row in taken if row["day"] is None)


class Overview(NamedTuple):
    """What an overview shows of a group: of all days, or of one day what that day moved.

    `stretches_left` are those that ended; `achieved_now` are achievements in the period that was named.
    """

    enrolled: int
    stretches_left: int
    achieved: int
    on_streak: int
    issued: int
    achieved_now: int


NOTHING_YET: Final = Overview(0, 0, 0, 0, 0, 0)


async def list_overview(
    connection: Connection, organisation_id: int, running_numbers: Mapping[int, int], *, first_day: date
) -> dict[int, dict[date | None, Overview]]:
    """By group id and day, None for all days; a group or day in which nothing was counted is not there.

    `running_numbers` names for each group id the period of which `achieved_now` is told, 0 for none.
    """
    rows = await QUERIES["list_overview"].rows(
        connection,
        organisation_id=organisation_id,
        buckets=EVERY_BUCKET,
        total_buckets=[bucket_of_group(organisation_id, group_id) for group_id in running_numbers],
        target_group_ids=list(running_numbers),
        running_numbers=list(running_numbers.values()),
        first_day=first_day,
    )
    found: dict[int, dict[date | None, Overview]] = defaultdict(dict)
    for target_group_id, day, *numbers in rows:
        found[target_group_id][day] = Overview(*numbers)
    return found


async def list_all(connection: Connection, organisation_id: int) -> dict[CounterKey, Counts]:
    """Every row of counters of an organisation as readers see it, of days and of all days.

    A row in another bucket than its group's is read by nobody.
    """
    sums: dict[CounterKey, Sequence[int]] = {}
    rows = await QUERIES["list_counters"].rows(connection, organisation_id=organisation_id, buckets=EVERY_BUCKET)
    for total_bucket, target_group_id, period_number, day, first_place, counts, waits in rows:
        if total_bucket != bucket_of_group(organisation_id, target_group_id):
            continue
        for shown in {day, None} if waits else {day}:
            key = CounterKey(organisation_id, target_group_id, period_number, shown)
            sums[key] = _sum(_whole(counts, first_place=first_place), sums.get(key, ()))
    return {key: Counts(counts) for key, counts in sums.items()}


def _sum(one: Sequence[int], other: Sequence[int]) -> Sequence[int]:
    return list(map(add, one, other or (0,) * SLOT_COUNT))


def _whole(counts: Sequence[int | None], *, first_place: int = 1) -> Sequence[int]:
    """All places of a row of which some are there, the first of them being 1."""
    return (
        [0] * (first_place - 1)
        + [number or 0 for number in counts]
        + [0] * (SLOT_COUNT - first_place + 1 - len(counts))
    )


def _moved(counts: Counts) -> str:
    """The same without zeros at both ends: of forty numbers an activity mostly moves two that stand together."""
    moved = [place for place, number in enumerate(counts, 1) if number]
    return f"[{moved[0]}:{moved[-1]}]=" + array(counts[moved[0] - 1 : moved[-1]])
