"""Requests per minute and key: Flask-Limiter on Redis, exact across processes.

A fixed window: one INCR per request is exact under any concurrency, costs one
round trip and one small key, and its reset is one moment that a client can wait
for. (A moving window keeps a list as long as the limit for each key, and the
moment at which it frees up moves.) Its price: around a window's edge a client
may send two windows' worth within a minute.

While Redis is away each process counts for itself.
"""

import math
import threading
import time
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter
from limits.storage import MemoryStorage, RedisStorage
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from core.settings import Settings
from web.auth import is_guarded, needs_key, scopes_of

EXPOSED_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

_REDIS_SECONDS = 0.25  # a black-holed Redis would hold each request for 5 to 10 s
_UNKNOWN_FACTOR = 10  # callers without a key share their address, a proxy's perhaps

# Counts, and says when the window ends: Flask-Limiter would ask twice more for its headers.
_COUNT = """
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
        self._count = self.get_connection().register_script(_COUNT.encode())
        self._last = threading.local()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        count, left = cast(
            "tuple[int, int]", self._count([self.prefixed_key(key)], [expiry, amount])
        )
        self._last.window = (key, int(count), time.time() + left / 1000)
        return int(count)

    def get(self, key: str) -> int:
        known = getattr(self._last, "window", None)
        return known[1] if known and known[0] == key else super().get(key)

    def get_expiry(self, key: str) -> float:
        known = getattr(self._last, "window", None)
        return known[2] if known and known[0] == key else super().get_expiry(key)


def limits_url(redis_url: str) -> str:
    """Where limits are kept: the database number after the queue's."""
    parts = urlsplit(redis_url.replace("redis+socket://", "unix://", 1))
    if parts.scheme == "unix":
        number = dict(parse_qsl(parts.query)).get("db", "0")
        return f"unix://{parts.path}?db={int(number) + 1}"
    number = parts.path.strip("/")
    return urlunsplit(parts._replace(path=f"/{int(number or 0) + 1}"))


def create_limiter(settings: Settings) -> Limiter:
    return Limiter(
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
    principal = g.get("principal")
    return principal.name if principal is not None else f"address:{request.remote_addr}"


def _limit() -> str:
    settings = cast(Settings, current_app.extensions["services"].settings)
    principal = g.get("principal")
    if principal is None:
        return f"{settings.rate_limit_per_minute * _UNKNOWN_FACTOR}/minute"
    return f"{principal.rate_limit_per_minute or settings.rate_limit_per_minute}/minute"


def _cost() -> int:
    """Uploads and chat turns may count for several requests."""
    settings = cast(Settings, current_app.extensions["services"].settings)
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.method != "POST":
        return 1
    scopes = scopes_of(view)
    if "chat" in scopes:
        return settings.chat_cost
    return settings.upload_cost if getattr(view, "_costs_upload", False) else 1


def is_degraded(limiter: Limiter) -> bool:
    """Whether limits are counted by this process alone, Redis being away."""
    return isinstance(limiter.limiter.storage, MemoryStorage)


def init_app(app: Flask, limiter: Limiter) -> None:
    app.config["RATELIMIT_HEADERS_ENABLED"] = False
    limiter.init_app(app)

    @app.after_request
    def add_headers(response: Response) -> Response:
        window = limiter.current_limit
        if window is not None and is_guarded(request.path):
            ends = window.window.reset_time
            response.headers["X-RateLimit-Limit"] = str(window.limit.amount)
            response.headers["X-RateLimit-Remaining"] = str(window.remaining)
            response.headers["X-RateLimit-Reset"] = str(math.ceil(ends))
            if response.status_code == 429:
                response.headers["Retry-After"] = str(max(1, math.ceil(ends - time.time())))
        return response
