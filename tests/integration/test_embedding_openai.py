"""OpenAIEmbedder against a real HTTP server."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from struct import pack
from typing import Any

import numpy as np
import pytest

from core.embedding import create_embedder
from core.embedding.openai import OpenAIEmbedder
from core.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout
from core.settings import read_settings
from tests.fakes.server_thread import ServerThread
from tests.harness import SLOW_MACHINE_SECONDS

KEY = "sk-very-secret-0123456789"
DIMENSIONS = 4
Request = dict[str, Any]
# Status, headers, body; None hangs up without an answer.
Answer = tuple[int, dict[str, str], bytes] | None


class EmbeddingServer(ServerThread):
    """Answers `POST /v1/embeddings` with `answer`; records bodies and bearer tokens."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.tokens: list[str | None] = []
        self.answer: Callable[[Request], Answer] = good
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), self._handler()))

    @property
    def base_url(self) -> str:
        return f"http://{self.address}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/embeddings"
                server.requests.append(body)
                server.tokens.append(self.headers["Authorization"])
                answer = server.answer(body)
                self.close_connection = True
                if answer is not None:
                    self._send(*answer)

            def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    if "X-Trickle" not in headers:
                        self.wfile.write(content)
                        return
                    for byte in content:
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.05)
                except OSError:  # the client has left
                    pass

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 1.0, 2.0, 3.0]


def items(body: Request) -> list[dict[str, Any]]:
    return [
        {"object": "embedding", "index": index, "embedding": vector_of(text)}
        for index, text in enumerate(body["input"])
    ]


