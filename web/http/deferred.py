"""Deferred responses: responses that become ready later, while no thread waits for them.

A view returns a DeferredResponse. Our gunicorn worker puts DETACH into the WSGI environ. It
then frees the request's thread at once and builds the response when it is ready; an event loop
writes event streams (`web.server.streams`). With any other WSGI server, the request's thread
waits for the response.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

from flask import Response, copy_current_request_context

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

DETACH = "rag.can_detach"


class Pending(Protocol):
    """Something that a response waits for."""

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` once `respond` will not wait. It must not block."""
        ...

    def respond(self) -> Response:
        """Wait for the response and return it. An error becomes a response too."""
        ...

    def abandon(self) -> None:
        """Handle that the client has disconnected. May block."""
        ...


class EventSource(Protocol):
    """A stream's events, for a reader that must not block."""

    def read(self) -> list[bytes]:
        """Return the encoded events that can be sent now."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether all events have been read."""
        ...

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` now, and whenever there is more to read. It must not block."""
        ...

    def close(self) -> None:
        """Stop reading: the stream is over, or its client has disconnected. May block."""
        ...


class DeferredResponse(Response):
    """Placeholder for a response that is not ready. Keeps the headers that are set on it."""

    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self.pending = pending
        # Another thread builds the response, so it needs the request's context.
        self._respond = copy_current_request_context(pending.respond)

    @property
    def is_streamed(self) -> bool:
        """True, so that Werkzeug and extensions do not read the missing body."""
        return True

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = DeferredBody(self, environ, start_response)
        return body if environ.get(DETACH) else body.begin()

    def decide(self) -> Response:
        """Wait for the real response, and add this one's headers to it."""
        response = self._respond()
        decided = {name.lower() for name, _ in response.headers} | {"content-type"}
        for name, value in self.headers:
            if name.lower() not in decided and name.lower() != "content-length":
                response.headers.add(name, value)
        return response


class DeferredBody:
    """The body of a DeferredResponse before the response is ready."""

    def __init__(
        self,
        deferred: DeferredResponse,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
    ) -> None:
        self.pending = deferred.pending
        self._deferred, self._environ, self._start = deferred, environ, start_response

    def begin(self) -> Iterable[bytes]:
        """Wait for the response, pass its head to `start_response`, and return its body."""
        return self._deferred.decide()(self._environ, self._start)

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("a server that detaches responses calls begin()")


def source_of(body: Any) -> EventSource | None:
    """Return a WSGI body that is an event source, None for any other body.

    Werkzeug wraps a body unless its response has `direct_passthrough`.
    """
    return cast(EventSource, body) if hasattr(body, "subscribe") else None
