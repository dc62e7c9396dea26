"""Sessions, messages, and the texts, passages, vectors and traces of answers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    ForeignKey,
    Index,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, query_expression

from core.db.models.base import DIMENSIONS, MESSAGE_STATUSES, SENDERS, Base, new_id, one_of


class ChatSession(Base):
    """A conversation. `message_count` is also the counter that gives messages their positions."""

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
    # The answer in progress. After a process has died, it may still be set: the message's lease
    # tells whether a process still writes the answer.
    active_message_id: Mapped[UUID | None]
    title_is_automatic: Mapped[bool] = mapped_column(default=False, server_default=false())
    # How well the title fits a search; None outside of one.
    title_rank: Mapped[int | None] = query_expression()

    __table_args__ = (
        Index("ix_sessions_recent", "tenant_id", "active_at", "id"),
        Index("ix_sessions_user_recent", "tenant_id", "user_id", "active_at", "id"),
    )


class Message(Base):
    """One message. An assistant's `reply_to` is the user's message it answers.

    `superseded` marks an earlier answer to the same question: lists leave it out, and it
    shares its position with the current answer. `turn_options` are the chat options of an
    answer, for `retry` and `regenerate`. `attempt` counts how often writing the answer began: a
    writer with an outdated attempt changes no row.
    """

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
    # The search vector of `content`; None until core.conversations.message_index computes it.
    tsv: Mapped[str | None] = mapped_column(TSVECTOR, deferred=True)
    # Set while the answer is being written; the writer renews it. Afterwards it counts as dead.
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finish_reason: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]
    feedback: Mapped[dict[str, Any] | None]
    alternatives: Mapped[list[UUID]] = mapped_column(default=list, server_default="{}")
    superseded: Mapped[bool] = mapped_column(default=False, server_default=false())
    attempt: Mapped[int] = mapped_column(default=1, server_default="1")
    turn_options: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index(
            "uq_messages_session_id_position",
            "session_id",
            "position",
            unique=True,
            postgresql_where=text("NOT superseded"),
        ),
        Index("ix_messages_superseded", "reply_to", postgresql_where=text("superseded")),
        one_of("sender", SENDERS),
        one_of("status", MESSAGE_STATUSES),
        Index(
            "ix_messages_lease",
            "lease_expires_at",
            postgresql_where=text("lease_expires_at IS NOT NULL"),
        ),
        # For messages without a `tsv`, see core.conversations.message_index.
        # left(): a tsvector is at most 1 MiB, and the insert of a longer text would fail.
        # The tenant is an additional lexeme: see docs/adr/0006.
        Index(
            "ix_messages_search",
            text(
                "(to_tsvector('simple'::regconfig, left(content, 100000))"
                " || array_to_tsvector(ARRAY[chr(1) || tenant_id]))"
            ),
            postgresql_using="gin",
            postgresql_where=text("tsv IS NULL AND content <> ''"),
        ),
        Index("ix_messages_words", "tsv", postgresql_using="gin"),
        Index(
            "ix_messages_uncut",
            "tenant_id",
            "id",
            postgresql_where=text("tsv IS NULL AND content <> ''"),
        ),
    )


class AnswerChunk(Base):
    """A piece of the text of an answer that is being written.

    About every 100 ms the writer inserts a row here, because that costs less than an update of
    the message's row and its full-text entry. When the answer ends, the text moves there.
    """

    __tablename__ = "answer_chunks"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    text: Mapped[str]


class AnswerContext(Base):
    """The `passages` and the `model` of the last attempt at an answer.

    The `retrieval` event of the answer's stream is made from it, as long as the message exists.
    """

    __tablename__ = "answer_contexts"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int]
    tenant_id: Mapped[str]
    data: Mapped[dict[str, Any]]


class MessageVector(Base):
    """The embedding of a user's message; NULL under a lease, or if the text is too short."""

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
        # The vectors need no index: a user has few rows, and they are searched exactly.
        Index("ix_message_vectors_user", "tenant_id", "user_id"),
        Index(
            "ix_message_vectors_lease",
            "lease_expires_at",
            postgresql_where=text("lease_expires_at IS NOT NULL"),
        ),
    )


class MessageTrace(Base):
    """An answer's trace: query, candidates, tokens and milliseconds."""

    __tablename__ = "message_traces"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str]
    data: Mapped[dict[str, Any]]
