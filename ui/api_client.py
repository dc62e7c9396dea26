"""Client for the service's HTTP API. No other file of the page knows URLs."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote

import httpx

from ui.config import Config
from ui.transport import (
    ApiError,
    ApiEvent,
    Json,
    body_of,
    problem,
    reachable,
    read_events,
    read_turn,
)

__all__ = ["ApiClient", "ApiError", "ApiEvent", "Json", "Listing", "Upload", "new_key"]

PAGE_SIZE = 100  # the API's maximum
# The API sends a comment line at least every 15 s, so a stream that is silent longer is broken.
STREAM_SILENCE_SECONDS = 45
_TLS = httpx.create_ssl_context()  # created once, because it takes a tenth of a second
_TIMEOUT = httpx.Timeout(15, connect=3)
_UPLOAD_TIMEOUT = httpx.Timeout(300, connect=3)
_STREAM_TIMEOUT = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=3)
_WATCH_TIMEOUT = httpx.Timeout(9, connect=3)  # the API's heartbeat comes every 10 s


@dataclass(frozen=True, slots=True)
class Upload:
    """An accepted document. `duplicate` is true if the same file was uploaded before."""

    document: Json
    job: Json
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The first rows of a list, and the total number of rows."""

    items: list[Json]
    total: int


def new_key() -> str:
    """Return a new `Idempotency-Key`. Use one per action of the user, also for its repeats."""
    return uuid.uuid4().hex


