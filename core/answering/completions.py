"""Parses chunks of chat completions, and whole ones, in the shapes that servers send."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from core.answering.base import AnswerStream, FinishReason, Usage
from core.answering.sse import PAGE, Event
from core.errors import ProviderError
from core.providers.failures import Refusal, mask_keys, read_refusal, refusal_of
from core.text.unicode import repaired

_MAX_MODEL_CHARS = 200
# Servers' names for finish reasons other than `stop`. Gemini and Cohere write them in capitals.
_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "sensitive": "content_filter",
}
# DeepSeek and vLLM, OpenRouter and Ollama, Anthropic's gateway.
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
_NAMES_OF_DATA = frozenset({"", "message", "data", "completion", "chat.completion.chunk", "error"})


class AnswerPart(NamedTuple):
    """The part of an answer in one event.

    `is_whole` is True for a `message` instead of a `delta`. A message has the whole text, which
    may repeat earlier deltas. `reasons` is True if a separate field of the event has reasoning.
    """

    text: str
    is_whole: bool
    reasons: bool
    calls_tool: bool
    finish_reason: FinishReason | None
    model: str | None
    usage: Usage | None

    def apply_to(self, stream: AnswerStream) -> bool:
        """Record model, usage and finish reason; return whether the answer is complete."""
        if self.model:
            stream.model = self.model
        if self.usage:
            stream.usage = self.usage
        if self.finish_reason:
            stream.finish_reason = self.finish_reason
        return self.finish_reason is not None


def parse_event(event: Event, *, keys: Iterable[str] = ()) -> AnswerPart | Refusal | None:
    """The content of `event`, or the error that it reports; None for pings and empty data.

    Raises ProviderError for any other data. `keys` are masked in a Refusal.
    """
    data = event.data.strip()
    if event.name == PAGE:
        said = read_refusal(0, data, keys=keys).message
        return Refusal(0, f"It sent a page instead of an answer: {said}")
    if event.name == "error" and data[:1] not in ("{", "["):
        return Refusal(0, mask_keys(data, keys))
    if not data or (data[0] not in '{["' and data != "[DONE]"):
        return None  # "ping", "keep-alive"
    if event.name not in _NAMES_OF_DATA and not data.startswith("{"):
        return None
    try:
        return _parse(json.loads(data), event.name, keys)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise ProviderError("The chat provider sent an answer that is not valid.") from None


def _parse(data: Any, name: str, keys: Iterable[str]) -> AnswerPart | Refusal:
    if isinstance(data, list) and len(data) == 1 and data[0].get("error"):
        data = data[0]  # Gemini wraps its errors
    choices = data.get("choices")
    if data.get("error") or name == "error" or _is_bare_error(data):
        return refusal_of(data, keys=keys)
    choice = (choices or [{}])[0]
    said = choice.get("delta") or choice.get("message") or {}
    finish = choice.get("finish_reason")
    if choice.get("error"):
        return refusal_of(choice, keys=keys)
    if finish == "error":
        return Refusal(0, "The answer ended with an error.")
    return AnswerPart(
        text=_text(said.get("content")) or _text(said.get("refusal")) or _text(choice.get("text")),
        is_whole=not choice.get("delta") and "message" in choice,
        calls_tool=bool(said.get("tool_calls") or said.get("function_call")),
        reasons=any(said.get(name) for name in _REASONING_FIELDS),
        finish_reason=_FINISH.get(str(finish).lower(), "stop") if finish else None,
        model=_model(data.get("model")),
        usage=_usage(data.get("usage")),
    )


def _is_bare_error(data: dict[str, Any]) -> bool:
    """Whether an object without choices is an error: `{"code": 1302, "msg": "…"}`."""
    if "choices" in data or "usage" in data:
        return False
    said = any(isinstance(data.get(name), str) for name in ("message", "msg", "detail"))
    marked = data.get("object") == "error" or data.keys() & {"code", "success", "detail"}
    return said and bool(marked)


def _text(content: object) -> str:
    """The text in `content`, which is a string or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise TypeError("content is no text")
    return "".join(_part(part) for part in content)


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in ("text", "output_text"):
        return ""  # thinking, images, references
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _model(name: object) -> str | None:
    return repaired(name)[:_MAX_MODEL_CHARS] if isinstance(name, str) else None


def _usage(data: object) -> Usage | None:
    """The token counts; None if there is no plausible one."""
    if not isinstance(data, dict):
        return None
    # The second names are those of OpenAI's Responses and of Anthropic.
    prompt = _count(data.get("prompt_tokens", data.get("input_tokens")))
    completion = _count(data.get("completion_tokens", data.get("output_tokens")))
    if not prompt and not completion:
        return None  # 0 and 0: nobody counted
    return Usage(prompt_tokens=prompt or 0, completion_tokens=completion or 0)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**53 else None
