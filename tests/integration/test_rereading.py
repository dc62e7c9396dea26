"""Documents read by an older reader are listed, and read again in one call."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select, update

from core.bootstrap import Services
from core.db.models import Document
from core.documents import ingestion, rereading
from core.documents.rereading import Outdated
from core.pdf import READER_VERSION
from tests.integration.steps import TENANT, ingest
from tests.pdfs import make_mixed_pdf, make_pdf
from web.app import create_app

TEXT = "The mole at Brennvik is 412 metres long."


def age(services: Services, document_id: UUID, **values: object) -> None:
    with services.database.transaction(tenant_id=TENANT) as db:
        db.execute(update(Document).where(Document.id == document_id).values(**values))


def outdated(services: Services, **options: object) -> list[tuple[UUID, str]]:
    found = rereading.list_outdated(services, **options)  # type: ignore[arg-type]
    return [(one.document_id, one.reason) for one in found]


def test_documents_of_an_older_reader_are_listed(services: Services) -> None:
    old = ingest(services, make_pdf([TEXT]), user_id="alice")
    ingest(services, make_pdf([TEXT]), user_id="bob")
    assert outdated(services) == []
    age(services, old, reader_version=READER_VERSION - 1)
    assert outdated(services) == [(old, "reader")]
    assert outdated(services, tenant_id=TENANT) == [(old, "reader")]
    assert outdated(services, tenant_id="another") == []


def test_scans_read_without_ocr_are_listed_on_request(services: Services) -> None:
    scanned = ingest(services, make_mixed_pdf([TEXT, None]), user_id="alice")
    refused = ingest(services, make_mixed_pdf([None]), user_id="bob")
    ingest(services, make_pdf([TEXT]), user_id="carol")
    assert outdated(services) == []
    assert outdated(services, scans=True) == [(scanned, "ocr"), (refused, "ocr")]
    age(services, scanned, reader_ocr="eng")
    assert outdated(services, scans=True) == [(refused, "ocr")]


def test_many_are_listed_once_each(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rereading, "_BATCH", 2)
    made = [ingest(services, make_pdf([f"{TEXT} {n}"])) for n in range(5)]
    for document_id in made:
        age(services, document_id, reader_version=0)
    assert [document_id for document_id, _ in outdated(services)] == sorted(made)


def test_one_call_reads_them_again(services: Services) -> None:
    old = ingest(services, make_pdf([TEXT]))
    age(services, old, reader_version=0)
    run: Callable[..., object] = create_app(services=services).test_cli_runner().invoke

    told = run(args=["documents", "reread", "--dry-run"]).output  # type: ignore[attr-defined]
    assert str(old) in told
    assert "1 documents would be read again" in told
    assert outdated(services) == [(old, "reader")]

    assert str(old) in run(args=["documents", "reread"]).output  # type: ignore[attr-defined]
    assert outdated(services) == [], "a job that reads it is under way"
    with services.database.transaction(tenant_id=TENANT) as db:
        assert db.scalar(select(Document.status).where(Document.id == old)) == "ready"
    while ingestion.process_next_range(services):
        pass
    with services.database.transaction(tenant_id=TENANT) as db:
        document = db.scalars(select(Document).where(Document.id == old)).one()
    assert (document.generation, document.reader_version) == (2, READER_VERSION)
    again = run(args=["documents", "reread"]).output  # type: ignore[attr-defined]
    assert "0 documents are read again" in again


def test_a_document_deleted_meanwhile_is_no_error(services: Services) -> None:
    missing = Outdated(UUID(int=1), TENANT, "a.pdf", 1, "reader")
    assert not rereading.reread(services, missing)
