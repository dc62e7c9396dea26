"""Sessions, messages, and what is kept of answers."""

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
from sqlalchemy.orm import Mapped, mapped_column

from core.db.models.base import DIMENSIONS, MESSAGE_STATUSES, SENDERS, Base, new_id, one_of


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
    # The answer that holds the session's turn. A dead process leaves it behind: the lease on
    # the message tells whether somebody still writes.
    active_message_id: Mapped[UUID | None]
    title_is_automatic: Mapped[bool] = mapped_column(default=False, server_default=false())

    __table_args__ = (
        Index("ix_sessions_recent", "tenant_id", "active_at", "id"),
        Index("ix_sessions_user_recent", "tenant_id", "user_id", "active_at", "id"),
    )


class Message(Base):
    """One message. An assistant's `reply_to` is the user's message it answers.

    `superseded` marks an earlier answer to the same question: lists leave it out, and it
    shares its position with the current answer. `turn_options` are the chat options of an
    answer, for `retry` and `regenerate`. `attempt` counts how often the answer was begun: a
    writer whose attempt is outdated changes no row.
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
    # The words of `content`; None until core.conversations.message_words has cut them.
    tsv: Mapped[str | None] = mapped_column(TSVECTOR, deferred=True)
    # While an answer is being written: a writer silent past this moment is dead.
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
        # For messages whose words are not cut yet, see core.conversations.message_words.
        # left(): a tsvector holds at most 1 MiB and a longer text would fail the insert.
        # With the tenant as one more lexeme: docs/adr/0006.
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

    A live answer appends here every 100 ms or so: an insert costs less than rewriting the
    message's row and its full-text entry. The text moves into the row when the answer ends.
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
    """What the last attempt at an answer was given: `passages` and the `model`.

    Its stream's `retrieval` event is read from here for as long as the message lives.
    """

    __tablename__ = "answer_contexts"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int]
    tenant_id: Mapped[str]
    data: Mapped[dict[str, Any]]


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
