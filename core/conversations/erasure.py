"""Erases all data of a user in a background job.

`accept_erasure` writes the job. A worker then deletes one document or session per transaction
and updates the receipt's counts in the same commit. If the worker is killed, the sweep
continues at the next document or session. While the `erasures` row exists, a trigger refuses
new sessions and documents of the user.

A file is deleted after its row: `erasure_items` keeps its storage key until the file is gone.
At the end, the ids in `erasure_items` serve to find stored responses to the user's requests.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, select, text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.conversations import archive, endings
from core.conversations.endings import Ending
from core.db import count_changed
from core.db.models import ChatSession, Document, Erasure, ErasureItem, Job, PageRange
from core.documents import jobs, records, uploads
from core.errors import Unavailable
from core.telemetry import get_logger

log = get_logger(__name__)

JOB_TYPE = "erase_user"
LEASE_SECONDS = 90.0
RUN_SECONDS = 300.0  # below the task's time limit; the next sweep continues
RETRY_SECONDS = 5.0
WAIT_SECONDS = 0.5
RESPONSES_AT_A_TIME = 50  # of up to 4 MiB each

COUNTED = (
    "sessions", "messages", "documents", "files", "pages", "chunks", "vectors", "traces",
    "contexts", "jobs", "responses",
)  # fmt: skip

_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# Deleting a session of many thousand messages exceeds the usual timeout.
_LONG_TIMEOUT = text("SET LOCAL statement_timeout = '10min'")
# The trigger takes the same lock in shared mode. So a transaction that writes a row of the user
# either commits before the erasure begins, or sees the erasure.
_LOCK_USER = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(:tenant_id || chr(1) || :user_id, 0))"
)
_CLAIM = text(
    """
    UPDATE erasures
    SET attempt = attempt + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)
    WHERE job_id = (
        SELECT job_id FROM erasures
        WHERE lease_expires_at IS NULL OR lease_expires_at < clock_timestamp()
        ORDER BY job_id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING job_id, tenant_id, user_id, attempt
    """
)
_START = text(
    """
    UPDATE jobs
    SET state = 'running', stage = 'erasing', attempts = :attempt, updated_at = now(),
        started_at = coalesce(started_at, now())
    WHERE id = :job_id
    """
)
_RENEW_LEASE = text(
    """
    UPDATE erasures
    SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)
    WHERE job_id = :job_id AND attempt = :attempt
    RETURNING job_id
    """
)
# With a delay, so that the run that releases an erasure does not claim it again at once.
_RELEASE = text(
    """
    UPDATE erasures
    SET lease_expires_at = clock_timestamp() + make_interval(secs => :delay_seconds)
    WHERE job_id = :job_id AND attempt = :attempt
    """
)
_LIVE = text(
    """
    SELECT m.id, m.attempt FROM sessions s JOIN messages m ON m.id = s.active_message_id
    WHERE s.tenant_id = :tenant_id AND s.user_id = :user_id AND m.status = 'in_progress'
    """
)
_PARTS_OF_DOCUMENT = {
    "vectors": text("DELETE FROM chunk_vectors WHERE document_id = :id"),
    "chunks": text("DELETE FROM chunks WHERE document_id = :id"),
    "pages": text("DELETE FROM document_pages WHERE document_id = :id"),
}
_DOCUMENT = {"documents": text("DELETE FROM documents WHERE id = :id")}
_OF_MESSAGES = "USING messages m WHERE m.session_id = :id AND m.id = x.message_id"
_PARTS_OF_SESSION = {
    "vectors": text(f"DELETE FROM message_vectors x {_OF_MESSAGES}"),  # noqa: S608
    "traces": text(f"DELETE FROM message_traces x {_OF_MESSAGES}"),  # noqa: S608
    "contexts": text(f"DELETE FROM answer_contexts x {_OF_MESSAGES}"),  # noqa: S608
    "messages": text("DELETE FROM messages WHERE session_id = :id"),
    "sessions": text("DELETE FROM sessions WHERE id = :id"),
}
_SET_SETTLED = text(
    """
    UPDATE erasures SET settled_at = coalesce(settled_at, clock_timestamp())
    WHERE job_id = :job_id
    RETURNING settled_at
    """
)
# A request that began before the last row was deleted may still store its response.
_HAS_OPEN_REQUESTS = text(
    """
    SELECT EXISTS (
        SELECT FROM idempotency_keys
        WHERE tenant_id = :tenant_id AND status_code IS NULL AND created_at < :settled_at
          AND locked_until > clock_timestamp()
    )
    """
)
_RESPONSES = text(
    """
    SELECT key, body FROM idempotency_keys
    WHERE tenant_id = :tenant_id AND key > :after AND body IS NOT NULL
    ORDER BY key LIMIT :limit
    """
)
_DELETE_RESPONSES = text(
    "DELETE FROM idempotency_keys WHERE tenant_id = :tenant_id AND key = ANY(:keys)"
)


class _ClaimLost(Exception):  # ends a run; it is not an error
    """Another worker continues the erasure."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's claim on an erasure. `attempt` is the fencing token."""

    job_id: UUID
    tenant_id: str
    user_id: str
    attempt: int

    @property
    def owner(self) -> dict[str, str]:
        return {"tenant_id": self.tenant_id, "user_id": self.user_id}