def answer_with(data: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, json.dumps(data).encode()


def good(body: Request) -> Answer:
    return answer_with({"object": "list", "data": items(body)})


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as running:
        yield running


@pytest.fixture
def make(server: EmbeddingServer) -> Iterator[Callable[..., OpenAIEmbedder]]:
    made = []

    def make(**changes: Any) -> OpenAIEmbedder:
        options: dict[str, Any] = {
            "base_url": server.base_url,
            "api_key": KEY,
            "model": "some-model",
            "dimensions": DIMENSIONS,
            "timeout": 5.0,
        }
        made.append(OpenAIEmbedder(**(options | changes)))
        return made[-1]

    yield make
    for embedder in made:
        embedder.close()


Make = Callable[..., OpenAIEmbedder]


def test_unit_vectors_in_batches_and_in_order(server: EmbeddingServer, make: Make) -> None:
    texts = ["a" * length for length in range(1, 8)]
    vectors = make(batch_size=3).embed(texts)
    expected = np.array([vector_of(text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    assert vectors.dtype == np.float32
    assert [request["input"] for request in server.requests] == [texts[:3], texts[3:6], texts[6:]]
    assert set(server.tokens) == {f"Bearer {KEY}"}


def test_no_texts_need_no_request(server: EmbeddingServer, make: Make) -> None:
    assert make().embed([]).shape == (0, DIMENSIONS)
    assert server.requests == []


def test_without_a_key_sends_none(server: EmbeddingServer, make: Make) -> None:
    make(api_key="").embed(["a"])
    assert server.tokens == [None]


def test_reordered_items_are_put_back(server: EmbeddingServer, make: Make) -> None:
    texts = ["a", "bbbb", "cc"]
    straight = make().embed(texts)
    server.answer = lambda body: answer_with({"data": items(body)[::-1]})
    np.testing.assert_array_equal(make().embed(texts), straight)


@pytest.mark.parametrize(
    ("model", "sent"), [("text-embedding-3-small", DIMENSIONS), ("nomic-embed-text", None)]
)
def test_dimensions_go_to_models_that_know_them(
    server: EmbeddingServer, make: Make, model: str, sent: int | None
) -> None:
    embedder = make(model=model)
    embedder.embed(["a"])
    assert server.requests[0].get("dimensions") == sent
    assert server.requests[0]["model"] == model
    assert embedder.name == f"{model}-{DIMENSIONS}"


def busy(value: str | None) -> Callable[[Request], Answer]:
    headers = {"Retry-After": value} if value else {}
    return lambda body: answer_with({"error": "slow down"}, status=429, headers=headers)


@pytest.mark.parametrize(
    ("value", "wait"), [("7", 7.0), (None, None), ("soon", None), ("1.5", None)]
)
def test_429_carries_the_seconds(
    server: EmbeddingServer, make: Make, value: str | None, wait: float | None
) -> None:
    server.answer = busy(value)
    with pytest.raises(ProviderBusy) as caught:
        make(retries=3).embed(["a"])
    assert caught.value.retry_after == wait
    assert len(server.requests) == 1


def test_429_carries_the_date(server: EmbeddingServer, make: Make) -> None:
    server.answer = busy(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    with pytest.raises(ProviderBusy) as caught:
        make().embed(["a"])
    assert caught.value.retry_after is not None
    assert 50 < caught.value.retry_after <= 60


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 302])
def test_a_refusal_names_its_status_but_no_key(
    server: EmbeddingServer, make: Make, status: int
) -> None:
    server.answer = lambda body: answer_with({"error": f"bad key {KEY}"}, status=status)
    with pytest.raises(ProviderError, match=str(status)) as caught:
        make(retries=3).embed(["a"])
    assert type(caught.value) is not ProviderTimeout
    assert KEY not in repr(caught.value) + caught.value.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failure_is_a_provider_error(server: EmbeddingServer, make: Make, status: int) -> None:
    server.answer = lambda body: answer_with("no", status=status)
    with pytest.raises(ProviderError, match=str(status)):
        make().embed(["a"])
    assert len(server.requests) == 1


def test_retries_temporary_failures(server: EmbeddingServer, make: Make) -> None:
    failures = iter([answer_with("no", status=500), None])
    server.answer = lambda body: next(failures, good(body))
    assert make(retries=2).embed(["a"]).shape == (1, DIMENSIONS)
    assert len(server.requests) == 3


def test_a_silent_endpoint_times_out(server: EmbeddingServer, make: Make) -> None:
    def wait(body: Request) -> Answer:
        time.sleep(0.6)
        return None

    server.answer = wait
    with pytest.raises(ProviderTimeout):
        make(timeout=0.2).embed(["a"])


def test_a_trickling_endpoint_times_out(server: EmbeddingServer, make: Make) -> None:
    server.answer = lambda body: answer_with({"data": items(body)}, headers={"X-Trickle": "yes"})
    start = time.monotonic()
    with pytest.raises(ProviderTimeout):
        make(timeout=0.3).embed(["a"])
    assert time.monotonic() - start < SLOW_MACHINE_SECONDS


def test_a_lost_connection_is_a_provider_error(server: EmbeddingServer, make: Make) -> None:
    server.answer = lambda body: None
    with pytest.raises(ProviderError, match="reached"):
        make().embed(["a"])


def test_a_refused_connection_is_a_provider_error(make: Make) -> None:
    with pytest.raises(ProviderError, match="reached"):
        make(base_url="http://127.0.0.1:1/v1").embed(["a"])


def changed(**fields: Any) -> Callable[[Request], Answer]:
    """An answer whose second item has other `fields`."""

    def answer(body: Request) -> Answer:
        data = items(body)
        data[1] |= fields
        return answer_with({"data": data})

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(changed(embedding=[1.0, 2.0, 3.0]), id="one of another length"),
        pytest.param(
            lambda body: answer_with({"data": [i | {"embedding": [1.0] * 5} for i in items(body)]}),
            id="all of another length",
        ),
        pytest.param(changed(embedding=[1.0, float("nan"), 0.0, 0.0]), id="NaN"),
        pytest.param(changed(embedding=[1.0, float("inf"), 0.0, 0.0]), id="infinite"),
        pytest.param(changed(embedding=[1.0, None, 0.0, 0.0]), id="null in it"),
        pytest.param(changed(embedding=[0.0] * 4), id="zero"),
        pytest.param(changed(embedding="abc"), id="text"),
        pytest.param(changed(embedding=[]), id="empty"),
        pytest.param(changed(index=5), id="index too large"),
        pytest.param(
            lambda body: answer_with({"data": [i | {"index": 1} for i in items(body)]}),
            id="same index twice",
        ),
        pytest.param(changed(index=7), id="index out of range"),
        pytest.param(changed(index="1"), id="index is text"),
        pytest.param(lambda body: answer_with({"data": items(body)[:1]}), id="short list"),
        pytest.param(lambda body: answer_with({"data": items(body) * 2}), id="long list"),
        pytest.param(lambda body: answer_with({"data": []}), id="empty list"),
        pytest.param(lambda body: answer_with({"data": None}), id="no list"),
        pytest.param(lambda body: answer_with({"error": "x"}), id="no data"),
        pytest.param(lambda body: answer_with(["x"]), id="not an object"),
        pytest.param(lambda body: (200, {}, b"<html>"), id="not JSON"),
        pytest.param(lambda body: (200, {}, b"\xff\xfe{"), id="not UTF-8"),
    ],
)
def test_a_wrong_answer_is_never_a_vector(
    server: EmbeddingServer, make: Make, answer: Callable[[Request], Answer]
) -> None:
    server.answer = answer
    with pytest.raises(ProviderError):
        make().embed(["a", "bb"])


def without_first(body: Request) -> list[dict[str, Any]]:
    """Items like those of servers that leave out an index of 0."""
    data = items(body)
    del data[0]["index"]
    return data


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(without_first, id="index 0 is left out"),
        pytest.param(lambda body: without_first(body)[::-1], id="the same, reversed"),
        pytest.param(
            lambda body: [{"embedding": one["embedding"]} for one in items(body)], id="no index"
        ),
        pytest.param(lambda body: [one | {"index": None} for one in items(body)], id="null"),
        pytest.param(lambda body: [one | {"index": 0} for one in items(body)], id="all 0"),
        pytest.param(
            lambda body: [
                one | {"embedding": [str(x) for x in one["embedding"]]} for one in items(body)
            ],
            id="numbers as text",
        ),
        pytest.param(
            lambda body: [
                one | {"embedding": b64encode(pack("<4f", *one["embedding"])).decode()}
                for one in items(body)
            ],
            id="base64",
        ),
    ],
)
def test_vectors_are_read_in_any_shape(
    server: EmbeddingServer, make: Make, listed: Callable[[Request], Any]
) -> None:
    texts = ["a", "bbbb", "cc"]
    straight = make().embed(texts)
    server.answer = lambda body: answer_with({"data": listed(body)})
    np.testing.assert_allclose(make().embed(texts), straight, rtol=1e-6)


