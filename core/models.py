"""The tables, and why they are shaped so.

Every row of a customer carries `tenant_id`. Text and vector of a chunk live in
two tables: a vector in a wide row is pushed out of line (TOAST), which makes an
exact scan some six times slower.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, TSVECTOR
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

DIMENSIONS = 384  # the default; migrations follow EMBEDDING_DIMENSIONS

SENDERS = ("user", "assistant", "system")
MESSAGE_STATUSES = ("complete", "interrupted", "failed")
DOCUMENT_STATUSES = ("queued", "processing", "ready", "failed", "cancelled")
JOB_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
TERMINAL_STATES = ("succeeded", "failed", "cancelled")
RANGE_STATES = ("queued", "running", "done")

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): ordered by creation, so that index pages stay warm."""
    return uuid7()


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        UUID: PgUUID(as_uuid=True),
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(Integer),
        bytes: LargeBinary,
    }


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class ChatSession(Base):
    """A conversation. `message_count` is also the counter that positions come from."""

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[str]
    user_id: Mapped[str]
    title: Mapped[str | None]
    is_favorite: Mapped[bool] = mapped_column(default=False)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    message_count: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_message_at: Mapped[datetime | None]
    active_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_sessions_recent", "tenant_id", "active_at", "id"),
        Index("ix_sessions_user_recent", "tenant_id", "user_id", "active_at", "id"),
    )


class Message(Base):
    """One message. An assistant's `reply_to` is the user's message it answers."""

    __tablename__ = "messages"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[str]
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    position: Mapped[int]
    sender: Mapped[str]
    content: Mapped[str]
    context_metadata: Mapped[dict[str, Any]] = mapped_column(default=dict)
    retrieved_context: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    status: Mapped[str] = mapped_column(default="complete")
    model: Mapped[str | None]
    usage: Mapped[dict[str, Any] | None]
    reply_to: Mapped[UUID | None]
    # While an answer is being written: who is silent past this moment is dead.
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("session_id", "position"),
        _one_of("sender", SENDERS),
        _one_of("status", MESSAGE_STATUSES),
        Index(
            "ix_messages_lease",
            "lease_expires_at",
            postgresql_where=text("lease_expires_at IS NOT NULL"),
        ),
        # left(): a tsvector holds at most 1 MiB and a longer text would fail the insert.
        Index(
            "ix_messages_search",
            func.to_tsvector(
                literal_column("'simple'::regconfig"),
                func.left(literal_column("content"), literal_column("100000")),
            ),
            postgresql_using="gin",
        ),
    )


class MessageVector(Base):
    """The embedding of what a user said; NULL under a lease, or if it says too little."""

    __tablename__ = "message_vectors"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str]
    user_id: Mapped[str]
    session_id: Mapped[UUID]
    model: Mapped[str]
    embedding: Mapped[Any | None] = mapped_column(Vector(DIMENSIONS))
    lease_expires_at: Mapped[datetime | None]

    __table_args__ = (
        # No index of the vectors: one user's rows are few, and searched exactly.
        Index("ix_message_vectors_user", "tenant_id", "user_id"),
        Index(
            "ix_message_vectors_lease",
            "lease_expires_at",
            postgresql_where=text("lease_expires_at IS NOT NULL"),
        ),
    )


class MessageTrace(Base):
    """How an answer came about."""

    __tablename__ = "message_traces"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str]
    data: Mapped[dict[str, Any]]


class Document(Base):
    """A PDF. Its live chunks are those of `generation`; a reingest builds the next one beside."""

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
    page_count: Mapped[int | None]
    chunk_count: Mapped[int] = mapped_column(default=0)
    pages_without_text: Mapped[list[int]] = mapped_column(default=list)
    generation: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[UUID | None]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        _one_of("status", DOCUMENT_STATUSES),
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
    # Fairness: the job that was served longest ago goes first.
    served_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        _one_of("state", JOB_STATES),
        Index("ix_jobs_recent", "tenant_id", "created_at", "id"),
        Index(
            "ix_jobs_open",
            "served_at",
            "id",
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )


class PageRange(Base):
    """The unit of work: some pages of one job, or, as number 0, the planning of it.

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

    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        _one_of("state", RANGE_STATES),
        Index("ix_page_ranges_open", "job_id", "number", postgresql_where=text("state <> 'done'")),
    )


class DocumentPage(Base):
    """A page's extracted text: what a quote is a substring of."""

    __tablename__ = "document_pages"

    document_id: Mapped[UUID] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True
    )
    generation: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    text: Mapped[str]


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
    heading: Mapped[str | None]
    page_break: Mapped[int | None]
    # What the text itself need not say: the document's name, the section's heading.
    context: Mapped[str] = mapped_column(default="")
    text: Mapped[str]
    tsv: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector('english'::regconfig, context || ' ' || text)", persisted=True),
        deferred=True,
    )

    __table_args__ = (
        UniqueConstraint("document_id", "generation", "ordinal"),
        Index("ix_chunks_tsv", "tsv", postgresql_using="gin"),
    )


class ChunkVector(Base):
    """A chunk's embedding, in a row narrow enough to stay in line."""

    __tablename__ = "chunk_vectors"

    chunk_id: Mapped[UUID] = mapped_column(
        ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str]
    document_id: Mapped[UUID]
    generation: Mapped[int]
    model: Mapped[str]
    embedding: Mapped[Any] = mapped_column(Vector(DIMENSIONS))

    __table_args__ = (
        Index("ix_chunk_vectors_document_id", "document_id", "generation"),
        Index(
            "ix_chunk_vectors_embedding",
            "embedding",
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "vector_cosine_ops"},
        ),
    )


class ApiKey(Base):
    """A key, as a keyed hash: the key itself is shown once and stored nowhere."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[str]
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    key_hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    rate_limit_per_minute: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """A POST that was seen: its fingerprint and, once finished, its response."""

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    status_code: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    # A process that died in mid-request frees the key after this moment.
    locked_until: Mapped[datetime]
