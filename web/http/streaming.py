"""Server-sent events, from a generator that may block for as long as it likes.

The generator runs in a thread of its own (all of it, so that its context
variables stay in one context); the request's thread passes on what it yields
and writes a comment when it has been silent. When the client is gone the
generator is closed at its next yield: its `finally` needs no request context.

What takes long is kept to a part of the threads, so that health checks and
short requests always find one.
"""

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from flask import Response, current_app

from core.access.idempotency import Remembered
from core.errors import RagError
from core.telemetry import get_logger
from web.http.downloads import begin, content_disposition
from web.http.errors import TooManyStreams, describe
from web.http.idempotency import MAX_BODY, Ticket
from web.http.presenters import to_json
from web.http.request_state import request_state

log = get_logger(__name__)

EVENT_STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 10.0
FIRST_SECONDS = 1.0  # an error within this time has its own status code
HEARTBEAT = b": keep-alive\n\n"

EVENT_STREAM_HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would collect the events
}
_BACKLOG = 64  # events that may wait for a slow client


@dataclass(frozen=True, slots=True)
class Event:
    """`ending`: it is the last one, and whether the same request may be sent again."""

    name: str
    data: dict[str, Any]
    ending: Literal["done", "failed"] | None = None


def encode(event: Event, *, number: int) -> bytes:
    return encode_event(event.name, event.data, number=number)


def encode_event(name: str, data: dict[str, Any], *, number: int) -> bytes:
    """An event as the WHATWG's specification of server-sent events has it."""
    return f"id: {number}\nevent: {name}\ndata: ".encode() + to_json(data) + b"\n\n"


class Slots:
    """How many requests of this process may take long at the same time."""

    def __init__(self, threads: int) -> None:
        self.count = max(1, threads * 3 // 4)
        self._free = threading.BoundedSemaphore(self.count)
        # Bodies that come slowly take half at most, so that there are answers meanwhile.
        self._free_for_bodies = threading.BoundedSemaphore(max(1, self.count // 2))

    def take(self) -> Callable[[], None]:
        """A slot; what is returned gives it back. Raises TooManyStreams."""
        if not self._free.acquire(timeout=0.5):
            raise TooManyStreams("Too many answers are being written; try again shortly.")
        return self._free.release

    def take_for_body(self) -> Callable[[], None] | None:
        """As `take`, for a request whose body comes slowly; at once, and None if none is free."""
        if not self._free_for_bodies.acquire(blocking=False):
            return None
        if not self._free.acquire(blocking=False):
            self._free_for_bodies.release()
            return None
        return self._give_back_of_body

    def _give_back_of_body(self) -> None:
        self._free.release()
        self._free_for_bodies.release()


def _slots() -> Slots:
    return cast(Slots, current_app.extensions["slots"])


def download_response(blocks: Iterator[bytes], *, content_type: str, filename: str) -> Response:
    """A file that is made while it is sent. What the first block raises is raised here.

    It takes a slot until it is over: a client may read slowly. Raises TooManyStreams.
    """
    give_back = _slots().take()
    try:
        response = Response(begin(blocks), content_type=content_type)
    except BaseException:
        give_back()
        raise
    response.call_on_close(give_back)
    response.headers["Content-Disposition"] = content_disposition(filename)
    response.headers["Cache-Control"] = "no-store"
    return response


class _Pump:
    """Runs a generator in a thread; `get` hands out what it yields."""

    def __init__(self, source: Iterator[Event | None], *, stopped: threading.Event) -> None:
        self._source = source
        self._queue: queue.Queue[Event | Exception | None] = queue.Queue(_BACKLOG)
        self._stopped = stopped
        context = contextvars.copy_context()
        # Not a daemon: a process that ends lets it write down what it has.
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="stream")
        self._thread.start()

    def _run(self) -> None:
        ending: Exception | None = None
        try:
            for item in self._source:
                if self._stopped.is_set():
                    break
                if item is not None:
                    self._put(item)
        except Exception as error:
            ending = error
        finally:
            cast("Generator[Event | None]", self._source).close()
            self._put(ending)

    def _put(self, item: Event | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                return self._queue.put(item, timeout=1)
            except queue.Full:
                continue

    def get(self, timeout: float | None) -> Event | Exception | None:
        """The next event, the exception that ended it, or None at its end. Raises queue.Empty."""
        return self._queue.get(timeout=timeout)

    def stop(self) -> None:
        self._stopped.set()


class EventBody:
    """A response's body. The server closes it when it is through or the client is gone."""

    def __init__(
        self,
        pump: _Pump,
        *,
        first: Event | None,
        request_id: str,
        give_back: Callable[[], None],
        ticket: Ticket | None,
    ) -> None:
        self._pump, self._first = pump, first
        self._request_id, self._give_back, self._ticket = request_id, give_back, ticket
        self._sent: list[bytes] = []
        self._number = self._size = 0
        self._over = self._closed = False
        self._ending: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        try:
            first, self._first = self._first, None
            item = first or self._pump.get(HEARTBEAT_SECONDS)
        except queue.Empty:
            return HEARTBEAT
        if item is None:
            self._over = True
            raise StopIteration
        if isinstance(item, Exception):
            self._over = True
            item = self._error_event(item)
        return self._record(item)

    def _error_event(self, error: Exception) -> Event:
        if not isinstance(error, RagError):
            log.error("stream_failed", exc_info=error)
            error = RagError("The stream broke off; the log has why, under the request id.")
        return Event("error", describe(error, request_id=self._request_id), "failed")

    def _record(self, event: Event) -> bytes:
        self._number += 1
        self._ending = event.ending
        data = encode(event, number=self._number)
        if self._ticket is not None and self._size <= MAX_BODY:
            self._sent.append(data)
            self._size += len(data)
        return data

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._pump.stop()
        self._give_back()
        if self._ticket is not None:
            body = b"".join(self._sent)
            remembered = Remembered(200, EVENT_STREAM_HEADERS, body)
            # One who left before the end, and asks again, is owed the end.
            self._ticket.settle(remembered if self._ending == "done" else None)


def event_response(
    source: Iterator[Event | None], *, stopped: threading.Event | None = None
) -> Response:
    """`source` as a stream. What it raises before its first event is raised here.

    None in `source` is a moment at which it may be stopped, and is not sent; one that
    waits long between two events can look at `stopped`, which is set when the client is gone.
    """
    give_back = _slots().take()
    pump = _Pump(source, stopped=stopped or threading.Event())
    try:
        first = pump.get(FIRST_SECONDS)
    except queue.Empty:  # nothing has happened yet: the client gets its headers all the same
        first = None
    if isinstance(first, Exception):
        give_back()
        raise first
    body = EventBody(
        pump,
        first=first,
        request_id=request_state().request_id,
        give_back=give_back,
        ticket=request_state().held_ticket,
    )
    return Response(body, headers=EVENT_STREAM_HEADERS)
