"""A fixed number of activities in batches over HTTP, where a rate is not what is asked: footprint, breadth, two processes."""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from benchmarks.compare.sender import Messages, message, send
from benchmarks.stage import Served

BATCH_SIZE, BATCH_CONNECTIONS = 500, 4
OCCURRED_AT = "2031-01-15T11:30:00Z"

Activity = dict[str, Any]


def purchases(count: int, customer_count: int, run: str, *, occurred_at: str = OCCURRED_AT) -> Iterator[Activity]:
    """Of customers drawn at random; one comes again only after all others came."""
    dice = Random(run)  # noqa: S311 -- No secret.
    drawn = dice.sample(range(1, customer_count + 1), customer_count)
    for number in range(count):
        yield {
            "id": f"{run}-{number}",
            "customerId": drawn[number % customer_count],
            "type": "transaction",
            "occurredAt": occurred_at,
            "attributes": {"amount": dice.randint(0, 499) / 100, "billNumber": f"B{number}"},
        }


def messages(authorization: str, activities: Sequence[Activity], *, connections: int = BATCH_CONNECTIONS) -> Messages:
    bodies = (activities[first : first + BATCH_SIZE] for first in range(0, len(activities), BATCH_SIZE))
    requests = [
        message("POST", "/v1/activities", authorization, json.dumps({"activities": each}).encode()) for each in bodies
    ]
    return Messages(requests, b'"status":"accepted"', connections)


def post(server: Served, authorization: str, activities: Sequence[Activity]) -> None:
    """Returns when all are answered; raises where one was not accepted."""
    send(server.port, messages(authorization, activities))
