"""The yardsticks' databases: tables and statements of their own, which Kosminar's schema and code do not change.

schema.sql says what the tables are; fill*.sql put customers in; the other files are the statements that are measured.
Nothing here may use Kosminar's migrations, statements or modules: tests/structure/test_yardsticks.py looks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from benchmarks.stage import Stage

HERE = Path(__file__).parent
ORGANISATION_ID = TARGET_GROUP_ID = TARGET_ID = PERIOD_ID = 1
# Of the transaction's advisory lock; any number, the same for all.
DEFINITIONS_KEY = 1


def statement(name: str) -> str:
    return (HERE / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def filled(stage: "Stage", name: str, fill: str, *, customer_count: int, target_count: int = 1) -> Iterator[str]:
    """A database of that name with so many customers, numbered from 1, for as long as the context lasts."""

    async def make(connection: asyncpg.Connection) -> None:
        # What goes in is consistent, and looking up each foreign key of ten million rows would take long.
        await connection.execute("SET session_replication_role = replica; SET work_mem = '512MB'")
        await connection.execute(
            "SELECT set_config('yardstick.customers', $1, false), set_config('yardstick.targets', $2, false)",
            str(customer_count),
            str(target_count),
        )
        for file in ("schema", "fill", fill):
            await connection.execute(statement(file))
        # Else the server would do it while something is measured.
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")

    with stage.cloned(name, template="template0"):
        stage.with_connection(name, make)
        yield name
