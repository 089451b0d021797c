"""A client that takes no silence for an answer: what was not answered is asked again, of either server, until it is.

Every call keeps when it was first sent and when it was answered, by one counter for all, so that the accepted order can be
held against it.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec
from tests.model import slow_model as model
from tests.simulation import http
from tests.simulation.machine import Server
from tests.simulation.plan import Activities, Advance, Asked, Deactivation, Enrolment, keyed

ASK_AGAIN = frozenset({503})
PAUSE_SECONDS = 0.02
PAUSE_GROWTH, PAUSE_SECONDS_MAX = 1.5, 0.4
TIMEOUT_SECONDS = 10.0
ANSWER_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
"""Longer than any recovery, on a machine that is busy: who is not answered by then never will be."""

ENCODER = msgspec.json.Encoder(decimal_format="number")
DECODER = msgspec.json.Decoder(float_hook=Decimal)


class Unanswered(Exception):
    """Nobody answered in all the time that one may take."""


@dataclass
class Call:
    """One request from its first sending to its answer."""

    number: int
    organisation_index: int
    asked: Asked
    server: int
    username: str
    password: str
    sent: int = 0
    answered: int = 0
    status: int = 0
    answer: Any = None
    attempts: list[str] = field(default_factory=list)

    @property
    def lost_count(self) -> int:
        """Attempts of which nobody knows what became."""
        return len(self.attempts) - 1

    @property
    def keyed(self) -> bool:
        return keyed(self.asked)

    @property
    def codes(self) -> list[int]:
        """Of an enrolment's answer: errors, then warnings."""
        told = [*(self.answer["errors"] or ()), *(self.answer["warnings"] or ())]
        return [one["code"] for one in told]

    @property
    def brief(self) -> str:
        """Which one it was, without what it said."""
        key = "with a key" if self.keyed else "without a key"
        return (
            f"call {self.number} by {self.username} {key} (sent {self.sent}, answered {self.answered}, {self.attempts})"
        )

    def __str__(self) -> str:
        return f"{self.brief}: {self.asked}: {self.status} {self.answer}"


class Asker:
    """Asks both servers; `moments` counts what is sent and answered."""

    def __init__(self, seed: int, servers: list[Server]) -> None:
        self._seed = seed
        self._servers = servers
        self._moments = count(1)
        self._answered = asyncio.Event()
        self.tallies: Counter[str] = Counter()
        self.incidents: list[str] = []

    async def ask(self, call: Call, method: str, path: str, body: Any, *, patience_seconds: float | None) -> None:
        """Returns when it was answered; raises Unanswered."""
        content = b"" if body is None else ENCODER.encode(body)
        headers = {}
        if call.keyed:
            headers["Idempotency-Key"] = f"{self._seed}-{call.number}"
        auth = (call.username, call.password)
        call.sent = next(self._moments)
        self.tallies["calls"] += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                timeout = TIMEOUT_SECONDS if patience_seconds is None else patience_seconds
                while not await self._attempt(call, method, path, content, headers, auth, timeout):
                    self.tallies["repeated"] += 1
                    timeout = TIMEOUT_SECONDS
                    pause_seconds = PAUSE_SECONDS * PAUSE_GROWTH ** min(len(call.attempts), 20)
                    await asyncio.sleep(min(pause_seconds, PAUSE_SECONDS_MAX))
        except TimeoutError:
            raise Unanswered(str(call)) from None
        call.answered = next(self._moments)
        self._answered.set()

    def moment(self) -> int:
        """Now: later than every sending and answer before, and earlier than those to come."""
        return next(self._moments)

    async def hear_answer(self) -> None:
        """Wait for the next one, if it comes soon."""
        self._answered.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._answered.wait(), ANSWER_SECONDS)

    async def _attempt(
        self,
        call: Call,
        method: str,
        path: str,
        content: bytes,
        headers: dict[str, str],
        auth: tuple[str, str],
        timeout: float,
    ) -> bool:
        server = self._servers[(call.server + len(call.attempts)) % len(self._servers)]
        if server.port is None:
            call.attempts.append("down")
            # Whichever is up first; polling would cost more than it tells.
            waiting = [asyncio.create_task(one.up.wait()) for one in self._servers]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
            return False
        try:
            response = await http.send(
                server.port, method, path, auth=auth, content=content, headers=headers, timeout=timeout
            )
        except http.LOST as error:
            call.attempts.append(type(error).__name__)
            return False
        call.attempts.append(str(response.status))
        if response.status in ASK_AGAIN:
            return False
        if response.status >= 500:
            self.incidents.append(f"{call}: {response.content.decode()}")
            return False
        call.status = response.status
        call.answer = DECODER.decode(response.content)
        return True


def request_of(asked: Asked, groups: list[tuple[int, int]]) -> tuple[str, str, Any]:
    """Method, path and body; `groups` has the ids of group and target of each programme."""
    match asked:
        case Advance():
            return "POST", "/v1/clock/advance", {"to": asked.to.isoformat()}
        case Activities():
            return "POST", "/v1/activities", {"activities": [_item(*one) for one in asked.items]}
        case Deactivation():
            return "DELETE", f"/v3/targetGroups/{groups[asked.programme_index][0]}", None
        case Enrolment():
            group_id, target_id = groups[asked.programme_index]
            path = f"/v3/targetGroups/{group_id}/targets/{target_id}"
            if isinstance(asked.command, model.UnEnrol):
                return "POST", f"{path}/unEnroll", [{"customerId": asked.customer_id}]
            body = {
                "customerId": asked.customer_id,
                "periodName": asked.command.period_name,
                "initialBalance": asked.command.initial_balance,
                "resetStreakStatus": asked.command.reset,
            }
            return "POST", f"{path}/enroll", [body]


def _item(customer_id: int, act: model.Act) -> dict[str, Any]:
    return {
        "id": act.activity_id,
        "customerId": customer_id,
        "type": act.type,
        "occurredAt": act.occurred_at.astimezone(UTC).isoformat(),
        "attributes": act.attributes,
    }
