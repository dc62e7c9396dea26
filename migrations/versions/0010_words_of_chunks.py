"""words of chunks: the service writes the full-text index's words, not PostgreSQL's parser"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

GENERATED = (
    "to_tsvector('english'::regconfig, context || ' ' || text)"
    " || array_to_tsvector(ARRAY[chr(1) || tenant_id])"
)


def upgrade() -> None:
    # Rewrites no row: what PostgreSQL's parser made stays, and is searched as before, until
    # the worker has cut the chunk again (core.search.word_index).
    op.execute("ALTER TABLE chunks ALTER COLUMN tsv DROP EXPRESSION")
    op.add_column(
        "chunks",
        sa.Column("words_version", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.create_index(
        "ix_chunks_old_words",
        "chunks",
        ["tenant_id"],
        postgresql_where=sa.text("words_version = 0"),
    )


def downgrade() -> None:
    """Rewrites the table. A column's expression can only be added in place since 17."""
    op.drop_index("ix_chunks_old_words", table_name="chunks")
    op.drop_column("chunks", "words_version")
    op.drop_index("ix_chunks_tsv", table_name="chunks")
    op.drop_column("chunks", "tsv")
    op.execute(
        f"ALTER TABLE chunks ADD COLUMN tsv tsvector GENERATED ALWAYS AS ({GENERATED}) STORED"
    )
    op.create_index("ix_chunks_tsv", "chunks", ["tsv"], postgresql_using="gin")
