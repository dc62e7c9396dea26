"""Facts about pages that ingestion stores besides their text: labels, notes, reader version."""

from sqlalchemy import select

from core.bootstrap import Services
from core.db.models import Document
from core.db.paging import PageRequest
from core.documents import records
from core.pdf import READER_VERSION
from core.search import retrieval
from tests import forms, pdfs
from tests.integration.steps import TENANT, ask, ingest, new_session

KILN = [
    "Title page of the kiln handbook.",
    "Foreword: this handbook is dedicated to Orla Venn.",
    "The kiln is fired at 1240 degrees for nine hours.",
]


def stored(services: Services, document_id: object) -> Document:
    with services.database.transaction(tenant_id=TENANT) as db:
        return db.scalars(select(Document).where(Document.id == document_id)).one()


def test_passages_and_citations_have_the_label_of_their_page(services: Services) -> None:
    ingest(services, forms.make_labelled(KILN, roman=2), user_id="alice")
    question = "At how many degrees is the kiln fired?"
    found = retrieval.search(services, tenant_id=TENANT, query=question, user_id="alice", top_k=1)
    assert [(one.page_start, one.page_label) for one in found] == [(3, "1")]
    answer = ask(services, new_session(services), question)
    cited = answer.retrieved_context[0]
    assert (cited["page_start"], cited["page_label"]) == (3, "1")


def test_a_page_without_a_label_has_none(services: Services) -> None:
    ingest(services, pdfs.make_pdf(KILN), user_id="alice")
    found = retrieval.search(services, tenant_id=TENANT, query="kiln fired", user_id="alice")
    assert {one.page_label for one in found} == {None}


def test_notes_name_unread_content_and_its_pages(services: Services) -> None:
    attached = stored(
        services, ingest(services, forms.make_with_attachments(KILN, {"a.csv": b"1"}))
    )
    [note] = attached.notes
    assert note["code"] == "attachments_not_read"
    assert "a.csv" in note["detail"]
    assert note["pages"] == []
    pinned = stored(services, ingest(services, forms.make_file_annotation(KILN, on_page=2)))
    assert [(note["code"], note["pages"]) for note in pinned.notes] == [
        ("attachments_not_read", [2])
    ]
    assert stored(services, ingest(services, pdfs.make_pdf(KILN))).notes == []


def test_a_document_names_its_reader(services: Services) -> None:
    document = stored(services, ingest(services, pdfs.make_pdf(KILN)))
    assert (document.reader_version, document.reader_ocr) == (READER_VERSION, "")
    refused = stored(services, ingest(services, pdfs.make_scanned_pdf(1)))
    assert (refused.status, refused.reader_version) == ("failed", READER_VERSION)
    assert refused.pages_without_text == [1]


def test_values_of_a_form_are_found(services: Services) -> None:
    made = forms.make_form([("Tenant:", "Sunniva Brandt"), ("Rent:", "1,240 euros")])
    document_id = ingest(services, made, user_id="alice")
    with services.database.transaction(tenant_id=TENANT) as db:
        page = records.list_chunks(
            db, tenant_id=TENANT, document_id=document_id, page=PageRequest(limit=10)
        )
    assert "Sunniva Brandt" in " ".join(chunk.text for chunk in page.items)
