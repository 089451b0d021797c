"""A customer's target groups over HTTP: v3 and v3.1, which periods and groups are shown, and whose, by scope."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, Programme, codes, event, open_brand, purchase, snapshot
from tests.bodies import STREAK, named, with_target

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
MILESTONE = with_target(enrolmentMethod="IMPORT")
ANA = 501


@dataclass(frozen=True)
class Cast:
    """acme is the parent of north; all three have a customer 501."""

    acme: Brand
    north: Brand
    globex: Brand
    spring: Programme
    laps: Programme


@pytest_asyncio.fixture
async def cast(house, http) -> AsyncIterator[Cast]:
    acme = await open_brand(house, http, "Acme", clock=NOW)
    north = await open_brand(house, http, "North", clock=NOW, parent_id=acme.organisation_id)
    globex = await open_brand(house, http, "Globex", clock=NOW)
    for brand in (acme, north, globex):
        await brand.register(ANA)
    yield Cast(acme, north, globex, await acme.define(MILESTONE), await acme.define(STREAK))


async def groups(brand: Brand, customer_id: int = ANA, **query: str) -> list[dict[str, Any]]:
    content = await brand.ask("GET", f"/users/{customer_id}/targetGroups", params=query)
    assert (content["data"]["userId"], content["errors"], content["warnings"]) == (customer_id, None, None)
    assert content["data"]["customer"]["id"] == customer_id
    return content["data"]["targetGroups"]


async def test_who_was_never_enrolled_has_no_groups_and_who_is_unknown_is_refused(cast: Cast) -> None:
    assert await groups(cast.acme) == []
    assert codes(await cast.acme.call("GET", "/users/999/targetGroups")) == [310011]
    assert codes(await cast.acme.call("GET", "/users/0/targetGroups")) == [300004]


async def test_a_milestone_shows_the_running_period_as_published(cast: Cast) -> None:
    assert (await cast.spring.enrol(ANA)).status_code == 200
    await cast.acme.record(purchase("a", ANA, TODAY, 250))

    (group,) = await groups(cast.acme)

    assert {name: group[name] for name in group if name != "targets"} == {
        "id": cast.spring.target_group_id,
        "name": "Spring",
        "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
        "trackingType": "DEFAULT",
    }
    (row,) = group["targets"]
    assert type(row.pop("targetId")) is int
    assert row == {
        "periodId": cast.spring.group["periods"][1]["id"],
        "periodRefCode": "Cycle_2",
        "periodStartDate": "2031-02-01",
        "periodEndDate": "2031-02-28",
        "targetValue": 250,
        "targetAchievedValue": 250,
        "targetName": "Spring spend",
        "targetType": "SALES",
        "targetEntity": "TRANSACTION",
        "targetRuleId": cast.spring.target_id,
        "eventName": "TransactionAdd",
        "currentPeriod": True,
        "unEnrolled": False,
        "milestones": None,
        "targetAchievedEventLogId": None,
        "enrolledOn": "2031-02-12T12:00:00.000+0000",
        "enrolledOnISO": "2031-02-12T12:00:00.000Z",
        "periodStartDateWithTimeStamp": "2031-02-01T00:00:00.000+0000",
        "periodStartDateWithTimeStampISO": "2031-02-01T00:00:00.000Z",
        "periodEndDateWithTimeStamp": "2031-02-28T23:59:59.999+0000",
        "periodEndDateWithTimeStampISO": "2031-02-28T23:59:59.999Z",
        "targetAchievedDateTime": "2031-02-12T09:00:00.000+0000",
        "targetAchievedDateTimeISO": "2031-02-12T09:00:00.000Z",
    }


async def test_a_streak_shows_its_levels_as_they_stand(cast: Cast) -> None:
    assert (await cast.laps.enrol(ANA)).status_code == 200

    async def levels() -> list[tuple[Any, ...]]:
        (group,) = await groups(cast.acme)
        return [
            (each["streakName"], each["status"], each["currentCount"], each["totalTargetCountOfSequence"])
            for each in group["streaks"]
        ]

    assert await levels() == [("Two", "NOT_STARTED", 0, 2), ("Autumn laps_2", "NOT_STARTED", 0, 3)]
    await cast.acme.record(*(event(f"a{n}", ANA, TODAY) for n in range(4)))
    assert await levels() == [("Two", "IN_PROGRESS", 1, 2), ("Autumn laps_2", "IN_PROGRESS", 1, 3)]
    await cast.acme.advance("2031-02-18T00:00:00Z")
    await cast.acme.record(*(event(f"b{n}", ANA, "2031-02-17") for n in range(5)))
    assert await levels() == [("Two", "ACHIEVED", 2, 2), ("Autumn laps_2", "IN_PROGRESS", 2, 3)]
    assert (await cast.laps.un_enrol(ANA)).status_code == 200
    assert await levels() == [("Two", "ACHIEVED", 2, 2), ("Autumn laps_2", "DROPPED", 2, 3)]


async def test_all_periods_and_deactivated_groups_only_where_asked_for(cast: Cast) -> None:
    gone = await cast.acme.define(named("Gone", MILESTONE))
    for programme in (cast.spring, gone):
        assert (await programme.enrol(ANA)).status_code == 200
    await cast.acme.ask("DELETE", f"/targetGroups/{gone.target_group_id}")

    async def shown(**query: str) -> list[tuple[int, list[str]]]:
        found = await groups(cast.acme, **query)
        return [(group["id"], [row["periodRefCode"] for row in group["targets"]]) for group in found]

    first, second = cast.spring.target_group_id, gone.target_group_id
    every = ["Cycle_1", "Cycle_2", "Cycle_3"]
    assert await shown() == await shown(includeInactive="FALSE") == [(first, ["Cycle_2"])]
    assert await shown(includeInactive="true") == [(first, every)]
    assert await shown(includeInactiveTargets="true") == [(first, ["Cycle_2"]), (second, ["Cycle_2"])]
    assert await shown(includeInactive="true", includeInactiveTargets="True") == [(first, every), (second, every)]
    assert await shown(targetRuleId=str(cast.spring.target_id)) == [(first, ["Cycle_2"])]
    assert await shown(targetRuleId=str(gone.target_id)) == []
    assert await shown(targetRuleId=str(gone.target_id), includeInactiveTargets="true") == [(second, ["Cycle_2"])]
    assert await shown(targetRuleId="999999") == []


async def test_a_tracking_date_chooses_the_current_period(cast: Cast) -> None:
    assert (await cast.spring.enrol(ANA)).status_code == 200

    async def current(at: datetime) -> list[tuple[str, bool]]:
        (group,) = await groups(cast.acme, trackingDate=str(int(at.timestamp() * 1000)))
        return [(row["periodRefCode"], row["unEnrolled"]) for row in group["targets"]]

    assert await current(datetime(2031, 1, 31, 23, 59, 59, tzinfo=UTC)) == [("Cycle_1", True)]
    assert await current(datetime(2031, 2, 1, tzinfo=UTC)) == [("Cycle_2", False)]
    assert await current(datetime(2031, 3, 31, tzinfo=UTC)) == [("Cycle_3", False)]
    assert await current(datetime(2031, 4, 1, tzinfo=UTC)) == []


async def test_an_un_enrolled_customer_keeps_the_periods_that_ended_before(cast: Cast) -> None:
    assert (await cast.spring.enrol(ANA)).status_code == 200
    await cast.acme.advance("2031-03-10T00:00:00Z")
    assert (await cast.spring.un_enrol(ANA)).status_code == 200

    (group,) = await groups(cast.acme, includeInactive="true")

    assert [(row["periodRefCode"], row["unEnrolled"]) for row in group["targets"]] == [
        ("Cycle_1", True),
        ("Cycle_2", False),
        ("Cycle_3", True),
    ]


QUERIES = ["includeInactive=yes", "includeInactive=", "includeInactiveTargets=1", "targetRuleId=0", "targetRuleId=x"]
QUERIES += ["targetRuleId=", "targetRuleId=1.0", f"targetRuleId={2**63}", "targetRuleId=" + "9" * 5000]
QUERIES += ["targetRuleId=00000000000000000001" + "9" * 5000, "trackingDate=", "trackingDate=-1", "trackingDate=1e3"]
QUERIES += ["trackingDate=99999999999999", "trackingDate=2031-01-01", "trackingDate=%D9%A3"]


async def test_a_query_of_another_kind_is_invalid_input(cast: Cast) -> None:
    for query in QUERIES:
        assert codes(await cast.acme.call("GET", f"/users/{ANA}/targetGroups?{query}")) == [300004], query
    assert await groups(cast.acme, trackingDate="9999999999999") == []


async def test_scopes_choose_whose_groups_are_shown_on_v3_1(cast: Cast) -> None:
    summer = await cast.north.define(named("Summer", MILESTONE))
    theirs = await cast.globex.define(MILESTONE)
    for programme in (cast.spring, summer, theirs):
        assert (await programme.enrol(ANA)).status_code == 200
    await cast.acme.register(502)
    acme, north, globex = (replace(each, prefix="/v3.1") for each in (cast.acme, cast.north, cast.globex))
    ours, child = cast.acme.organisation_id, cast.north.organisation_id
    before = await snapshot(cast.acme.house)

    async def read(brand: Brand, scope: str | None, *named_: int, customer_id: int = ANA) -> Any:
        headers = {} if scope is None else {"data-scope": scope, "Data-Scope-Orgs": ",".join(map(str, named_))}
        response = await brand.call("GET", f"/users/{customer_id}/targetGroups", headers=headers)
        if not response.is_success:
            return codes(response)
        return [(group["orgId"], group["name"]) for group in response.json()["data"]["targetGroups"]]

    own, below = (ours, "Spring"), (child, "Summer")
    assert await read(acme, None) == await read(acme, "SELF", 999) == [own]
    assert await read(acme, "other", child) == [below]
    assert await read(acme, "All") == [own, below]
    assert await read(north, "ALL") == [below, own]
    assert await read(north, "OTHER", child) == [below]
    assert await read(globex, "ALL") == [(cast.globex.organisation_id, "Spring")]
    # Known in one of several is known.
    assert await read(acme, "ALL", customer_id=502) == []
    assert await read(acme, "OTHER", child, customer_id=502) == [310011]
    for brand, named_ in ((north, ours), (globex, ours), (globex, child), (acme, cast.globex.organisation_id)):
        assert await read(brand, "OTHER", named_) == [310144]
    assert await read(acme, "EVERY") == [300004]
    assert await snapshot(cast.acme.house) == before


async def test_v3_reads_no_scope_and_shows_no_organisation(cast: Cast) -> None:
    assert (await cast.spring.enrol(ANA)).status_code == 200

    for scope in ("ALL", "OTHER", "NONSENSE"):
        response = await cast.acme.call("GET", f"/users/{ANA}/targetGroups", headers={"DATA-SCOPE": scope})
        (group,) = response.json()["data"]["targetGroups"]
        assert "orgId" not in group


async def test_a_period_end_that_is_due_but_not_worked_looks_as_it_will_be(house, http, wall) -> None:
    real = await open_brand(house, http, "Real")
    laps = {**STREAK, "periods": [], "targetCycleStartDate": "2026-03-02", "frequencyType": "DAILY"}
    daily = await real.define({**laps, "targets": [{**STREAK["targets"][0], "defaultValues": [{"defaultValue": 1}]}]})
    await real.register(ANA)
    assert (await daily.enrol(ANA)).status_code == 200
    await real.record(event("a", ANA, "2026-03-02T09:00:00Z"))

    wall.advance(days=2)

    (group,) = await groups(real, includeInactive="true")
    assert [each["status"] for each in group["streaks"]] == ["DROPPED", "DROPPED"]
