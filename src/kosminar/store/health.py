"""What the database says about itself, for `kosminar doctor`."""

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
