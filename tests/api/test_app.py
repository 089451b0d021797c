"""The application as a whole: prefixes, order of refusals, and one shape for every status on every surface."""

import base64
import json
import os
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi import definitions

from kosminar.api import app as application
from kosminar.api import openapi, reception
from kosminar.api.answer import envelope, native
from kosminar.api.app import OPERATIONS, build_app
from kosminar.api.authentication import CHALLENGE
from kosminar.api.operation import Operation, Refused, path_id
from kosminar.core.access import Level, Resource
from kosminar.core.errors import Code, Complaint
from kosminar.engine.house import House
from kosminar.engine.retry import NotSaved
from kosminar.engine.use_cases.clients import create_client, create_organisation

pytestmark = pytest.mark.asyncio

PREFIXES = ["/v3", "/v3.1", "/api_gateway/intouch-api-v3/v3", "/api_gateway/intouch-api-v3/v3.1"]
LIMIT = 2048


async def echo(house, call):
    """Answers what an operation gets to see."""
    seen = {
        "organisations": call.organisation_ids,
        "version": call.version,
        "ids": call.ids,
        "query": call.query,
        "length": len(call.body),
    }
    return native(seen) if call.version == "v1" else envelope(seen)


async def fail(house, call):
    failures = {
        1: ZeroDivisionError("top secret"),
        2: OSError("no database"),
        3: asyncpg.CannotConnectNowError("starting up"),
        4: NotSaved("away"),
        5: asyncpg.InterfaceError("connection is closed"),
        6: asyncpg.InterfaceError("the server expects 2 arguments"),
        7: Refused(Complaint.of(Code.NAME_TAKEN), Complaint.of(Code.TARGET_NAME_TOO_LONG), status=409),
        8: asyncpg.TooManyConnectionsError("full"),
    }
    raise failures[call.ids["failureId"]]


def operation(method: str, path: str, **options) -> Operation:
    needed = {"function": echo, "summary": "Echo", "resource": Resource.ENROLMENTS, "level": Level.WRITE}
    return Operation(method=method, path=path, **(needed | options))


ECHOES = (
    operation("POST", "/targetGroups/{groupId}/echo"),
    operation("GET", "/users/{userId}/echo", plural=True),
    operation("POST", "/v2/echo"),
    operation("POST", "/v1/echo"),
    operation("GET", "/v1/echo/{thingId}/of/{otherId}"),
    operation("POST", "/v1/organisation", resource=Resource.ORGANISATION),
    operation("GET", "/users/{failureId}/fail", function=fail),
    operation("GET", "/v1/fail/{failureId}", function=fail),
)


@pytest_asyncio.fixture
async def cast(house: House) -> dict[str, int]:
    async with house.pool.acquire() as connection:

        async def organisation(name: str, parent_id: int | None = None) -> int:
            return await create_organisation(
                connection, name=name, zone="Europe/Berlin", parent_id=parent_id, now=house.wall()
            )

        globex = await organisation("Globex")
        acme = await organisation("Acme")
        return {"acme": acme, "north": await organisation("North", acme), "globex": globex}


async def signed_in(house: House, organisation_id: int) -> dict[str, str]:
    async with house.pool.acquire() as connection:
        made = await create_client(
            connection, organisation_id=organisation_id, random_bytes=os.urandom, now=house.wall()
        )
    return {"Authorization": "Basic " + base64.b64encode(f"{made.username}:{made.password}".encode()).decode()}


@pytest_asyncio.fixture
async def http(house: House, monkeypatch) -> httpx2.AsyncClient:
    """The real application with echoing operations beside its own, and a low limit for bodies."""
    monkeypatch.setattr(application, "OPERATIONS", (*OPERATIONS, *ECHOES))
    object.__setattr__(house.settings, "body_bytes_max", LIMIT)
    transport = httpx2.ASGITransport(app=build_app(house))
    async with httpx2.AsyncClient(transport=transport, base_url="http://kosminar.test") as client:
        yield client


