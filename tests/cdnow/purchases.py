"""The CDNOW purchases, read from the packed file.

Owns the one way to the raw rows: the file's own order, exact decimals, nothing dropped or merged. Where the data comes
from: tests/data/README.md.
"""

import csv
import gzip
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent.parent / "data" / "cdnow.csv.gz"


class Purchase(NamedTuple):
    line_number: int  # In the unpacked file, whose header is line 1.
    customer_id: int
    purchased_on: date
    quantity: int
    amount: Decimal


@cache
def all_purchases() -> tuple[Purchase, ...]:
    """Every purchase in the file's order: by customer, then by day."""
    with gzip.open(FILE, "rt", encoding="ascii", newline="") as lines:
        return tuple(
            Purchase(
                line_number,
                int(row["customer_id"]),
                date.fromisoformat(row["date"]),
                int(row["quantity"]),
                Decimal(row["amount"]),
            )
            for line_number, row in enumerate(csv.DictReader(lines), start=2)
        )


def months() -> Iterator[tuple[int, int, tuple[Purchase, ...]]]:
    """Year, month and that month's purchases, month by month; inside a month the file's order stays."""

    def month(purchase: Purchase) -> tuple[int, int]:
        return purchase.purchased_on.year, purchase.purchased_on.month

    for (year, number), purchases in groupby(sorted(all_purchases(), key=month), key=month):
        yield year, number, tuple(purchases)


def customer_ids() -> list[int]:
    return sorted({purchase.customer_id for purchase in all_purchases()})
