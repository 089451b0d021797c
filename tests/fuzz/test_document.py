"""The whole API, fuzzed from its own OpenAPI document: every operation, on a real server, with every check on.

Each operation hears the examples of the document, every boundary of its schema from both sides, and so many requests
at random. What the checks find although it is meant stands in tolerated.py, with its reason. The seed is fixed, so that
nobody's change fails for another's; `make fuzz` tries more, at random, and prints the seed.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.hooks import HookContext
from schemathesis.pytest.lazy import get_all_tests
from tests.conftest import TEMPLATE, Server
from tests.fuzz.served import TODAY, TOMORROW, Known, Served, served_in_a_thread
from tests.fuzz.tolerated import TOLERATED

from kosminar.api import openapi
from kosminar.api.app import OPERATIONS
from kosminar.api.openapi import PREFIXES
from kosminar.api.operation import Operation

SEED = int(os.environ.get("FUZZ_SEED", "1"))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
# So many reach every place where something is tolerated.
LONG = 100

BY_LABEL = {f"{one.method} {one.path}": one for one in OPERATIONS}
ANSWER_SECONDS = 30

load_all_checks()
USED: Counter[int] = Counter()
FUZZED: set[str] = set()


@pytest.fixture(scope="module")
def served(database_server: Server) -> Iterator[Served]:
    name = database_server.create_database(TEMPLATE)
    with served_in_a_thread(database_server.url(name)) as served:
        yield served
    database_server.drop_database(name)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        # No proxy of the environment.
        session.trust_env = False
        yield session


@pytest.mark.parametrize("label", list(BY_LABEL))
def test_an_operation_keeps_to_its_document_whatever_it_is_sent(
    served: Served, session: requests.Session, label: str
) -> None:
    operation = BY_LABEL[label]
    answers = Counter[int]()
    print(f"FUZZ_SEED={SEED} FUZZ_EXAMPLES={EXAMPLES}")

    def check(case: schemathesis.Case) -> None:
        reach_inside(case, served, operation)
        response = case.call(**address(case, served, operation), session=session, timeout=ANSWER_SECONDS)
        case.validate_response(
            response,
            headers=headers(served, operation),
            transport_kwargs={**address(case, served, operation), "session": session, "timeout": ANSWER_SECONDS},
            # One answer tells it; four more requests after each would tell it again.
            excluded_checks=[schemathesis.checks.ignored_auth] if any(map(is_success, answers)) else None,
        )
        answers[response.status_code] += 1
        if label == "POST /v1/webhook-endpoints" and response.status_code == 201:
            forget_new_endpoints(served, session)

    for run in made_from(document_of(label), check):
        run()

    assert any(map(is_success, answers)), f"nothing was accepted: {answers}"
    FUZZED.add(label)


def test_what_was_made_is_there_until_it_is_deleted(served: Served, session: requests.Session) -> None:
    machine = document_of(re.compile("/v1/webhook-endpoints")).as_state_machine()
    print(f"FUZZ_SEED={SEED} FUZZ_EXAMPLES={EXAMPLES}")

    class Chain(machine):  # type: ignore[misc, valid-type]  # Made from the document.
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": served.url, "headers": dict(served.headers), "session": session}

        def before_call(self, case: schemathesis.Case) -> None:
            # Under a key that was used, what is answered was made by another chain, and deleted after it.
            case.headers.pop("Idempotency-Key", None)

        def teardown(self) -> None:
            forget_new_endpoints(served, session)

    hypothesis.seed(SEED)(Chain)
    Chain.run(settings=effort(EXAMPLES))


def forget_new_endpoints(served: Served, session: requests.Session) -> None:
    """An organisation may have so many and no more."""
    path = f"{served.url}/v1/webhook-endpoints"
    there = {str(endpoint["endpointId"]) for endpoint in session.get(path, headers=served.headers).json()["data"]}
    for endpoint_id in there - {served.streak.ids["endpointId"], served.streak.spare["endpointId"]}:
        session.delete(f"{path}/{endpoint_id}", headers=served.headers)


def test_every_toleration_is_needed() -> None:
    if set(BY_LABEL) != FUZZED or EXAMPLES < LONG:
        pytest.skip("only told when one process has fuzzed every operation at length, as `make fuzz` does")

    assert [TOLERATED[n].reason for n in range(len(TOLERATED)) if not USED[n]] == []


def is_success(status: int) -> bool:
    # Not the 204 that OPTIONS is answered with.
    return status in (200, 201)


# ---------------------------------------------------------------- the document as the fuzzer reads it


def document_of(label: str | re.Pattern[str]) -> schemathesis.BaseSchema:
    """The document with one operation, or with all whose paths begin so."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            # We send credentials ourselves; those that are generated would only ever be refused.
            "generation": {"max-examples": EXAMPLES, "database": "none", "with-security-parameters": False},
        }
    )
    document = json.loads(json.dumps(openapi.document(OPERATIONS)))
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema = schema.include(name=label) if isinstance(label, str) else schema.include(path_regex=label.pattern)
    schema.hook("filter_failure")(is_a_fault)
    return schema