def accept_erasure(db: Session, *, tenant_id: str, user_id: str) -> Job:
    """Create the job that erases a user, or return the one that exists. Never commits.

    Raises NotFound if the user has neither a session nor a document.
    """
    db.execute(_LOCK_USER, {"tenant_id": tenant_id, "user_id": user_id})
    of_user = (Erasure.tenant_id == tenant_id, Erasure.user_id == user_id)
    job_id = db.scalar(select(Erasure.job_id).where(*of_user))
    if job_id is not None:
        return jobs.get_job(db, tenant_id=tenant_id, job_id=job_id)
    if not archive.has_anything(db, tenant_id=tenant_id, user_id=user_id):
        raise archive.user_not_found()
    job = Job(tenant_id=tenant_id, type=JOB_TYPE, document_id=None)
    db.add(job)
    db.flush()
    db.add(Erasure(job_id=job.id, tenant_id=tenant_id, user_id=user_id))
    db.flush()
    return job


def erase_pending(services: Services) -> int:
    """Work on the erasures that no worker holds; return how many were finished."""
    finished, until = 0, time.monotonic() + RUN_SECONDS
    while time.monotonic() < until and (claim := _claim(services)) is not None:
        finished += _erase(services, claim, until=until)
    return finished


def _claim(services: Services) -> Claim | None:
    with services.database.transaction(tenant_id=None) as db:
        row = db.execute(_CLAIM, {"lease_seconds": LEASE_SECONDS}).one_or_none()
        if row is None:
            return None
        db.execute(_START, {"job_id": row.job_id, "attempt": row.attempt})
    return Claim(*row)


def _erase(services: Services, claim: Claim, *, until: float) -> bool:
    """Work on an erasure until it is finished or time is up; return whether it is finished."""
    try:
        while time.monotonic() < until:
            worked = [step(services, claim) for step in _STEPS]  # a list: every step must run
            if any(worked):
                continue
            if _finish(services, claim):
                log.info("user_erased", job_id=str(claim.job_id))
                return True
            time.sleep(WAIT_SECONDS)
    except _ClaimLost:
        return False
    except Unavailable as error:
        log.warning("erasure_waits", job_id=str(claim.job_id), code=error.code)
    released = {"job_id": claim.job_id, "attempt": claim.attempt, "delay_seconds": RETRY_SECONDS}
    with services.database.transaction(tenant_id=None) as db:
        db.execute(_RELEASE, released)
    return False


def _renew_lease(db: Session, claim: Claim) -> None:
    """Renew the lease and lock the erasure until the commit. Raises _ClaimLost."""
    values = {"job_id": claim.job_id, "attempt": claim.attempt, "lease_seconds": LEASE_SECONDS}
    if db.execute(_RENEW_LEASE, values).one_or_none() is None:
        raise _ClaimLost
    db.execute(_LONG_TIMEOUT)


def _add_counts(db: Session, claim: Claim, gone: Mapping[str, int]) -> None:
    """Add to the receipt's counts, in the transaction that deletes."""
    erasure = db.get_one(Erasure, claim.job_id)
    erasure.counts = {name: erasure.counts.get(name, 0) + gone.get(name, 0) for name in COUNTED}
    db.flush()


def _stop_answers(services: Services, claim: Claim) -> bool:
    """End the answers that are being written. Their writers and listeners notice it."""
    with services.database.transaction(tenant_id=claim.tenant_id) as db:
        _renew_lease(db, claim)
        live = db.execute(_LIVE, claim.owner).all()
        ending = Ending(status="interrupted", finish_reason="cancelled")
        for answer in live:
            endings.end_answer(db, message_id=answer.id, attempt=answer.attempt, ending=ending)
    return bool(live)


def _erase_document(services: Services, claim: Claim) -> bool:
    """Stop one document's jobs and delete its rows; note its file for `_erase_file`."""
    own = archive.documents_of_user(claim.tenant_id, claim.user_id)
    with services.database.transaction(tenant_id=claim.tenant_id) as db:
        _renew_lease(db, claim)
        found = db.scalar(select(Document.id).where(own).order_by(Document.id).limit(1))
        document = found and records.find_locked(db, tenant_id=claim.tenant_id, document_id=found)
        if not document:
            return found is not None
        # Before the cancel of the jobs, because a cancel deletes their chunks without counting.
        gone = _delete(db, _PARTS_OF_DOCUMENT, document.id)
        uploads.cancel_open_jobs(db, document)
        item = ErasureItem(
            job_id=claim.job_id,
            tenant_id=claim.tenant_id,
            id=document.id,
            storage_key=document.storage_key,
        )
        db.add(item)
        db.flush()
        _add_counts(db, claim, gone | _delete(db, _DOCUMENT, document.id))
    return True


