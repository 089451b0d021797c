"""The web application: every operation as a route, the prefixes folded into one, and one shape for every status.

Routes come from the tables of the operation modules; what happens to a request is told in reception.py. Litestar
routes and serves; its own answers (unknown path, wrong method) leave in our shapes too.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar import HttpMethod, Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from kosminar.api import oauth, openapi, probes
from kosminar.api.admission import Admission, admit
from kosminar.api.answer import Answer, native
from kosminar.api.body_memory import BodyMemory
from kosminar.api.compat import customers as compat_customers
from kosminar.api.compat import enrolments, target_groups, transactions, users
from kosminar.api.journal import keep_journal
from kosminar.api.limits import BODY_SECONDS
from kosminar.api.operation import Call, Operation, Refused, Version
from kosminar.api.paths import only_plain_paths, path_as_sent
from kosminar.api.reception import Reception, answer_to
from kosminar.api.request import in_shape, request_id_of
from kosminar.api.sending import in_pieces
from kosminar.api.straight import go_straight
from kosminar.api.v1 import activities, clock, customers, facts, rewards, webhook_endpoints
from kosminar.core.access import Level
from kosminar.core.errors import Code, Complaint, invalid

if TYPE_CHECKING:
    from kosminar.engine.house import House

OPERATIONS: Final = (
    *target_groups.OPERATIONS,
    *enrolments.OPERATIONS,
    *users.OPERATIONS,
    *compat_customers.OPERATIONS,
    *transactions.OPERATIONS,
    *oauth.OPERATIONS,
    *customers.OPERATIONS,
    *activities.OPERATIONS,
    *rewards.OPERATIONS,
    *facts.OPERATIONS,
    *clock.OPERATIONS,
    *webhook_endpoints.OPERATIONS,
    *probes.OPERATIONS,
)

ASKED_ALL_DAY: Final = (
    *enrolments.OPERATIONS,
    *activities.OPERATIONS,
    *users.OPERATIONS,
    *rewards.OPERATIONS,
    *facts.OPERATIONS,
)

# Where the prefixed operations are routed; the other prefixes are folded into it.
HOME: Final = "/v3"
_PREFIXED: Final = re.compile(
    r"(?:/api_gateway/intouch-api-v3)?/(v3|v3\.1)(/(?:targetGroups|users|oauth)(?:/.*)?)", re.DOTALL
)
# OAuth libraries are given one address for a host, so this one answers without a prefix too (decision 30).
BARE: Final = "/oauth/token"

BAD_REQUEST: Final = 400
CODES: Final[Mapping[int, Code]] = {
    404: Code.UNKNOWN_PATH,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.REQUEST_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
}


def build_app(
    house: "House",
    *,
    admission: Admission | None = None,
    body_seconds: float = BODY_SECONDS,
    body_memory: BodyMemory | None = None,
) -> Litestar:
    """The ASGI application. Opening and closing what the house holds is up to the caller."""
    reception = Reception(house, body_seconds=body_seconds, memory=body_memory)
    operations = (*OPERATIONS, _document_operation())
    app = Litestar(
        # OPTIONS first: Litestar's own answer names only the methods of the operation that was first on its path.
        route_handlers=[*_options(operations), *(_route(operation, reception) for operation in operations)],
        exception_handlers={Exception: _answer_exception},
        openapi_config=None,
        logging_config=None,
        # The reception counts, by the operator's setting.
        request_max_body_size=None,
    )
    # Litestar's own middlewares run behind the router, which would not know the prefixed paths.
    inside = only_plain_paths(go_straight(app.asgi_handler, reception, ASKED_ALL_DAY, routed=_routed))
    entered = at_the_door(inside, admission or Admission(house.settings.requests_max))
    app.asgi_handler = in_pieces(keep_journal(entered, house))
    return app


def at_the_door(app: ASGIApp, admission: Admission) -> ASGIApp:
    """Gives every request its id, lets in as many as can be worked on, and folds the prefixes into one (decision 1)."""
    inside = admit(app, admission)

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope["state"]["request_id"] = request_id_of(scope)
        # A request has a task of its own; where that came from another request's, this one overwrites what it found.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        scope["path"] = path_as_sent(scope)
        if match := _PREFIXED.fullmatch(scope["path"]):
            scope["path"] = HOME + match[2]
            scope["state"]["version"] = Version(match[1])
        elif scope["path"] == BARE:
            scope["path"] = HOME + BARE
        await inside(scope, receive, send)

    return enter


def _route(operation: Operation, reception: Reception) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        answer = await reception.answer(operation, request.scope, request.receive)
        return _response(answer, request)

    method = HttpMethod(operation.method)
    return HTTPRouteHandler(
        _path(operation),
        # HEAD is GET without the body, which the server leaves out.
        http_method=[method, HttpMethod.HEAD] if method is HttpMethod.GET else method,
        name=f"{operation.method} {operation.path}",
        status_code=200,
    )(handle)


def _path(operation: Operation) -> str:
    return re.sub(r"{(\w+)}", r"{\1:str}", _routed(operation))


def _routed(operation: Operation) -> str:
    return HOME + operation.path if operation.prefixed else operation.path


def _options(operations: Iterable[Operation]) -> list[HTTPRouteHandler]:
    """What answers OPTIONS: for each path, the methods of all its operations."""
    methods: dict[str, set[str]] = {}
    for operation in operations:
        there = methods.setdefault(_path(operation), {"OPTIONS"})
        there |= {"GET", "HEAD"} if operation.method == "GET" else {operation.method}
    return [_options_route(path, ", ".join(sorted(there))) for path, there in methods.items()]


def _options_route(path: str, allow: str) -> HTTPRouteHandler:
    async def handle() -> Response[None]:
        return Response(None, status_code=204, media_type="text/plain", headers={"Allow": allow})

    return HTTPRouteHandler(path, http_method=HttpMethod.OPTIONS, name=f"OPTIONS {path}", status_code=204)(handle)


def _document_operation() -> Operation:
    answer = native(openapi.document(OPERATIONS))

    async def show_document(house: "House", call: Call) -> Answer:  # noqa: ARG001  # Every operation takes both.
        return answer

    return Operation(
        method="GET",
        path="/openapi.json",
        function=show_document,
        summary="This document",
        resource=None,
        level=Level.NONE,
    )


def _answer_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What Litestar itself refuses, before a request reaches the reception."""
    path = request.scope["path"]
    if isinstance(error, HTTPException) and error.status_code in CODES:
        refused = Refused(
            Complaint.of(CODES[error.status_code]),
            status=error.status_code,
            headers={"Allow": error.headers["allow"]} if error.headers and "allow" in error.headers else {},
        )
        return _response(in_shape(path, refused), request)
    if isinstance(error, HTTPException) and error.status_code == BAD_REQUEST:
        return _response(in_shape(path, Refused(invalid("", error.detail))), request)
    return _response(answer_to(error, path=path), request)


def _response(answer: Answer, request: Request[Any, Any, Any]) -> Response[bytes]:
    request.scope["state"]["codes"] = answer.codes
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers={
            "X-Request-ID": request.scope["state"]["request_id"],
            # Of the caller, whatever the answer is.
            **request.scope["state"].get("headers", {}),
            **answer.headers,
        },
    )
