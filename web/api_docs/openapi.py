"""The OpenAPI document: flask-smorest's, with keys, scopes, limits, errors and idempotency added.

The additions come from the same declarations (`web.http.view_policy`) that the checks use.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from flask import Flask
from flask_smorest import Api

from web.api_docs.examples import BODIES, TURN_EVENTS, add_examples, show_question_examples
from web.http import schemas
from web.http.auth import needs_key
from web.http.idempotency import HEADER
from web.http.passage_schemas import ID
from web.http.streaming import EVENT_STREAM
from web.http.view_policy import policy_of

Document = dict[str, Any]

DESCRIPTION = """\
Conversations, PDF ingestion, search and cited answers.

**Keys.** Everything under `/api/v1` needs `X-API-Key` (or `Authorization: Bearer`). A key has
scopes: `read`, `write`, `chat`, `documents`, `admin`.

**Errors** are `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`.
Invalid input also has `errors`, which maps field paths to messages.

**Limits.** Each response has `X-RateLimit-*` headers; 429 has `Retry-After`.

**Idempotency.** Each POST accepts an `Idempotency-Key`. For 24 hours, the same key with the same
body returns the first response again, with `Idempotent-Replayed: true`.

**Pages.** Use `skip`, or `cursor` with the `next_cursor` of the previous page. With `cursor`, no
row is missed or repeated while rows are added.

**Streams** are server-sent events: with `stream: true` or `Accept: text/event-stream`. A comment
line comes at least every 15 seconds. An answer's events have ids. After a lost connection, a client
continues with `GET /messages/{id}/stream` and `Last-Event-ID`.

