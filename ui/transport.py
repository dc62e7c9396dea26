"""HTTP for the page's API client: one error class, and server-sent events."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from httpx_sse import EventSource, SSEError

Json = dict[str, Any]


@dataclass
class ApiError(Exception):
    """The API refused a request, or did not respond.

    `code` is the API's code, or `unreachable` (no connection), `no_answer` (a timeout),
    `broken_off` (a stream that ended early) or `unexpected` (a response that is not
    problem+json). `retry_after` is in seconds.
    """

    code: str
    detail: str
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    errors: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiEvent:
    """A server-sent event: its name, its JSON, and its id ("" if it has none)."""

    name: str
    data: Json
    id: str = ""


def read_events(response: httpx.Response) -> Iterator[ApiEvent]:
    """Yield the events of a stream until it ends. Raises ApiError."""
    try:
        with reachable(code="broken_off"):
            for event in EventSource(response).iter_sse():
                if event.data:  # a comment line leaves an event without data
                    yield ApiEvent(event.event, json.loads(event.data), event.id)
    except (SSEError, json.JSONDecodeError, UnicodeDecodeError):
        raise ApiError("unexpected", "The service sent something unreadable.") from None


def read_turn(response: httpx.Response) -> Iterator[ApiEvent]:
    """Yield the events of an answer, up to `message_completed`.

    Raises ApiError for an `error` event, and for a stream that ends early (`broken_off`).
    """
    for event in read_events(response):
        if event.name == "error":
            raise answer_error(event.data)
        yield event
        if event.name == "message_completed":
            return
    raise ApiError("broken_off", "The answer ended early.")


def answer_error(data: Json) -> ApiError:
    """Return the error in an `error` event: a problem, or the failed message's `error`."""
    failed = data.get("assistant_message") or {}
    if isinstance(failed, dict) and isinstance(failed.get("error"), dict):
        data = failed["error"]
    return problem_from(data, status=None, request_id=None)


@contextmanager
def reachable(*, code: str = "unreachable") -> Iterator[None]:
    """Turn httpx's errors into ApiError."""
    try:
        yield
    except httpx.ConnectError:
        raise ApiError("unreachable", "No connection.") from None
    except httpx.TimeoutException:
        raise ApiError("no_answer", "The service took too long to answer.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiError(code, type(error).__name__) from None


def body_of(response: httpx.Response) -> Json:
    """Return the JSON object of a response. Raises ApiError."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(
            "unexpected", "The service sent something unreadable.", status=response.status_code
        )
    return body


def problem(response: httpx.Response) -> ApiError:
    """Return the error that an RFC 9457 body describes, or `unexpected` for any other body."""
    request_id = response.headers.get("X-Request-ID")
    try:
        body = response.json()
    except ValueError:
        body = None
    error = problem_from(
        body if isinstance(body, dict) else {}, status=response.status_code, request_id=request_id
    )
    error.retry_after = retry_after(response)
    return error


def problem_from(body: Json, *, status: int | None, request_id: str | None) -> ApiError:
    """Return the error that a problem's JSON describes."""
    errors = body.get("errors")
    return ApiError(
        code=str(body.get("code") or "unexpected"),
        detail=str(body.get("detail") or body.get("title") or ""),
        status=status if status is not None else body.get("status"),
        request_id=body.get("request_id") or request_id,
        errors=errors if isinstance(errors, dict) else {},
    )


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds in the response's Retry-After, if any."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
