"""The rows of documents, their pages, chunks and vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.db.models import ChatSession, Chunk, ChunkVector, Document, DocumentPage, new_id
from core.db.paging import Page, PageRequest, cursor_scope, decode_cursor, encode_cursor, paginate
from core.documents.chunking import ChunkDraft
from core.embedding.base import Vectors
from core.errors import NotFound
from core.pdf import OcrWord, PageText
from core.search.lexemes import VERSION, vector_of

ORDINALS_PER_PAGE = 100_000  # more chunks than one page can yield


@dataclass(frozen=True, slots=True)
class ChunkView:
    """A chunk in its document's order; `position` counts from 1."""

    id: UUID
    position: int
    page_start: int
    page_end: int
    text: str


@dataclass(frozen=True, slots=True)
class PageSummary:
    """Page numbers: without text, unreadable, read by OCR, and by the code of a note."""

    without_text: list[int]
    unreadable: list[int]
    ocr: list[int]
    notes: dict[str, list[int]]


def get_document(db: Session, *, tenant_id: str, document_id: UUID) -> Document:
    """Raises NotFound for an unknown document and for another tenant's."""
    document = db.scalar(
        select(Document).where(Document.tenant_id == tenant_id, Document.id == document_id)
    )
    if document is None:
        raise _unknown_document()
    return document


