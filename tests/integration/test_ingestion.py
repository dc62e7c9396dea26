"""Ingestion from the bytes to the vectors, and interruptions on the way."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from core.bootstrap import Services
from core.db.models import Chunk, ChunkVector, Document, DocumentPage, PageRange
from core.documents import ingestion, jobs, reading, sweeping, uploads
from core.documents.jobs import Claim
from core.documents.lease import Lease
from core.embedding.base import Embedder, Vectors
from core.errors import (
    Conflict,
    NotFound,
)
from tests.integration.uploading import (
    PAGES,
    TENANT,
    chunk_texts,
    count,
    reload,
    stored_files,
    upload,
    work_off,
)
from tests.pdfs import make_encrypted_pdf, make_mixed_pdf, make_pdf, make_scanned_pdf


class Refusing:
    """An embedder that raises its `errors` before it embeds."""

    def __init__(self, inner: Embedder, *answers: Exception) -> None:
        self.inner, self.answers, self.calls = inner, list(answers), 0
        self.name, self.dimensions = inner.name, inner.dimensions
        self.count_tokens = inner.count_tokens

    def embed(self, texts: Any) -> Vectors:
        self.calls += 1
        if self.answers:
            raise self.answers.pop(0)
        return self.inner.embed(texts)


def test_an_upload_becomes_chunks_with_pages_and_vectors(services: Services) -> None:
    accepted = upload(services, make_pdf(PAGES), user_id="alice", metadata={"a": 1})
    assert (accepted.document.status, accepted.job.state) == ("queued", "queued")
    assert not accepted.duplicate

    work_off(services)

    document, job = reload(services, accepted)
    assert (document.status, document.page_count) == ("ready", 3)
    assert (job.state, job.pages_done, job.attempts) == ("succeeded", 3, 1)
    assert job.result == {
        "page_count": 3,
        "chunk_count": document.chunk_count,
        "pages_without_text": [],
    }
    with services.database.transaction(tenant_id=TENANT) as db:
        rows = db.execute(
            select(Chunk.text, Chunk.page_start, Chunk.page_end, ChunkVector.embedding)
            .join(ChunkVector, ChunkVector.chunk_id == Chunk.id)
            .order_by(Chunk.ordinal)
        ).all()
    assert len(rows) == document.chunk_count > 0
    joined = " ".join(row.text for row in rows)
    assert "Albin Lind" in joined
    assert "radio beacon" in joined
    for row in rows:
        assert 1 <= row.page_start <= row.page_end <= 3
        vector = np.asarray(
            row.embedding.to_list() if hasattr(row.embedding, "to_list") else row.embedding
        )
        assert vector.shape == (384,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_ranges_do_not_change_the_text(make_services: Callable[..., Services]) -> None:
    pages = [f"{PAGES[n % 3]} This is page {n} and its sentence runs" for n in range(1, 12)]
    texts = []
    for range_pages in (1, 3, 16):
        services = make_services(range_pages=range_pages)
        accepted = upload(services, make_pdf(pages), user_id=f"user{range_pages}")
        work_off(services)
        texts.append(" ".join(" ".join(chunk_texts(services, accepted.document.id)).split()))
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (make_scanned_pdf(2), "pdf_no_text"),
        (make_encrypted_pdf(PAGES, user_password="s3cret", owner_password="o"), "pdf_encrypted"),
        (b"%PDF-1.7\n" + b"garbage " * 100, "pdf_malformed"),
    ],
)
def test_a_pdf_that_cannot_be_read_fails_with_its_code(
    services: Services, data: bytes, code: str
) -> None:
    accepted = upload(services, data)
    work_off(services)
    document, job = reload(services, accepted)
    assert (document.status, job.state, job.error_code) == ("failed", "failed", code)
    assert count(services, Chunk) == count(services, DocumentPage) == 0
    again = upload(services, data)
    assert again.duplicate, "the same broken bytes need no second try"


def test_junk_before_the_header_is_skipped(services: Services) -> None:
    accepted = upload(services, b"Received: by mail\n" * 200 + make_pdf(PAGES))
    work_off(services)
    assert reload(services, accepted)[0].status == "ready"


def test_too_many_pages(make_services: Callable[..., Services]) -> None:
    services = make_services(max_pages=2)
    accepted = upload(services, make_pdf(PAGES))
    work_off(services)
    assert reload(services, accepted)[1].error_code == "pdf_too_many_pages"


def test_pages_without_text_are_named(services: Services) -> None:
    accepted = upload(services, make_mixed_pdf([PAGES[0], None, PAGES[2]]))
    work_off(services)
    document, job = reload(services, accepted)
    assert document.status == "ready"
    assert document.pages_without_text == [2]
    assert job.result is not None
    assert job.result["pages_without_text"] == [2]


def test_an_empty_password_opens(services: Services) -> None:
    accepted = upload(services, make_encrypted_pdf(PAGES, user_password="", owner_password="owner"))
    work_off(services)
    assert reload(services, accepted)[0].status == "ready"


def test_a_stale_worker_writes_nothing(make_services: Callable[..., Services]) -> None:
    """Two workers hold the same range: the one with the expired lease changes no row."""
    services = make_services(lease_seconds=0.01, heartbeat_seconds=100.0)
    accepted = upload(services, make_pdf(PAGES))
    ingestion.process_next_range(services)  # plans
    entered, go_on = threading.Event(), threading.Event()
    slow = make_services(lease_seconds=0.01, heartbeat_seconds=100.0)

    class Paused(Refusing):
        def embed(self, texts: Any) -> Vectors:
            entered.set()
            assert go_on.wait(30)
            return super().embed(texts)

    slow.__dict__["embedder"] = Paused(services.embedder)
    stalled = threading.Thread(target=ingestion.process_next_range, args=(slow,))
    stalled.start()
    assert entered.wait(30)
    time.sleep(0.05)  # the lease is over, however fast the page was read
    work_off(services)
    document, job = reload(services, accepted)
    assert job.state == "succeeded"
    assert job.attempts == 2
    before = count(services, Chunk)
    go_on.set()
    stalled.join(30)
    assert count(services, Chunk) == before == document.chunk_count
    assert reload(services, accepted)[1].pages_done == 3


def test_a_worker_that_dies_three_times_on_one_range_fails_the_job(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(lease_seconds=0.01)
    accepted = upload(services, make_pdf(PAGES))
    for _ in range(3):
        with services.database.transaction(tenant_id=None) as db:
            assert jobs.claim_range(db, lease_seconds=0.0) is not None
    work_off(services)
    document, job = reload(services, accepted)
    assert (document.status, job.state, job.error_code) == ("failed", "failed", "internal_error")


def test_an_exception_at_every_run_ends_after_three(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "RETRY_SECONDS", 0.0)
    accepted = upload(services, make_pdf(PAGES))
    services.__dict__["embedder"] = Refusing(services.embedder, *[KeyError("boom")] * 9)
    work_off(services)
    _, job = reload(services, accepted)
    assert (job.state, job.error_code, job.attempts) == ("failed", "internal_error", 3)
    assert "boom" not in (job.error_detail or "")


def test_cancel_in_mid_job(make_services: Callable[..., Services]) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, make_pdf(PAGES))
    ingestion.process_next_range(services)
    ingestion.process_next_range(services)
    job = uploads.cancel_job(services, tenant_id=TENANT, job_id=accepted.job.id)
    assert job.state == "cancelled"
    assert work_off(services) == 0
    document, job = reload(services, accepted)
    assert (document.status, job.state) == ("cancelled", "cancelled")
    assert count(services, Chunk) == count(services, DocumentPage) == 0
    with pytest.raises(Conflict) as caught:
        uploads.cancel_job(services, tenant_id=TENANT, job_id=accepted.job.id)
    assert caught.value.code == "job_finished"
    sweeping.ring_for_due_work(services)
    assert count(services, PageRange) == 0
    again = upload(services, make_pdf(PAGES))
    assert not again.duplicate
    work_off(services)
    assert reload(services, again)[0].status == "ready"


@pytest.mark.parametrize("act", ["cancel", "delete"])
def test_a_running_range_stops(make_services: Callable[..., Services], act: str) -> None:
    """A document that is cancelled or deleted during its embedding leaves no rows."""
    services = make_services(heartbeat_seconds=0.05)
    accepted = upload(services, make_pdf(PAGES))
    ingestion.process_next_range(services)
    doc, job = accepted.document, accepted.job

    class Interrupted(Refusing):
        def embed(self, texts: Any) -> Vectors:
            if act == "cancel":
                uploads.cancel_job(services, tenant_id=TENANT, job_id=job.id)
            else:
                uploads.delete_document(services, tenant_id=TENANT, document_id=doc.id)
            return super().embed(texts)

    services.__dict__["embedder"] = Interrupted(services.embedder)
    ingestion.process_next_range(services)
    for table in (Chunk, ChunkVector, DocumentPage):
        assert count(services, table) == 0
    with services.database.transaction(tenant_id=TENANT) as db:
        assert jobs.get_job(db, tenant_id=TENANT, job_id=job.id).state == "cancelled"
    assert len(stored_files(services)) == (1 if act == "cancel" else 0)


def test_delete_leaves_no_row_vector_or_file(services: Services) -> None:
    accepted = upload(services, make_pdf(PAGES))
    work_off(services)
    uploads.delete_document(services, tenant_id=TENANT, document_id=accepted.document.id)
    for table in (Document, Chunk, ChunkVector, DocumentPage):
        assert count(services, table) == 0
    assert stored_files(services) == []
    with pytest.raises(NotFound):
        uploads.delete_document(services, tenant_id=TENANT, document_id=accepted.document.id)


def test_old_chunks_serve_until_the_new_ones_are_complete(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, make_pdf(PAGES))
    work_off(services)
    before = chunk_texts(services, accepted.document.id)
    with services.database.transaction(tenant_id=None) as db:
        old_ids = set(db.scalars(select(Chunk.id)))
    again = uploads.reingest(services, tenant_id=TENANT, document_id=accepted.document.id)
    assert again.job.id != accepted.job.id
    for _ in range(3):
        ingestion.process_next_range(services)
        assert chunk_texts(services, accepted.document.id) == before
        assert reload(services, accepted)[0].status == "ready"
    work_off(services)
    assert chunk_texts(services, accepted.document.id) == before
    with services.database.transaction(tenant_id=None) as db:
        assert not old_ids & set(db.scalars(select(Chunk.id)))
    assert count(services, ChunkVector) == len(before)


def test_a_reingest_in_mid_ingestion_replaces_it(make_services: Callable[..., Services]) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, make_pdf(PAGES))
    ingestion.process_next_range(services)
    ingestion.process_next_range(services)
    again = uploads.reingest(services, tenant_id=TENANT, document_id=accepted.document.id)
    work_off(services)
    document, job = reload(services, again)
    assert job.id == again.job.id
    assert document.status == "ready"
    assert count(services, Chunk) == document.chunk_count
    with services.database.transaction(tenant_id=TENANT) as db:
        assert jobs.get_job(db, tenant_id=TENANT, job_id=accepted.job.id).state == "cancelled"


def test_a_short_document_does_not_wait_for_a_long_one(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(range_pages=1)
    upload(services, make_pdf([f"{PAGES[0]} {n}" for n in range(40)]), user_id="long")
    ingestion.process_next_range(services)
    ingestion.process_next_range(services)
    short = upload(services, make_pdf(PAGES[:1]), user_id="short")
    for _ in range(4):  # plan and one page, each after at most one range of the other
        ingestion.process_next_range(services)
    assert reload(services, short)[1].state == "succeeded"


def test_two_workers_share_one_document(make_services: Callable[..., Services]) -> None:
    services, other = make_services(range_pages=1), make_services(range_pages=1)
    pages = [f"{PAGES[n % 3]} {n}" for n in range(12)]
    accepted = upload(services, make_pdf(pages))
    ingestion.process_next_range(services)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(work_off, [services, other]))
    assert min(done) >= 2
    document, job = reload(services, accepted)
    assert (job.state, job.pages_done) == ("succeeded", 12)
    assert count(services, Chunk) == document.chunk_count


def test_a_worker_goes_on_where_it_stopped(
    make_services: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has already read the pages around the end of its last range."""
    workers = [make_services(range_pages=4, worker_concurrency=2) for _ in range(2)]
    read: dict[int, list[int]] = {}

    def record(services: Services, claim: Claim, lease: Lease) -> Any:
        read.setdefault(id(services), []).append(claim.first_page)
        return original(services, claim, lease)

    original = reading.read_range
    monkeypatch.setattr(reading, "read_range", record)
    accepted = upload(workers[0], make_pdf([f"{PAGES[n % 3]} {n}" for n in range(40)]))
    while sum(len(ingestion.process_next_range(services)) for services in workers):
        pass
    assert reload(workers[0], accepted)[1].state == "succeeded"
    starts = [read[id(services)] for services in workers]
    assert min(map(len, starts)) >= 4
    for own in starts:
        assert sum(after - before > 4 or after < before for before, after in pairwise(own)) <= 1


def test_progress_never_goes_back(make_services: Callable[..., Services]) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, make_pdf(PAGES))
    seen = []
    while True:
        job = reload(services, accepted)[1]
        progress = jobs.progress_of(job, now=job.updated_at)
        seen.append((progress["percent"], progress["pages_done"], progress["chunks_done"]))
        if not ingestion.process_next_range(services):
            break
    assert seen == sorted(seen)
    assert seen[0] == (0, 0, 0)
    assert seen[-1][:2] == (100, 3)
    assert len({percent for percent, _, _ in seen}) >= 4
