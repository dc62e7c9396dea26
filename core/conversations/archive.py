"""Exports all data of one user as a zip archive, written while it is sent.

    user.json                the user's id, the time of the export, counts of the other entries
    sessions/ID.json         a session, as `core.conversations.transfer` writes and reads it
    documents/ID.json        a document's record
    documents/ID.pdf         the document's file, unchanged

Between two blocks no transaction is open, and at most one session is held, in a temporary
file. So a client may read slowly without harm.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session
from zipstream import ZIP_DEFLATED, ZIP_STORED, ZipStream

from core.bootstrap import Services
from core.conversations import transfer
from core.db.models import ChatSession, Document
from core.documents import uploads
from core.errors import NotFound

FORMAT = "rag-chat-service/user"
VERSION = 1
BATCH = 100
_FIRST = UUID(int=0)

_DOCUMENT_FIELDS = (
    "id", "user_id", "session_id", "filename", "sha256", "size_bytes", "page_count",
    "chunk_count", "status", "pages_without_text", "pages_unreadable", "pages_ocr", "notes",
    "created_at", "updated_at",
)  # fmt: skip


def sessions_of_user(tenant_id: str, user_id: str) -> ColumnElement[bool]:
    """Return the SQL condition for the user's sessions."""
    return and_(ChatSession.tenant_id == tenant_id, ChatSession.user_id == user_id)


def documents_of_user(tenant_id: str, user_id: str) -> ColumnElement[bool]:
    """Return the SQL condition for the user's documents and those attached to their sessions."""
    attached = select(ChatSession.id).where(sessions_of_user(tenant_id, user_id))
    return and_(
        Document.tenant_id == tenant_id,
        or_(Document.user_id == user_id, Document.session_id.in_(attached)),
    )


def has_anything(db: Session, *, tenant_id: str, user_id: str) -> bool:
    """Whether the user has a session or a document in this tenant."""
    session = select(ChatSession.id).where(sessions_of_user(tenant_id, user_id)).limit(1)
    document = select(Document.id).where(documents_of_user(tenant_id, user_id)).limit(1)
    return db.scalar(session) is not None or db.scalar(document) is not None


def user_not_found() -> NotFound:
    return NotFound("There is nothing of such a user.", code="user_not_found")


def export_user(
    services: Services, *, tenant_id: str, user_id: str, now: datetime
) -> Iterator[bytes]:
    """Yield the archive in blocks. Raises NotFound before the first block for an unknown user.

    The archive leaves out data that is deleted during the export. It may contain data that is
    added during the export.
    """
    with services.database.transaction(tenant_id=tenant_id) as db:
        if not has_anything(db, tenant_id=tenant_id, user_id=user_id):
            raise user_not_found()
    return _blocks(services, tenant_id, user_id, now)


def _blocks(services: Services, tenant_id: str, user_id: str, now: datetime) -> Iterator[bytes]:
    archive = ZipStream(compress_type=ZIP_DEFLATED, compress_level=6)
    sessions = documents = 0
    for session_id in _session_ids(services, tenant_id, user_id):
        try:
            blocks = transfer.export_session(
                services, tenant_id=tenant_id, session_id=session_id, format_="json", now=now
            )
        except NotFound:
            continue
        archive.add(blocks, f"sessions/{session_id}.json")
        yield from archive.all_files()
        sessions += 1
    for document in _documents(services, tenant_id, user_id):
        try:
            yield from _add_document(services, archive, document)
        except NotFound:
            continue
        documents += 1
    about = {"format": FORMAT, "version": VERSION, "exported_at": now, "user_id": user_id}
    about |= {"sessions": sessions, "documents": documents}
    archive.add(transfer.encode(about), "user.json")
    yield from archive.finalize()


def _add_document(services: Services, archive: ZipStream, document: Document) -> Iterator[bytes]:
    """Raises NotFound, and adds nothing, if the file is gone."""
    blocks = uploads.read_content(services, document)
    first = next(blocks, b"")
    name = f"documents/{document.id}"
    archive.add(transfer.encode(_document_fields(document)), f"{name}.json")
    # Stored, because most of a PDF is compressed already.
    archive.add(chain([first], blocks), f"{name}.pdf", compress_type=ZIP_STORED)
    yield from archive.all_files()


def _document_fields(document: Document) -> dict[str, Any]:
    fields = {name: getattr(document, name) for name in _DOCUMENT_FIELDS}
    return fields | {"metadata": document.meta}


def _session_ids(services: Services, tenant_id: str, user_id: str) -> Iterator[UUID]:
    last = _FIRST
    while True:
        query = select(ChatSession.id).where(sessions_of_user(tenant_id, user_id))
        query = query.where(ChatSession.id > last).order_by(ChatSession.id).limit(BATCH)
        with services.database.transaction(tenant_id=tenant_id) as db:
            found = list(db.scalars(query))
        if not found:
            return
        yield from found
        last = found[-1]


def _documents(services: Services, tenant_id: str, user_id: str) -> Iterator[Document]:
    last = _FIRST
    while True:
        query = select(Document).where(documents_of_user(tenant_id, user_id), Document.id > last)
        with services.database.transaction(tenant_id=tenant_id) as db:
            found = list(db.scalars(query.order_by(Document.id).limit(BATCH)))
        if not found:
            return
        yield from found
        last = found[-1].id
