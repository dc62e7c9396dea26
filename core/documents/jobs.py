"""Jobs and their page ranges: the record of all accepted work.

A worker claims a range by compare-and-set, holds it by a lease that it renews, and writes with
the attempt number of its claim. A worker that wakes up after its lease has expired has an
outdated attempt number and changes no row. All times are by the database's clock, so the hosts'
clocks may differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, select, text, update
from sqlalchemy.orm import Session

from core.db import count_changed
from core.db.models import TERMINAL_STATES, Document, Job, PageRange
from core.db.paging import Page, PageRequest, cursor_scope, paginate
from core.documents.fairness import (
    finish_by,
    first_of_stretch,
    guess_pages,
    next_range_pages,
    update_page_seconds,
)
from core.documents.page_ranges import DUE, cut_range, lease_end, take_range
from core.documents.waiting import (
    is_newcomer,
    list_candidates,
    person_of,
    place_in_turns,
    record_served,
    seconds_of,
)
from core.errors import NotFound

PLAN = 0  # the number of the range in which a worker opens the file and plans the others

OPEN_STATES = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Claim:
    """A range that one worker holds. `attempt` is the fencing token."""

    range_id: int
    attempt: int
    failures: int
    number: int
    first_page: int
    last_page: int
    pages_total: int | None
    page_seconds: float | None
    waiting_seconds: float | None
    job_id: UUID
    generation: int
    tenant_id: str
    document_id: UUID
    storage_key: str
    filename: str
    title: str | None
    outline: Sequence[dict[str, Any]]
    page_labels: Sequence[dict[str, Any]]
    known_words: Sequence[str]
    leaves_pages: bool = (
        False  # whether the claim was cut, so that pages before or after it are due
    )

    @property
    def is_plan(self) -> bool:
        return self.number == PLAN

    @property
    def page_count(self) -> int:
        return self.last_page - self.first_page + 1

    def __str__(self) -> str:
        """The document's id and the pages, for logs and Flower."""
        pages = "plan" if self.is_plan else f"pages {self.first_page}-{self.last_page}"
        return f"document {self.document_id}, {pages}"


def get_job(db: Session, *, tenant_id: str, job_id: UUID) -> Job:
    """Raises NotFound for an unknown job and for another tenant's."""
    job = db.scalar(select(Job).where(Job.tenant_id == tenant_id, Job.id == job_id))
    if job is None:
        raise NotFound("No such job.", code="job_not_found")
    return job


def list_jobs(
    db: Session,
    *,
    tenant_id: str,
    state: str | None = None,
    document_id: UUID | None = None,
    page: PageRequest,
) -> Page[Job]:
    """The tenant's jobs that match every filter given, newest first."""
    rows = select(Job).where(Job.tenant_id == tenant_id)
    if state is not None:
        rows = rows.where(Job.state == state)
    if document_id is not None:
        rows = rows.where(Job.document_id == document_id)
    return paginate(
        db,
        statement=rows,
        keys=[Job.created_at, Job.id],  # type: ignore[list-item]
        page=page,
        scope=cursor_scope("jobs", state=state, document_id=document_id),
    )


def start_job(db: Session, *, document: Document) -> Job:
    """Write a new ingestion job of `document`. The worker that claims it first plans it."""
    latest = db.scalar(select(func.max(Job.generation)).where(Job.document_id == document.id))
    job = Job(
        tenant_id=document.tenant_id,
        type="ingest",
        document_id=document.id,
        generation=max(latest or 0, document.generation) + 1,
        person=person_of(document),
    )
    db.add(job)
    db.flush()
    guess = document.page_count or guess_pages(document.size_bytes)
    job.finish_by = finish_by(job.created_at, pages_left=guess, page_seconds=None)
    db.add(
        PageRange(job_id=job.id, tenant_id=job.tenant_id, number=PLAN, first_page=0, last_page=0)
    )
    document.job_id = job.id
    db.flush()
    return job


