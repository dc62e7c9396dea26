"""A chat turn's two messages: records. Each function takes an open db session and never commits.

Whoever writes an answer holds a lease on its row, and renews it with each save.
One that ran out was a dead process's: an equal request may then take the answer
over, and what the first one still saves, should it wake up, changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import Json
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.conversations import messages
from core.conversations.messages import MessageRecord
from core.errors import Conflict, NotFound

LEASE_SECONDS = 30.0  # of silence; saves come once a second while there is something to save

_UNTIL = "clock_timestamp() + make_interval(secs => :lease_seconds)"
_LEASE = text(
    f"UPDATE messages SET lease_expires_at = {_UNTIL}"  # noqa: S608  # constants only
    " WHERE tenant_id = :tenant_id AND id = :id RETURNING lease_expires_at"
)
_TAKE_OVER = text(
    f"""
    UPDATE messages SET lease_expires_at = {_UNTIL}, status = 'interrupted'
    WHERE tenant_id = :tenant_id AND id = :id AND status <> 'complete'
      AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
    RETURNING lease_expires_at
    """  # noqa: S608
)
# An answer is written in the transaction of its question, so it stands right behind it.
_ANSWER_ID = text(
    "SELECT id FROM messages WHERE tenant_id = :tenant_id AND session_id = :session_id"
    " AND position = :position + 1 AND reply_to = :asked_id"
)
_SAVE = text(
    f"""
    UPDATE messages
    SET content = :content, status = :status, model = :model, usage = :usage,
        retrieved_context = :retrieved_context,
        lease_expires_at = CASE WHEN :finished THEN NULL ELSE {_UNTIL} END
    WHERE tenant_id = :tenant_id AND id = :id AND lease_expires_at = :lease
    RETURNING lease_expires_at
    """  # noqa: S608
)


@dataclass(slots=True)
class TurnRows:
    """The user's message, the answer as far as it is written, and the lease on it.

    `lease` is None when there is nothing left to write.
    """

    asked: MessageRecord
    answer: MessageRecord
    lease: datetime | None


def open_turn(db: Session, *, tenant_id: str, session_id: UUID, message: str) -> TurnRows:
    """Write the user's message and an empty, interrupted answer. Raises NotFound."""
    asked = messages.append_message(
        db, tenant_id=tenant_id, session_id=session_id, sender="user", content=message
    )
    answer = messages.append_message(
        db,
        tenant_id=tenant_id,
        session_id=session_id,
        sender="assistant",
        content="",
        status="interrupted",
        reply_to=asked.id,
    )
    return TurnRows(asked, answer, db.scalar(_LEASE, _names(tenant_id, answer.id)))


def resume_turn(db: Session, *, tenant_id: str, message_id: UUID) -> TurnRows:
    """Take over the answer to the user's message `message_id`, unless it is complete.

    Raises NotFound when they are gone, Conflict (`idempotency_in_progress`)
    while a process is at work on it.
    """
    asked = messages.get_message(db, tenant_id=tenant_id, message_id=message_id)
    place = {"session_id": asked.session_id, "position": asked.position, "asked_id": asked.id}
    answer_id: UUID = db.execute(_ANSWER_ID, place | {"tenant_id": tenant_id}).scalar_one()
    lease = db.scalar(_TAKE_OVER, _names(tenant_id, answer_id))
    answer = messages.get_message(db, tenant_id=tenant_id, message_id=answer_id)
    if lease is None and answer.status != "complete":
        raise taken_over()
    return TurnRows(asked, answer, lease)


def save_answer(
    db: Session, *, tenant_id: str, record: MessageRecord, lease: datetime, finished: bool
) -> datetime | None:
    """Store the answer's text, status, model, usage and passages; the lease from here on.

    A message that is gone stays so. Raises Conflict when another request took it over.
    """
    values: dict[str, Any] = {
        "content": record.content,
        "status": record.status,
        "model": record.model,
        "usage": None if record.usage is None else Json(record.usage),
        "retrieved_context": Json(record.retrieved_context),
        "finished": finished,
        "lease": lease,
    }
    saved = db.execute(_SAVE, _names(tenant_id, record.id) | values).one_or_none()
    if saved is not None:
        return saved[0]  # type: ignore[no-any-return]
    if _exists(db, tenant_id=tenant_id, message_id=record.id):
        raise taken_over()
    return lease


def taken_over() -> Conflict:
    return Conflict(
        "Another request is writing the answer to this message.", code="idempotency_in_progress"
    )


def _exists(db: Session, *, tenant_id: str, message_id: UUID) -> bool:
    try:
        messages.get_message(db, tenant_id=tenant_id, message_id=message_id)
    except NotFound:
        return False
    return True


def _names(tenant_id: str, message_id: UUID) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "id": message_id, "lease_seconds": LEASE_SECONDS}
