"""Alembic's entry point: runs the migrations under one advisory lock."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from core.db import check_pooler
from core.db.models import Base
from core.settings import get_settings

ADVISORY_LOCK = 0x7261675F  # any fixed number: two hosts starting at once migrate one by one


def run() -> None:
    url = context.config.attributes.get("url") or get_settings().database_url
    check_pooler(url)
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        context.run_migrations()


run()
