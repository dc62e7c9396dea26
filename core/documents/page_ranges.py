"""Page ranges: when one is due, how a worker claims it, and how pages are queued."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from core.db import Executor, count_changed
from core.db.models import TERMINAL_STATES, Job, PageRange

# A range is due if it is queued and its pause is over, or if its worker's lease has expired.
DUE = """
    (page_ranges.state = 'queued'
        AND (page_ranges.not_before IS NULL OR page_ranges.not_before <= now())
    OR page_ranges.state = 'running' AND page_ranges.lease_expires_at < now())
"""

_ANY_DUE = text(
    f"""
    SELECT EXISTS (
        SELECT FROM page_ranges JOIN jobs j ON j.id = page_ranges.job_id
        WHERE j.state IN ('queued', 'running') AND {DUE}
    )
    """  # noqa: S608  # no value is put in
)


def is_any_due(db: Executor) -> bool:
    """Whether any document has a range that a worker could claim now."""
    return bool(db.execute(_ANY_DUE, {}).one()[0])


def take_range(
    db: Session, job_id: UUID, *, lease_seconds: float, stopped_at: int | None = None
) -> PageRange | None:
    """Claim one of the job's due ranges that no other worker is claiming; None if there is none.

    It is one that was claimed before, so that a document that cannot be ingested fails early; or
    else the one that begins after the page `stopped_at`, or else the longest one. Without
    `stopped_at` it is the first one.
    """
    order: list[Any] = [PageRange.number]
    if stopped_at is not None:
        claimed_before = PageRange.attempt > 0
        follows = PageRange.first_page == stopped_at + 1
        length = PageRange.last_page - PageRange.first_page
        order = [claimed_before.desc(), follows.desc(), length.desc(), *order]
    chosen = (
        select(PageRange.id)
        .where(PageRange.job_id == job_id, text(DUE))
        .order_by(*order)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return db.execute(
        update(PageRange)
        .where(PageRange.id == chosen)
        .values(
            state="running",
            attempt=PageRange.attempt + 1,
            failures=PageRange.failures + _expired_lease(),
            lease_expires_at=lease_end(lease_seconds),
            not_before=None,
        )
        .returning(PageRange)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()


def cut_range(db: Session, whole: PageRange, *, first: int, last: int) -> None:
    """Cut a range to the pages `first` to `last`, and queue those before and after them."""
    before, after = (whole.first_page, first - 1), (last + 1, whole.last_page)
    rests = [(start, end) for start, end in (before, after) if start <= end]
    if rests:
        db.execute(
            update(PageRange)
            .where(PageRange.id == whole.id)
            .values(number=first, first_page=first, last_page=last)
            .execution_options(synchronize_session=False)
        )
    for start, end in rests:
        queue_pages(db, job_id=whole.job_id, tenant_id=whole.tenant_id, first=start, last=end)


def _expired_lease() -> Any:
    """1 if the range's last worker let its lease expire, else 0."""
    return func.cast(PageRange.state == "running", PageRange.attempt.type)


def lease_end(seconds: float) -> Any:
    """`seconds` from now, by the database's clock."""
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def queue_pages(db: Session, *, job_id: UUID, tenant_id: str, first: int, last: int) -> None:
    """Queue the pages `first` to `last` of a job as one range. Workers claim parts of it."""
    db.add(
        PageRange(
            job_id=job_id, tenant_id=tenant_id, number=first, first_page=first, last_page=last
        )
    )
    db.flush()


def delete_finished_ranges(db: Session) -> int:
    """Delete the ranges of jobs that have ended. Returns the number of rows."""
    over = select(Job.id).where(Job.state.in_(TERMINAL_STATES)).scalar_subquery()
    result = db.execute(
        delete(PageRange)
        .where(PageRange.job_id.in_(over))
        .execution_options(synchronize_session=False)
    )
    return count_changed(result)
