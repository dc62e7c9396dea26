"""Uploads, from the bytes to the vectors, and what may happen on the way."""

import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import select, text

from core import documents, idempotency, indexing, ingestion, jobs, sweeping
from core.bootstrap import Services
from core.embedding.base import Embedder, Vectors
from core.errors import (
    Conflict,
    Invalid,
    NotFound,
    StorageFull,
    TooLarge,
    Unsupported,
)
from core.ingestion import Accepted
from core.models import Chunk, ChunkVector, Document, DocumentPage, Job, PageRange
from core.paging import PageRequest
from tests.pdfs import make_encrypted_pdf, make_mixed_pdf, make_pdf, make_scanned_pdf

TENANT = "default"
PAGES = [
    "The lighthouse of Norrskar was built in 1847 by Albin Lind. It is 31 metres high.",
    "Its lamp burned rapeseed oil until 1886. Since then it has burned petroleum.",
    "The last keeper, Elsa Holm, left the island in 1962. A radio beacon took over her work.",
]


def upload(services: Services, data: bytes, **overrides: Any) -> Accepted:
    arguments: dict[str, Any] = {
        "filename": "report.pdf",
        "user_id": None,
        "session_id": None,
        "metadata": {},
    }
    return ingestion.accept_upload(
        services, tenant_id=TENANT, body=io.BytesIO(data), **(arguments | overrides)
    )


def work_off(services: Services) -> int:
    """Play the worker until nothing is due; how many units that took."""
    count = 0
    while indexing.work(services):
        count += 1
    return count


def reload(services: Services, accepted: Accepted) -> tuple[Document, Job]:
    with services.database.transaction(tenant_id=TENANT) as db:
        document = documents.get_document(db, tenant_id=TENANT, document_id=accepted.document.id)
        return document, jobs.get_job(db, tenant_id=TENANT, job_id=document.job_id or uuid4())


def chunk_texts(services: Services, document_id: UUID) -> list[str]:
    with services.database.transaction(tenant_id=TENANT) as db:
        page = documents.list_chunks(
            db, tenant_id=TENANT, document_id=document_id, page=PageRequest(limit=100)
        )
    return [chunk.text for chunk in page.items]


def count(services: Services, table: type) -> int:
    with services.database.transaction(tenant_id=None) as db:
        return len(db.execute(select(table)).all())


def stored_files(services: Services) -> list[str]:
    return [item.key for item in services.storage.list_objects()]


class Refusing:
    """An embedder whose endpoint says no as often as it is told to."""

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


def test_the_same_bytes_in_the_same_scope_are_one_document(services: Services) -> None:
    first = upload(services, make_pdf(PAGES), user_id="alice")
    again = upload(services, make_pdf(PAGES), user_id="alice", filename="other.pdf")
    elsewhere = upload(services, make_pdf(PAGES), user_id="bob")
    assert again.duplicate
    assert again.document.id == first.document.id
    assert again.job.id == first.job.id
    assert elsewhere.document.id != first.document.id
    assert len(stored_files(services)) == 2


def test_twenty_uploads_of_the_same_bytes_at_once_are_one(services: Services) -> None:
    data = make_pdf(PAGES)
    with ThreadPoolExecutor(20) as pool:
        accepted = list(pool.map(lambda _: upload(services, data), range(20)))
    assert len({item.document.id for item in accepted}) == 1
    assert sum(not item.duplicate for item in accepted) == 1
    assert len(stored_files(services)) == 1
    assert count(services, Job) == 1


@pytest.mark.parametrize(
    ("data", "error", "code"),
    [
        (b"", Invalid, "file_empty"),
        (b"<html>%pdf</html>", Unsupported, "unsupported_media_type"),
        (b"MZ" + bytes(9000) + b"%PDF-1.4", Unsupported, "unsupported_media_type"),
        (b"%PDF-" + bytes(1024 * 1024), TooLarge, "file_too_large"),
    ],
)
def test_what_is_no_pdf_is_refused_and_leaves_nothing(
    make_services: Callable[..., Services], data: bytes, error: type[Exception], code: str
) -> None:
    services = make_services(max_upload_mb=1)
    with pytest.raises(error) as caught:
        upload(services, data)
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert count(services, Document) == 0
    assert [p for p in services.settings.data_dir.rglob("*") if p.is_file()] == []


def test_a_client_that_leaves_in_mid_upload_leaves_nothing(services: Services) -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise ConnectionResetError
            return super().read(10)

    with pytest.raises(ConnectionResetError):
        ingestion.accept_upload(
            services,
            tenant_id=TENANT,
            body=Gone(make_pdf(PAGES)),
            filename="a.pdf",
            user_id=None,
            session_id=None,
            metadata={},
        )
    assert [p for p in services.settings.data_dir.rglob("*") if p.is_file()] == []


