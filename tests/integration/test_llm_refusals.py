"""How an LLM refuses an answer, and how the next request is adapted."""

import json
from typing import Any

import pytest

from core.answering.base import Question, Turn
from core.answering.openai import OpenAIAnswerer
from core.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout
from tests.fakes.llm_server import LLMServer, Reply
from tests.integration.answers import ASKED, chunk, data, said, stored


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


REFUSALS = [
    (401, error("Incorrect API key provided: sk-12345"), "provider_auth", "Incorrect API key"),
    (403, {"message": "Forbidden"}, "provider_auth", "Forbidden"),
    (400, [error("API key not valid. Please pass one.")], "provider_auth", "not valid"),
    (402, error("Insufficient Balance"), "provider_quota", "Insufficient Balance"),
    (429, error("You exceeded it", code="insufficient_quota"), "provider_quota", "exceeded"),
    (404, {"error": "model 'llama3' not found"}, "provider_model_unknown", "llama3"),
    (404, error("No such", code="DeploymentNotFound"), "provider_model_unknown", "No such"),
    (400, error("Model Not Exist"), "provider_model_unknown", "Model Not Exist"),
    (400, error("It was blocked", code="content_filter"), "content_filtered", "blocked"),
    (
        404,
        "<html><h1>404 Not Found</h1>nginx</html>",
        "provider_unavailable",
        "404 Not Found nginx",
    ),
    (404, {"detail": "Not Found"}, "provider_unavailable", "Not Found"),
    (422, {"detail": [{"loc": ["body", "n"], "msg": "no"}]}, "provider_unavailable", "body.n: no"),
]


@pytest.mark.parametrize(("status", "body", "code", "reason"), REFUSALS)
def test_the_provider_s_reason_is_reported_without_a_retry(
    llm: LLMServer, answerer: OpenAIAnswerer, status: int, body: Any, code: str, reason: str
) -> None:
    llm.default = Reply(status=status, body=body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(ProviderRefused) as caught:
        stored(answerer.answer(ASKED))
    assert caught.value.code == code
    assert reason in caught.value.detail
    assert str(status) in caught.value.detail
    assert "sk-12345" not in caught.value.detail
    assert len(llm.requests) == 1


def test_a_redirect_names_its_target(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    llm.default = Reply(status=308, headers={"Location": "https://u:p@new.example/v1"}, body="")
    with pytest.raises(ProviderRefused, match=r"308.*new\.example") as caught:
        stored(answerer.answer(ASKED))
    assert "u:p" not in caught.value.detail


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (error("no seats left", code=429), ProviderError, "no seats left"),
        ({"code": 1302, "msg": "rate limit reached", "success": False}, ProviderBusy, "rate limit"),
        (error("upstream timed out", code=504), ProviderTimeout, "timed out"),
    ],
)
def test_an_error_with_status_200_is_retried_and_reported(
    llm: LLMServer, answerer: OpenAIAnswerer, body: Any, kind: type[ProviderError], reason: str
) -> None:
    llm.default = Reply(body=body)
    with pytest.raises(kind, match=reason):
        stored(answerer.answer(ASKED))
    assert len(llm.requests) == 3


MEMORY = {"message": "CUDA out of memory", "code": 500}


