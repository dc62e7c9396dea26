"""Responses that are decided later, while no thread waits for them.

A view returns a DeferredResponse. Under our gunicorn worker, which puts DETACH into the WSGI
environ, the request's thread is free at once: the worker asks for the response when it is
ready, and an event stream is written by an event loop (`web.server.streams`). Under any other
WSGI server the response is waited for.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

from flask import Response, copy_current_request_context

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

DETACH = "rag.can_detach"


class Pending(Protocol):
    """What a response waits for."""

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback`, which must not block, once `respond` does not wait any more."""
        ...

    def respond(self) -> Response:
        """The response; waits for it. Errors are responses too."""
        ...

    def abandon(self) -> None:
        """The client is gone. May block."""
        ...


class EventSource(Protocol):
    """A stream's events, for a reader that must not block."""

    def read(self) -> list[bytes]:
        """What can be sent now."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether all has been read."""
        ...

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake`, which must not block, when there is more to read, and once now."""
        ...

    def close(self) -> None:
        """No more is read: the stream is over, or its client is gone. May block."""
        ...


class DeferredResponse(Response):
    """Stands for a response that is not decided yet; keeps the headers that it is given."""

    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self.pending = pending
        # The request's context, for the thread that will build the response.
        self._respond = copy_current_request_context(pending.respond)

    @property
    def is_streamed(self) -> bool:
        """True, so that nobody takes the body that is not there."""
        return True

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = DeferredBody(self, environ, start_response)
        return body if environ.get(DETACH) else body.begin()

    def decide(self) -> Response:
        """The response, with the headers that were given to this one."""
        response = self._respond()
        decided = {name.lower() for name, _ in response.headers} | {"content-type"}
        for name, value in self.headers:
            if name.lower() not in decided and name.lower() != "content-length":
                response.headers.add(name, value)
        return response


class DeferredBody:
    """The body of a DeferredResponse that nobody has waited for yet."""

    def __init__(
        self,
        deferred: DeferredResponse,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
    ) -> None:
        self.pending = deferred.pending
        self._deferred, self._environ, self._start = deferred, environ, start_response

    def begin(self) -> Iterable[bytes]:
        """Decide the response, send its head to `start_response`, return its body."""
        return self._deferred.decide()(self._environ, self._start)

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("a server that detaches responses calls begin()")


def source_of(body: Any) -> EventSource | None:
    """The event source that a WSGI body is, None for any other body.

    Werkzeug wraps a body unless its response has `direct_passthrough`.
    """
    return cast(EventSource, body) if hasattr(body, "subscribe") else None
