"""Databases that are there and of no use: read-only for a while, as around a failover, or standing still.

Drawn with dice of their own, so that what else a seed plans stays as it was. Whatever else happens meanwhile, an outage
ends: what was made read-only takes changes again, and what stood still goes on.
"""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg
from tests.store.clusters import family

from kosminar.store.embedded_host import CLUSTER

READ_ONLY, FROZEN = "read-only", "frozen"
CHANCES = {READ_ONLY: 0.2, FROZEN: 0.2}
# A pulse is a tenth of a second in these worlds, and half a second without one is silence, or a whole one.
SECONDS = {READ_ONLY: (0.05, 0.3, 1.0), FROZEN: (0.05, 0.4, 0.9, 1.8)}
AFTER_SECONDS_MAX = 0.09
AGAIN_SECONDS = 0.02

CUTS = ("all", "all", "half", "none")
"""Whose connections are cut when a database becomes read-only. When it takes changes again, nobody's are."""

OPEN = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


@dataclass(frozen=True)
class Outage:
    """One of them, by the round's clock."""

    after_seconds: float
    what: str
    lasts_seconds: float
    cut: str


def outages_of(seed: int, round_number: int) -> tuple[Outage, ...]:
    """Those of one round: the same seed and number, the same outages."""
    random = Random(f"outages of round {round_number} of {seed}")
    return tuple(
        Outage(
            after_seconds=random.random() * AFTER_SECONDS_MAX,
            what=what,
            lasts_seconds=random.choice(SECONDS[what]),
            cut=random.choice(CUTS),
        )
        for what, chance in CHANCES.items()
        if random.random() < chance
    )


async def befall(outage: Outage, *, server: str, database: str, data_directory: Path) -> None:
    """Bring it about and end it; `server` is the URL of another database there."""
    await asyncio.sleep(outage.after_seconds)
    if outage.what == FROZEN:
        await _stand_still(data_directory, outage.lasts_seconds)
        return
    cuts = {"all": [OPEN], "half": [f"{OPEN} AND pid % 2 = 0"], "none": []}[outage.cut]
    await _say(server, database, f"ALTER DATABASE {database} SET default_transaction_read_only = on", *cuts)
    try:
        await asyncio.sleep(outage.lasts_seconds)
    finally:
        await _say(server, database, f"ALTER DATABASE {database} RESET default_transaction_read_only")


async def _stand_still(data_directory: Path, seconds: float) -> None:
    with suppress(OSError):  # It may be dead just now.
        leader = int((data_directory / CLUSTER / "postmaster.pid").read_text().split()[0])
        _signal([leader], signal.SIGSTOP)
        stopped = family(leader)
        _signal(stopped, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            # Others may have been started by one that was killed and came back; they stand nowhere.
            _signal([*reversed(stopped)], signal.SIGCONT)


def _signal(process_ids: list[int], number: signal.Signals) -> None:
    for process_id in process_ids:
        with suppress(ProcessLookupError):
            os.kill(process_id, number)


async def _say(server: str, database: str, *statements: str) -> None:
    """Until it was heard: PostgreSQL may be recovering, or stand still."""
    while True:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(server)
            try:
                for statement in statements:
                    await connection.execute(statement, *([database] if "$1" in statement else []))
            finally:
                await connection.close()
            return
        await asyncio.sleep(AGAIN_SECONDS)
