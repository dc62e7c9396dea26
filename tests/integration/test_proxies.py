"""Both endpoints by way of a real proxy, as the environment names it."""

from collections.abc import Callable, Iterator

import pytest

from core.answering.base import Question
from core.answering.openai import OpenAIAnswerer
from core.embedding.openai import OpenAIEmbedder
from tests.fakes.llm_server import LLMServer
from tests.fakes.socks_proxy import SocksProxy

VARIABLES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[SocksProxy]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with SocksProxy() as running:
        monkeypatch.setenv("ALL_PROXY", running.url)
        yield running


def embed(base_url: str) -> None:
    embedder = OpenAIEmbedder(base_url=base_url, api_key="k", model="e", dimensions=384)
    assert embedder.embed(["a"]).shape == (1, 384)
    embedder.close()


def answer(base_url: str) -> None:
    answerer = OpenAIAnswerer(base_url=base_url, api_key="k", model="m", count_tokens=len)
    question = Question(text="Who?", search_query="Who?")
    assert "".join(answerer.answer(question)) == "Hello from the model."
    answerer.close()


@pytest.mark.parametrize("call", [embed, answer])
def test_a_socks_proxy_carries_the_requests(
    proxy: SocksProxy, llm: LLMServer, call: Callable[[str], None]
) -> None:
    call(llm.base_url)
    assert proxy.targets == [("127.0.0.1", int(llm.base_url.split(":")[2].split("/")[0]))]


@pytest.mark.parametrize("call", [embed, answer])
def test_what_no_proxy_names_is_reached_without_it(
    proxy: SocksProxy, llm: LLMServer, call: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "::1/128,127.0.0.0/8")
    call(llm.base_url)
    assert proxy.targets == []
