"""Connections to PostgreSQL that break by the seed: what a driver can meet, at every statement, COMMIT above all.

Errors are real ones: the statement is replaced or followed by one that PostgreSQL itself fails with the wanted code,
so that the transaction is lost on its side too. A cut connection is cut before, in the middle of or after a statement;
in the middle of COMMIT nobody knows what came of it. And now and then the process dies at that very place.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import asyncpg
from tests.simulation.switchboard import Switchboard

ERRORS = {
    "disk_full": "53100",
    "deadlock": "40P01",
    "serialization": "40001",
    "lock_not_available": "55P03",
    "query_canceled": "57014",
}

RATE, RATE_OF_COMMIT, RATE_OF_REPETITION = 0.008, 0.03, 0.02
KINDS = {
    "error instead": 25,
    "error after": 20,
    "cut before": 10,
    "cut amid": 20,
    "cut after": 15,
    "death before": 2,
    "death amid": 2,
    "death after": 2,
}
KINDS_OF_COMMIT = {
    "error instead": 20,
    "cut before": 10,
    "cut amid": 30,
    "cut after": 20,
    "death before": 5,
    "death amid": 8,
    "death after": 7,
}
# No transaction stays open behind a BEGIN that failed.
KINDS_OF_BEGIN = {kind: weight for kind, weight in KINDS.items() if kind != "error after"}
# Whoever rolls back has an error already, and what tidies a connection up before its next use locks nothing:
# PostgreSQL has no error for either.
KINDS_WITHOUT_ERROR = {"cut before": 1, "cut amid": 1, "cut after": 1, "death amid": 1}
TIDIES_UP = "UNLISTEN *"

AMID_SECONDS = (0.0, 0.0, 0.0005, 0.002)


def faulty_connection(random: Random, rate: float, switchboard: Switchboard) -> type[asyncpg.Connection]:
    """A class of connections that share one row of dice, in the order in which their statements are sent."""

    recent: deque[str] = deque(maxlen=2)

    class FaultyConnection(asyncpg.Connection):
        async def execute(self, query: str, *args: Any, **options: Any) -> Any:
            return await self._with_faults(
                query, lambda: super(FaultyConnection, self).execute(query, *args, **options)
            )

        async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
            return await self._with_faults(query, lambda: super(FaultyConnection, self).fetch(query, *args, **options))

        async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
            return await self._with_faults(
                query, lambda: super(FaultyConnection, self).fetchrow(query, *args, **options)
            )

        async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
            return await self._with_faults(
                query, lambda: super(FaultyConnection, self).fetchval(query, *args, **options)
            )

        async def executemany(self, command: str, args: Any, **options: Any) -> Any:
            return await self._with_faults(
                command, lambda: super(FaultyConnection, self).executemany(command, args, **options)
            )

        async def _with_faults(self, query: str, send: Callable[[], Awaitable[Any]]) -> Any:
            word = query.lstrip()[:8].upper()
            commits, errs = word.startswith("COMMIT"), not word.startswith("ROLLBACK") and TIDIES_UP not in query
            kinds = KINDS_OF_COMMIT if commits else KINDS if errs else KINDS_WITHOUT_ERROR
            if word.startswith("BEGIN"):
                kinds = KINDS_OF_BEGIN
            # Drawn whether or not faults are wanted just now: the dice do not know.
            hit = random.random() < rate * (RATE_OF_COMMIT if commits else RATE) * self._freshness(query)
            kind = random.choices(list(kinds), list(kinds.values()))[0]
            error = random.choice(list(ERRORS))
            delay_seconds = random.choice(AMID_SECONDS)
            if not hit or not switchboard.faults_left:
                return await send()
            switchboard.count(f"commit: {kind}" if commits else kind)
            return await self._befall(kind, send, error=error, delay_seconds=delay_seconds, commits=commits)

        def _freshness(self, query: str) -> float:
            """A statement that is said over and over, bucket by bucket, counts as little more than one."""
            again = query in recent
            recent.append(query)
            return RATE_OF_REPETITION if again else 1.0

        async def _befall(
            self, kind: str, send: Callable[[], Awaitable[Any]], *, error: str, delay_seconds: float, commits: bool
        ) -> Any:
            match kind:
                case "error instead":
                    try:
                        await self._fail(error)
                    finally:
                        if commits:
                            # A COMMIT that fails ends its transaction all the same.
                            await super().execute("ROLLBACK")
                case "error after":
                    await send()
                    await self._fail(error)
                case "cut before":
                    self._cut()
                    return await send()
                case "cut amid":
                    asyncio.get_running_loop().call_later(delay_seconds, self._cut)
                    return await send()
                case "cut after":
                    await send()
                    self._cut()
                    raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
                case "death before":
                    _die()
                case "death amid":
                    asyncio.get_running_loop().call_later(delay_seconds, _die)
                    return await send()
                case "death after":
                    await send()
                    _die()
            raise AssertionError(kind)

        async def _fail(self, error: str) -> None:
            await super().execute(
                f"DO $$ BEGIN RAISE EXCEPTION 'simulated: {error}' USING ERRCODE = '{ERRORS[error]}'; END $$"
            )

        def _cut(self) -> None:
            if self._transport is not None:
                self._transport.abort()

    return FaultyConnection


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
