"""Keys, and POSTs that were seen."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.db.models.base import Base, new_id


class ApiKey(Base):
    """A key, as a keyed hash: the key itself is shown once and stored nowhere."""

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
    """A POST that was seen: its fingerprint and, once finished, its response."""

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    status_code: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    # A process that died in mid-request frees the key after this moment.
    locked_until: Mapped[datetime]
