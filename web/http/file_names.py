"""Reads the name of an uploaded file, in the encodings that clients use."""

import re
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_QUOTED_NAME = re.compile(rf";[ \t]*filename=({_QUOTED})[ \t]*(?:$|;)", re.IGNORECASE)
_EXTENDED_NAME = re.compile(
    r";[ \t]*filename\*[ \t]*=[ \t]*([\w.:-]*)'[\w-]*'([^;\s\"]*)", re.IGNORECASE
)
_BARE_NAME = re.compile(rb'(;[ \t]*filename=)(?![ \t"])([^;\r\n]+)', re.IGNORECASE)
_ESCAPED = re.compile(r'\\(["\\])')
_WORD = r"=\?[\w.:*-]+\?[bq]\?[^?]*\?="
_WORDS = re.compile(rf"{_WORD}(?:[ \t]*{_WORD})*", re.IGNORECASE)


def quote_file_name(header: bytes) -> bytes:
    """Add the quotes around the file's name that some clients leave out of a part's header.

    Without quotes, Werkzeug stops at the first character that RFC 9110 does not allow, and
    reads `my report.pdf` as `my`.
    """
    return _BARE_NAME.sub(rb'\1"\2"', header)


def read_file_name(disposition: str, *, parsed: str) -> str:
    """Return the file's name in a `Content-Disposition`; `parsed` is Werkzeug's reading of it.

    - `filename*` wins over `filename` (RFC 6266, 4.3); its value is as in RFC 8187.
    - Mail libraries write encoded words, `=?utf-8?B?…?=` (RFC 2047).
    - Browsers send a backslash unchanged and a quote as %22 (WHATWG, multipart/form-data
      encoding algorithm). Other clients escape both (RFC 9110, 5.6.4). Werkzeug treats every
      backslash as an escape.
    """
    extended = _EXTENDED_NAME.search(re.sub(_QUOTED, '""', disposition))
    if extended and (name := _decode(unquote_to_bytes(extended[2]), extended[1])):
        return name
    if quoted := _QUOTED_NAME.search(disposition):
        parsed = _ESCAPED.sub(r"\1", quoted[1][1:-1]).replace("%22", '"')
    return _WORDS.sub(lambda run: _decode_words(run[0]), parsed)


def _decode_words(run: str) -> str:
    """Decode a run of encoded words. Return it unchanged if that fails."""
    try:
        parts = [_decode(part, charset or "ascii") for part, charset in decode_header(run)]
    except HeaderParseError:
        return run
    return "".join(part or "" for part in parts) if all(parts) else run


def _decode(data: bytes | str, charset: str) -> str | None:
    if isinstance(data, str):
        return data
    try:
        return data.decode(charset or "utf-8")
    except (LookupError, ValueError):
        return None