class ApiClient:
    """Each method makes one call, or one per page, and raises ApiError.

    Threads can share a client. POSTs take a `key`, so they can be repeated safely.
    """

    def __init__(self, config: Config, *, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self._http = httpx.Client(
            base_url=config.api_url,
            headers={"X-API-Key": config.api_key},
            timeout=timeout,
            # It retries connecting, but never a request.
            transport=httpx.HTTPTransport(verify=_TLS, retries=1),
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    # Sessions

    def list_sessions(
        self, *, user_id: str, limit: int = 50, favorites_only: bool = False, q: str = ""
    ) -> Listing:
        """Return the user's conversations, most recently active first; `q` matches titles."""
        params: dict[str, Any] = {"user_id": user_id, "limit": limit}
        if favorites_only:
            params["is_favorite"] = "true"
        if q:
            params["q"] = q
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

    def export_session(self, session_id: str, *, format_: str) -> bytes:
        """Return the conversation as a file; `format_` is `markdown` or `json`."""
        path = _path("sessions", session_id, "export")
        return self._send("GET", path, params={"format": format_}).content

    # Messages

    def recent_messages(self, session_id: str, *, limit: int = PAGE_SIZE) -> Listing:
        """Return the last messages of a conversation, oldest first."""
        params = {"order": "desc", "limit": limit}
        page = _listing(self._json("GET", _path("sessions", session_id, "messages"), params=params))
        return Listing(page.items[::-1], page.total)

    def get_message(self, message_id: str) -> Json:
        return self._json("GET", _path("messages", message_id))

    def search_messages(self, *, user_id: str, q: str, limit: int = 20) -> list[Json]:
        """Search messages; return hits `{message, session_id, snippet}`, best first."""
        params = {"user_id": user_id, "q": q, "limit": limit}
        return _listing(self._json("GET", "/api/v1/messages/search", params=params)).items

    def select_answer(self, message_id: str, *, key: str) -> Json:
        """Make an alternative the current answer."""
        return self._json("POST", _path("messages", message_id, "select"), key=key)

    def rate(self, message_id: str, *, rating: str | None, comment: str = "") -> None:
        """Rate an answer `up` or `down`; None removes the rating."""
        path = _path("messages", message_id, "feedback")
        if rating is None:
            self._send("DELETE", path)
        else:
            body = {"rating": rating} | ({"comment": comment} if comment else {})
            self._send("PUT", path, json=body)

    # Turns

    def chat(
        self, session_id: str, *, message: str, key: str, document_ids: list[str] | None = None
    ) -> Iterator[ApiEvent]:
        """Ask, and yield the turn's events as they arrive, up to the last one.

        Closing the iterator disconnects, but the answer is still written. An `error` event
        raises ApiError, and so does a stream that ends early (`broken_off`).
        """
        body = {"message": message, "stream": True}
        if document_ids is not None:
            body["document_ids"] = document_ids
        return self._turn("POST", _path("sessions", session_id, "chat"), json=body, key=key)

    def follow(self, message_id: str, *, after: str = "") -> Iterator[ApiEvent]:
        """Yield the events of an answer that come after the event `after`."""
        params = {"starting_after": after} if after else {}
        return self._turn("GET", _path("messages", message_id, "stream"), params=params)

    def answer_again(self, message_id: str, *, how: str, key: str) -> Iterator[ApiEvent]:
        """Yield the events of a new answer; `how` is `retry` (after a failure) or `regenerate`."""
        path = _path("messages", message_id, how)
        return self._turn("POST", path, json={"stream": True}, key=key)

    def edit(self, message_id: str, *, content: str) -> Iterator[ApiEvent]:
        """Replace the user's last message, and yield the events of its new answer."""
        body = {"content": content, "stream": True}
        return self._turn("PUT", _path("messages", message_id), json=body)

    def cancel_answer(self, message_id: str, *, key: str) -> None:
        self._send("POST", _path("messages", message_id, "cancel"), key=key)

    # Documents

    def documents_in_reach(self, *, user_id: str, session_id: str | None) -> list[Json]:
        """Return the documents that this conversation can search, newest first, with jobs.

        They are the user's, those attached to the session, and the shared ones.
        """
        everything = self._documents()
        found = [item for item in everything.items if in_reach(item, user_id, session_id)]
        if everything.total > len(everything.items):
            found += self._documents(user_id=user_id).items
            found += self._documents(session_id=session_id).items if session_id else []
        unique = {item["id"]: item for item in found}
        return sorted(unique.values(), key=lambda item: str(item["created_at"]), reverse=True)

    @contextmanager
    def watch_documents(self) -> Iterator[Iterator[ApiEvent]]:
        """Open a stream of `document` events, for a `with` block.

        The iterator raises ApiError `no_answer` after some silence, so that the reader can check
        whether the stream is still needed.
        """
        path = "/api/v1/documents/events"
        with self._stream("GET", path, timeout=_WATCH_TIMEOUT) as response:
            yield read_events(response)

    def upload_document(
        self,
        file: IO[bytes],
        *,
        filename: str,
        user_id: str | None = None,
        session_id: str | None = None,
        key: str,
    ) -> Upload:
        """Send a PDF. `key` also sets the body's boundary, so that repeats have equal bytes."""
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
        body = body_of(response)
        return Upload(body["document"], body["job"], bool(body.get("duplicate")))

    def delete_document(self, document_id: str) -> None:
        self._send("DELETE", _path("documents", document_id))

    def reingest(self, document_id: str, *, key: str) -> None:
        self._send("POST", _path("documents", document_id, "reingest"), key=key)

    def download(self, document_id: str) -> bytes:
        """Return the uploaded PDF."""
        path = _path("documents", document_id, "content")
        return self._send("GET", path, timeout=_UPLOAD_TIMEOUT).content

    def page_image(self, document_id: str, page: int, *, highlight: str = "") -> bytes:
        """Return a page as PNG with a marked text."""
        params = {"highlight": highlight[:500]} if highlight else {}
        path = _path("documents", document_id, "pages", str(page), "image")
        return self._send("GET", path, params=params).content

    def get_job(self, job_id: str) -> Json:
        return self._json("GET", _path("jobs", job_id))

    def cancel_job(self, job_id: str, *, key: str) -> None:
        self._send("POST", _path("jobs", job_id, "cancel"), key=key)

    # HTTP

    def _json(self, method: str, path: str, **options: Any) -> Json:
        return body_of(self._send(method, path, **options))

    def _send(
        self, method: str, path: str, *, key: str | None = None, **options: Any
    ) -> httpx.Response:
        headers = options.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        with reachable():
            response = self._http.request(method, path, headers=headers, **options)
        if not response.is_success:
            raise problem(response)
        return response

    def _turn(self, method: str, path: str, **options: Any) -> Iterator[ApiEvent]:
        with self._stream(method, path, **options) as response:
            yield from read_turn(response)

    @contextmanager
    def _stream(
        self, method: str, path: str, *, key: str | None = None, **options: Any
    ) -> Iterator[httpx.Response]:
        headers = {"Accept": "text/event-stream"} | ({"Idempotency-Key": key} if key else {})
        options = {"timeout": _STREAM_TIMEOUT} | options
        request = self._http.build_request(method, path, headers=headers, **options)
        with reachable():
            response = self._http.send(request, stream=True)
        try:
            if response.is_error:
                with reachable():
                    response.read()
                raise problem(response)
            yield response
        finally:
            response.close()

    def _documents(self, **filters: str) -> Listing:
        params = {"limit": PAGE_SIZE, "include": "job"} | filters
        return _listing(self._json("GET", "/api/v1/documents", params=params))


def in_reach(document: Json, user_id: str, session_id: str | None) -> bool:
    """Whether a question of this user in this conversation can be answered from `document`."""
    owner, session = document.get("user_id"), document.get("session_id")
    if owner is None and session is None:
        return True
    return owner == user_id or (session is not None and session == session_id)


def _path(*parts: str) -> str:
    """Return an API path. Each part is quoted, so it is exactly one segment."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _listing(page: Json) -> Listing:
    return Listing(items=list(page.get("items", [])), total=int(page.get("total", 0)))
