"""Ingestion with an embedding endpoint that refuses: a real, scripted HTTP server."""

import time
from collections.abc import Callable, Iterator

import pytest

from core.bootstrap import Services
from core.db.models import Chunk, ChunkVector
from core.documents import ingestion
from core.embedding import create_embedder
from tests.fakes.llm_server import EMBEDDINGS, LLMServer, Reply
from tests.integration.test_ingestion import PAGES, count, reload, upload, work_off
from tests.pdfs import make_pdf

AGAIN_AT_ONCE = {"Retry-After": "0"}
BUSY = Reply(status=429, headers=AGAIN_AT_ONCE)
MakeServices = Callable[..., Services]


@pytest.fixture
def endpoint() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture
def make_remote(make_services: MakeServices, endpoint: LLMServer) -> MakeServices:
    """Services that embed at `endpoint`. Waiting ranges are due again at once."""

    def make(**overrides: object) -> Services:
        services = make_services(
            **{
                "embedding_provider": "openai",
                "embedding_base_url": endpoint.base_url,
                "embedding_model": "test-model",
                "embedding_timeout_seconds": 0.5,
            }
            | overrides
        )
        services.__dict__["embedder"] = create_embedder(services.settings)
        return services

    return make


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "MAX_WAIT_SECONDS", 0.05)


def play(services: Services, *, until: Callable[[], bool], seconds: float = 60) -> None:
    """Work like a pool of workers, also while all ranges wait."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        if not ingestion.process_next_range(services):
            time.sleep(0.02)


def test_waiting_for_a_busy_endpoint_uses_up_no_attempt(
    make_remote: MakeServices, endpoint: LLMServer
) -> None:
    services = make_remote()
    endpoint.script(*[BUSY] * 7, path=EMBEDDINGS)
    accepted = upload(services, make_pdf(PAGES))
    play(services, until=lambda: reload(services, accepted)[1].state == "succeeded")
    assert reload(services, accepted)[1].attempts == 1
    assert len(endpoint.requests_to(EMBEDDINGS)) == 8


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(status=500),
        Reply(status=503, headers={"Retry-After": "0"}),
        Reply(delay=2),
        Reply(vectors=[[1.0, 0.0]]),
        Reply(vectors=[[float("nan")] * 384]),
        Reply(vectors=[[0.0] * 384]),
        Reply(vectors=[]),
        Reply(body="not json"),
    ],
    ids=["500", "503", "timeout", "dimension", "nan", "zero", "short", "not-json"],
)
def test_an_endpoint_that_recovers_loses_nothing(
    make_remote: MakeServices, endpoint: LLMServer, refusal: Reply
) -> None:
    services = make_remote()
    endpoint.script(refusal, path=EMBEDDINGS)
    accepted = upload(services, make_pdf(PAGES))
    play(services, until=lambda: reload(services, accepted)[1].state == "succeeded")
    document, job = reload(services, accepted)
    assert job.attempts == 1
    assert count(services, Chunk) == count(services, ChunkVector) == document.chunk_count


def test_an_endpoint_that_never_recovers_fails_the_job_at_the_limit(
    make_remote: MakeServices, endpoint: LLMServer
) -> None:
    services = make_remote(embedding_give_up_seconds=0.4)
    endpoint.default = Reply(status=503)
    started = time.monotonic()
    accepted = upload(services, make_pdf(PAGES))
    play(services, until=lambda: reload(services, accepted)[1].state == "failed")
    assert time.monotonic() - started > 0.4
    document, job = reload(services, accepted)
    assert (document.status, job.error_code) == ("failed", "embedding_unavailable")
    assert count(services, Chunk) == 0
    endpoint.default = Reply()
    again = upload(services, make_pdf(PAGES))
    assert not again.duplicate, "the endpoint may be back: the same bytes get another job"
    assert again.document.id == accepted.document.id
    work_off(services)
    assert reload(services, again)[0].status == "ready"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "something is wrong with it"),
        (401, "Incorrect API key provided"),
        (402, "Insufficient Balance"),
        (403, "Forbidden"),
        (404, "model 'x' not found, try pulling it first"),
    ],
)
def test_a_permanent_refusal_fails_the_job_at_once(
    make_remote: MakeServices, endpoint: LLMServer, status: int, message: str
) -> None:
    services = make_remote()
    endpoint.default = Reply(status=status, body={"error": {"message": message}})
    accepted = upload(services, make_pdf(PAGES))
    work_off(services)
    document, job = reload(services, accepted)
    assert (document.status, job.error_code) == ("failed", "embedding_unavailable")
    assert message in (job.error_detail or "")
    assert len(endpoint.requests_to(EMBEDDINGS)) == 1


def test_committed_chunks_are_never_embedded_again(
    make_remote: MakeServices, endpoint: LLMServer
) -> None:
    services = make_remote(range_pages=1)
    endpoint.script(Reply(), BUSY, Reply(), Reply(status=500), path=EMBEDDINGS)
    accepted = upload(services, make_pdf(PAGES))
    play(services, until=lambda: reload(services, accepted)[1].state == "succeeded")
    sent = [tuple(request.body["input"]) for request in endpoint.requests_to(EMBEDDINGS)]
    assert len(sent) == 5
    assert len(set(sent)) == 3, "three ranges, two of them asked for twice"
    assert sent.count(sent[0]) == 1
