"""Target groups over HTTP: created, shown, listed, deactivated; everything wrong with a request told at once."""

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.bodies import MILESTONE, STREAK, milestone, named, with_target

from kosminar.api.app import build_app
from kosminar.engine.house import House
from kosminar.engine.use_cases.clients import create_client, create_organisation
from kosminar.settings import Settings
from kosminar.wiring import open_house

WALL = datetime(2031, 6, 1, 12, tzinfo=UTC)
TEST_CLOCK = datetime(2031, 2, 10, tzinfo=UTC)


@dataclass
class Client:
    """One organisation's access to the app."""

    http: httpx2.AsyncClient
    headers: dict[str, str]
    organisation_id: int

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        prefix = options.pop("prefix", "/v3")
        return await self.http.request(method, f"{prefix}/targetGroups{path}", headers=headers, **options)

    async def post(self, body: Any, **options: Any) -> httpx2.Response:
        return await self.call("POST", "", json=body, **options)

    async def created(self, body: Any, **options: Any) -> dict[str, Any]:
        response = await self.post(body, **options)
        assert response.status_code == 201, response.text
        return response.json()["data"]

    async def list(self, **query: str) -> list[dict[str, Any]]:
        response = await self.call("GET", "", params=query)
        assert response.status_code == 200, response.text
        return response.json()["data"]


def complaints(response: httpx2.Response) -> list[tuple[int, str]]:
    """Codes with the paths that their messages begin with."""
    assert response.status_code == 400, response.text
    content = response.json()
    assert content["data"] is None
    assert content["warnings"] is None
    return [(error["code"], error["message"].partition(": ")[0]) for error in content["errors"]]


@pytest_asyncio.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with open_house(Settings.read({}), database_url, wall=lambda: WALL) as house:
        yield house


@pytest_asyncio.fixture
async def http(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=build_app(house))
    async with httpx2.AsyncClient(transport=transport, base_url="http://kosminar") as http:
        yield http


async def client(house: House, http: httpx2.AsyncClient, name: str, **options: Any) -> Client:
    async with house.pool.acquire() as connection:
        organisation_id = await create_organisation(
            connection, name=name, **{"zone": "UTC", "now": WALL, "test_clock_at": TEST_CLOCK, **options}
        )
        made = await create_client(connection, organisation_id=organisation_id, random_bytes=os.urandom, now=WALL)
    digest = hashlib.md5(made.password.encode()).hexdigest()  # noqa: S324 -- what clients of this API send.
    token = base64.b64encode(f"{made.username}:{digest}".encode()).decode()
    return Client(http, {"Authorization": f"Basic {token}"}, organisation_id)


@pytest_asyncio.fixture
async def acme(house: House, http: httpx2.AsyncClient) -> Client:
    return await client(house, http, "Acme")


@pytest_asyncio.fixture
async def globex(house: House, http: httpx2.AsyncClient) -> Client:
    return await client(house, http, "Globex")


@pytest.mark.asyncio
async def test_a_milestone_comes_back_with_generated_periods_and_ids(acme: Client) -> None:
    group = await acme.created(MILESTONE)

    assert [(p["refCode"], p["startDate"], p["endDate"], p["periodStatus"]) for p in group["periods"]] == [
        ("Cycle_1", "2031-01-01", "2031-01-31", "ENDED"),
        ("Cycle_2", "2031-02-01", "2031-02-28", "RUNNING"),
        ("Cycle_3", "2031-03-01", "2031-03-31", "NOT_STARTED"),
    ]
    assert {p["targetGroupId"] for p in group["periods"]} == {group["id"]}
    assert (group["fromDate"], group["toDate"], group["totalPeriods"]) == ("2031-01-01", "2031-03-31", 3)
    assert group["targetCycleStartDate"] == "2031-01-01T00:00:00.000+0000"
    assert group["targetCycleEndDateISO"] == "2031-03-31T23:59:59.999Z"
    assert (group["active"], group["leaderboardEnabled"], group["userCreated"]) == (True, False, False)
    assert group["streaks"] == []
    [target] = group["targets"]
    assert (target["eventName"], target["enrolmentMethod"], target["expression"]) == (
        "TransactionAdd",
        "TRANSACTION",
        "true",
    )
    assert json.loads(target["expressionJson"])["value"] == "true"
    assert [v["periodId"] for v in target["defaultValues"]] == [p["id"] for p in group["periods"]]
    assert target["targetPeriodDefaultValuesMap"] == {str(v["periodId"]): v for v in target["defaultValues"]}
    assert [(r["kind"], r["value"], r["allocation"]) for r in target["rewards"]] == [("POINTS", 100.0, "PERIOD_END")]


