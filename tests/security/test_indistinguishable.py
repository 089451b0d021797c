"""Another organisation's ids and ids that nobody has: the same status, the same bytes, the same headers, the same time.

Globex asks, connected to nobody, with rows of its own in the same tables. Acme's ids are real, nobody's are not. Equal
bytes alone would still let whoever measures find out which ids exist; equal time follows from one code path, in which
the organisation is part of every look-up. `make timing` compares the medians of a thousand calls.
"""

import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import structlog
from tests.api.brand import Brand, Programme, open_brand, purchase, sign_in_with
from tests.bodies import named, with_target
from tests.conftest import Wall
from tests.security.medians import CALL_COUNT, SHARE_MAX, compare

from kosminar.api.app import OPERATIONS
from kosminar.core.access import Level, Resource
from kosminar.engine.house import House
from kosminar.store.queries import Query

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Lines of the log would be half of what is measured, and fill the report of a test that fails."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that are run, in order."""
    names: list[str] = []
    arguments = Query.arguments

    def noting(query: Query, values: dict[str, Any]) -> Any:
        names.append(query.name)
        return arguments(query, values)

    monkeypatch.setattr(Query, "arguments", noting)
    return names


@dataclass(frozen=True)
class Ids:
    """What a call may name."""

    organisation_id: int
    target_group_id: int
    target_id: int
    customer_id: int
    external_id: str
    reward_id: str
    endpoint_id: int


@dataclass(frozen=True)
class Cast:
    globex: Brand
    own: Ids
    acmes: Ids
    nobodys: Ids


@dataclass(frozen=True)
class Question:
    """A call that names one id which may be another's; all else in it is the asker's own."""

    operation: str
    path: Callable[[Ids, Ids], str]
    body: Callable[[Ids, Ids], Any] = lambda own, other: None
    headers: Callable[[Ids], Mapping[str, str]] = lambda other: {}


def enrolment(verb: str, *others: str) -> Question:
    """Of group, target and customer, those in `others` are the other's."""

    def path(own: Ids, other: Ids) -> str:
        group = (other if "group" in others else own).target_group_id
        target = (other if "target" in others else own).target_id
        return f"/targetGroups/{group}/targets/{target}/{verb}"

    def body(own: Ids, other: Ids) -> Any:
        return [{"customerId": (other if "customer" in others else own).customer_id}]

    return Question(f"POST /targetGroups/{{targetGroupId}}/targets/{{targetId}}/{verb}", path, body)


def reward(outcome: str, content: Any = None) -> Question:
    return Question(
        f"POST /v1/rewards/{{rewardId}}/{outcome}",
        lambda own, other: f"/v1/rewards/{other.reward_id}/{outcome}",
        lambda own, other: content,
    )


def endpoint(method: str, verb: str, content: Any = None) -> Question:
    return Question(
        f"{method} /v1/webhook-endpoints/{{endpointId}}{verb}",
        lambda own, other: f"/v1/webhook-endpoints/{other.endpoint_id}{verb}",
        lambda own, other: content,
    )


RESEND = "/v1/webhook-endpoints/{endpointId}/deliveries/{customerId}/{number}/resend"


def bill(own: Ids, other: Ids) -> dict[str, Any]:
    return {"type": "REGULAR", "billNumber": "B-1", "billAmount": 1, "billingDate": TODAY}


