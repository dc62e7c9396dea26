"""In-process services over real PostgreSQL, storage, parser and model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.answering.openai import OpenAIAnswerer, RetryPolicy
from core.bootstrap import Services, bootstrap
from core.db import Database, make_engine
from core.embedding import create_embedder
from core.embedding.base import Embedder
from core.pdf import PdfParser
from core.settings import Settings
from tests.fakes.llm_server import LLMServer
from tests.integration import steps
from tests.integration.library import Library, filled


@pytest.fixture(scope="session")
def embedder(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """The real local model, loaded once for all tests of a run."""
    settings = Settings(model_dir=model_dir)  # type: ignore[call-arg]  # the rest is in the environment
    return create_embedder(settings)


@pytest.fixture(scope="session")
def pdf_parser() -> Iterator[PdfParser]:
    """One parsing child for all tests that do not change its limits."""
    with PdfParser() as parser:
        yield parser


@pytest.fixture
def make_services(
    settings: Settings, embedder: Embedder, pdf_parser: PdfParser
) -> Iterator[Callable[..., Services]]:
    """Services on this test's database; keyword arguments change settings."""
    made: list[Services] = []

    def make(**overrides: object) -> Services:
        services = bootstrap(settings.model_copy(update=overrides))
        services.__dict__["embedder"] = embedder
        if not overrides.keys() & {"max_pages", "pdf_engine", "range_timeout_seconds"}:
            services.__dict__["pdf_parser"] = pdf_parser
        made.append(services)
        return services

    yield make
    for services in made:
        steps.live_answers(services).close()  # no turn may use a provider's client that is closed
        if services.__dict__.get("pdf_parser") is pdf_parser:
            del services.__dict__["pdf_parser"]  # it serves the next test too
        services.close()


@pytest.fixture
def make_answerer(llm: LLMServer) -> Iterator[Callable[..., OpenAIAnswerer]]:
    """Clients of the scripted LLM; keyword arguments change their options."""
    made: list[OpenAIAnswerer] = []

    def make(**changes: Any) -> OpenAIAnswerer:
        options: dict[str, Any] = {
            "base_url": llm.base_url,
            "model": "test-model",
            "api_key": "sk-very-secret-0123456789",
            "count_tokens": lambda text: len(text.split()),
            "timeout": 20.0,
            "retry": RetryPolicy(attempts=3, first_wait=0.01, longest_wait=5.0),
        }
        made.append(OpenAIAnswerer(**(options | changes)))
        return made[-1]

    yield make
    for answerer in made:
        answerer.close()


@pytest.fixture
def answerer(make_answerer: Callable[..., OpenAIAnswerer]) -> OpenAIAnswerer:
    return make_answerer()


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    return make_services()


@pytest.fixture(scope="module")
def library(new_database: Callable[[], str]) -> Iterator[Library]:
    database = Database(make_engine(new_database(), pool_size=4))
    yield filled(database)
    database.engine.dispose()
