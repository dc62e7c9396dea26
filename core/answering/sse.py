"""Reads the events of a streamed answer from bytes as they arrive."""

import json
from codecs import BOM_UTF8
from collections.abc import AsyncIterable, AsyncIterator
from typing import NamedTuple

from core.errors import ProviderError

PAGE = "page"
_MAX_PAGE_BYTES = 64 * 1024
MAX_EVENT_BYTES = 1024 * 1024
_DATA, _EVENT = b"data:", b"event:"


class Event(NamedTuple):  # there is one per token, and a dataclass takes three times as long
    """`data` of one event; `name` is empty if the event has none."""

    data: str
    name: str = ""


async def iter_events(
    chunks: AsyncIterable[bytes], *, max_bytes: int = MAX_EVENT_BYTES
) -> AsyncIterator[Event]:
    """The events of a response body. Its Content-Type is not looked at.

    A body that begins with a brace or a bracket is JSON: one event for each line that is an
    object, or one for the whole. One that begins with `<` is a page: one event named `PAGE` with
    its beginning. Any other body is a stream of server-sent events. Raises
    ProviderError for a line or an event over `max_bytes` and never buffers more than that.
    """
    first, chunks = await _peek(chunks, max_bytes=max_bytes)
    if first in (b"{", b"["):
        events = _iter_json(chunks, max_bytes=max_bytes)
    elif first == b"<":
        events = _iter_page(chunks)
    else:
        events = _iter_sse(chunks, max_bytes=max_bytes)
    async for event in events:
        yield event


async def _iter_sse(chunks: AsyncIterable[bytes], *, max_bytes: int) -> AsyncIterator[Event]:
    """Server-sent events as in WHATWG HTML 9.2.6; comments and other fields are skipped.

    Characters and line ends (LF, CRLF, CR) may be cut anywhere between chunks. A last event
    that lacks its blank line or its line end counts. Some servers forget the blank line
    between events: a `data` line ends the event before it if that is whole JSON.
    """
    data: list[str] = []
    name = ""
    size = 0
    async for line in _iter_lines(chunks, max_bytes=max_bytes, with_rest=True):
        if not line:
            if data:
                yield Event("\n".join(data), name)
            data, name, size = [], "", 0
        elif line.startswith(_DATA):
            if data and _is_complete("\n".join(data)):
                yield Event("\n".join(data), name)
                data, size = [], 0
            size += len(line)
            _check_size(size, max_bytes)
            data.append(_value(line, _DATA))
        elif line.startswith(_EVENT):
            name = _value(line, _EVENT)
    if data:
        yield Event("\n".join(data), name)


async def _iter_page(chunks: AsyncIterable[bytes]) -> AsyncIterator[Event]:
    page = bytearray()
    async for chunk in chunks:
        page += chunk
        if len(page) > _MAX_PAGE_BYTES:
            break
    yield Event(page.decode("utf-8", "replace"), PAGE)


async def _iter_json(chunks: AsyncIterable[bytes], *, max_bytes: int) -> AsyncIterator[Event]:
    rest = bytearray()
    async for line in _iter_lines(chunks, max_bytes=max_bytes, with_rest=True):
        text = line.decode("utf-8", "replace").strip()
        if not rest and _is_complete(text):
            yield Event(text)
        elif text:
            rest += line + b"\n"
            _check_size(len(rest), max_bytes)
    if rest:
        yield Event(rest.decode("utf-8", "replace"))


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


async def _peek(
    chunks: AsyncIterable[bytes], *, max_bytes: int
) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first byte that is no space, and all chunks without a byte order mark."""
    source = aiter(chunks)
    head = b""
    async for chunk in source:
        head += chunk
        _check_size(len(head), max_bytes)
        if BOM_UTF8.startswith(head):
            continue
        head = head.removeprefix(BOM_UTF8)
        if head.strip():
            break
    return head.strip()[:1], _chain(head, source)


async def _chain(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk


async def _iter_lines(
    chunks: AsyncIterable[bytes], *, max_bytes: int, with_rest: bool = False
) -> AsyncIterator[bytes]:
    """Whole lines without their ends; with `with_rest` also the text after the last line end."""
    pending = bytearray()
    after_cr = False
    async for chunk in chunks:
        if after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            after_cr = False
        if not chunk:
            continue
        after_cr = chunk.endswith(b"\r")
        first, *rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        pending += first
        _check_size(len(pending), max_bytes)
        for part in rest:
            yield bytes(pending)
            pending = bytearray(part)
            _check_size(len(pending), max_bytes)
    if with_rest and pending:
        yield bytes(pending)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ProviderError("The chat provider sent more in one event than is accepted.")