QUESTIONS = {
    "read a target group": Question(
        "GET /targetGroups/{targetGroupId}", lambda own, other: f"/targetGroups/{other.target_group_id}"
    ),
    "deactivate a target group": Question(
        "DELETE /targetGroups/{targetGroupId}", lambda own, other: f"/targetGroups/{other.target_group_id}"
    ),
    "enrol in a target group": enrolment("enroll", "group", "target"),
    "enrol in a target": enrolment("enroll", "target"),
    "enrol a customer": enrolment("enroll", "customer"),
    "un-enrol from a target group": enrolment("unEnroll", "group", "target"),
    "un-enrol from a target": enrolment("unEnroll", "target"),
    "un-enrol a customer": enrolment("unEnroll", "customer"),
    "read a customer's groups": Question(
        "GET /users/{userId}/targetGroups", lambda own, other: f"/users/{other.customer_id}/targetGroups"
    ),
    "read one target of a customer": Question(
        "GET /users/{userId}/targetGroups",
        lambda own, other: f"/users/{own.customer_id}/targetGroups?targetRuleId={other.target_id}",
    ),
    "read in another's scope": Question(
        "GET /targetGroups/{targetGroupId}",
        lambda own, other: f"/targetGroups/{own.target_group_id}",
        headers=lambda other: {"DATA-SCOPE": "OTHER", "DATA-SCOPE-ORG": str(other.organisation_id)},
    ),
    "look a customer up by identifier": Question(
        "GET /v2/customers/lookup",
        lambda own, other: f"/v2/customers/lookup?identifierName=externalId&identifierValue={other.external_id}",
    ),
    "add a bill by identifier": Question(
        "POST /v2/transactions",
        lambda own, other: f"/v2/transactions?identifierName=externalId&identifierValue={other.external_id}",
        bill,
    ),
    "record an activity": Question(
        "POST /v1/activities",
        lambda own, other: "/v1/activities",
        lambda own, other: {"activities": [purchase("q", other.customer_id, TODAY, 1)]},
    ),
    "read a customer's rewards": Question(
        "GET /v1/customers/{customerId}/rewards", lambda own, other: f"/v1/customers/{other.customer_id}/rewards"
    ),
    "read a customer's facts": Question(
        "GET /v1/customers/{customerId}/facts", lambda own, other: f"/v1/customers/{other.customer_id}/facts"
    ),
    "read a customer's notifications": Question(
        "GET /v1/customers/{customerId}/notifications",
        lambda own, other: f"/v1/customers/{other.customer_id}/notifications",
    ),
    "report a reward issued": reward("issued"),
    "report a reward failed": reward("failed", {"reason": "r"}),
    "reverse a reward": reward("reversed", {"reason": "r"}),
    "read an endpoint": endpoint("GET", ""),
    "change an endpoint": endpoint("PATCH", "", {"description": "changed"}),
    "remove an endpoint": endpoint("DELETE", ""),
    "rotate an endpoint's secret": endpoint("POST", "/rotate-secret", {"overlapHours": 1}),
    "test an endpoint": endpoint("POST", "/test"),
    "read an endpoint's deliveries": endpoint("GET", "/deliveries"),
    "recover at an endpoint": endpoint("POST", "/recover", {"since": "2026-03-01T00:00:00Z"}),
    "resend from an endpoint": Question(
        f"POST {RESEND}",
        lambda own, other: f"/v1/webhook-endpoints/{other.endpoint_id}/deliveries/{other.customer_id}/1/resend",
    ),
    "resend what another's customer was told": Question(
        f"POST {RESEND}",
        lambda own, other: f"/v1/webhook-endpoints/{own.endpoint_id}/deliveries/{other.customer_id}/1/resend",
    ),
}


async def all_powerful(brand: Brand, *, prefix: str) -> Brand:
    """The brand as a client that may do everything there is."""
    headers = await sign_in_with(brand.house, brand.organisation_id, dict.fromkeys(Resource, Level.WRITE))
    return dataclasses.replace(brand, headers=headers, prefix=prefix)


async def furnish(brand: Brand, customer_id: int, name: str) -> Ids:
    """A milestone, a customer with an identifier, and a reward."""
    badge = {"kind": "BADGE", "value": name, "allocation": "IMMEDIATE"}
    programme: Programme = await brand.define(named(name, with_target(rewards=[badge])))
    await brand.ask("POST", "/v1/customers", {"customers": [{"customerId": customer_id, "externalId": name}]})
    await brand.record(purchase("p", customer_id, TODAY, 250))
    reward = (await brand.rewards(customer_id))[0]
    # An address of documentation: nothing is ever sent there.
    endpoint = await brand.ask("POST", "/v1/webhook-endpoints", {"url": "https://127.0.0.1/hook"})
    # Something happens that it is told of.
    await brand.record(purchase("after", customer_id, TODAY, 1))
    return Ids(
        brand.organisation_id,
        programme.target_group_id,
        programme.target_id,
        customer_id,
        name,
        str(reward["rewardId"]),
        endpoint["endpointId"],
    )


@pytest_asyncio.fixture
async def cast(house: House, http: httpx2.AsyncClient) -> AsyncIterator[Cast]:
    acme = await all_powerful(await open_brand(house, http, "Acme", clock=NOW), prefix="/v3")
    # With the v3.1 prefix scope headers are read too; the default is the asker's own organisation.
    globex = await all_powerful(await open_brand(house, http, "Globex", clock=NOW), prefix="/v3.1")
    acmes = await furnish(acme, 501, "acmes")
    own = await furnish(globex, 601, "globexes")
    assert acmes.reward_id != own.reward_id
    # As long as acme's, so that the questions are of one length.
    nobodys = Ids(7, 7, 8, 502, "nobod", acmes.reward_id[:-1] + "9", 9)
    yield Cast(globex, own, acmes, nobodys)


async def ask(cast: Cast, question: Question, other: Ids) -> httpx2.Response:
    method = question.operation.split(" ")[0]
    return await cast.globex.call(
        method,
        question.path(cast.own, other),
        question.body(cast.own, other),
        headers={**question.headers(other), "X-Request-ID": "r"},
    )


def without_dates(response: httpx2.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in response.headers.multi_items() if name != "date"]


