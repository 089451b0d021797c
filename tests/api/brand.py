"""A brand as the API sees it: one organisation, its credentials, and the calls that stories are told with."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2

from kosminar.core.access import DEFAULT_GROUP_NAME, Level, Resource
from kosminar.engine.house import House
from kosminar.engine.use_cases.clients import create_client, create_organisation
from kosminar.store import clients

# What changed nothing leaves the number and the hash of every table's rows as they were.
ALL_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
OWNED = (
    "SELECT table_name FROM information_schema.columns "
    "WHERE table_schema = 'public' AND column_name = 'organisation_id'"
)


@dataclass(frozen=True)
class Brand:
    """An organisation's access to the app. Paths below targetGroups, users and oauth get the prefix."""

    house: House
    http: httpx2.AsyncClient
    organisation_id: int
    headers: Mapping[str, str]
    prefix: str = "/v3"

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        prefix = options.pop("prefix", self.prefix)
        if isinstance(body, bytes):
            options["content"] = body
            headers = {"Content-Type": "application/json", **headers}
        elif body is not None:
            options["json"] = body
        path = path if path.startswith(("/v1/", "/v2/")) else prefix + path
        return await self.http.request(method, path, headers=headers, **options)

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """What a call that must succeed answers."""
        response = await self.call(method, path, body, **options)
        assert response.is_success, response.text
        return response.json()

    async def define(self, body: Any, **options: Any) -> "Programme":
        group = (await self.ask("POST", "/targetGroups", body, **options))["data"]
        return Programme(self, group["id"], group["targets"][0]["id"], group)

    async def register(self, *customer_ids: int) -> None:
        body = {"customers": [{"customerId": each} for each in customer_ids]}
        results = (await self.ask("POST", "/v1/customers", body))["results"]
        assert {each["status"] for each in results} == {"created"}, results

    async def record(self, *activities: Any) -> list[dict[str, Any]]:
        return (await self.ask("POST", "/v1/activities", {"activities": activities}))["results"]

    async def advance(self, to: str) -> None:
        assert (await self.ask("POST", "/v1/clock/advance", {"to": to}))["status"] == "ready"

    async def rewards(self, customer_id: int) -> list[dict[str, Any]]:
        return (await self.ask("GET", f"/v1/customers/{customer_id}/rewards"))["data"]

    async def facts(self, customer_id: int) -> list[str]:
        page = await self.ask("GET", f"/v1/customers/{customer_id}/facts", params={"limit": "1000"})
        return [fact["name"] for fact in page["data"]]


@dataclass(frozen=True)
class Programme:
    """A milestone or a streak of a brand, as it was answered when it was made."""

    brand: Brand
    target_group_id: int
    target_id: int
    group: Mapping[str, Any]

    def path(self, verb: str) -> str:
        return f"/targetGroups/{self.target_group_id}/targets/{self.target_id}/{verb}"

    async def enrol(self, customer_id: Any, **more: Any) -> httpx2.Response:
        return await self.brand.call("POST", self.path("enroll"), [{"customerId": customer_id, **more}])

    async def un_enrol(self, customer_id: Any) -> httpx2.Response:
        return await self.brand.call("POST", self.path("unEnroll"), [{"customerId": customer_id}])


async def open_brand(
    house: House,
    http: httpx2.AsyncClient,
    name: str,
    *,
    zone: str = "UTC",
    clock: datetime | None = None,
    parent_id: int | None = None,
) -> Brand:
    async with house.pool.acquire() as connection:
        organisation_id = await create_organisation(
            connection, name=name, zone=zone, now=house.wall(), parent_id=parent_id, test_clock_at=clock
        )
    return Brand(house, http, organisation_id, await sign_in(house, organisation_id))


async def sign_in(house: House, organisation_id: int, *, group: str = DEFAULT_GROUP_NAME) -> dict[str, str]:
    """The headers of a new client of an access group."""
    async with house.pool.acquire() as connection:
        made = await create_client(
            connection,
            organisation_id=organisation_id,
            access_group_name=group,
            random_bytes=os.urandom,
            now=house.wall(),
        )
    return {"Authorization": "Basic " + base64.b64encode(f"{made.username}:{made.password}".encode()).decode()}


async def sign_in_with(house: House, organisation_id: int, grants: Mapping[Resource, Level]) -> dict[str, str]:
    """The headers of a new client with exactly these grants."""
    name = os.urandom(8).hex()
    async with house.pool.acquire() as connection:
        await clients.insert_access_group(
            connection, organisation_id, name=name, grants=grants, built_in=False, now=house.wall()
        )
    return await sign_in(house, organisation_id, group=name)


async def snapshot(house: House, organisation_id: int | None = None) -> dict[str, tuple[int, int]]:
    """Of every table, how many rows it has and a hash of what they hold; of one organisation's rows if it is named."""
    async with house.pool.acquire() as connection:
        names = [row["table_name"] for row in await connection.fetch(ALL_TABLES if organisation_id is None else OWNED)]
        where = "" if organisation_id is None else f" WHERE organisation_id = {organisation_id}"
        each = [
            f"SELECT '{name}' AS name, count(*) AS rows, coalesce(sum(hashtext(t::text)), 0)::bigint AS hash "
            f"FROM {name} AS t{where}"
            for name in names
        ]
        return {row["name"]: (row["rows"], row["hash"]) for row in await connection.fetch(" UNION ALL ".join(each))}


def codes(response: httpx2.Response) -> list[int]:
    """The codes of a refusal in the envelope, which has nothing else in it."""
    assert response.status_code == 400, response.text
    content = response.json()
    assert content["data"] is None
    assert content["warnings"] is None
    return [error["code"] for error in content["errors"]]


def problem(response: httpx2.Response) -> tuple[int, int]:
    """Status and code of a refusal on the native surface."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    content = response.json()
    assert content["status"] == response.status_code
    return response.status_code, content["code"]


def purchase(activity_id: str, customer_id: int, occurred_at: str, amount: Any, **attributes: Any) -> dict[str, Any]:
    return {
        "id": activity_id,
        "customerId": customer_id,
        "type": "transaction",
        "occurredAt": occurred_at,
        "attributes": {"amount": amount, "grossAmount": amount, **attributes},
    }


def event(activity_id: str, customer_id: int, occurred_at: str, name: str = "lapDone") -> dict[str, Any]:
    return {"id": activity_id, "customerId": customer_id, "type": name, "occurredAt": occurred_at}
