"""The workers' side of documents: claim a page range, read it, embed it, commit it.

No transaction is open while a PDF is parsed or a text is embedded. The commit of the last range
also sets the document to `ready` and the job to `succeeded`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.db.models import Document, Job
from core.documents import completion, jobs, page_ranges, reading, records, turns, waiting
from core.documents.chunking import ChunkDraft
from core.documents.fairness import update_page_seconds
from core.documents.jobs import Claim
from core.documents.lease import Lease, LostClaimError
from core.documents.turns import Turn
from core.embedding.base import Vectors
from core.errors import (
    DocumentError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    StorageFull,
    Unavailable,
)
from core.pdf import PageText
from core.search import embedding_model, vector_index
from core.search.document_names import document_label
from core.telemetry import get_logger, log_context

log = get_logger(__name__)

MAX_HEADING = 60  # embedded characters; a longer one would push the text out of the model's window
# Texts to embed between two checks of the lease, some 3 s. The embedder batches texts of similar
# length, and with more texts to choose from it pads less (3 % less than with 32).
EMBED_SLICE = 128
RETRY_SECONDS = 2.0  # before a failed range is tried again
MAX_WAIT_SECONDS = 60.0  # longest pause between two calls of an endpoint that refuses
SHORT_WAIT_SECONDS = (
    15.0  # a ring is scheduled after waits up to this; the sweep covers longer ones
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim: `failure` is the code with which the document failed, or None."""

    claim: Claim
    failure: str | None


def process_next_range(
    services: Services, *, go_on: bool = False, on_claim: Callable[[Claim], None] = lambda _: None
) -> list[Outcome]:
    """Do one due unit of work, for the person whose turn it is. Empty if none is due.

    With `go_on`, also do the first range of a document that this call planned, so that a short
    document is ready at once; but not if another document of the same person goes first. If more
    work is due, rings for another worker twice: before the work, so that each worker wakes the
    next, and after it, in case the queue has no message.
    `on_claim` is called before each unit.
    """
    outcomes = []
    turn = turns.take_turn(services)
    while turn is not None:
        claim = turn.claim
        if turn.more_is_due:
            services.queue.ring()
        on_claim(claim)
        where = {"job_id": str(claim.job_id), "document_id": str(claim.document_id)}
        with log_context(**where, range=claim.number, attempt=claim.attempt):
            failure, turn = _work(services, claim, go_on=go_on)
        outcomes.append(Outcome(claim, failure))
    turns.ring_if_due(services)
    return outcomes


def _work(services: Services, claim: Claim, *, go_on: bool) -> tuple[str | None, Turn | None]:
    """Do a claim's work and record its outcome.

    Returns the code with which the document failed, if it did, and the turn that a plan goes on
    with. Raises only exceptions that end the process.
    """
    if claim.failures >= services.settings.max_attempts:
        died = "The workers that took this on died."
        return _fail(services, claim, "internal_error", died), None
    started = time.perf_counter()
    turn = None
    try:
        with Lease(services, claim) as lease:
            if claim.is_plan:
                facts, turn = _plan(services, claim, go_on=go_on)
            else:
                facts = _index(services, claim, lease)
        log.info("range_done", ms=round(1000 * (time.perf_counter() - started)), **facts)
    except LostClaimError:
        log.info("range_lost")
    except reading.PausedError:
        log.info("range_paused")
        _write_outcome(services, partial(_give_back, claim))
    except DocumentError as error:
        return _reject(services, claim, error), None
    except ProviderError as error:
        return _wait(services, claim, error), None
    except (Unavailable, StorageFull) as error:
        log.warning("range_interrupted", code=error.code)
        _release(services, claim, delay=RETRY_SECONDS, failed=False)
    except Exception as error:
        log.exception("range_failed")
        return _count_failure(services, claim, type(error).__name__), None
    return None, turn


