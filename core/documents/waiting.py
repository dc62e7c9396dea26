"""The people who wait for a worker, and the times of their last turns."""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.db import count_changed
from core.db.models import Document, Job
from core.documents.fairness import PAGE_SECONDS, Candidate, finish_by, in_order
from core.documents.page_ranges import DUE

SHARED = "shared"  # the person of documents that belong to no user and no session
TENANT = ""  # as `person`, marks the row of a whole tenant
FORGET_HOURS = 24  # rows of people who were last served longer ago are deleted

# The first three documents of each person, in the person's own order. A worker takes the second
# or third if other workers have just claimed the ranges of the first.
_CANDIDATES = text(
    f"""
    SELECT due.id, due.tenant_id, due.person, due.place, due.arrived_at, due.tenant_arrived_at,
        tenant.served_at AS tenant_served_at, person.served_at AS person_served_at,
        (
            SELECT newcomer FROM last_served WHERE person <> :tenant
            ORDER BY served_at DESC LIMIT 1
        ) AS after_newcomer
    FROM (
        SELECT j.id, j.tenant_id, j.person,
            min(j.created_at) OVER (PARTITION BY j.tenant_id, j.person) AS arrived_at,
            min(j.created_at) OVER (PARTITION BY j.tenant_id) AS tenant_arrived_at,
            row_number() OVER (
                PARTITION BY j.tenant_id, j.person ORDER BY j.finish_by, j.id
            ) AS place
        FROM jobs j
        WHERE j.state IN ('queued', 'running')
            AND EXISTS (SELECT FROM page_ranges WHERE page_ranges.job_id = j.id AND {DUE})
    ) due
    LEFT JOIN last_served tenant ON tenant.tenant_id = due.tenant_id AND tenant.person = :tenant
    LEFT JOIN last_served person
        ON person.tenant_id = due.tenant_id AND person.person = due.person
    WHERE due.place <= 3
    ORDER BY due.place
    """  # noqa: S608  # no value is put in
)
_EARLIER = text(
    f"""
    SELECT EXISTS (
        SELECT FROM jobs j
        WHERE j.tenant_id = :tenant_id AND j.person = :person
            AND j.state IN ('queued', 'running')
            AND (j.finish_by, j.id) < (:finish_by, :id)
            AND EXISTS (SELECT FROM page_ranges WHERE page_ranges.job_id = j.id AND {DUE})
    )
    """  # noqa: S608  # no value is put in
)
_NOTE = text(
    """
    INSERT INTO last_served (tenant_id, person, served_at, newcomer)
    VALUES (:tenant_id, :tenant, clock_timestamp(), :newcomer),
        (:tenant_id, :person, clock_timestamp(), :newcomer)
    ON CONFLICT (tenant_id, person)
    DO UPDATE SET served_at = excluded.served_at, newcomer = excluded.newcomer
    """
)
_FORGET = text("DELETE FROM last_served WHERE served_at < now() - make_interval(hours => :hours)")
_OLDEST = text(
    f"""
    SELECT page_ranges.tenant_id,
        extract(epoch FROM now() - min(greatest(page_ranges.queued_at, page_ranges.not_before)))
    FROM page_ranges JOIN jobs j ON j.id = page_ranges.job_id
    WHERE j.state IN ('queued', 'running') AND {DUE}
    GROUP BY page_ranges.tenant_id
    """  # noqa: S608  # no value is put in
)


def person_of(document: Document) -> str:
    """The person whose turns serve a document: its user, or else its session.

    It is a digest, so that the queue's tables do not keep the name of an erased user.
    """
    if document.user_id is None and document.session_id is None:
        return SHARED
    name = f"session {document.session_id}" if document.user_id is None else document.user_id
    return hashlib.blake2b(name.encode(), digest_size=12).hexdigest()


def seconds_of(page_ms: int | None) -> float | None:
    """A job's time per page in seconds; None until one of its ranges is done."""
    return None if page_ms is None else page_ms / 1000


def place_in_turns(job: Job, *, typical_page_seconds: float | None = None) -> None:
    """Set the job's place within its person's turns, by the pages that are left.

    The job's time per page counts in proportion to `typical_page_seconds`, that of other documents
    on this machine. Otherwise, on a slow machine, a started job would look larger than new ones.
    """
    left = (job.pages_total or 0) - job.pages_done
    page_seconds = seconds_of(job.page_ms)
    if page_seconds is not None and typical_page_seconds is not None:
        page_seconds *= PAGE_SECONDS / typical_page_seconds
    job.finish_by = finish_by(job.created_at, pages_left=left, page_seconds=page_seconds)


def list_candidates(db: Session) -> list[Candidate]:
    """The jobs with a due range, in the order in which they should be served.

    At most three of each person; the second and third are at the end of the list.
    """
    places: dict[int, list[Candidate]] = {}
    after_newcomer = False
    for row in db.execute(_CANDIDATES, {"tenant": TENANT}):
        values: dict[str, Any] = dict(row._mapping)
        job_id, place = values.pop("id"), values.pop("place")
        after_newcomer = bool(values.pop("after_newcomer"))
        places.setdefault(place, []).append(Candidate(job_id=job_id, **values))
    return [
        candidate
        for place in sorted(places)
        for candidate in in_order(places[place], after_newcomer=after_newcomer)
    ]


def waits_for_another(db: Session, job: Job) -> bool:
    """Whether another document of the same person goes before this job."""
    db.flush()
    names = ("tenant_id", "person", "finish_by", "id")
    return bool(db.scalar(_EARLIER, {name: getattr(job, name) for name in names}))


def record_served(db: Session, *, tenant_id: str, person: str, newcomer: bool) -> None:
    """Record that a person, and so their tenant, is served now."""
    values = {"tenant_id": tenant_id, "person": person, "newcomer": newcomer, "tenant": TENANT}
    db.execute(_NOTE, values)


def forget_served(db: Session) -> int:
    """Delete rows older than FORGET_HOURS. Returns their number."""
    return count_changed(db.execute(_FORGET, {"hours": FORGET_HOURS}))


def oldest_due_seconds(db: Session) -> Sequence[tuple[str, float]]:
    """For each tenant with due ranges, the age of the oldest one in seconds."""
    return [(tenant_id, max(0.0, float(age))) for tenant_id, age in db.execute(_OLDEST)]


def is_newcomer(candidates: Sequence[Candidate], job_id: UUID) -> bool:
    """Whether the job's person counts as a newcomer among `candidates`."""
    return any(found.job_id == job_id and found.is_newcomer for found in candidates)
