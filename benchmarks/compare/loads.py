"""What is compared: activities in batches and singly, CSV import, enrol and un-enrol calls, reads.

Each run of a load sends what depends on the run's number alone, so both sides do the same work in databases that have
grown alike. Definitions, calls and commands are public ones: a tree with another schema can be compared with this one.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from functools import partial
from random import Random
from typing import Any

import httpx2
from benchmarks.compare.judgement import Sample
from benchmarks.compare.sender import Messages, message, send
from benchmarks.compare.side import Side
from benchmarks.compare.trees import NotComparable
from benchmarks.programmes import POINTS, programme, visits
from benchmarks.stage import CLOCK, ask

OCCURRED_AT = "2031-01-15T11:30:00Z"
BATCH_SIZE, BATCH_CONNECTIONS = 500, 4
CALLERS = 32
# So many customers are un-enrolled before the first of them is enrolled again, which is answered long before.
BLOCK_SIZE = 6 * CALLERS
# For each organisation, its programmes: five targets of mixed kinds, and the plainest one.
PROGRAMMES = {"five targets": [programme(number) for number in range(5)], "one target": [visits(20, POINTS)]}


@dataclass(frozen=True)
class Sizes:
    """How many there are of each in one run; the first is how many customers each organisation has."""

    customers: int
    batches: int
    activities: int
    lines: int
    blocks: int
    reads: int

    def warm_up(self) -> "Sizes":
        """A quarter of each, of the same customers."""
        return Sizes(self.customers, *(max(1, count // 4) for count in astuple(self)[1:]))


# Each run computes for some seconds; the quick ones show that it works, and measure little.
WHOLE = Sizes(customers=10_000, batches=12, activities=3_000, lines=6_000, blocks=16, reads=6_000)
QUICK = Sizes(customers=1_000, batches=2, activities=200, lines=2_000, blocks=1, reads=400)


@dataclass(frozen=True)
class Cast:
    """An organisation with customers numbered from 1; `path` is that of its first target."""

    organisation_id: int
    authorization: str
    path: str


@dataclass(frozen=True)
class Load:
    """One kind of work, and the organisation that has to be there for it."""

    title: str
    unit: str
    organisation: str
    run: Callable[[Side, Cast, Sizes, str], Sample]


def prepare(side: Side, organisation: str, sizes: Sizes) -> Cast:
    """Make an organisation with its programmes and everybody's first activity."""
    organisation_id = side.create_organisation(organisation, CLOCK)
    authorization = side.sign_up(organisation_id)
    post = partial(ask, side.url, authorization)
    try:
        made = [post("/v3/targetGroups", definition)["data"] for definition in PROGRAMMES[organisation]]
        for first in range(1, sizes.customers + 1, BATCH_SIZE):
            customers = [{"customerId": each} for each in range(first, min(first + BATCH_SIZE, sizes.customers + 1))]
            post("/v1/customers", {"customers": customers})
            visit = {"id": "first", "type": "transaction", "occurredAt": OCCURRED_AT, "attributes": {"amount": 1}}
            post("/v1/activities", {"activities": [{**visit, **each} for each in customers]})
    except (RuntimeError, httpx2.HTTPError) as error:
        raise NotComparable(f"{side.tree.name}: what is to be measured could not be prepared: {error}") from error
    return Cast(
        organisation_id, authorization, f"/v3/targetGroups/{made[0]['id']}/targets/{made[0]['targets'][0]['id']}"
    )


def _batches(side: Side, cast: Cast, sizes: Sizes, run: str) -> Sample:
    visits = list(_visits(sizes.batches * BATCH_SIZE, sizes, f"batches {run}"))
    batches = [visits[first : first + BATCH_SIZE] for first in range(0, len(visits), BATCH_SIZE)]
    bodies = [json.dumps({"activities": batch}).encode() for batch in batches]
    requests = [message("POST", "/v1/activities", cast.authorization, body) for body in bodies]
    return _sent(side, Messages(requests, b'"status":"accepted"', BATCH_CONNECTIONS), count=len(visits))


def _one_by_one(side: Side, cast: Cast, sizes: Sizes, run: str) -> Sample:
    visits = _visits(sizes.activities, sizes, f"one by one {run}")
    bodies = [json.dumps({"activities": [visit]}).encode() for visit in visits]
    requests = [message("POST", "/v1/activities", cast.authorization, body) for body in bodies]
    return _sent(side, Messages(requests, b'"status":"accepted"', CALLERS), count=len(requests))


