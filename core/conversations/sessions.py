"""Reads and writes chat sessions. Each function takes an open db session and never commits.

Clients look at a session often, so `get_session` is a single statement, which also works with
`Database.autocommit`.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session, with_expression
from sqlalchemy.orm.attributes import set_committed_value

from core.db import Executor
from core.db.models import ChatSession
from core.db.paging import Page, PageRequest, cursor_scope, paginate
from core.errors import session_not_found
from core.text.words import fold, query_stems

UNSET: Any = object()

_IS_LIVE = "status = 'in_progress' AND lease_expires_at >= clock_timestamp()"
_LIVE = text(f"SELECT id FROM messages WHERE id = ANY(CAST(:ids AS uuid[])) AND {_IS_LIVE}")  # noqa: S608
_GET_FIELDS = (
    "user_id", "title", "is_favorite", "meta", "message_count", "created_at", "updated_at",
    "last_message_at", "active_at", "title_is_automatic", "active_message_id",
)  # fmt: skip
_GET = text(
    f"""
    SELECT user_id, title, is_favorite, metadata, message_count, created_at, updated_at,
           last_message_at, active_at, title_is_automatic,
           (SELECT id FROM messages WHERE id = sessions.active_message_id AND {_IS_LIVE})
    FROM sessions WHERE tenant_id = :tenant_id AND id = :id
    """  # noqa: S608  # constants only
)


def create_session(
    db: Session,
    *,
    tenant_id: str,
    user_id: str,
    title: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> ChatSession:
    session = ChatSession(
        tenant_id=tenant_id, user_id=user_id, title=title, meta=metadata or {}, message_count=0
    )
    db.add(session)
    db.flush()
    return session


def get_session(db: Executor, *, tenant_id: str, session_id: UUID) -> ChatSession:
    """Return a copy of a session, which no db session tracks. Raises NotFound."""
    row = db.execute(_GET, {"tenant_id": tenant_id, "id": session_id}).one_or_none()
    if row is None:
        raise session_not_found()
    return ChatSession(
        tenant_id=tenant_id, id=session_id, **dict(zip(_GET_FIELDS, row, strict=True))
    )


def _hide_dead_turns(db: Session, found: Sequence[ChatSession]) -> None:
    """Clear `active_message_id` where the answer's writer is dead. No query if none is set."""
    active = {one.active_message_id for one in found if one.active_message_id is not None}
    if not active:
        return
    live = set(db.scalars(_LIVE, {"ids": list(active)}))
    for one in found:
        if one.active_message_id not in live:
            set_committed_value(one, "active_message_id", None)


# The same folding as core.text.words: no accents, lower case, one normal form.
_FOLDED_TITLE = func.replace(
    func.translate(
        func.lower(
            func.regexp_replace(
                func.normalize(ChatSession.title, literal_column("NFKD")),
                "[\u0300-\u036f]",
                "",
                "g",
            )
        ),
        "ςøłđ",
        "σold",
    ),
    "ß",
    "ss",
)


def list_sessions(
    db: Session,
    *,
    tenant_id: str,
    page: PageRequest,
    user_id: str | None = None,
    is_favorite: bool | None = None,
    q: str | None = None,
) -> Page[ChatSession]:
    """Return sessions, most recently active first.

    With `q`, those whose titles hold a part of it: titles with more parts first, and titles
    with as many parts by activity.
    """
    rows = select(ChatSession).where(ChatSession.tenant_id == tenant_id)
    keys: list[ColumnElement[Any]] = [ChatSession.active_at, ChatSession.id]  # type: ignore[list-item]
    if user_id is not None:
        rows = rows.where(ChatSession.user_id == user_id)
    if is_favorite is not None:
        rows = rows.where(ChatSession.is_favorite.is_(is_favorite))
    if q is not None:
        rank = _title_rank(q).label("title_rank")
        rows = rows.where(rank > 0).options(with_expression(ChatSession.title_rank, rank))
        keys.insert(0, rank)
    page_of_sessions: Page[ChatSession] = paginate(
        db,
        statement=rows,
        keys=keys,
        page=page,
        scope=cursor_scope("sessions", user_id=user_id, is_favorite=is_favorite, q=q),
    )
    _hide_dead_turns(db, page_of_sessions.items)
    return page_of_sessions


def _title_rank(q: str) -> ColumnElement[int]:
    """How many parts of `q` a title holds. Little words count only where `q` has no others."""
    parts = fold(q).split()
    telling = [part for typed, part in zip(q.split(), parts, strict=False) if query_stems(typed)]
    held = [cast(_title_holds(part), Integer) for part in dict.fromkeys(telling or parts)]
    return sum(held, literal(0, Integer)) if held else literal(1, Integer)


def _title_holds(part: str) -> ColumnElement[bool]:
    """Whether a title holds `part` as typed, so also words that it begins, or all of its stems.

    A stem of one letter is in nearly every title and tells nothing.
    """
    typed, stems = func.strpos(_FOLDED_TITLE, part) > 0, query_stems(part)
    if not stems or min(map(len, stems)) < 2:
        return typed
    return or_(typed, and_(*(func.strpos(_FOLDED_TITLE, fold(stem)) > 0 for stem in stems)))


def update_session(
    db: Session,
    *,
    tenant_id: str,
    session_id: UUID,
    title: str | None = UNSET,
    metadata: dict[str, Any] = UNSET,
) -> ChatSession:
    """Change the given fields and leave the others. Raises NotFound."""
    values: dict[str, Any] = {}
    if title is not UNSET:
        values |= {"title": title, "title_is_automatic": False}
    if metadata is not UNSET:
        values["meta"] = metadata
    return _update(db, tenant_id=tenant_id, session_id=session_id, values=values)


def set_favorite(
    db: Session, *, tenant_id: str, session_id: UUID, is_favorite: bool | None = None
) -> ChatSession:
    """Set the favourite mark, or toggle it if `is_favorite` is None. Raises NotFound."""
    value: Any = ~ChatSession.is_favorite if is_favorite is None else is_favorite
    return _update(db, tenant_id=tenant_id, session_id=session_id, values={"is_favorite": value})


def _update(
    db: Session, *, tenant_id: str, session_id: UUID, values: dict[str, Any]
) -> ChatSession:
    found = db.scalars(
        update(ChatSession)
        .where(ChatSession.tenant_id == tenant_id, ChatSession.id == session_id)
        .values(**values, updated_at=func.now())
        .returning(ChatSession),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    if found is None:
        raise session_not_found()
    _hide_dead_turns(db, [found])
    return found
