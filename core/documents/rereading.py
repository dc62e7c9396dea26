"""Finds documents that the current page reader may read better, and ingests them again."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select

from core.bootstrap import Services
from core.db.models import Document, Job
from core.documents import uploads
from core.documents.jobs import OPEN_STATES
from core.errors import NotFound
from core.pdf import READER_VERSION

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Outdated:
    """A document to read again. `reason` is `reader` (an older one) or `ocr` (read without it)."""

    document_id: UUID
    tenant_id: str
    filename: str
    page_count: int | None
    reason: str


def list_outdated(
    services: Services, *, tenant_id: str | None = None, scans: bool = False
) -> Iterator[Outdated]:
    """The documents that an older reader has read, of one tenant or of all, oldest first.

    With `scans` also documents with scanned pages that were read without OCR. Documents with an
    open job are left out, because that job uses the current reader.
    """
    last: UUID | None = None
    while batch := _next_batch(services, tenant_id=tenant_id, scans=scans, after=last):
        yield from batch
        last = batch[-1].document_id


def reread(services: Services, outdated: Outdated) -> bool:
    """Ingest the document again. Its old chunks are used until the new ones are complete.

    False if the document has been deleted.
    """
    try:
        uploads.reingest(services, tenant_id=outdated.tenant_id, document_id=outdated.document_id)
    except NotFound:
        return False
    return True


def _next_batch(
    services: Services, *, tenant_id: str | None, scans: bool, after: UUID | None
) -> list[Outdated]:
    older = Document.reader_version < READER_VERSION
    open_job = exists().where(Job.document_id == Document.id, Job.state.in_(OPEN_STATES))
    rows = (
        select(Document)
        .where(
            Document.status.in_(("ready", "failed")),
            ~open_job,
            or_(older, _lacks_ocr()) if scans else older,
        )
        .order_by(Document.id)
        .limit(_BATCH)
    )
    if tenant_id is not None:
        rows = rows.where(Document.tenant_id == tenant_id)
    if after is not None:
        rows = rows.where(Document.id > after)
    with services.database.transaction(tenant_id=tenant_id) as db:
        return [_outdated(document) for document in db.scalars(rows)]


def _lacks_ocr() -> ColumnElement[bool]:
    pages = func.cardinality(Document.pages_without_text) + func.cardinality(
        Document.pages_unreadable
    )
    return and_(Document.reader_ocr == "", pages > 0)


def _outdated(document: Document) -> Outdated:
    return Outdated(
        document.id,
        document.tenant_id,
        document.filename,
        document.page_count,
        "reader" if document.reader_version < READER_VERSION else "ocr",
    )