def _imported(side: Side, cast: Cast, sizes: Sizes, run: str) -> Sample:
    """The command's own work: what an import of no lines takes is taken off."""
    file = side.folder / "activities.csv"
    header = "id,customerId,occurredAt,attributes.amount,attributes.billNumber\n"
    lines = [
        f"{visit['id']},{visit['customerId']},{visit['occurredAt']},{visit['attributes']['amount']},"
        f"{visit['attributes']['billNumber']}\n"
        for visit in _visits(sizes.lines, sizes, f"import {run}")
    ]
    command = ("import", "activities", "--organisation", cast.organisation_id, "--file", file)
    file.write_text(header, encoding="ascii")
    _, empty = side.timed(*command)
    file.write_text(header + "".join(lines), encoding="ascii")
    said, whole = side.timed(*command)
    if json.loads(said)["done"] != sizes.lines:
        raise NotComparable(f"{side.tree.name}: not every line was imported: {said.strip()}")
    return Sample(
        sizes.lines,
        whole.seconds - empty.seconds,
        whole.server_seconds - empty.server_seconds,
        whole.database_seconds - empty.database_seconds,
    )


def _enrolments(side: Side, cast: Cast, sizes: Sizes, run: str) -> Sample:
    """Blocks of customers are un-enrolled and then enrolled again, so that all are enrolled when it ends."""
    drawn = _customers(sizes, f"enrolments {run}")
    requests = []
    for first in range(0, sizes.blocks * BLOCK_SIZE, BLOCK_SIZE):
        for operation in ("unEnroll", "enroll"):
            bodies = [json.dumps([{"customerId": each}]).encode() for each in drawn[first : first + BLOCK_SIZE]]
            requests += [message("POST", f"{cast.path}/{operation}", cast.authorization, body) for body in bodies]
    return _sent(side, Messages(requests, b'"warnings":null', CALLERS), count=len(requests))


def _reads(path: str, answer_holds: bytes) -> Callable[[Side, Cast, Sizes, str], Sample]:
    def run(side: Side, cast: Cast, sizes: Sizes, run: str) -> Sample:
        drawn = _customers(sizes, f"{path} {run}")[: sizes.reads]
        requests = [message("GET", path.format(each), cast.authorization) for each in drawn]
        return _sent(side, Messages(requests, answer_holds, CALLERS), count=len(requests))

    return run


def _visits(count: int, sizes: Sizes, run: str) -> Iterator[dict[str, Any]]:
    """Activities of customers drawn at random; a customer comes again only after all others came."""
    dice, drawn = Random(run), _customers(sizes, run)  # noqa: S311 -- No secret.
    for number in range(count):
        yield {
            "id": f"{run} {number}",
            "customerId": drawn[number % len(drawn)],
            "type": "transaction",
            "occurredAt": OCCURRED_AT,
            "attributes": {"amount": dice.randint(0, 499) / 100, "billNumber": f"B{number}"},
        }


def _customers(sizes: Sizes, run: str) -> list[int]:
    return Random(run).sample(range(1, sizes.customers + 1), sizes.customers)  # noqa: S311 -- No secret.


def _sent(side: Side, messages: Messages, *, count: int) -> Sample:
    try:
        with side.watched() as watch:
            send(side.port, messages)
    except (NotComparable, OSError) as error:
        raise side.failed(str(error)) from error
    return watch.sample(count)


PARTS = {
    "activities": (
        Load(f"activities in batches of {BATCH_SIZE}", "activity", "five targets", _batches),
        Load(f"activities one by one, {CALLERS} callers", "activity", "five targets", _one_by_one),
    ),
    "imports": (Load("activities from a CSV file", "activity", "five targets", _imported),),
    "calls": (Load(f"enrol and un-enrol one by one, {CALLERS} callers", "call", "one target", _enrolments),),
    "reads": (
        Load(
            "a customer's target groups",
            "call",
            "five targets",
            _reads("/v3/users/{}/targetGroups", b'"targetGroups":[{'),
        ),
        Load("a customer's rewards", "call", "five targets", _reads("/v1/customers/{}/rewards", b'"data":[')),
        Load("a customer's facts", "call", "five targets", _reads("/v1/customers/{}/facts", b'"data":[{')),
    ),
}
