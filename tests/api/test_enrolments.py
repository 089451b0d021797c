"""Enrol and un-enrol over HTTP: every code of their tables, provoked; bodies, prefixes, and connected organisations."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests.api.brand import Brand, Programme, codes, open_brand, snapshot
from tests.bodies import STREAK, milestone, named, with_target

pytestmark = pytest.mark.asyncio

# The middle of the milestone's second month and of the streak's second week.
NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
PREFIXES = ["/v3", "/v3.1", "/api_gateway/intouch-api-v3/v3", "/api_gateway/intouch-api-v3/v3.1"]
VERBS = ["enroll", "unEnroll"]
NOBODY, NO_GROUP, NO_TARGET, NO_PERIOD = 310011, 310017, 310018, 310019
UNKNOWN = 999_999

MILESTONE = with_target(enrolmentMethod="IMPORT")


@dataclass(frozen=True)
class Cast:
    """acme has children north and south; globex is connected to nobody and has the same customer ids."""

    acme: Brand
    north: Brand
    globex: Brand
    spring: Programme
    laps: Programme
    customers: Any

    async def customer(self, brand: Brand | None = None) -> int:
        """A new customer, of acme unless told otherwise."""
        customer_id = next(self.customers)
        await (brand or self.acme).register(customer_id)
        return customer_id


@pytest_asyncio.fixture
async def cast(house, http) -> AsyncIterator[Cast]:
    acme = await open_brand(house, http, "Acme", clock=NOW)
    north = await open_brand(house, http, "North", clock=NOW, parent_id=acme.organisation_id)
    await open_brand(house, http, "South", clock=NOW, parent_id=acme.organisation_id)
    globex = await open_brand(house, http, "Globex", clock=NOW)
    spring, laps = await acme.define(MILESTONE), await acme.define(STREAK)
    yield Cast(acme, north, globex, spring, laps, itertools.count(501))


def of(programme: Programme, **ids: int) -> Programme:
    """The programme with another group or target in its path."""
    return replace(programme, **ids)


def done(customer_id: int, *warnings: int) -> dict[str, Any]:
    return {"data": customer_id, "errors": None, "warnings": list(warnings) or None}


def answered(response) -> dict[str, Any]:
    """An answer with its warnings as codes; each warning must have words too."""
    assert response.status_code == 200, response.text
    content = response.json()
    if content["warnings"] is not None:
        assert all(set(each) == {"code", "message"} and each["message"] for each in content["warnings"])
        content["warnings"] = [each["code"] for each in content["warnings"]]
    return content


async def test_all_four_prefixes_enrol_and_un_enrol(cast: Cast) -> None:
    for prefix in PREFIXES:
        customer_id = await cast.customer()
        brand = replace(cast.acme, prefix=prefix)
        spring = replace(cast.spring, brand=brand)

        assert answered(await spring.enrol(customer_id)) == done(customer_id)
        assert answered(await spring.un_enrol(customer_id)) == done(customer_id)
        assert await cast.acme.facts(customer_id) == ["enrolled", "un_enrolled"]


async def test_missing_things_are_reported_together_ascending_by_code(cast: Cast) -> None:
    ana = await cast.customer()
    foreign = await cast.globex.define(MILESTONE)
    gone = await cast.acme.define(named("Gone", MILESTONE))
    assert (await gone.enrol(ana)).status_code == 200
    await cast.acme.ask("DELETE", f"/targetGroups/{gone.target_group_id}")
    over = await cast.acme.define(named("Over", milestone(targetCycleStartDate="2030-01-01")))
    spring, laps = cast.spring, cast.laps
    before = await snapshot(cast.acme.house)

    # What is asked for, whom, and what un-enrol and enrol answer.
    table = [
        (of(spring, target_group_id=UNKNOWN), UNKNOWN, [NOBODY, NO_GROUP, NO_TARGET], ...),
        (of(spring, target_group_id=UNKNOWN), ana, [NO_GROUP, NO_TARGET], ...),
        (of(spring, target_id=UNKNOWN), UNKNOWN, [NOBODY, NO_TARGET], ...),
        (of(spring, target_id=UNKNOWN), ana, [NO_TARGET], ...),
        (of(spring, target_id=laps.target_id), ana, [NO_TARGET], ...),
        (spring, UNKNOWN, [NOBODY], ...),
        (gone, ana, [NO_GROUP], ...),
        (gone, UNKNOWN, [NOBODY, NO_GROUP], ...),
        (of(gone, target_id=spring.target_id), ana, [NO_GROUP, NO_TARGET], ...),
        (of(gone, target_id=UNKNOWN), UNKNOWN, [NOBODY, NO_GROUP, NO_TARGET], ...),
        (replace(foreign, brand=cast.acme), ana, [NO_GROUP, NO_TARGET], ...),
        (of(spring, target_id=foreign.target_id), ana, [NO_TARGET], ...),
        (of(spring, target_group_id=foreign.target_group_id), ana, [NO_GROUP, NO_TARGET], ...),
        (over, ana, [NO_PERIOD], ...),
        (over, UNKNOWN, [NOBODY], [NOBODY, NO_PERIOD]),
        (of(over, target_id=UNKNOWN), UNKNOWN, [NOBODY, NO_TARGET], [NOBODY, NO_TARGET, NO_PERIOD]),
    ]
    for programme, customer_id, un_enrolling, enrolling in table:
        case = (programme.target_group_id, programme.target_id, customer_id)
        assert codes(await programme.un_enrol(customer_id)) == un_enrolling, case
        assert codes(await programme.enrol(customer_id)) == (un_enrolling if enrolling is ... else enrolling), case
    assert await snapshot(cast.acme.house) == before


async def test_the_period_is_looked_up_with_the_others_on_enrol(cast: Cast) -> None:
    ana = await cast.customer()
    spring = cast.spring

    async def enrol(programme: Programme, customer_id: int, period: str) -> list[int]:
        return codes(await programme.enrol(customer_id, periodName=period))

    for period in ("Cycle_1", "Cycle_4", "nonsense", "ç" * 200):
        assert await enrol(spring, ana, period) == [NO_PERIOD]
    assert await enrol(spring, UNKNOWN, "nonsense") == [NOBODY, NO_PERIOD]
    assert await enrol(of(spring, target_id=UNKNOWN), UNKNOWN, "nonsense") == [NOBODY, NO_TARGET, NO_PERIOD]
    # Without a group there are no periods to look among.
    assert await enrol(of(spring, target_group_id=UNKNOWN), ana, "nonsense") == [NO_GROUP, NO_TARGET]
    assert await cast.acme.facts(ana) == []


async def test_already_enrolled_is_told_only_when_all_is_found_and_changes_nothing(cast: Cast) -> None:
    ana = await cast.customer()
    for programme in (cast.spring, cast.laps):
        assert answered(await programme.enrol(ana)) == done(ana)
    before = await snapshot(cast.acme.house)

    assert codes(await cast.spring.enrol(ana, initialBalance=7)) == [310119]
    assert codes(await cast.laps.enrol(ana, resetStreakStatus=True, periodName="W1")) == [310119]
    assert codes(await cast.spring.enrol(ana, periodName="nonsense")) == [NO_PERIOD]
    assert await snapshot(cast.acme.house) == before


async def test_never_enrolled_and_un_enrolled_before_are_told_apart(cast: Cast) -> None:
    ana = await cast.customer()

    assert codes(await cast.spring.un_enrol(ana)) == [310149]
    assert codes(await cast.laps.un_enrol(ana)) == [310149]
    assert answered(await cast.spring.enrol(ana)) == done(ana)
    assert answered(await cast.spring.un_enrol(ana)) == done(ana)
    before = await snapshot(cast.acme.house)
    assert answered(await cast.spring.un_enrol(ana)) == done(ana, 390001)
    assert answered(await cast.spring.un_enrol(ana)) == done(ana, 390001)
    assert await snapshot(cast.acme.house) == before
    assert answered(await cast.spring.enrol(ana)) == done(ana)


async def test_when_all_periods_are_over_nobody_is_enrolled_or_un_enrolled(cast: Cast) -> None:
    ana, ben = await cast.customer(), await cast.customer()
    assert answered(await cast.spring.enrol(ana)) == done(ana)

    await cast.acme.advance("2031-03-31T23:59:59.999Z")
    assert codes(await cast.spring.un_enrol(ben)) == [310149]
    await cast.acme.advance("2031-04-01T00:00:00Z")

    for customer_id in (ana, ben):
        assert codes(await cast.spring.un_enrol(customer_id)) == [NO_PERIOD]
        assert codes(await cast.spring.enrol(customer_id)) == [NO_PERIOD]


async def test_an_auto_enrolling_group_takes_an_opt_out_before_any_activity(cast: Cast) -> None:
    ana = await cast.customer()
    auto = await cast.acme.define(named("Auto", milestone()))

    assert answered(await auto.un_enrol(ana)) == done(ana)
    assert answered(await auto.un_enrol(ana)) == done(ana, 390001)
    assert answered(await auto.enrol(ana)) == done(ana)


async def test_what_a_streak_ignores_is_warned_of(cast: Cast) -> None:
    ignored = {"periodName": "nonsense", "initialBalance": 5}
    cases = [
        ({"periodName": "W3"}, [390002]),
        ({"initialBalance": 0}, [390003]),
        (ignored, [390002, 390003]),
        ({"periodName": None, "initialBalance": None, "resetStreakStatus": None}, []),
        ({"resetStreakStatus": True}, []),
    ]
    for more, warnings in cases:
        customer_id = await cast.customer()
        assert answered(await cast.laps.enrol(customer_id, **more)) == done(customer_id, *warnings)
    # A milestone uses what a streak ignores, and ignores what a streak uses.
    ana = await cast.customer()
    assert answered(
        await cast.spring.enrol(ana, periodName="Cycle_3", initialBalance="12.5", resetStreakStatus=True)
    ) == done(ana)


async def test_the_initial_balance_goes_to_the_first_covered_period(cast: Cast) -> None:
    ana = await cast.customer()

    await cast.spring.enrol(ana, periodName="cycle_3", initialBalance=40.0005)

    shown = await cast.acme.ask("GET", f"/users/{ana}/targetGroups", params={"includeInactive": "true"})
    rows = shown["data"]["targetGroups"][0]["targets"]
    assert [(row["periodRefCode"], row["targetAchievedValue"], row["unEnrolled"]) for row in rows] == [
        ("Cycle_1", 0, True),
        ("Cycle_2", 0, True),
        ("Cycle_3", 40.001, False),
    ]


async def test_a_customer_id_is_an_integer_or_digits_and_data_is_always_an_integer(cast: Cast) -> None:
    for spell in (int, str, lambda number: f"00{number}"):
        customer_id = await cast.customer()
        for verb in VERBS:
            # An array of one object, and the bare object.
            body: Any = {"customerId": spell(customer_id), "ignored": {"a": 1}}
            response = await cast.acme.call("POST", cast.spring.path(verb), body if verb == "enroll" else [body])
            assert answered(response) == done(customer_id)
            assert type(response.json()["data"]) is int
    await cast.acme.register(2**63 - 1)
    assert answered(await cast.spring.enrol(str(2**63 - 1))) == done(2**63 - 1)


BODIES = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"7",
    b'"7"',
    b"[[7]]",
    b"[{}]",
    b"[null]",
    b'[{"customerId": 501}, {"customerId": 501}]',
    b'[{"customerId": 501}, {}]',
    b'[[{"customerId": 501}]]',
    b'{"data": [{"customerId": 501}]}',
    b'[{"CUSTOMERID": 501}]',
    b'[{"customerId": 501, "customerId": 502}]',
]
CUSTOMER_IDS = (
    (
        b'null true false 501.0 5.01e2 -501 +501 0 9223372036854775808 1e400 NaN Infinity 5_01 0501 0x1F "" " 501" "501 " '
        b'"+501" "-501" "501.0" "5_01" "0" "9223372036854775808" "\xd9\xa5" "\xc2\xb2" "abc" {} [] [501]'
    )
    .replace(b'" 501"', b'"\\u0020501"')
    .replace(b'"501 "', b'"501\\u0020"')
    .split(b" ")
)
OPTIONS = [
    b'"initialBalance": -1',
    b'"initialBalance": -0.001',
    b'"initialBalance": "1e3"',
    b'"initialBalance": ""',
    b'"initialBalance": true',
    b'"initialBalance": 1000000000000',
    b'"initialBalance": 1e400',
    b'"initialBalance": "NaN"',
    b'"initialBalance": []',
    b'"periodName": ""',
    b'"periodName": 3',
    b'"periodName": "' + b"x" * 201 + b'"',
    b'"periodName": "a\\u0000"',
    b'"resetStreakStatus": "true"',
    b'"resetStreakStatus": 1',
]


async def test_a_malformed_body_is_invalid_input_alone_and_changes_nothing(cast: Cast) -> None:
    await cast.acme.register(501)
    before = await snapshot(cast.acme.house)

    for verb, programme in itertools.product(VERBS, (cast.spring, of(cast.laps, target_group_id=UNKNOWN))):
        for body in [*BODIES, *(b'[{"customerId": ' + each + b"}]" for each in CUSTOMER_IDS)]:
            response = await cast.acme.call("POST", programme.path(verb), body)
            assert codes(response) == [300004], (verb, body)
    for option in OPTIONS:
        response = await cast.acme.call("POST", cast.spring.path("enroll"), b'[{"customerId": 501, ' + option + b"}]")
        assert codes(response) == [300004], option
    several = b'[{"customerId": true, "initialBalance": -1, "periodName": 3, "resetStreakStatus": 0}]'
    response = await cast.acme.call("POST", cast.spring.path("enroll"), several)
    assert [error["message"].partition(":")[0] for error in response.json()["errors"]] == [
        "customerId",
        "periodName",
        "initialBalance",
        "resetStreakStatus",
    ]
    assert await snapshot(cast.acme.house) == before


async def test_path_ids_that_are_no_ids_are_invalid_input(cast: Cast) -> None:
    for text in ("0", "-1", "1.0", "x", "9223372036854775808", "%C2%B2"):
        for path in (f"/targetGroups/{text}/targets/1/unEnroll", f"/targetGroups/1/targets/{text}/enroll"):
            assert codes(await cast.acme.call("POST", path, [{"customerId": 501}])) == [300004], path


def scope(value: str, *named: object, name: str = "DATA-SCOPE-ORG") -> dict[str, str]:
    return {"DATA-SCOPE": value, **({name: ",".join(map(str, named))} if named else {})}


async def test_a_parent_acts_in_its_child_with_the_childs_customers_groups_and_clock(cast: Cast) -> None:
    await cast.north.advance("2031-03-05T00:00:00Z")
    theirs = await cast.north.define(MILESTONE)
    ours, both = await cast.customer(), 77
    for brand in (cast.acme, cast.north):
        await brand.register(both)
    acme = replace(cast.acme, prefix="/v3.1")
    body = [{"customerId": both}]

    async def post(verb: str, name: str = "DATA-SCOPE-ORG", value: str = "OTHER") -> Any:
        return await acme.call(
            "POST", theirs.path(verb), body, headers=scope(value, cast.north.organisation_id, name=name)
        )

    assert answered(await post("enroll")) == done(both)
    assert await cast.north.facts(both) == ["enrolled"]
    assert await cast.acme.facts(both) == []
    # The child's clock stands in its third month.
    shown = await cast.north.ask("GET", f"/users/{both}/targetGroups")
    assert [row["periodRefCode"] for row in shown["data"]["targetGroups"][0]["targets"]] == ["Cycle_3"]
    # The parent's own customers and groups are unknown there.
    headers = scope("OTHER", cast.north.organisation_id)
    assert codes(await acme.call("POST", theirs.path("enroll"), [{"customerId": ours}], headers=headers)) == [NOBODY]
    assert codes(await acme.call("POST", cast.spring.path("enroll"), body, headers=headers)) == [NO_GROUP, NO_TARGET]
    assert codes(await acme.call("POST", theirs.path("enroll"), body)) == [NO_GROUP, NO_TARGET]

    # Three header names, any case.
    names = ["DATA-SCOPE-ORGS", "connected-orgs", "data-scope-org"]
    for name, verb, value in zip(names, ["unEnroll", "enroll", "unEnroll"], ["other", "Other", "OTHER"], strict=True):
        assert answered(await post(verb, name, value)) == done(both)
    assert await cast.north.facts(both) == ["enrolled", "un_enrolled", "re_enrolled", "un_enrolled"]


async def test_scope_errors_answer_alone_and_before_the_body_is_read(cast: Cast) -> None:
    acme, north, globex = (replace(each, prefix="/v3.1") for each in (cast.acme, cast.north, cast.globex))
    north_id, south_id, globex_id = (
        cast.north.organisation_id,
        cast.north.organisation_id + 1,
        cast.globex.organisation_id,
    )
    before = await snapshot(cast.acme.house)
    cases = [
        (acme, scope("ALL"), 310141),
        (north, scope("all", north_id), 310141),
        (globex, scope("ALL"), 310141),
        (acme, scope("OTHER"), 310144),
        (acme, scope("OTHER", "x"), 310144),
        (acme, scope("OTHER", UNKNOWN), 310144),
        (acme, scope("OTHER", globex_id), 310144),
        (acme, scope("OTHER", acme.organisation_id), 310144),
        (acme, scope("OTHER", north_id, south_id), 310144),
        (acme, scope("OTHER", north_id) | {"CONNECTED-ORGS": str(south_id)}, 310144),
        (north, scope("OTHER", north_id), 310144),
        (north, scope("OTHER", acme.organisation_id), 310144),
        (north, scope("OTHER", south_id), 310144),
        (globex, scope("OTHER", acme.organisation_id), 310144),
        (globex, scope("OTHER", globex_id), 310144),
        (acme, scope("EVERYONE"), 300004),
        (acme, scope("", north_id), 300004),
    ]
    for (brand, headers, code), verb in itertools.product(cases, VERBS):
        for body in ([{"customerId": UNKNOWN}], b"not json"):
            response = await brand.call("POST", f"/targetGroups/{UNKNOWN}/targets/1/{verb}", body, headers=headers)
            assert codes(response) == [code], (headers, verb)
    response = await acme.call("POST", cast.spring.path("enroll"), [{"customerId": 1}], headers=scope("ALL"))
    assert response.json()["errors"][0]["message"] == "Datascope 'ALL' is not supported for this 'API'"
    assert await snapshot(cast.acme.house) == before


async def test_self_reads_no_ids_and_v3_reads_no_scope(cast: Cast) -> None:
    ana = await cast.customer()
    own = done(ana)
    spring = cast.spring

    response = await cast.acme.call(
        "POST", spring.path("enroll"), [{"customerId": ana}], prefix="/v3.1", headers=scope("self", "nonsense")
    )
    assert answered(response) == own
    for prefix, verb in zip(PREFIXES[0::2], ["unEnroll", "enroll"], strict=True):
        for headers in (scope("ALL"), scope("OTHER", cast.north.organisation_id), scope("NONSENSE")):
            response = await cast.acme.call(
                "POST", spring.path(verb), [{"customerId": ana}], prefix=prefix, headers=headers
            )
            expected = 310119 if verb == "enroll" else 390001
            content = response.json()
            complaints = content["errors"] or content["warnings"] or []
            assert [each["code"] for each in complaints] in ([], [expected])
    assert await cast.acme.facts(ana) == ["enrolled", "un_enrolled", "re_enrolled"]