def _erase_file(services: Services, claim: Claim) -> bool:
    """Delete one file, its page images, and the jobs of its document. Raises Unavailable."""
    with services.database.transaction(tenant_id=claim.tenant_id) as db:
        _renew_lease(db, claim)
        item = db.scalar(
            select(ErasureItem)
            .where(ErasureItem.job_id == claim.job_id, ErasureItem.storage_key.is_not(None))
            .limit(1)
        )
    if item is None or item.storage_key is None:
        return False
    services.page_cache.drop(item.id)
    services.storage.delete(item.storage_key)
    with services.database.transaction(tenant_id=claim.tenant_id) as db:
        _renew_lease(db, claim)
        db.get_one(ErasureItem, (claim.job_id, item.id)).storage_key = None
        _add_counts(db, claim, {"files": 1, "jobs": _delete_jobs(db, item.id)})
    return True


def _delete_jobs(db: Session, document_id: UUID) -> int:
    """Delete the jobs, and return their number.

    Page ranges first, because workers lock a range before its job.
    """
    own = select(Job.id).where(Job.document_id == document_id)
    db.execute(delete(PageRange).where(PageRange.job_id.in_(own)))
    return count_changed(db.execute(delete(Job).where(Job.document_id == document_id)))


def _erase_session(services: Services, claim: Claim) -> bool:
    """Delete one session, unless a document is attached to it: the document must go first."""
    own = archive.sessions_of_user(claim.tenant_id, claim.user_id)
    with services.database.transaction(tenant_id=claim.tenant_id) as db:
        _renew_lease(db, claim)
        found = db.scalar(
            select(ChatSession.id).where(own).order_by(ChatSession.id).limit(1).with_for_update()
        )
        if found is None:
            return False
        if db.scalar(select(exists().where(Document.session_id == found))):
            return True
        db.add(ErasureItem(job_id=claim.job_id, tenant_id=claim.tenant_id, id=found))
        db.flush()
        _add_counts(db, claim, _delete(db, _PARTS_OF_SESSION, found))
    return True


_STEPS: tuple[Callable[[Services, Claim], bool], ...] = (
    _stop_answers,
    _erase_document,
    _erase_file,
    _erase_session,
)


def _delete(db: Session, statements: Mapping[str, Any], id_: UUID) -> dict[str, int]:
    """Run each statement, and return how many rows each deleted."""
    return {
        name: count_changed(db.execute(statement, {"id": id_}))
        for name, statement in statements.items()
    }


def _finish(services: Services, claim: Claim) -> bool:
    """Delete stored responses and end the job. False while a request may still store one."""
    with services.database.transaction(tenant_id=claim.tenant_id) as db:
        _renew_lease(db, claim)
        settled_at = db.scalar(_SET_SETTLED, {"job_id": claim.job_id})
        values = {"tenant_id": claim.tenant_id, "settled_at": settled_at}
        if db.scalar(_HAS_OPEN_REQUESTS, values):
            return False
    _delete_responses(services, claim)
    with services.database.transaction(tenant_id=claim.tenant_id) as db:
        _renew_lease(db, claim)
        erasure = db.get_one(Erasure, claim.job_id)
        job = jobs.lock_open_job(db, job_id=claim.job_id)
        assert job is not None
        result = {name: erasure.counts.get(name, 0) for name in COUNTED}
        jobs.end_job(job, state="succeeded", now=datetime.now(UTC), result=result)
        db.flush()
        db.execute(delete(Erasure).where(Erasure.job_id == claim.job_id))
    return True


def _delete_responses(services: Services, claim: Claim) -> None:
    """Delete the stored responses that name the user, or a session or document of the user."""
    after: str | None = ""
    while after is not None:
        with services.database.transaction(tenant_id=claim.tenant_id) as db:
            _renew_lease(db, claim)
            after = _delete_response_batch(db, claim, after=after)


def _delete_response_batch(db: Session, claim: Claim, *, after: str) -> str | None:
    """Delete from the next batch of responses; return the batch's last key, None at the end."""
    values = {"tenant_id": claim.tenant_id, "after": after, "limit": RESPONSES_AT_A_TIME}
    rows = [(row.key, bytes(row.body)) for row in db.execute(_RESPONSES, values)]
    named = {key: {UUID(one.decode()) for one in _UUID.findall(body)} for key, body in rows}
    everything = set().union(*named.values())
    of_job = (ErasureItem.job_id == claim.job_id, ErasureItem.id.in_(everything))
    erased = set(db.scalars(select(ErasureItem.id).where(*of_job)))
    user = f'"user_id":{json.dumps(claim.user_id, ensure_ascii=False)}'.encode()
    keys = [key for key, body in rows if user in body or named[key] & erased]
    if keys:
        gone = db.execute(_DELETE_RESPONSES, {"tenant_id": claim.tenant_id, "keys": keys})
        _add_counts(db, claim, {"responses": count_changed(gone)})
    return rows[-1][0] if rows else None
