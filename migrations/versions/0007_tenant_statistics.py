"""tenant statistics: a tenant's number of chunks in a table of its own"""

import sqlalchemy as sa
from alembic import op

from core.db import APP_ROLE

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE = "tenant_statistics"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_statistics")),
    )
    # Row-level security, as the first schema has it.
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
    tenant = "tenant_id = current_setting('app.tenant_id', true)"
    op.execute(
        f"CREATE POLICY tenant ON {TABLE} TO {APP_ROLE} USING ({tenant}) WITH CHECK ({tenant})"
    )
    op.execute(f"CREATE POLICY service ON {TABLE} TO CURRENT_USER USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO {APP_ROLE}")
    # The number was kept as the count of the lexeme that each of the tenant's chunks holds.
    op.execute(
        f"""
        WITH moved AS (
            DELETE FROM term_statistics WHERE lexeme = chr(1) || tenant_id
            RETURNING tenant_id, chunks
        )
        INSERT INTO {TABLE} (tenant_id, chunks) SELECT tenant_id, chunks FROM moved
        """
    )


def downgrade() -> None:
    op.execute(
        f"""
        INSERT INTO term_statistics (tenant_id, lexeme, chunks)
        SELECT tenant_id, chr(1) || tenant_id, chunks FROM {TABLE}
        """
    )
    op.drop_table(TABLE)
