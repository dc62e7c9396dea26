"""gunicorn's threaded worker, hardened against clients that send slowly on purpose.

gthread reads a request's head in a thread, without a deadline: as many slow
connections as there are threads stop the service (the slowloris attack). Here
the main loop gathers head and small body, without blocking, and a thread is
taken only by a request that is there as a whole.
"""

import contextlib
import re
import selectors
import socket
import struct
import time
from functools import partial

from gunicorn import http
from gunicorn.workers.gthread import TConn, ThreadWorker

GATHER_SECONDS = 10.0  # for head and small body together, from the connection's first moment
SMALL_BODY = 64 * 1024  # a larger one, an upload say, is read by its thread as it comes
LARGEST_HEAD = 64 * 1024
# For what a thread reads and writes itself: the longest pause of the other side.
STALL_SECONDS = 30

_END_OF_HEAD = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,9})[ \t]*\r$", re.I | re.M)
_EXPECT = re.compile(rb"^expect:", re.I | re.M)


class GatheringWorker(ThreadWorker):  # type: ignore[misc]
    """`worker_class` for the service. Plain HTTP/1.1 only: TLS ends at a proxy in front."""

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        _bound_stalls(client)
        connection = TConn(self.cfg, client, address, listener.getsockname())
        connection.gathered = bytearray()
        self.nr_conns += 1
        self._gather(connection)

    def on_client_socket_readable(self, connection: TConn, client: socket.socket) -> None:
        """The next request on a connection kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(connection)
        connection.gathered = bytearray()
        if self._read(connection):
            self._gather(connection)

    def on_pending_socket_readable(self, connection: TConn, client: socket.socket) -> None:
        if not self._read(connection):
            self.poller.unregister(client)
            self.pending_conns.remove(connection)

    def _gather(self, connection: TConn) -> None:
        """Wait for the request in the main loop; `murder_pending` ends it at its deadline."""
        connection.sock.setblocking(False)
        connection.timeout = time.monotonic() + GATHER_SECONDS
        self.pending_conns.append(connection)
        callback = partial(self.on_pending_socket_readable, connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, callback)

    def _read(self, connection: TConn) -> bool:
        """Take what has arrived; whether there is more to wait for."""
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

    def _hand_over(self, connection: TConn) -> None:
        if connection.parser is None:
            connection.parser = http.get_parser(self.cfg, connection.sock, connection.client)
        connection.parser.unreader.unread(bytes(connection.gathered))
        connection.gathered.clear()
        connection.data_ready = True
        self.enqueue_req(connection)

    def _cap_keepalive(self, deadline: float) -> None:
        """A worker that stops does not wait for requests that have not arrived."""
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)


def is_complete(received: bytes | bytearray) -> bool:
    """Whether a thread can begin: head there, and a small announced body with it.

    Whatever is odd (no length, two lengths, chunks) is for the parser to judge.
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
    # By the kernel, since gthread makes the socket blocking, which undoes `settimeout`.
    timeout = struct.pack("ll", STALL_SECONDS, 0)
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
