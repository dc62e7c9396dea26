"""Requests per minute and key: Flask-Limiter on Redis, exact across processes.

A fixed window: one INCR per request is exact under any concurrency, costs one
round trip and one small key, and its reset is one moment that a client can wait
for. (A moving window keeps a list as long as the limit for each key, and the
moment at which it frees up moves.) Its price: around a window's edge a client
may send two windows' worth within a minute.

While Redis is away each process counts for itself.
"""

import math
import os
import threading
import time
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from flask import Flask, Response, current_app, request
from flask_limiter import Limiter, RateLimitExceeded
from flask_limiter._extension import LimiterContext
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from core.settings import Settings
from web.http.auth import is_guarded, needs_key
from web.http.context import services
from web.http.request_state import Window, request_state
from web.http.view_policy import policy_of

EXPOSED_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

_REDIS_SECONDS = 0.25  # a black-holed Redis would hold each request for 5 to 10 s
_MINUTE = 60
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_UNKNOWN_FACTOR = 10  # callers without a key share their address, a proxy's perhaps

# Counts, and says when the window ends: Flask-Limiter would ask twice more for its headers.
_COUNT = b"""
local count = redis.call('INCRBY', KEYS[1], ARGV[2])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    left = ARGV[1] * 1000
    redis.call('PEXPIRE', KEYS[1], left)
end
return {count, left}
"""


class OneTripRedis(RedisStorage):
    """Redis storage that needs one round trip for counting a request and describing its window."""

    STORAGE_SCHEME = ["one-trip"]  # noqa: RUF012  # as the base class has it

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri.removeprefix("one-trip://"), **options)
        self._count = self.get_connection().register_script(_COUNT)
        self._own = threading.local()

    def count(self, key: str, *, seconds: int, amount: int) -> tuple[int, float]:
        """Requests of the window with this one, and when the window ends. Raises RedisError."""
        arguments = (self.prefixed_key(key), seconds, amount)
        try:
            count, left = self._ask(_packed("EVALSHA", self._count.sha, 1, *arguments))
        except (RedisConnectionError, NoScriptError):  # Redis was restarted, say
            count, left = cast("list[int]", self._count(arguments[:1], arguments[1:]))
        return count, time.time() + left / 1000

    def _ask(self, command: list[bytes]) -> Any:
        """The answer over this thread's own connection: redis-py's pool takes longer than Redis."""
        own, pid = self._own, os.getpid()
        if getattr(own, "pid", None) != pid:
            pool: ConnectionPool = self.storage.connection_pool
            own.connection, own.pid = pool.connection_class(**pool.connection_kwargs), pid
        connection: Any = own.connection
        # Whatever fails here closes the connection, so that no answer is left to read in it.
        connection.send_packed_command(command, check_health=False)
        return connection.read_response()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return self.count(key, seconds=expiry, amount=amount)[0]


@lru_cache(maxsize=10_000)
def _packed(*command: str | int) -> list[bytes]:
    connection: Any = Connection  # untyped
    packed: list[bytes] = connection().pack_command(*command)
    return packed


class KeyLimiter(Limiter):
    """Flask-Limiter where all routes share one limit per key.

    Flask-Limiter works out for each request which limits of application,
    blueprint and route hold, which takes it longer than counting. Here it is
    always the one; all else, and the in-memory fallback, are the base class's.
    """

    def _check_request_limit(
        self, callable_name: str | None = None, in_middleware: bool = True
    ) -> None:
        if not needs_key():
            return
        counted = None if is_degraded(self) else self._count()
        if counted is not None:
            self._keep(*counted)
            return
        try:
            super()._check_request_limit(callable_name, in_middleware)
        except RedisError:
            # The base class falls back for the first request that fails. Those that waited
            # for Redis beside it find it known to be dead when they fail, and would be 500.
            self.context.seen_limits.clear()
            super()._check_request_limit(callable_name, in_middleware)

    def _count(self) -> tuple[int, float] | None:
        """This request counted in Redis; None if that failed, which the base class goes into."""
        storage = cast(OneTripRedis, self.storage)
        key = _key(_amount(), _bucket())
        try:
            return storage.count(key, seconds=_MINUTE, amount=_cost())
        except RedisError:
            return None

    def _keep(self, count: int, ends: float) -> None:
        amount = _amount()
        request_state().window = Window(amount, max(0, amount - count), ends)
        if count > amount:
            limit = self.limit_manager.application_limits[0]
            self.logger.info(
                "ratelimit %s (%s) exceeded at endpoint: %s", limit.limit, _bucket(), "global"
            )
            raise RateLimitExceeded(limit)

    @property
    def context(self) -> LimiterContext:
        # The base class's hooks look here after each request; nothing is there for them.
        return super().context if request_state().window is None else _NO_CONTEXT

    @property
    def window(self) -> Window | None:
        """Where the request's key stands; None if this request was not counted."""
        window = request_state().window
        if window is not None:
            return window
        local = self.current_limit
        if local is None:
            return None
        return Window(local.limit.amount, local.remaining, local.window.reset_time)


