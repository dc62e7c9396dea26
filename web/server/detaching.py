"""Lets a request go on without its thread: for responses that are decided or written later.

The app marks such a response (`web.http.deferred`). The request's thread then returns, the
connection stays, and when the response is ready a thread builds it; if it is an event stream,
an event loop writes it (`web.server.streams`). A worker class mixes this in.
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

    # gunicorn's master imports this module, before its metrics directory is known:
    # prometheus_client, which that module imports, must not be loaded by then.
    from web.http.request_log import ResponseBody

log = get_logger(__name__)

_STREAMING = object()  # the result of a request whose connection the stream loop has
_BODY_SECONDS = 2.0  # to read what is left of a request's body before the next request


class Detached(BaseException):  # gunicorn catches every Exception
    """Leaves gunicorn's handling of a request whose response comes later."""

    def __init__(self, body: "ResponseBody", response: Any) -> None:
        super().__init__("the response comes later")
        self.body, self.response = body, response


def detaching(app: "WSGIApplication") -> "WSGIApplication":
    """`app`, raising Detached where a response is not ready."""

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
    """For a subclass of gunicorn's ThreadWorker, in front of it."""

    poller: selectors.BaseSelector
    method_queue: Any
    tpool: Any
    nr_conns: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._streams = StreamLoop()

    def handle(self, connection: Any) -> Any:
        """In a request thread. A detached request's result is its Detached."""
        try:
            return super().handle(connection)  # type: ignore[misc]
        except Detached as detached:
            return detached

    def finish_request(self, connection: Any, future: Any) -> None:
        """In the main loop, with what `handle` or `_respond` returned."""
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
        gone = partial(self._look_for_client, pending.abandon)
        self.poller.register(connection.sock, selectors.EVENT_READ, gone)
        pending.when_ready(lambda: self.method_queue.defer(self._resume, connection, detached))

    def _look_for_client(self, abandon: Callable[[], None], client: socket.socket) -> None:
        """Something arrived while the client waits: its end, or its next request."""
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
        """In the main loop: the response can be built."""
        with contextlib.suppress(KeyError, ValueError):  # the client sent something, or is gone
            self.poller.unregister(connection.sock)
        future = self.tpool.submit(self._respond, connection, detached)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, connection, done)
        )

    def _respond(self, connection: Any, detached: Detached) -> Any:
        """In a request thread: send the response, or its head and leave the rest to the loop."""
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
            return False  # the client is gone
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
        """In a thread, when the loop has closed the stream's socket."""
        body.close()
        self.method_queue.defer(self._forget, connection)

    def _forget(self, connection: Any) -> None:
        self.nr_conns -= 1
        connection.close()
