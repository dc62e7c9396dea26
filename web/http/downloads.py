"""Sends stored files: byte ranges, ETags, and safe file names."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

_NAME_CHARACTERS = 150
_UNSAFE_ASCII = re.compile(r"[^A-Za-z0-9 ._()\-]")
# RFC 9110, 14.1.2 and, for the commas of empty elements, 5.6.1.2. No file needs more than 100
# digits, and Python refuses to parse 4,300.
_ONE_RANGE = re.compile(r"bytes=[ \t,]*([0-9]{0,100})-([0-9]{0,100})[ \t,]*", re.IGNORECASE)


def content_disposition(filename: str) -> str:
    """Return `attachment` with the name in ASCII for old clients, and by RFC 8187 (RFC 6266)."""
    base = re.split(r"[/\\]", filename)[-1]
    # Categories C*: control characters, and marks that reverse text, such as "fdp.exe".
    shown = "".join(char for char in base if unicodedata.category(char)[0] != "C").strip(" .")
    shown = shown[:_NAME_CHARACTERS] or "document.pdf"
    plain = _UNSAFE_ASCII.sub("_", shown)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='')}"


def is_known(etag: str) -> bool:
    """Whether the client has this version already (RFC 9110, 13.1.2)."""
    return request.if_none_match.contains_weak(etag)


# The client may cache a download but must revalidate it, because the file may be deleted.
REVALIDATE = "private, no-cache"


def not_modified(etag: str) -> Response:
    response = Response(status=304, headers={"Cache-Control": REVALIDATE})  # RFC 9110, 15.4.5
    response.set_etag(etag)
    del response.headers["Content-Type"]
    return response


def wanted_range(*, size: int, etag: str) -> tuple[int, int] | None:
    """Return the requested range as (start, exclusive end), or None to send the whole file.

    Only GET has ranges (RFC 9110, 14.2). If-Range (13.1.5) with the ETag of another version, or
    with a weak ETag, gives None. Raises RequestedRangeNotSatisfiable.
    """
    present = f'"{etag}"'
    if request.method != "GET" or request.headers.get("If-Range", present) != present:
        return None
    return parse_range(request.headers.get("Range", ""), size=size)


def parse_range(header: str, *, size: int) -> tuple[int, int] | None:
    """Parse a Range header for a content of `size` bytes; see `wanted_range` for the result.

    Several ranges, other units and malformed values give None, which RFC 9110, 14.2 allows.
    Raises RequestedRangeNotSatisfiable, also for a suffix of 0 bytes (14.1.2).
    """
    found = _ONE_RANGE.fullmatch(header)
    first, last = found.groups() if found else ("", "")
    if not first + last or (first and last and int(first) > int(last)):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    else:
        start, end = max(0, size - int(last)), size
    if start >= size:
        raise RequestedRangeNotSatisfiable(length=size)
    return start, end


def read_first_block(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Read the first block and return all, so that a missing file fails before the headers."""
    first = next(blocks, b"")
    return chain([first], blocks)
