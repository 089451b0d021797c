"""Who may do what, over every operation there is: a stranger, nobody, and clients of access groups that give too little.

The stranger is globex, connected to nobody, with rows in the same tables; acme's ids must answer it exactly like ids
that nobody has. A new operation without a row here fails.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.api.brand import Brand, Programme, open_brand, purchase, sign_in_with, snapshot
from tests.bodies import named, with_target

from kosminar.api.app import OPERATIONS
from kosminar.api.authentication import CHALLENGE
from kosminar.api.operation import Operation
from kosminar.core.access import Level, Resource

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
SECRET = "known to acme only"
# Nobody listens at this port.
NOWHERE = "http://127.0.0.1:1/hook"


@dataclass(frozen=True)
class Ids:
    """What a call may name: acme's own, or of the same kind and nobody's."""

    target_group_id: int
    target_id: int
    customer_id: int
    external_id: str
    endpoint_id: int
    reward_id: str


NOBODYS = Ids(888_001, 888_002, 888_003, "nobody's", 888_004, "888003-888002-P1-1-1")


@dataclass(frozen=True, kw_only=True)
class Row:
    """How an operation is called; `body` and `query` are made of the ids that are asked about."""

    body: Callable[[Ids], Any] = lambda ids: None
    query: Callable[[Ids], Mapping[str, str]] = lambda ids: {}
    # What the answer repeats of the question, or makes anew on each call.
    own: frozenset[str] = field(default=frozenset())


def lookup(ids: Ids) -> Mapping[str, str]:
    return {"identifierName": "externalId", "identifierValue": ids.external_id}


def bill(ids: Ids) -> dict[str, Any]:
    return {"type": "REGULAR", "billNumber": "B-1", "billAmount": 1, "billingDate": TODAY}


ROWS = {
    "POST /targetGroups": Row(body=lambda ids: named(f"new, {ids.external_id}"), own=frozenset({"data"})),
    "GET /targetGroups": Row(),
    "GET /targetGroups/{targetGroupId}": Row(),
    "DELETE /targetGroups/{targetGroupId}": Row(),
    "POST /targetGroups/{targetGroupId}/targets/{targetId}/enroll": Row(
        body=lambda ids: [{"customerId": ids.customer_id}]
    ),
    "POST /targetGroups/{targetGroupId}/targets/{targetId}/unEnroll": Row(
        body=lambda ids: [{"customerId": ids.customer_id}]
    ),
    "GET /users/{userId}/targetGroups": Row(query=lambda ids: {"targetRuleId": str(ids.target_id)}),
    "POST /v2/customers": Row(
        body=lambda ids: {"profiles": [{"identifiers": [{"type": "externalId", "value": "v2-" + ids.external_id}]}]},
        own=frozenset({"createdId"}),
    ),
    "GET /v2/customers/lookup": Row(query=lookup),
    "POST /v2/transactions": Row(body=bill, query=lookup),
    "POST /v1/customers": Row(
        body=lambda ids: {"customers": [{"externalId": "v1-" + ids.external_id}]}, own=frozenset({"customerId"})
    ),
    "POST /v1/activities": Row(body=lambda ids: {"activities": [purchase("p", ids.customer_id, TODAY, 1)]}),
    "GET /v1/customers/{customerId}/rewards": Row(),
    "GET /v1/customers/{customerId}/facts": Row(),
    "POST /v1/rewards/{rewardId}/issued": Row(),
    "POST /v1/rewards/{rewardId}/failed": Row(body=lambda ids: {"reason": "The wallet is closed."}),
    "POST /v1/rewards/{rewardId}/reversed": Row(body=lambda ids: {"reason": "Given by mistake."}),
    "GET /v1/customers/{customerId}/notifications": Row(),
    "POST /v1/webhook-endpoints": Row(body=lambda ids: {"url": NOWHERE}, own=frozenset({"endpointId", "secret"})),
    "GET /v1/webhook-endpoints": Row(),
    "GET /v1/webhook-endpoints/{endpointId}": Row(),
    "PATCH /v1/webhook-endpoints/{endpointId}": Row(body=lambda ids: {"description": "another"}),
    "POST /v1/webhook-endpoints/{endpointId}/rotate-secret": Row(body=lambda ids: {"overlapHours": 1}),
    "POST /v1/webhook-endpoints/{endpointId}/test": Row(),
    "GET /v1/webhook-endpoints/{endpointId}/deliveries": Row(),
    "POST /v1/webhook-endpoints/{endpointId}/deliveries/{customerId}/{number}/resend": Row(),
    "POST /v1/webhook-endpoints/{endpointId}/recover": Row(body=lambda ids: {"since": TODAY}),
    "DELETE /v1/webhook-endpoints/{endpointId}": Row(),
    "GET /v1/clock": Row(),
    "POST /v1/clock/advance": Row(body=lambda ids: {"to": "2031-02-12T12:00:00Z"}),
}
PUBLIC = {"POST /oauth/token/generate", "POST /oauth/token", "GET /healthz", "GET /readyz", "GET /metrics"}
GUARDED = [one for one in OPERATIONS if one.resource is not None]


@dataclass(frozen=True)
class Cast:
    acme: Brand
    globex: Brand
    ids: Ids
    spring: Programme


async def furnish(brand: Brand, customer_id: int, name: str, reward: str) -> Programme:
    """A milestone, a customer with an identifier, and a reward."""
    badge = {"kind": "BADGE", "value": reward, "allocation": "IMMEDIATE"}
    programme = await brand.define(named(name, with_target(rewards=[badge])))
    await brand.ask("POST", "/v1/customers", {"customers": [{"customerId": customer_id, "externalId": name}]})
    results = await brand.record(purchase("p", customer_id, TODAY, 250))
    assert results[0]["facts"]
    return programme


@pytest_asyncio.fixture
async def cast(house, http) -> AsyncIterator[Cast]:
    acme, globex = [await open_with_rights(house, http, name) for name in ("Acme", "Globex")]
    endpoint = await acme.ask("POST", "/v1/webhook-endpoints", {"url": NOWHERE, "description": SECRET})
    spring = await furnish(acme, 501, "Acme's own", SECRET)
    await furnish(globex, 601, "Globex's own", "another")
    reward_id = (await acme.rewards(501))[0]["rewardId"]
    ids = Ids(spring.target_group_id, spring.target_id, 501, "Acme's own", endpoint["endpointId"], reward_id)
    yield Cast(acme, globex, ids, spring)


async def open_with_rights(house, http, name: str) -> Brand:
    """The built-in access group would not let them change the organisation's endpoints."""
    brand = await open_brand(house, http, name, clock=NOW)
    headers = await sign_in_with(house, brand.organisation_id, dict.fromkeys(Resource, Level.WRITE))
    return Brand(house, http, brand.organisation_id, headers)


