"""Turns errors into problems (RFC 9457): core's categories, Werkzeug's exceptions, and bugs."""

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from flask import Flask, Response
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException

from core import errors
from core.telemetry import get_logger
from web.http.request_state import request_state

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2

STATUS: dict[type[errors.RagError], int] = {
    errors.Invalid: 400,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Unsupported: 415,
    errors.Unprocessable: 422,
    errors.ProviderError: 502,
    errors.ProviderTimeout: 504,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    errors.DocumentError: 409,  # e.g. a page image of a page that cannot be drawn
}

_HTTP_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    429: "rate_limited",
    431: "headers_too_large",
    500: "internal_error",
}
# These replace Werkzeug's descriptions, which may quote the request.
_HTTP_DETAILS = {
    400: "The request is malformed.",
    401: "A valid API key is required: X-API-Key, or Authorization: Bearer.",
    404: "There is nothing at this address.",
    405: "This address does not support the method.",
    408: "The body came too slowly.",
    413: "The request is too large.",
    414: "The address is too long.",
    415: "The body's media type is not supported here.",
    416: "The range lies outside the content.",
    431: "The headers are too large.",
    429: "Too many requests for this key; see Retry-After.",
    500: "Something went wrong here; the log has it under the request id.",
}
_KEPT_HEADERS = frozenset({"allow", "content-range", "retry-after", "www-authenticate"})

Errors = Mapping[str, Sequence[str]]


class TooManyStreams(errors.Unavailable):
    """All threads for long responses are in use."""

    default_code = "too_many_streams"


class UnsupportedCoding(errors.Unsupported):
    """The body is compressed. The response names the accepted coding (RFC 9110, 15.5.16)."""

    headers: Mapping[str, str] = {"Accept-Encoding": "identity"}


def status_of(error: errors.RagError) -> int:
    """Return the status of the error's nearest category in STATUS; 500 if there is none."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem_body(
    *, status: int, code: str, detail: str, request_id: str, fields: Errors | None = None
) -> dict[str, Any]:
    """Return the members of a problem. Its `type` is `about:blank`: only the status matters."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    if fields:
        body["errors"] = {path: list(messages) for path, messages in fields.items()}
    return body


def problem(
    *,
    status: int,
    code: str,
    detail: str,
    fields: Errors | None = None,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
) -> Response:
    """Return a problem as the response to the current request, and log its code."""
    state = request_state()
    state.problem_code = code
    body = problem_body(
        status=status, code=code, detail=detail, request_id=state.request_id, fields=fields
    )
    return Response(json.dumps(body), status=status, mimetype=MEDIA_TYPE, headers=headers)


def describe(error: errors.RagError, *, request_id: str) -> dict[str, Any]:
    """Return the members of a problem for a core error, for the `error` event of a stream."""
    return problem_body(
        status=status_of(error), code=error.code, detail=error.detail, request_id=request_id
    )


# The status of an answer's stored error, by its code, because its class is not stored.
_STORED_STATUS = {
    "provider_timeout": errors.ProviderTimeout,
    "database_unavailable": errors.Unavailable,
    "storage_full": errors.StorageFull,
    "answer_interrupted": errors.ProviderError,
    "internal_error": errors.RagError,
}


def stored_error(stored: Mapping[str, str]) -> errors.RagError:
    """Rebuild the error that ended an answer from its stored `{code, detail}`.

    All codes except those in `_STORED_STATUS` are a provider's.
    """
    kind = _STORED_STATUS.get(stored["code"], errors.ProviderError)
    return kind(stored["detail"], code=stored["code"])


def respond(error: Exception) -> Response:
    """Return the response to any exception. Log an unexpected one with its traceback."""
    if isinstance(error, errors.RagError):
        return _from_core(error)
    if isinstance(error, HTTPException):
        return _from_http(error)
    if isinstance(error, (ParseException, NoMoreData)):
        # gunicorn parses a chunked body while the view reads it. Here the chunks are malformed
        # or incomplete.
        return problem(status=400, code=_HTTP_CODES[400], detail=_HTTP_DETAILS[400])
    log.error("request_failed", exc_info=error)
    return problem(status=500, code="internal_error", detail=_HTTP_DETAILS[500])


def _from_core(error: errors.RagError) -> Response:
    status = status_of(error)
    headers = dict(getattr(error, "headers", {}))
    wait = getattr(error, "retry_after", None)
    if status == 503 or wait:
        headers["Retry-After"] = str(max(1, round(wait or RETRY_SECONDS)))
    return problem(
        status=status,
        code=error.code,
        detail=error.detail,
        fields=getattr(error, "errors", None),
        headers=headers,
    )


def _from_http(error: HTTPException) -> Response:
    if error.response is not None:
        return cast(Response, error.response)
    status = error.code or 500
    code, detail = default_problem(status)
    headers = [item for item in error.get_headers() if item[0].lower() in _KEPT_HEADERS]
    return problem(status=status, code=code, detail=detail, headers=headers)


def default_problem(status: int) -> tuple[str, str]:
    """Return code and detail of a problem of which only the status is known."""
    phrase = HTTPStatus(status).phrase
    code = _HTTP_CODES.get(status) or re.sub(r"\W+", "_", phrase.lower())
    return code, _HTTP_DETAILS.get(status, phrase)


def init_app(app: Flask) -> None:
    """Register the handlers. Call it after flask-smorest's `Api`, to replace its handler."""
    app.register_error_handler(HTTPException, respond)
    app.register_error_handler(Exception, respond)