async def test_every_operation_that_takes_an_id_is_asked() -> None:
    taking = {f"{one.method} {one.path}" for one in OPERATIONS if "{" in one.path}

    assert taking <= {question.operation for question in QUESTIONS.values()}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_anothers_id_answers_with_the_bytes_of_an_unknown_one(cast: Cast, name: str) -> None:
    anothers = await ask(cast, QUESTIONS[name], cast.acmes)
    unknown = await ask(cast, QUESTIONS[name], cast.nobodys)

    assert (anothers.status_code, anothers.content) == (unknown.status_code, unknown.content)
    assert without_dates(anothers) == without_dates(unknown)


# Nobody names themselves under OTHER, so there a stranger's own id is as foreign as any.
@pytest.mark.parametrize("name", sorted(QUESTIONS.keys() - {"read in another's scope"}))
async def test_the_askers_own_id_answers_otherwise(cast: Cast, name: str) -> None:
    """Else the test above would compare two misspelt questions."""
    own = await ask(cast, QUESTIONS[name], cast.own)
    unknown = await ask(cast, QUESTIONS[name], cast.nobodys)

    assert own.content != unknown.content


@pytest.mark.parametrize("name", QUESTIONS)
async def test_anothers_id_runs_the_statements_of_an_unknown_one(cast: Cast, statements: list[str], name: str) -> None:
    await ask(cast, QUESTIONS[name], cast.nobodys)
    statements.clear()

    await ask(cast, QUESTIONS[name], cast.acmes)
    of_anothers = [*statements]
    statements.clear()
    await ask(cast, QUESTIONS[name], cast.nobodys)

    assert of_anothers == statements


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", QUESTIONS)
async def test_anothers_id_takes_the_time_of_an_unknown_one(cast: Cast, name: str) -> None:
    question = QUESTIONS[name]

    medians = await compare(lambda: ask(cast, question, cast.acmes), lambda: ask(cast, question, cast.nobodys))

    assert medians.share <= SHARE_MAX, f"{CALL_COUNT} calls: {medians}"


@dataclass(frozen=True)
class SignIn:
    """A way to sign in, by a name and a secret."""

    method: str
    path: str
    options: Callable[[str, str], dict[str, Any]]


SIGN_INS = {
    "by password": SignIn("GET", "/v1/clock", lambda name, secret: {"auth": (name, secret)}),
    "for a token": SignIn(
        "POST", "/v3/oauth/token/generate", lambda name, secret: {"json": {"key": name, "secret": secret}}
    ),
    "by client credentials": SignIn(
        "POST",
        "/oauth/token",
        lambda name, secret: {"data": {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}},
    ),
}


async def names_of(house: House) -> tuple[str, str]:
    """A username and a client key that exist."""
    async with house.pool.acquire() as connection:
        username = await connection.fetchval("SELECT min(username) FROM api_user")
        return username, await connection.fetchval("SELECT min(client_key) FROM oauth_client")


@pytest.mark.parametrize("way", SIGN_INS)
async def test_an_unknown_name_and_a_wrong_secret_have_one_answer(house: House, cast: Cast, way: str) -> None:
    sign_in, (username, key) = SIGN_INS[way], await names_of(house)
    known = username if way == "by password" else key

    answers = [
        await cast.globex.http.request(
            sign_in.method, sign_in.path, headers={"X-Request-ID": "r"}, **sign_in.options(name, "wrong")
        )
        for name in (known, known[:-1] + "x")
    ]

    assert [each.status_code for each in answers] == [401, 401]
    assert answers[0].content == answers[1].content
    assert without_dates(answers[0]) == without_dates(answers[1])


@pytest.mark.parametrize("way", SIGN_INS)
async def test_an_unknown_name_runs_the_statements_of_a_wrong_secret(
    house: House, cast: Cast, statements: list[str], way: str
) -> None:
    sign_in, (username, key) = SIGN_INS[way], await names_of(house)
    known = username if way == "by password" else key

    async def run_for(name: str) -> list[str]:
        statements.clear()
        await cast.globex.http.request(sign_in.method, sign_in.path, **sign_in.options(name, "wrong"))
        return [*statements]

    assert await run_for(known) == await run_for(known[:-1] + "x") != []


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", SIGN_INS)
async def test_an_unknown_name_takes_the_time_of_a_wrong_secret(house: House, cast: Cast, wall: Wall, way: str) -> None:
    sign_in, (username, key) = SIGN_INS[way], await names_of(house)
    known = username if way == "by password" else key

    async def attempt(name: str) -> None:
        # Failures that lie hours back are forgotten; else the answer would be that it was too soon.
        wall.advance(hours=3)
        response = await cast.globex.http.request(sign_in.method, sign_in.path, **sign_in.options(name, "wrong"))
        assert response.status_code == 401

    medians = await compare(lambda: attempt(known), lambda: attempt(known[:-1] + "x"))

    assert medians.share <= SHARE_MAX, f"{CALL_COUNT} calls: {medians}"
