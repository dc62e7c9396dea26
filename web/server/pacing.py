"""Bodies that a thread reads as they come: how long it waits, and for how many at once.

A body that stalls holds its thread, one that drips holds it for as long as its
client likes, and a valid key is enough for both. So each piece has its time, and
a body that has kept its thread waiting takes one of the slots of long answers:
those leave some threads to the rest, however many bodies are slow.
"""

import select
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.http.unreader import SocketUnreader
from werkzeug.exceptions import RequestTimeout

# 8 KiB/s at least (a bad mobile connection has ten times that), and no pause of 10 s.
PIECE_BYTES = 80 * 1024
PIECE_SECONDS = 10.0
# Waited for without asking how many others are slow. From a proxy that buffers, or from
# near by, hardly any upload takes this long.
PATIENCE_SECONDS = 2.0


class PacedUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads a connection for gunicorn's parser; `chunk` raises RequestTimeout.

    Only the time spent waiting for the client counts, not what is done with its bytes.
    `take_slot` gives a function that gives the slot back, or None if there is none.
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
        """A request begins."""
        self._patience = PATIENCE_SECONDS
        self._left, self._owed = PIECE_SECONDS, PIECE_BYTES

    def end(self) -> None:
        """It is over."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.sock.gettimeout() is None:  # else whoever reads has set a clock of their own
            self._wait()
        data: bytes = super().chunk(size_hint)
        self._owed -= len(data)
        if self._owed <= 0:
            self._left, self._owed = PIECE_SECONDS, PIECE_BYTES
        return data

    def _wait(self) -> None:
        """Until there is something to read, or the client has left."""
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
