"""The pool's connections: BEGIN and tenant in one message, which affects no later transaction."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError

from core.db import Database, count_changed, make_engine
from core.errors import Unavailable
from core.settings import Settings
from launcher.servers import start_postgres
from tests.conftest import NOWHERE_POSTGRES

WHO = text("SELECT current_user, current_setting('app.tenant_id', true)")


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """A pool of one connection, so that the next transaction would see anything left over."""
    database = Database(make_engine(settings.database_url, pool_size=1))
    yield database
    database.engine.dispose()


@pytest.mark.parametrize("tenant", ["a", "it's", 'x"y', "100%", "%(id)s %s", "\\'; DROP", "ünï🦊"])
def test_a_transaction_is_bound_to_its_tenant_of_any_name(database: Database, tenant: str) -> None:
    for _ in range(2):
        with database.transaction(tenant_id=tenant) as db:
            assert db.execute(WHO).one() == ("rag_app", tenant)
            assert db.execute(text("SELECT :x, 1 % 2"), {"x": "%s"}).one() == ("%s", 1)
        with database.transaction(tenant_id=None) as db:
            user, bound = db.execute(WHO).one()
            assert (user, bound or None) == ("rag", None)


def test_a_failure_is_rolled_back_and_the_next_transaction_is_bound(database: Database) -> None:
    for statement in ("SELECT * FROM nothing", "SELEC", "SELECT 1/0"):
        with pytest.raises(DBAPIError, match=r"nothing|SELEC|zero"):
            _run(database, "SELECT 1", statement)
        with pytest.raises(DBAPIError, match=r"nothing|SELEC|zero"):
            _run(database, statement)
        with database.transaction(tenant_id="b") as db:
            assert db.execute(WHO).one() == ("rag_app", "b")


def test_a_rollback_leaves_no_transaction(database: Database) -> None:
    insert = text(
        "INSERT INTO sessions (id, tenant_id, user_id, is_favorite, metadata, message_count)"
        " VALUES (:id, 'a', 'u', false, '{}', 0)"
    )
    ids = ["00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"]
    for values in ({"id": ids[0]}, [{"id": id_} for id_ in ids]):  # executemany is another way
        with pytest.raises(DBAPIError):
            _insert(database, insert, values, then="SELECT 1/0")
    with database.transaction(tenant_id="a"):
        pass
    with database.transaction(tenant_id=None) as db:
        assert db.execute(text("SELECT count(*) FROM sessions")).scalar_one() == 0
    with database.transaction(tenant_id="a") as db:
        db.execute(insert, [{"id": id_} for id_ in ids])
    with database.transaction(tenant_id="b") as db:
        assert db.execute(text("SELECT count(*) FROM sessions")).scalar_one() == 0
    with database.transaction(tenant_id=None) as db:
        assert db.execute(text("SELECT count(*) FROM sessions")).scalar_one() == 2


def _insert(database: Database, insert: Any, values: Any, *, then: str) -> None:
    with database.transaction(tenant_id="a") as db:
        db.execute(insert, values)
        db.execute(text(then))


def _ping(database: Database) -> None:
    with database.transaction(tenant_id=None) as db:
        db.execute(text("SELECT 1"))


def _run(database: Database, *statements: str) -> None:
    with database.transaction(tenant_id="a") as db:
        for statement in statements:
            db.execute(text(statement))


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_the_first_request_after_a_restart_works(tmp_path: Path, how: str) -> None:
    server = start_postgres(tmp_path / "postgres", durable=False)
    url = server.url.replace("postgresql://", "postgresql+psycopg2://", 1)
    database = Database(make_engine(url, pool_size=4))
    try:
        for _ in range(3):
            _ping(database)
        server.stop(how)
        server.start()
        for _ in range(5):
            _ping(database)
    finally:
        database.engine.dispose()
        server.stop("immediate")


def test_a_connection_that_was_cut_is_replaced(database: Database) -> None:
    with database.transaction(tenant_id=None) as db:
        pid = db.execute(text("SELECT pg_backend_pid()")).scalar_one()
    killer = Database(make_engine(str(database.engine.url.render_as_string(False)), pool_size=1))
    with killer.transaction(tenant_id=None) as db:
        assert db.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)")).scalar_one()
    killer.engine.dispose()
    with database.transaction(tenant_id=None) as db:
        assert db.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid


@pytest.mark.parametrize("tenant", ["a", "it's", "100%", "%(x)s", "\\'; DROP", "ünï🦊", None])
def test_a_single_statement_is_bound_to_its_tenant(database: Database, tenant: str | None) -> None:
    expected = ("rag", "") if tenant is None else ("rag_app", tenant)
    both = text("SELECT current_user, coalesce(current_setting('app.tenant_id', true), ''), :x")
    for _ in range(2):
        found = database.autocommit(tenant_id=tenant).execute(both, {"x": "%s"})
        assert found.one_or_none() == (*expected, "%s")
        with database.transaction(tenant_id=None) as db:
            assert (db.execute(WHO).one()[1] or None) is None


def test_a_single_statement_is_committed_or_rolled_back(database: Database) -> None:
    insert = text(
        "INSERT INTO sessions (id, tenant_id, user_id, is_favorite, metadata, message_count)"
        " VALUES (:id, 'a', 'u', false, '{}', 1 / :divisor) RETURNING id"
    )
    id_ = "00000000-0000-7000-8000-000000000001"
    with pytest.raises(psycopg2.Error, match="zero"):
        database.autocommit(tenant_id="a").execute(insert, {"id": id_, "divisor": 0})
    with pytest.raises(psycopg2.Error, match="row-level security"):
        database.autocommit(tenant_id="b").execute(insert, {"id": id_, "divisor": 1})
    assert len(database.autocommit(tenant_id="a").execute(insert, {"id": id_, "divisor": 1})) == 1
    other = Database(make_engine(database.engine.url.render_as_string(False), pool_size=1))
    count = text("SELECT count(*) FROM sessions WHERE true = :yes")
    assert other.autocommit(tenant_id="a").execute(count, {"yes": True}) == [(1,)]
    assert other.autocommit(tenant_id="b").execute(count, {"yes": True}) == [(0,)]
    other.engine.dispose()


def test_a_single_statement_is_one_message(database: Database) -> None:
    """PostgreSQL's view shows the statement as the last message, and no COMMIT."""
    own, query = (
        text("SELECT pg_backend_pid(), :x"),
        text("SELECT query FROM pg_stat_activity WHERE pid = :pid"),
    )
    ((pid, _),) = database.autocommit(tenant_id="a").execute(own, {"x": "here it is"})
    other = Database(make_engine(database.engine.url.render_as_string(False), pool_size=1))
    ((sent,),) = other.autocommit(tenant_id=None).execute(query, {"pid": pid})
    other.engine.dispose()
    assert "set_config('app.tenant_id', 'a', true)" in sent
    assert "here it is" in sent


