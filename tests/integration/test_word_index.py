"""Codes and words under other spellings: found by search, before and after old chunks are cut."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from alembic import command
from sqlalchemy import text

from bench.scale import add_document
from core.bootstrap import Services
from core.db import Database, alembic_config, make_engine, migrate
from core.embedding.base import Vectors
from core.search import candidates, ranking, word_index
from core.search.candidates import find_candidates
from core.search.reach import Reach

EVERYTHING = Reach("a", None, None, None)
CODES = range(5000, 5090)
TEXTS = [f"Fault ERR-{code}: stop the press and check its feed." for code in CODES] + [
    "The inlet/outlet board follows ISO 9241 since v3.11.2.",
    "IT keeps the servers. The WHO recommends fresh air.",
    "They kept it, and who knows for how long they will.",
    "A total of 2,750,000 labels for the Straßencafé of Kim.",
    "東京駅の時刻表を見る。",
]


def vectors_of(count: int) -> Vectors:
    rng = np.random.default_rng(3)
    made = rng.normal(size=(count, 384)).astype(np.float32)
    normed: Vectors = made / np.linalg.norm(made, axis=1, keepdims=True)
    return normed


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(make_engine(new_database(), pool_size=2))
    add_document(
        database, "codes", tenant="a", owner="ann", texts=TEXTS, vectors=vectors_of(len(TEXTS))
    )
    yield database
    database.engine.dispose()


def found(database: Database, query: str, *, vector: Vectors | None = None) -> list[str]:
    mode: candidates.Mode = "text" if vector is None else "hybrid"
    db = database.autocommit(tenant_id="a")
    made = find_candidates(db, reach=EVERYTHING, query=query, vector=vector, mode=mode, most=40)
    scores = ranking.score(query, made.items, weights=made.weights, frequency=made.frequency)
    if mode == "text":
        scores = [one.text_score or 0.0 for one in made.items]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [made.items[index].text for index in order]


@pytest.mark.parametrize(
    ("query", "held"),
    [
        ("5043", "ERR-5043"),
        ("ERR 5043", "ERR-5043"),
        ("err5043", "ERR-5043"),
        ("ERR–5043", "ERR-5043"),
        ("What should I do about fault no. 5043?", "ERR-5043"),
        ("outlet", "inlet/outlet"),
        ("ISO9241", "ISO 9241"),
        ("3.11.2", "v3.11.2"),
        ("IT", "IT keeps"),
        ("What does the WHO recommend?", "WHO recommends"),
        ("2750000", "2,750,000"),
        ("strassencafe", "Straßencafé"),
        ("時刻", "時刻表"),
        ('"check its feed" 5050', "ERR-5050"),
    ],
)
@pytest.mark.parametrize("most_read", [candidates.FULL_SCAN_MAX_CHUNKS, 0])
def test_a_word_is_found_whatever_its_spelling(
    database: Database, monkeypatch: pytest.MonkeyPatch, query: str, held: str, most_read: int
) -> None:
    monkeypatch.setattr(candidates, "FULL_SCAN_MAX_CHUNKS", most_read)
    assert held in found(database, query)[0]


@pytest.mark.parametrize("form", ["{}", "ERR {}", "ERR{}", "How do I clear fault no. {}?"])
def test_the_exact_code_comes_first_whatever_the_vectors_say(database: Database, form: str) -> None:
    """The question has another chunk's vector, and too many chunks exist to read all."""
    for code in (5003, 5041, 5089):
        elsewhere = vectors_of(len(TEXTS))[code % 7 :][:1]
        best = found(database, form.format(code), vector=elsewhere)[0]
        assert f"ERR-{code}" in best


def test_old_chunks_are_found_before_and_after_they_are_cut_again(
    new_database: Callable[[], str],
) -> None:
    url = new_database()
    database = Database(make_engine(url, pool_size=2))
    add_document(
        database, "codes", tenant="a", owner="ann", texts=TEXTS, vectors=vectors_of(len(TEXTS))
    )
    command.downgrade(alembic_config(url), "0009")
    migrate(url)
    assert versions(database) == {0: len(TEXTS)}
    assert "inlet/outlet" in found(database, "outlet board")[0]
    assert "WHO recommends" in found(database, "recommends fresh air")[0]
    services = cast(Services, SimpleNamespace(database=database))
    assert word_index.catch_up(services, max_seconds=0) == 0
    assert word_index.catch_up(services) == len(TEXTS)
    assert versions(database) == {1: len(TEXTS)}
    assert "ERR-5043" in found(database, "err5043")[0]
    assert "inlet/outlet" in found(database, "outlet board")[0]
    assert word_index.catch_up(services) == 0
    database.engine.dispose()


def versions(database: Database) -> dict[int, int]:
    counted = text("SELECT words_version, count(*) FROM chunks GROUP BY 1")
    with database.transaction(tenant_id=None) as db:
        return {row[0]: row[1] for row in db.execute(counted)}
