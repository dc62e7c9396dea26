"""PostgreSQL: engine, transactions, pages of rows, models, schema version."""

from core.db.engine import make_engine
from core.db.poolers import check_pooler
from core.db.schema import alembic_config, migrate, schema_is_current
from core.db.transactions import (
    APP_ROLE,
    Database,
    Executor,
    PlainTransaction,
    SingleStatement,
    Transaction,
    count_changed,
)

__all__ = [
    "APP_ROLE",
    "Database",
    "Executor",
    "PlainTransaction",
    "SingleStatement",
    "Transaction",
    "alembic_config",
    "check_pooler",
    "count_changed",
    "make_engine",
    "migrate",
    "schema_is_current",
]