@pytest.mark.parametrize("how", ["pg_terminate_backend(pg_backend_pid())", "pg_sleep(0.5)"])
def test_a_single_statement_on_a_cut_connection_is_unavailable(
    database: Database, how: str
) -> None:
    alone = database.autocommit(tenant_id=None)
    alone.execute(text("SELECT set_config('statement_timeout', :ms, false)"), {"ms": "100"})
    with pytest.raises(Unavailable):
        alone.execute(text(f"SELECT {how}, :x"), {"x": "1"})
    assert database.autocommit(tenant_id="a").execute(text("SELECT :x"), {"x": "1"}) == [("1",)]


def test_a_single_statement_is_planned_once_per_role(database: Database) -> None:
    count = text("SELECT count(*) FROM sessions WHERE user_id = :user_id")
    plans = text(
        "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE :like"
    )
    with database.transaction(tenant_id="a") as db:
        db.execute(
            text(
                "INSERT INTO sessions"
                " (id, tenant_id, user_id, is_favorite, metadata, message_count)"
                " VALUES (gen_random_uuid(), 'a', 'u', false, '{}', 0)"
            )
        )
    for tenant, seen in (("a", 1), ("b", 0), (None, 1), ("b", 0), ("a", 1)):
        assert database.autocommit(tenant_id=tenant).execute(count, {"user_id": "u"}) == [(seen,)]
    assert database.autocommit(tenant_id=None).execute(plans, {"like": "%count(*)%"}) == [(5,)]


