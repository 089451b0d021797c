"""Calls that change something, each in another way, and one that only reads: what a database that is read-only is asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
from tests.api.brand import Brand, Programme, open_brand, purchase, sign_in_with
from tests.bodies import MILESTONE

from kosminar.api.app import build_app
from kosminar.core.access import Level, Resource
from kosminar.settings import Settings
from kosminar.wiring import open_house

CUSTOMER_ID = 501
NOW = "2026-11-28T09:00:00Z"
RECOVERY_SECONDS = 15
"""Within which everything works once the database does."""

Asked = tuple[str, str, Any, dict[str, str]]


@asynccontextmanager
async def programme_on(url: str) -> AsyncIterator[Programme]:
    """The whole application on that database, with one brand and one milestone."""
    async with open_house(Settings.read({}), url) as house:
        transport = httpx2.ASGITransport(app=build_app(house))
        async with httpx2.AsyncClient(transport=transport, base_url="http://kosminar.test") as http:
            acme = await open_brand(house, http, "Acme")
            headers = await sign_in_with(house, acme.organisation_id, dict.fromkeys(Resource, Level.WRITE))
            brand = replace(acme, headers=headers)
            await brand.register(CUSTOMER_ID)
            yield await brand.define(MILESTONE)


def changes(programme: Programme, number: int) -> list[Asked]:
    """One call of each way in which something is written; none changes what another one needs."""
    new = 10_000 + 10 * number
    bought = [purchase(f"a{number}-{index}", CUSTOMER_ID, NOW, 1) for index in range(2)]
    target = {**MILESTONE["targets"][0], "name": f"Target {number}"}
    endpoint = {"url": f"https://receiver.example/{number}", "events": ["rewardIssued"]}
    return [
        ("POST", "/v1/activities", {"activities": bought[:1]}, {}),
        ("POST", "/v1/activities", {"activities": bought[1:]}, {"Idempotency-Key": f"activities-{number}"}),
        ("POST", "/v1/customers", {"customers": [{"customerId": new}]}, {}),
        ("POST", "/v1/customers", {"customers": [{"customerId": new + 1}]}, {"Idempotency-Key": f"people-{number}"}),
        ("POST", "/targetGroups", {**MILESTONE, "name": f"Group {number}", "targets": [target]}, {}),
        ("POST", "/v1/webhook-endpoints", endpoint, {}),
        ("POST", programme.path("enroll"), [{"customerId": CUSTOMER_ID}], {}),
        ("POST", programme.path("unEnroll"), [{"customerId": CUSTOMER_ID}], {}),
    ]


async def ask(brand: Brand, asked: Asked) -> httpx2.Response:
    method, path, body, headers = asked
    return await brand.call(method, path, body, headers=headers)


async def eventually_ready(brand: Brand) -> None:
    async with asyncio.timeout(RECOVERY_SECONDS):
        while (await brand.http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
