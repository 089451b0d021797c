"""Bad input against every operation that takes a body: each its code, nothing changed, never a 500.

Every answer is also held against the OpenAPI document: a status or a shape that it does not name fails.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from tests.api.brand import Brand, Programme, codes, event, open_brand, purchase, sign_in_with, snapshot
from tests.bodies import LAPS, MILESTONE, STREAK, milestone, named, streak, with_period, with_target

from kosminar.api import openapi
from kosminar.api.app import OPERATIONS
from kosminar.api.operation import FORM, Operation
from kosminar.core.access import Level, Resource
from kosminar.settings import Settings

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
ONE = {"defaultValue": 1}
TODAY = "2031-02-12T09:00:00Z"
LIMIT = Settings.read({}).body_bytes_max
DOCUMENT = json.loads(json.dumps(openapi.document(OPERATIONS)))
WITH_BODY = [one for one in OPERATIONS if one.request is not None]

# A body of each operation that nothing is wrong with; refused all the same where the world is not so.
ENDPOINT = {
    "url": "https://brand.example/hooks",
    "eventNames": ["rewardIssued"],
    "description": "Wallet",
    "headers": {"X-Token": "t"},
    "connectionCountMax": 2,
}
GOOD: dict[str, Any] = {
    "POST /targetGroups": STREAK,
    "POST /targetGroups/{targetGroupId}/targets/{targetId}/enroll": [
        {"customerId": 501, "periodName": "Cycle_3", "initialBalance": 4.5, "resetStreakStatus": False}
    ],
    "POST /targetGroups/{targetGroupId}/targets/{targetId}/unEnroll": [{"customerId": 501}],
    "POST /v2/customers": {
        "profiles": [
            {
                "firstName": "Ana",
                "lastName": "Ek",
                "source": "INSTORE",
                "identifiers": [{"type": "mobile", "value": "+49170"}, {"type": "email", "value": "ana@x.org"}],
            }
        ]
    },
    "POST /v2/transactions": {
        "type": "REGULAR",
        "billNumber": "B-1",
        "billAmount": 9.5,
        "grossAmount": 10,
        "discount": 0.5,
        "billingDate": TODAY,
    },
    "POST /oauth/token/generate": {"key": "client-1", "secret": "s"},
    "POST /oauth/token": {"grant_type": "client_credentials", "client_id": "client-1", "client_secret": "s"},
    "POST /v1/customers": {"customers": [{"customerId": 7, "externalId": "x", "mobile": "1", "email": "a@b.c"}]},
    "POST /v1/activities": {"activities": [purchase("a", 501, TODAY, 1), event("b", 501, TODAY)]},
    "POST /v1/clock/advance": {"to": "2031-02-13T00:00:00Z"},
    "POST /v1/rewards/{rewardId}/failed": {"reason": "The wallet is closed."},
    "POST /v1/rewards/{rewardId}/reversed": {"reason": "Given by mistake."},
    "POST /v1/webhook-endpoints": ENDPOINT,
    "PATCH /v1/webhook-endpoints/{endpointId}": {**ENDPOINT, "state": "paused"},
    "POST /v1/webhook-endpoints/{endpointId}/rotate-secret": {"overlapHours": 24},
    "POST /v1/webhook-endpoints/{endpointId}/recover": {"since": TODAY},
}


@dataclass(frozen=True)
class Cast:
    acme: Brand
    spring: Programme
    laps: Programme
    endpoint_id: int
    reward_id: str


@pytest_asyncio.fixture
async def cast(house, http) -> AsyncIterator[Cast]:
    brand = await open_brand(house, http, "Acme", clock=NOW)
    headers = await sign_in_with(house, brand.organisation_id, dict.fromkeys(Resource, Level.WRITE))
    acme = Brand(house, http, brand.organisation_id, headers)
    spring, laps = await acme.define(with_target(enrolmentMethod="IMPORT")), await acme.define(STREAK)
    points = [{"kind": "POINTS", "value": 1, "allocation": "IMMEDIATE"}]
    await acme.define(named("Given", with_target(**{**LAPS, "eventName": "gift"}, defaultValues=[ONE], rewards=points)))
    await acme.register(501)
    await acme.record(event("gift", 501, TODAY, "gift"))
    endpoint = await acme.ask("POST", "/v1/webhook-endpoints", {**ENDPOINT, "eventNames": ["streakStart"]})
    yield Cast(acme, spring, laps, endpoint["endpointId"], (await acme.rewards(501))[0]["rewardId"])


def key_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


async def post(cast: Cast, operation: Operation, body: Any, **headers: str) -> httpx2.Response:
    """Sends it, and holds the answer against the document."""
    path = operation.path.replace("{targetGroupId}", str(cast.spring.target_group_id))
    path = path.replace("{targetId}", str(cast.spring.target_id))
    path = path.replace("{endpointId}", str(cast.endpoint_id)).replace("{rewardId}", cast.reward_id)
    query = {"identifierName": "id", "identifierValue": "501"} if operation.query else {}
    headers = {"Content-Type": operation.media_types[0], **headers}
    response = await cast.acme.call(operation.method, path, body, params=query, headers=headers)
    check_shape(operation, response)
    return response


def check_shape(operation: Operation, response: httpx2.Response) -> None:
    case = f"{key_of(operation)} {response.status_code} {response.text[:1000]}"
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    assert str(response.status_code) in described, case
    if response.headers["Content-Type"].startswith("text/plain"):
        assert operation.path == "/metrics", case
        return
    content = described[str(response.status_code)]["content"]
    media_type = response.headers["Content-Type"]
    assert media_type in content, case
    schema = {**content[media_type]["schema"], "components": DOCUMENT["components"]}
    faults = [
        f"{list(fault.path)}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(response.json())
    ]
    assert faults == [], case


def code_of(response: httpx2.Response) -> int | str:
    content = response.json()
    if isinstance(content.get("error"), str):
        return content["error"]
    return content["code"] if "code" in content else content["errors"][0]["code"]


def nested(count: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * count + closing * count


NO_JSON = [
    b"",
    b"  \n",
    b"{",
    b"[}",
    b'{"a": 1',
    b"{'a': 1}",
    b'{"a": 1,}',
    b"{} {}",
    b"// {}\n{}",
    b"nul",
    b"NaN",
    b"-Infinity",
    b"01",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf",
    b'"\xc3"',
    b'"\\ud800"',
    b'"a\nb"',
    b"1" * 5_000,
    b"[" * 100_000,
    b'{"a":' * 100_000,
    nested(100_000),
    nested(33),
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"\x00",
]
# Of the wrong type, though JSON.
WRONG_TYPES = [b"null", b"true", b"7", b"1.5", b'"text"', b"[]", b"[[]]", b"[null]", b"{}", b'{"a": 1}', nested(32)]
# Fields that spoil any object they are added to, whatever its other fields.
POISON = [
    b'"x": NaN',
    b'"x": Infinity',
    b'"x": 1_000',
    b'"x": 0x10',
    b'"x": +1',
    b'"x": .5',
    b'"x": 1e999999999',
    b'"x": 1e-999999999',
    b'"x": ' + b"9" * 5_000 + b".5",
    b'"x": "\\u0000"',
    b'"\\u0000": 1',
    b'"x": "\\ud83d"',
    b'"x": "\xff"',
    b'"x": 1, "x": 2',
    b'"x": ' + nested(33),
    b'"x": undefined',
]


def poisoned(body: Any, poison: bytes) -> bytes:
    text = json.dumps(body).encode()
    return text.replace(b"{", b"{" + poison + b", ", 1)


async def test_every_operation_with_a_body_has_a_good_one_here(cast: Cast) -> None:
    assert {key_of(one) for one in WITH_BODY} == GOOD.keys()
    for operation in WITH_BODY:
        if operation.media_types == (FORM,):
            continue
        Draft202012Validator({**operation.request, "components": {}}).validate(
            json.loads(json.dumps(GOOD[key_of(operation)]))
        )


async def test_what_is_no_json_or_of_the_wrong_type_is_refused_everywhere(cast: Cast) -> None:
    before = await snapshot(cast.acme.house)
    for operation in WITH_BODY:
        form = operation.media_types == (FORM,)
        bodies = [*NO_JSON, *WRONG_TYPES, *(poisoned(GOOD[key_of(operation)], poison) for poison in POISON)]
        for body in bodies:
            response = await post(cast, operation, body)
            case = (key_of(operation), body[:80])
            if len(body) > operation.body_bytes_max(LIMIT):
                assert (response.status_code, code_of(response)) == (413, 390008), case
                continue
            assert response.status_code == 400, case
            assert code_of(response) == ("invalid_request" if form else 300004), case
    assert await snapshot(cast.acme.house) == before


async def test_a_body_over_the_limit_or_of_another_type_is_refused_everywhere(cast: Cast) -> None:
    before = await snapshot(cast.acme.house)
    for operation in WITH_BODY:
        longest = operation.body_bytes_max(LIMIT)
        assert code_of(await post(cast, operation, b" " * longest)) != 390008, key_of(operation)
        assert code_of(await post(cast, operation, b" " * (longest + 1))) == 390008, key_of(operation)
        content_type = FORM if operation.media_types != (FORM,) else "application/json"
        good = json.dumps(GOOD[key_of(operation)]).encode()
        for headers in ({"Content-Type": content_type}, {"Content-Encoding": "gzip"}):
            response = await post(cast, operation, good, **headers)
            assert (response.status_code, code_of(response)) == (415, 390013), key_of(operation)
    assert await snapshot(cast.acme.house) == before


SPOILED: list[Any] = [None, True, -1, 0, 1.5, 2**63, 10**400, "", " ", "x" * 5_000, "NaN", "1_000", "9" * 30]
SPOILED += ["2031-02-30", "1e5", "-0", [], {}, [[]], [None], {"a": []}, "\u0661", "\x7f", "'; DROP TABLE customer; --"]


def spoiled(body: Any) -> Iterator[tuple[str, Any]]:
    """The body with one of its values replaced, each in turn by each, and each member and item left out in turn."""
    for path in paths(body):
        for value in SPOILED:
            yield f"{path} = {str(value)[:40]!r}", changed(body, path, value)
        yield f"{path} left out", changed(body, path, ...)


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*here, name)
        yield from paths(one, (*here, name))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    within = copy
    for name in path[:-1]:
        within = within[name]
    if new is ...:
        del within[path[-1]]
    else:
        within[path[-1]] = new
    return copy


async def test_one_spoiled_value_is_taken_or_refused_and_never_a_fault_of_ours(cast: Cast) -> None:
    for operation in WITH_BODY:
        if operation.media_types == (FORM,):
            continue
        before = await snapshot(cast.acme.house)
        taken = 0
        for what, body in spoiled(GOOD[key_of(operation)]):
            response = await post(cast, operation, body)
            case = f"{key_of(operation)} with {what}: {response.text[:300]}"
            # Who sends so many wrong secrets has to wait.
            assert response.status_code in {200, 201, 400, 401, 409, 429}, case
            if response.is_success:
                taken += 1
                continue
            content = response.json()
            complaints = content.get("errors") or [content]
            assert all(
                300_000 <= each["code"] < 400_000 and each["message" if "message" in each else "detail"]
                for each in complaints
            ), case
        after = await snapshot(cast.acme.house)
        changed_tables = {name for name in after if after[name] != before[name]}
        assert changed_tables <= (MAY_CHANGE[key_of(operation)] if taken else set()), key_of(operation)


DEFINED = {"definition", "name", "due_instant", "organisation"}
# Where a spoiled value leaves a body that can be taken.
MAY_CHANGE: dict[str, set[str]] = {
    "POST /targetGroups": DEFINED,
    "POST /targetGroups/{targetGroupId}/targets/{targetId}/enroll": {
        "counter_change",
        "customer",
        "journal",
        "standing",
    },
    "POST /targetGroups/{targetGroupId}/targets/{targetId}/unEnroll": {
        "counter_change",
        "customer",
        "ended_period",
        "journal",
        "standing",
    },
    "POST /v2/customers": {"customer", "customer_identifier"},
    "POST /v2/transactions": {"counter_change", "customer", "ended_period", "journal", "standing"},
    "POST /oauth/token/generate": set(),
    "POST /v1/customers": {"customer", "customer_identifier"},
    "POST /v1/activities": {"counter_change", "customer", "ended_period", "journal", "standing"},
    "POST /v1/clock/advance": set(),
    "POST /v1/rewards/{rewardId}/failed": {"counter_change", "customer", "journal", "reward"},
    "POST /v1/rewards/{rewardId}/reversed": {"counter_change", "customer", "journal", "reward"},
    "POST /v1/webhook-endpoints": {"organisation", "webhook_endpoint"},
    "PATCH /v1/webhook-endpoints/{endpointId}": {"organisation", "webhook_endpoint"},
    "POST /v1/webhook-endpoints/{endpointId}/rotate-secret": {"organisation", "webhook_endpoint"},
    "POST /v1/webhook-endpoints/{endpointId}/recover": set(),
}


def levels(*counts: int, name: str | None = None) -> dict[str, Any]:
    return streak(streaks=[{"targetCountOfSequence": count, **({"name": name} if name else {})} for count in counts])


# A definition, and the codes with the paths that its complaints begin with.
DEFINITIONS: list[tuple[str, dict[str, Any], list[tuple[int, str]]]] = [
    ("ends before it begins", with_period(1, endDate="2031-02-09"), [(300004, "periods[1].endDate")]),
    ("periods overlap", with_period(0, endDate="2031-02-10T00:00:00.000"), [(300004, "periods[1].startDate")]),
    ("a period twice", with_period(2, refCode="w1"), [(300004, "periods[2].refCode")]),
    (
        "eleven levels",
        streak(
            periods=[],
            targetCycleStartDate="2031-01-01",
            totalPeriods=20,
            targets=[{**STREAK["targets"][0], "defaultValues": [{"defaultValue": 1}]}],
            streaks=[{"targetCountOfSequence": n} for n in range(1, 12)],
        ),
        [(300004, "streaks")],
    ),
    ("a level above the periods", levels(2, 4), [(300004, "streaks[1].targetCountOfSequence")]),
    ("levels out of order", levels(3, 2), [(300004, "streaks[1].targetCountOfSequence")]),
    ("a level twice", levels(1, 2, name="L"), [(300004, "streaks[1].name")]),
    ("no level", levels(), [(300004, "streaks")]),
    (
        "a streak's level pays at period end",
        streak(
            streaks=[
                {
                    "targetCountOfSequence": 1,
                    "rewards": [{"kind": "POINTS", "value": 1, "allocation": "PERIOD_END"}],
                }
            ]
        ),
        [(300004, "streaks[0].rewards[0].allocation")],
    ),
    (
        "a streak's target pays at period end",
        streak(
            targets=[{**STREAK["targets"][0], "rewards": [{"kind": "BADGE", "value": "b", "allocation": "PERIOD_END"}]}]
        ),
        [(300004, "targets[0].rewards[0].allocation")],
    ),
    ("a milestone with levels", milestone(streaks=[{"targetCountOfSequence": 1}]), [(300004, "streaks")]),
    (
        "a huge value",
        with_target(defaultValues=[{"defaultValue": 10**12}]),
        [(300004, "targets[0].defaultValues[0].defaultValue")],
    ),
    (
        "an adorned value",
        with_target(defaultValues=[{"defaultValue": "1_000"}]),
        [(300004, "targets[0].defaultValues[0].defaultValue")],
    ),
    (
        "two values for three periods",
        with_target(defaultValues=[{"defaultValue": 1}] * 2),
        [(300004, "targets[0].defaultValues")],
    ),
    ("another rule", with_target(expression="false"), [(300004, "targets[0].expression")]),
    ("a zone that is none", milestone(timeZoneName="Mars/Olympus"), [(300004, "timeZoneName")]),
    ("too many periods", milestone(totalPeriods=10**9), [(300004, "totalPeriods")]),
    ("periods past the end of time", milestone(frequencyType="YEARLY", totalPeriods=500), [(300004, "totalPeriods")]),
    ("an entity without the type", with_target(**{**LAPS, "targetType": "SALES"}), [(310033, "Invalid target entity")]),
    ("a sum of nothing", with_target(**{**LAPS, "targetType": "EVENT_ATTRIBUTE"}), [(310094, "Target rule metadata")]),
    (
        "a sum of something odd",
        with_target(**{**LAPS, "targetType": "EVENT_ATTRIBUTE", "extendedFieldInfo": {"name": 7}}),
        [(310092, "Invalid extended field")],
    ),
    ("a long target name", with_target(name="n" * 201), [(310008, "Length of Target rule name")]),
    ("a leaderboard", milestone(leaderboardEnabled=True), [(310133, "Leaderboard is not enabled")]),
    ("a name that is taken", {**named("else"), "name": "SPRING"}, [(310069, "Target group name already exists")]),
    ("a target's name that is taken", {**MILESTONE, "name": "else"}, [(310069, "targets[0].name")]),
    ("no targets", milestone(targets=[]), [(300004, "targets")]),
    ("two targets", milestone(targets=MILESTONE["targets"] * 2), [(300004, "targets")]),
]


async def test_each_fault_of_a_definition_has_its_code_and_path_and_stores_nothing(cast: Cast) -> None:
    before = await snapshot(cast.acme.house)
    create = next(one for one in OPERATIONS if key_of(one) == "POST /targetGroups")
    for what, body, expected in DEFINITIONS:
        response = await post(cast, create, body)
        assert codes(response) == [code for code, _ in expected], (what, response.text)
        for complaint, (_, begins) in zip(response.json()["errors"], expected, strict=True):
            assert complaint["message"].startswith(begins), (what, complaint)
    raw = json.dumps(named("else")).encode()
    for spelled in (b"1e400", b"1e12", b"-1e400"):
        response = await post(cast, create, raw.replace(b"250", spelled))
        assert codes(response) == [300004], spelled
    assert await snapshot(cast.acme.house) == before


FORMS = [
    ({}, "invalid_request"),
    ({"grant_type": ""}, "unsupported_grant_type"),
    ({"grant_type": "password"}, "unsupported_grant_type"),
    ({"grant_type": "client_credentials"}, "invalid_client"),
    ({"grant_type": "client_credentials", "client_id": "a\0", "client_secret": "b"}, "invalid_client"),
    ({"grant_type": "client_credentials", "client_id": "a" * 8_000, "client_secret": "b"}, "invalid_client"),
    ({"grant_type": "client_credentials", "client_id": "\U0001f3c3", "client_secret": "\u0661"}, "invalid_client"),
    ({str(n): "1" for n in range(21)}, "invalid_request"),
]


async def test_a_form_of_another_kind_is_refused_in_the_words_of_the_rfc(cast: Cast) -> None:
    grant = next(one for one in OPERATIONS if key_of(one) == "POST /oauth/token")
    anonymous = replace(cast, acme=Brand(cast.acme.house, cast.acme.http, 0, {}))
    for form, error in FORMS:
        assert code_of(await post(anonymous, grant, urlencode(form).encode())) == error, form
    for body in (b"grant_type=client_credentials&grant_type=x", b"\xff=1", b"grant_type=%ff", b"=&=", b"%"):
        assert code_of(await post(anonymous, grant, body)) == "invalid_request", body


async def test_what_is_read_looks_as_the_document_says(cast: Cast) -> None:
    sums = {**LAPS, "targetType": "EVENT_ATTRIBUTE", "extendedFieldInfo": {"name": "km"}}
    await cast.acme.define(named("Kilometres", with_target(**sums)))
    gone = await cast.acme.define(named("Gone"))
    for programme in (cast.spring, cast.laps, gone):
        assert (await programme.enrol(501)).status_code == 200
    await cast.acme.record(purchase("a", 501, TODAY, 250), *(event(f"l{n}", 501, TODAY) for n in range(4)))
    await cast.acme.ask("DELETE", f"/targetGroups/{gone.target_group_id}")
    await cast.acme.ask("POST", "/v2/customers", {"profiles": [{"identifiers": [{"type": "email", "value": "a@b.c"}]}]})

    queries = {
        "/targetGroups": [{}, {"includePeriods": "true"}, {"includePeriods": "maybe"}],
        "/users/{userId}/targetGroups": [{}, {"includeInactive": "true", "includeInactiveTargets": "true"}],
        "/v2/customers/lookup": [{"identifierName": "email", "identifierValue": value} for value in ("a@b.c", "x@y.z")],
    }
    for operation in OPERATIONS:
        if operation.method != "GET":
            continue
        for name, customer_id, group in (("", 501, cast.spring), ("gone", 501, gone), ("unknown", 999, cast.spring)):
            path = operation.path.replace("{targetGroupId}", "999" if name == "unknown" else str(group.target_group_id))
            path = path.replace("{userId}", str(customer_id)).replace("{customerId}", str(customer_id))
            path = path.replace("{endpointId}", "999" if name == "unknown" else str(cast.endpoint_id))
            for query in queries.get(operation.path, [{}]):
                prefix = "/v3.1" if operation.prefixed else ""
                response = await cast.acme.call("GET", path, params=query, prefix=prefix)
                assert response.status_code in {200, 400, 404}
                check_shape(operation, response)