@pytest_asyncio.fixture
async def acme(house, cast) -> dict[str, str]:
    return await signed_in(house, cast["acme"])


def refusal_of(response: httpx2.Response) -> tuple[int, str, int]:
    """Status, shape and first code, after checking that the shape is whole."""
    content = response.json()
    assert response.headers["X-Request-ID"]
    if response.headers["Content-Type"] == "application/problem+json":
        assert content["status"] == response.status_code
        assert {"type", "title", "detail"} <= content.keys()
        return response.status_code, "problem", content["code"]
    assert response.headers["Content-Type"] == "application/json"
    assert content.keys() == {"data", "errors", "warnings"}
    assert (content["data"], content["warnings"]) == (None, None)
    return response.status_code, "envelope", content["errors"][0]["code"]


@pytest.mark.parametrize(("prefix", "version"), list(zip(PREFIXES, ["v3", "v3.1"] * 2, strict=True)))
async def test_every_prefix_leads_to_the_one_operation(http, acme, prefix: str, version: str) -> None:
    response = await http.post(f"{prefix}/targetGroups/7/echo", headers=acme)

    assert response.json()["data"]["version"] == version
    assert response.json()["data"]["ids"] == {"groupId": 7}


@pytest.mark.parametrize(
    "path",
    [
        "/targetGroups/7/echo",
        "/users/7/echo",
        "/oauth/token/generate",
        "/v2/targetGroups/7/echo",
        "/v4/targetGroups/7/echo",
        "/v3/v3/targetGroups/7/echo",
        "/v3.1/v2/echo",
        "/api_gateway/v3/targetGroups/7/echo",
        "/api_gateway/intouch-api-v3/v2/echo",
        "/api_gateway/intouch-api-v3/targetGroups/7/echo",
        "/v3X1/targetGroups/7/echo",
        "/v3/TargetGroups/7/echo",
        "/v3",
        "/",
        "/v2",
        "/v3/targetGroups/7/targets/9/unenroll",
        "/v3/nothing/%00",
        "/v3/targetGroups/7/%ff",
        "/%",
        "/v1x/echo",
    ],
)
async def test_an_unknown_path_is_a_404_in_the_envelope_for_everybody(http, acme, path: str) -> None:
    for headers in (acme, {}):
        assert refusal_of(await http.post(path, headers=headers)) == (404, "envelope", 390011)


async def test_an_unknown_path_below_v1_is_a_problem(http) -> None:
    for path in ("/v1", "/v1/", "/v1/nothing", "/v1/echo/1/of"):
        assert refusal_of(await http.get(path)) == (404, "problem", 390011)


