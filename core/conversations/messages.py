"""Reads and writes messages. Each function takes an open db session and never commits.

A function whose `db` is an Executor sends a single statement, so it also works with
`Database.autocommit`. Appending and listing are the most frequent calls, so each is one plain
statement without mapped objects. Two mechanisms keep other tenants' rows out: the condition in
each statement, and row-level security.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg2.extras import Json
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.conversations.message_columns import LIST_FIELDS, message_fields
from core.db import Executor
from core.db.models import new_id
from core.db.paging import Page, PageRequest, cursor_scope, decode_cursor, encode_cursor
from core.errors import Conflict, NotFound, session_not_found
from core.search.lexemes import query_of
from core.text.snippets import snippet_of

Order = Literal["asc", "desc"]


@dataclass(slots=True)
class MessageRecord:
    """A stored message. `retrieved_context` is a list of Passages as dicts.

    The fields from `finish_reason` on belong to answers: `error` is `{code, detail}`,
    `feedback` is `{rating, comment}`, `alternatives` are the ids of the other answers to the
    same question, `attempt` is the number of the last attempt at this answer, and `request_id`
    is the id of the request that began it.
    """

    id: UUID
    session_id: UUID
    position: int
    sender: str
    content: str
    context_metadata: dict[str, Any]
    retrieved_context: list[dict[str, Any]]
    status: str
    model: str | None
    usage: dict[str, Any] | None
    reply_to: UUID | None
    created_at: datetime
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    feedback: dict[str, Any] | None = None
    alternatives: list[UUID] = field(default_factory=list)
    attempt: int = 1
    request_id: str | None = None


@dataclass(slots=True)
class ListedMessage:
    """A message in a list. Its ids are text, because parsing UUIDs is slow for a whole page."""

    session_id: UUID
    id: str
    position: int
    sender: str
    content: str
    context_metadata: dict[str, Any]
    retrieved_context: list[dict[str, Any]]
    status: str
    model: str | None
    usage: dict[str, Any] | None
    created_at: datetime
    finish_reason: str | None
    error: dict[str, Any] | None
    feedback: dict[str, Any] | None
    alternatives: list[str]


@dataclass(frozen=True, slots=True)
class MessageHit:
    """A message that matches a search; `snippet` is the best matching part of its text."""

    message: MessageRecord
    snippet: str


# clock_timestamp(), because now() is the begin of the transaction. That may be earlier than
# an append for which this transaction had to wait.
NOTE_ACTIVITY = (
    "last_message_at = clock_timestamp(), active_at = clock_timestamp(),"
    " updated_at = clock_timestamp()"
)
_APPEND = text(
    f"""
    WITH counted AS (
        UPDATE sessions
        SET message_count = message_count + 1, {NOTE_ACTIVITY}
        WHERE tenant_id = :tenant_id AND id = :session_id
        RETURNING id, message_count
    )
    INSERT INTO messages (
        tenant_id, id, session_id, position, sender, content, context_metadata,
        retrieved_context, status, model, usage, reply_to, created_at
    )
    SELECT :tenant_id, :id, counted.id, counted.message_count, :sender,
           :content, :context_metadata, :retrieved_context, :status, :model, :usage,
           :reply_to, clock_timestamp()
    FROM counted
    RETURNING position, created_at
    """  # noqa: S608  # constants only
)

_SELECT = f"SELECT {message_fields('m')} FROM messages m WHERE m.tenant_id = :tenant_id"  # noqa: S608  # constants only
_GET = text(f"{_SELECT} AND m.id = :id")
_FIND = text(f"{_SELECT} AND m.id = ANY(:ids)")


def append_message(
    db: Executor,
    *,
    tenant_id: str,
    session_id: UUID,
    sender: str,
    content: str,
    context_metadata: dict[str, Any] | None = None,
    retrieved_context: Sequence[dict[str, Any]] | None = None,
    status: str = "complete",
    model: str | None = None,
    usage: dict[str, Any] | None = None,
    reply_to: UUID | None = None,
    message_id: UUID | None = None,
) -> MessageRecord:
    """Append a message to a session, at the session's next `position`.

    Concurrent appends get different positions, because this locks the session's row until the
    transaction ends. So end the transaction soon. Raises NotFound for an unknown session.
    """
    id_ = message_id or new_id()
    metadata, passages = context_metadata or {}, list(retrieved_context or ())
    row = db.execute(
        _APPEND,
        {
            "tenant_id": tenant_id,
            "session_id": session_id,
            "id": id_,
            "sender": sender,
            "content": content,
            "context_metadata": Json(metadata),
            "retrieved_context": Json(passages),
            "status": status,
            "model": model,
            "usage": None if usage is None else Json(usage),
            "reply_to": reply_to,
        },
    ).one_or_none()
    if row is None:
        raise session_not_found()
    return MessageRecord(
        id_, session_id, row[0], sender, content, metadata, passages,
        status, model, usage, reply_to, row[1],
    )  # fmt: skip


def get_message(db: Executor, *, tenant_id: str, message_id: UUID) -> MessageRecord:
    """Raises NotFound."""
    row = db.execute(_GET, {"tenant_id": tenant_id, "id": message_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such message.", code="message_not_found")
    return MessageRecord(*row)


def find_messages(
    db: Executor, *, tenant_id: str, message_ids: Sequence[UUID]
) -> list[MessageRecord]:
    """Return those of the messages that exist, in any order."""
    rows = db.execute(_FIND, {"tenant_id": tenant_id, "ids": list(message_ids)})
    return [MessageRecord(*row) for row in rows]


_SET_FEEDBACK = text(
    "UPDATE messages SET feedback = :feedback"
    " WHERE tenant_id = :tenant_id AND id = :id AND sender = 'assistant' RETURNING id"
)


def set_feedback(
    db: Session, *, tenant_id: str, message_id: UUID, feedback: dict[str, Any] | None
) -> MessageRecord:
    """Rate an answer with `{rating, comment}`, or remove the rating with None.

    Raises NotFound, and Conflict (`not_an_answer`) for a message of another sender.
    """
    message = get_message(db, tenant_id=tenant_id, message_id=message_id)
    values = {"tenant_id": tenant_id, "id": message_id, "feedback": feedback and Json(feedback)}
    if db.execute(_SET_FEEDBACK, values).first() is None:
        raise not_an_answer()
    message.feedback = feedback
    return message


def not_an_answer() -> Conflict:
    return Conflict("The message is no answer.", code="not_an_answer")


def _list_statement(*, by_sender: bool, descending: bool) -> Any:
    """Return a statement for session, total and page; no row means no such session."""
    sender = "AND m.sender = :sender" if by_sender else ""
    total = (
        "(SELECT count(*) FROM messages m WHERE m.session_id = s.id"  # noqa: S608
        f" AND NOT m.superseded {sender})"
        if by_sender
        else "s.message_count"  # exact, because a message is deleted only with its session
    )
    beyond, order = ("<", "DESC") if descending else (">", "ASC")
    return text(
        f"""
        SELECT {total}, m.*
        FROM sessions s
        LEFT JOIN LATERAL (
            SELECT {LIST_FIELDS} FROM messages m
            WHERE m.tenant_id = :tenant_id AND m.session_id = s.id {sender}
              AND NOT m.superseded AND m.position {beyond} :after
            ORDER BY m.position {order} LIMIT :limit OFFSET :skip
        ) m ON true
        WHERE s.tenant_id = :tenant_id AND s.id = :session_id
        ORDER BY m.position {order}
        """  # noqa: S608  # constants only
    )


_LIST = {
    (by_sender, order): _list_statement(by_sender=by_sender, descending=order == "desc")
    for by_sender in (False, True)
    for order in ("asc", "desc")
}


def list_messages(
    db: Executor,
    *,
    tenant_id: str,
    session_id: UUID,
    page: PageRequest,
    order: Order = "asc",
    sender: str | None = None,
) -> Page[ListedMessage]:
    """Return a page of a session's messages by position. Raises NotFound for an unknown session."""
    name = cursor_scope("messages", session_id=session_id, order=order, sender=sender)
    after, skip, rows_before = (2**31 - 1 if order == "desc" else 0), page.skip, page.skip
    if page.cursor is not None:
        position = decode_cursor(page.cursor, scope=name, types=[int])
        after, skip, rows_before = position.keys[0], 0, position.rows_before
    elif sender is None and order == "asc":
        after, skip = skip, 0  # positions have no gap, so the index can jump there
    rows = db.execute(
        _LIST[sender is not None, order],
        {
            "tenant_id": tenant_id,
            "session_id": session_id,
            "sender": sender,
            "after": after,
            "limit": page.limit + 1,
            "skip": skip,
        },
    ).all()
    if not rows:
        raise session_not_found()
    items = [_listed_message(row, session_id) for row in rows[: page.limit] if row[1] is not None]
    next_cursor = None
    if len(rows) > page.limit:
        keys = [items[-1].position]
        next_cursor = encode_cursor(scope=name, keys=keys, rows_before=rows_before + len(items))
    return Page(items, rows[0][0], rows_before, page.limit, next_cursor)


