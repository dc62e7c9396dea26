"""erasures of users, and a trigger that refuses new rows of a user who is being erased"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from core.db import APP_ROLE

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)
JSONB = postgresql.JSONB(astext_type=sa.Text())

# The lock orders a writer of the user's rows before the beginning of the erasure or after it:
# each statement of the function has a snapshot of its own, the second one after the lock.
REFUSE = """
CREATE FUNCTION refuse_user_under_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        hashtextextended(NEW.tenant_id || chr(1) || NEW.user_id, 0)
    );
    IF EXISTS (
        SELECT FROM erasures WHERE tenant_id = NEW.tenant_id AND user_id = NEW.user_id
    ) THEN
        RAISE EXCEPTION 'the user is being erased' USING ERRCODE = 'RCS01';
    END IF;
    RETURN NEW;
END $$
"""
TRIGGER = """
CREATE TRIGGER refuse_user_under_erasure BEFORE INSERT ON {table} FOR EACH ROW
WHEN (NEW.user_id IS NOT NULL) EXECUTE FUNCTION refuse_user_under_erasure()
"""


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("counts", JSONB, server_default="{}", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.Column("settled_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_erasures_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_erasures")),
        sa.UniqueConstraint("tenant_id", "user_id", name=op.f("uq_erasures_tenant_id_user_id")),
    )
    op.create_table(
        "erasure_items",
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("storage_key", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["erasures.job_id"],
            name=op.f("fk_erasure_items_job_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "id", name=op.f("pk_erasure_items")),
    )
    for table in ("erasures", "erasure_items"):
        _secure(table)
    op.execute(REFUSE)
    for table in ("sessions", "documents"):
        op.execute(TRIGGER.format(table=table))


def downgrade() -> None:
    for table in ("sessions", "documents"):
        op.execute(f"DROP TRIGGER refuse_user_under_erasure ON {table}")
    op.execute("DROP FUNCTION refuse_user_under_erasure")
    op.drop_table("erasure_items")
    op.drop_table("erasures")


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
