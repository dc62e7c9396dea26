"""Facts about pages that ingestion stores besides their text: labels, notes, reader version."""

from sqlalchemy import select

from core.bootstrap import Services
from core.db.models import Chunk, Document
from core.db.paging import PageRequest
from core.documents import records
from core.pdf import READER_VERSION
from core.search import retrieval
from tests import forms, pdfs
from tests.integration.steps import TENANT, ask, ingest, new_session
from tests.integration.test_tables_overleaf import drawn

LONG_TABLE = [
    [
        [(72, "Revenue by region (in millions of euros)")],
        [],
        [(72, "Region"), (-360, "2031"), (-460, "2030")],
        *(
            [(72, f"Region Halden{n}"), (-360, f"{n * 31:,}"), (-460, f"{n * 29:,}")]
            for n in range(1, 41)
        ),
    ],
    [
        [(72, f"Region Halden{n}"), (-360, f"{n * 31:,}"), (-460, f"{n * 29:,}")]
        for n in range(41, 60)
    ],
]
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


def test_a_figure_overleaf_is_answered_with_its_column_and_unit(services: Services) -> None:
    """The unit and the columns' names are on the first page only."""
    ingest(services, drawn(LONG_TABLE), user_id="alice")
    question = "What is the revenue of region Halden51 in 2031?"
    [found] = retrieval.search(services, tenant_id=TENANT, query=question, user_id="alice", top_k=1)
    assert found.page_start == 2
    assert "in millions of euros" in found.heading
    assert "Region Halden51 | 2031: 1,581 | 2030: 1,479" in found.text
    assert "heading" not in found.as_dict()
    content = ask(services, new_session(services), question).content
    assert content.startswith("Region Halden51, 2031: 1,581 million [1]")


def test_a_running_title_belongs_to_each_page(services: Services) -> None:
    pages = [
        "\n".join(f"Rule {n * 20 + line} of the {name} is binding for all." for line in range(18))
        for n, name in enumerate(("quay", "crane", "barge", "lock", "ferry"))
    ]
    made = pdfs.make_pdf(pages, header="Statute of Vinterholm")
    document_id = ingest(services, made, user_id="alice")
    query = "rules of the ferry in the Statute of Vinterholm"
    found = retrieval.search(services, tenant_id=TENANT, query=query, user_id="alice", top_k=1)
    assert (found[0].page_start, found[0].heading) == (5, "Statute of Vinterholm")
    assert "Vinterholm" not in found[0].text
    with services.database.transaction(tenant_id=TENANT) as db:
        rows = db.scalars(select(Chunk.context).where(Chunk.document_id == document_id)).all()
    assert all("Statute of Vinterholm" in context for context in rows)


def test_values_of_a_form_are_found(services: Services) -> None:
    made = forms.make_form([("Tenant:", "Sunniva Brandt"), ("Rent:", "1,240 euros")])
    document_id = ingest(services, made, user_id="alice")
    with services.database.transaction(tenant_id=TENANT) as db:
        page = records.list_chunks(
            db, tenant_id=TENANT, document_id=document_id, page=PageRequest(limit=10)
        )
    assert "Sunniva Brandt" in " ".join(chunk.text for chunk in page.items)
