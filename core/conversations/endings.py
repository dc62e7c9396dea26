"""Ends answers: when the writer finishes, on a cancel, or when the writer is dead.

Each function takes `db` and never commits.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg2.extras import Json
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.answering.grounding import cited_passages
from core.answering.passages import Passage
from core.conversations.message_columns import INTERRUPTED

CHANNEL = "rag_answers"  # of NOTIFY; a payload is the ids of changed answers, comma-separated
NOTIFY_IDS = 200  # per payload, because a payload must be shorter than 8,000 bytes

_STORED = text(
    """
    SELECT (SELECT string_agg(text, '' ORDER BY number) FROM answer_chunks
            WHERE message_id = :id AND attempt = :attempt),
           (SELECT data FROM answer_contexts WHERE message_id = :id AND attempt = :attempt)
    """
)
_SET_CONTEXT = text(
    """
    WITH held AS MATERIALIZED (
        -- The lock orders this before or after a cancel, so nothing is stored after a cancel.
        SELECT id, attempt, tenant_id FROM messages
        WHERE id = :id AND attempt = :attempt AND status = 'in_progress' FOR SHARE
    )
    INSERT INTO answer_contexts (message_id, attempt, tenant_id, data)
    SELECT id, attempt, tenant_id, :data FROM held
    ON CONFLICT (message_id) DO UPDATE SET attempt = excluded.attempt, data = excluded.data
    RETURNING message_id
    """
)
_END = text(
    """
    UPDATE messages
    SET status = :status, lease_expires_at = NULL, finish_reason = :finish_reason,
        error = :error, model = coalesce(:model, model), usage = :usage,
        content = coalesce(:content, content),
        retrieved_context = coalesce(:retrieved_context, retrieved_context),
        context_metadata = (context_metadata - 'support') || CAST(:metadata AS jsonb)
    WHERE id = :id AND attempt = :attempt AND status = 'in_progress'
    RETURNING session_id
    """
)
_DROP_CHUNKS = text("DELETE FROM answer_chunks WHERE message_id = :id")
_FREE_SESSION = text(
    "UPDATE sessions SET active_message_id = NULL"
    " WHERE id = :session_id AND active_message_id = :id"
)
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")
_EXPIRED = text(
    """
    SELECT tenant_id, id, attempt FROM messages
    WHERE lease_expires_at < clock_timestamp() AND status = 'in_progress'
      AND (CAST(:ids AS uuid[]) IS NULL OR id = ANY(CAST(:ids AS uuid[])))
    LIMIT 100 FOR UPDATE SKIP LOCKED
    """
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ends. If `content` is None, the text stored in its chunks becomes final.

    `support` is the share of the answer's figures, names and dates that its passages contain.
    It is None if the answer has none of these, or if the share was not measured.
    """

    status: str
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    content: str | None = None
    passages: Sequence[Passage] = ()
    model: str | None = None
    usage: dict[str, Any] | None = None
    support: float | None = None


def end_answer(db: Session, *, message_id: UUID, attempt: int, ending: Ending) -> bool:
    """Store how an answer ended, free its session and wake its listeners.

    Changes nothing and returns False if the attempt is no longer in progress.
    """
    content, passages, model = ending.content, ending.passages, ending.model
    if content is None:
        content, passages, model = _stored(db, message_id, attempt)
    cited = [passage.as_dict() for passage in cited_passages(content, passages)]
    session_id = db.scalar(
        _END,
        {
            "id": message_id,
            "attempt": attempt,
            "status": ending.status,
            "finish_reason": ending.finish_reason,
            "error": ending.error and Json(ending.error),
            # An attempt without text keeps the text of the attempt before it.
            "content": content or None,
            "retrieved_context": Json(cited) if content else None,
            "model": model,
            "usage": ending.usage and Json(ending.usage),
            "metadata": Json({} if ending.support is None else {"support": ending.support}),
        },
    )
    if session_id is None:
        return False
    db.execute(_DROP_CHUNKS, {"id": message_id})
    db.execute(_FREE_SESSION, {"session_id": session_id, "id": message_id})
    notify(db, [message_id])
    return True


def close_expired(db: Session, *, ids: Collection[UUID] | None = None) -> int:
    """End answers whose writer is dead, and return their number.

    Looks at the answers `ids`, or at those of all tenants. `db` must be a transaction across
    all tenants.
    """
    expired = db.execute(_EXPIRED, {"ids": None if ids is None else list(ids)}).all()
    for row in expired:
        ending = Ending(status="interrupted", error=INTERRUPTED)
        end_answer(db, message_id=row.id, attempt=row.attempt, ending=ending)
    return len(expired)


def notify(db: Session, ids: Collection[UUID]) -> None:
    """Wake the processes that follow these answers. PostgreSQL sends it at the commit."""
    texts = list(map(str, ids))
    for start in range(0, len(texts), NOTIFY_IDS):
        payload = ",".join(texts[start : start + NOTIFY_IDS])
        db.execute(_NOTIFY, {"channel": CHANNEL, "payload": payload})


def set_context(db: Session, *, message_id: UUID, attempt: int, data: Mapping[str, Any]) -> bool:
    """Store the context of a live answer: `passages` (see `Passage.stored`) and `model`.

    Stores nothing and returns False if the attempt is no longer in progress.
    """
    values = {"id": message_id, "attempt": attempt, "data": Json(dict(data))}
    return db.scalar(_SET_CONTEXT, values) is not None


def _stored(db: Session, message_id: UUID, attempt: int) -> tuple[str, list[Passage], str | None]:
    """Return the text, passages and model that the answer's writer has stored so far."""
    content, data = db.execute(_STORED, {"id": message_id, "attempt": attempt}).one()
    data = data or {}
    passages = [Passage(**passage) for passage in data.get("passages") or ()]
    return content or "", passages, data.get("model")