@pytest.mark.parametrize(
    ("method", "path", "shape", "allowed"),
    [
        ("GET", "/v3.1/targetGroups/7/echo", "envelope", {"POST", "OPTIONS"}),
        ("DELETE", "/v3/users/7/echo", "envelope", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/v2/echo", "envelope", {"POST", "OPTIONS"}),
        ("TRACE", "/v2/echo", "envelope", {"POST", "OPTIONS"}),
        ("BREW", "/v2/echo", "envelope", {"POST", "OPTIONS"}),
        ("GET", "/v1/echo", "problem", {"POST", "OPTIONS"}),
        ("PUT", "/v1/echo/1/of/2", "problem", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/healthz", "problem", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/readyz", "problem", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/openapi.json", "envelope", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/oauth/token", "envelope", {"POST", "OPTIONS"}),
    ],
)
async def test_a_wrong_method_is_a_405_that_names_the_right_ones(http, method, path, shape, allowed) -> None:
    response = await http.request(method, path)

    assert set(response.headers["Allow"].split(", ")) == allowed
    assert refusal_of(response) == (405, shape, 390012)


async def test_head_is_get_and_options_names_the_methods(http, acme) -> None:
    assert (await http.head("/v1/echo/1/of/2", headers=acme)).status_code == 200
    assert (await http.head("/v3/users/7/echo")).status_code == 401
    assert (await http.head("/v1/echo")).status_code == 405
    options = await http.options("/v3/users/7/echo")
    assert (options.status_code, options.content) == (204, b"")
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(("path", "shape"), [("/v3/targetGroups/7/echo", "envelope"), ("/v1/echo", "problem")])
async def test_who_is_unknown_or_may_not_learns_nothing_else(http, acme, path: str, shape: str) -> None:
    big = b"x" * (LIMIT + 1)
    unknown = await http.post(path.replace("7", "x") + "?a=1&a=2", content=big, headers={"DATA-SCOPE": "NONSENSE"})
    forbidden = await http.post("/v1/organisation?a=1&a=2", content=big, headers=acme)

    assert refusal_of(unknown) == (401, shape, 390010)
    assert unknown.headers["WWW-Authenticate"] == CHALLENGE
    assert refusal_of(forbidden) == (403, "problem", 4000)


async def test_path_answers_before_scope_and_scope_before_body(http, acme) -> None:
    wrong = {"headers": acme | {"DATA-SCOPE": "ALL"}, "content": b"x" * (LIMIT + 1)}

    assert refusal_of(await http.post("/v3.1/targetGroups/x/echo", **wrong)) == (400, "envelope", 300004)
    assert refusal_of(await http.post("/v3.1/targetGroups/7/echo", **wrong)) == (400, "envelope", 310141)
    assert refusal_of(await http.post("/v3/targetGroups/7/echo", **wrong)) == (413, "envelope", 390008)


@pytest.mark.parametrize(
    "text", ["0", "-1", "+1", "1.0", "01x", "x", "%31%00", "²", "1_0", "9223372036854775808", "%20 1"]
)
async def test_an_id_in_a_path_is_plain_digits(http, acme, text: str) -> None:
    assert refusal_of(await http.post(f"/v3/targetGroups/{text}/echo", headers=acme)) == (400, "envelope", 300004)
    both = await http.get(f"/v1/echo/{text}/of/{text}", headers=acme)
    assert refusal_of(both) == (400, "problem", 300004)
    assert [error["message"].partition(":")[0] for error in both.json()["errors"]] == ["thingId", "otherId"]


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("007", 7), ("9223372036854775807", 2**63 - 1)])
async def test_digits_are_an_id(text: str, expected: int) -> None:
    assert path_id("id", text) == expected


@pytest.mark.parametrize(
    "query", ["a=1&a=2", "a=%ff", "a=%00", "%00=1", "&".join(f"a{n}=1" for n in range(101))], ids=len
)
async def test_a_query_is_text_and_names_each_parameter_once(http, acme, query: str) -> None:
    assert refusal_of(await http.get(f"/v1/echo/1/of/2?{query}", headers=acme)) == (400, "problem", 300004)


async def test_a_query_is_read_as_it_was_meant(http, acme) -> None:
    response = await http.get("/v1/echo/1/of/2?a=x%20y+z&b=&c=%C3%A9", headers=acme)

    assert response.json()["query"] == {"a": "x y z", "b": "", "c": "é"}


async def chunks(count: int, size: int):
    for _ in range(count):
        yield b"x" * size


async def test_a_body_of_the_limit_passes_and_one_more_byte_does_not(http, acme) -> None:
    for length, expected in ((LIMIT, 200), (LIMIT + 1, 413)):
        announced = await http.post("/v1/echo", headers=acme, content=b"x" * length)
        chunked = await http.post("/v1/echo", headers=acme, content=chunks(length, 1))
        assert (announced.status_code, chunked.status_code) == (expected, expected)
    assert refusal_of(announced) == refusal_of(chunked) == (413, "problem", 390008)