def made_from(
    schema: schemathesis.BaseSchema, check: Callable[[schemathesis.Case], None]
) -> Iterator[Callable[[], None]]:
    """What pytest would be given by `schema.parametrize()`, made when it runs: making it takes seconds."""
    for made in get_all_tests(schema=schema, test_func=check, settings=effort(EXAMPLES), given_kwargs={}):
        _, test = made.ok()
        yield test


def effort(example_count: int) -> hypothesis.settings:
    return hypothesis.settings(
        deadline=None,
        database=None,
        max_examples=example_count,
        stateful_step_count=8,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def is_a_fault(
    _context: HookContext, failure: Failure, case: schemathesis.Case, response: schemathesis.Response
) -> bool:
    covered = [n for n, tolerated in enumerate(TOLERATED) if tolerated.covers(failure, case, response)]
    USED.update(covered)
    return not covered


# ---------------------------------------------------------------- what is sent


def address(case: schemathesis.Case, served: Served, operation: Operation) -> dict[str, Any]:
    """Where a case goes, as whom. All prefixes get their share."""
    prefix = ""
    if operation.prefixed:
        # Scope headers are read on v3.1 only (decision 1), so a wrong one is only wrong there.
        prefixes = PREFIXES[1::2] if is_wrong(case, ParameterLocation.HEADER) else PREFIXES
        prefix = prefixes[number_of(case) % len(prefixes)]
    return {"base_url": served.url + prefix, "headers": headers(served, operation)}


def headers(served: Served, operation: Operation) -> dict[str, str]:
    if operation.resource is None:
        return {}
    return dict(served.clock_headers if operation.path.startswith("/v1/clock") else served.headers)


def reach_inside(case: schemathesis.Case, served: Served, operation: Operation) -> None:
    """Names what there is in most of the well-formed places of a case; chance alone would find none of it."""
    number = number_of(case)
    known = served.milestone if number & 1 else served.streak
    if not is_wrong(case, ParameterLocation.PATH):
        name_what_there_is(case, known, always=case.method == "DELETE", number=number)
    if number & 6 and not is_wrong(case, ParameterLocation.QUERY) and "identifierValue" in case.query:
        case.query = {**case.query, "identifierName": "id", "identifierValue": known.ids["customerId"]}
    if number & 24 and not is_wrong(case, ParameterLocation.BODY):
        sensible = {**SENSIBLE, "customerId": int(known.ids["customerId"])}
        if operation.path.startswith("/oauth/"):
            key, secret = served.client
            sensible = {"key": key, "secret": secret, "client_id": key, "client_secret": secret}
        case.body = made_sensible(case.body, sensible)
        if operation.path == "/targetGroups" and case.method == operation.method == "POST":
            case.body = renamed(case.body, f"Fuzz {number}")
    if number & 96 and "Idempotency-Key" in case.headers and not is_wrong(case, ParameterLocation.HEADER):
        case.headers["Idempotency-Key"] = f"fuzz-{number}"


SENSIBLE = {"occurredAt": TODAY, "billingDate": TODAY, "since": TODAY, "to": TOMORROW}


def name_what_there_is(case: schemathesis.Case, known: Known, *, always: bool, number: int) -> None:
    ids = known.spare if always else known.ids
    if always or number & 6:
        case.path_parameters = {name: ids.get(name, value) for name, value in case.path_parameters.items()}


def made_sensible(value: Any, sensible: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [made_sensible(each, sensible) for each in value]
    if isinstance(value, dict):
        return {name: sensible.get(name, made_sensible(each, sensible)) for name, each in value.items()}
    return value


def renamed(group: dict[str, Any], name: str) -> dict[str, Any]:
    """Names are taken once (decision 4), and the examples all have the same."""
    return {**group, "name": name, "targets": [{**group["targets"][0], "name": name}]}


def is_wrong(case: schemathesis.Case, location: ParameterLocation) -> bool:
    return case.meta is not None and case.meta.is_negative_at(location)


def number_of(case: schemathesis.Case) -> int:
    """Chance that is the same whenever the case is."""
    said = (case.method, case.path_parameters, case.query, sorted(case.headers), case.media_type, case.body)
    return crc32(repr(said).encode(errors="backslashreplace"))
