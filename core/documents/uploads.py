"""The users' side of documents: upload, reingest, cancel, delete, download.

The file is stored before the row, so a row never points to a missing file. One transaction
writes document and job before the upload is acknowledged, and the doorbell rings after it. From
then on the job will end, even if Redis, a worker or this process fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import and_, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.access import idempotency
from core.access.idempotency import Claim
from core.bootstrap import Services
from core.db.models import TERMINAL_STATES, ChatSession, Document, Job, new_id
from core.documents import jobs, records
from core.errors import Conflict, DocumentError, NotFound, Unsupported, session_not_found
from core.pdf import OcrWord
from core.pdf.values import PDF_MARK
from core.storage.page_cache import PageKey
from core.storage.staging import StagedFile, StagingFile, stage, staging_directory
from core.telemetry import get_logger

log = get_logger(__name__)

# Errors that may not occur again with the same bytes. A broken PDF stays broken.
RETRYABLE = frozenset({"embedding_unavailable", "internal_error", "pdf_too_complex"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A document and its latest job."""

    document: Document
    job: Job
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class _Scope:
    tenant_id: str
    user_id: str | None
    session_id: UUID | None


def accept_upload(
    services: Services,
    *,
    tenant_id: str,
    body: BinaryIO | StagingFile,
    filename: str,
    user_id: str | None,
    session_id: UUID | None,
    metadata: dict[str, Any],
) -> Accepted:
    """Store an uploaded PDF and start a job that ingests it.

    The same bytes in the same scope are one document. It is returned as a `duplicate`, or with a
    new job if the last one was cancelled or failed with one of the RETRYABLE errors.

    Raises Invalid (`file_empty`), TooLarge (`file_too_large`), Unsupported,
    NotFound for an unknown session, StorageFull, Unavailable.
    """
    scope = _Scope(tenant_id, user_id, session_id)
    settings = services.settings
    staged = stage(body, directory=staging_directory(settings), max_bytes=settings.max_upload_bytes)
    try:
        if PDF_MARK not in staged.head:
            raise Unsupported("The file is not a PDF.")
        accepted = _find_known(services, scope, staged) or _store_new(
            services, scope, staged, filename=filename, metadata=metadata
        )
    finally:
        staged.discard()
    if not accepted.duplicate:
        services.queue.ring()
    return accepted


def _find_known(services: Services, scope: _Scope, staged: StagedFile) -> Accepted | None:
    with services.database.transaction(tenant_id=scope.tenant_id) as db:
        if scope.session_id is not None and not records.session_exists(
            db, tenant_id=scope.tenant_id, session_id=scope.session_id
        ):
            raise session_not_found()
        document = records.find_in_scope(
            db,
            tenant_id=scope.tenant_id,
            user_id=scope.user_id,
            session_id=scope.session_id,
            sha256=staged.sha256,
        )
        return None if document is None else _handle_duplicate(db, document)


def _handle_duplicate(db: Session, document: Document) -> Accepted:
    """The result for bytes that are stored already."""
    assert document.job_id is not None
    job = jobs.get_job(db, tenant_id=document.tenant_id, job_id=document.job_id)
    worth_another = job.state == "cancelled" or (
        job.state == "failed" and job.error_code in RETRYABLE
    )
    if not worth_another:
        return Accepted(document, job, duplicate=True)
    return Accepted(document, _start_again(db, document))


def _start_again(db: Session, document: Document) -> Job:
    job = jobs.start_job(db, document=document)
    if document.generation == 0:
        document.status = "queued"
    document.updated_at = job.created_at
    db.flush()
    return job


