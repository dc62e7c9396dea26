"""The check of given ids and a search agree on the documents in reach."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from bench.scale import add_document
from core.bootstrap import Services
from core.conversations import sessions
from core.db import Database, make_engine
from core.db.models import new_id
from core.errors import NotFound
from core.search import candidates, retrieval
from core.search.candidates import find_candidates
from core.search.reach import IN_REACH, Reach, resolve_reach

OWNERS = (None, "ann", "bob")


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(make_engine(new_database(), pool_size=2))
    yield database
    database.engine.dispose()


@pytest.fixture(scope="module")
def session_ids(database: Database) -> list[UUID | None]:
    """None and two sessions. Two tenants have a document for each owner in each of them."""
    ids: list[UUID | None] = [None]
    with database.transaction(tenant_id=None) as db:
        ids += [sessions.create_session(db, tenant_id="a", user_id="ann").id for _ in range(2)]
    vector = np.eye(1, 384, dtype=np.float32)
    for tenant in ("a", "b"):
        for owner in OWNERS:
            for number, session_id in enumerate(ids):
                name = f"{tenant}-{owner}-{number}"
                made = add_document(
                    database, name, tenant=tenant, owner="", texts=["common"], vectors=vector
                )
                attach = (
                    "UPDATE documents SET user_id = :owner, session_id = :session WHERE id = :id"
                )
                with database.transaction(tenant_id=None) as db:
                    db.execute(text(attach), {"owner": owner, "session": session_id, "id": made})
    return ids


@pytest.mark.parametrize("most_read", [candidates.FULL_SCAN_MAX_CHUNKS, 0])
@pytest.mark.parametrize("user_id", [*OWNERS, "newcomer"])
@pytest.mark.parametrize("attached", [0, 1, 2])
def test_a_search_reads_the_same_documents_that_may_be_named(
    database: Database,
    session_ids: list[UUID | None],
    monkeypatch: pytest.MonkeyPatch,
    attached: int,
    user_id: str | None,
    most_read: int,
) -> None:
    monkeypatch.setattr(candidates, "FULL_SCAN_MAX_CHUNKS", most_read)
    session_id = session_ids[attached]
    asked = {"tenant_id": "a", "user_id": user_id, "session_id": session_id}
    with database.transaction(tenant_id=None) as db:
        found = db.scalars(text(f"SELECT id FROM documents WHERE {IN_REACH}"), asked)
        named = {str(id_) for id_ in found}
    searched = find_candidates(
        database.autocommit(tenant_id="a"),
        reach=Reach("a", user_id, session_id, None),
        query="common",
        vector=None,
        mode="text",
    )
    assert {one.document_id for one in searched.items} == named
    owned = 0 if user_id not in ("ann", "bob") else 3
    expected = 9 if user_id is None and not attached else 1 + owned + 3 * bool(attached)
    assert len(named) == expected - bool(owned and attached)


def test_a_resolved_reach_is_not_resolved_again(
    database: Database, session_ids: list[UUID | None]
) -> None:
    """`find_in_reach` reads no session and checks no document again."""
    services = cast(Services, SimpleNamespace(database=database, reranker=None))
    asked = Reach("a", None, session_ids[1], None)
    with database.transaction(tenant_id="a") as db:
        reach = resolve_reach(db, asked)
    assert reach.user_id == "ann"
    found = retrieval.find_in_reach(services, reach=reach, query="common", top_k=50, mode="text")
    passages = retrieval.search(
        services, tenant_id="a", session_id=asked.session_id, query="common", top_k=50, mode="text"
    )
    assert found.passages == passages
    unknown = replace(reach, session_id=new_id())
    assert retrieval.find_in_reach(services, reach=unknown, query="common", mode="text").passages


def test_a_document_out_of_reach_is_not_found(
    database: Database, session_ids: list[UUID | None]
) -> None:
    """Each document of both tenants may be named exactly if the session's owner may see it."""
    with database.transaction(tenant_id=None) as db:
        rows = db.execute(text("SELECT id, tenant_id, user_id, session_id FROM documents")).all()
        for id_, tenant, owner, attached in rows:
            seen = tenant == "a" and (
                owner == "ann" or attached == session_ids[1] or (owner is None and attached is None)
            )
            asked = Reach("a", None, session_ids[1], [id_])
            if seen:
                assert resolve_reach(db, asked).document_ids == [id_]
            else:
                with pytest.raises(NotFound):
                    resolve_reach(db, asked)
