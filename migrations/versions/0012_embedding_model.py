"""documents: the embedding model of their vectors"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A default: a worker of the release before may still write while this one starts.
    op.add_column(
        "documents", sa.Column("embedding_model", sa.Text(), server_default="", nullable=False)
    )
    op.execute(
        """
        UPDATE documents d SET embedding_model = (
            SELECT CASE WHEN min(model) = max(model) THEN min(model) ELSE '' END
            FROM chunk_vectors v WHERE v.document_id = d.id AND v.generation = d.generation
        ) WHERE generation > 0 AND EXISTS (
            SELECT FROM chunk_vectors v
            WHERE v.document_id = d.id AND v.generation = d.generation
        )
        """
    )
    op.create_index(
        "ix_documents_embedding_model",
        "documents",
        ["embedding_model"],
        postgresql_where=sa.text("generation > 0"),
    )


def downgrade() -> None:
    op.drop_index("ix_documents_embedding_model", table_name="documents")
    op.drop_column("documents", "embedding_model")
