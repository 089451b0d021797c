"""Where an operation does on purpose what a check of the fuzzer takes for a fault: which, when exactly, and why.

Everything else that any check finds fails. `make fuzz` also fails if an entry here was not needed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

Case = schemathesis.Case
Response = schemathesis.Response
Condition = Callable[[Case, Response], bool]

MALFORMED: Final = 300004
LOCATIONS: Final = tuple(one for one in ParameterLocation if one is not ParameterLocation.UNKNOWN)


@dataclass(frozen=True)
class Tolerated:
    """`operations` matches the whole of "METHOD /path". The reason names the rule that is kept."""

    failure: type[Failure]
    operations: str
    when: Condition
    reason: str

    def covers(self, failure: Failure, case: Case, response: Response) -> bool:
        return (
            type(failure) is self.failure
            and re.fullmatch(self.operations, case.operation.label) is not None
            and self.when(case, response)
        )


def says(pattern: str) -> Condition:
    """Every complaint of the refusal is this one."""

    def when(_: Case, response: Response) -> bool:
        messages = [complaint["message"] for complaint in _complaints(response)]
        return bool(messages) and all(re.search(pattern, message) for message in messages)

    return when


def refused_by_a_rule(_: Case, response: Response) -> bool:
    """Refused with HTTP 400 for what the house knows, not for how the request is written."""
    codes = [complaint["code"] for complaint in _complaints(response)]
    return bool(codes) and MALFORMED not in codes


def only_unread_headers_are_wrong(case: Case, _: Response) -> bool:
    """Nothing but the organisations' ids is wrong, and the scope is one that does not read them."""
    meta = case.meta
    assert meta is not None
    wrong = [one for one in LOCATIONS if meta.is_negative_at(one)]
    scope = str(case.headers.get("DATA-SCOPE", "SELF")).strip().upper()
    return wrong == [ParameterLocation.HEADER] and scope in ("SELF", "ALL")


def some_result_is_rejected(_: Case, response: Response) -> bool:
    results = response.json()["results"]
    return any(result["status"] == "rejected" for result in results)


def refused_in_the_words_of_oauth(_: Case, response: Response) -> bool:
    return response.json().get("error") == "invalid_request"


def only_more_is_sent(case: Case, _: Response) -> bool:
    assert case.meta is not None
    return "unexpected properties" in (case.meta.phase.data.description or "")


def _complaints(response: Response) -> list[dict[str, Any]]:
    """The complaints of either shape."""
    content = response.json()
    if "detail" in content:
        return content.get("errors") or [{"code": content["code"], "message": content["detail"]}]
    return content.get("errors") or []


TOLERATED: Final = (
    Tolerated(
        RejectedPositiveData,
        r"\S+ /(targetGroups|users|v2/).*",
        refused_by_a_rule,
        "Decision 4: an unknown id, a name that is taken, or a scope without connected organisations is HTTP 400.",
    ),
    Tolerated(
        AcceptedNegativeData,
        r"\S+ /(targetGroups|users).*",
        only_unread_headers_are_wrong,
        "Decision 3: under SELF, and under ALL, the organisations' ids are not read.",
    ),
    Tolerated(
        AcceptedNegativeData,
        r"POST /v1/(activities|customers)",
        some_result_is_rejected,
        "Each item has a verdict of its own; one that is malformed is rejected in an answer of 200.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"(POST|PATCH) .*",
        says(r"must not contain the character NUL"),
        "Decision 24: no NUL in text, not even in a field that is ignored, which no schema can say.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"(POST|PATCH) .*",
        says(r"must be (an integer|a whole number)"),
        "Decision 24: `1.0` is no integer, which to JSON Schema it is.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"POST /(v1/clock/advance|v1/webhook-endpoints/{endpointId}/recover|v2/transactions)",
        says(r"^(to|since|billingDate): must be a date"),
        "An instant has more forms than a format names, so they are told in words.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"POST /targetGroups",
        says(r"^[a-zA-Z\[]"),
        "Decision 4: most rules of a definition are between its fields; a fault is 300004 with the field's path.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"POST /v2/customers|\S+ /v2/(customers/lookup|transactions)",
        says(r"(value|identifierValue): |identifiers: must be of different types"),
        "What a value must look like depends on the kind of identifier beside it, and each kind comes once.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"POST /oauth/token",
        refused_in_the_words_of_oauth,
        "RFC 6749: each field once, and one way to authenticate, which the schema of a form cannot say.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"PATCH /v1/webhook-endpoints/{endpointId}",
        says(r"must name something to change"),
        "Decision 2: unknown fields are ignored, so a change of nothing else changes nothing, and is refused.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"(POST|PATCH) /v1/webhook-endpoints(/{endpointId})?",
        says(r"^url: names no address that may be reached"),
        "Which addresses may be reached is the operator's setting, and no form of a URL.",
    ),
    Tolerated(
        AcceptedNegativeData,
        r".*",
        only_more_is_sent,
        "Decision 2: unknown fields are ignored.",
    ),
    Tolerated(
        RejectedPositiveData,
        r"GET /v1/.*",
        says(r"^cursor: "),
        "A cursor is opaque: its pattern is common to all pages, its parts are each page's own.",
    ),
)
