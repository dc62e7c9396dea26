"""API keys, and idempotency keys of POST requests."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.db.models.base import Base, new_id


class ApiKey(Base):
    """An API key, as a keyed hash. The key itself is shown once and not stored."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[str]
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    key_hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    rate_limit_per_minute: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """A POST request's idempotency key, its fingerprint and, once finished, its response."""

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    status_code: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    # After this time the key is free again, because the process that locked it has died.
    locked_until: Mapped[datetime]
