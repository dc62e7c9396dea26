"""Streams server-sent events from a generator that may block.

The generator runs completely in its own thread, so its context variables stay in one context.
The request's thread sends what the generator yields, and a comment after a silence. When the
client disconnects, the generator is closed at its next yield; its `finally` needs no request
context.

Long responses may use only a part of the threads, so that health checks and short requests
always find a free one.
"""

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, cast

from flask import Response, current_app

from core.errors import RagError
from core.telemetry import get_logger
from web.http.downloads import content_disposition, read_first_block
from web.http.errors import TooManyStreams, describe
from web.http.presenters import to_json
from web.http.request_state import request_state

log = get_logger(__name__)

EVENT_STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 10.0
FIRST_SECONDS = 1.0  # an error within this time becomes a response with its own status
HEARTBEAT = b": keep-alive\n\n"

EVENT_STREAM_HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # otherwise nginx buffers the events
}
_BACKLOG = 64  # events that may wait for a slow client


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: dict[str, Any]


def encode(event: Event, *, number: int) -> bytes:
    return encode_event(event.name, event.data, number=number)


def encode_event(name: str, data: dict[str, Any], *, number: int) -> bytes:
    """Encode an event by the WHATWG's specification of server-sent events."""
    return f"id: {number}\nevent: {name}\ndata: ".encode() + to_json(data) + b"\n\n"


class Slots:
    """Limits how many long requests this process handles at the same time."""

    def __init__(self, threads: int) -> None:
        self.count = max(1, threads * 3 // 4)
        self._free = threading.BoundedSemaphore(self.count)
        # Slow bodies take at most half of the slots, so that long responses get some.
        self._free_for_bodies = threading.BoundedSemaphore(max(1, self.count // 2))

    def take(self) -> Callable[[], None]:
        """Take a slot, and return a function that releases it. Raises TooManyStreams."""
        if not self._free.acquire(timeout=0.5):
            raise TooManyStreams("Too many answers are being written; try again shortly.")
        return self._free.release

    def take_for_body(self) -> Callable[[], None] | None:
        """Like `take`, for a request with a slow body. Does not wait: None if no slot is free."""
        if not self._free_for_bodies.acquire(blocking=False):
            return None
        if not self._free.acquire(blocking=False):
            self._free_for_bodies.release()
            return None
        return self._release_body_slot

    def _release_body_slot(self) -> None:
        self._free.release()
        self._free_for_bodies.release()


def _slots() -> Slots:
    return cast(Slots, current_app.extensions["slots"])


def download_response(blocks: Iterator[bytes], *, content_type: str, filename: str) -> Response:
    """Return a response that sends `blocks` as a file while they are made.

    Errors of the first block are raised here. The response takes a slot until its end, because
    the client may read slowly. Raises TooManyStreams.
    """
    give_back = _slots().take()
    try:
        response = Response(read_first_block(blocks), content_type=content_type)
    except BaseException:
        give_back()
        raise
    response.call_on_close(give_back)
    response.headers["Content-Disposition"] = content_disposition(filename)
    response.headers["Cache-Control"] = "no-store"
    return response


class _Pump:
    """Runs a generator in a thread; `get` returns the yielded events."""

    def __init__(self, source: Iterator[Event | None], *, stopped: threading.Event) -> None:
        self._source = source
        self._queue: queue.Queue[Event | Exception | None] = queue.Queue(_BACKLOG)
        self._stopped = stopped
        context = contextvars.copy_context()
        # Not a daemon, so that at the end of the process the generator can store its results.
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
        """Return the next event, None at the end, or the generator's error. Raises queue.Empty."""
        return self._queue.get(timeout=timeout)

    def stop(self) -> None:
        self._stopped.set()


class EventBody:
    """The response's body. The server closes it at the end, or when the client disconnects."""

    def __init__(
        self,
        pump: _Pump,
        *,
        first: Event | None,
        request_id: str,
        give_back: Callable[[], None],
    ) -> None:
        self._pump, self._first = pump, first
        self._request_id, self._give_back = request_id, give_back
        self._number = 0
        self._over = self._closed = False

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
        self._number += 1
        return encode(item, number=self._number)

    def _error_event(self, error: Exception) -> Event:
        if not isinstance(error, RagError):
            log.error("stream_failed", exc_info=error)
            error = RagError("The stream broke off; the log has why, under the request id.")
        return Event("error", describe(error, request_id=self._request_id))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._pump.stop()
        self._give_back()


def event_response(
    source: Iterator[Event | None], *, stopped: threading.Event | None = None
) -> Response:
    """Return a response that streams `source`. Errors before its first event are raised here.

    A None from `source` is not sent; there the stream may be stopped. A source that waits long
    between events can check `stopped`, which is set when the client disconnects.
    """
    give_back = _slots().take()
    pump = _Pump(source, stopped=stopped or threading.Event())
    try:
        first = pump.get(FIRST_SECONDS)
    except queue.Empty:  # no event yet; send the headers anyway
        first = None
    if isinstance(first, Exception):
        give_back()
        raise first
    body = EventBody(
        pump,
        first=first,
        request_id=request_state().request_id,
        give_back=give_back,
    )
    return Response(body, headers=EVENT_STREAM_HEADERS)
