"""Another embedding model is noticed, and vectors of two models are never compared."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from core.bootstrap import Services
from core.conversations import memory
from core.db.models import Document
from core.documents import ingestion
from core.documents.reembedding import renew_embeddings
from core.embedding import create_embedder, describe_model
from core.errors import Unavailable
from core.search import retrieval
from core.search.embedding_model import find_change
from tests.fakes.llm_server import LLMServer
from tests.integration.steps import TENANT, ingest, new_session, say
from tests.integration.test_ingestion import reload, upload, work_off
from tests.pdfs import make_pdf
from web.app import create_app

OTTERS = "Otters live in the northern river and eat fish."
QUERY = "What do otters eat?"


@pytest.fixture
def remote(
    make_services: Callable[..., Services], services: Services
) -> Iterator[Callable[..., Services]]:
    """Services on the database of `services`, with an endpoint's model."""
    with LLMServer() as endpoint:

        def make(**overrides: object) -> Services:
            endpoint.dimensions = int(str(overrides.get("embedding_dimensions", 384)))
            made = make_services(
                **{
                    "embedding_provider": "openai",
                    "embedding_base_url": endpoint.base_url,
                    "embedding_model": "other",
                }
                | overrides
            )
            made.__dict__["embedder"] = create_embedder(made.settings)
            return made

        yield make


def change(services: Services) -> str | None:
    model, dimensions = describe_model(services.settings)
    assert (services.embedder.name, services.embedder.dimensions) == (model, dimensions)
    with services.database.transaction(tenant_id=None) as db:
        found = find_change(db, model=model, dimensions=dimensions)
    return found.detail if found else None


def ready(services: Services) -> tuple[int, dict[str, str]]:
    response = create_app(services.settings, services=services).test_client().get("/health/ready")
    assert response.json is not None
    return response.status_code, response.json


def found(services: Services, mode: str) -> list[str]:
    passages = retrieval.search(services, tenant_id=TENANT, query=QUERY, mode=mode)  # type: ignore[arg-type]
    return [passage.text for passage in passages]


def renew(services: Services) -> int:
    return max(renew_embeddings(services), default=0)


def test_another_model_is_noticed_until_everything_is_embedded_again(
    services: Services, remote: Callable[..., Services]
) -> None:
    ingest(services, make_pdf([OTTERS]))
    ingest(services, make_pdf(["Badgers live in the southern forest."]))
    assert change(services) is None
    assert ready(services) == (200, {"status": "ready"})

    other = remote()
    assert "embeddings renew" in (change(other) or "")
    status, body = ready(other)
    assert (status, body["code"]) == (503, "embedding_model_changed")
    assert "\n" not in body["detail"]
    assert found(other, "vector") == [], "vectors of two models are never compared"
    assert found(other, "hybrid")[0] == OTTERS, "words still find it"
    assert ready(services)[0] == 200, "with the setting put back all is well"

    assert renew(other) == 2
    assert renew(other) == 0, "what is under way is left alone"
    ingestion.process_next_range(other)
    assert ready(other)[0] == 503
    work_off(other)
    assert ready(other) == (200, {"status": "ready"})
    assert OTTERS in found(other, "vector")
    assert found(services, "vector") == []


def test_an_interrupted_renewal_continues(
    services: Services, remote: Callable[..., Services]
) -> None:
    for page in (OTTERS, "Badgers live in the southern forest.", "Cranes rest on the island."):
        ingest(services, make_pdf([page]))
    other = remote()
    with other.database.transaction(tenant_id=None) as db:
        done = db.query(Document).first()
        assert done is not None
        done.embedding_model = other.embedder.name
    assert renew(other) == 2


def test_a_document_with_vectors_of_two_models_has_no_model(
    services: Services, remote: Callable[..., Services]
) -> None:
    other = remote()
    accepted = upload(services, make_pdf([OTTERS] * 30))
    for _ in range(2):
        ingestion.process_next_range(services)
    work_off(other)
    assert reload(other, accepted)[0].status == "ready"
    assert change(services) is not None
    assert "several models" in (change(other) or "")
    assert renew(other) == 1
    work_off(other)
    assert change(other) is None


def test_messages_are_embedded_again_too(
    services: Services, remote: Callable[..., Services]
) -> None:
    say(services, new_session(services), "My boat is called Marigold and it lies in Bergen.")
    assert memory.embed_pending(services) == 1
    other = remote()
    renew(other)
    assert memory.embed_pending(other) == 1
    with other.database.transaction(tenant_id=None) as db:
        models = db.scalars(text("SELECT model FROM message_vectors")).all()
    assert models == [other.embedder.name]


def test_vectors_of_another_length_are_refused_until_the_tables_change(
    services: Services, remote: Callable[..., Services]
) -> None:
    ingest(services, make_pdf([OTTERS]))
    say(services, new_session(services), "My boat is called Marigold and it lies in Bergen.")
    memory.embed_pending(services)
    other = remote(embedding_dimensions=64)
    assert "vectors of 384 numbers" in (change(other) or "")
    assert ready(other)[1]["code"] == "embedding_model_changed"
    assert found(other, "hybrid")[0] == OTTERS
    with pytest.raises(Unavailable) as caught:
        found(other, "vector")
    assert caught.value.code == "embedding_model_changed"
    refused = upload(other, make_pdf(["Cranes rest on the island in spring."]))
    work_off(other)
    job = reload(other, refused)[1]
    assert (job.state, job.error_code) == ("failed", "embedding_unavailable")
    assert "vectors of 384 numbers" in (job.error_detail or "")

    assert renew(other) == 1
    work_off(other)
    assert change(other) is None
    assert found(other, "vector") == [OTTERS]
    assert memory.embed_pending(other) == 1
