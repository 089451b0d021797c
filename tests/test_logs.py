"""What is logged of an exception: what happened and where, and nothing that was stored."""

import subprocess
import sys

FAILING = """
import asyncio, logging, sys
import asyncpg, structlog
from kosminar.logs import configure_logs

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("CREATE TEMPORARY TABLE t (a text UNIQUE CHECK (a <> 'hidden 2'))")
    for value in ("hidden 1", "hidden 1", "hidden 2"):
        try:
            await connection.execute("INSERT INTO t VALUES ($1)", value)
        except asyncpg.PostgresError as error:
            structlog.get_logger().exception("ours")
            logging.getLogger("theirs").exception("theirs")
            try:
                raise RuntimeError("because of it") from error
            except RuntimeError:
                structlog.get_logger().exception("chained")
    await connection.close()

configure_logs("debug")
asyncio.run(main())
"""


def test_an_error_of_the_database_is_logged_without_the_row_that_it_quotes(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, database_url], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stderr.count("violates unique constraint") == done.stderr.count("violates check constraint") == 3
    assert "hidden" not in done.stderr
