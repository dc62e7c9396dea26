"""Ends jobs: gives the document its new chunks and the facts about its pages, or the error."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from core.db.models import Document, Job
from core.documents import jobs, records
from core.pdf import READER_VERSION, DocumentNote
from core.telemetry import get_logger

log = get_logger(__name__)

# Details of notes on single pages, unless a note on the whole file has the same code.
_PAGE_NOTES = {
    "attachments_not_read": "Files attached to pages were not read.",
    "ocr_failed": "OCR of these pages went past its limits.",
}


def complete(db: Session, job: Job, document: Document, *, ocr: str) -> None:
    """Switch the document to its new chunks after the last range, or fail if there are none.

    `ocr` names the languages that OCR can read; empty without OCR.
    """
    now = datetime.now(UTC)
    count = records.count_chunks(db, document_id=document.id, generation=job.generation)
    pages = records.summarize_pages(db, document_id=document.id, generation=job.generation)
    if count or not document.generation:
        document.pages_without_text = pages.without_text
        document.pages_unreadable = pages.unreadable
        document.pages_ocr = pages.ocr
        known = [DocumentNote(note["code"], note["detail"]) for note in document.notes]
        document.notes = merge_notes(known, pages.notes)
    if not count:
        detail = "No page has text that can be read; the PDF may be scanned."
        end_failed(db, job, document, ("pdf_no_text", detail), ocr=ocr)
        return
    if document.generation:
        records.delete_generation(db, document_id=document.id, generation=document.generation)
    document.generation, document.chunk_count = job.generation, count
    document.embedding_model = records.embedding_model(
        db, document_id=document.id, generation=job.generation
    )
    document.status, document.updated_at = "ready", now
    _sign(document, ocr)
    result = {
        "page_count": document.page_count,
        "chunk_count": count,
        "pages_without_text": pages.without_text,
    }
    jobs.end_job(job, state="succeeded", now=now, result=result)


def end_failed(
    db: Session, job: Job, document: Document, error: tuple[str, str], *, ocr: str
) -> None:
    """End an open job as failed and remove the chunks and pages that it wrote.

    The caller holds locks on the job and its document. `error` is code and detail.
    """
    now = datetime.now(UTC)
    jobs.end_job(job, state="failed", now=now, error=error)
    records.delete_generation(db, document_id=document.id, generation=job.generation)
    if error[0].startswith("pdf_"):
        _sign(document, ocr)
    if document.job_id == job.id and document.generation == 0:
        document.status, document.updated_at = "failed", now
    log.warning("job_failed", code=error[0])


def _sign(document: Document, ocr: str) -> None:
    """Record the reader's version, because another version may read the file differently."""
    document.reader_version, document.reader_ocr = READER_VERSION, ocr


def merge_notes(
    notes: Iterable[DocumentNote], pages: Mapping[str, Sequence[int]] | None = None
) -> list[dict[str, Any]]:
    """Notes in their stored form: notes on the file, and by code the pages that have one."""
    pages = pages or {}
    details = _PAGE_NOTES | {note.code: note.detail for note in notes}
    codes = dict.fromkeys([*(note.code for note in notes), *sorted(pages)])
    return [
        {"code": code, "detail": details[code], "pages": list(pages.get(code, ()))}
        for code in codes
    ]
