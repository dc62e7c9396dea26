"""Reads and writes chat sessions. Each function takes an open db session and never commits."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, literal_column, select, text, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from core.db.models import ChatSession
from core.db.paging import Page, PageRequest, cursor_scope, paginate
from core.errors import session_not_found
from core.text.words import fold

UNSET: Any = object()

_LIVE = text(
    "SELECT id FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))"
    " AND status = 'in_progress' AND lease_expires_at >= clock_timestamp()"
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


def get_session(db: Session, *, tenant_id: str, session_id: UUID) -> ChatSession:
    """Raises NotFound."""
    found = db.scalars(
        select(ChatSession).where(ChatSession.tenant_id == tenant_id, ChatSession.id == session_id)
    ).one_or_none()
    if found is None:
        raise session_not_found()
    _hide_dead_turns(db, [found])
    return found


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
    """Return sessions, most recently active first. A title must contain each part of `q`."""
    rows = select(ChatSession).where(ChatSession.tenant_id == tenant_id)
    if user_id is not None:
        rows = rows.where(ChatSession.user_id == user_id)
    if is_favorite is not None:
        rows = rows.where(ChatSession.is_favorite.is_(is_favorite))
    if q is not None:
        rows = rows.where(*(func.strpos(_FOLDED_TITLE, part) > 0 for part in fold(q).split()))
    page_of_sessions: Page[ChatSession] = paginate(
        db,
        statement=rows,
        keys=[ChatSession.active_at, ChatSession.id],  # type: ignore[list-item]
        page=page,
        scope=cursor_scope("sessions", user_id=user_id, is_favorite=is_favorite, q=q),
    )
    _hide_dead_turns(db, page_of_sessions.items)
    return page_of_sessions


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
