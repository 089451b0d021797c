"""What an operation of the API is: one plain function from a call to an answer, and a table row that describes it.

Modules of operations export `OPERATIONS`; api/app.py makes routes of them and api/openapi.py the document. Before the
function runs, the app has settled authentication, access, path ids, scope and body length in that order (decision 4),
so an operation sees only a call that may be worked on. It answers refusals as envelope or problem itself, or raises
Refused where the same words serve both surfaces.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kosminar.api.answer import JSON, Answer
from kosminar.core.access import Caller, Level, Resource
from kosminar.core.decoder import Fields, Json, MalformedBody, decoding
from kosminar.core.errors import Code, Complaint, Fault, invalid
from kosminar.core.idempotency import IdempotencyKey
from kosminar.engine.use_cases.refusal import Refusal
from kosminar.turns import in_turns

if TYPE_CHECKING:
    from kosminar.engine.house import House

Schema: TypeAlias = Mapping[str, Any]
"""A JSON schema, draft 2020-12, as OpenAPI 3.1 takes it. `{"$ref": "#/components/schemas/Complaint"}` and the like work."""

PREFIXED: Final = ("/targetGroups", "/users", "/oauth")
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
FORM: Final = "application/x-www-form-urlencoded"
PATH_ID_MAX: Final = 2**63 - 1
# Of an operation without a caller: a key, a secret and room around them. A stranger may send one on each connection
# that may be open, and together they must be little.
STRANGER_BODY_BYTES_MAX: Final = 8 * 1024
# Of an operation on one thing: all its texts at their longest, escaped, and much that we ignore.
PLAIN_BODY_BYTES_MAX: Final = 1024 * 1024
PATH_ID_DIGITS_MAX: Final = len(str(PATH_ID_MAX))


class Version(StrEnum):
    """Which surface was called. Scope headers are read on v3.1 only (decision 1)."""

    V3 = "v3"
    V3_1 = "v3.1"
    V2 = "v2"
    V1 = "v1"


class Refused(Exception):
    """Answers the call with these complaints, in the shape of the surface that was called."""

    def __init__(self, *complaints: Complaint, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(*(complaint.message for complaint in complaints))
        assert complaints, "a refusal says why"
        self.complaints = complaints
        self.status = status
        self.headers = headers or {}


# Of the native surface; the compatible one answers 400 to whatever a use case refuses.
STATUSES: Final = {
    Code.UNKNOWN_CUSTOMER: 404,
    Code.UNKNOWN_ENDPOINT: 404,
    Code.UNKNOWN_NOTIFICATION: 404,
    Code.NO_TEST_CLOCK: 409,
}


def refused(refusal: Refusal, path: str) -> Refused:
    """What a use case refused, with the status of the surface that the path belongs to."""
    native = path.startswith("/v1/")
    return Refused(*refusal.complaints, status=STATUSES.get(refusal.complaints[0].code, 400) if native else 400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that may be worked on. Header names are in lower case; values of a repeated header are joined by a comma."""

    caller: Caller
    version: Version
    method: str
    # The operation's, as its row has it.
    path: str
    # The caller's own, or those that the scope headers name: several only where the operation is `plural`.
    organisation_ids: tuple[int, ...]
    ids: Mapping[str, int]
    query: Mapping[str, str]
    # Never shown: they hold credentials, secrets and customers' data.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    request_id: str
    # The path's parameters that are no plain ids.
    names: Mapping[str, str] = field(default_factory=dict)
    # Under an Idempotency-Key, the place where the answer is kept.
    key: IdempotencyKey | None = None
    # The network address that the request came from; empty where there is none.
    peer: str = ""

    @property
    def organisation_id(self) -> int:
        """The organisation that is read or changed, which under OTHER is not the caller's."""
        assert len(self.organisation_ids) == 1, "a plural operation reads organisation_ids"
        return self.organisation_ids[0]

    async def json(self) -> Json:
        """The body's value. Others are answered while a long body is decoded."""
        try:
            return await in_turns(decoding(self.body))
        except MalformedBody as error:
            raise Refused(malformed(error)) from None

    async def fields(self) -> Fields:
        """The fields of a body that must be one JSON object."""
        try:
            return Fields.of(await self.json())
        except MalformedBody as error:
            raise Refused(malformed(error)) from None


