"""Access tokens over HTTP: the published call, and client credentials after RFC 6749, section 4.4.

The published call has the compatible surface's envelope; the other has the RFC's own shapes, which OAuth libraries
read. Neither says whether a key exists.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote_plus

from kosminar.api.answer import Answer, envelope
from kosminar.api.authentication import AUTHORIZATION, NotAuthenticated, basic_credentials, begin_sign_in, note_failure
from kosminar.api.operation import FORM, Call, Operation, enveloped, refuse_faults
from kosminar.core.access import Level
from kosminar.core.decoder import encode
from kosminar.engine.use_cases import clients, tokens

if TYPE_CHECKING:
    from kosminar.engine.house import House

KEY_LENGTH_MAX: Final = 200
SECRET_LENGTH_MAX: Final = 1000
FORM_FIELDS_MAX: Final = 20
# A token is a secret, and RFC 6749 asks for both.
NOT_STORED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


async def generate_token(house: "House", call: Call) -> Answer:
    """POST /oauth/token/generate: key and secret in, token out."""
    fields = await call.fields()
    key = fields.text("key", max_length=KEY_LENGTH_MAX)
    secret = fields.text("secret", max_length=SECRET_LENGTH_MAX)
    refuse_faults(fields.faults)
    token = await _token(house, call.peer, key, secret)
    if token is None:
        raise NotAuthenticated
    return envelope({"accessToken": token, "ttlSeconds": house.settings.token_seconds}, headers=NOT_STORED)


async def grant_token(house: "House", call: Call) -> Answer:
    """POST /oauth/token: the client credentials grant."""
    form = _form(call.body)
    if form is None or "grant_type" not in form:
        return _error("invalid_request", "Send grant_type as a form field, each field once.")
    if form["grant_type"] != "client_credentials":
        return _error("unsupported_grant_type", "Only client_credentials is supported.")
    authorization = call.headers.get(AUTHORIZATION)
    if authorization is not None and "client_secret" in form:
        return _error("invalid_request", "Authenticate in one way only, by header or by form fields.")
    credentials = _form_credentials(form) if authorization is None else _header_credentials(authorization)
    token = None if credentials is None else await _token(house, call.peer, *credentials)
    if token is None:
        return _error("invalid_client", "The client is unknown or the secret is wrong.", status=401)
    content = {"access_token": token, "token_type": "Bearer", "expires_in": house.settings.token_seconds}
    return Answer(200, encode(content), headers=NOT_STORED)


async def _token(house: "House", peer: str, key: str, secret: str) -> str | None:
    """A token for the client of that key, None if there is none or the secret is wrong. Raises TooManyRequests."""
    attempt = await begin_sign_in(house, peer, key, secret)
    now = house.wall()
    client = await clients.find_by_secret(house.pool, key, secret)
    if client is None:
        note_failure(house, attempt, peer, key)
        return None
    house.sign_ins.succeeded(peer, key, secret, now=now)
    return await tokens.grant(house.pool, key, client, seconds=house.settings.token_seconds, now=now)


def _form(body: bytes) -> dict[str, str] | None:
    """The fields of a form; None if it cannot be read or names a field twice, which RFC 6749 forbids."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=FORM_FIELDS_MAX,
        )
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _form_credentials(form: Mapping[str, str]) -> tuple[str, str] | None:
    return (form["client_id"], form["client_secret"]) if {"client_id", "client_secret"} <= form.keys() else None


def _header_credentials(authorization: str) -> tuple[str, str] | None:
    """Key and secret from the header, where each is encoded like a form field (RFC 6749, section 2.3.1)."""
    found = basic_credentials(authorization)
    return None if found is None else (unquote_plus(found[0]), unquote_plus(found[1]))


def _error(error: str, description: str, *, status: int = 400) -> Answer:
    challenge = {"WWW-Authenticate": 'Basic realm="Kosminar", charset="UTF-8"'} if status == 401 else {}
    return Answer(
        status, encode({"error": error, "error_description": description}), headers={**NOT_STORED, **challenge}
    )


def _properties(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_TEXT: Final = {"type": "string", "minLength": 1}
_SECONDS: Final = {"type": "integer", "minimum": 1}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/oauth/token/generate",
        function=generate_token,
        summary="Generate an access token",
        about="Send the token as `X-CAP-API-OAUTH-TOKEN`, or as `Authorization: Bearer`.",
        resource=None,
        level=Level.NONE,
        request=_properties(
            key={**_TEXT, "maxLength": KEY_LENGTH_MAX}, secret={**_TEXT, "maxLength": SECRET_LENGTH_MAX}
        ),
        response=enveloped(_properties(accessToken=_TEXT, ttlSeconds=_SECONDS)),
        statuses=(200, 401, 429),
    ),
    Operation(
        method="POST",
        path="/oauth/token",
        function=grant_token,
        summary="Grant an access token (RFC 6749, client credentials)",
        about="Authenticate with HTTP Basic or with the form fields `client_id` and `client_secret`.",
        resource=None,
        level=Level.NONE,
        request={
            "type": "object",
            "required": ["grant_type"],
            "properties": {
                "grant_type": {"const": "client_credentials"},
                "client_id": _TEXT,
                "client_secret": _TEXT,
                "scope": {"type": "string"},
            },
        },
        response=_properties(access_token=_TEXT, token_type={"const": "Bearer"}, expires_in=_SECONDS),
        error={"type": "object", "required": ["error"], "properties": {"error": _TEXT, "error_description": _TEXT}},
        statuses=(200, 401, 429),
        media_types=(FORM,),
    ),
)
