"""The vectors in the HNSW index, and searches that find vectors not yet in it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import numpy as np
import pytest
from alembic import command
from sqlalchemy import text

from bench.scale import add_document
from core.bootstrap import Services
from core.db import Database, alembic_config, make_engine, migrate
from core.embedding.base import Vectors
from core.search import candidates, term_statistics, vector_index
from tests.integration.library import PER_DOCUMENT, Library, unit_vectors

SIZES = {"large": 6, "small": 1}  # documents of each tenant


@pytest.fixture
def services(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Services]:
    """Services for which a tenant of more than 100 chunks is large."""
    for module, name, value in (
        (candidates, "FULL_SCAN_MAX_CHUNKS", 0),
        (candidates, "EXACT_KNN_MAX_CHUNKS", 100),
        (vector_index, "EXACT_KNN_MAX_CHUNKS", 100),
        (vector_index, "BATCH", 50),
        (term_statistics, "FULL_SCAN_MAX_CHUNKS", 0),
    ):
        monkeypatch.setattr(module, name, value)
    database = Database(make_engine(new_database(), pool_size=4))
    yield cast(Services, SimpleNamespace(database=database))
    database.engine.dispose()


def fill(services: Services, *, indexed: bool = False) -> dict[UUID, Vectors]:
    """Documents of both tenants; the large one's vectors by document."""
    rng = np.random.default_rng(5)
    made: dict[UUID, Vectors] = {}
    for tenant, count in SIZES.items():
        for number in range(count):
            vectors = unit_vectors(rng)
            document_id = add_document(
                services.database,
                f"{number}",
                tenant=tenant,
                owner="ann",
                texts=["stone bridge"] * PER_DOCUMENT,
                vectors=vectors,
                indexed=indexed,
            )
            if tenant == "large":
                made[document_id] = vectors
    term_statistics.refresh(services)
    return made


def counts(services: Services) -> dict[str, tuple[int, int]]:
    """For each tenant the number of vectors in the index, and of all vectors."""
    found = text(
        "SELECT tenant_id, count(*) FILTER (WHERE indexed), count(*)"
        " FROM chunk_vectors GROUP BY tenant_id"
    )
    with services.database.transaction(tenant_id=None) as db:
        return {row[0]: (row[1], row[2]) for row in db.execute(found)}


def find(services: Services, vector: Vectors, **reach: Any) -> set[tuple[str, int]]:
    library = Library(services.database, {}, {})
    found = library.find(tenant="large", vector=vector, **reach)
    best = [one for one in found if (one.vector_rank or 99) <= 10]
    return {(one.document_id, one.ordinal % 100_000) for one in best}


def nearest(vectors: dict[UUID, Vectors], vector: Vectors) -> set[tuple[str, int]]:
    scored = [
        (float(likeness), str(document_id), number)
        for document_id, own in vectors.items()
        for number, likeness in enumerate(own @ vector[0])
    ]
    return {(document_id, number) for _, document_id, number in sorted(scored)[-10:]}


def test_a_large_tenants_vectors_are_put_in_and_a_small_ones_are_not(services: Services) -> None:
    fill(services)
    assert counts(services) == {"large": (0, 300), "small": (0, 50)}
    assert vector_index.catch_up(services) == 300
    assert counts(services) == {"large": (300, 300), "small": (0, 50)}
    assert vector_index.catch_up(services) == 0


def test_new_vectors_of_a_large_tenant_are_indexed_at_once(services: Services) -> None:
    fill(services)
    with services.database.transaction(tenant_id=None) as db:
        assert vector_index.is_wanted(db, tenant_id="large")
        assert not vector_index.is_wanted(db, tenant_id="small")
        assert not vector_index.is_wanted(db, tenant_id="unheard of")


def test_one_call_stops_at_its_time_limit(services: Services) -> None:
    fill(services)
    assert vector_index.catch_up(services, max_seconds=0) == 0
    assert counts(services)["large"] == (0, 300)


def test_several_may_catch_up_at_once(services: Services) -> None:
    fill(services)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: vector_index.catch_up(services), range(4)))
    assert sum(done) == 300
    assert counts(services)["large"] == (300, 300)


@pytest.mark.parametrize("user_id", [None, "ann"])
@pytest.mark.parametrize("batches", [0, 2, 9])
def test_the_nearest_are_found_in_the_index_and_outside(
    services: Services, batches: int, user_id: str | None
) -> None:
    vectors = fill(services)
    for _ in range(batches):
        vector_index._put_in(services, "large")
    assert counts(services)["large"][0] == min(50 * batches, 300)
    rng = np.random.default_rng(9)
    for _ in range(5):
        vector = unit_vectors(rng)[:1]
        assert find(services, vector, user_id=user_id) == nearest(vectors, vector)


def test_an_upgrade_puts_large_tenants_vectors_in(new_database: Callable[[], str]) -> None:
    url = new_database()
    services = cast(Services, SimpleNamespace(database=Database(make_engine(url, pool_size=1))))
    fill(services)
    with services.database.transaction(tenant_id=None) as db:
        db.execute(text("UPDATE documents SET chunk_count = 3334 WHERE tenant_id = 'large'"))
    command.downgrade(alembic_config(url), "0005")
    migrate(url)
    assert counts(services) == {"large": (300, 300), "small": (0, 50)}
    services.database.engine.dispose()
