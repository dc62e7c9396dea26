"""The search of messages despite row-level security: it uses the index and stays in the tenant."""

import unicodedata
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.conversations import message_index, messages, sessions
from core.db import APP_ROLE, Database, alembic_config, make_engine, migrate
from core.db.paging import Page, PageRequest
from core.search.lexemes import query_of

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
    while message_index.index_new_messages(database, tenant_id="a"):
        pass
    message_index.index_pending(cast(Services, SimpleNamespace(database=database)))
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
def test_the_function_agrees_with_a_full_scan(
    filled: Database, q: str, user_id: str | None
) -> None:
    every = text(
        """
        SELECT m.id FROM messages m JOIN sessions s ON s.id = m.session_id
        CROSS JOIN (SELECT CAST(:wanted AS tsquery) AS wanted) AS sought
        WHERE m.tenant_id = 'a' AND s.user_id = coalesce(:user_id, s.user_id)
          AND numnode(wanted) > 0 AND m.tsv @@ wanted
        ORDER BY ts_rank(m.tsv, wanted, 1)::float8 DESC, m.id DESC
        """
    )
    with filled.transaction(tenant_id=None) as db:
        expected = list(db.scalars(every, {"wanted": query_of(q), "user_id": user_id}))
    found = search(filled, q, user_id)
    assert found.total == len(expected)
    assert [hit.message.id for hit in found.items] == expected[:30]


@pytest.mark.parametrize(
    ("q", "total"),
    [
        ("common", 400),
        ("common odd", 400),
        ("common -odd", 200),
        ("-odd", 200),
        ('"common u1"', 200),
        ('"u1 common"', 0),
        ("n7", 20),
        ("n1 n2", 40),
        ("comm", 400),
        ("comm ", 0),
        ("!&|", 0),
        ("", 0),
    ],
)
def test_the_syntax_of_queries(filled: Database, q: str, total: int) -> None:
    assert search(filled, q, None).total == total


def test_messages_with_all_of_the_words_come_first(filled: Database) -> None:
    found = search(filled, "n7 odd u1", None).items
    assert {"n7", "odd", "u1"} <= set(found[0].message.content.split())


@pytest.fixture(scope="module")
def spoken(new_database: Callable[[], str]) -> Iterator[Database]:
    """Messages with everyday words and codes."""
    database = Database(make_engine(new_database(), pool_size=2))
    with database.transaction(tenant_id="a") as db:
        session = sessions.create_session(db, tenant_id="a", user_id="ann")
        for content in SPOKEN:
            messages.append_message(
                db, tenant_id="a", session_id=session.id, sender="user", content=content
            )
    yield database
    database.engine.dispose()


SPOKEN = (
    "The rollout of ISO-9241 failed with ERR-5120 on Friday.",
    "Please check the inlet/outlet valve 3.",
    "We parsed the naïve façade.",
    "Printing labels is slow",
    "東京駅の時刻表を見る。",
    "write to kim.lee@mail.example",
    "IT wondered who pays.",
    "long ago " * 60 + "the otter swam by the jetty " + "and then " * 60,
)


@pytest.mark.parametrize(
    ("q", "held"),
    [
        ("5120", "ERR-5120"),
        ("ERR 5120", "ERR-5120"),
        ("err5120", "ERR-5120"),
        ("ISO 9241", "ISO-9241"),
        ("outlet", "inlet/outlet"),
        ("label", "labels"),
        ("parse", "parsed"),
        ("facade", "façade"),
        (unicodedata.normalize("NFD", "façade"), "façade"),
        ("時刻", "時刻表"),
        ("mail.example", "kim.lee@mail.example"),
        ("kim.lee@mail.example", "kim.lee@mail.example"),
        ("rollo", "rollout"),
        ("IT", "IT wondered"),
    ],
)
def test_a_message_is_found_whatever_the_spelling(spoken: Database, q: str, held: str) -> None:
    message_index.index_new_messages(spoken, tenant_id="a")
    found = search(spoken, q, None).items
    assert any(held in hit.message.content for hit in found)
    assert held in found[0].message.content


