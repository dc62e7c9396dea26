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
    """A PDF. Its live chunks are those of `generation`; a reingest builds the next generation.

    `notes` are dicts `{code, detail, pages}`. `reader_version` and `reader_ocr` (OCR
    languages joined by `+`, empty without OCR) belong to the reader that made the live chunks
    or refused the file. `known_words` are words that a line end breaks, as other pages write them.
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
    known_words: Mapped[list[str]] = mapped_column(default=list, server_default="{}")
    page_count: Mapped[int | None]
    chunk_count: Mapped[int] = mapped_column(default=0)
    pages_without_text: Mapped[list[int]] = mapped_column(default=list)
    pages_unreadable: Mapped[list[int]] = mapped_column(default=list, server_default="{}")
    pages_ocr: Mapped[list[int]] = mapped_column(default=list, server_default="{}")
    notes: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    reader_version: Mapped[int] = mapped_column(server_default="1")
    reader_ocr: Mapped[str] = mapped_column(default="", server_default="")
    # The model of all its vectors; empty if they come from several (core.search.embedding_model).
    embedding_model: Mapped[str] = mapped_column(default="", server_default="")
    generation: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[UUID | None]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        one_of("status", DOCUMENT_STATUSES),
        # The same bytes in the same scope are one document, even if twenty arrive at once.
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
    """Accepted work. This row is the truth about it; a message in Redis is only a doorbell.

    `document_id` is no foreign key, because a job outlives its deleted document: a
    client that polls it learns that it was cancelled.
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
    # The person whose turns serve the job, and its place within them (core.documents.fairness).
    # `page_ms` is the time per page of its latest page ranges.
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
    """A user who is being erased. The job deletes the row at its end, because it names the user.

    `counts` are the numbers of erased things so far. `attempt` counts claims and is the fencing
    token. `settled_at` is the time when the last session or document was deleted.
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
    """An erased session or document. `storage_key` is set until its file is deleted."""

    __tablename__ = "erasure_items"

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("erasures.job_id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    storage_key: Mapped[str | None]


class PageRange(Base):
    """The unit of work: some pages of one job. Range 0 is the job's planning.

    `number` is the first page. A queued range has pages that no worker has claimed yet: a claim
    takes some of them and leaves the others as new ranges.
    `attempt` counts claims and is the fencing token: a worker's results are stored
    only if its attempt is still the last one. `failures` counts claims that ended with
    an error or an expired lease; waiting for a provider does not count.
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
    """The last turn of a person in the queue or, with an empty `person`, of a tenant."""

    __tablename__ = "last_served"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)
    served_at: Mapped[datetime]
    newcomer: Mapped[bool]

    __table_args__ = (Index("ix_last_served_recent", "served_at"),)


class DocumentPage(Base):
    """A page's extracted text. A quote is a substring of it.

    `notes` are codes for content of the page that was not read. If the page was read by OCR,
    `words` are its words with their boxes (`core.pdf.values.OcrWord`).
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

    `page_break` is the index in `text` where page `page_end` begins; None if there is one page.
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
    # The document's name, and what the text itself may not contain: the page's running title, the
    # section's heading, the caption of the table.
    context: Mapped[str] = mapped_column(default="")
    text: Mapped[str]
    # The words of context and text, by core.search.lexemes, and an additional lexeme: chr(1) and
    # the tenant, which cannot come from a text. With it, GIN finds a word within a tenant,
    # however many other tenants use the word.
    tsv: Mapped[str | None] = mapped_column(TSVECTOR, deferred=True)
    # 0 if PostgreSQL's parser made `tsv`, else core.search.lexemes.VERSION at that time.
    words_version: Mapped[int] = mapped_column(SmallInteger, server_default="0")

    __table_args__ = (
        UniqueConstraint("document_id", "generation", "ordinal"),
        Index("ix_chunks_tsv", "tsv", postgresql_using="gin"),
        Index(
            "ix_chunks_old_words", "tenant_id", postgresql_where=literal_column("words_version = 0")
        ),
    )


class ChunkVector(Base):
    """A chunk's embedding, in a separate row that is narrow enough to stay in line.

    Half precision needs half the memory and allows an index of up to 4,000 dimensions
    instead of 2,000. `indexed` says whether the vector is in it (`core.search.vector_index`).
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
    """The number of chunks of a large tenant; see `core.search.term_statistics`."""

    __tablename__ = "tenant_statistics"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    chunks: Mapped[int]


class TermStatistic(Base):
    """The approximate number of a tenant's chunks with a lexeme (`core.search.term_statistics`)."""

    __tablename__ = "term_statistics"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    lexeme: Mapped[str] = mapped_column(primary_key=True)
    chunks: Mapped[int]
