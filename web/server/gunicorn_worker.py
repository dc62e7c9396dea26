"""gunicorn's threaded worker, hardened against clients that are slow on purpose.

gthread reads a request's head in a thread, without a deadline. So as many slow connections as
there are threads stop the service (the slowloris attack). This worker's main loop gathers the
head and a small body without blocking, and only a complete request takes a thread. A thread
that reads a larger body limits how slow it may be (`web.server.pacing`). After the last
response on a connection, gthread's main loop blocks for up to two seconds until the client
closes. This worker's main loop does not.

It overrides methods of gunicorn that are not public; see docs/adr/0008-gunicorn-worker.md.
"""

import contextlib
import json
import logging
import re
import selectors
import socket
import struct
import threading
import time
from collections import deque
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gunicorn import http
from gunicorn.http import errors as refusals
from gunicorn.workers.gthread import TConn, ThreadWorker
from uuid_utils.compat import uuid7
from werkzeug.exceptions import RequestTimeout

from core.telemetry import get_logger
from web.http.errors import MEDIA_TYPE, default_problem, problem_body
from web.http.streaming import Slots
from web.server.detaching import DetachingMixin, detaching
from web.server.lanes import NOTHING, Lane
from web.server.pacing import PacedUnreader

if TYPE_CHECKING:
    from core.conversations.live import LiveAnswers

log = get_logger(__name__)

GATHER_SECONDS = 10.0  # for the head and a small body, from the start of the connection
SMALL_BODY = 64 * 1024  # a thread reads a larger body, such as an upload, while it arrives
LARGEST_HEAD = 64 * 1024
# How long a thread's write may wait for the client.
STALL_SECONDS = 30

# After its last response, a connection is read for at most this time and this many bytes.
# Closing it with unread bytes would reset it, and the client could lose the response
# (RFC 9112, 9.6).
LINGER_SECONDS = 2.0
LINGER_BYTES = 256 * 1024

# This long before the end of the graceful time, live answers are interrupted and stored,
# because at the end the master kills the worker.
INTERRUPT_SECONDS = 8.0