def test_a_full_disk_is_storage_full(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageFull):
        ingestion.accept_upload(
            services,
            tenant_id=TENANT,
            body=Full(b"x"),
            filename="a.pdf",
            user_id=None,
            session_id=None,
            metadata={},
        )


def test_an_unknown_session_is_not_found(services: Services) -> None:
    with pytest.raises(NotFound):
        upload(services, make_pdf(PAGES), session_id=uuid4())
    assert stored_files(services) == []


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


def test_junk_in_front_is_read_over(services: Services) -> None:
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
    """Two workers hold the same range: the one whose lease ran out changes no row."""
    services = make_services(lease_seconds=0.01, heartbeat_seconds=100.0)
    accepted = upload(services, make_pdf(PAGES))
    indexing.work(services)  # plans
    entered, go_on = threading.Event(), threading.Event()
    slow = make_services(lease_seconds=0.01, heartbeat_seconds=100.0)

    class Paused(Refusing):
        def embed(self, texts: Any) -> Vectors:
            entered.set()
            assert go_on.wait(30)
            return super().embed(texts)

    slow.__dict__["embedder"] = Paused(services.embedder)
    stalled = threading.Thread(target=indexing.work, args=(slow,))
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
    monkeypatch.setattr(indexing, "RETRY_SECONDS", 0.0)
    accepted = upload(services, make_pdf(PAGES))
    services.__dict__["embedder"] = Refusing(services.embedder, *[KeyError("boom")] * 9)
    work_off(services)
    _, job = reload(services, accepted)
    assert (job.state, job.error_code, job.attempts) == ("failed", "internal_error", 3)
    assert "boom" not in (job.error_detail or "")


def test_cancel_in_mid_job(make_services: Callable[..., Services]) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, make_pdf(PAGES))
    indexing.work(services)
    indexing.work(services)
    job = ingestion.cancel_job(services, tenant_id=TENANT, job_id=accepted.job.id)
    assert job.state == "cancelled"
    assert work_off(services) == 0
    document, job = reload(services, accepted)
    assert (document.status, job.state) == ("cancelled", "cancelled")
    assert count(services, Chunk) == count(services, DocumentPage) == 0
    with pytest.raises(Conflict) as caught:
        ingestion.cancel_job(services, tenant_id=TENANT, job_id=accepted.job.id)
    assert caught.value.code == "job_finished"
    sweeping.ring_for_due_work(services)
    assert count(services, PageRange) == 0
    again = upload(services, make_pdf(PAGES))
    assert not again.duplicate
    work_off(services)
    assert reload(services, again)[0].status == "ready"


@pytest.mark.parametrize("act", ["cancel", "delete"])
def test_a_running_range_stops(make_services: Callable[..., Services], act: str) -> None:
    """What is cancelled or deleted while its texts are embedded leaves nothing behind."""
    services = make_services(heartbeat_seconds=0.05)
    accepted = upload(services, make_pdf(PAGES))
    indexing.work(services)
    doc, job = accepted.document, accepted.job

    class Interrupted(Refusing):
        def embed(self, texts: Any) -> Vectors:
            if act == "cancel":
                ingestion.cancel_job(services, tenant_id=TENANT, job_id=job.id)
            else:
                ingestion.delete_document(services, tenant_id=TENANT, document_id=doc.id)
            return super().embed(texts)

    services.__dict__["embedder"] = Interrupted(services.embedder)
    indexing.work(services)
    for table in (Chunk, ChunkVector, DocumentPage):
        assert count(services, table) == 0
    with services.database.transaction(tenant_id=TENANT) as db:
        assert jobs.get_job(db, tenant_id=TENANT, job_id=job.id).state == "cancelled"
    assert len(stored_files(services)) == (1 if act == "cancel" else 0)


def test_delete_leaves_no_row_vector_or_file(services: Services) -> None:
    accepted = upload(services, make_pdf(PAGES))
    work_off(services)
    ingestion.delete_document(services, tenant_id=TENANT, document_id=accepted.document.id)
    for table in (Document, Chunk, ChunkVector, DocumentPage):
        assert count(services, table) == 0
    assert stored_files(services) == []
    with pytest.raises(NotFound):
        ingestion.delete_document(services, tenant_id=TENANT, document_id=accepted.document.id)


