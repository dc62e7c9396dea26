"""Answers of an LLM in every shape that servers of OpenAI's protocol send."""

import json
import time
from typing import Any

import pytest

from core.answering.openai import OpenAIAnswerer, RetryPolicy
from core.errors import ProviderError, ProviderRefused
from tests.fakes.llm_server import LLMServer, Reply
from tests.integration.answers import ANSWER, ASKED, DONE, chunk, data, ended, said, stored, whole

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


def test_text_that_begins_like_reasoning_is_held_back(llm: LLMServer, make_answerer: Any) -> None:
    """Not even in the first answer of a model that nobody knows."""
    answerer = make_answerer()
    llm.script(*[Reply(deltas=[*REASONING, "Otters live in the ", ANSWER[19:]])] * 2)
    for _ in range(2):
        stream = answerer.answer(ASKED)
        assert list(stream) == ["Otters live in the ", ANSWER[19:]]
        assert not stream.restarted


def test_an_answer_that_begins_like_reasoning_is_shown_and_the_next_one_streams(
    llm: LLMServer, make_answerer: Any
) -> None:
    answerer = make_answerer()
    llm.script(
        *[Reply(deltas=["Let me ", "explain: ", "rivers."])] * 2, Reply(deltas=["Let", "ters"])
    )
    assert list(answerer.answer(ASKED)) == ["Let me explain: rivers."]
    assert list(answerer.answer(ASKED)) == ["Let me ", "explain: ", "rivers."]
    assert "".join(make_answerer().answer(ASKED)) == "Letters"


@pytest.mark.parametrize(
    ("deltas", "kept"),
    [(REASONING[:3], ""), (["Let"], "Let"), (["It fits ", "<"], "It fits <"), (["<think>ab"], "")],
)
def test_a_broken_answer_keeps_its_text_and_no_reasoning(
    llm: LLMServer, make_answerer: Any, deltas: list[str], kept: str
) -> None:
    answerer = make_answerer(retry=RetryPolicy(attempts=1))
    llm.default = Reply(deltas=deltas, drop_after=len(deltas))
    heard: list[str] = []
    with pytest.raises(ProviderError):
        heard.extend(iter(answerer.answer(ASKED)))
    assert "".join(heard) == kept


def test_a_model_that_reasons_by_its_name_never_shows_it(
    llm: LLMServer, make_answerer: Any
) -> None:
    answerer = make_answerer(model="deepseek-r1:8b")
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
