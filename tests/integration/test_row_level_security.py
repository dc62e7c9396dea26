"""Row-level security: statements without WHERE see no row of another tenant in any table."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import CheckConstraint, Column, Connection, ForeignKeyConstraint, Table, text
from sqlalchemy.exc import ProgrammingError

from core.db import APP_ROLE, Database, make_engine
from core.db.models import Base

CANARY = "canary of tenant b"
EVERY_TABLE = sorted(Base.metadata.tables.values(), key=lambda table: table.name)
WITH_TENANT = [table for table in EVERY_TABLE if "tenant_id" in table.columns]


@pytest.fixture(scope="module")
def filled(new_database: Callable[[], str]) -> Iterator[Database]:
    """A row of tenant b in every table, without the tables' other constraints."""
    database = Database(make_engine(new_database(), pool_size=2))
    with database.engine.begin() as connection:
        for table in WITH_TENANT:
            _drop_constraints(connection, table)
        # Erasures come last, because during an erasure no rows of the user are accepted.
        for table in sorted(WITH_TENANT, key=lambda table: table.name == "erasures"):
            connection.execute(table.insert(), _row(table))
    yield database
    database.engine.dispose()


def _drop_constraints(connection: Connection, table: Table) -> None:
    for constraint in table.constraints:
        if isinstance(constraint, CheckConstraint | ForeignKeyConstraint):
            name = f'"{constraint.name}"'
            connection.execute(text(f"ALTER TABLE {table.name} DROP CONSTRAINT IF EXISTS {name}"))


def _row(table: Table) -> dict[str, Any]:
    values = {c.key: _value(c) for c in table.columns if c.computed is None and c.identity is None}
    return {**values, "tenant_id": "b"}


def _value(column: Column[Any]) -> Any:
    kind = str(column.type).split("(")[0]
    if kind in {"VECTOR", "HALFVEC"}:
        return [0.5] * column.type.dim
    by_kind: dict[str, Any] = {
        "TEXT": CANARY,
        "UUID": uuid4(),
        "BOOLEAN": True,
        "INTEGER": 1,
        "BIGINT": 1,
        "SMALLINT": 1,
        "TSVECTOR": CANARY.replace(" ", "_"),
        "JSONB": {"text": CANARY},
        "BYTEA": CANARY.encode(),
        "BLOB": CANARY.encode(),
        "ARRAY": {"TEXT": [CANARY], "UUID": [uuid4()]}.get(
            str(getattr(column.type, "item_type", "")), [1]
        ),
    }
    if kind.startswith("TIMESTAMP"):
        return datetime.now(UTC)
    return by_kind["ARRAY" if kind.endswith("[]") else kind]


def test_every_table_of_the_database_has_a_tenant_or_is_the_migrations(filled: Database) -> None:
    with filled.engine.begin() as connection:
        found = connection.execute(
            text(
                "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class"
                " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            )
        ).all()
    assert {name for name, locked in found if not locked} == {"alembic_version"}
    assert {name for name, locked in found if locked} == {table.name for table in WITH_TENANT}


@pytest.mark.parametrize("table", WITH_TENANT, ids=lambda table: table.name)
def test_without_a_where_other_tenants_rows_are_invisible(filled: Database, table: Table) -> None:
    assert _count(filled, table, tenant="b") in {1, None}
    assert _count(filled, table, tenant="a") in {0, None}
    assert _count(filled, table, tenant="") in {0, None}
    assert _count(filled, table, tenant=None) in {0, None}
    with filled.transaction(tenant_id=None) as db:
        assert db.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one() == 1


def _count(database: Database, table: Table, *, tenant: str | None) -> int | None:
    """The rows that the application's role sees; None if it may not read the table."""
    try:
        if tenant is not None:
            with database.transaction(tenant_id=tenant) as db:
                return int(db.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one())
        with database.transaction(tenant_id=None) as db:
            db.execute(text(f"SET LOCAL ROLE {APP_ROLE}"))
            return int(db.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one())
    except ProgrammingError as error:
        return _refused(error)


def _refused(error: ProgrammingError) -> None:
    assert "permission denied" in str(error)


@pytest.mark.parametrize("table", WITH_TENANT, ids=lambda table: table.name)
@pytest.mark.parametrize("statement", ["UPDATE {} SET tenant_id = 'a'", "DELETE FROM {}"])
def test_other_tenants_rows_cannot_be_changed(
    filled: Database, table: Table, statement: str
) -> None:
    try:
        with filled.transaction(tenant_id="a") as db:
            done: Any = db.execute(text(statement.format(table.name)))
            assert done.rowcount == 0
    except ProgrammingError as error:
        _refused(error)
    with filled.transaction(tenant_id=None) as db:
        kept = db.execute(text(f"SELECT tenant_id FROM {table.name}")).scalars().all()
    assert kept == ["b"]


@pytest.mark.parametrize("table", WITH_TENANT, ids=lambda table: table.name)
def test_no_row_can_be_written_for_another_tenant(filled: Database, table: Table) -> None:
    row = _row(table) | {key.key: _another(key) for key in table.primary_key}
    with (
        pytest.raises(ProgrammingError, match=r"row-level security|permission denied"),
        filled.transaction(tenant_id="a") as db,
    ):
        db.execute(table.insert(), row | {"tenant_id": "b"})


def _another(column: Column[Any]) -> Any:
    value = _value(column)
    if isinstance(value, UUID):
        return value
    return f"other {value}" if isinstance(value, str) else value + 1


def test_only_the_tables_of_keys_are_closed_to_the_role(filled: Database) -> None:
    """Only the service reads keys. A tenant reads its own rows of all other tables."""
    closed = {table.name for table in WITH_TENANT if _count(filled, table, tenant="b") is None}
    assert closed <= {"api_keys"}
