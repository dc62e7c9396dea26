"""/jobs, and their progress as server-sent events."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Response

from core.bootstrap import Services
from core.db.models import TERMINAL_STATES, Job
from core.documents import jobs, uploads
from web.http import schemas
from web.http.auth import requires
from web.http.context import services, tenant_id, transaction
from web.http.idempotency import idempotent
from web.http.parsing import Blueprint, refuse_query, take_page
from web.http.presenters import job_body, json_response, page_body
from web.http.streaming import EVENT_STREAM, Event, event_response

blp = Blueprint("jobs", __name__, url_prefix="/api/v1", description="Background work.")

POLL_SECONDS = 0.5


@blp.route("/jobs", methods=["GET"])
@requires("read", "documents")
@blp.arguments(schemas.JobQuery, location="query")
@blp.response(200, schemas.page_of(schemas.Job, "JobPage"))
def list_jobs(query: dict[str, Any]) -> Response:
    """List jobs, newest first."""
    page = take_page(query)
    with transaction() as db:
        found = jobs.list_jobs(db, tenant_id=tenant_id(), page=page, **query)
    return json_response(page_body(found, job_body))


@blp.route("/jobs/<uuid:job_id>", methods=["GET"])
@requires("read", "documents")
@blp.response(200, schemas.Job)
def get_job(job_id: UUID) -> Response:
    """Get a job and its progress."""
    with transaction() as db:
        job = jobs.get_job(db, tenant_id=tenant_id(), job_id=job_id)
    return json_response(job_body(job))


@blp.route("/jobs/<uuid:job_id>/cancel", methods=["POST"])
@requires("documents")
@idempotent(atomic=False)
@blp.response(202, schemas.Job)
def cancel_job(job_id: UUID) -> Response:
    """Cancel a job; its worker stops after the current page range at the latest."""
    job = uploads.cancel_job(services(), tenant_id=tenant_id(), job_id=job_id)
    return json_response(job_body(job), status=202)


@blp.route("/jobs/<uuid:job_id>/events", methods=["GET"])
@requires("read", "documents")
@blp.response(200, schemas.EVENTS, content_type=EVENT_STREAM)
def watch_job(job_id: UUID) -> Response:
    """Follow a job by server-sent events.

    Each change sends a `progress` event with the Job. The stream ends when the job ends.
    """
    refuse_query()
    return event_response(_progress(services(), tenant_id=tenant_id(), job_id=job_id))


def _progress(services: Services, *, tenant_id: str, job_id: UUID) -> Iterator[Event | None]:
    """Yield an event at each change, and None between them, so that the stream can stop."""
    seen: tuple[object, ...] | None = None
    while True:
        with services.database.transaction(tenant_id=tenant_id) as db:
            job = jobs.get_job(db, tenant_id=tenant_id, job_id=job_id)
        if _visible_state(job) != seen:
            seen = _visible_state(job)
            yield Event("progress", job_body(job))
        if job.state in TERMINAL_STATES:
            return
        yield None
        time.sleep(POLL_SECONDS)


def _visible_state(job: Job) -> tuple[object, ...]:
    return (job.state, job.stage, job.pages_total, job.pages_done, job.chunks_done, job.attempts)
