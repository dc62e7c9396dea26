"""Two requests change one document at the same time: the second sees the first one's change.

Each test locks the row that both need, starts the second request, and continues when
PostgreSQL's own list shows that it waits. So no test depends on timing.
"""

import io
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text

from core.bootstrap import Services
from core.db.models import Chunk, ChunkVector, Document, Job, new_id
from core.documents import ingestion, jobs, records, uploads
from core.documents.uploads import Accepted
from core.errors import DocumentError, NotFound
from core.pdf import PageText
from core.pdf.values import DocumentInfo
from core.telemetry import configure_logging
from tests.integration.steps import TENANT, find_document, ingest, new_session
from tests.pdfs import make_pdf

PAGES = ["The lighthouse of Norrskar was built in 1847 by Albin Lind. It is 31 metres high."]
WAIT_SECONDS = 30


def second(services: Services, act: str, document_id: UUID) -> Accepted | None:
    arguments = {"tenant_id": TENANT, "document_id": document_id}
    if act == "delete":
        uploads.delete_document(services, **arguments)  # type: ignore[arg-type]
        return None
    return uploads.reingest(services, **arguments)  # type: ignore[arg-type]


def await_waiting(services: Services, running: "Future[object]") -> None:
    """Wait until a transaction waits for another one's lock."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with services.database.transaction(tenant_id=None) as db:
            if db.execute(waiting).scalar_one():
                return
        assert not running.done(), "it was to wait for the lock"
        time.sleep(0.01)
    raise AssertionError("nobody came to wait")


def open_jobs(services: Services) -> list[UUID]:
    with services.database.transaction(tenant_id=None) as db:
        return list(db.scalars(select(Job.id).where(Job.state.in_(jobs.OPEN_STATES))))


def work_off(services: Services) -> None:
    while ingestion.process_next_range(services):
        pass


@pytest.mark.parametrize("act", ["delete", "reingest"])
def test_a_job_that_starts_meanwhile_is_cancelled(services: Services, act: str) -> None:
    """Otherwise a delete would leave a job that never ends, and a reingest two running jobs."""
    document_id = ingest(services, make_pdf(PAGES))
    with ThreadPoolExecutor(1) as pool:
        with services.database.transaction(tenant_id=TENANT) as db:
            document = records.lock_document(db, tenant_id=TENANT, document_id=document_id)
            running = pool.submit(second, services, act, document_id)
            await_waiting(services, running)
            first = jobs.start_job(db, document=document).id
        accepted = running.result(WAIT_SECONDS)
    assert first not in open_jobs(services)
    assert open_jobs(services) == ([accepted.job.id] if accepted else [])
    work_off(services)
    assert open_jobs(services) == []
    with services.database.transaction(tenant_id=None) as db:
        live = {tuple(row) for row in db.execute(select(Document.id, Document.generation))}
        for table in (Chunk, ChunkVector):
            rows = db.execute(select(table.document_id, table.generation))
            assert {tuple(row) for row in rows} == live


def test_an_upload_to_a_session_that_is_being_deleted_goes_with_it(services: Services) -> None:
    """Its row is deleted with the session, so its job must end and its file be deleted."""
    session_id = new_session(services)
    key, document_id = "aa/late.pdf", new_id()
    path = services.settings.data_dir / "uploads" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_pdf(PAGES))
    with ThreadPoolExecutor(1) as pool:
        with services.database.transaction(tenant_id=TENANT) as db:
            document = Document(
                id=document_id,
                tenant_id=TENANT,
                session_id=session_id,
                filename="late.pdf",
                sha256="0" * 64,
                size_bytes=1,
                storage_key=key,
            )
            db.add(document)
            db.flush()
            job_id = jobs.start_job(db, document=document).id
            running = pool.submit(
                uploads.delete_session, services, tenant_id=TENANT, session_id=session_id
            )
            await_waiting(services, running)
        running.result(WAIT_SECONDS)
    with services.database.transaction(tenant_id=TENANT) as db:
        assert jobs.get_job(db, tenant_id=TENANT, job_id=job_id).state == "cancelled"
        assert db.get(Document, document_id) is None
    assert not path.exists()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, configured like a worker's."""
    configure_logging()
    logging.getLogger().addHandler(caplog.handler)  # configuring sets the handlers anew
    return caplog