def _listed_message(row: Any, session_id: UUID) -> ListedMessage:
    _, id_, position, sender, content, metadata, passages, *rest, alternatives = row
    values = (session_id, id_, position, sender, content, metadata or {}, passages or [], *rest)
    return ListedMessage(*values, alternatives or [])  # type: ignore[call-arg]


_RECENT = text(
    f"""
    SELECT {message_fields("m")} FROM messages m
    WHERE m.tenant_id = :tenant_id AND m.session_id = :session_id AND m.position < :before
      AND NOT m.superseded
    ORDER BY m.position DESC LIMIT :limit
    """  # noqa: S608  # constants only
)


def recent_messages(
    db: Executor,
    *,
    tenant_id: str,
    session_id: UUID,
    limit: int,
    before_position: int | None = None,
) -> list[MessageRecord]:
    """Return the last `limit` messages (before `before_position`, if given), oldest first."""
    rows = db.execute(
        _RECENT,
        {
            "tenant_id": tenant_id,
            "session_id": session_id,
            "before": before_position or 2**31 - 1,
            "limit": limit,
        },
    ).all()
    return [MessageRecord(*row) for row in reversed(rows)]


# The SQL function messages_with reads only the transaction's tenant. It uses the index, which
# row-level security would keep this statement from using. For messages without a `tsv`
# (core.conversations.message_index), PostgreSQL's own text search is used.
_SEARCH = text(
    f"""
    WITH ranked AS MATERIALIZED (
        SELECT id, rank
        FROM messages_with(
            CASE WHEN EXISTS (
                SELECT FROM messages WHERE tenant_id = :tenant_id AND tsv IS NULL AND content <> ''
            ) THEN CAST(:wanted AS tsquery) || websearch_to_tsquery('simple', :q)
            ELSE CAST(:wanted AS tsquery) END,
            CAST(:user_id AS text)
        )
    ),
    page AS (
        SELECT id, rank FROM ranked
        WHERE (rank, id) < (CAST(:rank AS float8), CAST(:after AS uuid))
        ORDER BY rank DESC, id DESC LIMIT :limit OFFSET :skip
    )
    SELECT (SELECT count(*) FROM ranked), page.rank,
           {message_fields("m")}
    FROM (SELECT 1) AS one
    LEFT JOIN page ON true
    LEFT JOIN messages m ON m.tenant_id = :tenant_id AND m.id = page.id
    ORDER BY page.rank DESC NULLS LAST, page.id DESC
    """  # noqa: S608  # constants only
)
_LAST_ID = UUID(int=2**128 - 1)