def key_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


async def call(brand: Brand, operation: Operation, ids: Ids, **options: Any) -> httpx2.Response:
    row = ROWS[key_of(operation)]
    path = operation.path
    for name, value in (
        ("targetGroupId", ids.target_group_id),
        ("targetId", ids.target_id),
        ("userId", ids.customer_id),
        ("customerId", ids.customer_id),
        ("endpointId", ids.endpoint_id),
        ("rewardId", ids.reward_id),
        ("number", 1),
    ):
        path = path.replace(f"{{{name}}}", str(value))
    assert "{" not in path, f"no id for {path}"
    return await brand.call(operation.method, path, row.body(ids), params=dict(row.query(ids)), **options)


def refusal(response: httpx2.Response) -> tuple[int, int]:
    """Status and code, in the shape of the surface."""
    content = response.json()
    if response.request.url.path.startswith("/v1/"):
        assert response.headers["Content-Type"] == "application/problem+json"
        return response.status_code, content["code"]
    assert (content["data"], content["warnings"]) == (None, None)
    return response.status_code, content["errors"][0]["code"]


def without(content: Any, names: frozenset[str]) -> Any:
    if isinstance(content, dict):
        return {name: without(value, names) for name, value in content.items() if name not in names}
    return [without(item, names) for item in content] if isinstance(content, list) else content


async def test_every_operation_has_a_row_and_only_these_are_public() -> None:
    assert {key_of(one) for one in GUARDED} == ROWS.keys()
    assert {key_of(one) for one in OPERATIONS if one.resource is None} == PUBLIC