def claim_range(
    db: Session,
    *,
    lease_seconds: float,
    max_pages: int = 32,
    workers: int = 1,
    job_id: UUID | None = None,
    stopped_at: Mapping[UUID, int] | None = None,
) -> Claim | None:
    """Claim a due range, of the person whose turn it is or of `job_id`; None if there is none.

    The claim has at most `max_pages` pages, and fewer if they would take long or if `workers`
    share the rest. A range with an expired lease is due again, and that counts as a failure.
    `stopped_at` has the last page that the worker has ingested of each job; then each worker goes
    through a stretch of its own. Without it, claims follow the order of the pages.
    """
    candidates = list_candidates(db)
    for chosen in [candidate.job_id for candidate in candidates] if job_id is None else [job_id]:
        stop = None if stopped_at is None else stopped_at.get(chosen, 0)
        taken = take_range(db, chosen, lease_seconds=lease_seconds, stopped_at=stop)
        if taken is not None:
            claim = _mark_running(db, taken, newcomer=is_newcomer(candidates, chosen))
            if claim is None or claim.is_plan:
                return claim
            part = _part_of(claim, max_pages=max_pages, workers=workers, stop=stop)
            cut_range(db, taken, first=part.first_page, last=part.last_page)
            return part
    return None


def _part_of(claim: Claim, *, max_pages: int, workers: int, stop: int | None) -> Claim:
    """The claim of the pages that one range should have."""
    first = claim.first_page
    # A range that was claimed before begins where it began, so that its failures count.
    if stop is not None and claim.attempt == 1:
        first = first_of_stretch(first, claim.last_page, stopped_at=stop)
    pages = next_range_pages(
        claim.last_page - first + 1,
        page_seconds=claim.page_seconds,
        max_pages=max_pages,
        workers=workers if stop is None or first == 1 else 1,  # a stretch has one worker
    )
    last = first + pages - 1
    leaves_pages = (first, last) != (claim.first_page, claim.last_page)
    return replace(claim, number=first, first_page=first, last_page=last, leaves_pages=leaves_pages)


