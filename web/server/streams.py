"""Writes event streams to their clients, in one event loop with its own thread.

A stream costs a socket and a few objects, but no thread. So hundreds of streams do not take
threads from short requests. A client that reads slowly delays only its own events.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from core.telemetry import get_logger
from web.http.deferred import EventSource
from web.http.streaming import HEARTBEAT, HEARTBEAT_SECONDS

log = get_logger(__name__)

BUFFERED_BYTES = 64 * 1024  # per client, in addition to the socket's buffer
STALLED_SECONDS = 60.0  # a client that reads nothing for this long is disconnected


@dataclass(slots=True)
class Stream:
    """A stream to write: its socket, its events, and its callbacks.

    If `is_chunked`, each event is a chunk (RFC 9112, 7.1). `when_sent` is called with the number
    of written bytes. `when_over` is called once, in a thread that may block.
    """

    client: socket.socket
    source: EventSource
    is_chunked: bool
    when_sent: Callable[[int], None]
    when_over: Callable[[], None]

    def frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data

    @property
    def trailer(self) -> bytes:
        return b"0\r\n\r\n" if self.is_chunked else b""


class StreamLoop:
    """The event loop. Its thread starts with the first stream."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: _DueWriters | None = None

    def add(self, stream: Stream) -> None:
        """Start writing `stream`, and return at once. Any thread may call this."""
        with self._lock:
            if self._loop is None or self._due is None:
                self._loop = asyncio.new_event_loop()
                self._due = _DueWriters(self._loop)
                thread = threading.Thread(
                    target=self._loop.run_forever, name="streams", daemon=True
                )
                thread.start()
            writer = _Writer(self._loop, stream, self._due)
        asyncio.run_coroutine_threadsafe(self._open(self._loop, stream, writer), self._loop)

    @staticmethod
    async def _open(loop: asyncio.AbstractEventLoop, stream: Stream, writer: "_Writer") -> None:
        stream.client.setblocking(False)
        try:
            await loop.connect_accepted_socket(lambda: writer, stream.client)
        except OSError:
            loop.run_in_executor(None, _finish, stream)


class _DueWriters:
    """Collects the writers that have news. Many of them wake the loop only once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._writers: dict[_Writer, None] = {}  # in the order of their news

    def add(self, writer: "_Writer") -> None:
        """Let the loop call `writer.pump` soon. Any thread may call this."""
        with self._lock:
            is_first = not self._writers
            self._writers[writer] = None
        if is_first:
            self._loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        with self._lock:
            writers, self._writers = self._writers, {}
        for writer in writers:
            writer.pump()


class _Writer(asyncio.Protocol):
    """Writes one stream. All methods except `wake` run in the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stream: Stream, due: _DueWriters) -> None:
        self._loop, self._stream, self._due = loop, stream, due
        self._transport: asyncio.Transport | None = None
        self._is_paused = False
        self._sent_at = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=BUFFERED_BYTES)
        self._timer = self._loop.call_later(HEARTBEAT_SECONDS, self._beat)
        self._stream.source.subscribe(self.wake)

    def wake(self) -> None:
        """Schedule a write, because there may be new events. Any thread may call it, any time."""
        self._due.add(self)

    def pump(self) -> None:
        """Write the events that can be sent now."""
        if self._transport is None or self._is_paused or self._transport.is_closing():
            return
        try:
            data = b"".join(self._stream.source.read())
        except Exception:
            log.exception("stream_failed")
            self._transport.abort()
            return
        if data:
            self._write(data)
        if self._stream.source.is_over:
            self._transport.write(self._stream.trailer)
            self._transport.close()

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._sent_at = self._loop.time()
        self._transport.write(self._stream.frame(data))
        self._stream.when_sent(len(data))

    def _beat(self) -> None:
        """Send a comment after a silence, so that proxies stay; disconnect a stalled client."""
        if self._transport is None or self._transport.is_closing():
            return
        silence = self._loop.time() - self._sent_at
        if self._is_paused:
            if silence >= STALLED_SECONDS:
                self._transport.abort()
                return
        elif silence >= HEARTBEAT_SECONDS:
            self._write(HEARTBEAT)
            silence = 0.0
        wait = max(0.1, HEARTBEAT_SECONDS - silence)
        self._timer = self._loop.call_later(wait, self._beat)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self.pump()

    def eof_received(self) -> bool:
        """Treat a client that closed its side as disconnected. False closes the transport."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._loop.run_in_executor(None, _finish, self._stream)


def _finish(stream: Stream) -> None:
    """Finish a stream in a thread, because a disconnect may cancel the answer in the database."""
    try:
        stream.source.close()
    except Exception:
        log.exception("stream_not_closed")
    finally:
        stream.when_over()
