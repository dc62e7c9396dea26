"""The schema's version: runs migrations, and checks that the database has them all."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url  # not an option, which would expand `%` in passwords
    return config


def migrate(url: str) -> None:
    """Bring the schema of `url` to this code's version. Safe to run from several hosts at once."""
    command.upgrade(alembic_config(url), "head")


def schema_is_current(db: Session) -> bool:
    """Whether the database has exactly the migrations that this code knows."""
    heads = set(ScriptDirectory(str(MIGRATIONS)).get_heads())
    return set(MigrationContext.configure(db.connection()).get_current_heads()) == heads
