"""Every request passes here, once: who, may they, where, for whom, what; then the operation; then the answer.

Authentication, access, path, scope and body are settled in that order and each answers alone (decision 4). Whatever
goes wrong, also inside an operation, leaves as an answer in the shape of its surface; nothing is raised.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from litestar.types import Receive, Scope

from kosminar.api import scope as scopes
from kosminar.api.answer import Answer
from kosminar.api.authentication import Authenticator, permit
from kosminar.api.body_memory import BodyMemory, Room
from kosminar.api.idempotency import SameKey, answer_once
from kosminar.api.limits import BODY_SECONDS, RateLimit
from kosminar.api.operation import Call, Operation, Refused, Version, malformed, path_id, refused
from kosminar.api.paths import decoded
from kosminar.api.request import ClientGone, body_has_come, headers_of, in_shape, peer_of, query_of, read_body, unread
from kosminar.core.access import Caller
from kosminar.core.decoder import MalformedBody
from kosminar.core.errors import MESSAGES, Code, Complaint
from kosminar.engine.retry import is_unavailable
from kosminar.engine.use_cases import organisations
from kosminar.engine.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from kosminar.engine.house import House

NOBODY: Final = Caller(0, "", {})
"""Calls what anyone may call. Organisations are numbered from 1."""

WITH_BODY: Final = ("POST", "PUT", "PATCH")
RETRY_AFTER: Final = {"Retry-After": "1"}

LOG: Final = structlog.get_logger()


class Reception:
    """Answers requests for operations."""

    def __init__(self, house: "House", *, body_seconds: float = BODY_SECONDS, memory: BodyMemory | None = None) -> None:
        self._house = house
        self._authenticator = Authenticator(house)
        self._rate_limit = RateLimit(house.settings.rate_limit_per_minute)
        self._same_key = SameKey()
        self._body_seconds = body_seconds
        self._memory = memory or BodyMemory(house.settings.body_bytes_max)

    async def answer(self, operation: Operation, scope: Scope, receive: Receive) -> Answer:
        """The answer to a request that was routed to the operation; a request id is on it and on every log line."""
        headers = headers_of(scope)
        request_id = scope["state"]["request_id"]
        scope["state"]["operation"] = operation
        room = Room(self._memory)
        try:
            call = await self._call(operation, scope, receive, headers=headers, request_id=request_id, room=room)
            return await answer_once(self._house, self._same_key, operation, call)
        except Exception as error:  # noqa: BLE001  # The last resort: whatever it is, the caller gets an answer.
            return answer_to(error, path=operation.path)
        finally:
            room.give_back()

    async def _call(
        self,
        operation: Operation,
        scope: Scope,
        receive: Receive,
        *,
        headers: dict[str, str],
        request_id: str,
        room: Room,
    ) -> Call:
        caller = NOBODY
        if operation.resource is not None:
            caller = await self._authenticator.authenticate(headers, peer=peer_of(scope))
            scope["state"]["caller"] = caller
            allowance = self._rate_limit.take(caller, now=self._house.wall())
            scope["state"]["headers"] = allowance.headers
            allowance.check()
            permit(caller, operation.level, operation.resource)
        ids, names = _path_parameters(scope, operation)
        query = query_of(scope)
        version = Version(scope["state"].get("version", operation.version))
        organisation_ids: tuple[int, ...] = (caller.organisation_id,)
        if version is Version.V3_1 and operation.resource is not None:
            organisation_ids = await self._organisation_ids(caller, operation, headers)
        body = b""
        if operation.method in WITH_BODY:
            body = await read_body(
                headers,
                receive,
                media_types=operation.media_types,
                bytes_max=operation.body_bytes_max(self._house.settings.body_bytes_max),
                seconds_max=None if body_has_come(scope) else self._body_seconds,
                take_room=partial(room.take, (caller.organisation_id, caller.name)),
            )
        return Call(
            caller=caller,
            version=version,
            method=operation.method,
            path=operation.path,
            organisation_ids=organisation_ids,
            ids=ids,
            names=names,
            query=query,
            headers=headers,
            body=body,
            request_id=request_id,
            peer=peer_of(scope),
        )

    async def _organisation_ids(self, caller: Caller, operation: Operation, headers: dict[str, str]) -> tuple[int, ...]:
        if scopes.is_own(headers):
            return (caller.organisation_id,)
        hierarchy = await organisations.hierarchy(self._house, caller.organisation_id)
        found = scopes.resolve(headers, hierarchy, reading=operation.method == "GET", plural=operation.plural)
        if isinstance(found, Complaint):
            raise Refused(found)
        return found


def answer_to(error: Exception, *, path: str) -> Answer:
    """What the caller gets for an exception, in the shape of the surface that the path belongs to."""
    if isinstance(error, Refused):
        return in_shape(path, error)
    if isinstance(error, Refusal):
        return in_shape(path, refused(error, path))
    if isinstance(error, MalformedBody):
        return in_shape(path, Refused(malformed(error)))
    if isinstance(error, ClientGone):
        LOG.debug("client gone")
        return unread(path)
    if is_unavailable(error):
        LOG.warning("unavailable", exc_info=error)
        return in_shape(path, Refused(Complaint.of(Code.TRY_AGAIN_LATER), status=503, headers=RETRY_AFTER))
    incident_id = structlog.contextvars.get_contextvars().get("request_id", "unknown")
    LOG.error("incident", incident_id=incident_id, exc_info=error)
    message = f"{MESSAGES[Code.INTERNAL_ERROR]} Incident: {incident_id}."
    return in_shape(path, Refused(Complaint.of(Code.INTERNAL_ERROR, message), status=500))


def _path_parameters(scope: Scope, operation: Operation) -> tuple[dict[str, int], dict[str, str]]:
    ids: dict[str, int] = {}
    names: dict[str, str] = {}
    complaints: list[Complaint] = []
    for name, segment in scope["path_params"].items():
        try:
            text = decoded(name, segment)
            if name in operation.patterns:
                names[name] = text
            else:
                ids[name] = path_id(name, text)
        except Refused as refused:
            complaints += refused.complaints
    if complaints:
        raise Refused(*complaints)
    return ids, names