def _store_new(
    services: Services,
    scope: _Scope,
    staged: StagedFile,
    *,
    filename: str,
    metadata: dict[str, Any],
) -> Accepted:
    document_id = new_id()
    key = str(PurePosixPath(document_id.hex[-2:]) / f"{document_id}.pdf")
    services.storage.put(key, staged)
    try:
        with services.database.transaction(tenant_id=scope.tenant_id) as db:
            document = Document(
                id=document_id,
                tenant_id=scope.tenant_id,
                user_id=scope.user_id,
                session_id=scope.session_id,
                filename=filename,
                sha256=staged.sha256,
                size_bytes=staged.size_bytes,
                storage_key=key,
                meta=metadata,
            )
            db.add(document)
            db.flush()
            return Accepted(document, jobs.start_job(db, document=document))
    except IntegrityError:
        # Another request sent the same bytes at the same time, or deleted the session.
        services.storage.delete(key)
        known = _find_known(services, scope, staged)
        if known is None:
            raise
        return known
    except Conflict:  # the user is being erased, files included
        services.storage.delete(key)
        raise
    # On any other error the outcome of the commit is unknown. The file stays, and the sweep
    # removes it if it has no row.


def reingest(
    services: Services, *, tenant_id: str, document_id: UUID, claim: Claim | None = None
) -> Accepted:
    """Ingest a document again. Its old chunks are used until the new ones are complete.

    Cancels an open job. `claim` is the claim on the request's idempotency key. If it has a
    checkpoint, an earlier attempt of the request has started the job, and that is returned.
    Raises NotFound, Conflict.
    """
    with services.database.transaction(tenant_id=tenant_id) as db:
        document = records.lock_document(db, tenant_id=tenant_id, document_id=document_id)
        if claim is not None and claim.checkpoint is not None:
            begun = UUID(bytes=claim.checkpoint)
            accepted = Accepted(document, jobs.get_job(db, tenant_id=tenant_id, job_id=begun))
        else:
            cancel_open_jobs(db, document)
            accepted = Accepted(document, _start_again(db, document))
            if claim is not None:
                idempotency.note(db, claim, accepted.job.id.bytes)
    services.queue.ring()
    return accepted


def cancel_job(services: Services, *, tenant_id: str, job_id: UUID) -> Job:
    """End a job; its worker stops within one page range. Raises NotFound, Conflict."""
    with services.database.transaction(tenant_id=tenant_id) as db:
        job = jobs.get_job(db, tenant_id=tenant_id, job_id=job_id)
        if job.document_id is None:
            raise Conflict("An erasure cannot be cancelled.", code=_not_cancellable(job))
        document = records.find_locked(db, tenant_id=tenant_id, document_id=job.document_id)
        if jobs.lock_open_job(db, job_id=job_id) is None:
            db.refresh(job)
            raise Conflict(f"The job is over: {job.state}.", code="job_finished")
        _cancel(db, job, document)
        return job


def _not_cancellable(job: Job) -> str:
    return "job_finished" if job.state in TERMINAL_STATES else "job_not_cancellable"


def _cancel(db: Session, job: Job, document: Document | None) -> None:
    """End an open job and remove its chunks. The caller holds locks on it and its document."""
    now = datetime.now(UTC)
    jobs.end_job(job, state="cancelled", now=now)
    assert job.document_id is not None
    records.delete_generation(db, document_id=job.document_id, generation=job.generation)
    if document is not None and document.job_id == job.id and document.generation == 0:
        document.status, document.updated_at = "cancelled", now
    db.flush()


def cancel_open_jobs(db: Session, document: Document) -> None:
    """Cancel the open jobs of a document. The caller holds a lock on it."""
    still_open = select(Job.id).where(
        Job.document_id == document.id, Job.state.in_(jobs.OPEN_STATES)
    )
    for job_id in list(db.scalars(still_open)):
        job = jobs.lock_open_job(db, job_id=job_id)
        if job is not None:
            _cancel(db, job, document)


def delete_document(services: Services, *, tenant_id: str, document_id: UUID) -> None:
    """Remove a document with chunks, vectors and file; a running job ends. Raises NotFound."""
    with services.database.transaction(tenant_id=tenant_id) as db:
        document = records.lock_document(db, tenant_id=tenant_id, document_id=document_id)
        cancel_open_jobs(db, document)
        key = document.storage_key
        db.execute(delete(Document).where(Document.id == document.id))
    _delete_files(services, {document.id: key})


