"""Answers of an LLM in every shape that servers of OpenAI's protocol send."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from core.answering.base import AnswerStream, Question, Turn
from core.answering.openai import OpenAIAnswerer, RetryPolicy
from core.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout
from tests.fakes.llm_server import LLMServer, Reply

KEY = "sk-very-secret-0123456789"
ASKED = Question(text="Who?", search_query="Who?")
ANSWER = "Otters live in the northern river [1]."
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def make(llm: LLMServer) -> Iterator[Any]:
    made = []

    def make(**changes: Any) -> OpenAIAnswerer:
        options: dict[str, Any] = {
            "base_url": llm.base_url,
            "model": "test-model",
            "api_key": KEY,
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
def answerer(make: Any) -> OpenAIAnswerer:
    built: OpenAIAnswerer = make()
    return built


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def said(text: Any) -> bytes:
    return data(chunk({"content": text}))


def ended(reason: str = "stop") -> bytes:
    return data(chunk({}, reason)) + DONE


def whole(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": ANSWER}
    return {"choices": [{"message": message, "finish_reason": "stop"} | more]}


def stored(stream: AnswerStream) -> str:
    """The answer in the form in which a chat stores it."""
    text = ""
    for delta in stream:
        if stream.restarted:
            stream.restarted, text = False, ""
        text += delta
    return text


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me look [1]"}]}
PARTS = [{"type": "text", "text": "Otters live in the "}, {"type": "text", "text": ANSWER[19:]}]
SSE_LINES = [said("Otters live in the "), said(ANSWER[19:]), ended()]
JSON_TYPE = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}

MARKED = {
    "Magistral": f"[THINK]Passage [1] it is.[/THINK]{ANSWER}",
    "Command A": f"<|START_THINKING|>Passage [1].<|END_THINKING|><|START_RESPONSE|>{ANSWER}"
    "<|END_RESPONSE|>",
    "Command A, opened by its template": f"Passage [1] it is.<|END_THINKING|>{ANSWER}",
    "Seed": f"<seed:think>Passage [1].</seed:think>{ANSWER}",
    "Kimi": f"◁think▷Passage [1].◁/think▷{ANSWER}",
    "gpt-oss": "<|channel|>analysis<|message|>Passage [1].<|end|><|start|>assistant<|channel|>final"
    f"<|message|>{ANSWER}<|return|>",
    "gpt-oss without reasoning": f"<|channel|>final<|message|>{ANSWER}<|return|>",
}
SHAPES = {
    "a list of parts": Reply(chunks=[said([THINKING]), said(PARTS), said(""), ended()]),
    "a list, then text": Reply(chunks=[said([THINKING]), said(ANSWER), ended()]),
    "empty data": Reply(chunks=[b"data: \n\n", SSE_LINES[0], b"data:\n\n", *SSE_LINES[1:]]),
    "comments": Reply(chunks=[b": OPENROUTER PROCESSING\n\n", *SSE_LINES]),
    "named ping": Reply(chunks=[b'event: ping\ndata: {"type": "ping"}\n\n', *SSE_LINES]),
    "ping of text": Reply(chunks=[b"event: ping\ndata: ping\n\n", *SSE_LINES]),
    "unnamed ping of text": Reply(chunks=[b"data: keep-alive\n\n", *SSE_LINES]),
    "single line ends": Reply(chunks=[line.replace(b"\n\n", b"\n") for line in SSE_LINES]),
    "stream labelled JSON": Reply(chunks=SSE_LINES, headers=JSON_TYPE),
    "stream labelled text": Reply(chunks=SSE_LINES, headers=PLAIN),
    "stream without a label": Reply(
        chunks=SSE_LINES, headers={"Content-Type": "application/octet-stream"}
    ),
    "no line end at the end": Reply(chunks=[*SSE_LINES[:2], b"data: [DONE]"]),
    "last text without a line end": Reply(
        chunks=[SSE_LINES[0], data(chunk({"content": ANSWER[19:]}, "stop")).rstrip()]
    ),
    "a finish reason in each part": Reply(
        chunks=[data(chunk({"content": part}, "stop")) for part in (ANSWER[:19], ANSWER[19:])]
    ),
    "Azure's filter results": Reply(
        chunks=[
            data({"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]}),
            *SSE_LINES[:2],
            data({"choices": [{"index": 0, "finish_reason": None, "content_filter_results": {}}]}),
            data({"choices": [{"index": 0, "delta": None, "finish_reason": None}]}),
            ended(),
        ]
    ),
    "status 201": Reply(chunks=SSE_LINES, status=201),
    "JSON labelled stream": Reply(
        body=json.dumps(whole(), indent=2), headers={"Content-Type": "text/event-stream"}
    ),
    "JSON labelled text": Reply(body=json.dumps(whole()), headers=PLAIN),
    "JSON without finish_reason": Reply(body=whole(finish_reason=None)),
    "JSON lines": Reply(
        chunks=[
            json.dumps(chunk({"content": ANSWER})).encode() + b"\n",
            json.dumps(chunk({}, "stop")).encode() + b"\n",
        ],
        headers={"Content-Type": "application/x-ndjson"},
    ),
    "empty finish_reason": Reply(
        chunks=[data(chunk({"content": ANSWER}, "")), data(chunk({}, "stop"))]
    ),
    "no finish_reason but [DONE]": Reply(chunks=[said(ANSWER), DONE]),
    "end with the last text": Reply(chunks=[data(chunk({"content": ANSWER}, "stop"))]),
    "the whole again at the end": Reply(chunks=[*SSE_LINES[:2], data(whole()), DONE]),
    "end mark of the template": Reply(chunks=[said(ANSWER + "<|eot_"), said("id|>"), ended()]),
    "reasoning_content": Reply(
        chunks=[
            data(chunk({"content": None, "reasoning_content": "hm [1] "})),
            data(chunk({"content": ANSWER, "reasoning_content": None})),
            ended(),
        ]
    ),
    "reasoning": Reply(
        chunks=[data(chunk({"content": "", "reasoning": "hm [1]"})), said(ANSWER), ended()]
    ),
    "<think> and </think>": Reply(
        chunks=[
            *(said("<thi"), said("nk>\nPassage [1] "), said("it is.\n</thi"), said("nk>\n\n")),
            *(said(ANSWER), ended()),
        ]
    ),
    **{
        f"marks: {name}": Reply(deltas=[text[at : at + 5] for at in range(0, len(text), 5)])
        for name, text in MARKED.items()
    },
    "</think> alone": Reply(
        chunks=[said("Passage [1] mentions"), said(" it.\n</think>\n\n"), said(ANSWER), ended()]
    ),
    "</think> alone, in small deltas": Reply(deltas=list(f"Passage [1].\n</think>\n\n{ANSWER}")),
    "</think> alone, with the first text": Reply(
        deltas=[f"Passage [1].\n</think>\n\n{ANSWER[:9]}", *ANSWER[9:]]
    ),
    "</think> alone in a whole": Reply(
        body=whole(message={"content": f"Passage [1].\n</think>\n\n{ANSWER}"})
    ),
}


@pytest.mark.parametrize("reply", SHAPES.values(), ids=SHAPES)
def test_the_answer_is_read_in_any_shape(
    llm: LLMServer, answerer: OpenAIAnswerer, reply: Reply
) -> None:
    llm.script(reply)
    stream = answerer.answer(ASKED)
    assert stored(stream) == ANSWER
    assert stream.finish_reason == "stop"
    assert len(llm.requests) == 1


@pytest.mark.parametrize("name", ["</think> alone", "</think> alone in a whole"])
def test_a_model_that_hides_its_opening_tag_is_known_after_its_first_answer(
    llm: LLMServer, answerer: OpenAIAnswerer, name: str
) -> None:
    llm.script(SHAPES[name], SHAPES["</think> alone"])
    assert stored(answerer.answer(ASKED)) == ANSWER
    stream = answerer.answer(ASKED)
    assert "".join(stream) == ANSWER
    assert not stream.restarted


REASONING = ["Ok", "ay, the us", "er asks about [1].", " It fits.\n</th", "ink>\n\n"]


def test_text_that_begins_like_reasoning_is_held_back(llm: LLMServer, make: Any) -> None:
    """Not even in the first answer of a model that nobody knows."""
    answerer = make()
    llm.script(*[Reply(deltas=[*REASONING, "Otters live in the ", ANSWER[19:]])] * 2)
    for _ in range(2):
        stream = answerer.answer(ASKED)
        assert list(stream) == ["Otters live in the ", ANSWER[19:]]
        assert not stream.restarted


def test_an_answer_that_begins_like_reasoning_is_shown_and_the_next_one_streams(
    llm: LLMServer, make: Any
) -> None:
    answerer = make()
    llm.script(
        *[Reply(deltas=["Let me ", "explain: ", "rivers."])] * 2, Reply(deltas=["Let", "ters"])
    )
    assert list(answerer.answer(ASKED)) == ["Let me explain: rivers."]
    assert list(answerer.answer(ASKED)) == ["Let me ", "explain: ", "rivers."]
    assert "".join(make().answer(ASKED)) == "Letters"


@pytest.mark.parametrize(
    ("deltas", "kept"),
    [(REASONING[:3], ""), (["Let"], "Let"), (["It fits ", "<"], "It fits <"), (["<think>ab"], "")],
)
def test_a_broken_answer_keeps_its_text_and_no_reasoning(
    llm: LLMServer, make: Any, deltas: list[str], kept: str
) -> None:
    answerer = make(retry=RetryPolicy(attempts=1))
    llm.default = Reply(deltas=deltas, drop_after=len(deltas))
    heard: list[str] = []
    with pytest.raises(ProviderError):
        heard.extend(iter(answerer.answer(ASKED)))
    assert "".join(heard) == kept


def test_a_model_that_reasons_by_its_name_never_shows_it(llm: LLMServer, make: Any) -> None:
    answerer = make(model="deepseek-r1:8b")
    llm.script(SHAPES["</think> alone"], SHAPES["reasoning_content"], Reply(deltas=["a", "b"]))
    assert "".join(answerer.answer(ASKED)) == ANSWER
    assert "".join(answerer.answer(ASKED)) == ANSWER
    assert list(answerer.answer(ASKED)) == ["a", "b"], "its server parses reasoning after all"


@pytest.mark.parametrize(
    "text",
    [
        "Write `<think>` and `</think>` around it.",
        "A tag like <think> in a line, and </think> too, is text.",
        "```\n<think>\nx\n</think>\n```\nThat is how.",
        "It is struck: <s>gone</s>",
        "Is a < b or a <b",
        "Mistral writes [THINK] and [1]",
        "`[THINK]` begins it and `[/THINK]` ends it.",
        "```\n<|START_THINKING|>x<|END_THINKING|>\n```\nThat is how.",
    ],
)
def test_tags_that_the_answer_mentions_are_kept(
    llm: LLMServer, answerer: OpenAIAnswerer, text: str
) -> None:
    llm.script(Reply(deltas=list(text)), Reply(deltas=[text]))
    assert [stored(answerer.answer(ASKED)) for _ in range(2)] == [text, text]


def test_reasoning_between_two_paragraphs_is_left_out(
    llm: LLMServer, answerer: OpenAIAnswerer
) -> None:
    llm.script(Reply(deltas=list("One.\n<think>\nhm [1]\n</think>\nTwo.")))
    assert stored(answerer.answer(ASKED)) == "One.\nTwo."


def test_a_refusal_is_the_answer(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    llm.script(Reply(chunks=[data(chunk(refusal)), ended()]))
    assert stored(answerer.answer(ASKED)) == "I can't help with that."


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("eos", "stop"),
    ],
)
def test_a_cut_answer_is_distinguished_from_a_whole_one(
    llm: LLMServer, answerer: OpenAIAnswerer, sent: str, kept: str
) -> None:
    llm.script(Reply(chunks=[said("Otters"), ended(sent)]))
    stream = answerer.answer(ASKED)
    assert stored(stream) == "Otters"
    assert stream.finish_reason == kept


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": "many"},
        {"prompt_tokens": -1},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    ],
)
def test_usage_that_is_not_counted_is_none(
    llm: LLMServer, answerer: OpenAIAnswerer, usage: Any
) -> None:
    llm.script(Reply(chunks=[data(chunk({"content": "A"}, usage=usage)), ended()]))
    stream = answerer.answer(ASKED)
    assert stored(stream) == "A"
    assert stream.usage is None


def test_usage_may_have_other_names(llm: LLMServer, answerer: OpenAIAnswerer) -> None:
    usage = {"input_tokens": 5, "output_tokens": 7}
    llm.script(Reply(chunks=[said("A"), data(chunk({}, "stop", usage=usage)), DONE]))
    stream = answerer.answer(ASKED)
    assert stored(stream) == "A"
    assert stream.usage is not None
    assert stream.usage.as_dict()["total_tokens"] == 12


@pytest.mark.parametrize("last", [DONE, data({"choices": [], "usage": None})])
def test_a_connection_that_stays_open_delays_no_answer(
    llm: LLMServer, answerer: OpenAIAnswerer, last: bytes
) -> None:
    llm.script(Reply(chunks=[*SSE_LINES[:2], data(chunk({}, "stop")), last, b":"], stall_after=4))
    started = time.monotonic()
    assert stored(answerer.answer(ASKED)) == ANSWER
    assert time.monotonic() - started < 15  # of the server's 30 and the answerer's 20
    assert llm.wait_for_disconnect()


@pytest.mark.parametrize(
    ("chunks", "code", "reason"),
    [
        ([ended("content_filter")], "content_filtered", "filter"),
        (
            [
                data(chunk({"content": None, "tool_calls": [{"index": 0, "function": {}}]})),
                ended("tool_calls"),
            ],
            "provider_unavailable",
            "asked for a tool",
        ),
        (
            [data(chunk({"reasoning_content": "long thoughts"})), ended("length")],
            "provider_unavailable",
            "limit of tokens",
        ),
    ],
    ids=["filtered before the first word", "a tool", "only reasoned"],
)
def test_an_empty_answer_has_a_reason(
    llm: LLMServer, answerer: OpenAIAnswerer, chunks: list[bytes], code: str, reason: str
) -> None:
    llm.default = Reply(chunks=chunks)
    with pytest.raises(ProviderRefused, match=reason) as caught:
        stored(answerer.answer(ASKED))
    assert caught.value.code == code
    assert len(llm.requests) == 1


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
    llm: LLMServer, make: Any, message: str, extra: dict[str, str], refused: str, instead: str
) -> None:
    answerer = make(max_tokens=300, temperature=0.2)
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


def test_a_limit_that_leaves_no_room_for_a_prompt_is_left_out(llm: LLMServer, make: Any) -> None:
    answerer = make(max_tokens=900)
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
