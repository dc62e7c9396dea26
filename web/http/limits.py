"""Limits requests per minute and key, exactly across processes.

The strategy is a fixed window. One INCRBY per request is exact under any concurrency and costs
one round trip and one small key. The window ends at a fixed time, so a client knows how long
to wait. A moving window would store a list as long as the limit for each key, and the time of
the next free request would move. The disadvantage of a fixed window: around its end, a client
can send the requests of two windows within a minute.

Flask-Limiter holds the limit, its strategy and its storage for all blueprints. It checks
requests without a valid key, by address. A request with a key calls the strategy directly,
because Flask-Limiter's search for the limits of application, blueprint and route takes longer
than counting. docs/adr/0014-rate-limits.md has the numbers.
"""

import math
import time
from functools import lru_cache, partial
from typing import cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flask import Flask, Response, current_app, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import RateLimitItemPerMinute
from werkzeug.exceptions import TooManyRequests

from core.settings import Settings, SettingsError
from web.http import limit_storage
from web.http.context import services
from web.http.limit_storage import LimitStorage
from web.http.request_state import request_state
from web.http.view_policy import policy_of

EXPOSED_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ADDRESS_FACTOR = 10  # because many callers may share an address, for example a proxy's
_LAST_DATABASE = 15


def limits_url(redis_url: str) -> str:
    """Return Redis's URL for limits: the database after the queue's.

    Redis has 16 databases by default, so from 15 on the number stays. Sharing a database is
    harmless, because the keys of limits have their own prefix.
    """
    parts = urlsplit(redis_url.replace("redis+socket://", "unix://", 1))
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        number = query.pop("db", query.pop("virtual_host", "0"))
        query["db"] = _next_database(number)
        # Not with `urlunsplit`, which writes only one slash if the URL has no host.
        return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"
    number = _next_database(query.pop("db", parts.path.strip("/")))
    return urlunsplit(parts._replace(path=f"/{number}", query=urlencode(query)))


def _next_database(number: str) -> str:
    try:
        queue = int(number or 0)
    except ValueError:
        raise SettingsError("REDIS_URL: the database must be a number") from None
    return str(queue + 1 if queue < _LAST_DATABASE else queue)


def create_limiter(settings: Settings) -> Limiter:
    """Flask-Limiter over `LimitStorage`. Call `init_app` before the first request."""
    return Limiter(
        get_remote_address,
        application_limits=[lambda: f"{_amount()}/minute"],
        application_limits_cost=_cost,
        headers_enabled=False,  # otherwise every response would have Retry-After
        strategy="fixed-window",
        storage_uri=f"{limit_storage.SCHEME}://{limits_url(settings.redis_url)}",
        storage_options=limit_storage.OPTIONS,
        # Flask-Limiter does not count requests without an endpoint.
        request_identifier=lambda: request.endpoint or "nowhere",
    )


def init_app(app: Flask, limiter: Limiter) -> None:
    """Count requests before the views, and report the remaining ones in headers.

    Flask-Limiter registers its hooks on a separate app, so that requests with a key do not run
    them.
    """
    hooks = Flask("limits", static_folder=None)
    limiter.init_app(hooks)
    app.extensions |= {"rate_limiter": limiter, "limiter": {limiter}}
    app.before_request(partial(_count_request, limiter, hooks))
    app.after_request(_add_headers)


def _count_request(limiter: Limiter, hooks: Flask) -> None:
    """Raises TooManyRequests."""
    state = request_state()
    if not state.needs_key:
        return
    if state.principal is None:
        hooks.preprocess_request()
    elif not limiter.limiter.hit(_per_minute(_amount()), state.principal.name, cost=_cost()):
        raise TooManyRequests


_per_minute = lru_cache(maxsize=1000)(RateLimitItemPerMinute)


def _amount() -> int:
    """Return how many requests the caller may send in a minute."""
    settings, principal = services().settings, request_state().principal
    if principal is None:
        return settings.rate_limit_per_minute * _ADDRESS_FACTOR
    return principal.rate_limit_per_minute or settings.rate_limit_per_minute


def _cost() -> int:
    """Return how much this request counts; an upload or a chat turn may count for several."""
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.method in _SAFE_METHODS:
        return 1
    settings = services().settings
    prices = {"request": 1, "chat": settings.chat_cost, "upload": settings.upload_cost}
    return prices[policy_of(view).cost]


def is_degraded(limiter: Limiter) -> bool:
    """Whether this process counts in its own memory, because Redis is unreachable."""
    return cast(LimitStorage, limiter.storage).is_degraded


def _add_headers(response: Response) -> Response:
    window = request_state().window
    if window is not None:
        headers, amount = response.headers, _amount()
        headers.add("X-RateLimit-Limit", str(amount))
        headers.add("X-RateLimit-Remaining", str(max(0, amount - window.used)))
        headers.add("X-RateLimit-Reset", str(math.ceil(window.ends)))
        if response.status_code == 429:
            headers["Retry-After"] = str(max(1, math.ceil(window.ends - time.time())))
    return response