@pytest.mark.asyncio
async def test_values_have_three_decimals_and_instants_their_iso_twins(acme: Client) -> None:
    response = await acme.post(MILESTONE)

    assert '"defaultValue":250.000' in response.text
    attribution = response.json()["data"]["attribution"]
    assert attribution["createdOn"] == "2031-02-10T00:00:00.000+0000"
    assert attribution["createdOnISO"] == "2031-02-10T00:00:00.000Z"
    assert attribution["createdBy"]["name"].startswith("user-")


@pytest.mark.asyncio
async def test_a_streak_comes_back_with_its_levels_and_written_periods(acme: Client) -> None:
    group = await acme.created(STREAK)

    assert [(p["refCode"], p["startDate"], p["endDate"], p["periodStatus"]) for p in group["periods"]] == [
        ("W1", "2031-02-03", "2031-02-09", "ENDED"),
        ("W2", "2031-02-10", "2031-02-16", "RUNNING"),
        ("W3", "2031-02-17", "2031-02-23", "NOT_STARTED"),
    ]
    assert [(level["name"], level["targetCountOfSequence"]) for level in group["streaks"]] == [
        ("Two", 2),
        ("Autumn laps_2", 3),
    ]
    assert [[r["value"] for r in level["rewards"]] for level in group["streaks"]] == [["runner"], []]
    assert [v["defaultValue"] for v in group["targets"][0]["defaultValues"]] == [3, 4, 5]
    assert group["preferredTillId"] == 4410


@pytest.mark.asyncio
async def test_days_are_days_of_the_programmes_zone_else_of_the_organisations(
    house: House, http: httpx2.AsyncClient
) -> None:
    sydney = await client(house, http, "Sydney", zone="Australia/Sydney")

    own = await sydney.created(named("own"))
    other = await sydney.created(named("other", milestone(timeZoneName="America/New_York")))

    assert (own["timeZoneName"], own["targetCycleStartDateISO"]) == ("Australia/Sydney", "2030-12-31T13:00:00.000Z")
    assert (other["timeZoneName"], other["targetCycleStartDateISO"]) == ("America/New_York", "2031-01-01T05:00:00.000Z")
    assert own["periods"][0]["endDate"] == other["periods"][0]["endDate"] == "2031-01-31"


@pytest.mark.asyncio
async def test_everything_wrong_is_told_at_once_and_nothing_is_stored(acme: Client) -> None:
    body = {
        **with_target(filters=[{}], name="n" * 201, defaultValues=[{"defaultValue": 0}]),
        "name": "",
        "leaderboardEnabled": True,
    }

    assert complaints(await acme.post(body)) == [
        (300004, "targets[0].filters"),
        (300004, "name"),
        (300004, "targets[0].defaultValues[0].defaultValue"),
        (310008, "Length of Target rule name cannot exceed 200"),
        (310133, "Leaderboard is not enabled for the org"),
    ]
    assert await acme.list() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"", b"[]", b"[{}]", b"{", b'{"name":"\\u0000"}', b'{"a":NaN}', b"[" * 100_000])
