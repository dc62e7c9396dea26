"""The reranker against a real HTTP server, alone and within a search."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from core.answering.passages import Passage
from core.bootstrap import Services
from core.errors import ProviderBusy, ProviderError, ProviderTimeout
from core.providers.reranker import HttpReranker
from core.search import retrieval
from core.search.reranking import rerank
from core.telemetry import configure_logging
from tests.fakes.server_thread import ServerThread
from tests.integration.steps import TENANT, ingest
from tests.pdfs import make_pdf

KEY = "rk-very-secret"


class RerankServer(ThreadingHTTPServer):
    """Scores documents by their length, shortest first, unless a test sets the answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.delay = 200, None, 0.0
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v2"


class _Handler(BaseHTTPRequestHandler):
    server: RerankServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        time.sleep(self.server.delay)
        answer = self.server.body or {"results": by_length(body["documents"])[: body["top_n"]]}
        payload = json.dumps(answer).encode()
        with suppress(OSError):  # a client that did not wait
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def by_length(documents: list[str]) -> list[dict[str, Any]]:
    results = [
        {"index": index, "relevance_score": 1 / (1 + len(text))}
        for index, text in enumerate(documents)
    ]
    return sorted(results, key=lambda item: -item["relevance_score"])


@pytest.fixture
def server() -> Iterator[RerankServer]:
    running = RerankServer()
    with ServerThread(running):
        yield running


@pytest.fixture
def reranker(server: RerankServer) -> Iterator[HttpReranker]:
    built = HttpReranker(base_url=server.url, model="r-1", api_key=KEY, timeout=0.5)
    yield built
    built.close()


def passages(*texts: str) -> list[Passage]:
    return [
        Passage(index, "d", "f.pdf", 1, 1, f"c{index}", text, "", 1 / index)
        for index, text in enumerate(texts, start=1)
    ]


def test_requests_have_the_shape_of_cohere_and_jina(
    server: RerankServer, reranker: HttpReranker
) -> None:
    scores = reranker.score("q?", ["aaa", "a", "aa"])
    assert scores == [1 / 4, 1 / 2, 1 / 3]
    path, headers, body = server.requests[0]
    assert path == "/v2/rerank"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {"model": "r-1", "query": "q?", "documents": ["aaa", "a", "aa"], "top_n": 3}


def test_passages_are_reordered_rescored_and_renumbered(reranker: HttpReranker) -> None:
    found = rerank(reranker, query="q?", passages=passages("aaa", "a", "aa"))
    assert [(item.index, item.text, item.score) for item in found] == [
        (1, "a", 1 / 2),
        (2, "aa", 1 / 3),
        (3, "aaa", 1 / 4),
    ]


def score(index: Any, relevance: Any) -> dict[str, Any]:
    return {"index": index, "relevance_score": relevance}


BAD = [
    {"results": []},
    {"results": [score(0, 1)]},
    {"results": [score(0, 1), score(0, 2)]},
    {"results": [score(0, 1), score(2, 2)]},
    {"results": [score(0, 1), score(1, float("nan"))]},
    {"results": [score(0, 1), score(1, None)]},
    {"results": [{"index": 0}, {"index": 1}]},
    {"message": "no"},
    ["no"],
]


@pytest.mark.parametrize("body", BAD)
def test_an_invalid_answer_keeps_the_order(
    server: RerankServer, reranker: HttpReranker, body: Any
) -> None:
    server.body = body
    with pytest.raises(ProviderError):
        reranker.score("q?", ["aa", "a"])
    before = passages("aa", "a")
    assert rerank(reranker, query="q?", passages=before) == before


@pytest.mark.parametrize(
    ("status", "error"), [(429, ProviderBusy), (500, ProviderError), (401, ProviderError)]
)
def test_a_refusal_keeps_the_order_and_the_secret(
    server: RerankServer, reranker: HttpReranker, status: int, error: type[ProviderError]
) -> None:
    server.status = status
    with pytest.raises(error) as caught:
        reranker.score("q?", ["aa", "a"])
    assert KEY not in str(caught.value)
    before = passages("aa", "a")
    assert rerank(reranker, query="q?", passages=before) == before


def test_a_slow_or_absent_endpoint_keeps_the_order(
    server: RerankServer, reranker: HttpReranker, caplog: pytest.LogCaptureFixture
) -> None:
    configure_logging()
    logging.getLogger().addHandler(caplog.handler)  # configuring sets the handlers anew
    server.delay = 1
    with pytest.raises(ProviderTimeout):
        reranker.score("q?", ["aa", "a"])
    nobody = HttpReranker(base_url="http://127.0.0.1:1", model="r", api_key="", timeout=0.5)
    before = passages("aa", "a")
    assert rerank(nobody, query="q?", passages=before) == before
    nobody.close()
    assert "rerank_failed" in str([record.msg for record in caplog.records])


def test_one_passage_needs_no_endpoint(server: RerankServer, reranker: HttpReranker) -> None:
    before = passages("a")
    assert rerank(reranker, query="q?", passages=before) == before
    assert server.requests == []


def notes(page: int) -> str:
    """A text that is shorter for each page and repeats none."""
    words = " ".join(f"rock{page:02}{place:02}" for place in range(25 - page))
    return f"The survey of the island notes {words}."


PAGES = [notes(page) for page in range(12)]


def search(services: Services) -> list[Passage]:
    query = "What does the survey of the island note?"
    return retrieval.search(services, tenant_id=TENANT, query=query, top_k=3)


def test_a_search_is_reranked_when_an_endpoint_is_set(
    make_services: Callable[..., Services], server: RerankServer
) -> None:
    services = make_services(rerank_base_url=server.url, rerank_model="r-1")
    ingest(services, make_pdf(PAGES))
    found = search(services)
    assert [item.page_start for item in found] == [12, 11, 10]
    assert [item.index for item in found] == [1, 2, 3]
    assert len(server.requests[0][2]["documents"]) == 12  # more than are shown
    server.status = 500
    fused = search(services)
    assert len(fused) == 3
    assert [item.page_start for item in fused] == [
        item.page_start for item in search(make_services())
    ]


def test_there_is_no_reranker_by_default(make_services: Callable[..., Services]) -> None:
    assert make_services().reranker is None