**Request ids.** The service uses and returns the client's `X-Request-ID` if it is 1 to 128
characters of `A-Za-z0-9._-`.
"""

_CODES = {
    400: ("invalid_request", "The request is not valid; see errors."),
    401: ("unauthorized", "A valid API key is required."),
    403: ("insufficient_scope", "The key lacks the scope."),
    404: ("not_found", "It does not exist, or it belongs to another tenant."),
    408: ("request_timeout", "The body arrived too slowly."),
    409: ("conflict", "The state forbids it, or a request with this key is in progress."),
    413: ("payload_too_large", "The request is too large."),
    415: ("unsupported_media_type", "The media type is not supported."),
    416: ("range_not_satisfiable", "The range lies outside the content."),
    422: ("idempotency_key_reused", "This Idempotency-Key was used for another request."),
    429: ("rate_limited", "Too many requests; see Retry-After."),
    500: ("internal_error", "An internal error happened."),
    502: ("provider_unavailable", "The LLM or embedding provider failed."),
    503: ("database_unavailable", "Try again after Retry-After seconds."),
    504: ("provider_timeout", "The LLM or embedding provider took too long."),
    507: ("storage_full", "The storage is full."),
}
_COMMON_STATUSES = (400, 401, 403, 429, 500, 503)
_STATUSES_OF_OPERATIONS = {
    "upload_document": (404, 413, 415, 507),
    "reingest_document": (409,),
    "cancel_job": (409,),
    "download_document": (416,),
    "show_page": (409,),
    "edit_message": (409,),
    "rate_message": (409,),
    "unrate_message": (409,),
    "search": (404, 502, 504),
}


def _header(description: str, kind: str = "string", **schema: str) -> Document:
    return {"description": description, "schema": {"type": kind, **schema}}


_HEADERS: Document = {
    "X-Request-ID": _header("The request's id, also in the log."),
    "X-RateLimit-Limit": _header("Requests per minute for this key.", "integer"),
    "X-RateLimit-Remaining": _header("Requests left in this window.", "integer"),
    "X-RateLimit-Reset": _header("The end of the window, in seconds since 1970.", "integer"),
    "Retry-After": _header("Seconds to wait.", "integer"),
    "Location": _header("The URL of the new resource."),
    "Idempotent-Replayed": _header("`true` if this repeats the first response."),
    "WWW-Authenticate": _header("The accepted schemes."),
    "Accept-Encoding": _header("`identity`, if the body's `Content-Encoding` is not supported."),
    "ETag": _header("For `If-None-Match`, `If-Range`."),
    "Cache-Control": _header("Who may cache the response."),
    "Accept-Ranges": _header("`bytes`."),
    "Content-Range": _header("The bytes sent, and the total.", example="bytes 0-1023/120000"),
    "Content-Disposition": _header("`attachment`, with the file's name."),
}
# The headers of an operation's responses, by operation and status.
_ANSWER_HEADERS = {
    "create_session": {"201": ["Location"]},
    "import_session": {"201": ["Location"]},
    "export_session": {"200": ["Cache-Control", "Content-Disposition"]},
    "export_user": {"200": ["Cache-Control", "Content-Disposition"]},
    "erase_user": {"202": ["Location", "Retry-After"]},
    "append_message": {"201": ["Location"]},
    "upload_document": {"202": ["Location", "Retry-After"]},
    "reingest_document": {"202": ["Location", "Retry-After"]},
    "create_key": {"201": ["Cache-Control"]},
    "rotate_key": {"201": ["Cache-Control"]},
    "download_document": {
        "200": ["ETag", "Cache-Control", "Accept-Ranges", "Content-Disposition"],
        "206": ["ETag", "Cache-Control", "Accept-Ranges", "Content-Disposition", "Content-Range"],
        "304": ["ETag", "Cache-Control"],
    },
    "show_page": {"200": ["ETag", "Cache-Control"], "304": ["ETag", "Cache-Control"]},
    "health": {"503": ["Retry-After"]},
    "ready": {"503": ["Retry-After"]},
}
_PROBLEM_HEADERS = {
    401: ["WWW-Authenticate"],
    415: ["Accept-Encoding"],
    416: ["Content-Range"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}
_LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_KEY_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "1 to 255 printable ASCII characters.",
    "schema": {
        "type": "string",
        "format": "idempotency-key",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
}


def _request_header(name: str, description: str) -> Document:
    schema = {"type": "string"}
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema,
    }


_IF_NONE_MATCH = _request_header("If-None-Match", "ETags; 304 if one of them is current.")
_PARAMETERS = {
    "download_document": [
        _request_header("Range", "One range of bytes, such as `bytes=0-1023`."),
        _request_header("If-Range", "An ETag; the range is ignored if the file has another."),
        _IF_NONE_MATCH,
    ],
    "show_page": [_IF_NONE_MATCH],
    "stream_answer": [
        _request_header("Last-Event-ID", "The id of the last event that the client has.")
    ],
}
_UPLOAD_BODY: Document = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": schemas.BINARY | {"description": "The PDF."},
                    "user_id": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 255,
                        "description": "The document's user; without it, the tenant shares it.",
                    },
                    "session_id": {
                        "type": "string",
                        "format": "uuid",
                        "description": "The session to attach it to.",
                    },
                    "metadata": {"type": "object", "description": "Any JSON object."},
                },
            },
            "encoding": {
                "file": {"contentType": "application/pdf"},
                "metadata": {"contentType": "application/json"},
            },
        }
    },
}


def build(app: Flask, api: Api) -> Document:
    """Return the whole document."""
    document: Document = api.spec.to_dict()
    document["info"]["description"] = DESCRIPTION
    document["servers"] = [{"url": "/"}]
    _describe_components(document)
    for rule, view in _views(app):
        path = document["paths"].get(_template(rule.rule))
        for method in rule.methods or ():
            operation = (path or {}).get(method.lower())
            if operation is not None:
                _complete(operation, rule=rule.rule, view=view, writes=method != "GET")
    add_examples(document)
    show_question_examples(document["paths"])
    return document


def _views(app: Flask) -> Iterator[tuple[Any, Any]]:
    for rule in app.url_map.iter_rules():
        yield rule, app.view_functions[rule.endpoint]


def _template(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def _describe_components(document: Document) -> None:
    components = document["components"]
    components["responses"] = {
        HTTPStatus(status).name: _problem_response(status) for status in _CODES
    }
    components["headers"] = _HEADERS
    components["schemas"].pop("Error", None)
    components["schemas"].pop("PaginationMetadata", None)
    components["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "Bearer": {"type": "http", "scheme": "bearer"},
    }


def _problem_response(status: int) -> Document:
    code, detail = _CODES[status]
    example: Document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": ID["example"],
    }
    if status == 400:
        example["errors"] = {"user_id": ["Missing data for required field."]}
    return {
        "description": detail,
        "headers": _references(["X-Request-ID", *_PROBLEM_HEADERS.get(status, ())]),
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": example,
            }
        },
    }


def _references(names: list[str]) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _complete(operation: Document, *, rule: str, view: Any, writes: bool) -> None:
    name = view.__name__
    operation["operationId"] = name
    for status in ("default", "400"):  # flask-smorest's own error schema
        operation["responses"].pop(status, None)
    guarded = needs_key(rule)
    operation["security"] = [{"ApiKey": []}, {"Bearer": []}] if guarded else []
    if name == "upload_document":
        operation["requestBody"] = _UPLOAD_BODY
    if name in BODIES:
        media_type, example = BODIES[name]
        operation["responses"]["200"]["content"][media_type]["example"] = example
    operation.setdefault("parameters", []).extend(_PARAMETERS.get(name, ()))
    if guarded:
        _complete_guarded(operation, rule=rule, view=view, writes=writes)
    else:
        _add_responses(operation["responses"], name=name, statuses=set(), headers=["X-Request-ID"])


def _complete_guarded(operation: Document, *, rule: str, view: Any, writes: bool) -> None:
    name, policy = view.__name__, policy_of(view)
    scopes = " or ".join(f"`{scope}`" for scope in policy.scopes)
    operation["x-required-scopes"] = list(policy.scopes)
    operation["description"] = f"{operation.get('description', '')}\n\nScope: {scopes}.".strip()
    headers = ["X-Request-ID", *_LIMIT_HEADERS]
    statuses = {*_COMMON_STATUSES, *_STATUSES_OF_OPERATIONS.get(name, ())}
    if "<" in rule:
        statuses.add(404)
    if "requestBody" in operation:
        statuses |= {408, 413, 415}
    if writes:
        statuses.add(507)
    if policy.cost == "chat":
        operation["responses"]["200"]["content"][EVENT_STREAM]["example"] = TURN_EVENTS
        statuses |= {404, 409, 502, 504}
    if policy.is_idempotent:
        operation["parameters"].append(_KEY_PARAMETER)
        statuses |= {409, 413, 422}
        headers.append("Idempotent-Replayed")
    _add_responses(operation["responses"], name=name, statuses=statuses, headers=headers)


def _add_responses(
    responses: Document, *, name: str, statuses: set[int], headers: list[str]
) -> None:
    for status, response in responses.items():
        own = _ANSWER_HEADERS.get(name, {}).get(status, [])
        response["headers"] = _references(headers + own)
    for code in sorted(statuses):
        responses[str(code)] = {"$ref": f"#/components/responses/{HTTPStatus(code).name}"}