_NO_CONTEXT = LimiterContext()


@lru_cache(maxsize=10_000)
def _key(amount: int, bucket: str) -> str:
    """The name that Flask-Limiter counts an application's limit under."""
    return RateLimitItemPerMinute(amount).key_for(bucket, "global")


def limits_url(redis_url: str) -> str:
    """Where limits are kept: the database number after the queue's."""
    parts = urlsplit(redis_url.replace("redis+socket://", "unix://", 1))
    if parts.scheme == "unix":
        number = dict(parse_qsl(parts.query)).get("db", "0")
        return f"unix://{parts.path}?db={int(number) + 1}"
    number = parts.path.strip("/")
    return urlunsplit(parts._replace(path=f"/{int(number or 0) + 1}"))


def create_limiter(settings: Settings) -> KeyLimiter:
    return KeyLimiter(
        key_func=_bucket,
        application_limits=[_limit],
        application_limits_cost=_cost,
        application_limits_exempt_when=lambda: not needs_key(),
        headers_enabled=False,  # they would set Retry-After on every response
        strategy="fixed-window",
        storage_uri=f"one-trip://{limits_url(settings.redis_url)}",
        storage_options=cast(
            "dict[str, str | int]",
            {
                "socket_timeout": _REDIS_SECONDS,
                "socket_connect_timeout": _REDIS_SECONDS,
                # Once more on a connection that Redis closed; not after a timeout.
                "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
                "key_prefix": "rag-limits",
            },
        ),
        in_memory_fallback_enabled=True,
        request_identifier=lambda: request.endpoint or "nowhere",
    )


def _bucket() -> str:
    principal = request_state().principal
    return principal.name if principal is not None else f"address:{request.remote_addr}"


def _limit() -> str:
    return f"{_amount()}/minute"


def _amount() -> int:
    settings, principal = services().settings, request_state().principal
    if principal is None:
        return settings.rate_limit_per_minute * _UNKNOWN_FACTOR
    return principal.rate_limit_per_minute or settings.rate_limit_per_minute


def _cost() -> int:
    """How many requests this one counts for: uploads and chat turns may count for several."""
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.method in _SAFE_METHODS:
        return 1
    settings = services().settings
    prices = {"request": 1, "chat": settings.chat_cost, "upload": settings.upload_cost}
    return prices[policy_of(view).cost]


def is_degraded(limiter: Limiter) -> bool:
    """Whether limits are counted by this process alone, Redis being away."""
    return isinstance(limiter.limiter.storage, MemoryStorage)


def init_app(app: Flask, limiter: KeyLimiter) -> None:
    app.config["RATELIMIT_HEADERS_ENABLED"] = False
    limiter.init_app(app)

    @app.after_request
    def add_headers(response: Response) -> Response:
        window = limiter.window
        if window is not None and is_guarded(request.path):
            headers = response.headers
            headers.add("X-RateLimit-Limit", str(window.amount))
            headers.add("X-RateLimit-Remaining", str(window.remaining))
            headers.add("X-RateLimit-Reset", str(math.ceil(window.ends)))
            if response.status_code == 429:
                headers["Retry-After"] = str(max(1, math.ceil(window.ends - time.time())))
        return response