def test_a_snippet_shows_the_match_in_its_surroundings(spoken: Database) -> None:
    message_index.index_new_messages(spoken, tenant_id="a")
    (long,) = search(spoken, "otters", None).items
    assert "the otter swam by the jetty" in long.snippet
    assert long.snippet.startswith("… ")
    assert long.snippet.endswith(" …")
    assert len(long.snippet) < 250
    (short,) = search(spoken, "wondered", None).items
    assert short.snippet == short.message.content


def test_a_changed_message_is_found_by_its_new_words(spoken: Database) -> None:
    with spoken.transaction(tenant_id="a") as db:
        session = sessions.create_session(db, tenant_id="a", user_id="bob")
        made = messages.append_message(
            db, tenant_id="a", session_id=session.id, sender="user", content="a heron waits"
        )
    assert message_index.index_new_messages(spoken, tenant_id="a") > 0
    assert search(spoken, "herons", None).total == 1
    with spoken.transaction(tenant_id="a") as db:
        change = text("UPDATE messages SET content = 'a puffin waits' WHERE id = :id")
        db.execute(change, {"id": made.id})
    services = cast(Services, SimpleNamespace(database=spoken))
    assert message_index.index_pending(services) == 1
    assert search(spoken, "herons", None).total == 0
    assert search(spoken, "puffins", None).total == 1
    assert message_index.index_pending(services) == 0


def test_a_message_that_is_not_cut_yet_is_found_by_its_plain_words(spoken: Database) -> None:
    with spoken.transaction(tenant_id="a") as db:
        session = sessions.create_session(db, tenant_id="a", user_id="eve")
        messages.append_message(
            db, tenant_id="a", session_id=session.id, sender="user", content="a lynx slept"
        )
    assert search(spoken, "slept lynx", None).total == 1
    message_index.index_new_messages(spoken, tenant_id="a")
    assert search(spoken, "slept lynx", None).total == 1


def test_the_index_serves_the_search(filled: Database) -> None:
    """EXPLAIN does not show a function's plan; the transaction's counts of scans do."""
    page = PageRequest(limit=5)
    with filled.transaction(tenant_id="a") as db:
        # PostgreSQL would read so few rows without the index.
        db.execute(text("SET LOCAL enable_seqscan = off"))
        by_index, sequential = scans(db)
        found = messages.search_messages(db, tenant_id="a", q="n7", page=page)
        assert scans(db) == (by_index + 1, sequential)
    assert found.total == 20


def test_the_index_skips_messages_of_other_tenants(filled: Database) -> None:
    """Otherwise a word that is common in other tenants would make every search slow."""
    page = PageRequest(limit=5)
    with filled.transaction(tenant_id="a") as db:
        db.execute(text("SET LOCAL enable_seqscan = off"))
        before = matches(db)
        found = messages.search_messages(db, tenant_id="a", q="common", page=page)
        assert matches(db) - before == found.total == 400


def matches(db: Session) -> int:
    """The rows that the full-text index has returned in this transaction."""
    given = text("SELECT pg_stat_get_xact_tuples_returned('ix_messages_words'::regclass)")
    return db.execute(given).scalar_one()


def scans(db: Session) -> tuple[int, int]:
    """The scans of the full-text index and of the whole table in this transaction."""
    numbers = db.execute(
        text(
            "SELECT pg_stat_get_xact_numscans('ix_messages_words'::regclass),"
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


def test_only_the_role_may_call_the_owner_s_functions(filled: Database) -> None:
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
    """Uses the schema's function, because the code's statements need the current columns."""
    with database.transaction(tenant_id=tenant) as db:
        statement = "SELECT count(*) FROM messages_with(websearch_to_tsquery('simple', :q), :user)"
        return int(db.scalar(text(statement), {"q": q, "user": user_id}) or 0)


def has_function(database: Database) -> bool:
    with database.transaction(tenant_id=None) as db:
        found = db.scalar(text("SELECT count(*) FROM pg_proc WHERE proname = 'messages_with'"))
    return bool(found)
