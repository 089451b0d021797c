"""What a batch saves: parts, each a statement on one table with its rows, sent together or one after another.

Each store module makes the parts of its own rows. Where Citus is absent, the parts that have rows are joined into one
statement: one round trip instead of one for each table, which at a few requests a batch is most of what saving costs.
Where it is there, each is sent by itself, because a statement that changes several tables cannot be routed to one node
(ADR-0041). What one statement is given is encoded in one go, in which no request is answered, so a statement is given no
more than takes about ten milliseconds. Tests: tests/store/test_saving.py, tests/engine/test_batch_turns.py.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from kosminar.store.queries import Connection, Query, array, load
from kosminar.store.rows import EndedRow, StandingRow
from kosminar.store.standings import ChangedStanding, CustomerKey, LockedCustomer, StandingKey
from kosminar.turns import in_parts

QUERIES: Final = load("saving")


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table. `columns` makes of some of the rows what the query is given, or None where it has none to write.

    `row_count_max` rows take ten milliseconds. Where every row must be written, the query answers each that is, and `lost`
    is raised where one is missing.
    """

    query: Query
    rows: Sequence[Any]
    columns: Callable[[Any], Mapping[str, Any] | None]
    row_count_max: int = 1_000
    lost: type[Exception] | None = None


class _Share(NamedTuple):
    """So many rows of a part, made ready for its query."""

    part: Part
    row_count: int
    arguments: Sequence[Any]

    def check(self, written_count: int) -> None:
        if self.part.lost is not None and written_count != self.row_count:
            raise self.part.lost(f"{self.part.query.name}: {written_count} of {self.row_count} rows were written")


async def save(connection: Connection, parts: Sequence[Part], *, joined: bool) -> None:
    """In the order of the parts, so that a row comes after what it refers to.

    Joined parts do not see each other's rows, so no two may write the same row.
    """
    if not joined:
        for share in _shares(parts):
            share.check(len(await connection.fetch(share.part.query.text, *share.arguments)))
        return
    for together in _together(parts):
        text = _joined(tuple((share.part.query, share.part.lost is not None) for share in together))
        counts = await connection.fetchrow(text, *(value for share in together for value in share.arguments))
        for share in together:
            share.check(counts.get(share.part.query.name, 0))


def _shares(parts: Sequence[Part]) -> Iterator[_Share]:
    for part in parts:
        for rows in in_parts(part.rows, part.row_count_max):
            columns = part.columns(rows) if rows else None
            if columns is not None:
                yield _Share(part, len(rows), part.query.arguments(columns))


def _together(parts: Sequence[Part]) -> Iterator[list[_Share]]:
    """What one statement is given: each query once, and ten milliseconds of all."""
    together: list[_Share] = []
    room = 1.0
    for share in _shares(parts):
        needed = share.row_count / share.part.row_count_max
        if together and (needed > room or share.part is together[-1].part):
            yield together
            together, room = [], 1.0
        together.append(share)
        room -= needed
    if together:
        yield together


@lru_cache(maxsize=256)
def _joined(queries: tuple[tuple[Query, bool], ...]) -> str:
    """One statement of several; it answers of each that is to be counted how many rows it wrote."""
    texts: list[str] = []
    parameter_count = 0
    for query, _ in queries:
        texts.append(f"{query.name} AS (\n{_renumbered(query.plain, parameter_count)}\n)")
        parameter_count += len(query.parameters)
    counts = [f"(SELECT count(*) FROM {query.name}) AS {query.name}" for query, counted in queries if counted]
    return f"WITH {', '.join(texts)}\nSELECT {', '.join(counts) or 'NULL'}"


def _renumbered(text: str, before: int) -> str:
    return re.sub(r"\$([0-9]+)", lambda match: f"${int(match[1]) + before}", text)


# ---------------------------------------------------------------- customers and standings


def keys(customers: Sequence[CustomerKey]) -> dict[str, str]:
    """The keys of many customers' rows, as the queries name them."""
    return {
        "buckets": array([customer.bucket for customer in customers]),
        "organisation_ids": array([customer.organisation_id for customer in customers]),
        "customer_ids": array([customer.customer_id for customer in customers]),
    }


def customers_part(customers: Mapping[CustomerKey, LockedCustomer]) -> Part:
    """The last numbers that locked customers have taken."""
    return Part(QUERIES["number_customers"], sorted(customers.items()), _numbers)


def _numbers(customers: Sequence[tuple[CustomerKey, LockedCustomer]]) -> dict[str, str]:
    return {
        **keys([key for key, _ in customers]),
        "sequences": array([customer.sequence for _, customer in customers]),
        "notification_numbers": array([customer.notification_number for _, customer in customers]),
        "changed_ats": array([customer.changed_at for _, customer in customers]),
    }


def standing_parts(changed: Sequence[ChangedStanding]) -> list[Part]:
    """The rows of standings that differ, and those of ended periods, which refer to them."""
    moved = [change for change in changed if change.only_value_moved]
    others = [change for change in changed if not change.only_value_moved]
    return [
        Part(QUERIES["begin_standings"], [one for one in others if not one.loaded.is_kept], _standings),
        Part(QUERIES["change_standings"], [one for one in others if one.loaded.is_kept], _standings),
        Part(QUERIES["move_values"], moved, _values, row_count_max=4_000),
        Part(QUERIES["save_ended_periods"], [one for one in others if one.may_have_ended], _ended),
    ]


def _standing_keys(found: Sequence[StandingKey]) -> dict[str, str]:
    return {
        **keys([key.customer for key in found]),
        "target_group_ids": array([key.target_group_id for key in found]),
    }


def _standings(changed: Sequence[ChangedStanding]) -> dict[str, Any]:
    *columns, documents = zip(*[change.row() for change in changed], strict=True)
    return {
        **_standing_keys([change.key for change in changed]),
        **{_plural(name): array(column) for name, column in zip(StandingRow._fields, columns, strict=False)},
        "documents": documents,
    }


def _values(changed: Sequence[ChangedStanding]) -> dict[str, str]:
    return {
        **_standing_keys([change.key for change in changed]),
        "values": array([change.after.targets[0].progress[-1].value for change in changed]),
    }


def _ended(changed: Sequence[ChangedStanding]) -> dict[str, Any] | None:
    rows = [(change.key, row) for change in changed for row in change.ended_rows()]
    if not rows:
        return None
    columns = zip(EndedRow._fields, zip(*[row for _, row in rows], strict=True), strict=True)
    return {
        **_standing_keys([key for key, _ in rows]),
        **{_plural(name): array(column) for name, column in columns if name != "days"},
        "days": [array([day.isoformat() for day in row.days]) for _, row in rows],
    }


def _plural(column: str) -> str:
    """What the queries call the values of a column."""
    name = column.removesuffix("_thousandths")
    return f"{name}es" if name.endswith("s") else f"{name}s"