async def test_a_body_that_is_no_object_is_invalid_input(acme: Client, body: bytes) -> None:
    response = await acme.call("POST", "", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 400
    assert [error["code"] for error in response.json()["errors"]] == [300004]


@pytest.mark.asyncio
async def test_a_name_is_taken_in_any_case_active_or_not_but_not_by_strangers(acme: Client, globex: Client) -> None:
    group = await acme.created(named("Große Runde"))
    await acme.call("DELETE", f"/{group['id']}")

    both = await acme.post(named("GROSSE RUNDE"))
    target_only = await acme.post({**named("große runde"), "name": "Another"})

    assert [code for code, _ in complaints(both)] == [310069, 310069]
    assert complaints(target_only) == [(310069, "targets[0].name")]
    assert (await globex.post(named("Große Runde"))).status_code == 201


@pytest.mark.asyncio
async def test_of_many_at_once_with_one_name_one_is_created(acme: Client) -> None:
    responses = await asyncio.gather(*(acme.post(MILESTONE) for _ in range(12)))

    assert sorted(response.status_code for response in responses) == [201] + [400] * 11
    assert {code for r in responses if r.status_code == 400 for code, _ in complaints(r)} == {310069}
    assert len(await acme.list()) == 1


@pytest.mark.asyncio
async def test_a_list_shows_the_running_period_and_the_periods_only_where_asked_for(acme: Client) -> None:
    running = await acme.created(MILESTONE)
    over = await acme.created(named("Over", milestone(targetCycleStartDate="2030-01-01")))

    short = await acme.list()
    long = await acme.list(includePeriods="true", includeUserCreatedTargetGroups="true")

    assert [row["id"] for row in short] == [running["id"], over["id"]]
    assert short[0]["activePeriod"] == running["periods"][1]
    assert "activePeriod" not in short[1]
    assert "periods" not in short[0]
    assert short[0]["createdOn"] == int(TEST_CLOCK.timestamp()) * 1000
    assert long[0]["periods"] == running["periods"]


@pytest.mark.asyncio
async def test_a_deactivated_group_is_read_but_not_deactivated_again(acme: Client) -> None:
    group = await acme.created(MILESTONE)
    other = await acme.created(STREAK)

    first = await acme.call("DELETE", f"/{group['id']}")
    second = await acme.call("DELETE", f"/{group['id']}")

    assert (first.status_code, first.json()) == (200, {"data": True, "errors": None, "warnings": None})
    assert [code for code, _ in complaints(second)] == [310017]
    read = (await acme.call("GET", f"/{group['id']}")).json()["data"]
    assert (read["active"], read["targets"][0]["active"], read["periods"][0]["active"]) == (False, False, False)
    assert [row["id"] for row in await acme.list()] == [group["id"], other["id"]]
    assert [row["id"] for row in await acme.list(includeOnlyActive="true")] == [other["id"]]


@pytest.mark.asyncio
async def test_unknown_foreign_and_impossible_ids_tell_nothing(acme: Client, globex: Client) -> None:
    foreign = (await globex.created(MILESTONE))["id"]

    for method in ("GET", "DELETE"):
        assert [code for code, _ in complaints(await acme.call(method, f"/{foreign}"))] == [310017]
        assert [code for code, _ in complaints(await acme.call(method, "/999999"))] == [310017]
        assert [code for code, _ in complaints(await acme.call(method, "/abc"))] == [300004]
        assert [code for code, _ in complaints(await acme.call(method, f"/{2**63}"))] == [300004]
    assert (await globex.call("GET", f"/{foreign}")).json()["data"]["active"]
    assert await acme.list() == []


@pytest.mark.asyncio
async def test_a_flag_that_is_none_is_invalid_input(acme: Client) -> None:
    response = await acme.call("GET", "", params={"includePeriods": "yes"})

    assert complaints(response) == [(300004, "includePeriods")]


@pytest.mark.asyncio
async def test_a_parent_defines_and_reads_in_its_child_over_v3_1(house: House, http: httpx2.AsyncClient) -> None:
    parent = await client(house, http, "Parent")
    child = await client(house, http, "Child", parent_id=parent.organisation_id, zone="Asia/Kolkata")
    scope = {"DATA-SCOPE": "OTHER", "DATA-SCOPE-ORG": str(child.organisation_id)}

    group = await parent.created(MILESTONE, prefix="/v3.1", headers=scope)

    assert group["timeZoneName"] == "Asia/Kolkata"
    assert [row["id"] for row in await child.list()] == [group["id"]]
    assert await parent.list() == []
    gone = await parent.call("DELETE", f"/{group['id']}", prefix="/v3.1", headers=scope)
    assert gone.json()["data"] is True


@pytest.mark.asyncio
async def test_a_real_clock_tells_the_status_and_the_time_of_creation(house: House, http: httpx2.AsyncClient) -> None:
    real = await client(house, http, "Real", test_clock_at=None)

    group = await real.created(milestone(targetCycleStartDate="2031-05-01"))

    assert [p["periodStatus"] for p in group["periods"]] == ["ENDED", "RUNNING", "NOT_STARTED"]
    assert group["attribution"]["createdOnISO"] == "2031-06-01T12:00:00.000Z"


@pytest.mark.asyncio
async def test_deactivating_forfeits_what_the_running_period_would_have_paid(acme: Client) -> None:
    group = await acme.created(MILESTONE)
    purchase = {
        "id": "bill-1",
        "customerId": 501,
        "type": "transaction",
        "occurredAt": "2031-02-09T12:00:00Z",
        "attributes": {"grossAmount": 300, "amount": 300, "billNumber": "1"},
    }
    for path, body in (("customers", {"customers": [{"customerId": 501}]}), ("activities", {"activities": [purchase]})):
        response = await acme.http.post(f"/v1/{path}", json=body, headers=acme.headers)
        assert response.status_code == 200, response.text

    await acme.call("DELETE", f"/{group['id']}")

    response = await acme.http.get("/v1/customers/501/rewards", headers=acme.headers)
    assert [(r["periodRefCode"], r["state"], r["reason"]) for r in response.json()["data"]] == [
        ("Cycle_2", "forfeited", "programme deactivated")
    ]
