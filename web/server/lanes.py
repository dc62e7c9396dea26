"""Keeps the requests that begin chat turns from taking all threads.

The begin of a turn needs the interpreter lock for some milliseconds. When hundreds of turns
begin at once, another request would wait until a thread has handled all of them. So one thread of
sixteen handles these requests, and those that wait hold no thread. More threads would not handle
them sooner, because only one thread of a process runs Python at a time.
"""

import re
from collections import deque
from typing import Generic, TypeVar

_SHARE = 16  # of how many threads the lane has one
NOTHING = re.compile(rb"(?!)")  # matches no request
T = TypeVar("T")


class Lane(Generic[T]):
    """The requests that match `pattern`. Only the worker's main loop may use it."""

    def __init__(self, pattern: re.Pattern[bytes], *, threads: int) -> None:
        self._pattern = pattern
        self._free = max(1, threads // _SHARE)
        self._waiting: deque[T] = deque()

    def takes(self, head: bytes | bytearray) -> bool:
        """Whether a request with this head belongs to the lane."""
        return self._pattern.match(head) is not None

    def enter(self, connection: T) -> bool:
        """Take one of the lane's threads. If none is free, return False and let it wait."""
        if self._free > 0:
            self._free -= 1
            return True
        self._waiting.append(connection)
        return False

    def leave(self) -> T | None:
        """Give a thread back; return the connection that takes it, if one waits."""
        if self._waiting:
            return self._waiting.popleft()
        self._free += 1
        return None
