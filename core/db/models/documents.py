"""Documents, their jobs, pages, chunks and vectors."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    SmallInteger,
    UniqueConstraint,
    false,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from core.db.models.base import (
    DIMENSIONS,
    DOCUMENT_STATUSES,
    JOB_STATES,
    RANGE_STATES,
    READINGS,
    Base,
    HalfVector,
    new_id,
    one_of,
)


class Document(Base):
    """A PDF. Its live chunks are those of `generation`; a reingest builds the next one beside.

    `notes` are dicts `{code, detail, pages}`. `reader_version` and `reader_ocr` (OCR
    languages joined by `+`, empty without OCR) tell which reader made the live chunks, or
    refused the file.
    """

    __tablename__ = "documents"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[str]
    user_id: Mapped[str | None]
    session_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    filename: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    storage_key: Mapped[str]
    status: Mapped[str] = mapped_column(default="queued")
    title: Mapped[str | None]
    outline: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    page_labels: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    page_count: Mapped[int | None]
    chunk_count: Mapped[int] = mapped_column(default=0)
    pages_without_text: Mapped[list[int]] = mapped_column(default=list)
    pages_unreadable: Mapped[list[int]] = mapped_column(default=list, server_default="{}")
    pages_ocr: Mapped[list[int]] = mapped_column(default=list, server_default="{}")
    notes: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    reader_version: Mapped[int] = mapped_column(server_default="1")
    reader_ocr: Mapped[str] = mapped_column(default="", server_default="")
    # The model of all its vectors, empty if they are of several (core.search.embedding_model).
    embedding_model: Mapped[str] = mapped_column(default="", server_default="")
    generation: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[UUID | None]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        one_of("status", DOCUMENT_STATUSES),
        # The same bytes in the same scope are one document, also when twenty arrive at once.
        Index(
            "uq_documents_scope",
            "tenant_id",
            func.coalesce(literal_column("user_id"), literal_column("''")),
            func.coalesce(
                literal_column("session_id"),
                literal_column("'00000000-0000-0000-0000-000000000000'::uuid"),
            ),
            "sha256",
            unique=True,
        ),
        Index("ix_documents_recent", "tenant_id", "created_at", "id"),
        Index("ix_documents_storage_key", "storage_key"),
        Index(
            "ix_documents_embedding_model",
            "embedding_model",
            postgresql_where=text("generation > 0"),
        ),
    )


class Job(Base):
    """Work that was promised. The truth about it is here; Redis only rings the doorbell.

    `document_id` is no foreign key: a job outlives its deleted document, so
    that whoever polls it learns that it was cancelled.
    """

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[str]
    type: Mapped[str] = mapped_column(default="ingest")
    document_id: Mapped[UUID | None] = mapped_column(index=True)
    generation: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(default="queued")
    stage: Mapped[str] = mapped_column(default="queued")
    pages_total: Mapped[int | None]
    pages_done: Mapped[int] = mapped_column(default=0)
    chunks_done: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    # Whose turn serves the job, and its place within that person's turns: see
    # `core.documents.fairness`. `page_ms` is how long its last page ranges took per page.
    person: Mapped[str] = mapped_column(server_default="shared")
    finish_by: Mapped[datetime] = mapped_column(server_default=func.now())
    page_ms: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        one_of("state", JOB_STATES),
        Index("ix_jobs_recent", "tenant_id", "created_at", "id"),
        Index(
            "ix_jobs_open",
            "tenant_id",
            "person",
            "finish_by",
            "id",
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )


class Erasure(Base):
    """A user who is being erased. The row goes when the job ends: it names the user.

    `counts` are what is gone so far. `attempt` counts claims and is the fencing token.
    `settled_at` is when no session and no document was left.
    """

    __tablename__ = "erasures"

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str]
    user_id: Mapped[str]
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    lease_expires_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("tenant_id", "user_id"),)


class ErasureItem(Base):
    """A session or document that was erased; `storage_key` while its file is still there."""

    __tablename__ = "erasure_items"

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("erasures.job_id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    storage_key: Mapped[str | None]


class PageRange(Base):
    """The unit of work: some pages of one job, or, as number 0, the planning of it.

    `number` is the first page. The last range of a job holds all the pages that nobody has
    claimed yet: a claim takes some off its front and leaves the others as a new range.

    `attempt` counts claims and is the fencing token: what a worker writes is
    kept only while its attempt is still the last one. `failures` counts those
    that ended in an error or in silence; waiting for a provider is none.
    """

    __tablename__ = "page_ranges"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    tenant_id: Mapped[str]
    number: Mapped[int]
    first_page: Mapped[int]
    last_page: Mapped[int]
    state: Mapped[str] = mapped_column(default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    waiting_since: Mapped[datetime | None]
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        one_of("state", RANGE_STATES),
        Index("ix_page_ranges_open", "job_id", "number", postgresql_where=text("state <> 'done'")),
    )


class LastServed(Base):
    """When a person (or, with an empty `person`, a tenant) last got a turn in the queue."""

    __tablename__ = "last_served"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)
    served_at: Mapped[datetime]
    newcomer: Mapped[bool]

    __table_args__ = (Index("ix_last_served_recent", "served_at"),)


class DocumentPage(Base):
    """A page's extracted text: what a quote is a substring of.

    `notes` are codes of what is on the page and was not read. `words` are those of a page
    that was read by OCR, with their boxes (`core.pdf.values.OcrWord`).
    """

    __tablename__ = "document_pages"

    document_id: Mapped[UUID] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True
    )
    generation: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    text: Mapped[str]
    reading: Mapped[str] = mapped_column(default="text", server_default="text")
    notes: Mapped[list[str]] = mapped_column(default=list, server_default="{}")
    words: Mapped[list[Any] | None]

    __table_args__ = (one_of("reading", READINGS),)


class Chunk(Base):
    """A piece of a document's text. `ordinal` orders the chunks of one generation.

    `page_break` is the place in `text` where page `page_end` begins, None within one page.
    """

    __tablename__ = "chunks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[str]
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    generation: Mapped[int]
    ordinal: Mapped[int] = mapped_column(BigInteger)
    page_start: Mapped[int]
    page_end: Mapped[int]
    page_label: Mapped[str | None]  # of `page_start`
    heading: Mapped[str | None]
    page_break: Mapped[int | None]
    # What the text itself need not say: the document's name, the section's heading.
    context: Mapped[str] = mapped_column(default="")
    text: Mapped[str]
    # Of context and text, by core.search.lexemes. One more lexeme, chr(1) and the tenant, which
    # no text can make: GIN finds a word within a tenant, however many others use it.
    tsv: Mapped[str | None] = mapped_column(TSVECTOR, deferred=True)
    # How `tsv` was made: 0 by PostgreSQL's parser, else core.search.lexemes.VERSION of then.
    words_version: Mapped[int] = mapped_column(SmallInteger, server_default="0")

    __table_args__ = (
        UniqueConstraint("document_id", "generation", "ordinal"),
        Index("ix_chunks_tsv", "tsv", postgresql_using="gin"),
        Index(
            "ix_chunks_old_words", "tenant_id", postgresql_where=literal_column("words_version = 0")
        ),
    )


class ChunkVector(Base):
    """A chunk's embedding, in a row narrow enough to stay in line.

    In half precision: half the memory, and an index of up to 4,000 dimensions
    instead of 2,000. `indexed`: whether the vector is in that index (`core.search.vector_index`).
    """

    __tablename__ = "chunk_vectors"

    chunk_id: Mapped[UUID] = mapped_column(
        ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str]
    document_id: Mapped[UUID]
    generation: Mapped[int]
    model: Mapped[str]
    embedding: Mapped[Any] = mapped_column(HalfVector(DIMENSIONS))
    indexed: Mapped[bool] = mapped_column(server_default=false())

    __table_args__ = (
        Index("ix_chunk_vectors_document_id", "document_id", "generation"),
        Index(
            "ix_chunk_vectors_embedding",
            "embedding",
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "halfvec_cosine_ops"},
            postgresql_where=text("indexed"),
        ),
        Index("ix_chunk_vectors_waiting", "tenant_id", postgresql_where=text("NOT indexed")),
    )


class TenantStatistic(Base):
    """How many chunks a tenant of many chunks has; see `core.search.term_statistics`."""

    __tablename__ = "tenant_statistics"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    chunks: Mapped[int]


class TermStatistic(Base):
    """In about how many of a tenant's chunks a lexeme occurs; see `core.search.term_statistics`."""

    __tablename__ = "term_statistics"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    lexeme: Mapped[str] = mapped_column(primary_key=True)
    chunks: Mapped[int]
