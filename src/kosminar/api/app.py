"""The web application: every operation as a route, the prefixes folded into one, and one shape for every status.

Routes come from the tables of the operation modules; what happens to a request is told in reception.py. Litestar
routes and serves; its own answers (unknown path, wrong method) leave in our shapes too.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from litestar import HttpMethod, Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from kosminar.api import oauth, openapi, probes
from kosminar.api.answer import Answer, native
from kosminar.api.compat import customers as compat_customers
from kosminar.api.compat import enrolments, target_groups, transactions, users
from kosminar.api.operation import Call, Operation, Refused, Version
from kosminar.api.reception import Reception, answer_to
from kosminar.api.request import in_shape, request_id_of
from kosminar.api.v1 import activities, clock, customers, facts, rewards
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
    *probes.OPERATIONS,
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


def build_app(house: "House") -> Litestar:
    """The ASGI application. Opening and closing what the house holds is up to the caller."""
    reception = Reception(house)
    app = Litestar(
        route_handlers=[_route(operation, reception) for operation in (*OPERATIONS, _document_operation())],
        exception_handlers={Exception: _answer_exception},
        openapi_config=None,
        logging_config=None,
        # The reception counts, by the operator's setting.
        request_max_body_size=None,
    )
    # Litestar's own middlewares run behind the router, which would not know the prefixed paths.
    app.asgi_handler = at_the_door(app.asgi_handler)
    return app


def at_the_door(app: ASGIApp) -> ASGIApp:
    """Gives every request its id, and folds the prefixes of the compatible surface into one (decision 1)."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["request_id"] = request_id_of(scope)
        if match := _PREFIXED.fullmatch(scope["path"]):
            scope["path"] = HOME + match[2]
            scope["state"]["version"] = Version(match[1])
        elif scope["path"] == BARE:
            scope["path"] = HOME + BARE
        await app(scope, receive, send)

    return enter


def _route(operation: Operation, reception: Reception) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        answer = await reception.answer(operation, request.scope, request.receive)
        return _response(answer, request)

    path = re.sub(r"{(\w+)}", r"{\1:str}", operation.path)
    method = HttpMethod(operation.method)
    return HTTPRouteHandler(
        HOME + path if operation.prefixed else path,
        # HEAD is GET without the body, which the server leaves out.
        http_method=[method, HttpMethod.HEAD] if method is HttpMethod.GET else method,
        name=f"{operation.method} {operation.path}",
        status_code=200,
    )(handle)


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
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers={"X-Request-ID": request.scope["state"]["request_id"], **answer.headers},
    )
