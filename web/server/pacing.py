"""Limits for bodies that a thread reads while they arrive.

A body that stalls or arrives slowly occupies its thread, and any client with a key can send
one. So each piece of a body has a deadline, and a slow body takes one of the slots for long
responses. There are fewer slots than threads, so slow bodies can never occupy all threads.
"""

import select
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.http.unreader import SocketUnreader
from werkzeug.exceptions import RequestTimeout

# These demand at least 8 KiB/s and no pause of 10 s. A bad mobile connection is ten times
# faster.
PIECE_BYTES = 80 * 1024
PIECE_SECONDS = 10.0
# How long a body may keep its thread waiting without a slot. Uploads through a buffering proxy
# or from the same network rarely take longer.
PATIENCE_SECONDS = 2.0


class PacedUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads a connection for gunicorn's parser. `chunk` raises RequestTimeout.

    Only the time of waiting for the client counts, not the processing of its bytes.
    `take_slot` returns a function that frees the slot, or None if no slot is free.
    """

    def __init__(
        self,
        client: socket.socket,
        *,
        parser: Any,
        take_slot: Callable[[], Callable[[], None] | None],
    ) -> None:
        super().__init__(client)
        self._parser, self._take_slot = parser, take_slot
        self._give_back: Callable[[], None] | None = None
        self._poll = select.poll()
        self._poll.register(client, select.POLLIN)
        self.begin()

    def begin(self) -> None:
        """Start the timers of a new request."""
        self._patience = PATIENCE_SECONDS
        self._left, self._owed = PIECE_SECONDS, PIECE_BYTES

    def end(self) -> None:
        """Free the request's slot."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.sock.gettimeout() is None:  # otherwise the reader has set its own timeout
            self._wait()
        data: bytes = super().chunk(size_hint)
        self._owed -= len(data)
        if self._owed <= 0:
            self._left, self._owed = PIECE_SECONDS, PIECE_BYTES
        return data

    def _wait(self) -> None:
        """Block until there are bytes to read, or the client has disconnected."""
        ready: Any = []
        while not ready:
            patience = self._patience if self._give_back is None else self._left
            started = time.monotonic()
            ready = self._poll.poll(1000 * min(self._left, patience))
            waited = time.monotonic() - started
            self._left -= waited
            self._patience -= waited
            if self._patience <= 0 and self._give_back is None:
                self._give_back = self._take_slot()
            if self._left <= 0 or (self._patience <= 0 and self._give_back is None):
                self._give_up()

    def _give_up(self) -> NoReturn:
        if self._parser.mesg is not None:
            self._parser.mesg.force_close()  # RFC 9110, 15.5.9
        raise RequestTimeout
