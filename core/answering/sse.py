"""Reads the events of a streamed answer from bytes as they arrive."""

import json
from codecs import BOM_UTF8
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import NamedTuple, Protocol

from core.errors import ProviderError

PAGE = "page"
_MAX_PAGE_BYTES = 64 * 1024
MAX_EVENT_BYTES = 1024 * 1024
_DATA, _EVENT = b"data:", b"event:"


class Event(NamedTuple):  # there is one per token, and a dataclass takes three times as long
    """`data` of one event; `name` is empty if the event has none."""

    data: str
    name: str = ""


class _Reader(Protocol):
    """Makes events of chunks. It is not asynchronous, because each token passes it."""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that end in `chunk`."""
        ...

    def finish(self) -> Iterator[Event]:
        """Yield the event that the end of the body ends, if any."""
        ...


async def iter_events(
    chunks: AsyncIterable[bytes], *, max_bytes: int = MAX_EVENT_BYTES
) -> AsyncIterator[Event]:
    """Yield the events of a response body, whatever its Content-Type is.

    A body that begins with a brace or a bracket is JSON: one event for each line that is an
    object, or one for the whole. One that begins with `<` is a page: one event named `PAGE` with
    its beginning. Any other body is a stream of server-sent events. Raises
    ProviderError for a line or an event over `max_bytes` and never buffers more than that.
    """
    reader: _Reader | None = None
    head = b""
    async for chunk in chunks:
        if reader is None:
            head += chunk
            _check_size(len(head), max_bytes)
            if BOM_UTF8.startswith(head):
                continue
            chunk = head = head.removeprefix(BOM_UTF8)
            if not head.strip():
                continue
            reader = _reader_of(head, max_bytes)
        for event in reader.feed(chunk):
            yield event
    if reader is not None:
        for event in reader.finish():
            yield event


def _reader_of(head: bytes, max_bytes: int) -> _Reader:
    """Return the reader of a body that begins with `head`, which is not blank."""
    first = head.strip()[:1]
    if first in (b"{", b"["):
        return _JsonReader(max_bytes)
    return _PageReader() if first == b"<" else _SseReader(max_bytes)


class _SseReader:
    """Server-sent events as in WHATWG HTML 9.2.6; comments and other fields are skipped.

    Characters and line ends (LF, CRLF, CR) may be cut anywhere between chunks. A last event
    that lacks its blank line or its line end counts. Some servers forget the blank line
    between events: a `data` line ends the event before it if that is whole JSON.
    """

    def __init__(self, max_bytes: int) -> None:
        self._lines, self._max_bytes = _Lines(max_bytes), max_bytes
        self._data: list[str] = []
        self._name = ""
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        for line in self._lines.feed(chunk):
            if (event := self._read(line)) is not None:
                yield event

    def finish(self) -> Iterator[Event]:
        if (rest := self._lines.rest()) and (event := self._read(rest)) is not None:
            yield event
        if self._data:
            yield self._take()

    def _read(self, line: bytes) -> Event | None:
        """Read a line; return the event that it ends, if any."""
        event = None
        if not line:
            event = self._take() if self._data else None
            self._name = ""
        elif line.startswith(_DATA):
            if self._data and _is_complete("\n".join(self._data)):
                event = self._take()
            self._size += len(line)
            _check_size(self._size, self._max_bytes)
            self._data.append(_value(line, _DATA))
        elif line.startswith(_EVENT):
            self._name = _value(line, _EVENT)
        return event

    def _take(self) -> Event:
        event = Event("\n".join(self._data), self._name)
        self._data, self._size = [], 0
        return event


class _PageReader:
    """The beginning of a page as one event."""

    def __init__(self) -> None:
        self._page = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Event]:
        self._page += chunk
        if len(self._page) > _MAX_PAGE_BYTES:
            yield from self.finish()

    def finish(self) -> Iterator[Event]:
        yield Event(self._page.decode("utf-8", "replace"), PAGE)


class _JsonReader:
    """An event for each line that is an object, or one for the whole body."""

    def __init__(self, max_bytes: int) -> None:
        self._lines, self._max_bytes = _Lines(max_bytes), max_bytes
        self._body = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Event]:
        for line in self._lines.feed(chunk):
            yield from self._read(line)

    def finish(self) -> Iterator[Event]:
        yield from self._read(self._lines.rest())
        if self._body:
            yield Event(self._body.decode("utf-8", "replace"))

    def _read(self, line: bytes) -> Iterator[Event]:
        text = line.decode("utf-8", "replace").strip()
        if not self._body and _is_complete(text):
            yield Event(text)
        elif text:
            self._body += line + b"\n"
            _check_size(len(self._body), self._max_bytes)


class _Lines:
    """Cuts chunks into lines without their ends."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending = bytearray()
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = chunk.split(b"\n")
        self._pending += first
        _check_size(len(self._pending), self._max_bytes)
        for part in rest:
            line, self._pending = bytes(self._pending), bytearray(part)
            yield line
            _check_size(len(part), self._max_bytes)

    def rest(self) -> bytes:
        """Return the text after the last line end."""
        return bytes(self._pending)


def _is_complete(text: str) -> bool:
    """Whether `text` is a JSON object by itself, or the mark of a stream's end."""
    if not (text.startswith("{") and text.endswith("}")):
        return text == "[DONE]"
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _value(line: bytes, field: bytes) -> str:
    return line[len(field) :].decode("utf-8", "replace").removeprefix(" ")


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ProviderError("The chat provider sent more in one event than is accepted.")