def search_messages(
    db: Executor, *, tenant_id: str, q: str, page: PageRequest, user_id: str | None = None
) -> Page[MessageHit]:
    """Return messages that contain a word of `q`, best first (see `core.search.lexemes.query_of`).

    `db` must be bound to `tenant_id`; in a transaction across all tenants it finds nothing.
    """
    name = cursor_scope("message search", q=q, user_id=user_id)
    rank, after, skip, rows_before = float("inf"), _LAST_ID, page.skip, page.skip
    if page.cursor is not None:
        position = decode_cursor(page.cursor, scope=name, types=[float, UUID])
        (rank, after), skip, rows_before = position.keys, 0, position.rows_before
    rows = db.execute(
        _SEARCH,
        {
            "tenant_id": tenant_id,
            "q": q,
            "wanted": query_of(q),
            "user_id": user_id,
            "rank": rank,
            "after": after,
            "limit": page.limit + 1,
            "skip": skip,
        },
    ).all()
    hits = [row for row in rows[: page.limit] if row[1] is not None]
    records = [MessageRecord(*row[2:]) for row in hits]
    items = [MessageHit(message=one, snippet=snippet_of(one.content, q)) for one in records]
    next_cursor = None
    if len(rows) > page.limit:
        last = hits[-1]
        next_cursor = encode_cursor(
            scope=name, keys=[last[1], last[2]], rows_before=rows_before + len(items)
        )
    return Page(items, rows[0][0], rows_before, page.limit, next_cursor)