def test_old_chunks_serve_until_the_new_ones_are_complete(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, make_pdf(PAGES))
    work_off(services)
    before = chunk_texts(services, accepted.document.id)
    with services.database.transaction(tenant_id=None) as db:
        old_ids = set(db.scalars(select(Chunk.id)))
    again = ingestion.reingest(services, tenant_id=TENANT, document_id=accepted.document.id)
    assert again.job.id != accepted.job.id
    for _ in range(3):
        indexing.work(services)
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
    indexing.work(services)
    indexing.work(services)
    again = ingestion.reingest(services, tenant_id=TENANT, document_id=accepted.document.id)
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
    indexing.work(services)
    indexing.work(services)
    short = upload(services, make_pdf(PAGES[:1]), user_id="short")
    for _ in range(4):  # plan and one page, each after at most one range of the other
        indexing.work(services)
    assert reload(services, short)[1].state == "succeeded"


def test_two_workers_share_one_document(make_services: Callable[..., Services]) -> None:
    services, other = make_services(range_pages=1), make_services(range_pages=1)
    pages = [f"{PAGES[n % 3]} {n}" for n in range(12)]
    accepted = upload(services, make_pdf(pages))
    indexing.work(services)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(work_off, [services, other]))
    assert min(done) >= 2
    document, job = reload(services, accepted)
    assert (job.state, job.pages_done) == ("succeeded", 12)
    assert count(services, Chunk) == document.chunk_count


def test_progress_never_goes_back(make_services: Callable[..., Services]) -> None:
    services = make_services(range_pages=1)
    accepted = upload(services, make_pdf(PAGES))
    seen = []
    while True:
        job = reload(services, accepted)[1]
        progress = jobs.progress_of(job, now=job.updated_at)
        seen.append((progress["percent"], progress["pages_done"], progress["chunks_done"]))
        if not indexing.work(services):
            break
    assert seen == sorted(seen)
    assert seen[0] == (0, 0, 0)
    assert seen[-1][:2] == (100, 3)
    assert len({percent for percent, _, _ in seen}) >= 4


def test_orphaned_files_are_swept(services: Services) -> None:
    kept = upload(services, make_pdf(PAGES))
    staged = services.settings.data_dir / "uploads" / "aa" / "orphan.pdf"
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(b"%PDF-")
    assert sweeping.remove_orphans(services) == 0, "younger than an hour"
    later = kept.document.created_at + 2 * sweeping.ORPHAN_AGE
    assert sweeping.remove_orphans(services, now=later) == 1
    assert stored_files(services) == [kept.document.storage_key]


def test_the_hourly_task_forgets_old_responses_and_files(services: Services) -> None:
    with services.database.transaction(tenant_id="default") as db:
        for key in ("old", "new"):
            idempotency.claim(db, tenant_id="default", key=key, fingerprint=b"x", hold_seconds=60)
        db.execute(
            text(
                "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"
                " WHERE key = 'old'"
            )
        )
    orphan = services.settings.data_dir / "uploads" / "aa" / "orphan.pdf"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"%PDF-")
    sweeping.tidy_up(services, now=datetime.now(UTC) + 2 * sweeping.ORPHAN_AGE)
    with services.database.transaction(tenant_id=None) as db:
        assert db.execute(text("SELECT key FROM idempotency_keys")).scalars().all() == ["new"]
    assert not orphan.exists()


def test_deleting_a_session_takes_its_documents(services: Services) -> None:
    from core.sessions import create_session

    with services.database.transaction(tenant_id=TENANT) as db:
        session = create_session(db, tenant_id=TENANT, user_id="alice")
    attached = upload(services, make_pdf(PAGES), session_id=session.id)
    users_own = upload(services, make_pdf(PAGES), user_id="alice")
    indexing.work(services)
    ingestion.delete_session(services, tenant_id=TENANT, session_id=session.id)
    work_off(services)
    assert stored_files(services) == [users_own.document.storage_key]
    with services.database.transaction(tenant_id=TENANT) as db:
        assert jobs.get_job(db, tenant_id=TENANT, job_id=attached.job.id).state == "cancelled"
    assert reload(services, users_own)[0].status == "ready"


@pytest.mark.parametrize("pages", [1, 7, 8, 9, 50, 100, 400, 5000])
@pytest.mark.parametrize("most", [1, 2, 32])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_ranges_hold_each_page_once(pages: int, most: int, workers: int) -> None:
    ranges = indexing.cut_ranges(pages, most=most, workers=workers)
    assert [page for first, last in ranges for page in range(first, last + 1)] == list(
        range(1, pages + 1)
    )
    assert max(last - first + 1 for first, last in ranges) <= most


def test_ranges_become_smaller_so_that_workers_end_together() -> None:
    sizes = [last - first + 1 for first, last in indexing.cut_ranges(400, most=32, workers=2)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 32
    assert sizes[-2] == indexing.SMALLEST_RANGE
    assert len(indexing.cut_ranges(20, most=32, workers=2)) == 5, "short documents are shared too"
