"""Client for the service's HTTP API. No other file of `ragchat` knows URLs."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import httpx
from httpx_sse import EventSource, SSEError

from cli.errors import ApiError

Json = dict[str, Any]

PAGE_SIZE = 100  # the API's maximum
# The API sends a comment line at least every 15 s, so a stream that is silent longer is broken.
_STREAM_TIMEOUT = httpx.Timeout(45, connect=5)
_UPLOAD_TIMEOUT = httpx.Timeout(300, connect=5)
# The longest wait for repeated 429 and 503. A rate limit's window is a minute.
_PATIENCE_SECONDS = 150.0
_BUSY = frozenset({429, 503})
_BROKEN = frozenset({"broken_off", "unreachable"})
_RESUME_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)


class ApiClient:
    """Each method makes one call, or one per page, and raises ApiError.

    While the service is busy (429, 503), a call waits for `Retry-After`, in total at most 150 s,
    and passes the seconds to `on_wait`. Each POST has an Idempotency-Key, so it can be repeated
    safely.
    """

    def __init__(
        self, *, url: str, api_key: str, on_wait: Callable[[float], None] = lambda _: None
    ) -> None:
        self._on_wait = on_wait
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers={"X-API-Key": api_key},
            timeout=httpx.Timeout(30, connect=5),
            trust_env=not _is_local(url),  # no proxy for a service on this machine
        )

    def close(self) -> None:
        self._http.close()

    def create_session(self, *, user_id: str) -> Json:
        return self._json("POST", _path("sessions"), json={"user_id": user_id})

    def list_sessions(self, *, limit: int, **filters: Any) -> Iterator[Json]:
        return self._walk(_path("sessions"), limit=limit, **filters)

    def get_session(self, session_id: str) -> Json:
        return self._json("GET", _path("sessions", session_id))

    def delete_session(self, session_id: str) -> None:
        self._send("DELETE", _path("sessions", session_id))

    def list_messages(self, session_id: str, *, limit: int) -> Iterator[Json]:
        return self._walk(_path("sessions", session_id, "messages"), limit=limit)

    def export_session(self, session_id: str, *, format_: str) -> str:
        """Return the conversation as Markdown or as JSON text."""
        params = {"format": format_}
        return self._send("GET", _path("sessions", session_id, "export"), params=params).text

    def chat(self, session_id: str, *, message: str, **options: Any) -> Iterator[tuple[str, Json]]:
        """Ask, and yield (event, data) pairs as they arrive, up to `message_completed`.

        If the stream breaks off, this resumes it after the last event, because the service still
        writes the answer. If that fails too, it raises `broken_off`. An `error` event raises
        ApiError. Closing the iterator disconnects.
        """
        body = {"message": message, "stream": True} | options
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        events = self._stream("POST", _path("sessions", session_id, "chat"), headers, json=body)
        question, last_id = None, ""
        for wait in (*_RESUME_SECONDS, None):
            try:
                for event_id, name, data in events:
                    if name == "message_created":
                        question = data["user_message"]["id"]
                    last_id = event_id
                    yield name, data
                return
            except ApiError as error:
                if wait is None or question is None or error.code not in _BROKEN:
                    raise
                time.sleep(wait)
            path = _path("messages", question, "stream")
            events = self._stream("GET", path, {"Last-Event-ID": last_id})

    def _stream(
        self, method: str, path: str, headers: dict[str, str], **options: Any
    ) -> Iterator[tuple[str, str, Json]]:
        """Yield an answer's events as (id, name, data)."""
        accept = {"Accept": "text/event-stream"}
        request = self._http.build_request(
            method, path, headers=headers | accept, timeout=_STREAM_TIMEOUT, **options
        )
        with closing(
            self._retry_while_busy(lambda: self._http.send(request, stream=True))
        ) as response:
            yield from _events(response)

    def cancel_answer(self, session_id: str) -> None:
        """Stop the answer that is being written in a session, if any."""
        message_id = self.get_session(session_id).get("active_message_id")
        if message_id:
            self._send("POST", _path("messages", message_id, "cancel"))

    def upload(
        self,
        path: Path,
        *,
        user_id: str | None,
        session_id: str | None,
        on_bytes: Callable[[int], None],
    ) -> Json:
        """Send a PDF and return the response's body. `on_bytes` gets the number of bytes read."""
        owners = {"user_id": user_id, "session_id": session_id}
        form = {name: value for name, value in owners.items() if value}
        key = uuid.uuid4().hex
        with path.open("rb") as file:
            return self._json(
                "POST",
                _path("documents"),
                # A new file object for each try, because the last try has read the old one.
                make_options=lambda: {"files": {"file": _part(path, file, on_bytes)}},
                data=form,
                timeout=_UPLOAD_TIMEOUT,
                headers={"Idempotency-Key": key},
            )

    def list_documents(self, *, limit: int, **filters: Any) -> Iterator[Json]:
        """Yield documents with their jobs, newest first."""
        return self._walk(_path("documents"), limit=limit, include="job", **filters)

    def delete_document(self, document_id: str) -> None:
        self._send("DELETE", _path("documents", document_id))

    def reingest_document(self, document_id: str) -> Json:
        return self._json("POST", _path("documents", document_id, "reingest"))

    def download_document(self, document_id: str, file: IO[bytes]) -> None:
        """Write the PDF to `file`."""
        path = _path("documents", document_id, "content")
        file.write(self._send("GET", path, timeout=_UPLOAD_TIMEOUT).content)

    def list_jobs(self, *, limit: int, **filters: Any) -> Iterator[Json]:
        return self._walk(_path("jobs"), limit=limit, **filters)

    def cancel_job(self, job_id: str) -> Json:
        return self._json("POST", _path("jobs", job_id, "cancel"))

    def _walk(self, path: str, *, limit: int, **params: Any) -> Iterator[Json]:
        """Yield at most `limit` items of a list, page by page."""
        given = {name: value for name, value in params.items() if value is not None}
        cursor: str | None = None
        while limit > 0:
            size = {"limit": min(limit, PAGE_SIZE)} | ({"cursor": cursor} if cursor else {})
            page = self._json("GET", path, params=given | size)
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _json(self, method: str, path: str, **options: Any) -> Json:
        response = self._send(method, path, **options)
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise _not_the_api(response)
        return body

    def _send(
        self,
        method: str,
        path: str,
        *,
        make_options: Callable[[], Json] = dict,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        if method == "POST" and headers is None:
            headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self._retry_while_busy(
            lambda: self._http.request(method, path, headers=headers, **options, **make_options())
        )

    def _retry_while_busy(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """Call `send`, again while the service is busy, and return its response."""
        patience = _PATIENCE_SECONDS
        while True:
            with _reachable():
                response = send()
                if not response.is_success:
                    response.read()
            wait = _retry_after(response)
            if response.status_code not in _BUSY or wait > patience:
                break
            patience -= wait
            self._on_wait(wait)
            time.sleep(wait)
        if not response.is_success:
            raise _problem(response)
        return response


class _CountingFile:
    """A file that calls `on_bytes` with the bytes read so far."""

    def __init__(self, file: IO[bytes], on_bytes: Callable[[int], None]) -> None:
        self._file, self._on_bytes = file, on_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._on_bytes(self._file.tell())
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _part(path: Path, file: IO[bytes], on_bytes: Callable[[int], None]) -> Any:
    file.seek(0)
    return (path.name, _CountingFile(file, on_bytes), "application/pdf")


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path(*parts: str) -> str:
    """Return an API path. Each part is quoted, so it is exactly one segment."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _events(response: httpx.Response) -> Iterator[tuple[str, str, Json]]:
    try:
        with _reachable(code="broken_off"):
            for event in EventSource(response).iter_sse():
                if not event.data:  # a comment line
                    continue
                data = json.loads(event.data)
                if event.event == "error":
                    raise _problem_from(data, status=data.get("status"), request_id=None)
                yield event.id, event.event, data
                if event.event == "message_completed":
                    return
    except (SSEError, json.JSONDecodeError, UnicodeDecodeError):
        raise _not_the_api(response) from None
    raise ApiError("broken_off", "The answer ended early.")


@contextmanager
def _reachable(*, code: str = "unreachable") -> Iterator[None]:
    """Turn httpx's errors into ApiError."""
    try:
        yield
    except httpx.TimeoutException:
        raise ApiError(code, "The service took too long to answer.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiError(code, f"The service cannot be reached: {error}.") from None


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 2.0


def _problem(response: httpx.Response) -> ApiError:
    request_id = response.headers.get("X-Request-ID")
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "code" not in body:
        return _not_the_api(response)
    return _problem_from(body, status=response.status_code, request_id=request_id)


def _problem_from(body: Json, *, status: int | None, request_id: str | None) -> ApiError:
    return ApiError(
        code=str(body.get("code") or "unexpected"),
        detail=str(body.get("detail") or ""),
        status=status,
        request_id=body.get("request_id") or request_id,
        errors=body.get("errors") or {},
    )


def _not_the_api(response: httpx.Response) -> ApiError:
    detail = (
        f"{response.url.copy_with(query=None)} answered {response.status_code}, not as the API."
    )
    return ApiError("unexpected", detail)
