"""A client with credentials does not hold the event loop for 50 ms of its thread's CPU time either, at its own limits.

The same measure as of strangers; here bodies are as long as the operator's setting allows by default, and are worked on
as far as they go. `make hostile` shows the numbers.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, product
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, open_brand, purchase, sign_in_with
from tests.api.wire import request, serving
from tests.bodies import LAPS, STREAK, named, streak, with_target
from tests.security.plain_client import ask
from tests.security.shapes import JSON, Shape
from tests.security.turns import TURN_SECONDS_MAX, Turns, watched_turns

from kosminar.api.app import build_app
from kosminar.api.operation import PLAIN_BODY_BYTES_MAX
from kosminar.core.access import Level, Resource
from kosminar.settings import Settings

pytestmark = pytest.mark.asyncio

BYTES_MAX = Settings.read({}).body_bytes_max
NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
POINTS = [{"kind": "POINTS", "value": 1, "allocation": "IMMEDIATE"}]


@dataclass(frozen=True)
class Stage:
    brand: Brand
    port: int
    turns: Turns

    async def measure(self, what: str, path: str, body: bytes, *headers: str, allowed: set[int]) -> None:
        """Sends it and holds the longest turn of the server meanwhile against the limit."""
        said = request("POST", path, f"Authorization: {self.brand.headers['Authorization']}", *headers, body=body)
        await self.turns.begin()
        status = await ask(self.port, said)
        print(f"{self.turns.longest_seconds * 1000:7.1f} ms  client: {what} to {path}")

        assert self.turns.longest_seconds < TURN_SECONDS_MAX, (path, what, self.turns.longest)
        assert status in allowed, (path, what, status)


@pytest_asyncio.fixture
async def stage(house, http) -> AsyncIterator[Stage]:
    brand = await open_brand(house, http, "Acme", clock=NOW)
    everything = await sign_in_with(house, brand.organisation_id, dict.fromkeys(Resource, Level.WRITE))
    brand = replace(brand, headers=everything)
    await brand.define(STREAK)
    await brand.register(501)
    async with serving(build_app(house)) as wire:
        await ask(wire.port, request("POST", "/v1/activities", f"Authorization: {brand.headers['Authorization']}"))
        with watched_turns() as turns:
            yield Stage(brand, wire.port, turns)


def within(before: bytes, after: bytes) -> Callable[[Shape], Shape]:
    return lambda shape: lambda size: before + shape(size - len(before) - len(after)) + after


ACTIVITY = b'{"activities":[{"id":"a","customerId":501,"type":"x","occurredAt":"2031-02-12","attributes":{"x":'
# Where a shape can stand in a body: alone, as what the operation looks for, and as what it keeps.
PLACES: Mapping[str, Mapping[str, Callable[[Shape], Shape]]] = {
    "/v1/activities": {
        "": within(b"", b""),
        " as activities": within(b'{"activities":', b"}"),
        " as an attribute": within(ACTIVITY, b"}}]}"),
    },
    "/v1/customers": {" as customers": within(b'{"customers":', b"}")},
    "/v3/targetGroups": {
        " as periods": within(b'{"name":"n","periods":', b"}"),
        " as a name": within(b'{"trackingType":"STREAKS","streaks":[{},{},{}],"name":', b"}"),
        " as levels": within(b'{"trackingType":"STREAKS","name":"n","streaks":', b"}"),
        " as rewards": within(b'{"name":"n","targets":[{"name":"n","rewards":', b"}]}"),
        " as a value": within(b'{"name":"n","targets":[{"name":"n","defaultValues":[{"defaultValue":', b"}]}]}"),
    },
    "/v2/transactions?identifierName=id&identifierValue=501": {
        "": within(b"", b""),
        " as an amount": within(b'{"type":"REGULAR","billNumber":"1","billAmount":', b"}"),
    },
}


# As many values as a body may have, in as many bytes: nothing is refused for its number of values.
DENSE_BYTES_MAX = 230_000
SIZES = (BYTES_MAX, 4 * DENSE_BYTES_MAX, 2 * DENSE_BYTES_MAX, DENSE_BYTES_MAX)
WORST = ("decimals of 999 digits", "members with decimals", "one long text, two bytes each", "escaped quotes")


def bulk(shapes: Iterable[str], sizes: Sequence[int]) -> Iterator[tuple[str, str, bytes]]:
    """What it is, where it goes, and the body: of operations on many things."""
    for path, places in PLACES.items():
        for (where, place), name, size in product(places.items(), shapes, sizes):
            yield f"{size // 1000} kB of {name}{where}", path, place(JSON[name])(size)


def plain(shapes: Iterable[str], sizes: Sequence[int]) -> Iterator[tuple[str, str, bytes]]:
    """The same of operations on one thing."""
    for (path, where), name, size in product(PLAIN_PLACES, shapes, sizes):
        room = min(size, PLAIN_BODY_BYTES_MAX)
        yield f"{room // 1000} kB of {name} as {where}", path, PLAIN_PLACES[path, where](JSON[name])(room)


PLAIN_PLACES: Mapping[tuple[str, str], Callable[[Shape], Shape]] = {
    (path, where): within(*place)
    for path, where, place in [
        ("/v3/targetGroups/1/targets/1/enroll", "the body", (b"", b"")),
        ("/v3/targetGroups/1/targets/1/enroll", "customerId", (b'[{"customerId":', b"}]")),
        ("/v1/webhook-endpoints", "headers", (b'{"url":"x","headers":', b"}")),
        ("/v1/webhook-endpoints", "eventNames", (b'{"eventNames":', b"}")),
        ("/v2/customers", "profiles", (b'{"profiles":', b"}")),
        ("/v1/clock/advance", "to", (b'{"to":', b"}")),
    ]
}


async def test_the_worst_shapes_of_bodies_do_not_hold_the_loop(stage: Stage) -> None:
    for name, path, body in bulk(WORST, [BYTES_MAX, 4 * DENSE_BYTES_MAX]):
        await stage.measure(name, path, body, allowed={200, 400})


@pytest.mark.long
async def test_no_shape_of_a_body_holds_the_loop(stage: Stage) -> None:
    for name, path, body in chain(bulk(JSON, SIZES), plain(JSON, SIZES)):
        await stage.measure(name, path, body, allowed={200, 400})


def activity(number: int, **attributes: Any) -> dict[str, Any]:
    return {**purchase(f"{number}", 501, TODAY, 1), "attributes": {"amount": 1, **attributes}}


def largest() -> Iterator[tuple[str, str, Any]]:
    """The largest of each kind that a client has reason to send; each is taken."""
    long = {"text": "\u00e9" * 1_900}
    wide = {f"name{number}": "12.50" for number in range(99)}
    people = [
        {
            "customerId": number + 1_000,
            "externalId": f"{number}".rjust(50, "x"),
            "mobile": f"+49{number:012}",
            "email": f"{number}@{'x' * 30}.example",
            "firstName": "\u00e9" * 50,
            "lastName": "\u00e9" * 50,
        }
        for number in range(1_000)
    ]
    yield "1,000 customers", "/v1/customers", {"customers": people}
    yield (
        "1,000 activities with long attributes",
        "/v1/activities",
        {"activities": [activity(n, **long) for n in range(1_000)]},
    )
    yield (
        "1,000 activities with 100 attributes",
        "/v1/activities",
        {"activities": [activity(n + 1_000, **wide) for n in range(1_000)]},
    )
    yield (
        "1,000 activities that earn thousands of rewards",
        "/v1/activities",
        {"activities": [{**activity(3_000, amount=250), "customerId": number + 1_000} for number in range(1_000)]},
    )
    yield (
        "an activity with 4 MB",
        "/v1/activities",
        {"activities": [activity(2_000, text="\u00e9" * 2_000_000)]},
    )
    periods = [
        {
            "refCode": f"{number}".rjust(200, "\u00e9"),
            "description": "\u00e9" * 255,
            "startDate": f"{2031 + number // 300}-{number % 300 // 25 + 1:02}-{number % 25 + 1:02}",
            "endDate": f"{2031 + number // 300}-{number % 300 // 25 + 1:02}-{number % 25 + 1:02}",
        }
        for number in range(1_000)
    ]
    values = [{"defaultValue": number + 1} for number in range(1_000)]
    yield (
        "a definition with 1,000 periods",
        "/v3/targetGroups",
        named("Long", streak(periods=periods, targets=[{**STREAK["targets"][0], "defaultValues": values}])),
    )


@pytest.mark.parametrize("kept", [False, True], ids=["", "kept"])
async def test_the_largest_honest_bodies_are_taken_and_do_not_hold_the_loop(stage: Stage, kept: bool) -> None:
    for number in range(8):
        target = {**LAPS, "targetEntity": "TRANSACTION", "targetType": "SALES", "rewards": POINTS}
        del target["eventName"]
        await stage.brand.define(named(f"Spend {number}", with_target(**target, defaultValues=[{"defaultValue": 1}])))
    for name, path, content in largest():
        body = json.dumps(content, ensure_ascii=False).encode()
        assert len(body) <= BYTES_MAX, name
        headers = (f"Idempotency-Key: {name.replace(' ', '-')}",) if kept else ()
        for again in ("", ", sent again") if kept else ("",):
            await stage.measure(name + again, path, body, *headers, allowed={200, 201})


async def test_a_thousand_target_values_of_thousands_of_digits_do_not_hold_the_loop(stage: Stage) -> None:
    values = b",".join([b'{"defaultValue":' + b"9" * 4_000 + b"}"] * 1_000)
    body = b'{"name":"n","targets":[{"name":"n","defaultValues":[' + values + b"]}]}"

    await stage.measure("1,000 values of 4,000 digits", "/v3/targetGroups", body, allowed={400})


async def test_a_body_with_very_many_faults_is_answered_in_few_kilobytes(stage: Stage) -> None:
    wrong = {"name": "", "active": 1, "refCode": "", "startDate": "soon", "endDate": 7, "description": 1}
    body = named("Wrong", streak(periods=[wrong] * 1_000))

    response = await stage.brand.call("POST", "/targetGroups", body)

    assert response.status_code == 400
    errors = response.json()["errors"]
    assert len(errors) == 101
    assert errors[-1]["message"] == "There are 3900 more faults; correct these first."
    assert len(response.content) < 32_000
