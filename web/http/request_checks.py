"""Checks that run before every schema. Each raises Invalid with the field's name. They refuse:

- U+0000 and lone surrogates, because PostgreSQL cannot store them,
- deep nesting, because it exhausts the stack,
- numbers of thousands of digits, because they exhaust the parser,
- two members with the same name, because RFC 8259, 4 leaves open which one counts.
"""

import json
import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import request

from core.errors import Invalid
from web.http.errors import UnsupportedCoding

MAX_DEPTH = 64
MAX_DIGITS = 309  # the length of the largest double when PostgreSQL's jsonb writes it out

_UNSTORABLE = "Must not contain U+0000 or lone surrogates."
_TOO_DEEP = f"Must not be nested deeper than {MAX_DEPTH} levels."
_BAD_NUMBER = f"Must be a finite number of at most {MAX_DIGITS} digits."
_BYTE_ORDER_MARK = "\ufeff"
_DUPLICATE = "Must not hold two members of the same name."


class _InvalidValue:
    """Placeholder for a value that the parser refuses. `_check` finds its path and raises."""

    def __init__(self, message: str) -> None:
        self.message = message


def invalid(field: str, message: str) -> Invalid:
    return Invalid("The request is not valid; see errors.", errors={field or "body": [message]})


def parse_json(data: bytes, *, root: str = "") -> Any:
    """Parse a JSON text in UTF-8. Raises Invalid with field paths below `root`."""
    has_invalid = False

    def invalid_value(message: str) -> _InvalidValue:
        nonlocal has_invalid
        has_invalid = True
        return _InvalidValue(message)

    def number(digits: str) -> Any:
        return int(digits) if len(digits) <= MAX_DIGITS else invalid_value(_BAD_NUMBER)

    def fraction(digits: str) -> Any:
        value = float(digits) if len(digits) <= MAX_DIGITS else math.inf
        return value if math.isfinite(value) else invalid_value(_BAD_NUMBER)

    def members(pairs: list[tuple[str, Any]]) -> Any:
        found = dict(pairs)
        return found if len(found) == len(pairs) else invalid_value(_DUPLICATE)

    try:
        text = data.decode()
        if text.startswith(_BYTE_ORDER_MARK):
            raise invalid(root, "Must be UTF-8 without a byte order mark.")
        value = json.loads(
            text,
            parse_int=number,
            parse_float=fraction,
            parse_constant=lambda _: invalid_value(_BAD_NUMBER),
            object_pairs_hook=members,
        )
    except UnicodeDecodeError as error:
        raise invalid(root, f"Must be UTF-8; byte {error.start + 1} is not.") from None
    except RecursionError:
        raise invalid(root, _TOO_DEEP) from None
    except ValueError as error:
        raise invalid(root, f"Must be valid JSON{_place(error)}.") from None
    # Skip the walk if the text has no escape, which U+0000 and lone surrogates need, and too few
    # brackets for deep nesting.
    if has_invalid or "\\u" in text or text.count("{") + text.count("[") > MAX_DEPTH:
        _check(value, root)
    return value


def _place(error: ValueError) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return ""
    return f" ({error.msg}, line {error.lineno}, column {error.colno})"


def _check(value: Any, root: str) -> None:
    waiting: list[tuple[str, Any, int]] = [(root, value, 0)]
    while waiting:
        path, item, depth = waiting.pop()
        if isinstance(item, _InvalidValue):
            raise invalid(path, item.message)
        if isinstance(item, str):
            check_text(item, field=path)
        elif isinstance(item, (dict, list)):
            if depth >= MAX_DEPTH:
                raise invalid(".".join(path.split(".")[:2]), _TOO_DEEP)
            waiting.extend((*part, depth + 1) for part in _parts(path, item))


def _parts(path: str, item: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    prefix = f"{path}." if path else ""
    if isinstance(item, list):
        for number, part in enumerate(item):
            yield f"{prefix}{number}", part
        return
    for name, part in item.items():
        check_text(name, field=path)
        yield f"{prefix}{name}", part


def check_text(text: str, *, field: str) -> str:
    """Return `text` if PostgreSQL can store it. Raises Invalid, naming `field`."""
    if "\0" in text or not _is_unicode(text):
        raise invalid(field, _UNSTORABLE)
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_address() -> None:
    """Refuse a path or query string that is not UTF-8 or contains U+0000.

    Werkzeug would replace bytes that it cannot decode with U+FFFD.
    """
    path = request.environ.get("PATH_INFO", "")
    if not path.isascii() or "\0" in path:
        _decode(path.encode("latin-1"), field="path")
    query = request.query_string
    if b"%" in query or not query.isascii():
        _decode(unquote_to_bytes(query.replace(b"+", b" ")), field="query")


def check_coding() -> None:
    """Refuse a compressed body, because the service does not decompress.

    This runs before idempotency, so that the refusal is not stored under the request's
    Idempotency-Key: the same request is valid when it is not compressed.
    """
    given = request.headers.get("Content-Encoding")
    if given is None or request.endpoint is None or request.content_length == 0:
        return
    if {coding.strip().lower() for coding in given.split(",")} - {"", "identity"}:
        raise UnsupportedCoding(
            "The body must not be compressed: no Content-Encoding is supported."
        )


def _decode(data: bytes, *, field: str) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise invalid(field, "Must be UTF-8.") from None
    check_text(text, field=field)
