"""Uploads: accepted, refused and orphaned files."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import text

from core.access import idempotency
from core.bootstrap import Services
from core.db.models import Document, Job
from core.documents import ingestion, jobs, sweeping, uploads
from core.errors import (
    Invalid,
    NotFound,
    StorageFull,
    TooLarge,
    Unsupported,
)
from tests.integration.uploading import (
    PAGES,
    TENANT,
    count,
    reload,
    stored_files,
    upload,
    work_off,
)
from tests.pdfs import make_pdf


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
def test_a_file_that_is_no_pdf_is_refused_and_leaves_nothing(
    make_services: Callable[..., Services], data: bytes, error: type[Exception], code: str
) -> None:
    services = make_services(max_upload_mb=1)
    with pytest.raises(error) as caught:
        upload(services, data)
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert count(services, Document) == 0
    assert [p for p in services.settings.data_dir.rglob("*") if p.is_file()] == []


def test_a_client_that_disconnects_during_an_upload_leaves_no_file(services: Services) -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise ConnectionResetError
            return super().read(10)

    with pytest.raises(ConnectionResetError):
        uploads.accept_upload(
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
        uploads.accept_upload(
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
    from core.conversations.sessions import create_session

    with services.database.transaction(tenant_id=TENANT) as db:
        session = create_session(db, tenant_id=TENANT, user_id="alice")
    attached = upload(services, make_pdf(PAGES), session_id=session.id)
    users_own = upload(services, make_pdf(PAGES), user_id="alice")
    ingestion.process_next_range(services)
    uploads.delete_session(services, tenant_id=TENANT, session_id=session.id)
    work_off(services)
    assert stored_files(services) == [users_own.document.storage_key]
    with services.database.transaction(tenant_id=TENANT) as db:
        assert jobs.get_job(db, tenant_id=TENANT, job_id=attached.job.id).state == "cancelled"
    assert reload(services, users_own)[0].status == "ready"