_REFUSALS = (
    (refusals.LimitRequestLine, 414),
    (refusals.LimitRequestHeaders, 431),
    (refusals.ExpectationFailed, 417),
    (refusals.UnsupportedTransferCoding, 501),
    (RequestTimeout, 408),
)
_END_OF_HEAD = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,9})[ \t]*\r$", re.I | re.M)
_EXPECT = re.compile(rb"^expect:", re.I | re.M)


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, and the bytes of its next request so far."""

    def __init__(
        self, worker: "GatheringWorker", client: socket.socket, *, address: Any, server: Any
    ) -> None:
        super().__init__(worker.cfg, client, address, server)
        self._worker = worker
        self.gathered = bytearray()
        self.unread = 0
        self.is_in_lane = False

    def close(self, graceful: bool = False) -> None:
        """Close the connection. gunicorn calls this in the main loop.

        `graceful` is true after a response was sent.
        """
        if graceful:
            self._worker.linger(self)
        else:
            super().close()


class GatheringWorker(DetachingMixin, ThreadWorker):  # type: ignore[misc]
    """`worker_class` for the service. Plain HTTP/1.1 only: TLS ends at a proxy in front."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering: deque[Connection] = deque()
        self._slots = Slots(self.cfg.threads)
        self._lane: Lane[Connection] = Lane(NOTHING, threads=self.cfg.threads)
        self._live_answers: LiveAnswers | None = None
        self._is_stopping = False
        self._interrupt_at = 0.0

    def load_wsgi(self) -> None:
        super().load_wsgi()
        app: Any = self.wsgi  # type: ignore[has-type]
        extensions = getattr(app, "extensions", {})
        # Slow bodies share the slots with the app's long responses.
        self._slots = extensions.get("slots", self._slots)
        self._live_answers = extensions.get("live_answers")
        self._lane = Lane(extensions.get("turn_requests", NOTHING), threads=self.cfg.threads)
        self.wsgi = detaching(app)

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        _bound_stalls(client)
        self.nr_conns += 1
        server = listener.getsockname()
        self._gather(Connection(self, client, address=address, server=server))

    def on_client_socket_readable(self, connection: Connection, client: socket.socket) -> None:
        """Gather the next request on a kept-alive connection."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(connection)
        connection.gathered = bytearray()
        if self._read(connection):
            self._gather(connection)

    def on_pending_socket_readable(self, connection: Connection, client: socket.socket) -> None:
        if not self._read(connection):
            self.poller.unregister(client)
            self.pending_conns.remove(connection)

    def _gather(self, connection: Connection) -> None:
        """Wait for the request in the main loop. At its deadline `murder_pending` closes it."""
        connection.sock.setblocking(False)
        connection.timeout = time.monotonic() + GATHER_SECONDS
        self.pending_conns.append(connection)
        callback = partial(self.on_pending_socket_readable, connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, callback)

    def _read(self, connection: Connection) -> bool:
        """Read the bytes that have arrived; return whether the request is still incomplete."""
        try:
            data = connection.sock.recv(LARGEST_HEAD)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self.nr_conns -= 1
            connection.close()
            return False
        connection.gathered += data
        if not is_complete(connection.gathered):
            return True
        self._hand_over(connection)
        return False

    def _hand_over(self, connection: Connection) -> None:
        if connection.parser is None:
            connection.parser = http.get_parser(self.cfg, connection.sock, connection.client)
            connection.parser.unreader = PacedUnreader(
                connection.sock,
                parser=connection.parser,
                take_slot=self._slots.take_for_body,
            )
        connection.is_in_lane = self._lane.takes(connection.gathered)
        connection.parser.unreader.unread(bytes(connection.gathered))
        connection.gathered.clear()
        connection.data_ready = True
        if not connection.is_in_lane or self._lane.enter(connection):
            self.enqueue_req(connection)

    def finish_request(self, connection: Connection, future: Any) -> None:
        """Handle the result of a request, in the main loop."""
        if connection.is_in_lane:
            connection.is_in_lane = False
            if (waiting := self._lane.leave()) is not None:
                self.enqueue_req(waiting)
        super().finish_request(connection, future)

    def handle(self, connection: Connection) -> Any:
        """Handle one request, in a thread."""
        connection.parser.unreader.begin()
        try:
            return super().handle(connection)
        finally:
            connection.parser.unreader.end()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Send a problem for a request that gunicorn refused, or in which the app failed.

        Log only the exception's type, because its text may quote a header with a key.
        """
        status, request_id = status_of(exc), str(uuid7())
        log.log(
            logging.ERROR if status == 500 else logging.WARNING,
            "request_refused",
            status=status,
            reason=type(exc).__name__,
            remote=addr[0] if addr else None,
            request_id=request_id,
            exc_info=exc if status == 500 else None,
        )
        with contextlib.suppress(OSError):
            client.sendall(_problem(status, request_id=request_id))

    def linger(self, connection: Connection) -> None:
        """Read and discard bytes in the main loop until the client closes or time is up."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client has closed already
            connection.close()
            return
        connection.sock.setblocking(False)
        connection.timeout = time.monotonic() + LINGER_SECONDS
        connection.unread = LINGER_BYTES
        self.nr_conns += 1
        self._lingering.append(connection)
        callback = partial(self._discard, connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, callback)

    def _discard(self, connection: Connection, client: socket.socket) -> None:
        try:
            data = client.recv(LARGEST_HEAD)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.unread -= len(data)
        if not data or connection.unread < 0:
            self._lingering.remove(connection)
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self.poller.unregister(connection.sock)
        self.nr_conns -= 1
        connection.close()

    def run(self) -> None:
        """Serve requests; at the end, interrupt live answers and store their text."""
        super().run()
        if self._live_answers is not None:
            self._live_answers.close(patience=max(0.0, self._interrupt_at - time.monotonic()))

    def _interrupt_in_time(self) -> None:
        """Give live answers most of the graceful time, then interrupt them before its end."""
        self._is_stopping = True
        patience = max(0.0, self.cfg.graceful_timeout - INTERRUPT_SECONDS)
        self._interrupt_at = time.monotonic() + patience
        if self._live_answers is not None:
            close = partial(self._live_answers.close, patience=patience)
            threading.Thread(target=close, name="interrupt", daemon=True).start()

    def murder_pending(self) -> None:
        """Close connections at their deadlines. The main loop calls this at least once a second."""
        super().murder_pending()
        if not self.alive and not self._is_stopping:
            self._interrupt_in_time()
        now = time.monotonic()
        while self._lingering and self._lingering[0].timeout <= now:
            self._drop(self._lingering.popleft())

    def _cap_keepalive(self, deadline: float) -> None:
        """Do not wait for incomplete requests when the worker stops."""
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)


def status_of(refusal: BaseException) -> int:
    """Return the status for a request that could not be read; 500 for an error of the service."""
    found = next((status for kind, status in _REFUSALS if isinstance(refusal, kind)), None)
    if found is not None:
        return found
    ours = (refusals.InvalidResponseHeader, refusals.InvalidResponseHeaderName)
    is_theirs = isinstance(refusal, refusals.ParseException) and not isinstance(refusal, ours)
    return 400 if is_theirs else 500


def _problem(status: int, *, request_id: str) -> bytes:
    code, detail = default_problem(status)
    body = json.dumps(
        problem_body(status=status, code=code, detail=detail, request_id=request_id)
    ).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        f"Content-Type: {MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {request_id}",
        "X-Content-Type-Options: nosniff",
    )
    return "\r\n".join((*head, "", "")).encode() + body


def is_complete(received: bytes | bytearray) -> bool:
    """Whether a thread can start: the head has arrived, and the body too if it is small.

    Anything unusual (two lengths, chunks, a large body) counts as complete; the parser or the
    thread handles it.
    """
    head_size = received.find(_END_OF_HEAD)
    if head_size < 0:
        return len(received) >= LARGEST_HEAD
    head = bytes(received[: head_size + 2])
    lengths = _CONTENT_LENGTH.findall(head)
    if len(lengths) != 1 or int(lengths[0]) > SMALL_BODY or _EXPECT.search(head):
        return True
    return len(received) - head_size - len(_END_OF_HEAD) >= int(lengths[0])


def _bound_stalls(client: socket.socket) -> None:
    # A socket option, because gthread makes the socket blocking, which undoes `settimeout`.
    timeout = struct.pack("ll", STALL_SECONDS, 0)
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
