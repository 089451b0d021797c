"""Connections: told once, and not one by one, what the rows of our tables look like; how they plan; what their loss is.

Whole rows are sent as values of their tables' types (store/sql, `unnest(:rows::progress[])`), and the driver asks the
database about each such type on each connection that it opens: some forty milliseconds of PostgreSQL's time in all.
What one connection has learned, the others of its kind know. It leans on one internal of asyncpg, whose version is
pinned; tests/store/test_connections.py notices when that is gone.
"""

from collections.abc import Iterable
from typing import Any, Final

import asyncpg

from kosminar.store.queries import Connection, load

QUERIES: Final = load("connections")

# The database is away, restarting, read-only, full or failing: nothing is wrong with what it was asked. A server in
# recovery and a session that is read-only by default report the same error.
AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresIOError,
)


def sharing_types(base: type[asyncpg.Connection]) -> type[asyncpg.Connection]:
    """A class of connections to one database, whose types stay as they are for as long as the class is used."""
    learned: dict[frozenset[int], Any] = {}

    class SharingConnection(base):  # type: ignore[misc]  # mypy wants a class that is known beforehand.
        async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> Any:  # noqa: ASYNC109 -- As asyncpg has it.
            asked = frozenset(typeoids)
            if asked not in learned:
                learned[asked] = await super()._introspect_types(typeoids, timeout)
            return learned[asked]

    return SharingConnection


async def plan_by_key(connection: asyncpg.Connection) -> None:
    """From now on plan each statement once, to find rows by their key: what a batch asks for is a few rows of many.

    Left to itself, PostgreSQL plans what loads standings anew each time, which takes as long as to execute it; and what
    it plans while a table is empty reads the whole of it, also when it has grown (ADR-0028). A server with Citus goes on
    as usual: it needs the values of parameters to plan, and refuses a third of our statements without (ADR-0041). The
    same statement asks for that and sets the mode, in one round trip.
    """
    await QUERIES["plan_by_key"].run(connection)


async def plan_as_usual(connection: Connection) -> None:
    """Until the transaction ends: for what reads all there is of something, where another plan is better."""
    await QUERIES["plan_as_usual"].run(connection)


def is_away(error: BaseException) -> bool:
    """Whether the same may well be done if it is asked again later, without a change on our side."""
    return isinstance(error, AWAY) or was_lost(error)


def was_lost(error: BaseException) -> bool:
    """The driver's word for a connection or pool that died or closed under us, whatever it was doing.

    Its other interface errors are our mistakes.
    """
    if isinstance(error, asyncpg.InternalClientError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and any(
        sign in str(error) for sign in ("is closed", "is closing", "was closed", "released back to the pool")
    )
