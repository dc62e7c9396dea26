"""Chat turns with a provider's code, reasoning and refusals."""

from collections.abc import Callable

import pytest

from core.bootstrap import Services
from core.embedding import create_embedder
from tests.fakes.llm_server import CHAT, EMBEDDINGS, LLMServer, Reply
from tests.integration.steps import ask, ingest, new_session, say
from tests.pdfs import make_pdf

CODE = "Use `items[0]` and:\n```python\nx = rows[12] + a[1]\n```\nThe pattern `[0-9]+` it is."


@pytest.fixture
def services(make_services: Callable[..., Services], llm: LLMServer) -> Services:
    return make_services(chat_provider="openai", chat_base_url=llm.base_url, chat_model="m")


@pytest.mark.parametrize("use_rag", [True, False])
def test_code_is_stored_as_it_was_written(
    services: Services, llm: LLMServer, use_rag: bool
) -> None:
    llm.default = Reply(deltas=[CODE[at : at + 3] for at in range(0, len(CODE), 3)])
    answer = ask(services, new_session(services), "Show code.", use_rag=use_rag)
    assert answer.content == CODE
    assert answer.retrieved_context == []


def test_without_retrieval_brackets_are_text(services: Services, llm: LLMServer) -> None:
    llm.default = Reply(deltas=["In [12] and [0-9]+, a[1]."])
    session = new_session(services)
    assert ask(services, session, "Show.", use_rag=False).content == "In [12] and [0-9]+, a[1]."
    ask(services, session, "And then?", use_rag=False)
    sent = llm.requests_to(CHAT)[-1].body["messages"]
    assert sent[2]["content"] == "In [12] and [0-9]+, a[1]."


def test_with_retrieval_a_marker_that_refers_to_nothing_never_appears(
    services: Services, llm: LLMServer
) -> None:
    ingest(services, make_pdf(["Otters live in the northern river and eat fish."]))
    llm.default = Reply(deltas=["Otters live", " in the river [1", "][7]. See `a[7]` [", "9]."])
    answer = ask(services, new_session(services), "Where do otters live?")
    assert answer.content == "Otters live in the river [1]. See `a[7]`."
    assert [passage["index"] for passage in answer.retrieved_context] == [1]


def test_history_has_code_but_no_reasoning(services: Services, llm: LLMServer) -> None:
    session = new_session(services)
    say(services, session, "Show code.")
    kept = "Use `a[0]` and `b[12]`."
    say(services, session, f"<think>\nhm\n</think>\n\n{kept}", sender="assistant")
    ask(services, session, "And then?", use_rag=False)
    sent = llm.requests_to(CHAT)[-1].body["messages"]
    assert [one["content"] for one in sent[1:]] == ["Show code.", kept, "And then?"]


@pytest.mark.parametrize(
    "stored",
    [
        [("system", "You are Bob."), ("assistant", "Hi, how can I help?")],
        [("user", "hi"), ("assistant", "hello"), ("system", "Be brief.")],
        [("assistant", "One."), ("assistant", "Two."), ("user", "a"), ("user", "b")],
        [("system", "A."), ("user", "a"), ("system", "B."), ("user", "b"), ("system", "C.")],
    ],
)
def test_one_system_message_then_user_and_assistant_in_turn(
    services: Services, llm: LLMServer, stored: list[tuple[str, str]]
) -> None:
    session = new_session(services)
    for sender, content in stored:
        say(services, session, content, sender=sender)
    ask(services, session, "Next?", use_rag=False)
    sent = llm.requests_to(CHAT)[-1].body["messages"]
    roles = [one["role"] for one in sent]
    assert roles[0] == "system"
    assert roles[1:] == [("user", "assistant")[place % 2] for place in range(len(roles) - 1)]
    for sender, content in stored:
        assert sender != "system" or content in sent[0]["content"]


def test_reasoning_that_only_its_end_tag_shows_is_never_stored(
    services: Services, llm: LLMServer
) -> None:
    ingest(services, make_pdf(["Otters live in the northern river and eat fish."]))
    said = ["The passage [1] tells it.", "\n</think>\n\n", "In", " a", " river."]
    llm.default = Reply(deltas=said)
    for _ in range(2):
        answer = ask(services, new_session(services), "Where do otters live?")
        assert answer.content == "In a river."
        assert answer.retrieved_context == [], "a marker in the reasoning is no citation"


def test_the_provider_s_reason_is_in_the_error_and_in_the_log(
    services: Services,
    llm: LLMServer,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    llm.default = Reply(status=404, body={"error": "model 'm' not found, try pulling it first"})
    answer = ask(services, new_session(services), "Who?", use_rag=False)
    assert answer.status == "failed"
    assert answer.error is not None
    assert answer.error["code"] == "provider_model_unknown"
    assert "try pulling it first" in answer.error["detail"]
    assert len(llm.requests_to(CHAT)) == 1
    # An earlier test may have configured the logs.
    assert "try pulling it first" in capsys.readouterr().out + caplog.text


def test_usage_that_the_provider_does_not_count_is_null(services: Services, llm: LLMServer) -> None:
    llm.default = Reply(usage=None)
    answer = ask(services, new_session(services), "Who?", use_rag=False)
    assert answer.usage is None


def test_a_message_longer_than_the_embedding_endpoint_takes_is_answered(
    make_services: Callable[..., Services], llm: LLMServer
) -> None:
    services = make_services(
        chat_provider="openai",
        chat_base_url=llm.base_url,
        chat_model="m",
        embedding_provider="openai",
        embedding_base_url=llm.base_url,
        embedding_model="e",
    )
    services.__dict__["embedder"] = create_embedder(services.settings)
    refusal = {"error": {"message": "This model's maximum context length is 8192 tokens"}}
    llm.script(Reply(status=400, body=refusal), path=EMBEDDINGS)
    message = "otter river " * 5000 + "?"
    answer = ask(services, new_session(services), message)
    assert answer.status == "complete"
    first, second = [request.body["input"][0] for request in llm.requests_to(EMBEDDINGS)]
    assert len(first) > 8192 * 4 >= len(second)
    assert message in llm.requests_to(CHAT)[-1].body["messages"][-1]["content"]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_cut_answer_is_marked_as_cut(services: Services, llm: LLMServer, reason: str) -> None:
    llm.default = Reply(deltas=["Otters live"], finish_reason=reason)
    answer = ask(services, new_session(services), "Who?", use_rag=False)
    assert (answer.content, answer.finish_reason) == ("Otters live", reason)
