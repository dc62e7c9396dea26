"""search at scale: halfvec, tenants in the full-text index, term statistics"""

import sqlalchemy as sa
from alembic import op

from core.db import APP_ROLE
from core.settings import get_settings

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOST_INDEXED = 2000  # dimensions of a `vector` in an HNSW index; a halfvec's are 4000
TSV = "to_tsvector('english'::regconfig, context || ' ' || text)"
TENANT = "array_to_tsvector(ARRAY[chr(1) || tenant_id])"

# `@@` is not leakproof, so under row-level security no index can serve it
# (PostgreSQL manual, 5.9 and 39.5). This function runs as its owner and binds
# itself to the tenant of the transaction instead.
CHUNKS_WITH = r"""
CREATE FUNCTION chunks_with(wanted tsquery, most bigint)
RETURNS TABLE (id uuid, document_id uuid, generation integer, tsv tsvector)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT c.id, c.document_id, c.generation, c.tsv
    FROM chunks c
    WHERE c.tenant_id = current_setting('app.tenant_id', true)
      AND c.tsv @@ (lexeme_query(chr(1) || current_setting('app.tenant_id', true)) && wanted)
    LIMIT most
$$
"""
# tsquery's text form, PostgreSQL manual 8.11.2: quoted, quotes and backslashes doubled.
LEXEME_QUERY = r"""
CREATE FUNCTION lexeme_query(lexeme text) RETURNS tsquery
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery
$$
"""


def upgrade() -> None:
    op.drop_index("ix_chunk_vectors_embedding", table_name="chunk_vectors", if_exists=True)
    _set_vector_type("halfvec")
    _index_vectors("halfvec_cosine_ops")
    _set_tsv(f"{TSV} || {TENANT}")
    op.create_table(
        "term_statistics",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("lexeme", sa.Text(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "lexeme", name=op.f("pk_term_statistics")),
    )
    _secure("term_statistics")
    op.execute(LEXEME_QUERY)
    op.execute(CHUNKS_WITH)
    op.execute("REVOKE EXECUTE ON FUNCTION chunks_with(tsquery, bigint) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION chunks_with(tsquery, bigint) TO {APP_ROLE}")


def downgrade() -> None:
    op.execute("DROP FUNCTION chunks_with(tsquery, bigint)")
    op.execute("DROP FUNCTION lexeme_query(text)")
    op.drop_table("term_statistics")
    _set_tsv(TSV)
    op.drop_index("ix_chunk_vectors_embedding", table_name="chunk_vectors")
    _set_vector_type("vector")
    if get_settings().embedding_dimensions <= MOST_INDEXED:
        _index_vectors("vector_cosine_ops")


def _index_vectors(operators: str) -> None:
    op.create_index(
        "ix_chunk_vectors_embedding",
        "chunk_vectors",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": operators},
    )


def _set_vector_type(name: str) -> None:
    sized = f"{name}({get_settings().embedding_dimensions})"
    op.execute(
        f"ALTER TABLE chunk_vectors ALTER COLUMN embedding TYPE {sized} USING embedding::{sized}"
    )
    # A change of type resets it; the first schema says why it is MAIN.
    op.execute("ALTER TABLE chunk_vectors ALTER COLUMN embedding SET STORAGE MAIN")


def _set_tsv(expression: str) -> None:
    """A generated column's expression can only be changed in place since PostgreSQL 17."""
    op.drop_index("ix_chunks_tsv", table_name="chunks")
    op.drop_column("chunks", "tsv")
    op.execute(
        f"ALTER TABLE chunks ADD COLUMN tsv tsvector GENERATED ALWAYS AS ({expression}) STORED"
    )
    op.create_index("ix_chunks_tsv", "chunks", ["tsv"], postgresql_using="gin")


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
