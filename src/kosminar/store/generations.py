"""Generations: the database notices that it is a copy of another one, or of an earlier self, and gives no id twice.

A restore and a failover to a standby that was behind bring back a database from which ids were given that it no longer
knows of. Restored or promoted, PostgreSQL writes on under another timeline, or is another server, or has made the
tables again. Each connection is compared with what the newest generation says before it is used, and where it differs a
new one begins: ids jump to numbers that no copy has given, and event ids carry the generation. Reasons, and what is not
noticed: ADR-0034. Tests: tests/store/test_generations.py, test_restored_ids.py, test_failover.py.
"""

import logging
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from kosminar.store.queries import Connection, load

QUERIES: Final = load("generations")

# An arbitrary number of our own; every process that begins a generation takes the same lock.
LOCK_KEY: Final = 7_238_410_563

COUNTED_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Microseconds since then are below 2^53 until the year 2311, and a 256th of them below 2^43 until 2097."""

DEFINITIONS_SHIFT: Final = 8
FIRST_TIMELINE: Final = 1

# What a server says that does not tell an ordinary role which one it is, or that is no PostgreSQL of the usual kind.
_UNKNOWN: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.UndefinedFunctionError,
)

_log = logging.getLogger(__name__)


class ClockBehind(OSError):
    """A new generation must begin, and the machine's clock shows an earlier instant than the last one began at.

    An OSError, because the database cannot be used from this machine until the clock is right.
    """


@dataclass(frozen=True, slots=True)
class Home:
    """Where a database is. pg_restore makes the table again; a restore of the log and a promotion begin a timeline.

    The server's own two are None where it does not tell; the timeline also while the server is in recovery.
    """

    table_id: int
    server_id: int | None
    timeline: int | None

    @property
    def known(self) -> bool:
        return self.server_id is not None

    def differs(self, other: "Home") -> bool:
        """By what is known of both."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return any(mine != theirs for mine, theirs in pairs if None not in (mine, theirs))


@dataclass(frozen=True, slots=True)
class Generation:
    """One of a database's generations, and where it began."""

    number: int
    began_at: datetime
    began_in: Home


@dataclass(frozen=True, slots=True)
class Comparison:
    """The newest generation, None before the first; and where the database is now."""

    newest: Generation | None
    here: Home
    read_only: bool

    @property
    def copied(self) -> bool:
        """Whether the database is a copy whose generation has not begun yet."""
        if self.newest is None:
            # Older than generations are: on its first timeline it was never restored by way of its log.
            return self.here.timeline not in (None, FIRST_TIMELINE)
        return self.newest.began_in.differs(self.here)

    @property
    def incomplete(self) -> bool:
        """Whether there is something to write."""
        return self.copied or self.newest is None or (self.here.known and not self.newest.began_in.known)


def floor_of_definitions(generation: int) -> int:
    """The first id of a group, target, level or reward definition that a generation gives.

    There is one for each 256 microseconds: with a period's number they stay below 2^53 until 2097, however many
    generations begin, and a copy would have to give 3,900 of them a second ever since to meet one that began later.
    """
    return generation >> DEFINITIONS_SHIFT


async def compare(connection: Connection) -> Comparison | None:
    """None where the schema has no generations yet; outside a transaction."""
    try:
        return _comparison(await QUERIES["compare_generation"].row(connection))
    except asyncpg.UndefinedTableError:
        return None
    except _UNKNOWN:
        return _comparison(await QUERIES["find_newest_generation"].row(connection))


async def keep(connection: Connection, *, now: datetime) -> int | None:
    """Begin a new generation if the database is a copy, and answer its number; the first one, if there is none.

    To be called before anything is written through the connection, outside a transaction. Writes nothing where the
    generation is known, and nothing on a server that is read-only: there the session stays so. Raises ClockBehind.
    """
    compared = await compare(connection)
    if compared is None:
        return None
    if compared.read_only:
        # Once the server is promoted, the session would take changes, and its generation has not begun.
        await QUERIES["stay_read_only"].run(connection)
        return None
    if not compared.incomplete:
        return None
    async with connection.transaction():
        compared = await _lock(connection, compared)
        if compared.copied:
            return await _begin(connection, compared, now)
        if compared.newest is None:
            await _insert(connection, Generation(0, now, compared.here))
            return 0
        if compared.incomplete:
            here = compared.here
            await QUERIES["save_server_of_generation"].run(
                connection, generation=compared.newest.number, server_id=here.server_id, timeline=here.timeline
            )
        return None


async def begin(connection: Connection, *, now: datetime) -> int:
    """Begin a new generation in any case, for a copy that looks like its origin; answers its number.

    The schema is up to date. Raises ClockBehind.
    """
    compared = await compare(connection)
    assert compared is not None, "the schema is up to date"
    async with connection.transaction():
        return await _begin(connection, await _lock(connection, compared), now)


async def _lock(connection: Connection, compared: Comparison) -> Comparison:
    """Another process may have begun the generation since; the server that answers is the same."""
    await QUERIES["lock_generations"].run(connection, key=LOCK_KEY)
    newest = _comparison(await QUERIES["find_newest_generation"].row(connection)).newest
    return replace(compared, newest=newest)


async def _begin(connection: Connection, compared: Comparison, now: datetime) -> int:
    """Ids jump first: when the generation is seen to have begun, none is given that is too low."""
    newest = compared.newest
    number = (now - COUNTED_FROM) // timedelta(microseconds=1)
    if number <= 0 or (newest is not None and (number <= newest.number or now < newest.began_at)):
        latest = COUNTED_FROM if newest is None else newest.began_at
        raise ClockBehind(
            f"This database is a copy and must begin a new generation, but this machine's clock shows {now.isoformat()}, "
            f"and the last one began at {latest.isoformat()}. Set the clock (NTP) and start again."
        )
    await QUERIES["raise_identities"].rows(connection, floor=number, floor_of_definitions=floor_of_definitions(number))
    await _insert(connection, Generation(number, now, compared.here))
    _log.warning(
        "The database is a copy of another one, or of an earlier state: it was restored, or a standby took over. It goes "
        "on as generation %s: new ids and event ids begin there.",
        number,
    )
    return number


async def _insert(connection: Connection, generation: Generation) -> None:
    await QUERIES["insert_generation"].run(
        connection, generation=generation.number, began_at=generation.began_at, **asdict(generation.began_in)
    )


def _comparison(row: Any) -> Comparison:
    newest = None
    if row["generation"] is not None:
        began_in = Home(row["table_id"], row["server_id"], row["timeline"])
        newest = Generation(row["generation"], row["began_at"], began_in)
    here = Home(row["here_table_id"], row["here_server_id"], row["here_timeline"])
    return Comparison(newest, here, row["read_only"])