def _plan(services: Services, claim: Claim, *, go_on: bool) -> tuple[dict[str, int], Turn | None]:
    """Let the parsing child open and check the file, then queue its pages.

    Returns their number and, with `go_on`, the claim of the first ones in the same commit.
    """
    turn = None
    with reading.open_file(services, claim) as path:
        info = services.pdf_parser.inspect(path)
    with services.database.transaction(tenant_id=None) as db:
        job, document = _begin_commit(db, claim)
        document.page_count = job.pages_total = info.page_count
        document.title = info.title
        document.outline = records.outline_rows(info.outline)
        document.page_labels = [asdict(entry) for entry in info.labels]
        document.known_words = list(info.known_words)
        document.notes = completion.merge_notes(info.notes)
        document.status = "ready" if document.generation else "processing"
        document.updated_at = job.updated_at = datetime.now(UTC)
        job.stage = "indexing"
        waiting.place_in_turns(job)
        page_ranges.queue_pages(
            db, job_id=job.id, tenant_id=job.tenant_id, first=1, last=info.page_count
        )
        # Only now is its size known: documents that were begun before it may go first.
        if waiting.waits_for_another(db, job):
            jobs.set_back(job)
        elif go_on:
            turn = turns.claim(services, db, job_id=job.id)
    return {"pages": info.page_count}, turn


def _index(services: Services, claim: Claim, lease: Lease) -> dict[str, int]:
    """Read the range's pages, embed their chunks, and commit them with the progress.

    Returns how many there were, and how long each step took.
    """
    started = time.perf_counter()
    embedding_model.check_length(services)
    pages, drafts = reading.read_range(services, claim, lease)
    lease.check()
    read = time.perf_counter()
    vectors = _embed(services, claim, drafts, lease)
    embedded = time.perf_counter()
    _commit_range(services, claim, pages, drafts, vectors, started=started)
    services.remember_stop(claim.job_id, claim.last_page)
    return {
        "pages": claim.page_count,
        "chunks": len(drafts),
        "read_ms": round(1000 * (read - started)),
        "embed_ms": round(1000 * (embedded - read)),
        "write_ms": round(1000 * (time.perf_counter() - embedded)),
    }


def _commit_range(
    services: Services,
    claim: Claim,
    pages: Sequence[PageText],
    drafts: Sequence[ChunkDraft],
    vectors: Vectors,
    *,
    started: float,
) -> None:
    """Write the range's results. After the last range, the document is ready."""
    rows = records.chunk_rows(
        tenant_id=claim.tenant_id,
        document_id=claim.document_id,
        generation=claim.generation,
        first_page=claim.first_page,
        label=document_label(claim.filename, claim.title),
        drafts=drafts,
        page_labels={page.number: page.label for page in pages},
    )
    with services.database.transaction(tenant_id=None) as db:
        job, document = _begin_commit(db, claim)
        done = _record(db, claim, pages, rows, vectors, model=services.embedder.name)
        seconds = time.perf_counter() - started
        services.page_seconds = update_page_seconds(
            services.page_seconds, seconds=seconds, pages=claim.page_count
        )
        jobs.record_progress(
            job,
            done=done,
            pages=claim.page_count,
            chunks=len(drafts),
            seconds=seconds,
            typical_page_seconds=services.page_seconds,
            now=datetime.now(UTC),
        )
        db.flush()
        if jobs.all_ranges_done(db, job_id=job.id):
            completion.complete(db, job, document, ocr=services.pdf_parser.ocr_languages)


def _embed(services: Services, claim: Claim, drafts: Sequence[ChunkDraft], lease: Lease) -> Vectors:
    label = document_label(claim.filename, claim.title)
    texts = [
        text_to_embed(draft.text, label=label, heading=draft.heading, caption=draft.caption)
        for draft in drafts
    ]
    parts = []
    for start in range(0, len(texts), EMBED_SLICE):
        lease.check()
        parts.append(services.embedder.embed(texts[start : start + EMBED_SLICE]))
    if not parts:
        return np.zeros((0, services.embedder.dimensions), dtype=np.float32)
    return np.concatenate(parts)


def text_to_embed(text: str, *, label: str, heading: str | None, caption: str = "") -> str:
    """The document's label, the section's heading, the caption of the table, and the text.

    The heading is left out if the text begins with it.
    """
    heading = (heading or "")[:MAX_HEADING]
    caption = "" if caption in heading else caption[:MAX_HEADING]
    parts = [label, "" if text.startswith(heading) else heading, caption, text]
    return "\n".join(part for part in parts if part)


