"""The frames that parser and child exchange: two big-endian lengths, a JSON object, raw bytes."""

import json
import struct
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct(">II")
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_BLOB_BYTES = 64 * 1024 * 1024


def encode(message: dict[str, Any], blob: bytes = b"") -> bytes:
    """One frame. Raises ValueError if a part is larger than the reader accepts."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    _check_sizes(len(body), len(blob))
    return HEADER.pack(len(body), len(blob)) + body + blob


def decode(read_exactly: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes]:
    """The next frame, read through `read_exactly(count)`. Raises ValueError on nonsense."""
    message_size, blob_size = HEADER.unpack(read_exactly(HEADER.size))
    _check_sizes(message_size, blob_size)
    message = json.loads(read_exactly(message_size))
    if not isinstance(message, dict):
        raise ValueError("a frame holds a JSON object")
    return message, read_exactly(blob_size) if blob_size else b""


def _check_sizes(message_size: int, blob_size: int) -> None:
    if message_size > MAX_MESSAGE_BYTES or blob_size > MAX_BLOB_BYTES:
        raise ValueError("frame too large")
