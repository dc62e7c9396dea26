"""The service's HTTP API, as the page needs it. The only file that knows URLs."""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import quote

import httpx
from httpx_sse import EventSource, SSEError

from ui.config import Config

Json = dict[str, Any]

PAGE_SIZE = 100  # the API's largest
# The API promises a comment line every 15 s; a stream silent for longer is dead.
STREAM_SILENCE_SECONDS = 45
_TLS = httpx.create_ssl_context()  # once: it takes a tenth of a second
_TIMEOUT = httpx.Timeout(15, connect=3)
_UPLOAD_TIMEOUT = httpx.Timeout(300, connect=3)
_STREAM_TIMEOUT = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=3)


@dataclass
class ApiError(Exception):
    """The API said no, or said nothing.

    `code` is the API's own, or `unreachable` (no connection), `broken_off` (an
    answer that ended early) or `unexpected` (no problem+json). `retry_after` is
    in seconds.
    """

    code: str
    detail: str
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    errors: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upload:
    """An accepted document; `poll_after` is in seconds, None if nothing is under way."""

    document: Json
    job: Json
    duplicate: bool
    poll_after: float | None


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """A server-sent event of a chat turn: its name and its JSON."""

    name: str
    data: Json


@dataclass(frozen=True, slots=True)
class Listing:
    """The first rows of a list, and how many there are in all."""

    items: list[Json]
    total: int


def new_key() -> str:
    """A fresh `Idempotency-Key`: one per thing a user does, kept over its repeats."""
    return uuid.uuid4().hex


