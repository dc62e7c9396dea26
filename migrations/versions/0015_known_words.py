"""documents: words that a line end breaks, as other pages write them"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A default in the database: a worker of the release before may still write.
    column = sa.Column("known_words", sa.ARRAY(sa.Text()), server_default="{}", nullable=False)
    op.add_column("documents", column)


def downgrade() -> None:
    op.drop_column("documents", "known_words")
