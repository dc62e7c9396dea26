"""The rule which documents a search may read, and its check for given ids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import text

from core.db import Transaction
from core.errors import NotFound, session_not_found

# The only place of this rule, a condition on `documents`. The statement of a search contains it.
# - with a user: the user's documents and the shared ones
# - with a session: also the documents attached to it
# - with neither: all documents of the tenant
IN_REACH = """
    tenant_id = :tenant_id AND (
        (CAST(:user_id AS text) IS NULL AND CAST(:session_id AS uuid) IS NULL)
        OR (user_id IS NULL AND session_id IS NULL)
        OR user_id = CAST(:user_id AS text)
        OR session_id = CAST(:session_id AS uuid)
    )
"""
_OWNER = text("SELECT user_id FROM sessions WHERE tenant_id = :tenant_id AND id = :session_id")
_DOCUMENTS_IN_REACH = text(
    f"SELECT id FROM documents WHERE id = ANY(CAST(:ids AS uuid[])) AND {IN_REACH}"  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a search may read, by the rule IN_REACH, further limited to `document_ids`."""

    tenant_id: str
    user_id: str | None
    session_id: UUID | None
    document_ids: Sequence[UUID] | None

    @property
    def everything(self) -> bool:
        """Whether all of the tenant's documents are in reach, apart from `document_ids`."""
        return self.user_id is None and self.session_id is None


def resolve_reach(db: Transaction, reach: Reach) -> Reach:
    """`reach` with the user of its session. Raises NotFound for a session or document outside."""
    if reach.session_id is not None:
        names = {"tenant_id": reach.tenant_id, "session_id": reach.session_id}
        owner = db.scalar(_OWNER, names)
        if owner is None:
            raise session_not_found()
        reach = replace(reach, user_id=reach.user_id or owner)
    if reach.document_ids is not None:
        _check_documents(db, reach, reach.document_ids)
    return reach


def _check_documents(db: Transaction, reach: Reach, document_ids: Sequence[UUID]) -> None:
    values = {
        "tenant_id": reach.tenant_id,
        "user_id": reach.user_id,
        "session_id": reach.session_id,
        "ids": list(document_ids),
    }
    found = {row[0] for row in db.execute(_DOCUMENTS_IN_REACH, values)}
    if missing := sorted(set(document_ids) - found):
        raise NotFound(f"No such document in reach: {missing[0]}.", code="document_not_found")
