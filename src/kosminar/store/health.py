"""What the database says about itself, for `kosminar doctor` and the readiness probe."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kosminar.store.queries import Connection, load

QUERIES: Final = load("health")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`server_version` is the major one."""

    server_version: int
    encoding: str
    fsync: bool
    synchronous_commit: bool
    connection_count: int
    connection_count_max: int
    now: datetime


async def fetch(connection: Connection) -> ServerFacts:
    return ServerFacts(**await QUERIES["fetch_server_facts"].row(connection))


async def find_hindrance(connection: Connection, *, writing: bool) -> str | None:
    """Why the database takes no changes; None if it does. With `writing`, something is written that leaves nothing.

    Raises what PostgreSQL says where the write itself fails, as on a full disk. Waits like a commit.
    """
    row = await QUERIES["find_hindrance"].row(connection, writing=writing)
    if row["in_recovery"]:
        return "in recovery: a standby, or a primary that is being restored"
    return "read-only: default_transaction_read_only is on" if row["read_only"] else None
