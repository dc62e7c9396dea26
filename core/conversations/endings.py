"""Ends answers: when the writer finishes, on a cancel, or when the writer is dead.

Each function takes `db` and never commits.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from psycopg2.extras import Json
from sqlalchemy import text

from core.answering.grounding import cited_passages
from core.answering.passages import Passage
from core.conversations.message_columns import INTERRUPTED, message_fields
from core.conversations.messages import MessageRecord
from core.db import Executor, Transaction

# The channel of NOTIFY, which wakes the processes that follow an answer. A payload is the ids of
# changed answers, comma-separated. PostgreSQL sends it at the commit.
CHANNEL = "rag_answers"

_LOCK = text(
    "SELECT 1 FROM messages WHERE id = :id AND attempt = :attempt AND status = 'in_progress'"
    " FOR UPDATE"
)
_STORED = text(
    """
    SELECT (SELECT string_agg(text, '' ORDER BY number) FROM answer_chunks
            WHERE message_id = :id AND attempt = :attempt),
           (SELECT data FROM answer_contexts WHERE message_id = :id AND attempt = :attempt)
    """
)
_SET_CONTEXT = text(
    f"""
    WITH held AS MATERIALIZED (
        -- The lock orders this before or after a cancel, so nothing is stored after a cancel.
        SELECT id, attempt, tenant_id FROM messages
        WHERE id = :id AND attempt = :attempt AND status = 'in_progress' FOR SHARE
    ),
    stored AS (
        INSERT INTO answer_contexts (message_id, attempt, tenant_id, data)
        SELECT id, attempt, tenant_id, :data FROM held
        ON CONFLICT (message_id) DO UPDATE SET attempt = excluded.attempt, data = excluded.data
        RETURNING message_id
    )
    SELECT pg_notify('{CHANNEL}', CAST(message_id AS text)) FROM stored
    """  # noqa: S608  # constants only
)
# - `ended` locks the answer before `freed` locks its session, as every other transaction does.
# - `traced` does not depend on `ended`: an answer that was cancelled meanwhile has a trace too.
# - A session with a title keeps it. The subquery sees the title from before this statement.
_END = text(
    f"""
    WITH ended AS (
        UPDATE messages
        SET status = :status, lease_expires_at = NULL, finish_reason = :finish_reason,
            error = :error, model = coalesce(:model, model), usage = :usage,
            content = coalesce(:content, content),
            retrieved_context = coalesce(:retrieved_context, retrieved_context),
            context_metadata = (context_metadata - 'support') || CAST(:metadata AS jsonb)
        WHERE id = :id AND attempt = :attempt AND status = 'in_progress'
        RETURNING *
    ),
    dropped AS (
        DELETE FROM answer_chunks WHERE message_id IN (SELECT id FROM ended)
    ),
    freed AS (
        UPDATE sessions s
        SET active_message_id = nullif(s.active_message_id, ended.id),
            title_is_automatic = s.title_is_automatic
                OR (s.title IS NULL AND CAST(:title AS text) IS NOT NULL),
            title = coalesce(s.title, CAST(:title AS text))
        FROM ended WHERE s.id = ended.session_id
    ),
    traced AS (
        INSERT INTO message_traces (message_id, tenant_id, data)
        SELECT id, tenant_id, CAST(:trace AS jsonb) FROM messages
        WHERE id = :id AND CAST(:trace AS jsonb) IS NOT NULL
        ON CONFLICT (message_id) DO UPDATE SET data = excluded.data
    )
    SELECT pg_notify('{CHANNEL}', CAST(m.id AS text)),
           CAST(:title AS text) IS NOT NULL
               AND (SELECT title IS NULL FROM sessions WHERE id = m.session_id),
           {message_fields("m")}
    FROM ended m
    """  # noqa: S608  # constants only
)
_EXPIRED = text(
    """
    SELECT id, attempt FROM messages
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


@dataclass(frozen=True, slots=True)
class Ended:
    """The message of an answer that has just ended, and whether its session got its first title."""

    message: MessageRecord
    is_titled: bool


def store_end(
    db: Executor,
    *,
    message_id: UUID,
    attempt: int,
    ending: Ending,
    title: str | None = None,
    trace: Mapping[str, Any] | None = None,
) -> Ended | None:
    """Store how an answer ended, free its session and wake its listeners, in one statement.

    `ending` has the content. `title` becomes the title of a session without one. `trace`
    replaces the answer's earlier one. If the attempt is no longer in progress, it stores only the
    trace, and returns None.
    """
    assert ending.content is not None
    cited = [passage.as_dict() for passage in cited_passages(ending.content, ending.passages)]
    row = db.execute(
        _END,
        {
            "id": message_id,
            "attempt": attempt,
            "status": ending.status,
            "finish_reason": ending.finish_reason,
            "error": ending.error and Json(ending.error),
            # An attempt without text keeps the text of the attempt before it.
            "content": ending.content or None,
            "retrieved_context": Json(cited) if ending.content else None,
            "model": ending.model,
            "usage": ending.usage and Json(ending.usage),
            "metadata": Json({} if ending.support is None else {"support": ending.support}),
            "title": title or None,
            "trace": None if trace is None else Json(dict(trace)),
        },
    ).first()
    return None if row is None else Ended(MessageRecord(*row[2:]), bool(row[1]))


def end_answer(db: Transaction, *, message_id: UUID, attempt: int, ending: Ending) -> bool:
    """Like `store_end`; without `content` the answer keeps its stored text and passages.

    Changes nothing and returns False if the attempt is no longer in progress.
    """
    if ending.content is None:
        # With the lock the writer cannot store text between this reading and the end.
        if db.scalar(_LOCK, {"id": message_id, "attempt": attempt}) is None:
            return False
        ending = _with_stored(db, message_id, attempt, ending)
    return store_end(db, message_id=message_id, attempt=attempt, ending=ending) is not None


def close_expired(db: Transaction, *, ids: Collection[UUID] | None = None) -> int:
    """End answers whose writer is dead, and return their number.

    Looks at the answers `ids`, or at all those that `db` may see.
    """
    expired = db.execute(_EXPIRED, {"ids": None if ids is None else list(ids)}).all()
    for message_id, attempt in expired:
        ending = Ending(status="interrupted", error=INTERRUPTED)
        end_answer(db, message_id=message_id, attempt=attempt, ending=ending)
    return len(expired)


def set_context(db: Executor, *, message_id: UUID, attempt: int, data: Mapping[str, Any]) -> bool:
    """Store the context of a live answer: `passages` (see `Passage.stored`) and `model`.

    Wakes the listeners. Stores nothing and returns False if the attempt is no longer in progress.
    """
    values = {"id": message_id, "attempt": attempt, "data": Json(dict(data))}
    return db.execute(_SET_CONTEXT, values).first() is not None


def _with_stored(db: Transaction, message_id: UUID, attempt: int, ending: Ending) -> Ending:
    """Return `ending` with the text, passages and model that the answer's writer has stored."""
    content, data = db.execute(_STORED, {"id": message_id, "attempt": attempt}).one()
    data = data or {}
    passages = [Passage(**passage) for passage in data.get("passages") or ()]
    return replace(ending, content=content or "", passages=passages, model=data.get("model"))