@pytest.mark.parametrize("announced", [str(LIMIT + 1), "9" * 18, "1" + "0" * 5000], ids=len)
async def test_a_body_announced_too_long_is_not_read(http, acme, announced: str) -> None:
    async def unread():
        raise AssertionError("the body was read")
        yield b""

    headers = acme | {"Content-Length": announced}

    assert refusal_of(await http.post("/v2/echo", headers=headers, content=unread())) == (413, "envelope", 390008)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (None, 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json, text/plain", 415),
        ("", 415),
        ("application/problem+json", 415),
    ],
)
async def test_a_body_is_json_or_untyped(http, acme, content_type: str | None, expected: int) -> None:
    headers = acme | ({} if content_type is None else {"Content-Type": content_type})

    response = await http.post("/v2/echo", headers=headers, content=b"[]")

    assert response.status_code == expected
    if expected == 415:
        assert refusal_of(response) == (415, "envelope", 390013)


async def test_a_compressed_body_is_refused_and_no_body_needs_no_type(http, acme) -> None:
    compressed = await http.post("/v1/echo", headers=acme | {"Content-Encoding": "gzip"}, content=b"[]")
    empty = await http.post("/v1/echo", headers=acme | {"Content-Type": "text/plain"})

    assert refusal_of(compressed) == (415, "problem", 390013)
    assert empty.status_code == 200


async def test_a_fault_of_ours_is_a_500_with_an_incident_and_without_its_cause(http, acme) -> None:
    for path, shape in (("/v3/users/1/fail", "envelope"), ("/v1/fail/1", "problem"), ("/v1/fail/6", "problem")):
        response = await http.get(path, headers=acme | {"X-Request-ID": "till-17:42"})

        assert refusal_of(response) == (500, shape, 390014)
        assert "Incident: till-17:42." in response.text
        assert "secret" not in response.text


@pytest.mark.parametrize("failure", [2, 3, 4, 5, 8])
async def test_a_database_that_is_away_is_a_503_with_retry_after(http, acme, failure: int) -> None:
    compatible = await http.get(f"/v3/users/{failure}/fail", headers=acme)
    native = await http.get(f"/v1/fail/{failure}", headers=acme)

    assert (refusal_of(compatible), refusal_of(native)) == ((503, "envelope", 390015), (503, "problem", 390015))
    assert compatible.headers["Retry-After"] == native.headers["Retry-After"] == "1"


async def test_several_complaints_are_listed_in_either_shape(http, acme) -> None:
    compatible = await http.get("/v3/users/7/fail", headers=acme)
    native = await http.get("/v1/fail/7", headers=acme)

    codes = [Code.NAME_TAKEN, Code.TARGET_NAME_TOO_LONG]
    assert [error["code"] for error in compatible.json()["errors"]] == codes
    assert (native.json()["code"], [error["code"] for error in native.json()["errors"]]) == (codes[0], codes)
    assert compatible.status_code == native.status_code == 409


async def test_a_request_id_is_kept_if_it_is_sane_and_made_if_not(http) -> None:
    given = {}
    for sent in ("till-17:42", "x" * 101, "no spaces", "newline%0a", ""):
        response = await http.get("/healthz", headers={"X-Request-ID": sent})
        given[sent] = response.headers["X-Request-ID"]

    assert given.pop("till-17:42") == "till-17:42"
    assert all(len(one) == 32 for one in given.values())
    assert len(set(given.values())) == len(given)


async def test_scope_headers_are_read_on_v3_1_only(http, acme, cast) -> None:
    headers = acme | {"DATA-SCOPE": "OTHER", "DATA-SCOPE-ORG": str(cast["north"])}
    organisations = {}
    for prefix in PREFIXES:
        response = await http.post(f"{prefix}/targetGroups/7/echo", headers=headers)
        organisations[prefix] = response.json()["data"]["organisations"]
    native = await http.post("/v1/echo", headers=acme | {"DATA-SCOPE": "NONSENSE"})

    own, child = [cast["acme"]], [cast["north"]]
    assert list(organisations.values()) == [own, child, own, child]
    assert native.json()["organisations"] == own