def test_a_statement_that_cannot_be_prepared_is_tried_again(database: Database) -> None:
    count = text("SELECT count(*) FROM later WHERE true = :yes")
    with pytest.raises(psycopg2.Error, match="later"):
        database.autocommit(tenant_id=None).execute(count, {"yes": True})
    with database.transaction(tenant_id=None) as db:
        db.execute(text("CREATE TABLE later ()"))
    try:
        assert database.autocommit(tenant_id=None).execute(count, {"yes": True}) == [(0,)]
    finally:
        with database.transaction(tenant_id=None) as db:
            db.execute(text("DROP TABLE later"))


def test_plain_statements_without_a_server_are_unavailable() -> None:
    nowhere = Database(make_engine(NOWHERE_POSTGRES.replace("://", "+psycopg2://"), pool_size=1))
    with pytest.raises(Unavailable):
        nowhere.autocommit(tenant_id="a").execute(text("SELECT :x"), {"x": 1})
    with pytest.raises(Unavailable), nowhere.plain_transaction(tenant_id="a"):
        pass


@pytest.mark.parametrize("tenant", ["a", "it's", "100%", "%(x)s", "\\'; DROP", "ünï🦊", None])
def test_a_plain_transaction_is_bound_to_its_tenant(database: Database, tenant: str | None) -> None:
    expected = ("rag", "") if tenant is None else ("rag_app", tenant)
    both = text("SELECT current_user, coalesce(current_setting('app.tenant_id', true), ''), :x")
    for _ in range(2):
        with database.plain_transaction(tenant_id=tenant) as db:
            assert db.execute(both, {"x": "%s"}).one() == (*expected, "%s")
            assert db.execute(both, {"x": "100%"}).first() == (*expected, "100%")
            assert db.scalar(text("SELECT 5 % 3 WHERE true = :yes"), {"yes": True}) == 2
        with database.transaction(tenant_id=None) as db:
            assert (db.execute(WHO).one()[1] or None) is None


def _run_plain(
    database: Database,
    *statements: tuple[TextClause, dict[str, Any]],
    tenant_id: str | None = "a",
) -> None:
    with database.plain_transaction(tenant_id=tenant_id) as db:
        for statement, values in statements:
            db.execute(statement, values)


def test_a_plain_transaction_is_committed_or_rolled_back(database: Database) -> None:
    count = text("SELECT count(*) FROM sessions WHERE tenant_id = :tenant_id")
    insert = text(
        "INSERT INTO sessions (id, tenant_id, user_id, is_favorite, metadata, message_count)"
        " VALUES (gen_random_uuid(), :tenant_id, 'u', false, '{}', 1 / :divisor)"
    )
    rename = text("UPDATE sessions SET user_id = 'v' WHERE tenant_id = :tenant_id")
    values = {"tenant_id": "a", "divisor": 1}
    for error, then in (
        (psycopg2.errors.DivisionByZero, {"divisor": 0}),
        (psycopg2.errors.InsufficientPrivilege, {"tenant_id": "b"}),
    ):
        with pytest.raises(error):
            _run_plain(database, (insert, values), (insert, values | then))
    with pytest.raises(KeyError):
        _run_plain(database, (insert, values), (insert, {}))
    with database.plain_transaction(tenant_id="a") as db:
        assert db.scalar(count, values) == 0
        assert db.execute(insert, values) == []
        db.execute(insert, values)
        assert count_changed(db.execute(rename, values)) == 2
    other = Database(make_engine(database.engine.url.render_as_string(False), pool_size=1))
    for tenant, seen in (("a", 2), ("b", 0)):
        with other.plain_transaction(tenant_id=tenant) as db:
            assert db.scalar(count, values) == seen
    other.engine.dispose()


@pytest.mark.parametrize("how", ["pg_terminate_backend(pg_backend_pid())", "pg_sleep(0.5)"])
def test_a_plain_transaction_on_a_cut_connection_is_unavailable(
    database: Database, how: str
) -> None:
    limit = text("SELECT set_config('statement_timeout', :ms, true)"), {"ms": "100"}
    with pytest.raises(Unavailable):
        _run_plain(database, limit, (text(f"SELECT {how}, :x"), {"x": "1"}), tenant_id=None)
    with database.plain_transaction(tenant_id="a") as db:
        assert db.execute(text("SELECT :x"), {"x": "1"}).one() == ("1",)
