"""Who is calling, and may they: keys, scopes, and the order of the checks at the door."""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from flask import current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from core.access import keys
from core.access.keys import Principal, Scope
from core.errors import Forbidden
from web.http.context import services

View = TypeVar("View", bound=Callable[..., Any])

_SCOPES = "_scopes"
_CHALLENGES = (
    WWWAuthenticate("ApiKey", {"realm": "rag-chat-service"}),
    WWWAuthenticate("Bearer", {"realm": "rag-chat-service"}),
)


def requires(*scopes: Scope) -> Callable[[View], View]:
    """The view needs a key with one of `scopes`. Must be the outermost decorator but `route`."""

    def mark(view: View) -> View:
        setattr(view, _SCOPES, scopes)
        doc: dict[str, Any] = getattr(view, "_apidoc", {})
        doc.setdefault("manual_doc", {})["x-required-scopes"] = list(scopes)
        view._apidoc = doc  # type: ignore[attr-defined]
        return view

    return mark


def scopes_of(view: Callable[..., Any]) -> tuple[Scope, ...]:
    """The scopes any of which opens `view`; empty if it has none declared."""
    found: tuple[Scope, ...] = getattr(view, _SCOPES, ())
    return found


def is_guarded(path: str) -> bool:
    """Whether `path` needs a key: everything under /api/v1 and /v1."""
    return path.startswith(("/api/v1/", "/v1/")) or path in {"/api/v1", "/v1"}


def needs_key() -> bool:
    # A preflight carries no credentials, and every OPTIONS here says no more than one.
    return is_guarded(request.path) and request.method != "OPTIONS"


def identify() -> None:
    """Find out who is calling; whether that will do is for `authorize`, after the limits."""
    g.principal = None
    if needs_key():
        g.principal = _find_principal()
        if g.principal is not None:
            request.environ["rag.log"].update(tenant=g.principal.tenant_id, key=g.principal.name)


def _find_principal() -> Principal | None:
    given = _given_key()
    if not given:
        return None
    settings = services().settings
    if _same(given, settings.api_key.get_secret_value()):
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


def _same(given: str, expected: str) -> bool:
    # Hashed first, so that not even the lengths can be told from the time it takes.
    return hmac.compare_digest(_digest(given), _digest_kept(expected))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


_digest_kept = lru_cache(maxsize=4)(_digest)


def authorize() -> None:
    """Refuse who has no key (401) or one without the scope (403)."""
    if not needs_key():
        return
    if g.principal is None:
        raise Unauthorized(www_authenticate=_CHALLENGES)
    if request.endpoint is None:
        return  # nothing there: the router's 404 or 405
    needed = scopes_of(current_app.view_functions[request.endpoint])
    if not g.principal.scopes.intersection(needed):
        raise Forbidden(f"This needs a key with the scope {' or '.join(needed)}.")


def note_route() -> None:
    rule = request.url_rule
    request.environ["rag.log"]["route"] = rule.rule if rule is not None else None
