"""documents: how each page was read, page labels, notes, the reader's version"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

JSONB = postgresql.JSONB(astext_type=sa.Text())
READINGS = "reading IN ('text', 'ocr', 'scan', 'unreadable')"

# Defaults in the database: a worker of the release before may still write while this one starts.
COLUMNS = {
    "documents": [
        sa.Column("page_labels", JSONB, server_default="[]", nullable=False),
        sa.Column("pages_unreadable", sa.ARRAY(sa.Integer()), server_default="{}", nullable=False),
        sa.Column("pages_ocr", sa.ARRAY(sa.Integer()), server_default="{}", nullable=False),
        sa.Column("notes", JSONB, server_default="[]", nullable=False),
        sa.Column("reader_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("reader_ocr", sa.Text(), server_default="", nullable=False),
    ],
    "document_pages": [
        sa.Column("reading", sa.Text(), server_default="text", nullable=False),
        sa.Column("notes", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("words", JSONB, nullable=True),
    ],
    "chunks": [sa.Column("page_label", sa.Text(), nullable=True)],
}


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns:
            op.add_column(table, column)
    op.create_check_constraint("reading", "document_pages", READINGS)


def downgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns:
            op.drop_column(table, column.name)
