"""live answers: chunks of a running answer, attempts, alternatives, feedback, active turns"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from core.db import APP_ROLE

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSONB = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    op.add_column("sessions", sa.Column("active_message_id", sa.UUID(), nullable=True))
    op.add_column("sessions", _flag("title_is_automatic"))
    for column in (
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("error", JSONB, nullable=True),
        sa.Column("feedback", JSONB, nullable=True),
        sa.Column("alternatives", sa.ARRAY(sa.UUID()), server_default="{}", nullable=False),
        _flag("superseded"),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("turn_options", JSONB, nullable=True),
    ):
        op.add_column("messages", column)
    _allow_statuses("'in_progress', 'complete', 'interrupted', 'failed'")
    op.drop_constraint("uq_messages_session_id_position", "messages", type_="unique")
    op.create_index(
        "uq_messages_session_id_position",
        "messages",
        ["session_id", "position"],
        unique=True,
        postgresql_where=sa.text("NOT superseded"),
    )
    op.create_index(
        "ix_messages_superseded",
        "messages",
        ["reply_to"],
        postgresql_where=sa.text("superseded"),
    )
    op.create_table(
        "answer_chunks",
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_answer_chunks_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", "attempt", "number", name=op.f("pk_answer_chunks")),
    )
    op.create_table(
        "answer_contexts",
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_answer_contexts_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_answer_contexts")),
    )
    for table in ("answer_chunks", "answer_contexts"):
        _secure(table)


def downgrade() -> None:
    op.drop_table("answer_contexts")
    op.drop_table("answer_chunks")
    op.execute("DELETE FROM messages WHERE superseded")
    op.drop_index("ix_messages_superseded", table_name="messages")
    op.drop_index("uq_messages_session_id_position", table_name="messages")
    op.create_unique_constraint(
        "uq_messages_session_id_position", "messages", ["session_id", "position"]
    )
    op.execute("UPDATE messages SET status = 'interrupted' WHERE status = 'in_progress'")
    _allow_statuses("'complete', 'interrupted', 'failed'")
    for name in ("turn_options", "attempt", "superseded", "alternatives", "feedback", "error"):
        op.drop_column("messages", name)
    op.drop_column("messages", "finish_reason")
    op.drop_column("sessions", "title_is_automatic")
    op.drop_column("sessions", "active_message_id")


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)


def _allow_statuses(listed: str) -> None:
    op.drop_constraint(op.f("ck_messages_status"), "messages", type_="check")
    op.create_check_constraint(op.f("ck_messages_status"), "messages", f"status IN ({listed})")


def _secure(table: str) -> None:
    """Row-level security, as the first schema has it."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    tenant = "tenant_id = current_setting('app.tenant_id', true)"
    op.execute(
        f"CREATE POLICY tenant ON {table} TO {APP_ROLE} USING ({tenant}) WITH CHECK ({tenant})"
    )
    op.execute(f"CREATE POLICY service ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APP_ROLE}")
