"""Authentication by API keys, and authorization by their scopes."""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from flask import current_app, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from core.access import keys
from core.access.keys import Principal, Scope
from core.errors import Forbidden
from web.http.context import services
from web.http.request_state import request_state
from web.http.view_policy import Cost, declare, policy_of

View = TypeVar("View", bound=Callable[..., Any])

_CHALLENGES = (
    WWWAuthenticate("ApiKey", {"realm": "rag-chat-service"}),
    WWWAuthenticate("Bearer", {"realm": "rag-chat-service"}),
)


def requires(*scopes: Scope, cost: Cost | None = None) -> Callable[[View], View]:
    """Declare that a view needs a key with one of `scopes`.

    `cost` is what a call counts in the rate limit. By default, a view with the scope `chat`
    counts as a chat turn, and other views as one request. A GET always counts as one request.
    """
    if cost is None and "chat" in scopes:
        cost = "chat"

    def mark(view: View) -> View:
        declare(view, scopes=scopes)
        if cost is not None:
            declare(view, cost=cost)
        return view

    return mark


def needs_key(path: str) -> bool:
    """Whether `path` needs a key: everything under /api/v1 and /v1."""
    return path.startswith(("/api/v1/", "/v1/")) or path in {"/api/v1", "/v1"}


def identify() -> None:
    """Find the caller by its key, without refusing anybody.

    `authorize` refuses later, after the rate limit has counted the request. OPTIONS needs no
    key: a browser's preflight has none, and no view handles OPTIONS itself.
    """
    if needs_key(request.path) and request.method != "OPTIONS":
        state = request_state()
        state.needs_key, state.principal = True, _find_principal()


def _find_principal() -> Principal | None:
    given = _given_key()
    if not given:
        return None
    settings = services().settings
    if _are_equal(given, settings.api_key.get_secret_value()):
        return keys.operator()
    if not given.isascii():
        return None
    db = services().database.autocommit(tenant_id=None)
    return keys.authenticate(db, key=given, pepper=settings.effective_key_pepper)


def _given_key() -> str | None:
    header = request.headers.get("X-API-Key")
    if header is not None:
        return header
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _are_equal(given: str, expected: str) -> bool:
    # Compare hashes, so that the time does not reveal the length.
    return hmac.compare_digest(_digest(given), _expected_digest(expected))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


_expected_digest = lru_cache(maxsize=4)(_digest)


def authorize() -> None:
    """Refuse a caller without a valid key (401) or whose key lacks the scope (403)."""
    state = request_state()
    if not state.needs_key:
        return
    principal = state.principal
    if principal is None:
        raise Unauthorized(www_authenticate=_CHALLENGES)
    if request.endpoint is None:
        return  # no view; the router responds with 404 or 405
    needed = policy_of(current_app.view_functions[request.endpoint]).scopes
    if not principal.scopes.intersection(needed):
        raise Forbidden(f"This needs a key with the scope {' or '.join(needed)}.")


def record_route() -> None:
    """Record the URL rule for the log and the metrics."""
    if request.url_rule is not None:
        request_state().route = request.url_rule.rule