def refusing(status: int, message: str, when: Callable[[Request], bool]) -> Callable[..., Answer]:
    """Refuses requests for which `when` is true, and answers the others."""

    def answer(body: Request) -> Answer:
        if when(body):
            return answer_with({"error": {"message": message}}, status=status)
        return good(body)

    return answer


@pytest.mark.parametrize(
    ("status", "message", "most"),
    [
        (422, "batch size 64 > maximum allowed batch size 32", 32),
        (400, "batch size is invalid, it should not be larger than 10.: input.contents", 10),
        (400, "'$.input' is invalid: the array is too long. Expected at most 20 items", 20),
        (413, "Payload Too Large", 16),
        (400, "Too many inputs", 16),
    ],
)
def test_an_endpoint_that_accepts_fewer_texts_gets_fewer(
    server: EmbeddingServer, make: Make, status: int, message: str, most: int
) -> None:
    server.answer = refusing(status, message, lambda body: len(body["input"]) > most)
    texts = ["a" * length for length in range(1, 130)]
    embedder = make(batch_size=64)
    vectors = embedder.embed(texts)
    np.testing.assert_allclose(vectors, make(batch_size=1).embed(texts), rtol=1e-6)
    before = len(server.requests)
    embedder.embed(texts)
    later = [len(request["input"]) for request in server.requests[before:]]
    assert sum(later) == 129, "what was learned holds for the next call: nothing is refused"


def estimate(text: str) -> float:
    return len(text) / 4


@pytest.mark.parametrize(
    ("status", "message", "limit"),
    [
        (413, "Input validation error: `inputs` must have less than 512 tokens. Given: 9000", 512),
        (400, "This model's maximum context length is 8192 tokens", 8192),
        (400, "the input length exceeds the context length", 2048),
        (413, "too many tokens", 300),
    ],
)
def test_a_text_that_is_too_long_is_cut(
    server: EmbeddingServer, make: Make, status: int, message: str, limit: int
) -> None:
    server.answer = refusing(
        status, message, lambda body: any(estimate(text) > limit for text in body["input"])
    )
    embedder = make()
    assert embedder.embed(["short", "otter river " * 5000]).shape == (2, DIMENSIONS)
    short, cut = server.requests[-1]["input"]
    assert short == "short"
    assert limit / 2 < estimate(cut) <= limit
    before = len(server.requests)
    embedder.embed(["otter river " * 5000])
    assert len(server.requests) == before + 1, "the limit is remembered"


def test_the_setting_cuts_texts_from_the_start(server: EmbeddingServer, make: Make) -> None:
    make(max_tokens=100).embed(["é" * 1000, "short"])
    (request,) = server.requests
    assert request["input"] == ["é" * 200, "short"]


