"""Learns which parameters a chat endpoint accepts: all, until it refuses one."""

import re
from typing import Any

from core.providers.failures import Refusal
from core.providers.wordings import UNNAMED_PARAMETER

Message = dict[str, str]

_REFUSAL_STATUSES = frozenset({0, 400, 403, 404, 422, 500, 501})
_LIMITS = ("max_tokens", "max_completion_tokens")
_ANSWER = re.compile(r"max_(?:completion_|new_)?tokens|completion", re.I)
_STREAM = re.compile(r"(?<!\w)stream(?:ing)?(?![\w])", re.I)
_UNSUPPORTED = re.compile(
    r"not (?:\w+ )?(?:support(?:ed)?|permitted|allowed|valid|implemented|enabled|accepted|one of)"
    r"|unsupported|invalid|unexpected|disabled|alternate|only (?:user|the)|must be verified"
    r"|input should be",
    re.I,
)
_SYSTEM = re.compile(
    r"\bsystem\b|developer instruction|roles? must alternate|only user\b|messages?\W+0\W+role", re.I
)


class Dialect:
    """Builds request bodies without the parameters that the endpoint refused. Threads share it.

    `max_tokens` and `temperature` are left out if they are None. The limit is first sent as
    `max_tokens`, which almost every server knows, and then as `max_completion_tokens`, which
    some of OpenAI's models want.
    """

    def __init__(self, *, max_tokens: int | None = None, temperature: float | None = None) -> None:
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._refused: frozenset[str] = frozenset()

    def body(self, *, model: str, messages: list[Message]) -> dict[str, Any]:
        """A request for one completion."""
        if "system" in self._refused:
            messages = _system_joined(messages)
        body: dict[str, Any] = {"model": model, "messages": messages}
        if "stream" not in self._refused:
            body["stream"] = True
            if "stream_options" not in self._refused:
                body["stream_options"] = {"include_usage": True}
        limit = next((name for name in _LIMITS if name not in self._refused), None)
        if self._max_tokens is not None and limit:
            body[limit] = self._max_tokens
        if self._temperature is not None and "temperature" not in self._refused:
            body["temperature"] = self._temperature
        return body

    def learn(self, refusal: Refusal, sent: dict[str, Any]) -> bool:
        """Leave the parameter that `refusal` of `sent` is about out of further requests.

        Returns whether there is one, which means that the request can be sent again at once.
        """
        refused = _parameter(refusal, sent) if refusal.status in _REFUSAL_STATUSES else None
        if refused is None:
            return False
        self._refused |= {refused}
        return True

    def drop_limit(self, refusal: Refusal, sent: dict[str, Any]) -> bool:
        """Leave out the limit of an answer that leaves no room for any prompt.

        Returns False if `refusal` does not name the limit or `sent` has none.
        """
        if not sent.keys() & set(_LIMITS) or not _ANSWER.search(refusal.message):
            return False
        self._refused |= set(_LIMITS)
        return True


def _parameter(refusal: Refusal, sent: dict[str, Any]) -> str | None:
    said = f"{refusal.param} {refusal.message}"
    code = refusal.code
    if code not in ("provider_unavailable", "provider_model_unknown"):
        return None  # a prompt that is too long, say: its refusal may name `max_tokens`
    for name in ("stream_options", *_LIMITS, "temperature"):
        if name in sent and _names(said, name) and refusal.status != 500:
            return name
    if _UNSUPPORTED.search(said):
        if "stream" in sent and _STREAM.search(said):
            return "stream"
        # llama.cpp answers 500 when a chat template fails.
        if sent["messages"][0]["role"] == "system" and _SYSTEM.search(said):
            return "system"
    unnamed = code == "provider_unavailable" and UNNAMED_PARAMETER.search(refusal.message)
    return "stream_options" if "stream_options" in sent and unnamed else None


def _names(said: str, parameter: str) -> bool:
    return re.search(rf"(?<!\w){parameter}(?!\w)", said) is not None


def _system_joined(messages: list[Message]) -> list[Message]:
    """The messages with the system message at the beginning of the first user message."""
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
