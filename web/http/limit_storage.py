"""Counts requests in Redis, and in this process's memory while Redis is unreachable.

A custom storage of `limits` (https://limits.readthedocs.io/en/stable/custom-storage.html).
It differs from `limits.storage.RedisStorage` in three ways:

- One round trip counts a request and returns the end of its window.
- Each thread has its own connection, because redis-py's pool takes longer than Redis.
- An error of Redis never fails a request: this process counts the request in memory.
"""

import logging
import os
import threading
import time
from functools import lru_cache
from typing import Any, cast

from limits.storage import MemoryStorage, RedisStorage
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from web.http.request_state import Window, request_state

# Flask-Limiter's logger: one name for all messages about limits.
log = logging.getLogger("flask-limiter")

SCHEME = "rag-limits"
OPTIONS: dict[str, Any] = {
    # Without timeouts, a Redis that accepts connections but never responds delays each request
    # by 5 to 10 s.
    "socket_timeout": 0.25,
    "socket_connect_timeout": 0.25,
    # Try again once on a connection that Redis has closed, but not after a timeout.
    "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    "key_prefix": "rag-limits",
}
_LONGEST_WAIT_SECONDS = 32

_COUNT = b"""
local count = redis.call('INCRBY', KEYS[1], ARGV[2])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    left = ARGV[1] * 1000
    redis.call('PEXPIRE', KEYS[1], left)
end
return {count, left}
"""


class _Outage:
    """Tracks whether Redis is unreachable, and when to try again: after 1, 2, 4 … 32 s."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wait = 0
        self._next_try = 0.0

    @property
    def is_on(self) -> bool:
        return self._wait > 0

    def may_ask(self) -> bool:
        """Whether this request may try Redis. During an outage, one request at a time may."""
        if not self.is_on:
            return True
        with self._lock:
            due = time.monotonic() >= self._next_try
            if due:
                self._postpone()
        return due

    def _postpone(self) -> None:
        self._wait = min(max(1, 2 * self._wait), _LONGEST_WAIT_SECONDS)
        self._next_try = time.monotonic() + self._wait

    def begin(self) -> None:
        """Note that Redis has failed."""
        with self._lock:
            if not self.is_on:
                self._postpone()
                log.warning("Rate limit storage unreachable - falling back to in-memory storage")

    def end(self) -> None:
        """Note that Redis has responded."""
        if self.is_on:
            with self._lock:
                self._wait = 0
            log.info("Rate limit storage recovered")


class LimitStorage(RedisStorage):
    """Storage for URLs of the form `rag-limits://` + Redis's URL; `limits` creates it."""

    STORAGE_SCHEME = [SCHEME]  # noqa: RUF012  # as the base class has it

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri.removeprefix(f"{SCHEME}://"), **options)
        self._script = self.get_connection().register_script(_COUNT)
        self._thread = threading.local()
        self._memory, self._memory_lock = MemoryStorage(), threading.Lock()
        self._outage = _Outage()

    @property
    def is_degraded(self) -> bool:
        """Whether this process counts in its own memory."""
        return self._outage.is_on

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add `amount` to the window of `key`, which lasts `expiry` seconds; return the sum.

        Also store the window's end in the request's state for the response's headers, which
        saves a second round trip.
        """
        window = request_state().window = self._count(key, expiry, amount)
        return window.used

    def _count(self, key: str, seconds: int, amount: int) -> Window:
        if self._outage.may_ask():
            try:
                counted = self._count_in_redis(key, seconds, amount)
            except RedisError:
                self._outage.begin()
            else:
                self._outage.end()
                return counted
        with self._memory_lock:  # otherwise two first requests at once would count as one
            return Window(self._memory.incr(key, seconds, amount), self._memory.get_expiry(key))

    def _count_in_redis(self, key: str, seconds: int, amount: int) -> Window:
        arguments = (self.prefixed_key(key), seconds, amount)
        try:
            count, left = self._ask(_packed("EVALSHA", self._script.sha, 1, *arguments))
        except (RedisConnectionError, NoScriptError):  # for example after a restart of Redis
            count, left = cast("list[int]", self._script(arguments[:1], arguments[1:]))
        return Window(count, time.time() + left / 1000)

    def _ask(self, command: list[bytes]) -> Any:
        """Send `command` over this thread's connection and return Redis's reply.

        After any failure redis-py closes the connection, so no stale reply stays in it.
        """
        own, pid = self._thread, os.getpid()
        if getattr(own, "pid", None) != pid:
            pool: ConnectionPool = self.storage.connection_pool
            own.connection, own.pid = pool.connection_class(**pool.connection_kwargs), pid
        connection: Any = own.connection
        connection.send_packed_command(command, check_health=False)
        return connection.read_response()


@lru_cache(maxsize=10_000)
def _packed(*command: str | int) -> list[bytes]:
    connection: Any = Connection  # untyped
    packed: list[bytes] = connection().pack_command(*command)
    return packed
