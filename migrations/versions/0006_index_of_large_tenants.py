"""vector index: of tenants with many chunks alone"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEX = "ix_chunk_vectors_embedding"
# Fewer are compared exactly, docs/adr/0006.
EXACT_KNN_MAX_CHUNKS = 20_000


def upgrade() -> None:
    op.drop_index(INDEX, table_name="chunk_vectors")
    op.add_column(
        "chunk_vectors",
        sa.Column("indexed", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    # A graph that outgrows it is built many times slower.
    op.execute("SET LOCAL maintenance_work_mem = '256MB'")
    # Before the index is made: building it at once is faster than adding to it.
    op.execute(
        f"""
        UPDATE chunk_vectors SET indexed = true WHERE tenant_id IN (
            SELECT tenant_id FROM documents WHERE generation > 0
            GROUP BY tenant_id HAVING sum(chunk_count) > {EXACT_KNN_MAX_CHUNKS}
        )
        """
    )
    _index_vectors(where=sa.text("indexed"))
    op.create_index(
        "ix_chunk_vectors_waiting",
        "chunk_vectors",
        ["tenant_id"],
        postgresql_where=sa.text("NOT indexed"),
    )
    op.execute("ANALYZE chunk_vectors")


def downgrade() -> None:
    op.drop_index("ix_chunk_vectors_waiting", table_name="chunk_vectors")
    op.drop_index(INDEX, table_name="chunk_vectors")
    op.drop_column("chunk_vectors", "indexed")
    _index_vectors(where=None)


def _index_vectors(*, where: sa.TextClause | None) -> None:
    op.create_index(
        INDEX,
        "chunk_vectors",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
        postgresql_where=where,
    )
