"""Parts of the answers that an LLM sends, and an answer as a chat stores it."""

import json
from typing import Any

from core.answering.base import AnswerStream, Question

ASKED = Question(text="Who?", search_query="Who?")
ANSWER = "Otters live in the northern river [1]."
DONE = b"data: [DONE]\n\n"


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
