"""The brands' receivers: real HTTP servers that fail, hang, answer late, refuse rewards, and forget nothing.

A receiver does what a careful one does: it verifies every delivery with the independent library, drops repeats by
`eventId`, gives a reward once by `rewardId`, and says the same of it however often it is asked. It lives on when the
database is restored, and complains if an id then names another thing. Until the harness declares it healthy it
misbehaves by the seed three times in ten.
"""

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
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


Thing = tuple[int, str, str, int, str, str]
"""A reward as the brand sees it: customer, programme, period or level, run, kind and value."""


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
        # Those that were handed over by what the database still knows of, and those only by what a restore has lost.
        self.handed_over: set[str] = set()
        self.lost: set[str] = set()
        self._things: dict[str, Thing] = {}
        self._ids: dict[Thing, str] = {}
        self._under_way = 0
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

    async def at_rest(self) -> None:
        """Wait until nothing is being answered that a server sent before it died."""
        while self._under_way:
            await asyncio.sleep(0.01)

    def forget(self, kept: Collection[str]) -> None:
        """The database was restored and knows of these event ids; what was given stays given."""
        for customer_id, taken in self.taken.items():
            self.taken[customer_id] = [body for body in taken if body["eventId"] in kept]
        bodies = (body for taken in self.taken.values() for body in taken)
        self.handed_over = {_reward(body)["rewardId"] for body in bodies if body["eventName"] == "rewardIssued"}
        self.lost = self.given.keys() - self.handed_over

    async def _answer(self, received: Received) -> Reply:
        self._under_way += 1
        try:
            return await self._react(received)
        finally:
            self._under_way -= 1

    async def _react(self, received: Received) -> Reply:
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
        reward_id = _reward(body)["rewardId"] if body["eventName"] == "rewardIssued" else None
        if before is received:
            self.taken[body["data"]["customerIdentifiers"]["customerId"]].append(body)
            if reward_id is not None:
                self._give(reward_id, body)
        else:
            self.tallies["repeats"] += 1
        if reward_id is not None and not self.given[reward_id]:
            return Reply(400)
        return Reply(204)

    def _give(self, reward_id: str, body: dict[str, Any]) -> None:
        if reward_id in self.handed_over:
            self.complaints.append(f"reward {reward_id} was handed over twice, by {body['eventId']} the second time")
        self.handed_over.add(reward_id)
        thing = _thing(body)
        if self._things.setdefault(reward_id, thing) != thing:
            self.complaints.append(f"reward {reward_id} was {self._things[reward_id]}, and then {thing}")
        if self._ids.setdefault(thing, reward_id) != reward_id:
            self.complaints.append(f"{thing} was given twice: as {self._ids[thing]} and as {reward_id}")
        if reward_id in self.given:
            self.tallies["rewards earned again after a restore"] += 1
        else:
            self.given[reward_id] = self._wants(reward_id)

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


def _reward(body: dict[str, Any]) -> dict[str, Any]:
    """What is handed over."""
    reward: dict[str, Any] = body["data"]["reward"]
    return reward


def _thing(body: dict[str, Any]) -> Thing:
    """What it is to the brand, whatever ids it has: no two rewards of one target or level are alike."""
    reward, target = _reward(body), body["data"]["targetDetails"]
    place = reward["streakLevelName"] or target["targetPeriodName"]
    customer_id = body["data"]["customerIdentifiers"]["customerId"]
    return customer_id, target["targetGroupName"], place, reward["run"], reward["kind"], reward["value"]