class ApiClient:
    """Each method is one call (or one walk over pages) and raises ApiError.

    Safe to share between threads. POSTs take the `key` that makes repeating them harmless.
    """

    def __init__(self, config: Config, *, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self._http = httpx.Client(
            base_url=config.api_url,
            headers={"X-API-Key": config.api_key},
            timeout=timeout,
            transport=httpx.HTTPTransport(
                verify=_TLS, retries=1
            ),  # of connecting, never of a request
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def list_sessions(
        self, *, user_id: str, limit: int = 50, favorites_only: bool = False
    ) -> Listing:
        """The user's conversations, most recently active first."""
        params = {"user_id": user_id, "limit": limit}
        if favorites_only:
            params["is_favorite"] = "true"
        return _listing(self._json("GET", "/api/v1/sessions", params=params))

    def get_session(self, session_id: str) -> Json:
        return self._json("GET", _path("sessions", session_id))

    def create_session(self, *, user_id: str, title: str | None, key: str) -> Json:
        body = {"user_id": user_id} | ({"title": title} if title else {})
        return self._json("POST", "/api/v1/sessions", json=body, key=key)

    def rename_session(self, session_id: str, *, title: str) -> Json:
        return self._json("PUT", _path("sessions", session_id), json={"title": title})

    def set_favorite(self, session_id: str, *, is_favorite: bool) -> Json:
        path = _path("sessions", session_id, "favorite")
        return self._json("PATCH", path, json={"is_favorite": is_favorite})

    def delete_session(self, session_id: str) -> None:
        self._send("DELETE", _path("sessions", session_id))

    def recent_messages(self, session_id: str, *, limit: int = PAGE_SIZE) -> Listing:
        """The last messages of a conversation, oldest first."""
        params = {"order": "desc", "limit": limit}
        page = _listing(self._json("GET", _path("sessions", session_id, "messages"), params=params))
        return Listing(page.items[::-1], page.total)

    def documents_in_reach(self, *, user_id: str, session_id: str | None) -> list[Json]:
        """What a question in this conversation is answered from, newest first.

        Those of the user, those attached to the session, and the shared ones.
        """
        everything = self._documents()
        found = [item for item in everything.items if _in_reach(item, user_id, session_id)]
        if everything.total > len(everything.items):
            found += self._documents(user_id=user_id).items
            found += self._documents(session_id=session_id).items if session_id else []
        unique = {item["id"]: item for item in found}
        return sorted(unique.values(), key=lambda item: str(item["created_at"]), reverse=True)

    def upload_document(
        self,
        file: IO[bytes],
        *,
        filename: str,
        user_id: str | None = None,
        session_id: str | None = None,
        key: str,
    ) -> Upload:
        """Send a PDF. `key` also makes the body's bytes the same at every repeat."""
        owners = {"user_id": user_id, "session_id": session_id}
        file.seek(0)
        response = self._send(
            "POST",
            "/api/v1/documents",
            data={name: value for name, value in owners.items() if value},
            files={"file": (filename, file, "application/pdf")},
            headers={"Content-Type": f"multipart/form-data; boundary={key}"},
            timeout=_UPLOAD_TIMEOUT,
            key=key,
        )
        body = _body(response)
        under_way = response.status_code == httpx.codes.ACCEPTED
        return Upload(
            document=body["document"],
            job=body["job"],
            duplicate=bool(body.get("duplicate")),
            poll_after=(_retry_after(response) or 1.0) if under_way else None,
        )

    def delete_document(self, document_id: str) -> None:
        self._send("DELETE", _path("documents", document_id))

    def get_job(self, job_id: str) -> tuple[Json, float | None]:
        """The job, and how many seconds to wait before asking again if the API says so."""
        response = self._send("GET", _path("jobs", job_id))
        return _body(response), _retry_after(response)

    def failed_jobs(self) -> list[Json]:
        """The jobs that failed lately: why, and of which documents."""
        params = {"state": "failed", "limit": PAGE_SIZE}
        return _listing(self._json("GET", "/api/v1/jobs", params=params)).items

    def chat(self, session_id: str, *, message: str, key: str) -> Iterator[ChatEvent]:
        """Ask, and yield the turn's events as they arrive, up to its last one.

        Closing the iterator hangs up. An `error` event is raised as ApiError;
        so is a stream that ends without a last event (`broken_off`).
        """
        request = self._http.build_request(
            "POST",
            _path("sessions", session_id, "chat"),
            json={"message": message, "stream": True},
            headers={"Accept": "text/event-stream", "Idempotency-Key": key},
            timeout=_STREAM_TIMEOUT,
        )
        with _reachable():
            response = self._http.send(request, stream=True)
        try:
            if response.is_error:
                with _reachable():
                    response.read()
                raise _problem(response)
            yield from _chat_events(response)
        finally:
            response.close()

    def _json(self, method: str, path: str, **options: Any) -> Json:
        return _body(self._send(method, path, **options))

    def _send(
        self, method: str, path: str, *, key: str | None = None, **options: Any
    ) -> httpx.Response:
        headers = options.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        with _reachable():
            response = self._http.request(method, path, headers=headers, **options)
        if not response.is_success:
            raise _problem(response)
        return response

    def _documents(self, **filters: str) -> Listing:
        params = {"limit": PAGE_SIZE} | filters
        return _listing(self._json("GET", "/api/v1/documents", params=params))


def _chat_events(response: httpx.Response) -> Iterator[ChatEvent]:
    try:
        with _reachable(code="broken_off"):
            for event in EventSource(response).iter_sse():
                if not event.data:  # what a comment line leaves
                    continue
                data = json.loads(event.data)
                if event.event == "error":
                    raise _problem_from(data, status=None, request_id=None)
                yield ChatEvent(event.event, data)
                if event.event == "message_completed":
                    return
    except (SSEError, json.JSONDecodeError, UnicodeDecodeError):
        raise ApiError("unexpected", "The service sent something unreadable.") from None
    raise ApiError("broken_off", "The answer ended early.")


@contextmanager
def _reachable(*, code: str = "unreachable") -> Iterator[None]:
    """Turns what httpx raises into ApiError."""
    try:
        yield
    except httpx.ConnectError:
        raise ApiError("unreachable", "No connection.") from None
    except httpx.TimeoutException:
        raise ApiError("no_answer", "The service took too long to answer.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiError(code, type(error).__name__) from None


def _path(*parts: str) -> str:
    """An API path; a part is one segment whatever it holds."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _body(response: httpx.Response) -> Json:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(
            "unexpected", "The service sent something unreadable.", status=response.status_code
        )
    return body


def _listing(page: Json) -> Listing:
    return Listing(items=list(page.get("items", [])), total=int(page.get("total", 0)))


def _in_reach(document: Json, user_id: str, session_id: str | None) -> bool:
    owner, session = document.get("user_id"), document.get("session_id")
    if owner is None and session is None:
        return True
    return owner == user_id or (session is not None and session == session_id)


def _problem(response: httpx.Response) -> ApiError:
    """The error an RFC 9457 body describes; any other body gives `unexpected`."""
    request_id = response.headers.get("X-Request-ID")
    try:
        body = response.json()
    except ValueError:
        body = None
    error = _problem_from(
        body if isinstance(body, dict) else {}, status=response.status_code, request_id=request_id
    )
    error.retry_after = _retry_after(response)
    return error


def _problem_from(body: Json, *, status: int | None, request_id: str | None) -> ApiError:
    errors = body.get("errors")
    return ApiError(
        code=str(body.get("code") or "unexpected"),
        detail=str(body.get("detail") or body.get("title") or ""),
        status=status if status is not None else body.get("status"),
        request_id=body.get("request_id") or request_id,
        errors=errors if isinstance(errors, dict) else {},
    )


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