def test_a_text_that_is_never_short_enough_is_refused(server: EmbeddingServer, make: Make) -> None:
    server.answer = refusing(400, "maximum context length is 5 tokens", lambda body: True)
    with pytest.raises(ProviderRefused) as caught:
        make().embed(["word " * 1000])
    assert caught.value.code == "context_too_long"
    assert len(server.requests) < 30


def test_encoding_format_is_left_out_when_it_is_refused(
    server: EmbeddingServer, make: Make
) -> None:
    server.answer = refusing(
        400,
        "Value 'float' supplied for argument 'encoding_format' is not valid",
        lambda body: "encoding_format" in body,
    )
    embedder = make()
    for _ in range(2):
        assert embedder.embed(["a"]).shape == (1, DIMENSIONS)
    assert ["encoding_format" in body for body in server.requests] == [True, False, False]


def test_dimensions_are_asked_for_when_the_vectors_are_of_another_length(
    server: EmbeddingServer, make: Make
) -> None:
    def answer(body: Request) -> Answer:
        length = body.get("dimensions", 8)
        return answer_with({"data": [one | {"embedding": [1.0] * length} for one in items(body)]})

    server.answer = answer
    embedder = make()
    for _ in range(2):
        assert embedder.embed(["a"]).shape == (1, DIMENSIONS)
    assert [body.get("dimensions") for body in server.requests] == [None, 4, 4]


def test_a_model_of_another_length_is_reported_with_both_lengths(
    server: EmbeddingServer, make: Make
) -> None:
    def answer(body: Request) -> Answer:
        if "dimensions" in body:
            message = "Model does not support custom dimensions"
            return answer_with({"error": {"message": message}}, status=400)
        return answer_with({"data": [one | {"embedding": [1.0] * 8} for one in items(body)]})

    server.answer = answer
    with pytest.raises(ProviderError, match=r"have 8 numbers; EMBEDDING_DIMENSIONS is 4"):
        make().embed(["a"])


@pytest.mark.parametrize(
    ("status", "body", "code", "reason"),
    [
        (401, {"error": {"message": "Incorrect API key: sk-abc123"}}, "provider_auth", "Incorrect"),
        (402, {"message": "Insufficient Balance"}, "provider_quota", "Insufficient Balance"),
        (404, {"error": 'model "x" not found, try pulling it'}, "provider_model_unknown", "pull"),
        (200, {"error": {"message": "no such model: x"}}, "provider_model_unknown", "no such"),
    ],
)
def test_the_endpoint_s_reason_is_reported(
    server: EmbeddingServer, make: Make, status: int, body: Any, code: str, reason: str
) -> None:
    server.answer = lambda _: answer_with(body, status=status)
    with pytest.raises(ProviderRefused, match=reason) as caught:
        make(retries=3).embed(["a"])
    assert caught.value.code == code
    assert "sk-abc123" not in caught.value.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize("key", ["sk-abc\n", " sk-abc", "sk-abc\r\n"])
def test_white_space_around_a_key_is_not_sent(
    server: EmbeddingServer, make: Make, key: str
) -> None:
    make(api_key=key).embed(["a"])
    assert server.tokens == ["Bearer sk-abc"]


def test_counts_tokens_by_estimate(make: Make) -> None:
    embedder = make()
    assert [embedder.count_tokens(text) for text in ("", "a", "abcd", "abcde", "東京")] == [
        0, 1, 1, 2, 2,
    ]  # fmt: skip


def test_settings_choose_it(server: EmbeddingServer) -> None:
    settings = read_settings(
        embedding_provider="openai",
        embedding_base_url=server.base_url,
        embedding_model="some-model",
        embedding_dimensions=DIMENSIONS,
        openai_api_key=KEY,
    )
    embedder = create_embedder(settings)
    assert isinstance(embedder, OpenAIEmbedder)
    assert embedder.embed(["a"]).shape == (1, DIMENSIONS)
    assert server.tokens == [f"Bearer {KEY}"]
    embedder.close()


def test_a_connection_that_was_closed_meanwhile_is_no_failure(
    server: EmbeddingServer, make: Make
) -> None:
    embedder = make()
    hang_ups = iter([None])
    server.answer = lambda request: next(hang_ups, good(request))
    assert embedder.embed(["a"]).shape == (1, DIMENSIONS)
    assert len(server.requests) == 2