def _mark_running(db: Session, taken: PageRange, *, newcomer: bool) -> Claim | None:
    served = db.execute(
        update(Job)
        .where(
            Job.id == taken.job_id,
            Job.state.in_(OPEN_STATES),
            Document.id == Job.document_id,
        )
        .values(
            state="running",
            stage="planning" if taken.number == PLAN else "indexing",
            started_at=func.coalesce(Job.started_at, func.now()),
            updated_at=func.now(),
            attempts=func.greatest(Job.attempts, taken.failures + 1),
        )
        .returning(
            Job.document_id,
            Job.generation,
            Job.pages_total,
            Job.page_ms,
            Job.person,
            Document.storage_key,
            Document.filename,
            Document.title,
            Document.outline,
            Document.page_labels,
            Document.known_words,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if served is None:
        return None  # cancelled or deleted between the two statements
    record_served(db, tenant_id=taken.tenant_id, person=served.person, newcomer=newcomer)
    return Claim(
        range_id=taken.id,
        attempt=taken.attempt,
        failures=taken.failures,
        number=taken.number,
        first_page=taken.first_page,
        last_page=taken.last_page,
        pages_total=served.pages_total,
        page_seconds=seconds_of(served.page_ms),
        waiting_seconds=_waiting_seconds(db, taken),
        job_id=taken.job_id,
        generation=served.generation,
        tenant_id=taken.tenant_id,
        document_id=served.document_id,
        storage_key=served.storage_key,
        filename=served.filename,
        title=served.title,
        outline=served.outline,
        page_labels=served.page_labels,
        known_words=served.known_words,
    )


def _waiting_seconds(db: Session, taken: PageRange) -> float | None:
    """How long the range has waited for an outside service, such as an embedding endpoint."""
    if taken.waiting_since is None:
        return None
    now = db.execute(select(func.now())).scalar_one()
    return float((now - taken.waiting_since).total_seconds())


def _update_claimed(db: Session, claim: Claim, values: dict[str, Any], *conditions: Any) -> bool:
    """Change the claim's range. False if the claim is outdated or one of `conditions` is false."""
    claimed = (
        PageRange.id == claim.range_id,
        PageRange.attempt == claim.attempt,
        PageRange.state == "running",
    )
    statement = update(PageRange).where(*claimed, *conditions).values(values)
    result = db.execute(statement.execution_options(synchronize_session=False))
    return count_changed(result) > 0


def renew_lease(db: Session, claim: Claim, *, lease_seconds: float) -> bool:
    """Extend the lease by `lease_seconds`. False if the claim is outdated: stop working."""
    still_open = exists().where(Job.id == PageRange.job_id, Job.state.in_(OPEN_STATES))
    return _update_claimed(db, claim, {"lease_expires_at": lease_end(lease_seconds)}, still_open)


def finish_range(db: Session, claim: Claim) -> bool:
    """Mark the range done. False if the claim is outdated: roll the transaction back."""
    values = {"state": "done", "lease_expires_at": None, "waiting_since": None}
    return _update_claimed(db, claim, values)


def release_range(
    db: Session, claim: Claim, *, delay_seconds: float, failed: bool, waiting: bool
) -> bool:
    """Give the range back, due again after `delay_seconds`.

    `failed` counts against its attempts. `waiting` records that the range waits for an outside
    service, such as an embedding endpoint, and since when.
    """
    values: dict[str, Any] = {
        "state": "queued",
        "lease_expires_at": None,
        "not_before": lease_end(delay_seconds),
        "failures": PageRange.failures + int(failed),
    }
    if waiting:
        values["waiting_since"] = func.coalesce(PageRange.waiting_since, func.now())
    return _update_claimed(db, claim, values)


def record_progress(
    job: Job,
    *,
    done: int,
    pages: int,
    chunks: int,
    seconds: float,
    typical_page_seconds: float | None,
    now: datetime,
) -> None:
    """Add a finished range of `pages` that took `seconds` to the job's progress.

    `done` is the number of its pages that were not counted before. `typical_page_seconds` is as
    in `core.documents.waiting.place_in_turns`.
    """
    job.pages_done += done
    job.chunks_done += chunks
    learned = update_page_seconds(seconds_of(job.page_ms), seconds=seconds, pages=pages)
    job.page_ms = max(1, round(1000 * learned))
    job.updated_at = now
    place_in_turns(job, typical_page_seconds=typical_page_seconds)


def set_back(job: Job) -> None:
    """Let a planned job wait for its turn. Its time runs from its first pages on."""
    job.state = job.stage = "queued"
    job.started_at = None


def lock_open_job(db: Session, *, job_id: UUID) -> Job | None:
    """The job, locked until the transaction ends; None if it has ended or does not exist."""
    return db.scalar(
        select(Job)
        .where(Job.id == job_id, Job.state.in_(OPEN_STATES))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def all_ranges_done(db: Session, *, job_id: UUID) -> bool:
    unfinished = select(exists().where(PageRange.job_id == job_id, PageRange.state != "done"))
    return not db.scalar(unfinished)


def end_job(
    job: Job,
    *,
    state: str,
    now: datetime,
    result: dict[str, Any] | None = None,
    error: tuple[str, str] | None = None,
) -> None:
    """Put an open job into a terminal state. `error` is its code and detail."""
    assert state in TERMINAL_STATES
    job.state = state
    job.stage = "done" if state == "succeeded" else state
    job.finished_at = job.updated_at = now
    job.result = result
    job.error_code, job.error_detail = error or (None, None)


def count_due(db: Session, *, limit: int) -> int:
    """How many ranges could be claimed now, counting to `limit` at most."""
    due = (
        select(PageRange.id)
        .join(Job, Job.id == PageRange.job_id)
        .where(Job.state.in_(OPEN_STATES), text(DUE))
        .limit(limit)
        .subquery()
    )
    return db.scalar(select(func.count()).select_from(due)) or 0


def progress_of(job: Job, *, now: datetime) -> dict[str, Any]:
    """The job's progress for the API. No number falls while the job runs."""
    return {
        "stage": job.stage,
        "pages_total": job.pages_total,
        "pages_done": job.pages_done,
        "chunks_done": job.chunks_done,
        "percent": _percent(job),
        "eta_seconds": _eta(job, now=now),
    }


def _percent(job: Job) -> int:
    if job.state == "succeeded":
        return 100
    if not job.pages_total:
        return 0
    return min(99, 100 * job.pages_done // job.pages_total)


def _eta(job: Job, *, now: datetime) -> int | None:
    if job.state in TERMINAL_STATES:
        return 0
    if not job.pages_total or not job.pages_done or job.started_at is None:
        return None
    elapsed = (now - job.started_at).total_seconds()
    return max(1, round(elapsed / job.pages_done * (job.pages_total - job.pages_done)))