class Overtaking:
    """A parser for which a document is deleted just before it reads the file."""

    def __init__(
        self, services: Services, document_id: UUID, refusal: DocumentError | None
    ) -> None:
        self._services, self._id, self._refusal = services, document_id, refusal
        self._inner = services.pdf_parser

    def inspect(self, path: Path) -> DocumentInfo:
        self._overtake()
        return self._inner.inspect(path)

    def read_pages(self, path: Path, **pages: int) -> list[PageText]:
        self._overtake()
        return self._inner.read_pages(path, **pages)  # type: ignore[arg-type]

    def _overtake(self) -> None:
        uploads.delete_document(self._services, tenant_id=TENANT, document_id=self._id)
        if self._refusal is not None:
            raise self._refusal


# The parsing child's error if the file disappears while it opens it.
BROKEN = DocumentError("Reading the document went past its limits.", code="pdf_too_complex")


@pytest.mark.parametrize("refusal", [None, BROKEN], ids=["missing", "broken"])
@pytest.mark.parametrize("done", [0, 1], ids=["planned", "read"])
def test_a_range_of_a_deleted_document_is_lost_without_a_failure(
    services: Services, log: pytest.LogCaptureFixture, done: int, refusal: DocumentError | None
) -> None:
    document_id = upload(services)
    for _ in range(done):
        ingestion.process_next_range(services)
    parser = services.pdf_parser
    services.__dict__["pdf_parser"] = Overtaking(services, document_id, refusal)
    try:
        ingestion.process_next_range(services)
    finally:
        services.__dict__["pdf_parser"] = parser
    assert logged(log)[done:] == [("info", "range_lost")]
    assert open_jobs(services) == []


def test_a_range_is_lost_if_its_file_is_deleted_first(
    services: Services, log: pytest.LogCaptureFixture
) -> None:
    document_id = upload(services)
    find = services.storage.local_copy

    def overtaken(key: str) -> Path:
        uploads.delete_document(services, tenant_id=TENANT, document_id=document_id)
        return find(key)

    services.storage.local_copy = overtaken  # type: ignore[method-assign]
    ingestion.process_next_range(services)
    assert logged(log) == [("info", "range_lost")]


def test_a_missing_file_of_an_existing_document_is_a_failure(
    services: Services, log: pytest.LogCaptureFixture
) -> None:
    document_id = upload(services)
    with services.database.transaction(tenant_id=TENANT) as db:
        document = records.get_document(db, tenant_id=TENANT, document_id=document_id)
    services.storage.delete(document.storage_key)
    ingestion.process_next_range(services)
    assert logged(log) == [("error", "range_failed")]


def upload(services: Services) -> UUID:
    accepted = uploads.accept_upload(
        services,
        tenant_id=TENANT,
        body=io.BytesIO(make_pdf(PAGES)),
        filename="report.pdf",
        user_id=None,
        session_id=None,
        metadata={},
    )
    return accepted.document.id


def logged(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The log lines about ranges: level and event."""
    events = [record.msg for record in log.records if record.name == "core.documents.ingestion"]
    return [(event["level"], event["event"]) for event in events]  # type: ignore[index]


@pytest.mark.parametrize("outcome", ["drawn", "refused"])
def test_an_image_of_a_document_deleted_meanwhile_is_not_cached(
    services: Services, outcome: str
) -> None:
    document_id = ingest(services, make_pdf(PAGES))
    document = find_document(services, document_id)
    parser = services.pdf_parser

    class Overtaken:
        def render_page(self, *arguments: object, **options: object) -> bytes:
            image = parser.render_page(*arguments, **options)  # type: ignore[arg-type]
            uploads.delete_document(services, tenant_id=TENANT, document_id=document_id)
            if outcome == "refused":
                raise DocumentError("Too much.", code="pdf_too_complex")
            return image

    services.__dict__["pdf_parser"] = Overtaken()
    try:
        with pytest.raises(NotFound):
            uploads.render_page(services, document, number=1, highlight=None)
    finally:
        services.__dict__["pdf_parser"] = parser
    assert list((services.settings.data_dir / "cache").rglob("*")) == [
        services.settings.data_dir / "cache" / "pages"
    ]
