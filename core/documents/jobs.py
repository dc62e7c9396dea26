"""Jobs and their page ranges: the truth about work that was promised.

A worker claims a range by compare-and-set, holds it by a lease that it renews,
and writes under the attempt number it was given: a worker that was presumed
dead and wakes up finds its attempt outdated and changes no row. The clock is
the database's, so hosts need not agree on the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from core.db import count_changed
from core.db.models import TERMINAL_STATES, Document, Job, PageRange
from core.db.paging import Page, PageRequest, cursor_scope, paginate
from core.errors import NotFound

PLAN = 0  # number of the range that stands for planning the others

OPEN_STATES = ("queued", "running")

_due = or_(
    and_(
        PageRange.state == "queued",
        or_(PageRange.not_before.is_(None), PageRange.not_before <= func.now()),
    ),
    and_(PageRange.state == "running", PageRange.lease_expires_at < func.now()),
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One range in one worker's hands. `attempt` is the fencing token."""

    range_id: int
    attempt: int
    failures: int
    number: int
    first_page: int
    last_page: int
    pages_total: int | None
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

    @property
    def is_plan(self) -> bool:
        return self.number == PLAN


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
    """Write a new ingestion job of `document`, to be planned by whoever claims it."""
    latest = db.scalar(select(func.max(Job.generation)).where(Job.document_id == document.id))
    job = Job(
        tenant_id=document.tenant_id,
        type="ingest",
        document_id=document.id,
        generation=max(latest or 0, document.generation) + 1,
    )
    db.add(job)
    db.flush()
    db.add(
        PageRange(job_id=job.id, tenant_id=job.tenant_id, number=PLAN, first_page=0, last_page=0)
    )
    document.job_id = job.id
    db.flush()
    return job