def delete_session(services: Services, *, tenant_id: str, session_id: UUID) -> None:
    """Remove a session, its messages, and the documents attached to it. Raises NotFound."""
    with services.database.transaction(tenant_id=tenant_id) as db:
        own = and_(ChatSession.tenant_id == tenant_id, ChatSession.id == session_id)
        # Locked first, so that an upload to it is either found below or finds no session.
        if db.scalar(select(ChatSession.id).where(own).with_for_update()) is None:
            raise session_not_found()
        attached = records.lock_attached(db, tenant_id=tenant_id, session_id=session_id)
        for document in attached:
            cancel_open_jobs(db, document)
        db.execute(delete(ChatSession).where(own))
    _delete_files(services, {document.id: document.storage_key for document in attached})


def _delete_files(services: Services, keys: Mapping[UUID, str]) -> None:
    """Delete files and page images after the commit. The sweep retries failed deletions."""
    for document_id, key in keys.items():
        services.page_cache.drop(document_id)
        try:
            services.storage.delete(key)
        except Exception as error:
            log.warning("file_not_deleted", key=key, error=type(error).__name__)


def read_content(
    services: Services, document: Document, *, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """Yield a document's bytes from `start` (inclusive) to `end` (exclusive; None: to the last)."""
    stop = document.size_bytes if end is None else end
    return services.storage.read(document.storage_key, start=start, end=stop)


def render_page(
    services: Services, document: Document, *, number: int, highlight: str | None
) -> bytes:
    """Return page `number` (from 1) as PNG, with every occurrence of `highlight` marked.

    Raises NotFound for a page number out of range, Conflict for a document that no worker has
    opened yet, DocumentError for a PDF that cannot be rendered within its limits. Such a
    refusal is repeated for `page_cache.REFUSAL_SECONDS` without another try.
    """
    if number < 1 or (document.page_count is not None and number > document.page_count):
        raise NotFound("No such page.", code="page_not_found")
    if document.page_count is None:
        raise Conflict("The document has not been read yet.", code="document_not_ready")
    key = PageKey(document.id, document.generation, number, highlight)
    image = services.page_cache.find(key)
    return image if image is not None else _draw(services, document, key)


def _draw(services: Services, document: Document, key: PageKey) -> bytes:
    """Render a page that is not in the cache, and cache the image or the refusal."""
    cache = services.page_cache
    if refusal := cache.find_refusal(key):
        raise refusal
    path = services.storage.local_copy(document.storage_key)
    try:
        image = services.pdf_parser.render_page(
            path,
            number=key.number,
            highlight=key.highlight,
            words=_ocr_words(services, document, key),
        )
    except DocumentError as error:
        if error.code == "pdf_too_complex":  # refuse the next requests at once
            cache.put_refusal(key, error)
            _drop_if_deleted(services, document)
        raise
    cache.put(key, image)
    _drop_if_deleted(services, document)
    return image


def _ocr_words(services: Services, document: Document, key: PageKey) -> list[OcrWord]:
    """The words that OCR found on the page, with their places, if there is a highlight."""
    if key.highlight is None or key.number not in document.pages_ocr:
        return []
    with services.database.transaction(tenant_id=document.tenant_id) as db:
        return records.find_words(
            db, document_id=document.id, generation=document.generation, number=key.number
        )


def _drop_if_deleted(services: Services, document: Document) -> None:
    """Raises NotFound for a document that was deleted while its page was rendered."""
    try:
        with services.database.transaction(tenant_id=document.tenant_id) as db:
            records.get_document(db, tenant_id=document.tenant_id, document_id=document.id)
    except NotFound:
        services.page_cache.drop(document.id)
        raise
