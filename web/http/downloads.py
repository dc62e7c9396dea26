"""Sending a stored file: ranges, validators, and a name that can do no harm."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

_NAME_CHARACTERS = 150
_UNSAFE_ASCII = re.compile(r"[^A-Za-z0-9 ._()\-]")
# RFC 9110, 14.1.2 and, for the commas of empty elements, 5.6.1.2. Longer numerals than
# that can say nothing, and from 4,300 digits on Python reads none.
_ONE_RANGE = re.compile(r"bytes=[ \t,]*([0-9]{0,100})-([0-9]{0,100})[ \t,]*", re.IGNORECASE)


def content_disposition(filename: str) -> str:
    """`attachment` with the name twice: plain for old clients, and by RFC 8187 (see RFC 6266)."""
    base = re.split(r"[/\\]", filename)[-1]
    # Categories C*: controls, and the marks that turn "fdp.exe" around.
    shown = "".join(char for char in base if unicodedata.category(char)[0] != "C").strip(" .")
    shown = shown[:_NAME_CHARACTERS] or "document.pdf"
    plain = _UNSAFE_ASCII.sub("_", shown)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='')}"


def is_known(etag: str) -> bool:
    """Whether the client has this already (RFC 9110, 13.1.2)."""
    return request.if_none_match.contains_weak(etag)


# What is downloaded is kept by the client, but asked for again: it may have been deleted.
REVALIDATE = "private, no-cache"


def not_modified(etag: str) -> Response:
    response = Response(status=304, headers={"Cache-Control": REVALIDATE})  # RFC 9110, 15.4.5
    response.set_etag(etag)
    del response.headers["Content-Type"]
    return response


def wanted_range(*, size: int, etag: str) -> tuple[int, int] | None:
    """The one range asked for, as (start, end exclusive); None: send everything.

    Ranges are for GET alone (RFC 9110, 14.2); of a version that is gone, or was named by a
    weak ETag (If-Range, 13.1.5), everything is sent. Raises RequestedRangeNotSatisfiable.
    """
    present = f'"{etag}"'
    if request.method != "GET" or request.headers.get("If-Range", present) != present:
        return None
    return find_range(request.headers.get("Range", ""), size=size)


def find_range(asked: str, *, size: int) -> tuple[int, int] | None:
    """What a Range field means for a content of `size` bytes, as `wanted_range` has it.

    Several ranges, other units and what is malformed count as none, which is always allowed
    (RFC 9110, 14.2). Raises RequestedRangeNotSatisfiable, also for the last 0 bytes (14.1.2).
    """
    found = _ONE_RANGE.fullmatch(asked)
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


def begin(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """`blocks`, the first one read already: what cannot be opened fails before the headers go."""
    first = next(blocks, b"")
    return chain([first], blocks)
