"""The codes that a caller may see, each with its message.

Published codes keep their published meaning; ours start at 390001 (decision 33). A code is never reused.
The list in docs/errors.md is checked against this one by a test.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Code(IntEnum):
    """Every code that can leave the house."""

    ACCESS_DENIED = 4000
    INVALID_INPUT = 300004
    TARGET_NAME_TOO_LONG = 310008
    UNKNOWN_CUSTOMER = 310011
    UNKNOWN_TARGET_GROUP = 310017
    UNKNOWN_TARGET = 310018
    UNKNOWN_PERIOD = 310019
    ENTITY_AND_TYPE_DO_NOT_FIT = 310033
    NAME_TAKEN = 310069
    UNKNOWN_EXTENDED_FIELD = 310092
    MEASURED_FIELD_MISSING = 310094
    ALREADY_ENROLLED = 310119
    LEADERBOARD_NOT_ENABLED = 310133
    ALL_SCOPE_UNSUPPORTED = 310141
    ORGANISATIONS_NOT_CONNECTED = 310144
    NEVER_ENROLLED = 310149
    ALREADY_UN_ENROLLED = 390001
    PERIOD_NAME_IGNORED = 390002
    INITIAL_BALANCE_IGNORED = 390003
    IDEMPOTENCY_KEY_REUSED = 390004
    ACTIVITY_ID_REUSED = 390005
    ACTIVITY_IN_THE_FUTURE = 390006
    ACTIVITY_TOO_LATE = 390007
    REQUEST_TOO_LARGE = 390008
    TOO_MANY_REQUESTS = 390009
    NOT_AUTHENTICATED = 390010
    UNKNOWN_PATH = 390011
    METHOD_NOT_ALLOWED = 390012
    UNSUPPORTED_MEDIA_TYPE = 390013
    INTERNAL_ERROR = 390014
    TRY_AGAIN_LATER = 390015
    NO_TEST_CLOCK = 390016
    IDENTIFIER_TAKEN = 390017
    CUSTOMER_EXISTS = 390018
    UNKNOWN_REWARD = 390019
    REWARD_NOT_REPORTABLE = 390020
    UNKNOWN_ENDPOINT = 390021
    UNKNOWN_NOTIFICATION = 390022


MESSAGES: dict[Code, str] = {
    Code.ACCESS_DENIED: "Not authorized. Access is denied!",
    Code.INVALID_INPUT: "Invalid input",
    Code.TARGET_NAME_TOO_LONG: "Length of Target rule name cannot exceed 200",
    Code.UNKNOWN_CUSTOMER: "Invalid userId. Check if the customerId is valid.",
    Code.UNKNOWN_TARGET_GROUP: "Target group not found or deactivated. Check the target group ID.",
    Code.UNKNOWN_TARGET: "Target rule not found. Check the target rule ID.",
    Code.UNKNOWN_PERIOD: "Target period not found. Check that a period is running or still to come.",
    Code.ENTITY_AND_TYPE_DO_NOT_FIT: "Invalid target entity and target type combination",
    Code.NAME_TAKEN: "Target group name already exists",
    Code.UNKNOWN_EXTENDED_FIELD: "Invalid extended field name or datatype",
    Code.MEASURED_FIELD_MISSING: "Target rule metadata is required: name the attribute in extendedFieldInfo",
    Code.ALREADY_ENROLLED: "User already enrolled for the target.",
    Code.LEADERBOARD_NOT_ENABLED: "Leaderboard is not enabled for the org",
    Code.ALL_SCOPE_UNSUPPORTED: "Datascope 'ALL' is not supported for this 'API'",
    Code.ORGANISATIONS_NOT_CONNECTED: "Connected Orgs not set properly in Headers.",
    Code.NEVER_ENROLLED: "No record found in user target for given UserId and TargetId",
    Code.ALREADY_UN_ENROLLED: "The customer was un-enrolled before; nothing changed.",
    Code.PERIOD_NAME_IGNORED: "periodName is ignored: a streak is enrolled from the running period.",
    Code.INITIAL_BALANCE_IGNORED: "initialBalance is ignored: a streak has no balance.",
    Code.IDEMPOTENCY_KEY_REUSED: "The Idempotency-Key was used with another request; use a new key.",
    Code.ACTIVITY_ID_REUSED: "This activity id was used with other content; nothing changed. Use a new id.",
    Code.ACTIVITY_IN_THE_FUTURE: "The activity is dated more than five minutes in the future.",
    Code.ACTIVITY_TOO_LATE: "Recorded, but too late for the period it is dated in: it counts for nothing.",
    Code.REQUEST_TOO_LARGE: "The request is too large; send fewer items at a time.",
    Code.TOO_MANY_REQUESTS: "Too many requests; wait as long as Retry-After says.",
    Code.NOT_AUTHENTICATED: "Not authenticated: send Basic credentials or an access token.",
    Code.UNKNOWN_PATH: "No such path.",
    Code.METHOD_NOT_ALLOWED: "This path does not take this method; see the Allow header.",
    Code.UNSUPPORTED_MEDIA_TYPE: "Send the body as application/json.",
    Code.INTERNAL_ERROR: "Something went wrong on our side; quote the incident id when you report it.",
    Code.TRY_AGAIN_LATER: "Not possible right now; try again after the time in Retry-After.",
    Code.NO_TEST_CLOCK: "Only an organisation with a test clock can be moved, and only forward.",
    Code.CUSTOMER_EXISTS: "The customer was registered before; createdId is their id, and nothing changed.",
    Code.UNKNOWN_REWARD: "There is no such reward; check the reward id.",
    Code.REWARD_NOT_REPORTABLE: "The reward was forfeited or reversed; nothing more can be reported of it.",
    Code.UNKNOWN_ENDPOINT: "There is no such webhook endpoint; check the endpoint id.",
    Code.UNKNOWN_NOTIFICATION: "The customer has no such notification; check customer id and number.",
    Code.IDENTIFIER_TAKEN: "An identifier belongs to another customer; nothing changed.",
}


class CommandRefused(Exception):
    """What an operator asked for cannot be done; the message says why, and what to do, in sentences."""


class Fault(NamedTuple):
    """One thing wrong with a request. The message completes the path to a sentence: "periods[2].endDate must ..."."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'the body'} {self.message}"


@dataclass(frozen=True, slots=True)
class Complaint:
    """One entry of `errors` or `warnings`: a stable code and words for a person."""

    code: Code
    message: str

    @classmethod
    def of(cls, code: Code, message: str | None = None) -> "Complaint":
        return cls(code, MESSAGES[code] if message is None else message)


def invalid(path: str, rule: str) -> Complaint:
    """A fault of one field: names the field's path and the rule it breaks (decision 4)."""
    return Complaint(Code.INVALID_INPUT, f"{path}: {rule}" if path else rule)
