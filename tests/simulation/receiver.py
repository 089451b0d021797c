"""The brands' receivers: real HTTP servers that fail, hang, answer late, refuse rewards, and forget nothing.

A receiver does what a careful one does: it verifies every delivery with the independent library, drops repeats by
`eventId`, and says the same of a reward however often it is asked. Until the harness declares it healthy it
misbehaves by the seed three times in ten.
"""

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self

from standardwebhooks import WebhookVerificationError
from tests.engine.receiver import Received, Receiver, Reply, Verifier

MISBEHAVIOUR = 0.3
SLACK = timedelta(seconds=2)
UNDER_WAY_SECONDS = 60.0
"""How long an attempt may take in real time, on a machine that is busy. Meanwhile the wall may be moved by hours."""
REWARD_REFUSED = 0.15
"""The share of rewards that the brand does not want to give."""


class BrandReceiver:
    """One endpoint's other end."""

    def __init__(self, dice: str, event_names: tuple[str, ...] | None, wall: Callable[[float], datetime]) -> None:
        self.event_names = event_names
        self.secrets: list[str] = []
        self.healthy = False
        self.complaints: list[str] = []
        self.tallies: Counter[str] = Counter()
        # Of every customer the notifications in the order in which each was taken for the first time.
        self.taken: dict[int, list[dict[str, Any]]] = defaultdict(list)
        # Of every reward: whether it was given.
        self.given: dict[str, bool] = {}
        self._seen: dict[str, Received] = {}
        self._dice = dice
        self._random = Random(dice)
        self._wall = wall
        self._server = Receiver(self._answer)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    @property
    def url(self) -> str:
        return self._server.url

    async def _answer(self, received: Received) -> Reply:
        self.tallies["deliveries attempted"] += 1
        bad = self._random.random() < MISBEHAVIOUR
        kind = self._random.choice(("error", "error", "silence", "hang", "late", "taken in silence"))
        status = self._random.choice((500, 502, 503, 404, 429, 302))
        seconds = self._random.random() * 0.3
        if self.healthy or not bad:
            return self._take(received)
        self.tallies[f"receiver: {kind}"] += 1
        match kind:
            case "error":
                headers = {"retry-after": "7"} if status in (429, 503) else {}
                return Reply(status, headers)
            case "silence":
                return Reply(None)
            case "hang":
                await asyncio.sleep(seconds)
                return Reply(None)
            case "late":
                await asyncio.sleep(seconds)
                return self._take(received)
            case _:
                self._take(received)
                return Reply(None)

    def _take(self, received: Received) -> Reply:
        body = received.body
        event_id = body["eventId"]
        self._check(received, body)
        before = self._seen.setdefault(event_id, received)
        if before.content != received.content:
            self.complaints.append(f"two contents under {event_id}: {before.content!r} and {received.content!r}")
        reward_id = body["data"]["reward"]["rewardId"] if body["eventName"] == "rewardIssued" else None
        if before is received:
            self.taken[body["data"]["customerIdentifiers"]["customerId"]].append(body)
            if reward_id in self.given:
                self.complaints.append(f"reward {reward_id} was handed over twice, by {event_id} the second time")
            if reward_id is not None:
                self.given[reward_id] = self._wants(reward_id)
        else:
            self.tallies["repeats"] += 1
        if reward_id is not None and not self.given[reward_id]:
            return Reply(400)
        return Reply(204)

    def _check(self, received: Received, body: dict[str, Any]) -> None:
        if received.headers["webhook-id"] != body["eventId"]:
            self.complaints.append(f"{body['eventId']} came as {received.headers['webhook-id']}")
        if self.event_names is not None and body["eventName"] not in self.event_names:
            self.complaints.append(f"nobody subscribed to {body}")
        if not any(self._verified(secret, received) for secret in self.secrets):
            self.complaints.append(f"no secret verifies {received}")

    def _verified(self, secret: str, received: Received) -> bool:
        sent_at = datetime.fromtimestamp(float(received.headers["webhook-timestamp"]), tz=UTC)
        # The instant is written in whole seconds.
        if not self._wall(UNDER_WAY_SECONDS) - SLACK <= sent_at <= self._wall(0) + SLACK:
            self.complaints.append(f"sent at {sent_at}, received at {self._wall(0)}")
        try:
            Verifier(secret, sent_at).verify(received.content, dict(received.headers))
        except WebhookVerificationError:
            return False
        return True

    def _wants(self, reward_id: str) -> bool:
        share = int.from_bytes(hashlib.sha256(f"{self._dice} {reward_id}".encode()).digest()[:4]) / 2**32
        return share >= REWARD_REFUSED
