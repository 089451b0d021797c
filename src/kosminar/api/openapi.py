"""The OpenAPI 3.1 document of both surfaces, built from the table of operations.

Each path stands there once; those that answer under several prefixes name them as their servers (decision 1). What
every operation may answer, such as 401 or 503, is added here and not repeated in the table.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kosminar.api.answer import JSON, PROBLEM_JSON, TITLES
from kosminar.api.authentication import TOKEN_HEADER
from kosminar.api.operation import PATH_ID_MAX, Operation, Schema, Version
from kosminar.api.scope import ALL, ORGANISATIONS, OTHER, SCOPE, SELF

# Of the API as documented, which moves when an operation or a shape does.
VERSION: Final = "0.1.0"
PREFIXES: Final = ("/v3", "/v3.1", "/api_gateway/intouch-api-v3/v3", "/api_gateway/intouch-api-v3/v3.1")
CREATED, TOO_SLOW, CONFLICT, TOO_LARGE, UNSUPPORTED, TOO_MANY, HEADERS_TOO_LARGE = 201, 408, 409, 413, 415, 429, 431
REFUSED_FROM: Final = 400

_COMPLAINT: Final[Schema] = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
}
_COMPLAINTS: Final[Schema] = {"type": "array", "items": {"$ref": "#/components/schemas/Complaint"}}
_SCHEMAS: Final[Schema] = {
    "Complaint": _COMPLAINT,
    "Refusal": {
        "type": "object",
        "description": "The compatible surface's envelope when something was refused.",
        "required": ["data", "errors", "warnings"],
        "properties": {
            "data": {"type": "null"},
            "errors": {**_COMPLAINTS, "minItems": 1},
            "warnings": {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Complaint"}},
        },
    },
    "Problem": {
        "type": "object",
        "description": "A problem after RFC 9457.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "integer"},
            "errors": _COMPLAINTS,
        },
    },
}
_SECURITY_SCHEMES: Final[Schema] = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "Username, and as password the password itself or its hexadecimal MD5.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "token": {"type": "apiKey", "in": "header", "name": TOKEN_HEADER.upper()},
}
_SCOPE_PARAMETERS: Final = (
    {
        "name": SCOPE.upper(),
        "in": "header",
        "description": "Whose data is meant. Read on the v3.1 paths only; ALL where something is read.",
        "schema": {"enum": [SELF, OTHER, ALL], "default": SELF},
    },
    {
        "name": ORGANISATIONS[0].upper(),
        "in": "header",
        "description": "Under OTHER, the connected organisations' ids, separated by commas.",
        "schema": {"type": "string", "pattern": "^ *[0-9]+ *(, *[0-9]+ *)*$"},
    },
)

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request under the same key is worked once and answered alike, for at least 24 hours; "
    "another request under it is refused with 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The whole document, ready to be encoded."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, _servers(operation))
        assert operation.method.lower() not in item, f"{operation.method} {operation.path} is there twice"
        item[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kosminar",
            "version": VERSION,
            "summary": "Milestones and streaks: every reward exactly once.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": _SECURITY_SCHEMES},
    }


def _servers(operation: Operation) -> dict[str, Any]:
    return {"servers": [{"url": prefix} for prefix in PREFIXES]} if operation.prefixed else {}


def _described(operation: Operation) -> dict[str, Any]:
    module = operation.function.__module__.removeprefix("kosminar.api.")
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "tags": [module.rpartition(".")[2].replace("_", " ")],
        "summary": operation.summary,
        "security": [] if operation.resource is None else [{name: []} for name in _SECURITY_SCHEMES],
        "responses": _responses(operation),
    }
    if operation.about:
        described["description"] = operation.about
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if operation.request is not None:
        content = {
            media_type: _content(operation.request, operation.examples, "request")
            for media_type in operation.media_types
        }
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{operation.patterns[name]}$"}
            if name in operation.patterns
            else {"type": "integer", "minimum": 1, "maximum": PATH_ID_MAX},
        }
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    parameters += [
        {
            "name": one.name,
            "in": "query",
            "required": one.required,
            "description": one.about,
            "schema": one.schema,
        }
        for one in operation.query
    ]
    if operation.prefixed and operation.resource is not None:
        parameters += _SCOPE_PARAMETERS
    if operation.takes_key:
        parameters.append(_IDEMPOTENCY_KEY)
    return parameters


def _responses(operation: Operation) -> dict[str, Any]:
    statuses = {*operation.statuses, 400, HEADERS_TOO_LARGE, 500, 503}
    if operation.resource is not None:
        statuses |= {401, 403, TOO_MANY}
    if operation.takes_key:
        statuses.add(CONFLICT)
    if operation.request is not None:
        statuses |= {TOO_SLOW, TOO_LARGE, UNSUPPORTED}
    return {str(status): _response(operation, status) for status in sorted(statuses)}


def _response(operation: Operation, status: int) -> dict[str, Any]:
    if status < REFUSED_FROM:
        response: dict[str, Any] = {"description": "Created" if status == CREATED else "OK"}
        if operation.response is not None:
            response["content"] = {JSON: _content(operation.response, operation.examples, "response")}
        return response
    native = operation.version is Version.V1
    named = {"$ref": f"#/components/schemas/{'Problem' if native else 'Refusal'}"}
    # A shape of its own beside the common one, which transport-level refusals keep.
    schema = named if operation.error is None else {"anyOf": [operation.error, named]}
    return {
        "description": TITLES[status],
        "content": {PROBLEM_JSON if native else JSON: {"schema": schema}},
    }


def _content(schema: Schema, examples: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {"schema": schema, "example": examples[key]} if key in examples else {"schema": schema}
