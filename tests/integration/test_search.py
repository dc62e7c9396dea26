"""Candidates under every filter: by a full scan, by the indexes, with and without statistics."""

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any
from uuid import UUID

import numpy as np
import psycopg2
import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import ProgrammingError

import core.db
from bench.scale import add_document
from core.db import Database, make_engine, migrate
from core.db.models import Document
from core.embedding.base import Vectors
from core.search import candidates, term_statistics
from core.search.candidates import Candidate, find_candidates
from core.search.reach import Reach
from core.settings import get_settings
from tests.conftest import create_empty_database
from tests.integration.library import ODD_TENANT, PER_DOCUMENT, Library, texts_of, unit_vectors


@pytest.fixture(params=["read", "indexes", "statistics"])
def way(request: pytest.FixtureRequest, library: Library, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to search, regardless of the number of chunks."""
    with library.database.transaction(tenant_id=None) as db:
        db.execute(text("TRUNCATE term_statistics, tenant_statistics"))
    if request.param != "read":
        for name in ("FULL_SCAN_MAX_CHUNKS", "EXACT_KNN_MAX_CHUNKS"):
            monkeypatch.setattr(candidates, name, 0)
    if request.param == "statistics":
        monkeypatch.setattr(term_statistics, "FULL_SCAN_MAX_CHUNKS", 0)
        assert term_statistics.refresh(library.services) == 3
    return str(request.param)


def nearest(library: Library, vector: Vectors, ids: list[UUID], *, count: int) -> set[str]:
    """The hits of an exact comparison: file name and number of the chunk."""
    scored = [
        (float(similarity), f"{number}", document_id)
        for document_id in ids
        for number, similarity in enumerate(library.vectors[document_id] @ vector[0])
    ]
    best = sorted(scored, reverse=True)[:count]
    return {f"{document_id} {number}" for _, number, document_id in best}


def named(found: Candidate) -> str:
    return f"{found.document_id} {found.ordinal % 100_000}"


@pytest.mark.parametrize("tenant", ["a", ODD_TENANT])
def test_a_search_finds_the_nearest_in_reach(library: Library, way: str, tenant: str) -> None:
    rng = np.random.default_rng(3)
    for ids, reach in (
        (library.documents[tenant], {}),
        (library.documents[tenant][:2], {"user_id": "ann"}),
        (library.documents[tenant][2:], {"document_ids": library.documents[tenant][2:]}),
    ):
        vector = rng.normal(size=(1, 384)).astype(np.float32)
        vector /= np.linalg.norm(vector)
        found = library.find(tenant=tenant, vector=vector, **reach)
        ranked = sorted(found, key=lambda one: one.vector_rank or 0)
        assert len(found) == min(candidates.CANDIDATES, PER_DOCUMENT * len(ids))
        expected = nearest(library, vector, ids, count=10)
        assert {named(one) for one in ranked[:10]} == expected
        scores = [one.vector_score or 0.0 for one in ranked]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("tenant", ["a", ODD_TENANT])
def test_a_word_is_found_in_reach_and_nowhere_else(library: Library, way: str, tenant: str) -> None:
    found = library.find("Where is alphaword7 common?", tenant=tenant)
    best = min(found, key=lambda one: one.text_rank or 99)
    assert named(best) == f"{library.documents[tenant][0]} 7"
    assert best.text_score == pytest.approx(max(one.text_score or 0 for one in found))
    assert {one.document_id for one in found} <= {str(one) for one in library.documents[tenant]}
    assert library.find("gammaword7", tenant=tenant, user_id="ann") == []
    assert library.find("alphaword7", tenant="nobody") == []


def test_common_words_alone_find_something(library: Library, way: str) -> None:
    assert len(library.find("common water")) == candidates.CANDIDATES
    assert len(library.find("common")) == candidates.CANDIDATES


@pytest.mark.parametrize("query", ["zyzzyva common water", "zyzzyva common", "alphaword7 common"])
def test_a_word_that_is_not_in_reach_hides_no_other(
    library: Library, way: str, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(candidates, "RARE_TERM_BUDGET", 10)
    monkeypatch.setattr(candidates, "EXACT_KNN_MAX_CHUNKS", 20_000)
    assert len(library.find(query)) >= 2 * candidates.RARE_TERM_BUDGET
    assert len(library.find(query, user_id="bob")) == PER_DOCUMENT


@pytest.mark.parametrize("query", ["alphaword7 common", ""])
def test_an_empty_reach_finds_nothing(library: Library, way: str, query: str) -> None:
    vector = library.vectors[library.documents["a"][0]][:1]
    assert library.find(query, vector=vector, user_id="newcomer") == []
    assert library.find(query, user_id="newcomer") == []


@pytest.mark.parametrize("user_id", [None, "ann"])
def test_chunks_of_another_generation_are_not_in_reach(
    library: Library, way: str, user_id: str | None
) -> None:
    document_id = library.documents["a"][0]
    vector = library.vectors[document_id][:1]

    def switch(generation: int) -> None:
        with library.database.transaction(tenant_id=None) as db:
            db.execute(
                update(Document).where(Document.id == document_id).values(generation=generation)
            )

    switch(2)
    try:
        found = library.find("alphaword7 common", vector=vector, user_id=user_id)
    finally:
        switch(1)
    assert found
    assert str(document_id) not in {one.document_id for one in found}


def test_a_search_of_the_whole_tenant_reads_no_list_of_documents(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "FULL_SCAN_MAX_CHUNKS", 0)
    monkeypatch.setattr(candidates, "EXACT_KNN_MAX_CHUNKS", 0)
    monkeypatch.setattr(term_statistics, "FULL_SCAN_MAX_CHUNKS", 0)
    term_statistics.refresh(library.services)
    assert times_listed(library, user_id=None) == 0
    assert times_listed(library, user_id="ann") == 1


def times_listed(library: Library, *, user_id: str | None) -> int:
    """How often PostgreSQL computes the list of documents in reach."""
    vector = library.vectors[library.documents["a"][0]][:1]
    values = candidates.reach_values(Reach("a", user_id, None, None))
    values |= candidates._query_values("alphaword7 common", vector, "hybrid") | {"most": 40}
    explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {candidates._SEARCH.text}")
    with library.database.transaction(tenant_id="a") as db:
        (plan,) = db.execute(explained, values).scalar_one()
    (listing,) = [node for node in plan["Plan"]["Plans"] if node.get("Subplan Name") == "CTE live"]
    return int(listing["Actual Loops"])


def test_rare_means_rare_in_reach(
    library: Library, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gammakind` is in 50 of the tenant's 150 chunks, all of which are bob's."""
    monkeypatch.setattr(candidates, "RARE_TERM_BUDGET", 20)
    vector = library.vectors[library.documents["a"][2]][:1]
    found = library.find("alphaword7 gammakind", vector=vector, user_id="bob")
    assert sum(one.text_rank is not None for one in found) == PER_DOCUMENT


def test_a_rare_word_outweighs_a_common_one(library: Library, way: str) -> None:
    with library.database.transaction(tenant_id="a") as db:
        reach = Reach("a", None, None, None)
        found = find_candidates(
            db, reach=reach, query="alphaword7 common", vector=None, mode="text"
        )
    assert found.weights is not None
    assert found.weights["alphaword7"] > 3 * found.weights["common"] > 0


def test_words_are_weighted_by_the_chunks_in_reach(
    library: Library, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a small part of the tenant's chunks, the tenant's statistics would be misleading."""
    monkeypatch.setattr(candidates, "EXACT_KNN_MAX_CHUNKS", 20_000)
    reach = Reach("a", None, None, library.documents["a"][2:])
    found = find_candidates(
        library.database.autocommit(tenant_id="a"),
        reach=reach,
        query="gammaword7 gammakind",
        vector=None,
        mode="text",
    )
    assert found.weights is not None
    assert found.weights["gammaword7"] == pytest.approx(math.log(1 + 49.5 / 1.5))
    assert found.weights["gammakind"] < 0.2  # 1.1 by the tenant's statistics


def test_each_candidate_has_both_scores(library: Library, way: str) -> None:
    vector = library.vectors[library.documents["a"][1]][4:5]
    found = library.find("alphaword7 betaword4", vector=vector)
    assert all(one.vector_score is not None and one.text_score is not None for one in found)
    assert all(one.vector_rank or one.text_rank for one in found)
    best = next(one for one in found if one.vector_rank == 1)
    assert best.vector_score == pytest.approx(1, abs=0.001)
    assert (best.text_score or 0) > 0.2


def test_the_most_promising_candidates_are_kept(library: Library, way: str) -> None:
    vector = library.vectors[library.documents["a"][1]][4:5]
    reach = Reach("a", None, None, None)

    def found(most: int) -> list[Candidate]:
        with library.database.transaction(tenant_id="a") as db:
            return find_candidates(
                db, reach=reach, query="alphaword7 common", vector=vector, mode="hybrid", most=most
            ).items

    def promise(one: Candidate) -> float:
        return (one.vector_score or 0) + 0.4 * (one.text_score or 0)

    everything, kept = found(2 * candidates.CANDIDATES), found(7)
    assert len(everything) > candidates.CANDIDATES
    assert {one.vector_rank is None for one in everything} == {True, False}
    assert {one.text_rank is None for one in everything} == {True, False}
    best = sorted(everything, key=promise, reverse=True)[:7]
    assert [promise(one) for one in kept] == pytest.approx([promise(one) for one in best])


@pytest.mark.parametrize("query", ["", "the of and", "'", "\\ ' & | ! :* <->", "a\\'b"])
def test_queries_without_words_find_nothing(library: Library, way: str, query: str) -> None:
    assert library.find(query) == []


def test_too_few_hits_of_the_index_cause_an_exact_search(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest of the whole table are another user's, so the index alone finds none."""
    monkeypatch.setattr(candidates, "EXACT_KNN_MAX_CHUNKS", 0)
    monkeypatch.setattr(
        core.db.engine, "SEARCH_OPTIONS", "-c hnsw.ef_search=10 -c hnsw.iterative_scan=off"
    )
    url = library.database.engine.url.render_as_string(hide_password=False)
    hurried = Library(Database(make_engine(url)), library.documents, library.vectors)
    vector = library.vectors[library.documents["b"][0]][:1]
    found = hurried.find(vector=vector, tenant="a")
    hurried.database.engine.dispose()
    ranked = sorted(found, key=lambda one: one.vector_rank or 0)[:10]
    expected = nearest(library, vector, library.documents["a"], count=10)
    assert {named(one) for one in ranked} == expected


def test_the_function_that_looks_words_up_is_bound_to_the_tenant(library: Library) -> None:
    call = text("SELECT count(*) FROM chunks_with('common', NULL)")
    for tenant, expected in (("a", 3 * PER_DOCUMENT), ("nobody", 0), ("", 0), (None, 0)):
        with library.database.transaction(tenant_id=tenant) as db:
            assert db.scalar(call) == expected
    with library.database.transaction(tenant_id=None) as db:
        db.execute(text("CREATE ROLE passer_by"))
        db.execute(text("GRANT passer_by TO CURRENT_USER"))
        db.execute(text("SET LOCAL ROLE passer_by"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            db.scalar(call)
        db.rollback()


def test_embeddings_of_3072_dimensions_have_their_index(
    postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    monkeypatch.setenv("EMBEDDING_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("EMBEDDING_MODEL", "wide")
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", "3072")
    get_settings.cache_clear()
    url = create_empty_database(postgres_server)
    try:
        migrate(url)
    finally:
        get_settings.cache_clear()
    engine = make_engine(url)
    with engine.begin() as connection:
        found = connection.execute(
            text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_chunk_vectors_embedding'")
        ).scalar_one()
    engine.dispose()
    assert "halfvec_cosine_ops" in found


def test_after_half_is_deleted_each_tenant_still_finds_its_nearest(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses the index, whose graph the deleted rows connected."""
    monkeypatch.setattr(candidates, "EXACT_KNN_MAX_CHUNKS", 0)
    url, rng = new_database(), np.random.default_rng(11)
    library = Library(Database(make_engine(url, pool_size=1)), {"a": [], "b": []}, {})
    for number in range(40):
        tenant, vectors = "ab"[number % 2], unit_vectors(rng)
        texts = texts_of(f"{number}", rng)
        document_id = add_document(
            library.database, f"{number}", tenant=tenant, owner="ann", texts=texts, vectors=vectors
        )
        library.vectors[document_id] = vectors
        library.documents[tenant].append(document_id)
    delete_every_other(library, url)
    for tenant, ids in library.documents.items():
        hits = 0
        for vector in unit_vectors(rng)[:20, None]:
            found = library.find(tenant=tenant, vector=vector)
            assert len(found) == candidates.CANDIDATES
            best = {named(one) for one in found if (one.vector_rank or 99) <= 10}
            hits += len(best & nearest(library, vector, ids, count=10))
        assert hits / 200 >= 0.95
    library.database.engine.dispose()


def delete_every_other(library: Library, url: str) -> None:
    for ids in library.documents.values():
        gone, ids[:] = ids[::2], ids[1::2]
        with library.database.transaction(tenant_id=None) as db:
            db.execute(delete(Document).where(Document.id.in_(gone)))
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE chunk_vectors")
