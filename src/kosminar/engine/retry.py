"""Transactions that are tried again: which failures another attempt can mend, how often, and what is raised otherwise.

A deadlock, a serialization failure or a lock that is not granted means that another transaction was faster: the same
work is done again, on a fresh connection, up to ten times in all. Each such failure is logged and counted. A database
that is away or refuses is reported as NotSaved at once, because the caller knows best whether to send the request
again. What a value of the request causes is raised as it is.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg
import structlog

from kosminar.engine.meters import Meters
from kosminar.store.connections import is_away
from kosminar.store.queries import Connection

# A deadlock or a serialization failure lets another transaction go on; ten in a row is a fault.
ATTEMPT_COUNT_MAX: Final = 10


class NotSaved(Exception):
    """The database could not be reached or refused; it is unknown only if the connection broke during commit."""


class Interrupted(Exception):
    """Raised by work that finds that another transaction was faster; the next attempt sees what that one did."""


class Overtaken(Exception):
    """As Interrupted, where the other transaction took something that it keeps for ever.

    Such attempts are not counted: each of them leaves less to be taken, so they end.
    """


INTERRUPTED: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    Interrupted,
)
# InternalClientError is what asyncpg makes of a connection that dies while it is idle.
UNREACHABLE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# What one request can do to a transaction; everything else that the database says concerns all requests alike.
CAUSED_BY_A_REQUEST: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

T = TypeVar("T")

LOG: Final = structlog.get_logger()


async def in_attempts(
    pool: asyncpg.Pool, work: Callable[[Connection], Awaitable[T]], *, retried_event: str, meters: Meters
) -> T:
    """The result of `work`, which begins and commits its transaction on the connection that it gets.

    `retried_event` names the log line of an attempt that was interrupted. Raises NotSaved, and as they are
    CAUSED_BY_A_REQUEST and all errors that are not the database's.
    """
    attempt = 1
    while attempt <= ATTEMPT_COUNT_MAX:
        try:
            async with pool.acquire() as connection:
                return await work(connection)
        except (*INTERRUPTED, Overtaken) as error:
            LOG.info(retried_event, attempt=attempt, error=type(error).__name__)
            meters.batch_retries.inc()
            attempt += not isinstance(error, Overtaken)
        except UNREACHABLE as error:
            raise NotSaved("the database could not be reached") from error
        except CAUSED_BY_A_REQUEST:
            raise
        except asyncpg.PostgresError as error:
            raise NotSaved("the database could not take the change") from error
    raise NotSaved("the database kept reporting deadlocks")


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not be reached or refused, so that the same request may well succeed later."""
    return isinstance(error, NotSaved) or is_away(error)
