"""memory and traces"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects import postgresql

from core.db import APP_ROLE
from core.settings import get_settings

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def secure(table: str) -> None:
    """Row-level security, as the first schema has it."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    tenant = "tenant_id = current_setting('app.tenant_id', true)"
    op.execute(
        f"CREATE POLICY tenant ON {table} TO {APP_ROLE} USING ({tenant}) WITH CHECK ({tenant})"
    )
    op.execute(f"CREATE POLICY service ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APP_ROLE}")


def upgrade() -> None:
    op.create_table(
        "message_vectors",
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.UUID(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("embedding", Vector(get_settings().embedding_dimensions), nullable=True),
        sa.Column("lease_expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_message_vectors_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_vectors")),
    )
    op.create_index(
        "ix_message_vectors_user", "message_vectors", ["tenant_id", "user_id"], unique=False
    )
    op.create_index(
        "ix_message_vectors_lease",
        "message_vectors",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("lease_expires_at IS NOT NULL"),
    )
    op.execute("ALTER TABLE message_vectors ALTER COLUMN embedding SET STORAGE MAIN")
    op.create_table(
        "message_traces",
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_message_traces_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_traces")),
    )
    op.add_column("chunks", sa.Column("page_break", sa.Integer(), nullable=True))
    for table in ("message_vectors", "message_traces"):
        secure(table)


def downgrade() -> None:
    op.drop_column("chunks", "page_break")
    op.drop_table("message_traces")
    op.drop_table("message_vectors")
