"""Server-sent events, read from bytes as they arrive."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator

from core.errors import ProviderError

MAX_EVENT_BYTES = 1024 * 1024


def iter_event_data(chunks: Iterable[bytes], *, max_bytes: int = MAX_EVENT_BYTES) -> Iterator[str]:
    """The `data` of each event, as in WHATWG HTML 9.2.6; comments and other fields are skipped.

    Characters and line ends (LF, CRLF, CR) may be cut anywhere between chunks. A last event
    that lacks its blank line counts if its line is whole. Raises ProviderError for a line or
    an event over `max_bytes`: nothing larger is ever held.
    """
    data: list[str] = []
    size = 0
    for number, line in enumerate(_iter_lines(chunks, max_bytes=max_bytes)):
        if not number:
            line = line.removeprefix(BOM_UTF8)
        if not line:
            if data:
                yield "\n".join(data)
            data, size = [], 0
        elif line.startswith(b"data:"):
            size += len(line)
            _check_size(size, max_bytes)
            value = line[5:].decode("utf-8", "replace")
            data.append(value.removeprefix(" "))
    if data:
        yield "\n".join(data)


def _iter_lines(chunks: Iterable[bytes], *, max_bytes: int) -> Iterator[bytes]:
    """Whole lines without their ends; what follows the last line end is dropped."""
    pending = bytearray()
    after_cr = False
    for chunk in chunks:
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


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ProviderError("The chat provider sent more in one event than is accepted.")
