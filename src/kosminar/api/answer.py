"""An answer before it is HTTP: a status, the bytes, and headers that belong to the status.

Operations are plain functions that return one of these. The compatible surface has one envelope for every status
(decision 4); the native one answers problems after RFC 9457 with the same number in `code`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kosminar.core.decoder import encode
from kosminar.core.errors import Code, Complaint

JSON: Final = "application/json"
BAD_REQUEST: Final = 400
PROBLEM_JSON: Final = "application/problem+json"
# Complaints that one answer lists. A request can have tens of thousands of faults; a hundred show what they are like.
COMPLAINT_COUNT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes over the wire."""

    status: int
    body: bytes
    # Not so where a part of it was our own fault, and a repeat is to try again.
    final: bool = field(default=True, kw_only=True)
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    # What was wrong, of a refusal: for the log line and the counts.
    codes: tuple[Code, ...] = ()

    @property
    def refused(self) -> bool:
        return self.status >= BAD_REQUEST


def envelope(
    data: Any,
    *,
    errors: Sequence[Complaint] = (),
    warnings: Sequence[Complaint] = (),
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Answer:
    """The compatible surface's one shape; `errors` and `warnings` are null when empty (decision 5)."""
    content = {"data": data, **(extra or {}), "errors": _listed(errors), "warnings": _listed(warnings)}
    return Answer(status or (400 if errors else 200), encode(content), headers=headers or {}, codes=_codes(errors))


def refusal(*errors: Complaint, status: int = 400, headers: Mapping[str, str] | None = None) -> Answer:
    """An envelope without data."""
    return envelope(None, errors=errors, status=status, headers=headers)


def native(content: Any, *, status: int = 200) -> Answer:
    """The native surface's success: the content itself."""
    return Answer(status, encode(content))


def problem(
    status: int,
    code: Code,
    detail: str,
    *,
    errors: Sequence[Complaint] = (),
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A problem document; `errors` lists the faults one by one where there are several."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": int(code),
    }
    if errors:
        content["errors"] = _listed(errors)
    return Answer(
        status,
        encode(content),
        media_type=PROBLEM_JSON,
        headers=headers or {},
        codes=_codes(errors) or (code,),
    )


TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def _codes(complaints: Sequence[Complaint]) -> tuple[Code, ...]:
    return tuple(complaint.code for complaint in complaints[:COMPLAINT_COUNT_MAX])


def _listed(complaints: Sequence[Complaint]) -> list[dict[str, Any]] | None:
    shown = list(complaints[:COMPLAINT_COUNT_MAX])
    if left := len(complaints) - len(shown):
        shown.append(Complaint.of(Code.INVALID_INPUT, f"There are {left} more faults; correct these first."))
    return [{"code": int(c.code), "message": c.message} for c in shown] or None
