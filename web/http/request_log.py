"""Gives each request an id, and writes one JSON log line per request.

The middleware wraps the whole app, so it also logs requests that fail inside Flask. It does not
log query strings, bodies or keys, because they contain users' texts and secrets.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import structlog
from uuid_utils.compat import uuid7

from core.telemetry import DatabaseStats, get_logger, measure_database
from web.http import metrics
from web.http.deferred import DeferredBody
from web.http.request_state import RequestState, attach

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = get_logger("web.request")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_DEBUG_PATHS = frozenset({"/health/live", "/health/ready", "/health", "/metrics"})


class RequestLog:
    """WSGI middleware that gives each request an id and logs it when its response is sent.

    The line includes fields from the request's state (`web.http.request_state`), which other
    layers fill. Each response gets those of `headers` that it lacks.
    """

    def __init__(self, app: "WSGIApplication", *, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = [(name.lower(), (name, value)) for name, value in headers.items()]

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        exchange = _Exchange(environ)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            exchange.status = int(status[:3])
            given = {name.lower() for name, _ in headers}
            headers += [header for name, header in self._headers if name not in given]
            headers.append(("X-Request-ID", exchange.state.request_id))
            return start_response(status, headers, exc_info)

        try:
            return ResponseBody(self._app(environ, start), exchange)
        except BaseException:
            exchange.finish()
            raise


class _Exchange:
    """One request with its log context, which is bound to the thread until `finish`."""

    def __init__(self, environ: "WSGIEnvironment") -> None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid7())
        self.state = RequestState(request_id=request_id)
        self.status, self.sent = 500, 0
        self.started = time.perf_counter()
        self._environ, self._stack = environ, ExitStack()
        attach(environ, self.state)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        self._database: DatabaseStats = self._stack.enter_context(measure_database())

    def detach(self) -> None:
        """Unbind the log context: the request's thread leaves, and another calls `finish`."""
        self._stack.close()
        structlog.contextvars.clear_contextvars()

    def finish(self) -> None:
        seconds = time.perf_counter() - self.started
        self._stack.close()
        environ = self._environ
        metrics.observe_request(
            method=environ["REQUEST_METHOD"],
            route=self.state.route,
            status=self.status,
            seconds=seconds,
        )
        write = log.debug if environ["PATH_INFO"] in _DEBUG_PATHS else log.info
        write(
            "request",
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"].encode("latin-1").decode(errors="replace"),
            status=self.status,
            ms=round(seconds * 1000, 2),
            db_statements=self._database.statements,
            db_ms=round(self._database.seconds * 1000, 2),
            bytes_sent=self.sent,
            remote=environ.get("REMOTE_ADDR"),
            **_log_fields(self.state),
        )
        structlog.contextvars.clear_contextvars()


def _log_fields(state: RequestState) -> dict[str, str | None]:
    """Return the fields of the log line about route, caller and outcome."""
    noted = {"route": state.route}
    if state.principal is not None:
        noted |= {"tenant": state.principal.tenant_id, "key": state.principal.name}
    if state.problem_code is not None:
        noted["code"] = state.problem_code
    return noted


class ResponseBody:
    """The response's body. The server always closes it (PEP 3333), which writes the log line."""

    def __init__(self, body: Iterable[bytes], exchange: _Exchange) -> None:
        self._body: Iterable[bytes] | DeferredBody = body
        self._exchange = exchange

    @property
    def deferred(self) -> DeferredBody | None:
        """The deferred body, if the response is not ready yet (`web.http.deferred`)."""
        return self._body if isinstance(self._body, DeferredBody) else None

    def detach(self) -> None:
        """Release the request's thread; other threads call `begin`, `count` and `close`."""
        self._exchange.detach()

    def begin(self) -> Iterable[bytes]:
        """Send the head of a deferred response, and return its body.

        The caller counts the sent bytes and closes the body.
        """
        assert isinstance(self._body, DeferredBody)
        with structlog.contextvars.bound_contextvars(request_id=self._exchange.state.request_id):
            self._body = self._body.begin()
        return self._body

    def count(self, size: int) -> None:
        """Add to the number of sent bytes in the log line."""
        self._exchange.sent += size

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            self._exchange.sent += len(piece)
            yield piece

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._exchange.finish()