async def test_a_family_reaches_itself_and_a_stranger_reaches_nobody(http, house, acme, cast) -> None:
    north, globex = await signed_in(house, cast["north"]), await signed_in(house, cast["globex"])

    async def read(caller, scope: str, named: str = "") -> list[int] | int:
        headers = caller | {"DATA-SCOPE": scope} | ({"CONNECTED-ORGS": named} if named else {})
        response = await http.get("/v3.1/users/7/echo", headers=headers)
        return response.json()["data"]["organisations"] if response.is_success else refusal_of(response)[2]

    assert await read(acme, "ALL") == [cast["acme"], cast["north"]]
    assert await read(north, "ALL") == [cast["north"], cast["acme"]]
    assert await read(globex, "ALL") == [cast["globex"]]
    for named in ("acme", "north", "globex"):
        assert await read(globex, "OTHER", str(cast[named])) == 310144
    assert await read(globex, "OTHER", "4711") == 310144
    assert await read(acme, "OTHER", str(cast["globex"])) == 310144


async def test_probes_tell_alive_from_ready(http, house) -> None:
    for path in ("/healthz", "/readyz"):
        response = await http.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    await house.pool.close()

    assert (await http.get("/healthz")).status_code == 200
    down = await http.get("/readyz")
    assert refusal_of(down) == (503, "problem", 390015)
    assert down.headers["Retry-After"] == "1"


async def test_a_closed_pool_is_a_503(http, house, acme) -> None:
    await house.pool.close()

    assert refusal_of(await http.post("/v1/echo", headers=acme)) == (503, "problem", 390015)


async def test_a_wrong_host_header_is_a_400_in_shape(http) -> None:
    response = await http.get("/v1/echo", headers={"Host": "a b"})

    assert refusal_of(response) == (400, "problem", 300004)


async def test_the_document_is_valid_openapi_3_1_and_public(http) -> None:
    document = (await http.get("/openapi.json")).json()

    errors = Draft202012Validator(definitions.OPENAPI_31).iter_errors(document)
    assert [error.message for error in errors] == []
    assert document["openapi"] == "3.1.0"


async def test_the_document_holds_every_operation_once_and_every_schema_is_one() -> None:
    document = openapi.document(OPERATIONS)

    described = [one for item in document["paths"].values() for name, one in item.items() if name != "servers"]
    names = [one["operationId"] for one in described]
    assert len(described) == len(OPERATIONS)
    assert sorted(names) == sorted(set(names))
    for one in OPERATIONS:
        for schema in (one.request, one.response, one.error, *(parameter.schema for parameter in one.query)):
            if schema is not None:
                Draft202012Validator.check_schema(json.loads(json.dumps(schema)))


async def test_prefixed_paths_name_their_prefixes_as_servers() -> None:
    document = openapi.document(OPERATIONS)

    for path, item in document["paths"].items():
        servers = [server["url"] for server in item.get("servers", ())]
        assert servers == ([] if path.startswith(("/v1", "/v2", "/healthz", "/readyz", "/metrics")) else PREFIXES)


async def test_every_operation_refuses_a_stranger_to_authentication(http) -> None:
    for one in OPERATIONS:
        if one.resource is None:
            continue
        path = ("/v3.1" if one.prefixed else "") + one.path
        for name in ("targetGroupId", "targetId", "userId", "customerId"):
            path = path.replace(f"{{{name}}}", "1")
        response = await http.request(one.method, path)
        assert refusal_of(response)[0::2] == (401, 390010), one
        assert urlsplit(path).path.startswith("/v1") == ("problem" in response.headers["Content-Type"])


async def test_reading_asks_for_read_and_changing_for_write() -> None:
    for one in OPERATIONS:
        if one.resource is not None:
            assert one.level is (Level.READ if one.method == "GET" else Level.WRITE), one


async def test_what_was_refused_is_forgotten_at_once_and_what_was_known_for_seconds(http, house, wall, acme) -> None:
    assert (await http.post("/v1/echo", headers=acme)).status_code == 200
    async with house.pool.acquire() as connection:
        await connection.execute("UPDATE access_grant SET level = 'none'")

    wall.advance(seconds=timedelta(seconds=5).total_seconds())

    assert refusal_of(await http.post("/v1/echo", headers=acme)) == (403, "problem", 4000)
    assert reception.NOBODY.may(Level.READ, Resource.CLOCK) is False