@pytest.mark.parametrize(
    "broken",
    [
        data({"error": MEMORY} | chunk({}, "error")),
        data({"error": MEMORY["message"]}),
        data({"object": "error", **MEMORY}),
        data({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": MEMORY}]}),
        b"event: error\ndata: CUDA out of memory\n\n",
        b'event: error\ndata: {"detail": "CUDA out of memory"}\n\n',
    ],
)
def test_an_error_in_mid_answer_gives_its_reason(
    llm: LLMServer, answerer: OpenAIAnswerer, broken: bytes
) -> None:
    llm.script(Reply(chunks=[said("Otters"), broken]))
    with pytest.raises(ProviderError, match="CUDA out of memory"):
        stored(answerer.answer(ASKED))
    assert len(llm.requests) == 1


def test_a_page_instead_of_an_answer_is_told(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    page = "<!doctype html><title>x</title><h1>Please sign in</h1>"
    llm.default = Reply(body=page, headers={"Content-Type": "text/html"})
    with pytest.raises(ProviderError, match=r"page instead of an answer: .*Please"):
        stored(answerer.answer(ASKED))


def test_a_reason_is_cut_at_500_characters(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    llm.default = Reply(status=400, body=error("word " * 1000))
    with pytest.raises(ProviderRefused) as caught:
        stored(answerer.answer(ASKED))
    assert 400 < len(caught.value.detail) <= 500


@pytest.mark.parametrize(
    ("message", "extra", "refused", "instead"),
    [
        ("Unrecognized request argument supplied: stream_options", {}, "stream_options", None),
        ("Extra inputs are not permitted: stream_options", {}, "stream_options", None),
        ("Invalid request body", {}, "stream_options", None),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model.",
            {"code": "unsupported_parameter", "param": "max_tokens"},
            "max_tokens",
            "max_completion_tokens",
        ),
        ("'temperature' does not support 0.2 with this model.", {}, "temperature", None),
        (
            "Unsupported value: 'stream' does not support true with this model.",
            {"code": "unsupported_value", "param": "stream"},
            "stream",
            None,
        ),
    ],
)
def test_a_parameter_that_is_refused_is_left_out_from_then_on(
    llm: LLMServer,
    make_answerer: Any,
    message: str,
    extra: dict[str, str],
    refused: str,
    instead: str,
) -> None:
    answerer = make_answerer(max_tokens=300, temperature=0.2)
    llm.script(Reply(status=400, body=error(message, **extra)))
    for _ in range(2):
        assert stored(answerer.answer(ASKED)) == "Hello from the model."
    first, *later = [request.body for request in llm.requests]
    assert first["max_tokens"] == 300
    assert first["temperature"] == 0.2
    assert len(later) == 2
    for body in later:
        assert refused not in body
        assert instead is None or body[instead] == 300


def test_without_settings_no_limit_and_no_temperature_is_sent(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    stored(answerer.answer(ASKED))
    assert llm.requests[0].body.keys() == {"model", "messages", "stream", "stream_options"}


def test_a_template_without_a_system_role_gets_the_rules_with_the_question(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(status=400, body=error("System role not supported")))
    for _ in range(2):
        assert stored(answerer.answer(ASKED)) == "Hello from the model."
    roles = [[one["role"] for one in request.body["messages"]] for request in llm.requests]
    assert roles == [["system", "user"], ["user"], ["user"]]
    content = llm.requests[-1].body["messages"][0]["content"]
    assert content.startswith("You answer questions")
    assert content.endswith("Who?")


OVERFLOWS = [
    "This model's maximum context length is 300 tokens. However, your messages resulted in 900.",
    "the request exceeds the available context size (300 tokens), try increasing it",
    "prompt is too long: 900 tokens > 300 maximum",
    "Prompt contains 900 tokens, too large for model with 300 maximum context length",
    "The input token count (900) exceeds the maximum number of tokens allowed (300).",
    "Your input exceeds the context window of this model.",
]


@pytest.mark.parametrize("message", OVERFLOWS)
def test_a_prompt_that_is_too_long_is_sent_once_more_with_less(
    llm: LLMServer, answerer: OpenAIAnswerer, message: str
) -> None:
    history = [Turn("user", "word " * 300), Turn("assistant", "word " * 300)] * 2
    question = Question(text="Who is it?", search_query="Who?", history=history)
    llm.script(Reply(status=400, body=error(message, code="context_length_exceeded")))
    for _ in range(2):
        assert stored(answerer.answer(question)) == "Hello from the model."
    sizes = [
        sum(len(one["content"].split()) for one in request.body["messages"])
        for request in llm.requests
    ]
    assert len(sizes) == 3
    assert sizes[1] == sizes[2] < sizes[0] * 0.7
    assert llm.requests[1].body["messages"][-1]["content"].endswith("Who is it?")


def test_a_limit_that_leaves_no_room_for_a_prompt_is_left_out(
    llm: LLMServer, make_answerer: Any
) -> None:
    answerer = make_answerer(max_tokens=900)
    message = (
        "'max_tokens' is too large: 900. This model's maximum context length is 1024 tokens and "
        "your request has 300 input tokens (900 > 1024 - 300)."
    )
    llm.script(*[Reply(status=400, body=error(message))] * 2)
    assert stored(answerer.answer(ASKED)) == "Hello from the model."
    assert ["max_tokens" in request.body for request in llm.requests] == [True, True, False]


def test_a_prompt_that_is_too_long_twice_is_told(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    llm.default = Reply(status=400, body=error(OVERFLOWS[0]))
    with pytest.raises(ProviderRefused, match="maximum context length") as caught:
        stored(answerer.answer(ASKED))
    assert caught.value.code == "context_too_long"
    assert len(llm.requests) == 2
