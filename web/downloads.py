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

    Several ranges, or one of a version that is gone (If-Range), count as none
    (RFC 9110, 14.2). Raises RequestedRangeNotSatisfiable.
    """
    asked = request.range
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    if "If-Range" in request.headers and request.if_range.etag != etag:
        return None
    found = asked.range_for_length(size)
    if found is None:
        raise RequestedRangeNotSatisfiable(length=size)
    return found


def begin(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """`blocks`, the first one read already: what cannot be opened fails before the headers go."""
    first = next(blocks, b"")
    return chain([first], blocks)
