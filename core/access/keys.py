"""API keys: made, checked, rotated and revoked.

A key is `rcs_<id>_<secret>`. The part before the second underscore is its
prefix: harmless, stored, shown in lists and logs. Of the whole key only
HMAC-SHA256 under the pepper is stored; 32 random bytes need no slow hash.
Nothing about a key is cached: one that was revoked is refused from then on.
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
# Every request with a stored key asks this: one round trip, and no ORM.
_FIND = text(
    f"""
    SELECT tenant_id, scopes, rate_limit_per_minute, key_hash, {_LIVE} AS live,
           coalesce(now() - last_used_at > interval '1 minute', true) AS note
    FROM api_keys WHERE prefix = :prefix
    """  # noqa: S608  # constants only
)
_LIFE = text(f"SELECT {_LIVE}, now() FROM api_keys WHERE id = :id")  # noqa: S608
_NOBODY: tuple[Any, ...] = ("", [], None, bytes(32), False, False)
# Nobody waits for the note: not while the key is rotated, not for who notes the same.
_NOTE_USE = text(
    """
    UPDATE api_keys SET last_used_at = now()
    WHERE id IN (SELECT id FROM api_keys WHERE prefix = :prefix FOR UPDATE SKIP LOCKED)
    RETURNING id
    """
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling. `name` is safe to log; `is_operator` holds for the key of the settings."""

    tenant_id: str
    name: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    rate_limit_per_minute: int | None = None
    is_operator: bool = False


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it was made: `secret` is the key itself, and this is its only copy."""

    key: ApiKey
    secret: str


def operator() -> Principal:
    """Whoever holds the key of the settings: default tenant, all scopes."""
    return Principal(
        tenant_id=DEFAULT_TENANT, name="operator", scopes=frozenset(SCOPES), is_operator=True
    )


def hash_key(key: str, *, pepper: bytes) -> bytes:
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
    """Who holds `key`; None if it is unknown, expired or revoked. Notes its use once a minute.

    By the database's clock, which is one for all hosts.
    """
    form = _FORM.fullmatch(key)
    if form is None:
        return None
    row = db.execute(_FIND, {"prefix": form[1]}).one_or_none() or _NOBODY
    tenant_id, scopes, limit, key_hash, live, note = row
    if not hmac.compare_digest(hash_key(key, pepper=pepper), key_hash) or not live:
        return None
    if note:
        db.execute(_NOTE_USE, {"prefix": form[1]})
    return Principal(
        tenant_id=tenant_id,
        name=form[1],
        scopes=frozenset(scopes),
        rate_limit_per_minute=limit,
    )


def get_key(db: Session, *, tenant_id: str | None, key_id: UUID) -> ApiKey:
    """A key that is not revoked; of any tenant if `tenant_id` is None. Raises NotFound."""
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
    """Keys that are not revoked, newest first; of all tenants if `tenant_id` is None."""
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
    """A new key with the old one's rights; the old one lives on for `grace_seconds`.

    Raises NotFound for a key that is unknown, revoked or expired.
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
    """Refuse the key from now on. Raises NotFound."""
    get_key(db, tenant_id=tenant_id, key_id=key_id).revoked_at = func.now()
    db.flush()
