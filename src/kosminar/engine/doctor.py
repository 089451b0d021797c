"""Says what is wrong with an installation, and what to do about it. Looks, and makes one write that leaves nothing."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from kosminar.store import generations, health
from kosminar.store.generations import Comparison
from kosminar.store.migration import pending
from kosminar.store.queries import Connection

SERVER_VERSION_MIN: Final = 15
# Two machines further apart than this would date activity in the wrong period at midnight.
CLOCK_SKEW_MAX: Final = timedelta(seconds=5)
# What one more process may open.
CONNECTIONS_FREE_MIN: Final = 50
# For one small write; it may hang for a synchronous standby that is not there, or for a disk.
WRITE_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `advice` is what to do, empty when all is well."""

    name: str
    healthy: bool
    found: str
    advice: str = ""


async def examine(connection: Connection, *, now: datetime) -> list[Check]:
    """Every check, in the order in which one would mend things."""
    facts = await health.fetch(connection)
    missing = await pending(connection)
    skew = abs(facts.now - now)
    return [
        _check(
            "PostgreSQL version",
            healthy=facts.server_version >= SERVER_VERSION_MIN,
            found=str(facts.server_version),
            advice=f"Upgrade the server to PostgreSQL {SERVER_VERSION_MIN} or newer.",
        ),
        _check("encoding", healthy=facts.encoding == "UTF8", found=facts.encoding, advice="Use a UTF8 database."),
        _check(
            "durable commits",
            healthy=facts.fsync and facts.synchronous_commit,
            found=f"fsync {_on(facts.fsync)}, synchronous_commit {_on(facts.synchronous_commit)}",
            advice="Switch both on: an answer must not be lost with the power.",
        ),
        _check(
            "schema",
            healthy=not missing,
            found="up to date" if not missing else f"missing {', '.join(missing)}",
            advice="Run `kosminar migrate`.",
        ),
        _generation(await generations.compare(connection)),
        _check(
            "clocks",
            healthy=skew <= CLOCK_SKEW_MAX,
            found=f"{skew.total_seconds():.1f} s between this machine and the database",
            advice="Synchronise both machines' clocks (NTP).",
        ),
        _check(
            "connections",
            healthy=facts.connection_count_max - facts.connection_count >= CONNECTIONS_FREE_MIN,
            found=f"{facts.connection_count} of {facts.connection_count_max} in use",
            advice="Raise max_connections.",
        ),
        await _check_writing(connection),
    ]


def _generation(compared: Comparison | None) -> Check:
    """Whether a copy would go on giving ids that its origin gave too; and where the server hides that, what to do."""
    if compared is None or compared.newest is None:
        return _check("generation", healthy=True, found="none yet", advice="")
    found = str(compared.newest.number)
    if not compared.here.known:
        found += (
            "; this server does not tell which one it is, so run `kosminar migrate --new-generation` after each restore "
            "or failover"
        )
    advice = "This database was restored, or a standby took over: run `kosminar migrate`, or start `kosminar serve`."
    return _check("generation", healthy=not compared.copied, found=found, advice=advice)


async def _check_writing(connection: Connection) -> Check:
    """Last of all: a write that hangs may cost the connection."""
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            found = await health.find_hindrance(connection, writing=True)
    except TimeoutError:
        found = f"nothing was saved within {WRITE_SECONDS} seconds"
    except asyncpg.PostgresError as error:
        found = str(error)
    return _check(
        "writing",
        healthy=found is None,
        found=found or "a change was saved",
        advice="Changes are answered with 503 meanwhile. Name the primary, free its disk, or see to its standby.",
    )


def _check(name: str, *, healthy: bool, found: str, advice: str) -> Check:
    return Check(name, healthy, found, "" if healthy else advice)


def _on(value: bool) -> str:  # noqa: FBT001 -- A word for a flag.
    return "on" if value else "off"
