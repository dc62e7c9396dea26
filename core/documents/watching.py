"""Documents with their jobs, and a watch that reports which of them change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from core.db.models import Document, Job
from core.documents.jobs import OPEN_STATES

# A job's `created_at` is the start of the transaction that made it, which commits later.
_COMMIT_DELAY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class DocumentWithJob:
    """A document and its latest job; `job` is None once the job's row is gone."""

    document: Document
    job: Job | None


def jobs_of(db: Session, documents: Sequence[Document]) -> list[DocumentWithJob]:
    """Each document with its job, by one statement for all of them."""
    ids = [document.job_id for document in documents if document.job_id is not None]
    found = {job.id: job for job in db.scalars(select(Job).where(Job.id.in_(ids)))} if ids else {}
    return [
        DocumentWithJob(document, found.get(document.job_id) if document.job_id else None)
        for document in documents
    ]


class Watch:
    """Reports changes among a tenant's documents, or only those of a user or session.

    The first `look` returns the documents that are being ingested or were accepted in the last
    30 s. Each further one returns those that changed, or whose job changed, since the previous
    look. Finished documents cost nothing: PostgreSQL reads only open jobs, jobs newer than the
    watch, and jobs that were open at the previous look. A client should list documents after its
    first look; otherwise it misses a job that finishes in between.
    """

    def __init__(self, *, tenant_id: str, user_id: str | None, session_id: UUID | None) -> None:
        self._tenant_id, self._user_id, self._session_id = tenant_id, user_id, session_id
        self._began: datetime | None = None
        self._open: set[UUID] = set()
        self._seen: dict[UUID, tuple[object, ...]] = {}

    def look(self, db: Session) -> list[DocumentWithJob]:
        """The documents that changed, oldest first."""
        if self._began is None:
            self._began = db.scalar(select(func.now() - _COMMIT_DELAY))
        return [found for found in self._candidates(db) if self._is_new(found)]

    def _candidates(self, db: Session) -> Iterable[DocumentWithJob]:
        rows = (
            select(Document, Job)
            .join(Job, Job.id == Document.job_id)
            .where(
                Document.tenant_id == self._tenant_id,
                Job.tenant_id == self._tenant_id,
                or_(
                    Job.state.in_(OPEN_STATES),
                    Job.created_at > self._began,
                    Job.id.in_(self._open),
                ),
            )
            .order_by(Document.created_at, Document.id)
            .execution_options(populate_existing=True)
        )
        if self._user_id is not None:
            rows = rows.where(Document.user_id == self._user_id)
        if self._session_id is not None:
            rows = rows.where(Document.session_id == self._session_id)
        return [DocumentWithJob(document, job) for document, job in db.execute(rows)]

    def _is_new(self, found: DocumentWithJob) -> bool:
        document, job = found.document, found.job
        assert job is not None
        (self._open.add if job.state in OPEN_STATES else self._open.discard)(job.id)
        progress = (job.state, job.stage, job.pages_total, job.pages_done, job.chunks_done)
        look = (document.status, document.updated_at, job.id, job.attempts, *progress)
        if self._seen.get(document.id) == look:
            return False
        self._seen[document.id] = look
        return True
