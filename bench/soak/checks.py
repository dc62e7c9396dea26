"""The checks at the end of a soak: nothing is lost, doubled or left over."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from psycopg2.extensions import cursor as Cursor

from bench.soak.uploads import Promise
from core.bootstrap import bootstrap
from core.documents.sweeping import ORPHAN_AGE, remove_orphans
from core.settings import Settings

LOST, DOUBLED, WRONG, STRANGE = "lost", "doubled", "wrong", "strange"
KINDS = (LOST, DOUBLED, WRONG, STRANGE)
STATUSES = {"succeeded": "ready", "failed": "failed", "cancelled": "cancelled"}

# Rows that belong to no document, or not to its live generation.
ORPHANS = {
    "chunks": "SELECT count(*) FROM chunks c LEFT JOIN documents d"
    " ON d.id = c.document_id AND d.generation = c.generation WHERE d.id IS NULL",
    "pages": "SELECT count(*) FROM document_pages p LEFT JOIN documents d"
    " ON d.id = p.document_id AND d.generation = p.generation WHERE d.id IS NULL",
    "vectors": "SELECT count(*) FROM chunk_vectors v LEFT JOIN chunks c"
    " ON c.id = v.chunk_id AND c.document_id = v.document_id AND c.generation = v.generation"
    " WHERE c.id IS NULL",
    "page ranges": "SELECT count(*) FROM page_ranges",
}


@dataclass(frozen=True, slots=True)
class Violation:
    kind: str
    text: str


@dataclass
class Stored:
    """The content of the tables; `text` and `pages` are of live generations."""

    documents: dict[str, Any]
    jobs: dict[str, Any]
    chunks: dict[str, Any]
    pages: dict[str, list[int]]
    orphans: dict[str, int] = field(default_factory=dict)


def read_stored(cursor: Cursor) -> Stored:
    def rows(statement: str) -> dict[str, Any]:
        cursor.execute(statement)
        return {str(row[0]): row[1:] for row in cursor.fetchall()}

    stored = Stored(
        documents=rows("SELECT id, status, chunk_count, page_count, job_id FROM documents"),
        jobs=rows("SELECT id, state, error_code, document_id, attempts FROM jobs"),
        chunks=rows(
            "SELECT c.document_id, count(*), count(v.chunk_id),"
            " string_agg(c.text, ' ' ORDER BY c.ordinal) FROM chunks c"
            " LEFT JOIN chunk_vectors v ON v.chunk_id = c.id GROUP BY c.document_id"
        ),
        pages={
            name: numbers
            for name, (numbers,) in rows(
                "SELECT document_id, array_agg(number ORDER BY number)"
                " FROM document_pages GROUP BY document_id"
            ).items()
        },
    )
    for name, statement in ORPHANS.items():
        cursor.execute(statement)
        ((stored.orphans[name],),) = cursor.fetchall()
    return stored


def check(promises: Sequence[Promise], stored: Stored) -> Iterator[Violation]:
    """Every broken promise."""
    for promise in promises:
        name = promise.upload.filename
        for complaint in promise.complaints:
            yield Violation(STRANGE, f"{name}: {complaint}")
        if promise.jobs:
            for violation in (*_check_jobs(promise, stored), *_check_document(promise, stored)):
                yield Violation(violation.kind, f"{name}: {violation.text}")
    yield from _check_rest(promises, stored)


def _check_jobs(promise: Promise, stored: Stored) -> Iterator[Violation]:
    for job_id, right in promise.jobs.items():
        if job_id not in stored.jobs:
            yield Violation(LOST, f"job {job_id} is gone")
            continue
        state, code, *_ = stored.jobs[job_id]
        if state not in STATUSES:
            yield Violation(LOST, f"job {job_id} is {state} still")
        elif (state, code) not in right:
            yield Violation(WRONG, f"job {job_id} ended as {state} {code or ''}, not as {right}")


def _check_document(promise: Promise, stored: Stored) -> Iterator[Violation]:
    found = stored.documents.get(promise.document_id)
    if promise.deleted or found is None:
        if promise.deleted and found is not None:
            yield Violation(DOUBLED, "it was deleted and is there again")
        if not promise.deleted:
            yield Violation(LOST, "the document is gone")
        return
    status, _, _, job_id = found
    state = stored.jobs.get(promise.last_job, ("",))[0]
    if str(job_id) != promise.last_job or status != STATUSES.get(state):
        yield Violation(WRONG, f"it is {status} by job {job_id}, its job is {state}")
    if status == "ready":
        yield from _check_content(promise, stored)


def _check_content(promise: Promise, stored: Stored) -> Iterator[Violation]:
    _, chunk_count, page_count, _ = stored.documents[promise.document_id]
    chunks, vectors, text = stored.chunks.get(promise.document_id, (0, 0, ""))
    wanted, found = Counter(promise.upload.text.split()), Counter(text.split())
    if missing := wanted - found:
        yield Violation(LOST, f"{missing.total()} words are missing")
    if surplus := found - wanted:
        yield Violation(DOUBLED, f"{surplus.total()} words are too many")
    if not missing and not surplus and text.split() != promise.upload.text.split():
        yield Violation(WRONG, "the words are not in their order")
    if not chunks == vectors == chunk_count:
        counts = f"{chunks} chunks, {vectors} vectors, chunk_count {chunk_count}"
        yield Violation(WRONG, counts)
    pages = list(range(1, promise.upload.pages + 1))
    if page_count != promise.upload.pages or stored.pages.get(promise.document_id) != pages:
        yield Violation(WRONG, "its pages are not those of the file")


def _check_rest(promises: Sequence[Promise], stored: Stored) -> Iterator[Violation]:
    """Rows that no client knows of."""
    known_jobs = {job_id for promise in promises for job_id in promise.jobs}
    known_documents = {promise.document_id for promise in promises}
    for document_id in stored.documents.keys() - known_documents:
        yield Violation(DOUBLED, f"nobody was told of document {document_id}")
    for job_id in stored.jobs.keys() - known_jobs:
        state, _, document_id, _ = stored.jobs[job_id]
        text = f"nobody was told of job {job_id} ({state}) of document {document_id}"
        yield Violation(DOUBLED, text)
    for name, count in stored.orphans.items():
        if count:
            yield Violation(DOUBLED, f"{count} {name} belong to nothing that lives")


def check_bytes(promises: Sequence[Promise], http: httpx.Client) -> Iterator[Violation]:
    """Every download equals its upload."""
    for promise in promises:
        if not promise.document_id or promise.deleted:
            continue
        answer = http.get(f"/api/v1/documents/{promise.document_id}/content")
        sent = hashlib.sha256(promise.upload.data).hexdigest()
        if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != sent:
            text = f"{promise.upload.filename}: its bytes are not those that were sent"
            yield Violation(LOST, text)


def check_files(promises: Sequence[Promise], settings: Settings) -> Iterator[Violation]:
    """A sweep half a day later leaves exactly one file per document."""
    services = bootstrap(settings)
    try:
        remove_orphans(services, now=datetime.now(UTC) + 2 * ORPHAN_AGE)
        kept = {UUID(item.key[3:-4]) for item in services.storage.list_objects()}
    finally:
        services.close()
    living = {UUID(p.document_id) for p in promises if p.document_id and not p.deleted}
    if lost := living - kept:
        yield Violation(LOST, f"{len(lost)} documents have no file")
    if left := kept - living:
        yield Violation(DOUBLED, f"{len(left)} files belong to no document")
