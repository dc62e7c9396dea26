"""The search of messages past row-level security: by the index, and never past the tenant."""

from collections.abc import Callable, Iterator

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.conversations import messages
from core.db import APP_ROLE, Database, alembic_config, make_engine, migrate
from core.db.paging import Page, PageRequest

# In each tenant 10 sessions of each of the users u0 and u1, 20 messages in each session.
FILL = """
    WITH made AS (
        INSERT INTO sessions (id, tenant_id, user_id, is_favorite, metadata, message_count)
        SELECT gen_random_uuid(), tenant, 'u' || n % 2, false, '{}', 20
        FROM unnest(ARRAY['a', 'b']) AS tenant, generate_series(1, 20) AS n
        RETURNING id, tenant_id, user_id
    )
    INSERT INTO messages (id, tenant_id, session_id, position, sender, content,
                          context_metadata, retrieved_context, status)
    SELECT gen_random_uuid(), tenant_id, id, n, 'user',
           concat_ws(' ', 'common', user_id, tenant_id || 'word', 'n' || n,
                     repeat('odd ', n % 2 * n)),
           '{}', '[]', 'complete'
    FROM made, generate_series(1, 20) AS n
"""
QUERIES = ("common", "common odd", "n7", '"common u1"', "common -odd", "-odd", "n1 or n2", "!&|")
CALL = text("SELECT count(*) FROM messages_with(to_tsquery('simple', :q), :user_id)")


@pytest.fixture(scope="module")
def filled(new_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(make_engine(new_database(), pool_size=2))
    with database.transaction(tenant_id=None) as db:
        db.execute(text(FILL))
    yield database
    database.engine.dispose()


def search(database: Database, q: str, user_id: str | None) -> Page[messages.MessageHit]:
    return messages.search_messages(
        database.autocommit(tenant_id="a"),
        tenant_id="a",
        q=q,
        page=PageRequest(limit=30),
        user_id=user_id,
    )


@pytest.mark.parametrize("user_id", [None, "u1", "nobody"])
@pytest.mark.parametrize("q", QUERIES)
def test_the_function_finds_what_reading_every_message_finds(
    filled: Database, q: str, user_id: str | None
) -> None:
    document = "to_tsvector('simple', m.content)"
    every = text(
        f"""
        SELECT m.id FROM messages m JOIN sessions s ON s.id = m.session_id
        CROSS JOIN websearch_to_tsquery('simple', :q) AS wanted
        WHERE m.tenant_id = 'a' AND s.user_id = coalesce(:user_id, s.user_id)
          AND {document} @@ wanted
        ORDER BY ts_rank({document}, wanted, 1)::float8 DESC, m.id DESC
        """
    )
    with filled.transaction(tenant_id=None) as db:
        expected = list(db.scalars(every, {"q": q, "user_id": user_id}))
    found = search(filled, q, user_id)
    assert found.total == len(expected)
    assert [hit.message.id for hit in found.items] == expected[:30]


def test_the_index_serves_the_search(filled: Database) -> None:
    """EXPLAIN does not look into a function; the transaction's counts of scans do."""
    page = PageRequest(limit=5)
    with filled.transaction(tenant_id="a") as db:
        # So few rows are read faster without an index, if that can be chosen.
        db.execute(text("SET LOCAL enable_seqscan = off"))
        by_index, sequential = scans(db)
        found = messages.search_messages(db, tenant_id="a", q="n7", page=page)
        assert scans(db) == (by_index + 1, sequential)
    assert found.total == 20


def test_the_index_passes_over_what_other_tenants_said(filled: Database) -> None:
    """Else a word that is common among theirs would cost whoever seeks it among a few."""
    page = PageRequest(limit=5)
    with filled.transaction(tenant_id="a") as db:
        db.execute(text("SET LOCAL enable_seqscan = off"))
        before = matches(db)
        found = messages.search_messages(db, tenant_id="a", q="common", page=page)
        assert matches(db) - before == found.total == 400


def matches(db: Session) -> int:
    """How many the full-text index has given; counted within a transaction."""
    given = text("SELECT pg_stat_get_xact_tuples_returned('ix_messages_search'::regclass)")
    return db.execute(given).scalar_one()


def scans(db: Session) -> tuple[int, int]:
    """By the full-text index and of the whole table; counted within a transaction."""
    numbers = db.execute(
        text(
            "SELECT pg_stat_get_xact_numscans('ix_messages_search'::regclass),"
            " pg_stat_get_xact_numscans('messages'::regclass)"
        )
    ).one()
    return numbers[0], numbers[1]


@pytest.mark.parametrize("user_id", [None, "u1"])
def test_another_tenant_s_messages_are_never_found(filled: Database, user_id: str | None) -> None:
    own = 400 if user_id is None else 200
    cases: tuple[tuple[str | None, str, int], ...] = (
        ("a", "aword", own),
        ("a", "bword", 0),
        ("a", "common", own),
        ("b", "aword", 0),
        ("nobody", "common", 0),
        ("", "common", 0),
        (None, "common", 0),
    )
    for tenant, q, expected in cases:
        with filled.transaction(tenant_id=tenant) as db:
            assert db.scalar(CALL, {"q": q, "user_id": user_id}) == expected, (tenant, q)


def test_the_role_alone_may_call_what_runs_as_the_owner(filled: Database) -> None:
    functions = text(
        "SELECT proname, has_function_privilege(:role, oid, 'EXECUTE')"
        " FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    with filled.transaction(tenant_id=None) as db:
        for role, allowed in (("public", False), (APP_ROLE, True)):
            rows = db.execute(functions, {"role": role}).all()
            assert {tuple(row) for row in rows} == {
                ("chunks_with", allowed),
                ("messages_with", allowed),
            }


def test_the_migrations_can_be_undone_and_done_again(new_database: Callable[[], str]) -> None:
    url = new_database()
    database = Database(make_engine(url, pool_size=1))
    with database.transaction(tenant_id=None) as db:
        db.execute(text(FILL))
    command.downgrade(alembic_config(url), "0004")
    assert count_found(database, "n7", "u1") == 10
    command.downgrade(alembic_config(url), "0003")
    assert not has_function(database)
    migrate(url)
    assert search(database, "n7", "u1").total == 10
    database.engine.dispose()


def count_found(database: Database, q: str, user_id: str, tenant: str = "a") -> int:
    """By the schema's own function: the statements of this code need its present columns."""
    with database.transaction(tenant_id=tenant) as db:
        statement = "SELECT count(*) FROM messages_with(websearch_to_tsquery('simple', :q), :user)"
        return int(db.scalar(text(statement), {"q": q, "user": user_id}) or 0)


def has_function(database: Database) -> bool:
    with database.transaction(tenant_id=None) as db:
        found = db.scalar(text("SELECT count(*) FROM pg_proc WHERE proname = 'messages_with'"))
    return bool(found)