def claim_range(db: Session, *, lease_seconds: float) -> Claim | None:
    """Take the range that is due, of the job that was served longest ago; None if none is.

    A range whose lease has run out is taken too, and that counts as a failure.
    """
    chosen = (
        select(PageRange.id)
        .join(Job, Job.id == PageRange.job_id)
        .where(Job.state.in_(OPEN_STATES), _due)
        .order_by(Job.served_at.nulls_first(), Job.id, PageRange.number)
        .limit(1)
        .with_for_update(of=PageRange, skip_locked=True)
        .scalar_subquery()
    )
    taken = db.execute(
        update(PageRange)
        .where(PageRange.id == chosen)
        .values(
            state="running",
            attempt=PageRange.attempt + 1,
            failures=PageRange.failures + _silent_failure(),
            lease_expires_at=_lease(lease_seconds),
            not_before=None,
        )
        .returning(PageRange)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    return None if taken is None else _mark_running(db, taken)


def _silent_failure() -> Any:
    """1 if the range's last holder fell silent, else 0."""
    return func.cast(PageRange.state == "running", PageRange.attempt.type)


def _lease(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _mark_running(db: Session, taken: PageRange) -> Claim | None:
    served = db.execute(
        update(Job)
        .where(Job.id == taken.job_id, Job.state.in_(OPEN_STATES))
        .values(
            state="running",
            stage=func.coalesce(func.nullif(Job.stage, "queued"), "planning"),
            started_at=func.coalesce(Job.started_at, func.now()),
            served_at=func.clock_timestamp(),
            updated_at=func.now(),
            attempts=func.greatest(Job.attempts, taken.failures + 1),
        )
        .returning(Job.document_id, Job.generation, Job.pages_total)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if served is None:
        return None  # cancelled between the two statements
    document = db.execute(
        select(
            Document.storage_key,
            Document.filename,
            Document.title,
            Document.outline,
            Document.page_labels,
        ).where(Document.id == served.document_id)
    ).one_or_none()
    if document is None:
        return None
    waiting = None
    if taken.waiting_since is not None:
        now = db.execute(select(func.now())).scalar_one()
        waiting = (now - taken.waiting_since).total_seconds()
    return Claim(
        range_id=taken.id,
        attempt=taken.attempt,
        failures=taken.failures,
        number=taken.number,
        first_page=taken.first_page,
        last_page=taken.last_page,
        pages_total=served.pages_total,
        waiting_seconds=waiting,
        job_id=taken.job_id,
        generation=served.generation,
        tenant_id=taken.tenant_id,
        document_id=served.document_id,
        storage_key=document.storage_key,
        filename=document.filename,
        title=document.title,
        outline=document.outline,
        page_labels=document.page_labels,
    )


def _claim_is_current(claim: Claim) -> Any:
    return and_(
        PageRange.id == claim.range_id,
        PageRange.attempt == claim.attempt,
        PageRange.state == "running",
    )


def renew_lease(db: Session, claim: Claim, *, lease_seconds: float) -> bool:
    """Hold the range for another `lease_seconds`. False: it is no longer ours, stop."""
    still_open = exists().where(Job.id == PageRange.job_id, Job.state.in_(OPEN_STATES))
    changed = count_changed(
        db.execute(
            update(PageRange)
            .where(_claim_is_current(claim), still_open)
            .values(lease_expires_at=_lease(lease_seconds))
            .execution_options(synchronize_session=False)
        )
    )
    return changed > 0


def finish_range(db: Session, claim: Claim) -> bool:
    """Mark the range done. False: it is no longer ours; roll everything back."""
    changed = count_changed(
        db.execute(
            update(PageRange)
            .where(_claim_is_current(claim))
            .values(state="done", lease_expires_at=None, waiting_since=None)
            .execution_options(synchronize_session=False)
        )
    )
    return changed > 0


def release_range(
    db: Session, claim: Claim, *, delay_seconds: float, failed: bool, waiting: bool
) -> bool:
    """Give the range back, due again after `delay_seconds`.

    `failed` counts against its attempts; `waiting` notes since when it has
    been waiting for somebody else.
    """
    values: dict[str, Any] = {
        "state": "queued",
        "lease_expires_at": None,
        "not_before": _lease(delay_seconds),
        "failures": PageRange.failures + int(failed),
    }
    if waiting:
        values["waiting_since"] = func.coalesce(PageRange.waiting_since, func.now())
    changed = count_changed(
        db.execute(
            update(PageRange)
            .where(_claim_is_current(claim))
            .values(values)
            .execution_options(synchronize_session=False)
        )
    )
    return changed > 0


def plan_ranges(db: Session, *, job: Job, ranges: Sequence[tuple[int, int]]) -> None:
    """Queue `ranges`, first and last page of each, to be worked on in this order."""
    rows = [
        {
            "job_id": job.id,
            "tenant_id": job.tenant_id,
            "number": number,
            "first_page": first,
            "last_page": last,
            "state": "queued",
            "attempt": 0,
            "failures": 0,
        }
        for number, (first, last) in enumerate(ranges, start=1)
    ]
    db.execute(PageRange.__table__.insert(), rows)  # type: ignore[attr-defined]


def lock_open_job(db: Session, *, job_id: UUID) -> Job | None:
    """The job, locked until the transaction ends; None if it is over (or gone)."""
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
        .where(Job.state.in_(OPEN_STATES), _due)
        .limit(limit)
        .subquery()
    )
    return db.scalar(select(func.count()).select_from(due)) or 0


def delete_finished_ranges(db: Session) -> int:
    """Remove the ranges of jobs that are over; how many rows those were."""
    over = select(Job.id).where(Job.state.in_(TERMINAL_STATES)).scalar_subquery()
    result = db.execute(
        delete(PageRange)
        .where(PageRange.job_id.in_(over))
        .execution_options(synchronize_session=False)
    )
    return count_changed(result)


def progress_of(job: Job, *, now: datetime) -> dict[str, Any]:
    """The job's progress, as the contract shows it. Monotone while the job runs."""
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
