"""What is in reach: the documents that a search may see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from core.db.models import ChatSession, Document
from core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Reach:
    """What a search may see; `everything` is all of the tenant's, `document_ids` narrows it."""

    tenant_id: str
    user_id: str | None
    session_id: UUID | None
    document_ids: Sequence[UUID] | None

    @property
    def everything(self) -> bool:
        return self.user_id is None and self.session_id is None


def resolve_reach(db: Session, reach: Reach) -> Reach:
    """`reach` with the user whose session it names. Raises NotFound for what is not in it."""
    if reach.session_id is not None:
        owner = db.scalar(
            select(ChatSession.user_id).where(
                ChatSession.tenant_id == reach.tenant_id, ChatSession.id == reach.session_id
            )
        )
        if owner is None:
            raise NotFound("No such session.", code="session_not_found")
        reach = replace(reach, user_id=reach.user_id or owner)
    if reach.document_ids is not None:
        condition = in_reach(
            tenant_id=reach.tenant_id, user_id=reach.user_id, session_id=reach.session_id
        )
        check_reach(db, reach=condition, document_ids=reach.document_ids)
    return reach


def in_reach(
    *, tenant_id: str, user_id: str | None, session_id: UUID | None
) -> ColumnElement[bool]:
    """The documents that a search may see, as a condition on `documents`.

    With a user: theirs and the shared ones. With a session: those attached to
    it besides. With neither: all of the tenant's.
    """
    tenant = Document.tenant_id == tenant_id
    if user_id is None and session_id is None:
        return tenant
    shared = and_(Document.user_id.is_(None), Document.session_id.is_(None))
    reach: list[ColumnElement[bool]] = [shared]
    if user_id is not None:
        reach.append(Document.user_id == user_id)
    if session_id is not None:
        reach.append(Document.session_id == session_id)
    return and_(tenant, or_(*reach))


def check_reach(db: Session, *, reach: ColumnElement[bool], document_ids: Sequence[UUID]) -> None:
    """Raises NotFound unless every one of `document_ids` is in `reach`."""
    found = set(db.scalars(select(Document.id).where(reach, Document.id.in_(document_ids))))
    if missing := sorted(set(document_ids) - found):
        raise NotFound(f"No such document in reach: {missing[0]}.", code="document_not_found")