Function: TypeAlias = "Callable[[House, Call], Awaitable[Answer]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query parameter, for the document; the operation itself reads it from `call.query`."""

    name: str
    schema: Schema
    about: str
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row of the API.

    `path` is written without prefix for `/targetGroups`, `/users` and `/oauth`, which answer under all four. Its
    parameters are ids: `/targetGroups/{targetGroupId}` is read as `call.ids["targetGroupId"]`; those in `patterns` are
    text, given as it came in `call.names`, and match the pattern where they can name anything. `resource` is None for
    what anyone may call. `statuses` names what the operation itself answers, below 400 with `response`; what every
    operation may answer (401, 403, 413, 500, ...) is added to the document.
    """

    method: str
    path: str
    function: Function
    summary: str
    resource: Resource | None
    level: Level
    request: Schema | None = None
    response: Schema | None = None
    statuses: tuple[int, ...] = (200,)
    # Of answers from 400 on, where the operation has a shape of its own.
    error: Schema | None = None
    query: tuple[Parameter, ...] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    # Answers for several organisations at once: OTHER with two ids, or ALL.
    plural: bool = False
    # Takes many things in one body, which may be as long as the operator allows.
    bulk: bool = False
    media_types: tuple[str, ...] = (JSON,)
    about: str = ""
    examples: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prefixed(self) -> bool:
        """Whether the path answers under the prefixes (decision 1)."""
        return self.path.startswith(PREFIXED)

    @property
    def takes_key(self) -> bool:
        """Whether an Idempotency-Key is honoured (decision 6): wherever a known caller may change something."""
        return self.method in CHANGING and self.resource is not None

    @cached_property
    def operation_id(self) -> str:
        """Its name in the document and wherever requests are counted."""
        module = self.function.__module__.removeprefix("kosminar.api.")
        return f"{module.replace('.', '_')}_{self.function.__name__}"

    def body_bytes_max(self, allowed: int) -> int:
        """The longest body in bytes, where the operator allows so many: what the operation can need and no more."""
        if self.resource is None:
            return min(allowed, STRANGER_BODY_BYTES_MAX)
        return allowed if self.bulk else min(allowed, PLAIN_BODY_BYTES_MAX)

    @property
    def version(self) -> Version:
        """The surface, unless a prefix says v3.1."""
        if self.prefixed:
            return Version.V3
        return Version.V2 if self.path.startswith("/v2/") else Version.V1


def path_id(name: str, text: str) -> int:
    """An id in a path: plain digits, 1 to 2^63-1 (decision 2)."""
    # isdecimal alone lets other alphabets' digits in; int() alone signs, blanks and underscores.
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= PATH_ID_DIGITS_MAX else 0
    if not 1 <= number <= PATH_ID_MAX:
        raise Refused(invalid(name, f"must be an integer from 1 to {PATH_ID_MAX}"))
    return number


def refuse_faults(faults: Iterable[Fault]) -> None:
    """Raises Refused with one complaint for each fault, if there is any."""
    complaints = [invalid(fault.path, fault.message) for fault in faults]
    if complaints:
        raise Refused(*complaints)


def malformed(error: MalformedBody) -> Complaint:
    return invalid("", f"The body {error}")


def enveloped(data: Schema) -> Schema:
    """The schema of the compatible surface's envelope around some data."""
    complaints = {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Complaint"}}
    return {
        "type": "object",
        "required": ["data", "errors", "warnings"],
        "properties": {"data": data, "errors": complaints, "warnings": complaints},
    }
