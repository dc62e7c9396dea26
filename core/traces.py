"""How an answer came about: kept beside it, and deleted with it."""

from typing import Any
from uuid import UUID

from psycopg2.extras import Json
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import NotFound

_RECORD = text(
    """
    INSERT INTO message_traces (message_id, tenant_id, data)
    SELECT id, tenant_id, :data FROM messages WHERE tenant_id = :tenant_id AND id = :message_id
    ON CONFLICT (message_id) DO UPDATE SET data = EXCLUDED.data
    """
)
_GET = text(
    "SELECT data FROM message_traces WHERE tenant_id = :tenant_id AND message_id = :message_id"
)


def record_trace(db: Session, *, tenant_id: str, message_id: UUID, data: dict[str, Any]) -> None:
    """Keep an answer's trace, instead of an earlier one. A message that is gone has none."""
    db.execute(_RECORD, {"tenant_id": tenant_id, "message_id": message_id, "data": Json(data)})


def get_trace(db: Session, *, tenant_id: str, message_id: UUID) -> dict[str, Any]:
    """Raises NotFound, for a message that was not answered here too."""
    data = db.scalar(_GET, {"tenant_id": tenant_id, "message_id": message_id})
    if data is None:
        raise NotFound("There is no trace of such a message.", code="trace_not_found")
    found: dict[str, Any] = data
    return found
