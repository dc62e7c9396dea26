"""API keys: create, check, rotate and revoke them.

A key is `rcs_<id>_<secret>`. Its prefix, `rcs_<id>`, is no secret: it is stored and appears in
lists and logs. Of the whole key only its HMAC-SHA256 under the pepper is stored; a secret of
32 random bytes needs no slow hash. Nothing about a key is cached, so a revoked key is refused
at its next request.
"""

import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.db import Executor
from core.db.models import ApiKey
from core.db.paging import Page, PageRequest, cursor_scope, paginate
from core.errors import NotFound

Scope = Literal["read", "write", "chat", "documents", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "chat", "documents", "admin")
DEFAULT_TENANT = "default"

_FORM = re.compile(r"(rcs_[0-9a-f]{12})_[A-Za-z0-9_-]{43}", re.ASCII)
_LIVE = "revoked_at IS NULL AND coalesce(now() < expires_at, true)"
# Runs once per request, so it is one round trip and bypasses the ORM.
_FIND = text(
    f"""
    SELECT tenant_id, scopes, rate_limit_per_minute, key_hash, {_LIVE} AS live,
           coalesce(now() - last_used_at > interval '1 minute', true) AS use_is_due
    FROM api_keys WHERE prefix = :prefix
    """  # noqa: S608  # constants only
)
_LIFE = text(f"SELECT {_LIVE}, now() FROM api_keys WHERE id = :id")  # noqa: S608
_NO_ROW: tuple[Any, ...] = ("", [], None, bytes(32), False, False)
# SKIP LOCKED: a request does not wait for a rotation of its key, nor for a request that
# updates last_used_at at the same time.
_RECORD_USE = text(
    """
    UPDATE api_keys SET last_used_at = now()
    WHERE id IN (SELECT id FROM api_keys WHERE prefix = :prefix FOR UPDATE SKIP LOCKED)
    RETURNING id
    """
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. `name` is safe to log. `is_operator` is true for API_KEY, the first key."""

    tenant_id: str
    name: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    rate_limit_per_minute: int | None = None
    is_operator: bool = False


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key. `secret` is the key itself, which is stored nowhere."""

    key: ApiKey
    secret: str


def operator() -> Principal:
    """The holder of API_KEY: default tenant, all scopes."""
    return Principal(
        tenant_id=DEFAULT_TENANT, name="operator", scopes=frozenset(SCOPES), is_operator=True
    )


def hash_key(key: str, *, pepper: bytes) -> bytes:
    """The 32 bytes that are stored of a key."""
    return hmac.digest(pepper, key.encode(), "sha256")


def create_key(
    db: Session,
    *,
    tenant_id: str,
    name: str,
    scopes: Collection[str],
    pepper: bytes,
    expires_at: datetime | None = None,
    rate_limit_per_minute: int | None = None,
) -> NewKey:
    """Create a key. Its name need not be unique. `expires_at` needs a time zone."""
    prefix = f"rcs_{secrets.token_hex(6)}"
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        tenant_id=tenant_id,
        name=name,
        prefix=prefix,
        key_hash=hash_key(secret, pepper=pepper),
        scopes=[scope for scope in SCOPES if scope in scopes],
        expires_at=expires_at,
        rate_limit_per_minute=rate_limit_per_minute,
    )
    db.add(key)
    db.flush()
    return NewKey(key=key, secret=secret)


def authenticate(db: Executor, *, key: str, pepper: bytes) -> Principal | None:
    """The holder of `key`, or None if it is unknown, expired or revoked.

    Records the key's use once a minute. Expiry is decided by the database's clock, which is
    the same for all hosts.
    """
    form = _FORM.fullmatch(key)
    if form is None:
        return None
    row = db.execute(_FIND, {"prefix": form[1]}).one_or_none() or _NO_ROW
    tenant_id, scopes, limit, key_hash, live, use_is_due = row
    if not hmac.compare_digest(hash_key(key, pepper=pepper), key_hash) or not live:
        return None
    if use_is_due:
        db.execute(_RECORD_USE, {"prefix": form[1]})
    return Principal(
        tenant_id=tenant_id,
        name=form[1],
        scopes=frozenset(scopes),
        rate_limit_per_minute=limit,
    )


def get_key(db: Session, *, tenant_id: str | None, key_id: UUID) -> ApiKey:
    """Lock and return a key that is not revoked. `tenant_id` None means any tenant's.

    Raises NotFound.
    """
    query = select(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    if tenant_id is not None:
        query = query.where(ApiKey.tenant_id == tenant_id)
    found = db.scalars(query.with_for_update()).one_or_none()
    if found is None:
        raise _no_such_key()
    return found


def _no_such_key() -> NotFound:
    return NotFound("There is no such key.", code="key_not_found")


def list_keys(db: Session, *, tenant_id: str | None, page: PageRequest) -> Page[ApiKey]:
    """The keys that are not revoked, newest first. `tenant_id` None means all tenants'."""
    query = select(ApiKey).where(ApiKey.revoked_at.is_(None))
    if tenant_id is not None:
        query = query.where(ApiKey.tenant_id == tenant_id)
    return paginate(
        db,
        statement=query,
        keys=[ApiKey.created_at, ApiKey.id],  # type: ignore[list-item]
        page=page,
        scope=cursor_scope("keys", tenant_id=tenant_id),
    )


def rotate_key(
    db: Session,
    *,
    tenant_id: str | None,
    key_id: UUID,
    grace_seconds: int,
    pepper: bytes,
) -> NewKey:
    """Create a key with the rights of an old one, which expires in `grace_seconds`.

    Raises NotFound if the old key is unknown, revoked or expired.
    """
    old = get_key(db, tenant_id=tenant_id, key_id=key_id)
    live, now = db.execute(_LIFE, {"id": key_id}).one()
    if not live:
        raise _no_such_key()
    made = create_key(
        db,
        tenant_id=old.tenant_id,
        name=old.name,
        scopes=old.scopes,
        pepper=pepper,
        expires_at=old.expires_at,
        rate_limit_per_minute=old.rate_limit_per_minute,
    )
    end = now + timedelta(seconds=grace_seconds)
    old.expires_at = end if old.expires_at is None else min(end, old.expires_at)
    db.flush()
    return made


def revoke_key(db: Session, *, tenant_id: str | None, key_id: UUID) -> None:
    """Revoke a key at once. Raises NotFound."""
    get_key(db, tenant_id=tenant_id, key_id=key_id).revoked_at = func.now()
    db.flush()
