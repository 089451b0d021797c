"""A damaged definition fails its own organisation's calls, says nothing of what is stored, and hurts no other one."""

import pytest
from tests.api.brand import open_brand
from tests.bodies import MILESTONE

pytestmark = pytest.mark.asyncio

PURCHASE = {"id": "a1", "customerId": 7, "type": "transaction", "occurredAt": "2026-03-01T00:00:00Z", "attributes": {}}


async def test_a_damaged_definition_fails_its_own_organisation_and_no_other(house, http) -> None:
    acme, globex = await open_brand(house, http, "Acme"), await open_brand(house, http, "Globex")
    for brand in (acme, globex):
        await brand.define(MILESTONE)
        await brand.register(7)
    await house.pool.execute(
        "UPDATE definition SET document = document - 'zone' WHERE organisation_id = $1", acme.organisation_id
    )

    broken, whole = [await brand.call("GET", "/targetGroups") for brand in (acme, globex)]
    assert (broken.status_code, whole.status_code) == (500, 200)
    assert "zone" not in broken.text

    failed, accepted = [
        (await brand.call("POST", "/v1/activities", {"activities": [PURCHASE]})).text for brand in (acme, globex)
    ]
    assert '"code":390014' in failed
    assert "zone" not in failed
    assert '"status":"accepted"' in accepted