def find_locked(db: Session, *, tenant_id: str, document_id: UUID) -> Document | None:
    """The tenant's document, locked until the transaction ends; None if it is gone.

    A transaction that changes a document or its jobs locks the document first and then the job.
    So no job begins or ends meanwhile, and no two transactions wait for each other.
    """
    return db.scalar(
        select(Document)
        .where(Document.tenant_id == tenant_id, Document.id == document_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def lock_document(db: Session, *, tenant_id: str, document_id: UUID) -> Document:
    """Like `find_locked`, but raises NotFound."""
    document = find_locked(db, tenant_id=tenant_id, document_id=document_id)
    if document is None:
        raise _unknown_document()
    return document


def _unknown_document() -> NotFound:
    return NotFound("No such document.", code="document_not_found")


def lock_attached(db: Session, *, tenant_id: str, session_id: UUID) -> list[Document]:
    """The documents of a session, locked until the transaction ends."""
    own = (Document.tenant_id == tenant_id, Document.session_id == session_id)
    return list(db.scalars(select(Document).where(*own).order_by(Document.id).with_for_update()))


def find_in_scope(
    db: Session, *, tenant_id: str, user_id: str | None, session_id: UUID | None, sha256: str
) -> Document | None:
    """The document with these bytes in exactly this scope, locked."""
    return db.scalar(
        select(Document)
        .where(
            Document.tenant_id == tenant_id,
            Document.user_id.is_not_distinct_from(user_id),
            Document.session_id.is_not_distinct_from(session_id),
            Document.sha256 == sha256,
        )
        .with_for_update()
    )


def list_documents(
    db: Session,
    *,
    tenant_id: str,
    user_id: str | None = None,
    session_id: UUID | None = None,
    status: str | None = None,
    page: PageRequest,
) -> Page[Document]:
    """The tenant's documents that match every filter given, newest first."""
    rows = select(Document).where(Document.tenant_id == tenant_id)
    for column, value in (
        (Document.user_id, user_id),
        (Document.session_id, session_id),
        (Document.status, status),
    ):
        if value is not None:
            rows = rows.where(column == value)
    return paginate(
        db,
        statement=rows,
        keys=[Document.created_at, Document.id],  # type: ignore[list-item]
        page=page,
        scope=cursor_scope("documents", user_id=user_id, session_id=session_id, status=status),
    )


def list_chunks(
    db: Session, *, tenant_id: str, document_id: UUID, page: PageRequest
) -> Page[ChunkView]:
    """The live chunks of a document in reading order. Raises NotFound."""
    document = get_document(db, tenant_id=tenant_id, document_id=document_id)
    # A generation's chunks never change, so the number of chunks before is a safe cursor.
    name = cursor_scope("chunks", document_id=document.id, generation=document.generation)
    skip = page.skip
    if page.cursor is not None:
        skip = decode_cursor(page.cursor, scope=name, types=[]).rows_before
    rows = db.execute(
        select(Chunk.id, Chunk.page_start, Chunk.page_end, Chunk.text)
        .where(Chunk.document_id == document.id, Chunk.generation == document.generation)
        .order_by(Chunk.ordinal)
        .offset(skip)
        .limit(page.limit)
    ).all()
    items = [
        ChunkView(row.id, position, row.page_start, row.page_end, row.text)
        for position, row in enumerate(rows, start=skip + 1)
    ]
    rows_before, next_cursor = skip + len(items), None
    if items and rows_before < document.chunk_count:
        next_cursor = encode_cursor(scope=name, keys=[], rows_before=rows_before)
    return Page(items, document.chunk_count, skip, page.limit, next_cursor)


def record_pages(
    db: Session,
    *,
    tenant_id: str,
    document_id: UUID,
    generation: int,
    pages: Sequence[PageText],
) -> int:
    """Store the extracted text of pages, also of empty ones. Returns how many are new."""
    rows = [
        {
            "tenant_id": tenant_id,
            "document_id": document_id,
            "generation": generation,
            "number": page.number,
            "text": page.text,
            "reading": page.reading,
            "notes": list(page.notes),
            "words": [list(word) for word in page.words] or None,
        }
        for page in pages
    ]
    new = insert(DocumentPage).values(rows).on_conflict_do_nothing()
    return len(db.scalars(new.returning(DocumentPage.number)).all())


def read_pages(
    db: Session, *, document_id: UUID, generation: int, numbers: Sequence[int]
) -> dict[int, PageText]:
    """The pages of `numbers` that are stored already, without labels."""
    rows = db.scalars(
        select(DocumentPage).where(
            DocumentPage.document_id == document_id,
            DocumentPage.generation == generation,
            DocumentPage.number.in_(numbers),
        )
    )
    return {
        row.number: PageText(
            row.number,
            row.text,
            row.reading,
            reading=row.reading,  # type: ignore[arg-type]  # one of READINGS by its constraint
            notes=tuple(row.notes),
            words=tuple(OcrWord(*word) for word in row.words or ()),
        )
        for row in rows
    }


def find_words(db: Session, *, document_id: UUID, generation: int, number: int) -> list[OcrWord]:
    """The words of a page that was read by OCR; none of any other."""
    words = db.scalar(
        select(DocumentPage.words).where(
            DocumentPage.document_id == document_id,
            DocumentPage.generation == generation,
            DocumentPage.number == number,
        )
    )
    return [OcrWord(*word) for word in words or ()]


def chunk_rows(
    *,
    tenant_id: str,
    document_id: UUID,
    generation: int,
    first_page: int,
    label: str,
    drafts: Sequence[ChunkDraft],
    page_labels: Mapping[int, str | None],
) -> list[dict[str, Any]]:
    """One range's chunks as `record_chunks` writes them, with new ids.

    `label` is the document's name as words, for the search by words. Cutting the words takes a
    millisecond per chunk: call this before the transaction, which locks the document.
    """
    return [
        {
            "tenant_id": tenant_id,
            "document_id": document_id,
            "generation": generation,
            "id": new_id(),
            "ordinal": first_page * ORDINALS_PER_PAGE + number,
            "page_start": draft.page_start,
            "page_end": draft.page_end,
            "page_label": page_labels.get(draft.page_start),
            "heading": draft.heading,
            "context": f"{label} {draft.context}".strip(),
            "page_break": draft.page_break,
            "text": draft.text,
            "tsv": vector_of(f"{label} {draft.context}\n{draft.text}", tenant_id=tenant_id),
            "words_version": VERSION,
        }
        for number, draft in enumerate(drafts)
    ]


def record_chunks(
    db: Session, *, rows: Sequence[dict[str, Any]], vectors: Vectors, model: str, indexed: bool
) -> None:
    """Write the chunks of `chunk_rows` and their vectors, of shape (len(rows), dimensions).

    `indexed` says whether the vectors go into the HNSW index.
    """
    if not rows:
        return
    scope = ("tenant_id", "document_id", "generation")
    vector_rows = [
        {
            **{name: row[name] for name in scope},
            "chunk_id": row["id"],
            "model": model,
            "embedding": vector,
            "indexed": indexed,
        }
        for row, vector in zip(rows, vectors, strict=True)
    ]
    db.execute(insert(Chunk), rows)
    db.execute(insert(ChunkVector), vector_rows)


def delete_generation(db: Session, *, document_id: UUID, generation: int) -> None:
    """Remove one generation's pages, chunks and vectors."""
    for table in (ChunkVector, Chunk, DocumentPage):
        db.execute(
            delete(table)
            .where(table.document_id == document_id, table.generation == generation)
            .execution_options(synchronize_session=False)
        )


def embedding_model(db: Session, *, document_id: UUID, generation: int) -> str:
    """The model of all vectors of one generation; empty if they come from several."""
    own = (ChunkVector.document_id == document_id, ChunkVector.generation == generation)
    names = db.execute(
        select(func.min(ChunkVector.model), func.max(ChunkVector.model)).where(*own)
    ).one()
    return names[0] if names[0] and names[0] == names[1] else ""


def count_chunks(db: Session, *, document_id: UUID, generation: int) -> int:
    return (
        db.scalar(
            select(func.count())
            .select_from(Chunk)
            .where(Chunk.document_id == document_id, Chunk.generation == generation)
        )
        or 0
    )


def summarize_pages(db: Session, *, document_id: UUID, generation: int) -> PageSummary:
    """The numbers of one generation's pages, by the way they were read and by their notes."""
    rows = db.execute(
        select(
            DocumentPage.number,
            DocumentPage.reading,
            DocumentPage.notes,
            (DocumentPage.text == "").label("empty"),
        )
        .where(
            DocumentPage.document_id == document_id,
            DocumentPage.generation == generation,
            or_(
                DocumentPage.text == "",
                DocumentPage.reading != "text",
                func.cardinality(DocumentPage.notes) > 0,
            ),
        )
        .order_by(DocumentPage.number)
    ).all()
    notes: dict[str, list[int]] = {}
    for row in rows:
        for code in row.notes:
            notes.setdefault(code, []).append(row.number)
    return PageSummary(
        without_text=[row.number for row in rows if row.empty or row.reading == "scan"],
        unreadable=[row.number for row in rows if row.reading == "unreadable"],
        ocr=[row.number for row in rows if row.reading == "ocr"],
        notes=notes,
    )


def session_exists(db: Session, *, tenant_id: str, session_id: UUID) -> bool:
    known = exists().where(ChatSession.tenant_id == tenant_id, ChatSession.id == session_id)
    return bool(db.scalar(select(known)))


def stored_keys(db: Session, *, keys: Sequence[str]) -> set[str]:
    """The keys among `keys` that belong to a document."""
    return set(db.scalars(select(Document.storage_key).where(Document.storage_key.in_(keys))))


def outline_rows(outline: Sequence[Any]) -> list[dict[str, Any]]:
    """Outline entries as they are stored with the document."""
    return [{"level": item.level, "title": item.title, "page": item.page} for item in outline]