def _begin_commit(db: Session, claim: Claim) -> tuple[Job, Document]:
    """Lock job and document if the claim is current. Raises LostClaimError, which rolls back."""
    if not jobs.finish_range(db, claim):
        raise LostClaimError
    document = records.find_locked(db, tenant_id=claim.tenant_id, document_id=claim.document_id)
    job = jobs.lock_open_job(db, job_id=claim.job_id)
    if job is None or document is None:
        raise LostClaimError
    return job, document


def _record(
    db: Session,
    claim: Claim,
    pages: Sequence[PageText],
    rows: Sequence[dict[str, Any]],
    vectors: Vectors,
    *,
    model: str,
) -> int:
    """Write the range's pages and chunks. Returns how many of the pages are new."""
    new_pages = records.record_pages(
        db,
        tenant_id=claim.tenant_id,
        document_id=claim.document_id,
        generation=claim.generation,
        pages=pages,
    )
    records.record_chunks(
        db,
        rows=rows,
        vectors=vectors,
        model=model,
        indexed=vector_index.is_wanted(db, tenant_id=claim.tenant_id),
    )
    return new_pages


def _fail(services: Services, claim: Claim, code: str, detail: str) -> str:
    """Fail the document. Returns `code`."""

    def write(db: Session) -> None:
        try:
            job, document = _begin_commit(db, claim)
        except LostClaimError:
            return
        completion.end_failed(
            db, job, document, (code, detail), ocr=services.pdf_parser.ocr_languages
        )

    _write_outcome(services, write)
    return code


def _reject(services: Services, claim: Claim, error: DocumentError) -> str | None:
    """Retry an error that may come from a busy machine; other errors fail the job."""
    tries_left = claim.failures + 1 < services.settings.max_attempts
    log.warning("document_rejected", code=error.code, detail=error.detail)
    if error.code == "pdf_too_complex" and tries_left:
        _release(services, claim, delay=RETRY_SECONDS, failed=True)
        return None
    return _fail(services, claim, error.code, error.detail)


def _wait(services: Services, claim: Claim, error: ProviderError) -> str | None:
    """Release the range until a later try, with longer pauses up to the limit of the settings.

    Fails the job at once if waiting does not help: a wrong key, an unknown model, no credit.
    """
    waited = claim.waiting_seconds or 0.0
    asked = error.retry_after if isinstance(error, ProviderBusy) else None
    log.warning("embedding_refused", code=error.code, detail=error.detail, waited=round(waited, 1))
    refused = isinstance(error, ProviderRefused)
    if refused or waited >= services.settings.embedding_give_up_seconds:
        return _fail(services, claim, "embedding_unavailable", error.detail)
    # A pause as long as the whole wait so far doubles the pauses without counting the tries.
    delay = min(MAX_WAIT_SECONDS, asked if asked is not None else max(1.0, waited))
    _release(services, claim, delay=delay, failed=False, waiting=True)
    return None


def _count_failure(services: Services, claim: Claim, name: str) -> str | None:
    if claim.failures + 1 >= services.settings.max_attempts:
        detail = f"The document could not be indexed ({name})."
        return _fail(services, claim, "internal_error", detail)
    _release(services, claim, delay=RETRY_SECONDS, failed=True)
    return None


def _release(
    services: Services, claim: Claim, *, delay: float, failed: bool, waiting: bool = False
) -> None:
    def write(db: Session) -> None:
        jobs.release_range(db, claim, delay_seconds=delay, failed=failed, waiting=waiting)

    _write_outcome(services, write)
    if delay <= SHORT_WAIT_SECONDS:
        services.queue.ring(countdown=delay)


def _give_back(claim: Claim, db: Session) -> None:
    """Release the range for its next turn. It is due at once."""
    jobs.release_range(db, claim, delay_seconds=0, failed=False, waiting=False)


def _write_outcome(services: Services, write: Callable[[Session], None]) -> None:
    """Record an outcome. If PostgreSQL is away, wait for it for as long as the lease lasts.

    After that the lease has expired and another worker claims the range.
    """
    deadline = time.monotonic() + services.settings.lease_seconds
    while True:
        try:
            with services.database.transaction(tenant_id=None) as db:
                write(db)
            return
        except Unavailable:
            if time.monotonic() > deadline:
                log.warning("outcome_not_written")
                return
            time.sleep(1)
