"""jobs: whose turn serves them; page ranges: numbered by their first page"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from core.db import APP_ROLE

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLE = "last_served"
MOMENT = postgresql.TIMESTAMP(timezone=True)
OPEN = sa.text("state IN ('queued', 'running')")


def upgrade() -> None:
    # Jobs that are open now share one place in the turns of their tenant.
    op.add_column("jobs", sa.Column("person", sa.Text(), server_default="shared", nullable=False))
    op.add_column(
        "jobs", sa.Column("finish_by", MOMENT, server_default=sa.text("now()"), nullable=False)
    )
    op.add_column("jobs", sa.Column("page_ms", sa.Integer(), nullable=True))
    op.drop_index("ix_jobs_open", table_name="jobs")
    op.drop_column("jobs", "served_at")
    columns = ["tenant_id", "person", "finish_by", "id"]
    op.create_index("ix_jobs_open", "jobs", columns, postgresql_where=OPEN)
    op.add_column(
        "page_ranges",
        sa.Column("queued_at", MOMENT, server_default=sa.text("now()"), nullable=False),
    )
    # In two steps, since a number may be another range's first page.
    op.execute("UPDATE page_ranges SET number = -first_page WHERE number > 0")
    op.execute("UPDATE page_ranges SET number = -number WHERE number < 0")
    create_last_served()


def create_last_served() -> None:
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("served_at", MOMENT, nullable=False),
        sa.Column("newcomer", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person", name=op.f("pk_last_served")),
    )
    op.create_index("ix_last_served_recent", TABLE, ["served_at"])
    # Row-level security, as the first schema has it.
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
    tenant = "tenant_id = current_setting('app.tenant_id', true)"
    op.execute(
        f"CREATE POLICY tenant ON {TABLE} TO {APP_ROLE} USING ({tenant}) WITH CHECK ({tenant})"
    )
    op.execute(f"CREATE POLICY service ON {TABLE} TO CURRENT_USER USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO {APP_ROLE}")


def downgrade() -> None:
    op.drop_table(TABLE)
    op.drop_column("page_ranges", "queued_at")
    op.drop_index("ix_jobs_open", table_name="jobs")
    for name in ("person", "finish_by", "page_ms"):
        op.drop_column("jobs", name)
    op.add_column("jobs", sa.Column("served_at", MOMENT, nullable=True))
    op.create_index("ix_jobs_open", "jobs", ["served_at", "id"], postgresql_where=OPEN)
