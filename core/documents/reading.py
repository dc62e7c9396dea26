"""Reads a page range: its text layer, OCR of pages without one, then the chunks.

OCR takes seconds per page. Each page is written as soon as OCR has read it, so that it is not
read again after a worker's death or for the neighbouring range.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from core.bootstrap import Services
from core.documents import jobs, records
from core.documents.chunking import ChunkDraft, chunk_pages
from core.documents.jobs import Claim
from core.documents.lease import Lease, LostClaimError
from core.errors import DocumentError, NotFound
from core.pdf import LabelRange, OutlineEntry, PageText
from core.telemetry import get_logger

log = get_logger(__name__)

# A range of scans gives way to other jobs after this time, well below Celery's limit of a task.
OCR_SLICE_SECONDS = 60.0
_FOR_OCR = ("scan", "unreadable")


class PausedError(Exception):
    """The range has used its share of time and continues at its next turn."""


def read_range(
    services: Services, claim: Claim, lease: Lease
) -> tuple[list[PageText], list[ChunkDraft]]:
    """The range's pages and their chunks.

    Reads the neighbouring pages too, because a sentence that runs over the edge belongs to the
    range in which it starts. Raises PausedError when OCR has used its share of time.
    """
    assert claim.pages_total is not None
    with open_file(services, claim) as path:
        around = services.pdf_parser.read_pages(
            path,
            first=max(1, claim.first_page - 1),
            last=min(claim.pages_total, claim.last_page + 1),
            page_count=claim.pages_total,
            labels=[LabelRange(**entry) for entry in claim.page_labels],
            known_words=claim.known_words,
        )
        if services.pdf_parser.ocr_languages:
            around = _recognize_scans(services, claim, lease, path, around)
    around = [_without_noise(page) for page in around]
    drafts = chunk_pages(
        around,
        first=claim.first_page,
        last=claim.last_page,
        count_tokens=services.embedder.count_tokens,
        outline=[OutlineEntry(**entry) for entry in claim.outline],
    )
    return [page for page in around if _is_own(claim, page)], drafts


@contextmanager
def open_file(services: Services, claim: Claim) -> Iterator[Path]:
    """The path of the claim's PDF, for the `with` block. Raises LostClaimError if it was deleted.

    A deletion removes the document's row first and then the file, perhaps while it is read
    here: the file is then missing, or seems broken to the parsing child.
    """
    try:
        yield services.storage.local_copy(claim.storage_key)
    except (NotFound, FileNotFoundError, DocumentError):
        with services.database.transaction(tenant_id=None) as db:
            held = jobs.renew_lease(db, claim, lease_seconds=services.settings.lease_seconds)
        if not held:
            raise LostClaimError from None
        raise


def _is_own(claim: Claim, page: PageText) -> bool:
    return claim.first_page <= page.number <= claim.last_page


def _recognize_scans(
    services: Services, claim: Claim, lease: Lease, path: Path, pages: Sequence[PageText]
) -> list[PageText]:
    """The pages, after OCR of those that need it. OCR reads the range's own pages first."""
    wanted = [page for page in pages if page.reading in _FOR_OCR]
    if not wanted:
        return list(pages)
    wanted.sort(key=lambda page: not _is_own(claim, page))
    with services.database.transaction(tenant_id=None) as db:
        done = records.read_pages(
            db,
            document_id=claim.document_id,
            generation=claim.generation,
            numbers=[page.number for page in wanted],
        )
    deadline = time.monotonic() + OCR_SLICE_SECONDS
    missing = [page for page in wanted if page.number not in done]
    for place, page in enumerate(missing):
        if place and time.monotonic() > deadline:  # at least one page a turn
            raise PausedError
        lease.check()
        done[page.number] = _recognize(services, path, page)
        _record_page(services, claim, done[page.number])
    return [
        replace(done[page.number], label=page.label) if page.number in done else page
        for page in pages
    ]


def _recognize(services: Services, path: Path, page: PageText) -> PageText:
    """The page as read by OCR; unchanged but for a note if OCR exceeds its limits."""
    started = time.perf_counter()
    try:
        read = services.pdf_parser.recognize_page(path, number=page.number)
    except DocumentError as error:
        log.warning("ocr_failed", page=page.number, code=error.code)
        return _without_noise(replace(page, notes=(*page.notes, "ocr_failed")))
    log.info("page_recognized", page=page.number, ms=round(1000 * (time.perf_counter() - started)))
    return _without_noise(read)


def _without_noise(page: PageText) -> PageText:
    return replace(page, text="") if page.reading == "unreadable" else page


def _record_page(services: Services, claim: Claim, page: PageText) -> None:
    """Write a page before its range is done. Raises LostClaimError if the job is over."""
    with services.database.transaction(tenant_id=None) as db:
        held = jobs.renew_lease(db, claim, lease_seconds=services.settings.lease_seconds)
        document = records.find_locked(db, tenant_id=claim.tenant_id, document_id=claim.document_id)
        job = jobs.lock_open_job(db, job_id=claim.job_id)
        if not held or document is None or job is None:
            raise LostClaimError
        job.pages_done += records.record_pages(
            db,
            tenant_id=claim.tenant_id,
            document_id=claim.document_id,
            generation=claim.generation,
            pages=[page],
        )
        job.stage = "ocr"
        job.updated_at = datetime.now(UTC)
