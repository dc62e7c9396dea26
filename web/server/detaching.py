"""Frees a request's thread while its response is not ready, or is an event stream.

The app marks such a response (`web.http.deferred`). The request's thread then returns, while
the connection stays open. When the response is ready, a thread builds it. If it is an event
stream, an event loop writes it (`web.server.streams`). The worker class uses this as a mixin.
"""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from core.telemetry import get_logger
from web.http.deferred import DETACH, source_of
from web.server.streams import Stream, StreamLoop

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    # Not at runtime: gunicorn's master imports this module before its metrics directory is
    # known, and web.http.request_log imports prometheus_client, which needs the directory.
    from web.http.request_log import ResponseBody

log = get_logger(__name__)

_STREAMING = object()  # the result of a request whose connection the stream loop took over
_BODY_SECONDS = 2.0  # the time to read the rest of a request's body before the next request


class Detached(BaseException):  # gunicorn catches every Exception
    """Exits gunicorn's handling of a request whose response comes later."""

    def __init__(self, body: "ResponseBody", response: Any) -> None:
        super().__init__("the response comes later")
        self.body, self.response = body, response


def detaching(app: "WSGIApplication") -> "WSGIApplication":
    """Wrap `app`, so that it raises Detached if a response is not ready."""

    def call(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ[DETACH] = True
        body = app(environ, start_response)
        if getattr(body, "deferred", None) is not None:
            detached = cast("ResponseBody", body)
            detached.detach()
            # gunicorn's Response: start_response is its bound method.
            raise Detached(detached, cast(Any, start_response).__self__)
        return body

    return call


class DetachingMixin:
    """Mixin for gunicorn's ThreadWorker. It must come first in the list of bases."""

    poller: selectors.BaseSelector
    method_queue: Any
    tpool: Any
    nr_conns: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._streams = StreamLoop()

    def handle(self, connection: Any) -> Any:
        """Handle a request, in a request thread. Returns the Detached of a detached request."""
        try:
            return super().handle(connection)  # type: ignore[misc]
        except Detached as detached:
            return detached

    def finish_request(self, connection: Any, future: Any) -> None:
        """Handle the result of `handle` or `_respond`, in the main loop."""
        result = None if future.cancelled() else future.result()
        if isinstance(result, Detached):
            self._wait_for_response(connection, result)
        elif result is not _STREAMING:
            super().finish_request(connection, future)  # type: ignore[misc]

    def _wait_for_response(self, connection: Any, detached: Detached) -> None:
        deferred = detached.body.deferred
        assert deferred is not None
        pending = deferred.pending
        connection.sock.setblocking(False)
        gone = partial(self._check_client, pending.abandon)
        self.poller.register(connection.sock, selectors.EVENT_READ, gone)
        pending.when_ready(lambda: self.method_queue.defer(self._resume, connection, detached))

    def _check_client(self, abandon: Callable[[], None], client: socket.socket) -> None:
        """Handle data that arrives while the client waits: a disconnect, or its next request."""
        try:
            is_gone = client.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return
        except OSError:
            is_gone = True
        self.poller.unregister(client)
        if is_gone:
            self.tpool.submit(abandon)

    def _resume(self, connection: Any, detached: Detached) -> None:
        """Let a thread build the response, which is ready now. Runs in the main loop."""
        with contextlib.suppress(KeyError, ValueError):  # the client sent data or disconnected
            self.poller.unregister(connection.sock)
        future = self.tpool.submit(self._respond, connection, detached)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, connection, done)
        )

    def _respond(self, connection: Any, detached: Detached) -> Any:
        """Send the response in a request thread; for a stream, send its head and start the loop."""
        body, response = detached.body, detached.response
        is_streaming = False
        try:
            connection.sock.setblocking(True)
            pieces = body.begin()
            source = source_of(pieces)
            if source is not None:
                response.force_close()
                response.send_headers()
                is_streaming = response.req.method != "HEAD"
            if not is_streaming or source is None:
                return self._send(connection, body, response, pieces if source is None else ())
            stream = Stream(
                connection.sock,
                source,
                is_chunked=response.chunked,
                when_sent=body.count,
                when_over=partial(self._end_stream, connection, body),
            )
            self._streams.add(stream)
            return _STREAMING
        except OSError:
            is_streaming = False
            return False  # the client has disconnected
        except Exception as error:
            is_streaming = False
            self.handle_error(response.req, connection.sock, connection.client, error)  # type: ignore[attr-defined]
            return False
        finally:
            if not is_streaming:
                body.close()

    def _send(
        self, connection: Any, body: "ResponseBody", response: Any, pieces: Iterable[bytes]
    ) -> bool:
        for piece in pieces:
            body.count(len(piece))
            response.write(piece)
        response.close()
        if response.should_close():
            return False
        return bool(connection.parser.finish_body(deadline=time.monotonic() + _BODY_SECONDS))

    def _end_stream(self, connection: Any, body: "ResponseBody") -> None:
        """Clean up in a thread, after the loop has closed the stream's socket."""
        body.close()
        self.method_queue.defer(self._forget, connection)

    def _forget(self, connection: Any) -> None:
        self.nr_conns -= 1
        connection.close()