async def test_a_stranger_learns_and_changes_nothing(cast: Cast) -> None:
    before = await snapshot(cast.acme.house, cast.acme.organisation_id)

    for operation in GUARDED:
        own = ROWS[key_of(operation)].own
        for prefix in ("/v3", "/v3.1") if operation.prefixed else ("",):
            theirs = await call(cast.globex, operation, cast.ids, prefix=prefix)
            unknown = await call(cast.globex, operation, NOBODYS, prefix=prefix)

            case = f"{prefix} {key_of(operation)}: {theirs.text}"
            assert theirs.status_code == unknown.status_code < 500, case
            assert without(theirs.json(), own) == without(unknown.json(), own), case
            assert SECRET not in theirs.text, case

    assert await snapshot(cast.acme.house, cast.acme.organisation_id) == before


async def test_the_owner_gets_an_answer_where_the_stranger_got_none(cast: Cast) -> None:
    """Otherwise the test above would compare two misspelt questions."""
    for operation in sorted(GUARDED, key=lambda one: one.method == "DELETE"):
        response = await call(cast.acme, operation, cast.ids)
        # The auto-enrolling group has enrolled the customer already; everything else succeeds.
        if operation.path.endswith("/enroll"):
            assert response.json()["errors"][0]["code"] == 310119
        else:
            assert response.is_success, (key_of(operation), response.text)


async def test_without_credentials_every_operation_is_a_401(cast: Cast) -> None:
    before = await snapshot(cast.acme.house)
    for operation in GUARDED:
        nobody = Brand(cast.acme.house, cast.acme.http, 0, {})
        response = await call(nobody, operation, cast.ids)

        assert refusal(response) == (401, 390010), key_of(operation)
        assert response.headers["WWW-Authenticate"] == CHALLENGE
    assert await snapshot(cast.acme.house) == before


async def test_an_access_group_that_lacks_the_level_is_refused_before_anything_is_looked_up(cast: Cast) -> None:
    made: dict[tuple[Resource, Level], Mapping[str, str]] = {}

    async def all_but(resource: Resource, level: Level) -> Mapping[str, str]:
        """A client that writes everything, but has only this level on the one resource."""
        if (resource, level) not in made:
            grants = {**dict.fromkeys(Resource, Level.WRITE), resource: level}
            made[resource, level] = await sign_in_with(cast.acme.house, cast.acme.organisation_id, grants)
        return made[resource, level]

    cases = []
    for operation in GUARDED:
        cases.append((operation, await all_but(operation.resource, Level.NONE)))
        if operation.level is Level.WRITE:
            cases.append((operation, await all_but(operation.resource, Level.READ)))
    before = await snapshot(cast.acme.house)
    for operation, headers in cases:
        for ids in (cast.ids, NOBODYS):
            response = await call(cast.acme, operation, ids, headers=headers)
            assert refusal(response) == (403, 4000), key_of(operation)
    assert await snapshot(cast.acme.house) == before


async def test_exactly_the_level_on_exactly_the_resource_is_enough(cast: Cast) -> None:
    for operation in sorted(GUARDED, key=lambda one: one.method == "DELETE"):
        headers = await sign_in_with(cast.acme.house, cast.acme.organisation_id, {operation.resource: operation.level})
        response = await call(cast.acme, operation, cast.ids, headers=headers)
        assert response.is_success or refusal(response) == (400, 310119), (key_of(operation), response.text)


async def test_a_read_only_group_may_get_and_nothing_else(cast: Cast) -> None:
    headers = await sign_in_with(cast.acme.house, cast.acme.organisation_id, dict.fromkeys(Resource, Level.READ))
    before = await snapshot(cast.acme.house)

    for operation in GUARDED:
        response = await call(cast.acme, operation, cast.ids, headers=headers)
        if operation.method == "GET":
            assert response.status_code == 200, key_of(operation)
        else:
            assert refusal(response) == (403, 4000), key_of(operation)
    assert await snapshot(cast.acme.house) == before


async def test_a_client_of_one_organisation_is_nobody_in_another(cast: Cast) -> None:
    """The default groups have the same name everywhere; their ids must never be mistaken for each other."""
    nothing = await sign_in_with(cast.globex.house, cast.globex.organisation_id, {})

    for operation in GUARDED:
        response = await call(cast.acme, operation, cast.ids, headers=nothing)
        assert refusal(response) == (403, 4000), key_of(operation)
